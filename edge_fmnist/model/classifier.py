"""The classifier: a model file, an interpreter, and typed answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import ModelError, UsageError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.interpreter import InterpreterInfo
from edge_fmnist.model.metadata import Calibration, Metadata, extract
from edge_fmnist.model.predictions import Prediction, Predictions
from edge_fmnist.model.quantization import (
    TensorInfo,
    are_probabilities,
    check_images,
    dequantize,
    input_table,
    mirror,
    normalize,
    softmax,
)
from edge_fmnist.model.registry import DEFAULT_MODEL, ModelBytes, read_model

# Images in one invocation of predict_batch: larger ones gained nothing on x86-64 and cost memory.
BATCH = 128


class Bound(NamedTuple):
    """An interpreter with its tensors, used by one thread only."""

    interpreter: Any
    input: TensorInfo
    output: TensorInfo


class Classifier:
    """Names the garment in 28x28 images with a TensorFlow Lite model.

    Safe to share between threads: each thread gets interpreters of its own,
    since an interpreter is not thread-safe (gh:tensorflow/tensorflow#26365).

    Attributes:
        labels: the names of the classes, in the order of the output.
        mirrored: whether outputs are averaged over an image and its mirror image.
        temperature: logits are divided by it before the softmax; 1 without calibration.
        threshold: the least score that counts as knowing, 0 to 1; 0 without calibration, so that every image is known.
        metadata: what the file says of itself; None where it says nothing.
        info: which interpreter and delegate run the model.
        input: dtype, shape and quantization of the input tensor.
        output: the same of the output tensor.

    Example:
        >>> import numpy as np
        >>> from edge_fmnist import Classifier
        >>> classifier = Classifier.load("edge")
        >>> classifier.predict(np.zeros((28, 28), np.uint8)).label in classifier.labels
        True
    """

    def __init__(
        self,
        model: ModelBytes,
        *,
        threads: int = 1,
        interpreter: str | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> None:
        """Make a classifier from a model's bytes; :meth:`load` is the usual way.

        Args:
            model: the model's bytes and what messages call it.
            threads: how many threads an interpreter may use, at least 1.
            interpreter: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``; None chooses.
            labels: the names of the classes, in place of those in the file.

        Raises:
            UsageError: ``threads`` below 1, or an unknown interpreter.
            InterpreterError: no interpreter can be used.
            ModelError: not a model, a truncated one, or one whose input or output does not fit.
        """
        if threads < 1:
            raise UsageError(f"expected at least 1 thread, got {threads}")
        self._model = model
        self._threads = threads
        self._name = interpreters.choose(interpreter)
        self._local = threading.local()
        single = self._bound(1)
        _check_tensors(single.input, single.output, model.source)
        try:
            self._table = input_table(single.input)
        except ModelError as error:
            raise ModelError(f"{model.source}: {error}") from error
        self.metadata: Metadata | None = extract(model.content, model.source)
        calibration = self.metadata.calibration if self.metadata else Calibration()
        self.temperature, self.threshold = calibration.temperature, calibration.threshold
        self.mirrored = self.metadata is not None and self.metadata.mirrored
        given = labels or (self.metadata.labels if self.metadata else LABELS)
        self.labels: tuple[str, ...] = _checked_labels(given, single.output, model.source)
        self.info: InterpreterInfo = interpreters.describe(single.interpreter, self._name, threads)
        self.input, self.output = single.input, single.output

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        *,
        threads: int = 1,
        interpreter: str | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> Classifier:
        """Load a shipped model by name, or any model file by path.

        A file without this project's metadata is taken for a Fashion-MNIST
        model: the ten labels in their order, pixels scaled to 0..1, and an
        output that is probabilities if it looks so (a quantized softmax, or
        rows that sum to 1) and logits if not.

        Args:
            name_or_path: a name from ``edge-fmnist models``, or a ``.tflite`` file.
            threads: how many threads an interpreter may use, at least 1.
            interpreter: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``; None chooses.
            labels: the names of the classes, in place of those in the file.

        Raises:
            ModelNotFoundError: neither a shipped model nor a file.
            ModelHashError: a shipped model whose bytes have changed.
            ModelError: not a model, a truncated one, or one whose input or output does not fit.
            InterpreterError: no interpreter can be used.
            UsageError: ``threads`` below 1, or an unknown interpreter.
        """
        return cls(read_model(name_or_path), threads=threads, interpreter=interpreter, labels=labels)

    def predict(self, image: np.ndarray) -> Prediction:
        """Classify one image.

        Args:
            image: uint8, shape (28, 28), the garment bright on black (0).

        Raises:
            ImageError: another dtype or shape.
            ModelError: a damaged model that only running it shows.
        """
        check_images(image, 2)
        started = time.perf_counter_ns()
        bound = self._bound(1)
        scores = self._scores(self._averaged(lambda views: self._invoke(bound, views), image[None]))[0]
        index = int(scores.argmax())
        milliseconds = (time.perf_counter_ns() - started) / 1e6
        label, score = self.labels[index], float(scores[index])
        return Prediction(label, index, score, scores, milliseconds, self.labels, self.threshold)

    def predict_batch(self, images: np.ndarray) -> Predictions:
        """Classify any number of images.

        Args:
            images: uint8, shape (N, 28, 28) with N at least 1, garments bright on black (0).

        Raises:
            ImageError: another dtype or shape, or an empty batch.
            ModelError: a damaged model that only running it shows.
        """
        values, milliseconds = self.values(images)
        return Predictions(self._scores(values), self.labels, milliseconds, self.threshold)

    def values(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the output for any number of images as real numbers, and the milliseconds it took.

        Args:
            images: uint8, shape (N, 28, 28) with N at least 1.

        Returns:
            Logits or probabilities, whichever the model gives, float32, shape (N, classes); where the model asks
            for it, the mean over each image and its mirror image.

        Raises:
            ImageError: another dtype or shape, or an empty batch.
            ModelError: a damaged model that only running it shows.
        """
        started = time.perf_counter_ns()
        values = self._averaged(lambda views: self.outputs(views)[0], images)
        return values, (time.perf_counter_ns() - started) / 1e6

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the raw output tensor for any number of images, and the milliseconds it took.

        Args:
            images: uint8, shape (N, 28, 28) with N at least 1.

        Returns:
            The outputs as the model gives them, shape (N, classes), still quantized.

        Raises:
            ImageError: another dtype or shape, or an empty batch.
            ModelError: a damaged model that only running it shows.
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
            # 1 for a model that was made for one image, whatever was asked for.
            size = bound.input.shape[0]
            for start in range(0, len(images), size):
                yield self._invoke(bound, images[start : start + size])

    def _bound(self, batch: int) -> Bound:
        """Return this thread's interpreter for a batch size, made on first use."""
        bound: Bound | None = getattr(self._local, f"batch_{batch}", None)
        if bound is None:
            allocated = interpreters.create(
                self._model.content, name=self._name, threads=self._threads, batch=batch, source=self._model.source
            )
            bound = Bound(
                allocated.interpreter,
                TensorInfo.from_details(allocated.input),
                TensorInfo.from_details(allocated.output),
            )
            setattr(self._local, f"batch_{batch}", bound)
        return bound

    def _invoke(self, bound: Bound, images: np.ndarray) -> np.ndarray:
        values = images if self._table is None else self._table[images]
        try:
            bound.interpreter.set_tensor(bound.input.index, values[..., None])
            bound.interpreter.invoke()
            # get_tensor copies, so the result stays valid after the next call.
            result: np.ndarray = bound.interpreter.get_tensor(bound.output.index)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._model.source}: failed while running, so the file is damaged ({error})") from error
        return result

    def _averaged(self, run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
        """Return what ``run`` outputs for images as real numbers, averaged with their mirror images if so asked."""
        values = dequantize(run(images), self.output)
        return (values + dequantize(run(mirror(images)), self.output)) / 2 if self.mirrored else values

    def _scores(self, values: np.ndarray) -> np.ndarray:
        if self.metadata is not None:
            probabilities = self.metadata.output == "probabilities"
        else:
            probabilities = are_probabilities(values, self.output)
        return normalize(values) if probabilities else softmax(values / np.float32(self.temperature))


def _check_tensors(input_: TensorInfo, output: TensorInfo, source: str) -> None:
    if input_.shape != (1, 28, 28, 1):
        raise ModelError(f"{source}: expected a model with input (1, 28, 28, 1), got {input_.shape}")
    if len(output.shape) != 2 or output.shape[0] != 1:
        raise ModelError(f"{source}: expected a model with output (1, classes), got {output.shape}")


def _checked_labels(labels: tuple[str, ...], output: TensorInfo, source: str) -> tuple[str, ...]:
    if len(labels) != output.shape[1]:
        raise ModelError(f"{source}: expected an output for {len(labels)} labels, got {output.shape[1]}")
    return labels
