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

# Random seed of the representative dataset.
SEED = 0
# Larger than any factor that brings pixels from 0..255 to a usual range; others are part of the network.
LARGEST_SCALE = 0.05


@interrupted_later()
def load_classifier(path: Path) -> tuple[Any, int, str]:
    """Load a Keras classifier for 28x28 images.

    Returns:
        A Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to float32 (N, classes); the number of classes;
        ``"logits"`` or ``"probabilities"``.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: unreadable, or another input or output.
    """
    keras = backend.keras_on_tensorflow()
    inputs = keras.Input((28, 28, 1))
    outputs = _output(_read(path, keras), inputs, path, keras)
    shape = tuple(getattr(outputs, "shape", ()))
    if len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise ModelError(f"{path}: expected one output of shape (N, classes), got {shape or 'several'}")
    model = keras.Model(inputs, outputs)
    values = np.asarray(model.predict_on_batch(np.random.default_rng(0).random((16, 28, 28, 1), np.float32)))
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: its outputs are not finite")
    probabilities = values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3)
    if not probabilities and values.min() >= 0 and values.max() <= 1:
        raise ModelError(f"{path}: expected outputs of a softmax, or logits; got values from 0 to 1 as of a sigmoid")
    return model, int(shape[1]), "probabilities" if probabilities else "logits"


def _read(path: Path, keras: Any) -> Any:
    """Return the model in a file or in the folder of a SavedModel."""
    if not path.exists():
        raise ModelNotFoundError(f"{path}: no such file")
    try:
        if path.is_dir():
            return keras.layers.TFSMLayer(str(path), call_endpoint="serving_default")
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever Keras and h5py raise for a damaged or foreign file
        raise ModelError(f"{path}: Keras cannot load it ({type(error).__name__}: {error})") from error


def _output(inner: Any, inputs: Any, path: Path, keras: Any) -> Any:
    """Return a model's output for images (N, 28, 28, 1), 0 to 1, in the shape and range that it takes."""
    # A model with a Rescaling layer takes pixels from 0 to 255.
    pixels = keras.layers.Rescaling(255.0)(inputs) if _rescales(inner, keras) else inputs
    for shape in ((28, 28, 1), (28, 28), (784,)):
        try:
            outputs = inner(keras.layers.Reshape(shape)(pixels))
        except Exception:  # noqa: S112 - Keras raises several types for a shape that does not fit
            continue
        # A SavedModel returns its outputs by name.
        return next(iter(outputs.values())) if isinstance(outputs, dict) and len(outputs) == 1 else outputs
    raise ModelError(f"{path}: expected a classifier of 28x28 grey images (28, 28, 1), (28, 28) or (784,)")


def _rescales(model: Any, keras: Any) -> bool:
    """Return whether a model, or one that is a layer of it, has a Rescaling layer for pixels from 0 to 255."""
    return any(
        (isinstance(layer, keras.layers.Rescaling) and np.max(np.abs(layer.scale)) <= LARGEST_SCALE)
        or _rescales(layer, keras)
        for layer in getattr(model, "layers", [])
    )


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
        model, classes, self._output = load_classifier(path)
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
