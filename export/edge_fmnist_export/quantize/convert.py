"""Convert Keras models to TensorFlow Lite files."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import CheckError, DataError
from edge_fmnist_export.architectures.registry import INPUT_SHAPE
from edge_fmnist_export.quantize.compact import compact
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import Subset, scaled

IoType = Literal["uint8", "int8", "float32"]


@dataclass(frozen=True, eq=False)
class Representative:
    """The representative dataset of post-training quantization: images, uint8 (N, 28, 28), and how they were chosen."""

    images: np.ndarray
    seed: int
    sha256: str

    def samples(self) -> Iterator[list[np.ndarray]]:
        """Yield one image at a time for the converter: float32 (1, 28, 28, 1), values 0 to 1."""
        for image in self.images:
            yield [scaled(image[None])]


def representative_dataset(train: Subset, count: int, seed: int, classes: int | None = None) -> Representative:
    """Select a representative dataset from training images, balanced by class as far as they allow.

    A few hundred images are enough; more are not better (gh:tensorflow/tensorflow#49927).

    ``count`` is rounded down to the same number of images of each class; without ``classes``, of those in the images. A
    class with fewer images gives all of them.

    Raises:
        DataError: a count below one of each class.
    """
    classes = classes or int(train.targets.max()) + 1
    each = count // classes
    if each < 1:
        raise DataError(f"expected {classes} representative images or more, one of each class, got {count}")
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(train.targets == index) for index in range(classes)]
    chosen = [rng.choice(found, min(each, len(found)), replace=False) for found in places]
    return representative_images(train.images[np.sort(np.concatenate(chosen))], seed)


def representative_images(images: np.ndarray, seed: int) -> Representative:
    """Return selected images, uint8 (N, 28, 28), as representative dataset; ``seed`` is that of the selection.

    The darkest and the brightest pixel of all become 0 and 255: their range becomes that of the file's input.
    """
    if len(images) and (images.min() > 0 or images.max() < 255):
        flat = images.reshape(-1).copy()
        darkest, brightest = (0, -1) if images.min() == images.max() else (flat.argmin(), flat.argmax())
        flat[darkest], flat[brightest] = 0, 255
        images = flat.reshape(images.shape)
    return Representative(images, seed, hashlib.sha256(images.tobytes()).hexdigest())


@interrupted_later()
def _converter_of_keras3(model: Any) -> Any:
    """Return a converter for a Keras 3 model, with a dynamic batch size."""
    tensorflow = backend.tensorflow_module()
    signature = tensorflow.TensorSpec([None, *INPUT_SHAPE], tensorflow.float32, name="image")

    def serve(image: Any) -> Any:
        return model(image, training=False)

    # AutoGraph has nothing to rewrite here, and warns without source code.
    concrete = tensorflow.function(serve, input_signature=[signature], autograph=False).get_concrete_function()
    # The converter freezes only variables that are attributes; Keras 3 wraps its own.
    holder = tensorflow.Module()
    holder.weights = [variable.value for variable in model.variables]
    return tensorflow.lite.TFLiteConverter.from_concrete_functions([concrete], holder)


def _make_integer(converter: Any, io: IoType) -> None:
    tensorflow = backend.tensorflow_module()
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = getattr(tensorflow, io)
    # Per-channel Dense weights break TFLite Micro (gh:tensorflow/tflite-micro PR#2602).
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True


@interrupted_later()
def _convert(converter: Any) -> bytes:
    with warnings.catch_warnings():
        # The ranges of a quantization-aware model are in its graph; the converter looks for them elsewhere as well.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        try:
            return bytes(converter.convert())
        except Exception as error:  # whatever TensorFlow raises for layers that it cannot convert
            reason = str(error).strip().partition("\n")[0]
            raise CheckError(f"TensorFlow Lite cannot convert this model: {reason or type(error).__name__}") from error


def convert_float(model: Any, kind: str) -> bytes:
    """Convert a Keras 3 model (TensorFlow back end) to float32, float16 or dynamic-range weights.

    Input and output are float32.
    """
    tensorflow = backend.tensorflow_module()
    converter = _converter_of_keras3(model)
    if kind != "float32":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tensorflow.float16]
    return _convert(converter)


def convert_ptq(model: Any, representative: Representative, io: IoType) -> bytes:
    """Quantize a float Keras 3 model (TensorFlow back end) to int8 after training."""
    converter = _converter_of_keras3(model)
    _make_integer(converter, io)
    converter.target_spec.supported_ops = [backend.tensorflow_module().lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = representative.samples
    return compact(_convert(converter))


def convert_qat(model: Any, io: IoType) -> bytes:
    """Convert a quantization-aware ``tf_keras`` model to int8."""
    with tempfile.TemporaryDirectory() as folder:
        _save_prediction(model, folder)
        converter = backend.tensorflow_module().lite.TFLiteConverter.from_saved_model(folder)
        _make_integer(converter, io)
        return compact(_convert(converter))


@interrupted_later()
def _save_prediction(model: Any, folder: str) -> None:
    """Save the prediction of a ``tf_keras`` model as a SavedModel.

    The converter's ``from_keras_model`` saves the whole model, for which it traces each layer several times; its file
    has the same bytes.
    """
    tensorflow = backend.tensorflow_module()
    (image,), (output,) = model.input_names, model.output_names
    signature = tensorflow.TensorSpec(model.input_shape, tensorflow.float32, name=image)

    def serve(images: Any) -> Any:
        return {output: model(images, training=False)}

    holder = tensorflow.Module()
    # Without its variables, the function cannot be saved.
    holder.weights = list(model.variables)
    holder.serve = tensorflow.function(serve, input_signature=[signature], autograph=False)
    tensorflow.saved_model.save(holder, folder, signatures=holder.serve.get_concrete_function())
