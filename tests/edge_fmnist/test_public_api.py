"""Pins the public API: a change here is a change for users."""

from __future__ import annotations

import dataclasses
import inspect
import re
from importlib.metadata import version
from typing import Any

import pytest

import edge_fmnist
from edge_fmnist import Classifier, ClassScore, Prediction, Predictions

ALL = [
    "CheckError",
    "ClassScore",
    "Classifier",
    "DataError",
    "DataNotFoundError",
    "DownloadError",
    "EdgeFmnistError",
    "ImageError",
    "InterpreterError",
    "LABELS",
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

SIGNATURES = {
    Classifier: {
        "load": "(name_or_path: str | Path = edge, *, threads: int = 1, interpreter: str | None = None) -> Classifier",
        "outputs": "(self, images: np.ndarray) -> tuple[np.ndarray, float]",
        "predict": "(self, image: np.ndarray) -> Prediction",
        "predict_batch": "(self, images: np.ndarray) -> Predictions",
    },
    Prediction: {
        "as_dict": "(self, top_k: int = 1) -> dict[str, Any]",
        "top": "(self, count: int) -> list[ClassScore]",
    },
    # Of its own; index, count and the like come with Sequence.
    Predictions: {"indexes": "(self) -> np.ndarray"},
}

FIELDS = {
    ClassScore: ["label", "index", "score"],
    Prediction: ["label", "index", "score", "scores", "milliseconds", "labels"],
    Predictions: ["scores", "labels", "milliseconds"],
}


def signature(member: Any) -> str:
    """Return a signature in the same words for every Python: some quote annotations."""
    function: Any = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return re.sub(r"^\(cls, ", "(", str(inspect.signature(function)).replace("'", ""))


def test_all_is_pinned() -> None:
    assert sorted(edge_fmnist.__all__) == ALL


@pytest.mark.parametrize("name", ALL)
def test_every_name_is_there(name: str) -> None:
    assert hasattr(edge_fmnist, name)


@pytest.mark.parametrize("cls", SIGNATURES)
def test_methods_are_pinned(cls: type) -> None:
    fields = FIELDS.get(cls, [])
    members = {name: member for name, member in vars(cls).items() if not name.startswith("_") and name not in fields}
    assert {name: signature(member) for name, member in members.items()} == SIGNATURES[cls]


@pytest.mark.parametrize("cls", FIELDS)
def test_fields_are_pinned(cls: Any) -> None:
    assert [field.name for field in dataclasses.fields(cls)] == FIELDS[cls]


def test_version_is_the_installed_one() -> None:
    assert edge_fmnist.__version__ == version("edge-fmnist")


def test_labels_are_fashion_mnists() -> None:
    assert edge_fmnist.LABELS == (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
