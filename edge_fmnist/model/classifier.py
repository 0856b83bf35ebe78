"""The classifier: a model file, an interpreter, and typed results."""

from __future__ import annotations

import numbers
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from edge_fmnist.data.labels import LABELS, check_labels, filled, unused_label
from edge_fmnist.errors import ModelError, UsageError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.interpreter import InterpreterInfo
from edge_fmnist.model.metadata import Calibration, Metadata, associated_labels, extract
from edge_fmnist.model.predictions import Prediction, Predictions
from edge_fmnist.model.quantization import (
    UNIT_RANGE,
    Range,
    TensorInfo,
    are_probabilities,
    check_images,
    choose_output,
    dequantize,
    input_range,
    input_table,
    mirror,
    normalize,
    softmax,
    softmax_numerators,
)
from edge_fmnist.model.registry import DEFAULT_MODEL, ModelBytes, read_model
from edge_fmnist.model.tflite_graph import stated_input_range

# Images in one invocation of predict_batch: larger ones gained nothing on x86-64 and cost memory.
BATCH = 128
MAX_THREADS = 64
# Probabilities beyond 0 to 1 by more than this are logits.
PROBABILITY_TOLERANCE = 0.01
# Flip averaging leaves out the mirror image where the image alone has at least this score. The lowest limit of those
# tried that changed no answer on the training photographs and 10,000 training images (export/RESULTS.md).
FLIP_LIMIT = 0.9


class Bound(NamedTuple):
    """An interpreter with its tensors, used by one thread only; it runs ``images`` images at a time."""

    interpreter: Any
    input: TensorInfo
    output: TensorInfo
    images: int


class Classifier:
    """Classifies clothing with a TensorFlow Lite model: 28x28 images, photographs and frames.

    Safe to share between threads: each thread gets its own interpreters, since an interpreter is not thread-safe
    (gh:tensorflow/tensorflow#26365). So does a process that is forked from the only thread that used it; with several
    threads, prefer ``spawn``. Pickling keeps the file's content; unpickling loads it again.

    Attributes:
        labels: the names of the classes, in the order of the scores.
        flip_tta: flip test-time augmentation: outputs are averaged over an image and its mirror image, unless the image
            alone already has a score of ``FLIP_LIMIT`` or more.
        temperature: logits are divided by it before the softmax; 1 without calibration.
        metadata: this project's metadata in the file; None if it has none.
        assumptions: what the file does not state and was assumed, in sentences for a warning.
        info: which interpreter and delegate run the model.
        input: dtype, shape and quantization of the input tensor.
        output: the same of the output tensor.

    Example:
        >>> import numpy as np
        >>> from edge_fmnist import Classifier
        >>> classifier = Classifier("edge")
        >>> classifier.predict(np.zeros((28, 28), np.uint8)).label in classifier.labels
        True
    """

    def __init__(
        self,
        model: str | Path | bytes | ModelBytes = DEFAULT_MODEL,
        *,
        threads: int = 1,
        interpreter: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Load a shipped model by name, or any classifier of 28x28 images by path.

        What a file without this project's metadata does not state is assumed: Fashion-MNIST's ten labels, pixels
        scaled to 0..1 for a float input, and an output of probabilities if it looks like it (a quantized softmax, or
        rows that sum to 1), else of logits.

        Args:
            model: a name from ``edge-fmnist models``, the path of a ``.tflite`` file, or a file's content.
            threads: threads of the interpreter, 1 to 64.
            interpreter: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``; None chooses.
            labels: the names of the classes, instead of those in the file.

        Raises:
            ModelNotFoundError: neither a shipped model nor a file.
            ModelHashError: the file's bytes have changed.
            ModelError: not a model, a damaged one, or one with another kind of input or output.
            InterpreterError: no interpreter can be used.
            UsageError: another number of threads, or an unknown interpreter.
            DataError: labels that cannot be used: too few, too long, empty, or the same for two classes.
        """
        if not hasattr(threads, "__index__") or not 1 <= threads <= MAX_THREADS:
            raise UsageError(f"expected 1 to {MAX_THREADS} threads, got {threads!r}")
        if isinstance(model, bytes | bytearray | memoryview):
            model = ModelBytes(bytes(model), "model")
        elif not isinstance(model, str | os.PathLike | ModelBytes):
            raise UsageError(f"expected a name, a path or the bytes of a model file, got {type(model).__name__}")
        self._model = model if isinstance(model, ModelBytes) else read_model(model)
        threads = int(threads)
        if labels is not None and not isinstance(labels, str):
            # The caller's own list may change before it is pickled.
            labels = tuple(labels)
        self._options: dict[str, Any] = {"threads": threads, "interpreter": interpreter, "labels": labels}
        self._name = interpreters.choose(interpreter)
        self._local = threading.local()
        self._released: dict[str, Bound] = {}
        self._process = os.getpid()
        content, source = self._model.content, self._model.source
        self.metadata: Metadata | None = extract(content, source)
        stated = self.metadata.labels if self.metadata else None
        given = stated if labels is None else _given_labels(labels, stated or ())
        single = self._make(1, len(given or LABELS))
        self._classes = single.output.elements // single.images
        given = given or associated_labels(content, self._classes, source)
        self.labels: tuple[str, ...] = _used_labels(given or LABELS, self._classes, source)
        values, assumed_range = pixel_range(content, self.metadata, single.input)
        try:
            self._table = input_table(single.input, values)
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from error
        assumed = [] if given else [f"{source} has no labels: using Fashion-MNIST's"]
        low, high = values
        assumed += [f"{source} does not state its input range: scaling pixels to {low:g}..{high:g}"] * assumed_range
        self.assumptions: tuple[str, ...] = tuple(assumed)
        calibration = self.metadata.calibration if self.metadata else Calibration()
        self.temperature: float = calibration.temperature
        self._threshold: float = calibration.threshold
        self.flip_tta = self.metadata is not None and self.metadata.flip_tta
        self.info: InterpreterInfo = interpreters.describe(single.interpreter, self._name, threads)
        self.input, self.output = single.input, single.output
        logits = self.metadata is not None and self.metadata.output == "logits"
        self._numerators = softmax_numerators(self.output, self.temperature) if logits else None

    def __repr__(self) -> str:
        return f"Classifier({self._model.source!r}, {len(self.labels)} classes, {self.info.name}, {self.info.delegate})"

    def __getstate__(self) -> tuple[ModelBytes, dict[str, Any], float, bool]:
        return self._model, self._options, self.threshold, self.flip_tta

    def __setstate__(self, state: tuple[ModelBytes, dict[str, Any], float, bool]) -> None:
        model, options, threshold, flip_tta = state
        self.__init__(model, **options)  # type: ignore[misc]
        self._threshold, self.flip_tta = threshold, flip_tta

    @classmethod
    def load(
        cls,
        name_or_path: str | Path | bytes = DEFAULT_MODEL,
        *,
        threads: int = 1,
        interpreter: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> Classifier:
        """Load a model; the same as calling the class."""
        return cls(name_or_path, threads=threads, interpreter=interpreter, labels=labels)

    @property
    def name(self) -> str:
        """The name or path of the model."""
        return self._model.source

    @property
    def threshold(self) -> float:
        """Minimum score of a known class, 0 to 1; 0 without calibration. A loop takes it with its first frame.

        Raises:
            UsageError: it is set to something else than a number from 0 to 1.
        """
        return self._threshold

    @threshold.setter
    def threshold(self, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
            raise UsageError(f"expected a number from 0 to 1, got {value!r}", setting="threshold")
        self._threshold = float(value)

    @property
    def mirrored(self) -> bool:
        """The former name of :attr:`flip_tta`."""
        return self.flip_tta

    @property
    def content(self) -> bytes:
        """The bytes of the model file."""
        return self._model.content

    @property
    def source(self) -> str:
        """The name or path that the model was loaded from."""
        return self._model.source

    def load_other(self, model: str | Path | ModelBytes) -> Classifier:
        """Load another model with the threads and the interpreter of this one.

        Raises:
            EdgeFmnistError: as for :class:`Classifier`.
        """
        return Classifier(model, threads=self._options["threads"], interpreter=self._options["interpreter"])

    def release(self) -> None:
        """Give this thread's interpreters to the next thread that needs them, so that it does not have to make its own.

        Making an interpreter takes longer than running it: about 10 ms for ``camera``.
        """
        self._leave_inherited()
        self._released = dict(vars(self._local))
        vars(self._local).clear()

    @overload
    def __call__(self, picture: list[Any] | tuple[Any, ...]) -> list[Prediction | None]: ...
    @overload
    def __call__(self, picture: Any) -> Prediction | None: ...
    def __call__(self, picture: Any) -> Prediction | list[Prediction | None] | None:
        """Classify a picture of any kind, or a list of pictures in one batch.

        A 28x28 image is used as it is; in a larger picture, the garment is segmented and cropped first, as in
        ``edge-fmnist classify``.

        Args:
            picture: a path, the bytes of a file, an open file, a PIL image, or an array of uint8 or uint16 with shape
                (H, W) or (H, W, 1) grey, (H, W, 3) BGR, (H, W, 4) BGRA; or a list or tuple of them.

        Returns:
            The result, or None if no garment was found; for a list, a list of them.

        Raises:
            SourceError: a path that does not exist.
            ImageError: a picture that cannot be read or used.
            ModelError: a damaged model, which only running it shows.
        """
        from edge_fmnist.model.inputs import read_pixels
        from edge_fmnist.vision.preprocess import preprocess

        pictures = list(picture) if isinstance(picture, list | tuple) else [picture]
        images = [garment.image if garment.found else None for garment in map(preprocess, map(read_pixels, pictures))]
        found = [image for image in images if image is not None]
        predictions = iter(self.predict_batch(np.stack(found)) if found else ())
        results = [None if image is None else next(predictions) for image in images]
        return results if isinstance(picture, list | tuple) else results[0]

    def predict(self, image: np.ndarray) -> Prediction:
        """Classify one 28x28 image.

        Args:
            image: uint8, shape (28, 28), the garment bright on black (0).

        Raises:
            ImageError: another dtype or shape.
            ModelError: a damaged model, which only running it shows.
        """
        check_images(image, 2)
        started = time.perf_counter_ns()
        bound = self._bound(1)
        scores = self._scores(np.asarray(image)[None], lambda views: self._invoke(bound, views))[0]
        index = int(scores.argmax())
        milliseconds = (time.perf_counter_ns() - started) / 1e6
        label, score = self.labels[index], float(scores[index])
        return Prediction(label, index, score, scores, milliseconds, self.labels, self.threshold)

    def predict_batch(self, images: np.ndarray) -> Predictions:
        """Classify any number of 28x28 images.

        Args:
            images: uint8, shape (N, 28, 28) with N at least 1, garments bright on black (0).

        Raises:
            ImageError: another dtype or shape, or an empty batch.
            ModelError: a damaged model, which only running it shows.
        """
        check_images(images, 3)
        started = time.perf_counter_ns()
        scores = self._scores(images, lambda views: self.outputs(views)[0])
        return Predictions(scores, self.labels, (time.perf_counter_ns() - started) / 1e6, self.threshold)

    def values(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the output for any number of images as real numbers, and the time in milliseconds.

        Args:
            images: uint8, shape (N, 28, 28) with N at least 1.

        Returns:
            Logits or probabilities, whichever the model gives, float32, shape (N, outputs), unused outputs included;
            with flip test-time augmentation, the mean over each image and its mirror image, also where predictions
            leave it out.

        Raises:
            ImageError: another dtype or shape, or an empty batch.
            ModelError: a damaged model, which only running it shows.
        """
        started = time.perf_counter_ns()
        values = dequantize(self.outputs(images)[0], self.output)
        if self.flip_tta:
            values = (values + dequantize(self.outputs(mirror(images))[0], self.output)) / 2
        return values, (time.perf_counter_ns() - started) / 1e6

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the raw output tensor for any number of images, and the time in milliseconds.

        Args:
            images: uint8, shape (N, 28, 28) with N at least 1.

        Returns:
            The outputs as the model gives them, shape (N, outputs), still quantized.

        Raises:
            ImageError: another dtype or shape, or an empty batch.
            ModelError: a damaged model, which only running it shows.
        """
        check_images(images, 3)
        started = time.perf_counter_ns()
        # One by one is nearly as fast as in batches; filling up a last batch would cost as much as a whole one.
        whole = len(images) - len(images) % BATCH
        result = np.concatenate([*self._parts(images[:whole], BATCH), *self._parts(images[whole:], 1)])
        return result, (time.perf_counter_ns() - started) / 1e6

    def _parts(self, images: np.ndarray, batch: int) -> Iterator[np.ndarray]:
        """Yield the output tensors for images whose number is a multiple of ``batch``."""
        if len(images):
            bound = self._bound(batch)
            for start in range(0, len(images), bound.images):
                yield self._invoke(bound, images[start : start + bound.images])

    def _leave_inherited(self) -> None:
        """In a forked process, leave alone the interpreters that it inherits: their threads do not exist in it.

        To run or delete one would wait for these threads, also at the end of the process.
        """
        if self._process != os.getpid():
            import ctypes

            inherited = [*vars(self._local).values(), *self._released.values()]
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
            self._local, self._released = threading.local(), {}
            self._process = os.getpid()

    def _bound(self, batch: int) -> Bound:
        """Return this thread's interpreter for a batch size, made on first use."""
        self._leave_inherited()
        name = f"batch_{batch}"
        bound: Bound | None = getattr(self._local, name, None)
        if bound is None and (bound := self._released.pop(name, None)) is not None:
            setattr(self._local, name, bound)
        return bound or self._make(batch, self._classes)

    def _make(self, batch: int, classes: int) -> Bound:
        """Make this thread's interpreter for a batch size; a model that takes no such batch keeps its own size.

        Raises:
            ModelError: an input that takes no images, more than one input, or no single output for the classes.
        """
        source, threads = self._model.source, self._options["threads"]
        allocated = interpreters.create(
            self._model.content, name=self._name, threads=threads, batch=batch, source=source
        )
        input_ = TensorInfo.from_details(allocated.input)
        if (inputs := len(allocated.interpreter.get_input_details())) != 1:
            raise ModelError(f"{source}: expected a model with one input, got {inputs}")
        if not input_.images:
            raise ModelError(
                f"{source}: expected a model with input (1, 28, 28, 1) or another of 784 values an image, "
                f"got {input_.shape}"
            )
        outputs = [TensorInfo.from_details(details) for details in allocated.interpreter.get_output_details()]
        output = choose_output(outputs, input_.images, classes, source)
        if output.quantized and output.scale <= 0:
            raise ModelError(f"{source}: expected scores, got an output of whole numbers without a scale")
        bound = Bound(allocated.interpreter, input_, output, input_.images)
        setattr(self._local, f"batch_{batch}", bound)
        return bound

    def _invoke(self, bound: Bound, images: np.ndarray) -> np.ndarray:
        values = images if self._table is None else self._table[images]
        if len(images) < bound.images:
            values = np.concatenate([values, np.zeros((bound.images - len(images), 28, 28), values.dtype)])
        try:
            bound.interpreter.set_tensor(bound.input.index, values.reshape(bound.input.shape))
            bound.interpreter.invoke()
            # get_tensor copies, so the result stays valid after the next call.
            result: np.ndarray = bound.interpreter.get_tensor(bound.output.index)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._model.source}: failed while running, so the file is damaged ({error})") from error
        if not result.size or result.size % bound.images:
            raise ModelError(
                f"{self._model.source}: expected {bound.images} rows of outputs, got shape {result.shape} when it ran"
            )
        return result.reshape(bound.images, -1)[: len(images)]

    def _scores(self, images: np.ndarray, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the probabilities of the used classes for images; ``run`` returns the raw outputs.

        With flip test-time augmentation, only images without a clear answer are run as mirror images, too.
        """
        outputs = run(images)
        if self._numerators is None:
            scores = self._probabilities(dequantize(outputs, self.output))
        else:
            scores = self._numerators.take(outputs[:, : len(self.labels)])
            scores /= np.add.reduce(scores, axis=1, keepdims=True)
        if self.flip_tta and (unsure := scores.max(axis=1) < FLIP_LIMIT).any():
            first, second = (dequantize(view, self.output) for view in (outputs[unsure], run(mirror(images[unsure]))))
            scores[unsure] = self._probabilities((first + second) / 2)
        return scores

    def _probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities of the used classes for real outputs, shape (N, outputs)."""
        source = self._model.source
        if not np.isfinite(values).all():
            raise ModelError(f"{source}: gave outputs that are not finite (NaN or infinity)")
        if self.metadata is None:
            probabilities = are_probabilities(values, self.output)
        else:
            probabilities = self.metadata.output == "probabilities"
            if probabilities and np.abs(values - 0.5).max() > 0.5 + PROBABILITY_TOLERANCE:
                raise ModelError(
                    f"{source}: expected probabilities of 0 to 1, as its metadata states, got outputs from "
                    f"{values.min():g} to {values.max():g}"
                )
        used = values[:, : len(self.labels)]
        return normalize(used) if probabilities else softmax(used / np.float32(self.temperature))


def _given_labels(labels: Sequence[str], stated: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels that a caller gives, checked, with the names of the unused outputs that the file states."""
    names = (labels,) if isinstance(labels, str) else tuple(map(str, labels))
    check_labels(names, "labels")
    whole = filled(names, len(stated))
    return whole if whole[len(names) :] == stated[len(names) :] else names


def _used_labels(labels: tuple[str, ...], classes: int, source: str) -> tuple[str, ...]:
    """Return the labels without those of unused outputs at the end, which export names "unused" and their index."""
    if len(labels) != classes:
        raise ModelError(
            f"{source}: expected an output for {len(labels)} labels, got {classes}; name the model's classes with "
            "labels=(…), or with --labels FILE where a command has it"
        )
    used = len(labels)
    while used > 2 and labels[used - 1] == unused_label(used - 1):
        used -= 1
    return labels[:used]


def pixel_range(content: bytes, metadata: Metadata | None, tensor: TensorInfo) -> tuple[Range, bool]:
    """Return the input values of pixels 0 and 255, and whether they had to be assumed."""
    if metadata and metadata.pixel_scale:
        return (0.0, 255 * metadata.pixel_scale), False
    stated = input_range(tensor) or stated_input_range(content)
    if stated is None:
        return UNIT_RANGE, metadata is None
    return stated, False
