"""The drawn scene."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import Wishes
from edge_fmnist.sources.demo import CYCLE, SHOWN, SLIDE, Demo, Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(320, 240)


def turns(scene: Scene) -> int:
    """Return how many garments there are before the first comes again."""
    labels = [scene.label(turn * CYCLE + SHOWN / 2) for turn in range(30)]
    return next(turn for turn in range(1, 30) if labels[:turn] == labels[turn : 2 * turn])


def test_frames_are_pictures_and_the_same_each_time() -> None:
    first, second = Demo(paced=False), Demo(paced=False)
    first.open()
    second.open()
    frames = [first.read() for _ in range(40)]
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {((480, 640, 3), "uint8")}
    assert all(np.array_equal(frame, second.read()) for frame in frames)
    assert not np.array_equal(frames[30], frames[31])


def test_opened_again_it_starts_anew() -> None:
    source = Demo(paced=False)
    source.open()
    start = source.read()
    source.read()
    source.close()
    source.open()
    assert np.array_equal(source.read(), start)


def test_several_kinds_of_garments_with_gaps_between(scene: Scene) -> None:
    shown = {scene.label(turn * CYCLE + SHOWN / 2) for turn in range(turns(scene))}
    assert len(shown) >= 4
    assert shown <= set(LABELS)
    assert scene.label(SHOWN + 0.1) is None
    assert scene.label(SLIDE / 2) is None


def test_each_garment_stands_out_from_its_ground(scene: Scene) -> None:
    for turn in range(turns(scene)):
        empty = scene.draw(turn * CYCLE + SHOWN + 0.5).astype(int)
        covered = scene.draw(turn * CYCLE + SHOWN / 2).astype(int)
        share = float((np.abs(covered - empty).max(axis=2) > 50).mean())
        assert 0.08 < share < 0.5, f"garment {turn}"
        border = np.abs(covered - empty)[:, [0, -1]]
        assert border.max() < 60, f"garment {turn} reaches the edge of the frame"


def test_ground_is_textured_and_light_changes(scene: Scene) -> None:
    empty = [scene.draw(turn * CYCLE + SHOWN + 0.5) for turn in range(2)]
    assert all(frame.std() > 5 for frame in empty)
    means = [scene.draw(moment)[:20].mean() for moment in np.arange(0, CYCLE, 0.5)]
    assert max(means) - min(means) > 10


def test_long_runs_do_not_fail(scene: Scene) -> None:
    assert scene.draw(1e6).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("wishes", "shape"),
    [
        (Wishes(width=320, height=240), (240, 320, 3)),
        (Wishes(width=100), (480, 100, 3)),
        (Wishes(width=1, height=1), (32, 32, 3)),
    ],
)
def test_size_as_wished(wishes: Wishes, shape: tuple[int, int, int]) -> None:
    source = Demo(wishes, paced=False)
    source.open()
    for _ in range(30):
        frame = source.read()
    assert frame.shape == shape


def test_paced_in_real_time() -> None:
    source = Demo(Wishes(width=64, height=48, fps=50))
    assert source.realtime
    assert source.fps == 50
    source.open()
    started = time.perf_counter()
    for _ in range(11):
        source.read()
    assert 0.19 <= time.perf_counter() - started < 2


def test_late_reader_gets_no_burst() -> None:
    source = Demo(Wishes(width=64, height=48, fps=20))
    source.open()
    source.read()
    time.sleep(0.3)
    started = time.perf_counter()
    for _ in range(3):
        source.read()
    assert time.perf_counter() - started >= 0.09


def test_closing_ends_a_read_that_waits() -> None:
    source = Demo(Wishes(width=64, height=48, fps=0.01))
    source.open()
    source.read()
    closer = threading.Timer(0.1, source.close)
    closer.start()
    started = time.perf_counter()
    with pytest.raises(SourceError, match="demo: not open"):
        source.read()
    assert time.perf_counter() - started < 5
    closer.join()


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
