"""Name the garment: int8 Fashion-MNIST models on small machines.

>>> from edge_fmnist import Classifier
>>> classifier = Classifier.load("edge")

Nothing here imports TensorFlow, Keras or matplotlib.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from edge_fmnist.api import live
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import (
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
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.predictions import ClassScore, Prediction, Predictions
from edge_fmnist.pipeline.loop import LiveLoop
from edge_fmnist.pipeline.results import Frame, LiveResult, Stages
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.vision.detection import Box, Garment

__version__ = version("edge-fmnist")


class _MovedModule(ModuleType):
    """Stands at a module's former path and imports it from its new one on first use."""

    def __init__(self, former: str, target: str) -> None:
        super().__init__(former, f"Moved to ``{target}``.")
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._target), name)


def keep_former_paths(package: str, moved: Mapping[str, str]) -> None:
    """Let modules be imported by the paths that earlier versions documented.

    Args:
        package: the package, for example ``"edge_fmnist"``.
        moved: the new path below the package for each former name.
    """
    for former, target in moved.items():
        sys.modules[f"{package}.{former}"] = _MovedModule(f"{package}.{former}", f"{package}.{target}")


keep_former_paths(
    __name__,
    {
        "dataset": "data.dataset",
        "pictures": "vision.read_image",
        "preprocess": "vision.preprocess",
        "samples": "data.samples",
    },
)

__all__ = [
    "LABELS",
    "Box",
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
    "UsageError",
    "__version__",
    "live",
]
