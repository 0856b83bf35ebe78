"""Name the garment: int8 Fashion-MNIST models on small machines.

>>> from edge_fmnist import Classifier
>>> classifier = Classifier.load("edge")

Nothing here imports TensorFlow, Keras or matplotlib.
"""

from importlib.metadata import version

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
from edge_fmnist.model.labels import LABELS
from edge_fmnist.model.predictions import ClassScore, Prediction, Predictions
from edge_fmnist.pipeline.loop import LiveLoop, live
from edge_fmnist.pipeline.results import Frame, LiveResult, Stages
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.vision.detection import Box, Garment

__version__ = version("edge-fmnist")

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
