"""The models to explain: a model file as a black box, or the float Keras model of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.labels import filled
from edge_fmnist.errors import UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.report.report_input import is_run_of
from edge_fmnist_export.training import calibration
from edge_fmnist_export.training.run_folder import Run, open_run, shipped_runs

RUNS = Path("runs")


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model that returns scores for images.

    Attributes:
        name: name or path of the model.
        kind: ``"file"`` for a model file, ``"float"`` for a Keras model.
        labels: class names.
        scores: maps images, uint8 (N, 28, 28), to probabilities, float32, shape (N, classes).
        network: the Keras model, float32 (N, 28, 28, 1), 0 to 1, to logits; None for a model file.
        flip_tta: whether the Keras model uses flip test-time augmentation.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    scores: Callable[[np.ndarray], np.ndarray]
    network: Any | None = None
    flip_tta: bool = False


def of_file(classifier: Classifier, name: str) -> Scorer:
    """Return a scorer for a model file."""
    return Scorer(name, "file", classifier.labels, lambda images: classifier.predict_batch(images).scores)


def of_network(network: Any, name: str, labels: tuple[str, ...], *, flip_tta: bool, temperature: float) -> Scorer:
    """Return a scorer for a float Keras model, which maps float32 (N, 28, 28, 1), 0 to 1, to logits.

    With ``flip_tta``, they are averaged over each image and its mirror image. The temperature divides them.
    """
    from edge_fmnist_export.training.inference import logits_of

    def scores(images: np.ndarray) -> np.ndarray:
        return softmax(logits_of(network, images, flip_tta=flip_tta) / np.float32(temperature))

    return Scorer(name, "float", labels, scores, network, flip_tta)


def of_run(run: Run, labels: tuple[str, ...] | None = None) -> Scorer:
    """Return a scorer for the float model of a run, calibrated as the files exported from the run.

    ``labels`` are by default those that it was trained with.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: Keras does not run on TensorFlow.
        RunError: the float weights, the calibration or the labels are missing, damaged or do not fit.
    """
    from edge_fmnist_export.quantize.exporting import run_labels

    return of_network(
        load_float_model(run),
        run.recipe.name,
        labels or filled(run_labels(run), run.recipe.outputs),
        flip_tta=run.recipe.flip_tta,
        temperature=float((calibration.recorded(run) or {}).get("temperature", 1.0)),
    )


def load_float_model(run: Run) -> Any:
    """Return the float Keras model of a run, on TensorFlow.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunError: the weights are missing, damaged or do not fit.
        UsageError: Keras already runs on another back end in this process.
    """
    # Gradients come from TensorFlow, whichever back end trained.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from edge_fmnist_export.training import backend

    return run.float_model(backend.keras_on_tensorflow("the float model"))


def run_of(classifier: Classifier, name: str, option: str | None = None) -> Run:
    """Return the run that a model file was exported from: a shipped checkpoint, or a folder in ``runs/``.

    The training record and the calibration in the file's metadata distinguish runs of the same name.

    Raises:
        UsageError: the run was not found.
        RunError: a run folder is damaged.
    """
    settings = {} if classifier.metadata is None else classifier.metadata.settings
    if "taught" in settings:
        hint = "" if option else "; use --method shap, lime or occlusion without --float"
        raise UsageError(f"{name}: a taught model has no float model{hint}")
    run_name = str(settings.get("name", ""))
    places = [place for place in (shipped_runs().get(run_name), RUNS / run_name) if place is not None]
    for place in places if run_name else []:
        if (place / "recipe.toml").is_file():
            run = open_run(place)
            if is_run_of(run, classifier.metadata):
                return run
    raise UsageError(
        f"{name}: the float model of this file was not found among the shipped checkpoints or in {RUNS}/; "
        + (f"give the run with {option}" if option else "give the run folder instead of the file")
    )
