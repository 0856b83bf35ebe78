"""The models that are explained: a written file as a black box, or the float Keras model it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.labels import filled
from edge_fmnist.errors import UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.quantize.exporting import run_labels
from edge_fmnist_export.report.subject import load_float_model
from edge_fmnist_export.training import calibration
from edge_fmnist_export.training.inference import logits_of
from edge_fmnist_export.training.run_folder import Run, open_run, shipped_runs

RUNS = Path("runs")


@dataclass(frozen=True, eq=False)
class Network:
    """A float Keras model.

    Attributes:
        model: maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        mirrored: whether logits are averaged over an image and its mirror image.
    """

    model: Any
    mirrored: bool


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model that scores images.

    Attributes:
        name: its name or path.
        kind: ``"file"`` for a model file, ``"float"`` for a Keras model.
        labels: the names of the classes.
        scores: from images, uint8, shape (N, 28, 28), to probabilities, float32, shape (N, classes).
        network: what lies behind the scores where they are a Keras model's, else None.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    scores: Callable[[np.ndarray], np.ndarray]
    network: Network | None = None


def of_file(classifier: Classifier, name: str) -> Scorer:
    """Return a model file as a black box: images in, scores out."""
    return Scorer(name, "file", classifier.labels, lambda images: classifier.predict_batch(images).scores)


def of_network(model: Any, name: str, labels: tuple[str, ...], *, mirrored: bool, temperature: float) -> Scorer:
    """Return a float Keras model.

    Args:
        model: maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        name: what to call it.
        labels: the names of its classes.
        mirrored: whether logits are averaged over an image and its mirror image.
        temperature: logits are divided by it before the softmax.
    """

    def scores(images: np.ndarray) -> np.ndarray:
        return softmax(logits_of(model, images, flip_tta=mirrored) / np.float32(temperature))

    return Scorer(name, "float", labels, scores, Network(model, mirrored))


def of_run(run: Run, labels: tuple[str, ...] | None = None) -> Scorer:
    """Return the float model of a run; its scores are calibrated as those of the run's files.

    Args:
        run: the run folder.
        labels: the names of its classes; None takes those it was trained with.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: Keras does not run on TensorFlow.
        RunError: the run's float weights, calibration or labels are missing, damaged or do not fit.
    """
    return of_network(
        load_float_model(run),
        run.recipe.name,
        labels or filled(run_labels(run), CLASSES),
        mirrored=run.recipe.flip_tta,
        temperature=float((calibration.recorded(run) or {}).get("temperature", 1.0)),
    )


def run_of(classifier: Classifier, name: str) -> Run:
    """Return the run that a model file was exported from: a shipped checkpoint, or a folder of ``runs/``.

    The file carries the record of its training, which tells that run from another of the same name.

    Args:
        classifier: the file, loaded.
        name: what messages call it.

    Raises:
        UsageError: no such run is here.
        RunError: a run folder that is damaged.
    """
    settings = {} if classifier.metadata is None else classifier.metadata.settings
    called = str(settings.get("name", ""))
    places = [place for place in (shipped_runs().get(called), RUNS / called) if place is not None]
    for place in places if called else []:
        if (place / "recipe.toml").is_file():
            run = open_run(place)
            if run.read_json("run.json", {}) == settings.get("training"):
                return run
    raise UsageError(
        f"{name}: the float model it was made from is not here, neither as a shipped checkpoint nor in {RUNS}/; "
        "name the run folder in place of the file"
    )
