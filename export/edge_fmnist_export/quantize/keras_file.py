"""Export a user's own Keras classifier, with the same checks as a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.data.dataset import Split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError, ModelError, ModelNotFoundError
from edge_fmnist.vision.picture_files import find_pictures, log_warning
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist.vision.read_image import read_picture
from edge_fmnist_export.quantize.convert import IoType, representative_images
from edge_fmnist_export.quantize.exporting import Exporter
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import scaled

# Random seed of the representative dataset.
SEED = 0
# Larger than any factor that brings pixels from 0..255 to a usual range; others are part of the network.
LARGEST_SCALE = 0.05
# Test images for which both ranges of pixels are tried, how many there must be, and the gain that decides.
TRIED, LEAST_TRIED, MARGIN = 500, 50, 0.2
EXPECTED_INPUT = "expected a classifier of 28x28 grey images (28, 28, 1), (28, 28) or (784,)"


@interrupted_later()
def load_classifier(path: Path, test: Split | None = None) -> tuple[Any, int, str]:
    """Load a Keras classifier for 28x28 images.

    Its pixels are 0 to 255 if it begins with a Rescaling layer, or if it is much more accurate with them on the test
    images, else 0 to 1.

    Returns:
        A Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to float32 (N, classes); the number of classes;
        ``"logits"`` or ``"probabilities"``.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: unreadable, or another input or output.
    """
    keras = backend.keras_on_tensorflow()
    inner = _read(path, keras)
    scales = (255.0, 1.0) if _rescales(inner, keras) else (1.0, 255.0)
    model, values = _classifier(inner, scales[0], path, keras)
    if test is not None and len(test) >= LEAST_TRIED:
        other, _ = _classifier(inner, scales[1], path, keras)
        accuracy, others = (_accuracy(each, test) for each in (model, other))
        if others > accuracy + MARGIN:
            model = other
            log_warning(
                f"{path}: taken as a model of pixels from 0 to {scales[1]:g}: {others:.0%} of some test images are "
                f"right with them, and {accuracy:.0%} with 0 to {scales[0]:g}"
            )
    elif path.is_dir() and test is None:
        log_warning(
            f"{path}: its pixels are taken to be from 0 to 1; with a test split (--data), the range is measured"
        )
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: its outputs are not finite")
    probabilities = values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3)
    if not probabilities and values.min() >= 0 and values.max() <= 1:
        raise ModelError(f"{path}: expected outputs of a softmax, or logits; got values from 0 to 1 as of a sigmoid")
    return model, values.shape[1], "probabilities" if probabilities else "logits"


def _classifier(inner: Any, scale: float, path: Path, keras: Any) -> tuple[Any, np.ndarray]:
    """Return a model of pixels from 0 to 1, of one of pixels from 0 to ``scale``, and its outputs for random images."""
    inputs = keras.Input((28, 28, 1))
    outputs = _output(inner, keras.layers.Rescaling(scale)(inputs) if scale != 1 else inputs, path, keras)
    shape = tuple(getattr(outputs, "shape", ()))
    if len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise ModelError(f"{path}: expected one output of shape (N, classes), got {shape or 'several'}")
    model = keras.Model(inputs, outputs)
    try:
        return model, np.asarray(model.predict_on_batch(np.random.default_rng(0).random((16, 28, 28, 1), np.float32)))
    except Exception as error:  # whatever Keras raises for a shape that does not fit after all
        raise ModelError(f"{path}: {EXPECTED_INPUT}") from error


def _accuracy(model: Any, test: Split) -> float:
    """Return the accuracy on some of the test images, 0 to 1."""
    # Of all parts: they may be sorted by class.
    chosen = np.linspace(0, len(test) - 1, min(TRIED, len(test))).astype(int)
    values = model.predict_on_batch(scaled(test.images[chosen]))
    return float((np.asarray(values).argmax(axis=1) == test.targets[chosen]).mean())


def _read(path: Path, keras: Any) -> Any:
    """Return the model in a file or in the folder of a SavedModel."""
    if not path.exists():
        raise ModelNotFoundError(f"{path}: no such file")
    try:
        if path.is_dir():
            return keras.layers.TFSMLayer(str(path), call_endpoint="serving_default")
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever Keras and h5py raise for a damaged or foreign file
        raise ModelError(f"{path}: Keras cannot load it ({type(error).__name__}: {error})") from error
    for layer in model._flatten_layers():
        if layer.dtype_policy.quantization_mode:
            raise ModelError(f"{path}: was quantized by Keras, which cannot be converted; save the model before that")
        if "float16" in layer.dtype_policy.name:
            # Mixed precision. The weights are float32, and TensorFlow Lite lacks operators of float16.
            layer.dtype_policy = keras.DTypePolicy("float32")
    return model


def _output(inner: Any, pixels: Any, path: Path, keras: Any) -> Any:
    """Return a model's output for images (N, 28, 28, 1), in the shape that it takes."""
    for shape in ((28, 28, 1), (28, 28), (784,)):
        try:
            outputs = inner(keras.layers.Reshape(shape)(pixels))
        except Exception as error:  # Keras raises several types for a shape that does not fit
            problem = str(error).strip().partition("\n")[0]
            continue
        # A SavedModel returns its outputs by name.
        return next(iter(outputs.values())) if isinstance(outputs, dict) and len(outputs) == 1 else outputs
    raise ModelError(f"{path}: {EXPECTED_INPUT} ({problem})")


def _rescales(model: Any, keras: Any) -> bool:
    """Return whether a model, or one that is a layer of it, begins with a Rescaling of pixels from 0 to 255."""
    for layer in getattr(model, "layers", []):
        scales = isinstance(layer, keras.layers.Rescaling) and np.max(np.abs(layer.scale)) <= LARGEST_SCALE
        if scales or _rescales(layer, keras):
            return True
        if layer.weights:
            return False
    return False


def images_of(folder: Path) -> np.ndarray:
    """Return the pictures of a folder as a classifier's input, uint8, shape (N, 28, 28).

    Raises:
        DataError: no pictures in which a garment is found.
        ImageError: an unreadable picture.
    """
    results = {name: preprocess(read_picture(name)) for name in find_pictures(str(folder))}
    if empty := [name for name, result in results.items() if not result.found]:
        log_warning(f"{len(empty)} of {len(results)} pictures without a garment were left out ({empty[0]})")
    if len(empty) == len(results):
        raise DataError(f"{folder}: expected pictures of garments for calibration, found none")
    return np.stack([result.image for result in results.values() if result.found])


class KerasFileExporter(Exporter):
    """Exports a Keras file; int8 is by post-training quantization."""

    def __init__(
        self, path: Path, *, io: IoType = "uint8", test: Split | None = None, labels: tuple[str, ...] | None = None
    ) -> None:
        """Load a Keras classifier.

        Raises:
            MissingExtraError: the extra ``[export]`` is not installed.
            ModelNotFoundError: no such file.
            ModelError: unreadable, or another input or output.
            DataError: the number of labels does not fit the model, or the test split's classes do not.
        """
        model, classes, self._output = load_classifier(path, test)
        names = LABELS if labels is None else labels
        if len(names) != classes:
            raise DataError(f"{path}: expected {classes} labels, got {len(names)}; give a file of them with --labels")
        self._prepare(path.resolve().name if path.is_dir() else path.stem, model, names, io, test)
        self._path = path

    def calibrate_on(self, images: np.ndarray, count: int) -> None:
        """Select ``count`` random images, uint8 (N, 28, 28), as representative dataset."""
        chosen = np.random.default_rng(SEED).permutation(len(images))[:count]
        self.representative = representative_images(images[np.sort(chosen)], SEED)

    def _settings(self) -> dict[str, Any]:
        return {"name": self.name, "source": self._path.name, "output": self._output}
