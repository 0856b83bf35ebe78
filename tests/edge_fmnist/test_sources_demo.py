"""The drawn scene."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import CaptureSettings
from edge_fmnist.sources.demo import CYCLE, SHOWN, SLIDE, Demo, Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(320, 240)


def turns(scene: Scene) -> int:
    """Return how many garments there are before the first comes again."""
    labels = [scene.label(turn * CYCLE + SHOWN / 2) for turn in range(30)]
    return next(turn for turn in range(1, 30) if labels[:turn] == labels[turn : 2 * turn])


def test_frames_are_the_same_each_time_it_is_opened() -> None:
    source = Demo(paced=False)
    runs = []
    for _ in range(2):
        source.open()
        runs.append([source.read() for _ in range(12)])
        source.close()
    assert {(frame.shape, str(frame.dtype)) for frame in runs[0]} == {((480, 640, 3), "uint8")}
    assert all(np.array_equal(first, second) for first, second in zip(*runs, strict=True))
    assert not np.array_equal(runs[0][10], runs[0][11])


def test_several_kinds_of_garments_with_gaps_between(scene: Scene) -> None:
    shown = {scene.label(turn * CYCLE + SHOWN / 2) for turn in range(turns(scene))}
    assert len(shown) >= 4
    assert shown <= set(LABELS)
    assert scene.label(SHOWN + 0.1) is None
    assert scene.label(SLIDE / 2) is None


def test_each_garment_differs_from_its_background(scene: Scene) -> None:
    for turn in range(turns(scene)):
        empty = scene.draw(turn * CYCLE + SHOWN + 0.5).astype(int)
        covered = scene.draw(turn * CYCLE + SHOWN / 2).astype(int)
        share = float((np.abs(covered - empty).max(axis=2) > 50).mean())
        assert 0.08 < share < 0.5, f"garment {turn}"
        assert np.abs(covered - empty)[:, [0, -1]].max() < 60, f"garment {turn} reaches the edge of the frame"


def test_the_background_is_textured_and_the_light_changes(scene: Scene) -> None:
    assert all(scene.draw(turn * CYCLE + SHOWN + 0.5).std() > 5 for turn in range(2))
    means = [scene.draw(moment)[:20].mean() for moment in np.arange(0, CYCLE, 0.5)]
    assert max(means) - min(means) > 10
    assert scene.draw(1e6).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (CaptureSettings(width=320, height=240), (240, 320, 3)),
        (CaptureSettings(width=100), (480, 100, 3)),
        (CaptureSettings(width=1, height=1), (32, 32, 3)),
    ],
)
def test_size_as_requested(settings: CaptureSettings, shape: tuple[int, int, int]) -> None:
    source = Demo(settings, paced=False)
    source.open()
    for _ in range(25):
        frame = source.read()
    assert frame.shape == shape


def test_paced_in_real_time_without_a_burst_for_a_late_reader() -> None:
    source = Demo(CaptureSettings(64, 48, 50))
    assert source.realtime
    assert source.fps == 50
    source.open()
    source.read()
    time.sleep(0.1)
    started = time.perf_counter()
    for _ in range(6):
        source.read()
    assert 0.09 <= time.perf_counter() - started < 2


def test_interrupting_ends_a_read_that_waits() -> None:
    source = Demo(CaptureSettings(64, 48, 0.01))
    source.open()
    source.read()
    errors: list[str] = []

    def read() -> None:
        with pytest.raises(SourceError) as caught:
            source.read()
        errors.append(str(caught.value))

    thread = threading.Thread(target=read)
    thread.start()
    source.interrupt()
    thread.join(5)
    assert errors == ["demo: not open"]


def test_skipped_frames_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    source, whole = Demo(paced=False), Demo(paced=False)
    source.open()
    whole.open()
    frames = [whole.read() for _ in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(Scene, "draw", lambda *_: pytest.fail("drawn"))
        assert [source.skip() for _ in range(3)] == [True] * 3
    assert np.array_equal(source.read(), frames[3])
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.skip()
