"""Pins the public API: a change here is a change for users."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_fmnist
from edge_fmnist import (
    Box,
    Classifier,
    ClassScore,
    Frame,
    Garment,
    LiveLoop,
    LiveResult,
    LiveStats,
    Prediction,
    Predictions,
    Stages,
    live,
)

ALL = [
    "Box", "CancelledError", "CheckError", "ClassScore", "Classifier", "DataError", "DataNotFoundError",
    "DownloadError", "EdgeFmnistError", "Frame", "Garment", "ImageError", "InterpreterError", "LABELS", "LiveLoop",
    "LiveResult", "LiveStats", "MissingExtraError", "ModelError", "ModelHashError", "ModelNotFoundError",
    "Prediction", "Predictions", "RecipeError", "RunError", "RunNotFoundError", "SinkClosedError", "SinkError",
    "SourceError", "Stages", "Taught", "UsageError", "__version__", "live", "preprocess", "read_image", "teach",
]  # fmt: skip

SIGNATURES = {
    Classifier: {
        "content": "(self) -> bytes",
        "load": "(name_or_path: str | Path | bytes = edge, *, threads: int = 1, interpreter: str | None = None, "
        "labels: Sequence[str] | None = None) -> Classifier",
        "load_other": "(self, model: str | Path | ModelBytes) -> Classifier",
        "name": "(self) -> str",
        "mirrored": "(self) -> bool",
        "outputs": "(self, images: np.ndarray) -> tuple[np.ndarray, float]",
        "predict": "(self, image: np.ndarray) -> Prediction",
        "predict_batch": "(self, images: np.ndarray) -> Predictions",
        "release": "(self) -> None",
        "source": "(self) -> str",
        "threshold": "(self) -> float",
        "values": "(self, images: np.ndarray) -> tuple[np.ndarray, float]",
    },
    Prediction: {
        "answer": "(self) -> str",
        "as_dict": "(self, top_k: int = 1) -> dict[str, Any]",
        "known": "(self) -> bool",
        "top": "(self, count: int) -> list[ClassScore]",
    },
    # Of its own; index, count and the like come with Sequence.
    Predictions: {"indexes": "(self) -> np.ndarray"},
    Garment: {"outline": "(self) -> list[np.ndarray]"},
    LiveLoop: {
        "classifier": "(self) -> Classifier",
        "close": "(self) -> None",
        "labels": "(self) -> tuple[str, ...]",
        "open": "(self) -> None",
        "stats": "(self) -> LiveStats",
        "stop": "(self) -> None",
        "stopping": "(self) -> bool",
        "swap": "(self, classifier: Classifier) -> None",
        "time_left": "(self) -> float",
    },
    LiveResult: {"as_dict": "(self) -> dict[str, Any]"},
    LiveStats: {"as_dict": "(self) -> dict[str, Any]", "fps": "(self) -> float"},
    Stages: {"total": "(self) -> float"},
}

FIELDS = {
    ClassScore: ["label", "index", "score"],
    Prediction: ["label", "index", "score", "scores", "milliseconds", "labels", "threshold"],
    Predictions: ["scores", "labels", "milliseconds", "threshold"],
    Frame: ["picture", "index", "captured", "name", "small"],
    Garment: ["found", "image", "mask", "box", "confidence", "frame_shape"],
    LiveResult: [
        *("frame", "garment", "prediction", "label", "score", "scores", "labels"),
        *("stages", "age", "seen", "dropped", "fps"),
    ],
    LiveStats: [
        *("seen", "dropped", "results", "unusable", "reconnects", "seconds", "milliseconds", "labels"),
        "not_written",
    ],
    Stages: ["preprocess", "classify", "smooth"],
}

LIVE = {
    "source": "auto", "model": None, "watch_model": False, "ca": None, "insecure": False,
    "width": None, "height": None, "fps": None, "rotate": 0, "mirror": False, "roi": None,
    "threads": 1, "interpreter": None, "realtime": False, "max_failures": None, "smoothing": None, "threshold": None,
    "frames": None, "seconds": None, "max_fps": None, "idle_fps": None,
    "serve": None, "allow_host": None, "no_token": False, "tls_cert": None, "tls_key": None,
    "mqtt": None, "mqtt_ca": None, "show": False,
    "jsonl": None, "overwrite": False, "jsonl_max_bytes": None, "jsonl_keep": 5,
    "save": None, "save_segment": None, "snapshot": None,
    "collect": None, "collect_below": None, "collect_max_frames": 500, "collect_max_mb": 200.0,
    "on_result": None, "observer": None, "watcher": None,
}  # fmt: skip


def signature(member: Any) -> str:
    """Return a signature in the same words for every Python: some quote annotations."""
    function: Any = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return re.sub(r"^\(cls, ", "(", str(inspect.signature(function)).replace("'", ""))


def test_all_is_pinned() -> None:
    assert sorted(edge_fmnist.__all__) == ALL
    assert all(hasattr(edge_fmnist, name) for name in ALL)


def test_functions_and_former_modules_of_a_name_both_work(picture: Callable[..., Path]) -> None:
    former: Any = import_module("edge_fmnist.preprocess")
    pixels = np.full((40, 50, 3), 128, np.uint8)
    read = edge_fmnist.read_image(picture("grey.png", pixels))
    np.testing.assert_array_equal(read, pixels)
    assert isinstance(edge_fmnist.preprocess(read), Garment)
    np.testing.assert_array_equal(former.to_grey(read), edge_fmnist.preprocess.to_grey(read))
    assert edge_fmnist.dataset is import_module("edge_fmnist.dataset")
    # As the inspect module asks all modules, without importing anything.
    assert not hasattr(edge_fmnist.dataset, "__wrapped__")
    # As a process pool sends it.
    assert pickle.loads(pickle.dumps(edge_fmnist.preprocess)) is edge_fmnist.preprocess


@pytest.mark.parametrize("cls", SIGNATURES)
def test_methods_are_pinned(cls: type) -> None:
    fields = FIELDS.get(cls, [])
    members = {name: member for name, member in vars(cls).items() if not name.startswith("_") and name not in fields}
    assert {name: signature(member) for name, member in members.items()} == SIGNATURES[cls]


@pytest.mark.parametrize("cls", FIELDS)
def test_fields_are_pinned(cls: Any) -> None:
    assert [field.name for field in dataclasses.fields(cls)] == FIELDS[cls]


def test_live_is_pinned() -> None:
    parameters = dict(inspect.signature(live).parameters)
    assert parameters.pop("warn").default is not None
    assert {name: parameter.default for name, parameter in parameters.items()} == LIVE
    assert signature(live).endswith(") -> LiveLoop")


def test_other_names_are_pinned() -> None:
    assert Box._fields == ("left", "top", "width", "height")
    assert edge_fmnist.__version__ == version("edge-fmnist")
    assert edge_fmnist.LABELS[0] == "T-shirt/top"
    assert edge_fmnist.LABELS[-1] == "Ankle boot"
