"""Name the garment: int8 Fashion-MNIST models on small machines.

>>> from edge_fmnist import Classifier
>>> classifier = Classifier.load("edge")

Nothing here imports TensorFlow, Keras or matplotlib.
"""

from importlib.metadata import version

from edge_fmnist.classifier import Classifier
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
    SourceError,
    UsageError,
)
from edge_fmnist.labels import LABELS
from edge_fmnist.predictions import ClassScore, Prediction, Predictions

__version__ = version("edge-fmnist")

__all__ = [
    "LABELS",
    "CheckError",
    "ClassScore",
    "Classifier",
    "DataError",
    "DataNotFoundError",
    "DownloadError",
    "EdgeFmnistError",
    "ImageError",
    "InterpreterError",
    "MissingExtraError",
    "ModelError",
    "ModelHashError",
    "ModelNotFoundError",
    "Prediction",
    "Predictions",
    "RecipeError",
    "RunError",
    "RunNotFoundError",
    "SourceError",
    "UsageError",
    "__version__",
]
