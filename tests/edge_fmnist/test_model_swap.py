"""Another model in a running loop: between two frames, from a replaced file, and what follows its labels."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import Classifier, LiveResult, live
from edge_fmnist.data.files import write_bytes
from edge_fmnist.errors import ModelError
from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.predictions import Prediction
from edge_fmnist.model.registry import shipped_models
from edge_fmnist.pipeline import model_watch
from edge_fmnist.sinks.mqtt.messages import MessageFactory
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.demo import Scene

OTHER = tuple("abcdefghij")


def in_another_thread(action: Callable[[], Any]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def relabelled(model: str) -> bytes:
    """Return a shipped model with other labels and no calibration."""
    content = shipped_models()[model].path.read_bytes()
    return embed(content[: content.index(b"PK\x03\x04")], {"output": "logits"}, OTHER)


def test_a_swap_happens_between_two_frames(tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(relabelled("camera"))
    former, other = Classifier.load("edge"), Classifier.load(path)
    loop, results = live([Scene(320, 240).draw(3.0)] * 6, model=former, smoothing=True), []
    for result in loop:
        results.append(result)
        if result.frame.index == 2:
            in_another_thread(lambda: loop.swap(other))
            assert loop.labels == OTHER
    assert [result.frame.index for result in results] == list(range(6))
    assert [result.labels for result in results] == [former.labels] * 3 + [OTHER] * 3
    # Smoothing starts over: the first frame counts in full, under a label of the new model.
    assert results[3].label in OTHER
    assert results[3].score == pytest.approx(other.predict(results[3].garment.image).score, abs=1e-6)


def test_a_swap_during_another_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Classifier.load(name) for name in ("nano", "camera"))
    loop = live([Scene(320, 240).draw(3.0)] * 3, model="edge")
    exchange = loop._exchange

    def interrupted(classifier: Classifier) -> None:
        if classifier is first:
            loop.swap(second)
        exchange(classifier)

    monkeypatch.setattr(loop, "_exchange", interrupted)
    loop.swap(first)
    list(loop)
    assert loop.classifier is second


class Camera(Source):
    """Delivers a frame in real time for each permit, so that no frame is dropped for lack of time."""

    def __init__(self) -> None:
        self.name, self.realtime, self.fps = "camera", True, None
        self.permits = threading.Semaphore()

    def open(self) -> None:
        """Nothing to open."""

    def read(self) -> np.ndarray | None:
        self.permits.acquire()
        return Scene(320, 240).draw(3.0)

    def close(self) -> None:
        """Nothing to close."""

    def interrupt(self) -> None:
        self.permits.release()


def test_a_swap_drops_no_frame_of_a_camera() -> None:
    camera, models, indexes = Camera(), [Classifier.load("edge"), Classifier.load("camera")], list[int]()
    for result in (loop := live(camera, model="nano", frames=9)):
        indexes.append(result.frame.index)
        # The next frame arrives while the model is swapped.
        camera.permits.release()
        loop.swap(models[len(indexes) % 2])
    assert (indexes, loop.stats.dropped) == (list(range(9)), 0)


def test_the_loop_takes_the_interpreter_that_was_warmed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Classifier.load("nano")
    made: list[int] = []
    make = Classifier._make

    def count(*arguments: Any) -> Any:
        made.append(1)
        return make(*arguments)

    loop = live([Scene(320, 240).draw(3.0)] * 4, model="edge")
    for result in loop:
        if result.frame.index == 1:
            in_another_thread(lambda: loop.swap(other))
            monkeypatch.setattr(Classifier, "_make", count)
    assert made == []


def test_a_model_that_fails_when_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = Classifier.load("nano")

    def fail(image: np.ndarray) -> Prediction:
        raise ModelError(f"damaged {image.shape}")

    monkeypatch.setattr(damaged, "predict", fail)
    loop = live([Scene(320, 240).draw(3.0)] * 3, model="edge")
    for _ in loop:
        with pytest.raises(ModelError, match="damaged"):
            loop.swap(damaged)
    assert loop.stats.results == 3
    assert loop.classifier.source == "edge"


def test_a_replaced_file_is_taken_and_a_damaged_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_watch, "INTERVAL", 0.02)
    path, warnings = tmp_path / "mine.tflite", queue.SimpleQueue[str]()
    path.write_bytes(shipped_models()["nano"].path.read_bytes())
    results = iter(live("demo", model=path, watch_model=True, warn=warnings.put, seconds=60))
    former = next(results)
    write_bytes(path, path.read_bytes()[:5000])
    while warnings.empty():
        assert next(results).labels == former.labels
    message = warnings.get()
    assert message.startswith(f"{path}: ")
    assert message.endswith("; the former model stays in use")
    write_bytes(path, relabelled("nano"))
    result = next(result for result in results if result.labels != former.labels)
    assert result.labels == OTHER
    results.close()  # type: ignore[attr-defined]
    assert warnings.empty()


def test_home_assistant_learns_the_labels_of_another_model(make_result: Callable[..., LiveResult]) -> None:
    former, other = make_result(0), make_result(1, labels=OTHER)
    factory = MessageFactory("edge-fmnist/test", former.labels)
    assert not [message for message in factory.for_result(former) if b"options" in message.payload]
    configs = [message for message in factory.for_result(other) if b"options" in message.payload]
    assert any(b'"options": ["a", "b"' in message.payload for message in configs)
    assert any(b'"options": ["a", "b"' in message.payload for message in factory.greeting(0))


def test_a_swap_takes_less_than_a_frame_lasts() -> None:
    """Processor time of the loop's thread, which other programs do not change; frames are 33 ms apart at 30 fps."""
    models, swaps, times = [Classifier.load("edge"), Classifier.load("camera")], list[threading.Thread](), list[float]()
    for result in (loop := live("demo", model="nano", frames=50)):
        times.append(time.thread_time())
        if len(times) in (20, 30, 40):
            swaps.append(threading.Thread(target=loop.swap, args=(models[len(swaps) % 2],)))
            swaps[-1].start()
        assert result.frame.index >= len(times) - 1
    for swap in swaps:
        swap.join()
    assert loop.classifier.source == "edge"
    assert max(np.diff(times)[15:]) < 1 / 30


def test_a_file_that_is_written_again_unchanged_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, taken = tmp_path / "mine.tflite", list[Classifier]()
    path.write_bytes(shipped_models()["nano"].path.read_bytes())
    loop = live([Scene(320, 240).draw(3.0)], model=path, watch_model=True)
    monkeypatch.setattr(loop, "swap", taken.append)
    watch = model_watch.ModelWatch(str(path), loop, lambda _: None)
    watch._take()
    assert taken == []
    path.write_bytes(relabelled("nano"))
    watch._take()
    assert [classifier.labels for classifier in taken] == [OTHER]


def test_what_a_replaced_file_does_not_state_is_a_warning(tmp_path: Path) -> None:
    path, warnings = tmp_path / "mine.tflite", list[str]()
    path.write_bytes(shipped_models()["nano"].path.read_bytes())
    loop = live([Scene(320, 240).draw(3.0)], model=path, watch_model=True)
    path.write_bytes(without_metadata(path.read_bytes()))
    model_watch.ModelWatch(str(path), loop, warnings.append)._take()
    assert f"{path} has no labels: using Fashion-MNIST's" in warnings


def test_a_file_that_is_being_copied_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # The file grows, is complete, and stays as it is.
    sizes, taken = iter([1, 2, 3, 3, 3]), list[int]()
    stamps: list[int] = []

    def stamp(path: str) -> tuple[int, int, int]:
        stamps.append(next(sizes, 0))
        if not stamps[-1]:
            watch.stop()
        return 0, stamps[-1] or 3, 0

    monkeypatch.setattr(model_watch, "INTERVAL", 0)
    monkeypatch.setattr(model_watch, "_stamp", stamp)
    watch = model_watch.ModelWatch("mine.tflite", live([Scene(320, 240).draw(3.0)], model="nano"), lambda _: None)
    monkeypatch.setattr(watch, "_take", lambda: taken.append(len(stamps)))
    watch._run()
    assert taken == [4]


def test_a_swap_ends_the_choice_of_a_model_for_each_picture(tmp_path: Path) -> None:
    path, labels = tmp_path / "other.tflite", list[tuple[str, ...]]()
    path.write_bytes(relabelled("nano"))
    for result in (loop := live([Scene(320, 240).draw(3.0)] * 3)):
        labels.append(result.labels)
        loop.swap(Classifier.load(path))
    assert [each == OTHER for each in labels] == [False, True, True]
