"""Sources and sinks under any order of calls: the stateful tests of Hypothesis."""

from __future__ import annotations

import math
import time
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_fmnist import live
from edge_fmnist.errors import SinkError, SourceError
from edge_fmnist.pipeline.reader_thread import ReaderThread, Retry
from edge_fmnist.sinks import queued
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.queued import QueuedSink
from edge_fmnist.sources.base import CaptureSettings, Source
from edge_fmnist.sources.demo import Demo
from edge_fmnist.sources.frames import FrameIterator
from edge_fmnist.sources.stills import Stills
from edge_fmnist.sources.video import VideoFile

FRAMES = 4
PICTURES = [np.full((48, 64, 3), 40 * number, np.uint8) for number in range(FRAMES)]
RESULT = next(iter(live(PICTURES[1:2], model="nano")))


class Files(RuleBasedStateMachine):
    """A source of files or of drawn frames: opened, read, skipped and closed in any order."""

    @initialize(kind=st.sampled_from(["frames", "pictures", "video", "demo"]))
    def create(self, kind: str) -> None:
        self.folder = TemporaryDirectory()
        self.left: int | None = None
        self.endless = kind == "demo"
        self.source: Source = Demo(CaptureSettings(64, 48), paced=False)
        if kind == "frames":
            self.source = FrameIterator(PICTURES)
        elif kind == "pictures":
            for number, picture in enumerate(PICTURES):
                cv2.imwrite(f"{self.folder.name}/{number}.png", picture)
            self.source = Stills(self.folder.name)
        elif kind == "video":
            path = f"{self.folder.name}/video.avi"
            writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
            for picture in PICTURES:
                writer.write(picture)
            writer.release()
            self.source = VideoFile(path, CaptureSettings())

    @rule()
    def open(self) -> None:
        self.source.open()
        self.left = FRAMES

    @rule()
    def close(self) -> None:
        self.source.close()
        self.left = None

    @rule(skip=st.booleans())
    def read(self, skip: bool) -> None:
        if self.left is None:
            with pytest.raises(SourceError, match="not open"):
                self.source.read()
            return
        found: Any = self.source.skip() if skip else self.source.read()
        if self.left or self.endless:
            assert found is True if skip else found.shape == (48, 64, 3)
            self.left = max(0, self.left - 1)
        else:
            assert found is (False if skip else None)

    def teardown(self) -> None:
        self.source.close()
        self.folder.cleanup()


class Script(Source):
    """A camera that delivers, fails or does nothing as it was told for each call."""

    realtime = True
    name = "camera"

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        self.opened = 0

    def _step(self) -> None:
        step = self.steps.pop() if self.steps else "frame"
        if step != "frame":
            raise {"lost": SourceError, "bug": ZeroDivisionError, "system": OSError}[step](step)

    def open(self) -> None:
        self._step()
        self.opened += 1

    def read(self) -> np.ndarray:
        self._step()
        time.sleep(0.001)
        return PICTURES[1]

    def close(self) -> None:
        self._step()


class Camera(RuleBasedStateMachine):
    """A camera that fails in any way, at any call, is reopened until it delivers."""

    @initialize(steps=st.lists(st.sampled_from(["frame", "lost", "bug", "system"]), max_size=12))
    def start(self, steps: list[str]) -> None:
        # The first time, it opens.
        self.source = Script([*steps, "frame"])
        retry = Retry(first_delay=0.001, longest_delay=0.002, steady=0.001)
        self.reader = ReaderThread(self.source, retry=retry)
        self.reader.open()
        self.seen = 0

    @rule()
    def next_frame(self) -> None:
        frame = self.reader.next(5)
        assert frame is not None
        assert frame.index >= self.seen
        self.seen = frame.index + 1

    @rule(step=st.sampled_from(["lost", "bug", "system"]))
    def fail(self, step: str) -> None:
        self.source.steps.append(step)

    @invariant()
    def alive(self) -> None:
        assert not self.reader.ended

    def teardown(self) -> None:
        self.reader.close()


class Store(Sink):
    """Keeps what it is given, and fails when told to."""

    def __init__(self) -> None:
        self.kept = 0
        self.closed = 0
        self.error: Exception | None = None

    def write(self, result: object) -> None:
        if self.error is not None:
            raise self.error
        self.kept += 1

    def close(self) -> None:
        self.closed += 1


class Output(RuleBasedStateMachine):
    """A sink in a thread: every result is written, or counted, or follows an error; it is closed once."""

    @initialize(lossless=st.booleans())
    def open(self, lossless: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(queued, "MAX_ITEMS", 3)
        self.store = Store()
        self.sink = QueuedSink("store", lambda: self.store, warn=lambda _: None)
        self.sink.patience = math.inf if lossless else 0.0
        self.given = 0
        self.failed = self.closed = False

    @precondition(lambda self: not self.closed)
    @rule(count=st.integers(1, 30))
    def write(self, count: int) -> None:
        for _ in range(count):
            try:
                self.sink.write(RESULT)
            except (SinkError, OSError):
                assert self.failed
                self.close()
                return
            self.given += 1

    @rule(error=st.sampled_from([SinkError("full"), OSError(5, "broken"), KeyError("bug")]))
    def fail(self, error: Exception) -> None:
        self.store.error = error
        self.failed = True

    @rule()
    def reopen(self) -> None:
        self.sink.reopen()

    @rule()
    def close(self) -> None:
        try:
            self.sink.close()
        except (SinkError, OSError):
            assert self.failed
        self.closed = True
        assert self.store.closed == 1
        assert self.failed or self.store.kept + self.sink.dropped == self.given

    def teardown(self) -> None:
        self.close()
        self.patch.undo()


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=6, stateful_step_count=12)
TestCamera = Camera.TestCase
TestCamera.settings = settings(max_examples=15, stateful_step_count=12)
TestOutput = Output.TestCase
TestOutput.settings = TestCamera.settings
