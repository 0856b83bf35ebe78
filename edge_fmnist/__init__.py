"""Classify clothing on edge devices with int8 Fashion-MNIST models.

>>> from edge_fmnist import Classifier
>>> classifier = Classifier("camera")

Nothing here imports TensorFlow, unless it is chosen as the interpreter, Keras or matplotlib.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edge_fmnist.errors import (
    CancelledError,
    CheckError,
    DataError,
    DataNotFoundError,
    DownloadError,
    EdgeFmnistError,
    ImageError,
    InterpreterError,
    MissingExtraError,
    ModelError,
    ModelHashError,
    ModelNotFoundError,
    RecipeError,
    RunError,
    RunNotFoundError,
    SinkClosedError,
    SinkError,
    SourceError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from edge_fmnist.api import live
    from edge_fmnist.data.labels import LABELS
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.model.predictions import ClassScore, Prediction, Predictions
    from edge_fmnist.pipeline.loop import LiveLoop
    from edge_fmnist.pipeline.results import Frame, LiveResult, Stages
    from edge_fmnist.pipeline.stats import LiveStats
    from edge_fmnist.teaching.results import Taught
    from edge_fmnist.teaching.teach import teach
    from edge_fmnist.vision.detection import Box, Garment

# pyproject.toml takes it from here: reading the package's metadata would take a quarter of `edge-fmnist --version`.
__version__ = "0.1.0"
# Imported on first use, since NumPy alone takes longer than Python's start: `edge-fmnist --version` needs none of them.
_MODULES = {
    "api": ("live",),
    "data.labels": ("LABELS",),
    "model.classifier": ("Classifier",),
    "model.predictions": ("ClassScore", "Prediction", "Predictions"),
    "pipeline.loop": ("LiveLoop",),
    "pipeline.results": ("Frame", "LiveResult", "Stages"),
    "pipeline.stats": ("LiveStats",),
    "teaching.results": ("Taught",),
    "teaching.teach": ("teach",),
    "vision.detection": ("Box", "Garment"),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _MovedModule(ModuleType):
    """Stands at a module's former path and imports it from its new one on first use."""

    def __init__(self, former: str, target: str) -> None:
        super().__init__(former, f"Moved to ``{target}``.")
        self._target = target

    def __getattr__(self, name: str) -> Any:
        # The inspect module asks all modules for special names, which should not import anything.
        if name.startswith("__") and self._target not in sys.modules:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(self._target), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function that has the module's name."""
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **options)


def keep_former_paths(package: str, moved: Mapping[str, str]) -> None:
    """Let modules be imported by the paths that earlier versions documented.

    Args:
        package: the package, for example ``"edge_fmnist"``.
        moved: the new path below the package for each former name.
    """
    for former, target in moved.items():
        module = sys.modules[f"{package}.{former}"] = _MovedModule(f"{package}.{former}", f"{package}.{target}")
        setattr(sys.modules[package], former, module)


keep_former_paths(
    __name__,
    {
        "dataset": "data.dataset",
        "pictures": "vision.read_image",
        "preprocess": "vision.preprocess",
        "samples": "data.samples",
    },
)
# Both the function of vision.preprocess, imported on first use, and the former module of that name.
preprocess: Any = sys.modules[f"{__name__}.preprocess"]


def read_image(source: Any) -> np.ndarray:
    """Read and decode a picture.

    A large picture in a file is reduced by a whole factor, so that its longest edge has 384 pixels or more. A PIL image
    is not.

    Args:
        source: a path, the bytes of a file, an open file or a PIL image.

    Returns:
        uint8 or uint16; shape (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        SourceError: a path that does not exist.
        ImageError: it cannot be read, or is not a picture.
    """
    from edge_fmnist.model.inputs import read_pixels

    return read_pixels(source)


__all__ = [
    "LABELS",
    "Box",
    "CancelledError",
    "CheckError",
    "ClassScore",
    "Classifier",
    "DataError",
    "DataNotFoundError",
    "DownloadError",
    "EdgeFmnistError",
    "Frame",
    "Garment",
    "ImageError",
    "InterpreterError",
    "LiveLoop",
    "LiveResult",
    "LiveStats",
    "MissingExtraError",
    "ModelError",
    "ModelHashError",
    "ModelNotFoundError",
    "Prediction",
    "Predictions",
    "RecipeError",
    "RunError",
    "RunNotFoundError",
    "SinkClosedError",
    "SinkError",
    "SourceError",
    "Stages",
    "Taught",
    "UsageError",
    "__version__",
    "live",
    "preprocess",
    "read_image",
    "teach",
]
