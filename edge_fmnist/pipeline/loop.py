"""The loop from frames to results: read, adjust, run the pipeline, write to the outputs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from edge_fmnist.errors import ImageError, UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.pipeline.model_watch import ModelWatch
from edge_fmnist.pipeline.observer import Observer, State
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist.pipeline.reader_thread import ReaderThread, Retry
from edge_fmnist.pipeline.results import Frame, LiveResult, Stages, opaque
from edge_fmnist.pipeline.settings import LiveSettings, caused_by
from edge_fmnist.pipeline.stats import LiveStats, Meter
from edge_fmnist.pipeline.stills import StillClassifier, model_for
from edge_fmnist.sources.base import NO_PICTURE, Source, Warn, guarded, log_warning
from edge_fmnist.vision.motion import MotionDetector

# Seconds between two checks whether to stop while no frame arrives.
POLL = 0.1
# Seconds in which the outputs are closed once the loop was told to stop.
STOP_SECONDS = 1.5


class ResultWriter(Protocol):
    """Where results go beside the iteration: files, a browser page, a broker."""

    @property
    def dropped(self) -> dict[str, int]:
        """Number of results that each output has dropped because it was too slow."""

    def open(self, loop: LiveLoop) -> None:
        """Start, once the source is open."""

    def write(self, result: LiveResult) -> bool:
        """Write a result; return False to stop the loop."""

    def close(self) -> None:
        """Finish."""


class LiveLoop:
    """Classifies the garment in each frame of a source; iterate over it once.

    The source is opened by the first iteration, or by ``with``, and closed when the iteration ends: at the end of the
    source, by ``break``, by an exception, by :meth:`stop`.

    Cameras and streams are read in a thread of their own, and each result is of the newest frame; of files, every frame
    is read.

    Attributes:
        source: where the frames come from; used by another thread while the loop runs.
        realtime: whether each result is of the newest frame, and others may be dropped.
    """

    def __init__(
        self,
        source: Source,
        classifier: Classifier,
        settings: LiveSettings | None = None,
        *,
        models: StillClassifier | None = None,
        retry: Retry | None = None,
        outputs: ResultWriter | None = None,
        on_result: Callable[[LiveResult], object] | None = None,
        warn: Warn = log_warning,
        observer: Observer | None = None,
        watcher: Observer | None = None,
        **changes: Any,
    ) -> None:
        """Create a loop from a source and a classifier; :func:`edge_fmnist.live` is the usual way.

        Args:
            source: not opened yet.
            classifier: classifies the 28x28 images.
            settings: of these, ``source``, ``model`` and the outputs are ignored.
            models: chooses another classifier for a picture of the other kind, 28x28 image or photograph; None uses one
                for all.
            retry: how to reopen a lost source; None retries forever, or ``settings.max_failures`` times.
            outputs: where results are written to.
            on_result: called with each result.
            warn: receives problems that do not end the loop; by default the logger ``edge_fmnist``.
            observer: receives what the loop is doing; by default only passes on warnings.
            watcher: former name of ``observer``.
            **changes: fields of ``settings`` to change.

        Raises:
            UsageError: a setting that cannot be used.
            ModelError: a damaged model, as shown by running it.
        """
        self._settings = settings = replace(settings or LiveSettings(), **changes)
        self.source = source
        self._classifier = classifier
        self._next_classifier: Classifier | None = None
        self._models = models
        self._watch = ModelWatch(str(settings.model), self, warn) if settings.watch_model else None
        # Before the camera is opened, so that its first frame does not wait.
        Pipeline(classifier).warm_up()
        self.realtime = settings.realtime or source.realtime
        self._retry = retry or Retry(settings.max_failures)
        self._outputs = outputs
        self._on_result = on_result
        self._warn = warn
        self._observer = observer or watcher or Observer(warn)
        self._adjustment = settings.adjustment
        self._pause = 1 / settings.max_fps if settings.max_fps else 0.0
        self._idle_pause = max(1 / settings.idle_fps, self._pause) if settings.idle_fps else 0.0
        self._meter = Meter()
        self._reader: ReaderThread | None = None
        self._motion: MotionDetector | None = None
        self._last: LiveResult | None = None
        self._lost = self._opened = self._closed = False
        self._stopped_at: float | None = None
        self._taken_at: float | None = None
        self._started_at: float | None = None
        self._ended_at: float | None = None

    def open(self) -> None:
        """Open the source and the outputs; does nothing if they are open.

        Raises:
            SourceError: the source does not exist, or delivers nothing in time.
            SinkError: an output cannot be opened.
            UsageError: this loop has ended already.
        """
        if self._closed:
            raise UsageError("this loop has ended and cannot be run again; create a new one")
        if self._opened:
            return
        try:
            with caused_by("source"):
                self._open_source()
            self._opened = True
            # Frames of a stream are related; images of a folder are not.
            stream = self.source.realtime or self.source.fps is not None
            smoothing = stream if self._settings.smoothing is None else self._settings.smoothing
            self._pipeline = Pipeline(
                self._classifier, tracking=stream, smoothing=smoothing, threshold=self._settings.threshold
            )
            if self._idle_pause and stream and self.realtime:
                self._motion = MotionDetector()
            if self._outputs is not None:
                self._outputs.open(self)
            if self._watch is not None:
                self._watch.start()
        except BaseException:
            self.close()
            raise

    def _open_source(self) -> None:
        if not self.realtime:
            guarded(self.source, self.source.open)
            return
        self._reader = ReaderThread(
            self.source, retry=self._retry, on_lost=self._source_lost, on_back=self._source_back
        )
        self._reader.open()

    def __iter__(self) -> Iterator[LiveResult]:
        """Yield the result of each frame.

        Raises:
            SourceError: the source does not exist, or was lost for good.
            UsageError: this loop was run before.
        """
        if self._started_at is not None:
            raise UsageError("this loop was run before; create a new one")
        self.open()
        self._started_at = time.perf_counter()
        try:
            for frame in self._all_frames() if self._reader is None else self._newest_frames(self._reader):
                result = self._result(frame)
                if result is None:
                    continue
                more = self._outputs is None or self._outputs.write(result)
                if self._on_result is not None:
                    self._on_result(result)
                yield result
                if not more:
                    break
        finally:
            self.close()

    def stop(self) -> None:
        """End the iteration after the current frame; may be called from any thread or a signal handler."""
        self._stopped_at = self._stopped_at or time.perf_counter()

    @property
    def stopping(self) -> bool:
        """Whether the loop was told to stop or its time is over, so that outputs must not be waited for."""
        return self._stopped_since() is not None

    def time_left(self) -> float:
        """Return the seconds that the outputs may still take to close: infinite unless the loop was told to stop.

        They count from the moment when it was told, or when it began to close if that was later.
        """
        stopped = self._stopped_since()
        if stopped is None:
            return math.inf
        now = time.perf_counter()
        return STOP_SECONDS - (now - max(stopped, self._ended_at or now))

    def _stopped_since(self) -> float | None:
        """Return when the loop was told to stop or its time was over; None if neither is the case."""
        if self._stopped_at is None and self._settings.seconds is not None and self._started_at is not None:
            over = self._started_at + self._settings.seconds
            return over if time.perf_counter() >= over else None
        return self._stopped_at

    def close(self) -> None:
        """Stop reading, and close the source and the outputs; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._ended_at = time.perf_counter()
        try:
            if self._reader is not None:
                self._reader.stop()
            if self._watch is not None:
                self._watch.stop()
            if self._opened:
                try:
                    self._observer.stopping()
                finally:
                    if self._outputs is not None:
                        self._outputs.close()
        finally:
            (self.source if self._reader is None else self._reader).close()
            if self._watch is not None:
                self._watch.close(self.time_left())

    def __enter__(self) -> LiveLoop:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def swap(self, classifier: Classifier) -> None:
        """Use another model from the next frame on; may be called from any thread.

        It is warmed up in the calling thread first, so that the loop does not wait for it. Smoothing starts over.

        Raises:
            ModelError: a damaged model, as shown by running it; the former one stays in use.
        """
        Pipeline(classifier).warm_up()
        classifier.release()
        self._next_classifier = classifier

    @property
    def classifier(self) -> Classifier:
        """The model that classifies the next frame."""
        return self._next_classifier or self._classifier

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.classifier.labels

    @property
    def stats(self) -> LiveStats:
        """Counts and times so far; still readable after the end."""
        now = time.perf_counter() if self._ended_at is None else self._ended_at
        seconds = 0.0 if self._started_at is None else now - self._started_at
        reconnects = self._reader.reconnects if self._reader else 0
        return self._meter.stats(reconnects, seconds, self._outputs.dropped if self._outputs else {})

    def _finished(self) -> bool:
        """Return whether to end: asked to, or after the number of results or seconds in the settings."""
        return self._closed or self.stopping or self._meter.results == self._settings.frames

    def _newest_frames(self, reader: ReaderThread) -> Iterator[Frame]:
        seen = 0
        while not self._finished() and not reader.ended:
            frame = reader.next(POLL) if self._due() else None
            if frame is not None:
                yield frame
            self._observer.turn(self._state(reader.seen > seen or reader.pausing))
            seen = reader.seen

    def _all_frames(self) -> Iterator[Frame]:
        index = 0
        while not self._finished():
            if self._due():
                picture = guarded(self.source, self.source.read)
                if picture is None:
                    return
                yield Frame(picture, index, time.perf_counter(), self.source.frame_name, self.source.small)
                index += 1
            self._observer.turn(State.RUNNING)

    @property
    def _idle(self) -> bool:
        return self._motion is not None and self._motion.idle

    def _due(self) -> bool:
        """Return whether a frame may be taken, after waiting for a short while until one may."""
        if self._taken_at is None:
            return True
        wait = self._taken_at + (self._idle_pause if self._idle else self._pause) - time.perf_counter()
        if wait > 0:
            time.sleep(min(wait, POLL))
        return wait <= POLL

    def _state(self, frames_arrived: bool) -> State:
        if self._lost:
            return State.LOST
        if not frames_arrived:
            return State.WAITING
        return State.IDLE if self._idle else State.RUNNING

    def _source_lost(self, message: str) -> None:
        self._lost = True
        self._meter.lost()
        self._observer.lost(message)
        self._wake()

    def _source_back(self, message: str) -> None:
        self._lost = False
        self._observer.back(message)
        self._wake()

    def _wake(self) -> None:
        """Classify the next frame, whatever it shows."""
        self._last = None
        if self._motion is not None:
            self._motion.reset()
        if self._reader is not None:
            self._reader.wake()

    def _exchange(self, classifier: Classifier) -> None:
        """Put another model in place of the one in use, between two frames."""
        self._classifier, self._models = classifier, None
        self._pipeline.swap(classifier)
        self._wake()
        self._observer.swapped(f"model {classifier.source}, {len(classifier.labels)} classes")

    def _result(self, frame: Frame) -> LiveResult | None:
        """Return the result of a frame; None for one that cannot be processed."""
        # Set by other threads. A model that is set during the exchange is used from the next frame on.
        if (swapped := self._next_classifier) not in (None, self._classifier):
            self._exchange(swapped)
        self._meter.seen = frame.index + 1
        self._meter.taken += 1
        self._taken_at = time.perf_counter()
        try:
            frame = self._adjusted(frame)
            self._last = self._repeated(frame) or self._classified(frame)
        except (ImageError, UsageError) as error:
            # A region outside the first frame is a wrong setting; outside a later one, that frame has another size.
            if isinstance(error, UsageError) and not self._meter.results:
                raise
            if frame.picture is not NO_PICTURE:
                self._wake()
            self._meter.unusable += 1
            if self._meter.unusable == 1:
                reason = (self.source.problem if frame.picture is NO_PICTURE else None) or error
                self._warn(f"{frame.name}: frame {frame.index} skipped, further ones without a message ({reason})")
            return None
        return self._last

    def _adjusted(self, frame: Frame) -> Frame:
        from edge_fmnist.vision.preprocess import to_frame

        # A view, since a source may reuse its own array. Outputs keep frames in queues, which nobody may change.
        picture = self._adjustment.apply(to_frame(frame.picture)).view()
        picture.flags.writeable = False
        # A region may be in pixels of the frame.
        small = None if frame.small is None or self._adjustment.roi else self._adjustment.apply(frame.small)
        return replace(frame, picture=picture, small=small)

    def _repeated(self, frame: Frame) -> LiveResult | None:
        """Return the last result with a new frame if there is no motion; else None."""
        if self._last is None or self._motion is None or self._reader is None:
            return None
        started = time.perf_counter()
        if not self._motion.update(frame.picture if frame.small is None else frame.small, frame.captured):
            self._reader.wake()
            return None
        self._reader.rest(self._idle_pause)
        finished = time.perf_counter()
        stages = Stages((finished - started) * 1e3, 0.0, 0.0)
        return replace(
            self._last,
            frame=opaque(frame),
            stages=stages,
            **self._meter.add(self._last.label, stages, finished - frame.captured),
        )

    def _classified(self, frame: Frame) -> LiveResult:
        if self._models is not None:
            suited = self._models.named(model_for(frame.picture))
            if suited is not self._classifier:
                self._classifier = suited
                self._pipeline.swap(suited)
        # A video's own time, or the time of capture.
        fps = None if self.realtime else self.source.fps
        seconds = frame.index / fps if fps else frame.captured
        output = self._pipeline.run(frame.picture, seconds, frame.small)
        smoothed = output.smoothed
        return LiveResult(
            frame=opaque(frame),
            garment=output.garment,
            prediction=output.prediction,
            label=smoothed.label,
            score=smoothed.score,
            scores=smoothed.scores,
            labels=self._classifier.labels,
            stages=output.stages,
            **self._meter.add(smoothed.label, output.stages, output.finished - frame.captured),
        )
