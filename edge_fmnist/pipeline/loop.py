"""The loop from frames to shown labels: read, preprocess, classify, smooth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from edge_fmnist.errors import ImageError, UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import CAMERA_MODEL
from edge_fmnist.pipeline.observer import State, Watcher
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist.pipeline.reader_thread import Grabber, Retry
from edge_fmnist.pipeline.results import Frame, LiveResult, Stages
from edge_fmnist.pipeline.stats import LiveStats, Meter
from edge_fmnist.sources.base import Source, Warn, Wishes, log_warning
from edge_fmnist.sources.paced import PacedSource
from edge_fmnist.vision.motion import Stillness

# Seconds between two looks at whether to stop while no frame comes: quick for a person, nothing for a processor.
POLL = 0.1
# Frames a second at which files without a rate of their own are shown with ``realtime``: a slide show.
SLIDE_SHOW_FPS = 1.0
# Slower than this, viewers and service managers would take the loop for stalled.
MIN_IDLE_FPS = 1.0


class LiveLoop:
    """Names the garment in each frame of a source; iterate over it once.

    The source is opened by the first iteration, or by ``with``, and closed
    when the iteration ends: at the end of the source, by ``break``, by an
    exception, by :meth:`stop`.

    Frames of cameras and streams are read in a thread of their own, and each
    result is of the newest; files are read whole.

    Attributes:
        source: where the frames come from; another thread's while the loop runs.
        realtime: whether each result is of the newest frame, and others may be dropped.
    """

    def __init__(
        self,
        source: Source,
        classifier: Classifier,
        *,
        realtime: bool = False,
        retry: Retry | None = None,
        smoothing: bool | None = None,
        threshold: float | None = None,
        frames: int | None = None,
        seconds: float | None = None,
        max_fps: float | None = None,
        idle_fps: float | None = None,
        warn: Warn = log_warning,
        watcher: Watcher | None = None,
    ) -> None:
        """Make a loop of a source and a classifier; :func:`live` is the usual way.

        Args:
            source: not opened yet.
            classifier: names the images.
            realtime: read a file at its own frame rate, passing over frames when late, as if it were a camera.
            retry: how a lost source is opened again.
            smoothing: whether to smooth over time; None does so for all but single pictures.
            threshold: the score below which the label is ``"unknown"``, 0 to 1; None takes the model's.
            frames: end after so many results; None does not.
            seconds: end after so many seconds; None does not.
            max_fps: name so many frames a second at most, a camera's newest; None names as many as it can.
            idle_fps: while nothing moves, look at so many frames a second only, 1 or more, and repeat the last answer
                until something does; None names every frame. Files read whole are named whole.
            warn: told of what does not end the loop; by default the logger ``edge_fmnist``.
            watcher: told what the loop is doing; by default one that passes on to ``warn`` what matters.

        Raises:
            UsageError: a threshold beyond 0 to 1, or a rate that cannot be.
            ModelError: a damaged model that only running it shows.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"threshold: expected a number from 0 to 1, got {threshold:g}")
        _check_positive(max_fps=max_fps)
        if idle_fps is not None and not idle_fps >= MIN_IDLE_FPS:
            raise UsageError(f"idle_fps: expected {MIN_IDLE_FPS:g} or more frames a second, got {idle_fps:g}")
        self.source = source
        self._classifier = classifier
        # Before the camera is opened, so that its first frame does not wait.
        Pipeline(classifier).warm_up()
        self._threshold = threshold
        self.realtime = realtime or source.realtime
        self._retry = retry
        self._smoothing = smoothing
        self._frames_wanted = frames
        self._seconds_wanted = seconds
        self._pause = 1 / max_fps if max_fps else 0.0
        self._idle_pause = max(1 / idle_fps, self._pause) if idle_fps else None
        self._warn = warn
        self._watcher = watcher or Watcher(warn)
        self._meter = Meter()
        self._grabber: Grabber | None = None
        self._stillness: Stillness | None = None
        self._last: LiveResult | None = None
        self._lost = False
        self._taken_at: float | None = None
        self._seen = self._taken = self._unusable = 0
        self._opened = self._closed = self._stopped = False
        self._started_at: float | None = None
        self._ended_at: float | None = None

    def open(self) -> None:
        """Open the source; harmless when it is open.

        Raises:
            SourceError: it is not there, or delivers nothing in time.
            UsageError: this loop has ended already.
        """
        if self._closed:
            raise UsageError("this loop has ended and cannot be run again; make a new one")
        if self._opened:
            return
        try:
            self.source.open()
        except BaseException:
            self.close()
            raise
        self._opened = True
        # Frames that follow one another share what was found; pictures of a folder do not.
        self._stream = self.source.realtime or self.source.fps is not None
        smooth = self._stream if self._smoothing is None else self._smoothing
        self._paced = PacedSource(self.source)
        if self._idle_pause is not None and self._stream and self.realtime:
            self._stillness = Stillness()
        self._pipeline = Pipeline(self._classifier, tracking=self._stream, smoothing=smooth, threshold=self._threshold)

    def __iter__(self) -> Iterator[LiveResult]:
        """Yield the result for each frame.

        Raises:
            SourceError: the source is not there, or was lost for good.
            UsageError: this loop was run before.
        """
        if self._started_at is not None:
            raise UsageError("this loop was run before; make a new one")
        self.open()
        self._started_at = time.perf_counter()
        try:
            for frame in self._grabbed() if self.realtime else self._read_whole():
                result = self._result(frame)
                if result is not None:
                    yield result
        finally:
            self.close()

    def stop(self) -> None:
        """End the iteration after the frame at hand; may be called from any thread or a signal handler."""
        self._stopped = True

    def close(self) -> None:
        """Stop reading and close the source; harmless when called twice."""
        if self._closed:
            return
        self._closed = self._stopped = True
        self._ended_at = time.perf_counter()
        if self._grabber is not None:
            self._paced.wake()
            self._grabber.close()
        else:
            self.source.close()

    def __enter__(self) -> LiveLoop:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self._classifier.labels

    @property
    def stats(self) -> LiveStats:
        """What the loop has done so far; stays readable after its end."""
        now = time.perf_counter() if self._ended_at is None else self._ended_at
        return LiveStats(
            seen=self._seen,
            dropped=self._seen - self._taken,
            results=self._meter.results,
            unusable=self._unusable,
            reconnects=self._grabber.reconnects if self._grabber else 0,
            seconds=0.0 if self._started_at is None else now - self._started_at,
            milliseconds=self._meter.percentiles(),
            labels=self._meter.labels,
        )

    def _enough(self) -> bool:
        """Return whether to end: asked to, or as many results or seconds as were wanted."""
        if self._stopped or self._meter.results == self._frames_wanted:
            return True
        elapsed = time.perf_counter() - (self._started_at or 0.0)
        return self._seconds_wanted is not None and elapsed >= self._seconds_wanted

    def _grabbed(self) -> Iterator[Frame]:
        """Yield the newest frame each time."""
        pace = None if self.source.realtime else self.source.fps or SLIDE_SHOW_FPS
        self._grabber = Grabber(
            self._paced, retry=self._retry, pace=pace, wanted=self._paced.wanted, warn=self._source_changed
        )
        seen = 0
        while not self._enough() and not self._grabber.ended:
            frame = self._grabber.next(POLL) if self._due() else None
            if frame is not None:
                yield frame
            self._watcher.turn(self._state(self._grabber.seen > seen))
            seen = self._grabber.seen

    def _read_whole(self) -> Iterator[Frame]:
        """Yield every frame."""
        index = 0
        while not self._enough():
            if self._due():
                picture = self.source.read()
                if picture is None:
                    return
                yield Frame(picture, index, time.perf_counter(), self.source.frame_name)
                index += 1
            self._watcher.turn(State.RUNNING)

    def _due(self) -> bool:
        """Return whether a frame may be taken, after waiting for a short while until one may."""
        if self._taken_at is None:
            return True
        pause = self._idle_pause if self._stillness is not None and self._stillness.idle else self._pause
        wait = self._taken_at + (pause or 0.0) - time.perf_counter()
        if wait > 0:
            time.sleep(min(wait, POLL))
        return wait <= POLL

    def _state(self, frames_came: bool) -> State:
        if self._lost:
            return State.LOST
        if not frames_came:
            return State.WAITING
        return State.IDLE if self._stillness is not None and self._stillness.idle else State.RUNNING

    def _source_changed(self, message: str) -> None:
        """Pass on that the source was lost, or is back: the grabber tells of both in turns."""
        self._lost = not self._lost
        (self._watcher.lost if self._lost else self._watcher.back)(message)
        self._forget_scene()

    def _forget_scene(self) -> None:
        """Name the next frame, whatever it shows."""
        self._last = None
        if self._stillness is not None:
            self._stillness.forget()
            self._paced.wake()

    def _result(self, frame: Frame) -> LiveResult | None:
        """Return what is seen in a frame; None for one that cannot be processed, which is told of once."""
        self._seen = frame.index + 1
        self._taken += 1
        self._taken_at = time.perf_counter()
        try:
            self._last = self._repeated(frame) or self._named(frame)
            return self._last
        except ImageError as error:
            self._forget_scene()
            self._unusable += 1
            if self._unusable == 1:
                self._warn(f"{frame.name}: frame {frame.index} is passed over, and others like it ({error})")
            return None

    def _repeated(self, frame: Frame) -> LiveResult | None:
        """Return the last result with a new frame, while nothing moves; None where the frame is to be named."""
        if self._last is None or self._stillness is None or self._idle_pause is None:
            return None
        begun = time.perf_counter()
        if not self._stillness.look(frame.picture, frame.captured):
            self._paced.wake()
            return None
        self._paced.rest(self._idle_pause)
        looked = time.perf_counter()
        stages, age = Stages((looked - begun) * 1e3, 0.0, 0.0), (looked - frame.captured) * 1e3
        return replace(
            self._last,
            frame=frame,
            stages=stages,
            age=age,
            seen=self._seen,
            dropped=self._seen - self._taken,
            fps=self._meter.add(self._last.label, stages, age),
        )

    def _named(self, frame: Frame) -> LiveResult:
        output = self._pipeline.run(frame.picture, self._time(frame))
        age = (output.finished - frame.captured) * 1e3
        smoothed = output.smoothed
        return LiveResult(
            frame=frame,
            garment=output.garment,
            prediction=output.prediction,
            label=smoothed.label,
            score=smoothed.score,
            scores=smoothed.scores,
            labels=self._classifier.labels,
            stages=output.stages,
            age=age,
            seen=self._seen,
            dropped=self._seen - self._taken,
            fps=self._meter.add(smoothed.label, output.stages, age),
        )

    def _time(self, frame: Frame) -> float:
        """Return the time of a frame in seconds: of its capture, or, in a video read whole, of its place in it."""
        if self.realtime or not self.source.fps:
            return frame.captured
        return frame.index / self.source.fps


def live(
    source: str | int | Path | Source = "auto",
    *,
    model: str | Path = CAMERA_MODEL,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    rotate: int = 0,
    mirror: bool = False,
    roi: str | None = None,
    threads: int = 1,
    interpreter: str | None = None,
    realtime: bool = False,
    max_failures: int | None = None,
    smoothing: bool | None = None,
    threshold: float | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    max_fps: float | None = None,
    idle_fps: float | None = None,
    warn: Warn = log_warning,
    watcher: Watcher | None = None,
) -> LiveLoop:
    """Name the garment in front of a camera, or in a video, a stream or pictures.

    Example:
        >>> import edge_fmnist
        >>> for result in edge_fmnist.live(source="0"):  # doctest: +SKIP
        ...     print(result.label, result.score)

    Args:
        source: ``auto``, ``demo``, ``picamera``, a camera's index or ``/dev/videoN``, an ``http://`` or ``rtsp://``
            URL, a video or picture file, a folder or glob of pictures, or a :class:`Source` of your own.
        model: a shipped model's name or a ``.tflite`` file.
        width: of the frames, in pixels; None leaves it to the source, as for ``height`` and ``fps``.
        height: of the frames, in pixels.
        fps: frames a second.
        rotate: degrees clockwise by which frames are turned: 0, 90, 180 or 270.
        mirror: whether to swap left and right.
        roi: the part of the frame to look at, ``"x,y,width,height"`` in pixels or percent; None looks at all.
        threads: how many threads the interpreter may use.
        interpreter: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``; None chooses.
        realtime: read a file at its own frame rate, passing over frames when late, as if it were a camera.
        max_failures: after so many failures in a row a lost source is given up; None never does.
        smoothing: whether to smooth over time; None does so for all but single pictures.
        threshold: the score below which the label is ``"unknown"``, 0 to 1; None takes the model's.
        frames: end after so many results; None does not.
        seconds: end after so many seconds; None does not.
        max_fps: name so many frames a second at most, a camera's newest; None names as many as it can.
        idle_fps: while nothing moves, look at so many frames a second only, 1 or more, and repeat the last answer
            until something does; None names every frame. Files read whole are named whole.
        warn: told of what does not end the loop; by default the logger ``edge_fmnist``.
        watcher: told what the loop is doing; by default one that passes on to ``warn`` what matters.

    Returns:
        A loop to iterate over, not yet open.

    Raises:
        UsageError: an argument that cannot work.
        SourceError: the source is not there, or the model.
        ModelError: the model cannot be used.
        InterpreterError: no interpreter can be used.
    """
    from edge_fmnist.sources import parse_source
    from edge_fmnist.sources.adjust import Adjusted, Adjustment, parse_roi

    _check_positive(max_failures=max_failures, frames=frames, seconds=seconds)
    adjustment = Adjustment(rotate, mirror, parse_roi(roi) if roi is not None else None)
    if not isinstance(source, Source):
        source = parse_source(str(source), Wishes(width, height, fps), warn=warn)
    return LiveLoop(
        Adjusted(source, adjustment),
        Classifier.load(model, threads=threads, interpreter=interpreter),
        realtime=realtime,
        retry=Retry(max_failures),
        smoothing=smoothing,
        threshold=threshold,
        frames=frames,
        seconds=seconds,
        max_fps=max_fps,
        idle_fps=idle_fps,
        warn=warn,
        watcher=watcher,
    )


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{name}: expected a number above zero, got {value}")
