"""Train a recipe: the float phase on Keras 3, then quantization-aware training, then calibration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import RecipeError, RunError, RunNotFoundError
from edge_fmnist_export import architectures
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import Subset, epoch_batches, steps_per_epoch
from edge_fmnist_export.training.calibration import FILE as CALIBRATION
from edge_fmnist_export.training.calibration import calibrate, recorded
from edge_fmnist_export.training.channel_pruning import is_narrower, narrowed
from edge_fmnist_export.training.distill import Lesson, lesson
from edge_fmnist_export.training.float_model import float_model
from edge_fmnist_export.training.losses import Objective
from edge_fmnist_export.training.phase import EpochBatches, EpochRecord, Phase, run_phase
from edge_fmnist_export.training.phase import Listener as PhaseListener
from edge_fmnist_export.training.recipe import Augmentation, PhaseSettings, Recipe
from edge_fmnist_export.training.run import Run, environment, open_run
from edge_fmnist_export.training.training_data import Material, check_photos, gather, sources
from edge_fmnist_export.training.weights import (
    Arrays,
    Checkpoint,
    assign_variables,
    load_checkpoint,
    save_arrays,
    save_checkpoint,
)

FLOAT, QAT = "float", "qat"
# The second part of a phase's seed, so that the two phases see different batches.
PHASE_SEEDS = {FLOAT: 0, QAT: 1}


class Listener(PhaseListener, Protocol):
    """What a training run tells while it runs."""

    def photo_done(self, done: int, of: int) -> None:
        """Tell how many photographs are preprocessed, and of how many."""

    def view_done(self, done: int, of: int) -> None:
        """Tell to how many views the teachers have answered, and of how many."""


def train(run: Run, data: Split, listener: Listener, photos: Path | None = None) -> dict[str, Any]:
    """Train a run from where it stands to its end, and calibrate it.

    Goes on from the run's checkpoint where there is one, and skips what is done.

    Args:
        run: the run folder and its recipe.
        data: the training split; validation is taken from it.
        listener: told of progress.
        photos: the folder of photographs, where the recipe takes any.

    Returns:
        The run's metrics: for each phase, the best epoch and its validation accuracy.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: photographs are missing, or not wanted.
        DataNotFoundError: no photographs in the folder.
        DataError: too few images, or photographs that cannot be used.
        ImageError: a photograph that cannot be read.
        RunError: the run folder is damaged or does not fit, it was started with another data set or other
            photographs, or training diverged.
    """
    check_photos(run.recipe, photos)
    made_from = sources(data, photos)
    _check_same(run, made_from)
    _check_metrics(run)
    if not _finished(run):
        material = gather(run.recipe, data, photos, listener.photo_done)
        backend.keras_module()
        run.write_json("run.json", {"seed": run.recipe.seed, **made_from, **environment()})
        _train_phases(run, material, listener)
    run.checkpoint.unlink(missing_ok=True)
    return _read_object(run, "metrics.json")


def check_initial(recipe: Recipe) -> None:
    """Check, without Keras, that a recipe that starts from another run can.

    Raises:
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RecipeError: a run of another architecture.
        RunError: a run without float weights, or a damaged one.
    """
    if run := _initial_run(recipe):
        run.weights(FLOAT)


def initial_weights(recipe: Recipe) -> Arrays | None:
    """Return the float weights that a recipe starts from, or None where it starts from chance.

    A run of the same network, wider inside its blocks, gives the channels that matter most.

    Raises:
        RunNotFoundError, RecipeError, RunError: as :func:`check_initial`.
    """
    run = _initial_run(recipe)
    if run is None:
        return None
    ours, theirs = recipe.architecture, run.recipe.architecture
    weights = run.weights(FLOAT)
    return weights if ours == theirs else narrowed(weights, theirs, ours, backend.keras_module())


def _initial_run(recipe: Recipe) -> Run | None:
    """Return the run that a recipe starts from: one of its network, or of one that is wider inside its blocks."""
    if not recipe.initial:
        return None
    try:
        run = open_run(recipe.initial)
    except RunNotFoundError as error:
        raise RunNotFoundError(f"the recipe {recipe.name}, initial = {error}") from error
    ours, theirs = recipe.architecture, run.recipe.architecture
    if ours != theirs and not is_narrower(ours, theirs):
        raise RecipeError(
            f"the recipe {recipe.name}, initial: expected a run of the architecture {ours}, or of one that is wider "
            f"inside its blocks, got {recipe.initial}, which has {theirs}"
        )
    return run


def _phases(recipe: Recipe) -> list[str]:
    return [FLOAT, QAT] if recipe.qat.epochs else [FLOAT]


def _finished(run: Run) -> bool:
    return recorded(run) is not None and all(run.has(name) for name in _phases(run.recipe))


def _check_same(run: Run, made_from: dict[str, Any]) -> None:
    """Check that a run goes on with what it was started with, as far as that is recorded."""
    before = _read_object(run, "run.json")
    kinds = {"data_sha256": "files of the data set", "labels": "labels", "photos_sha256": "files of the photographs"}
    for key, what in kinds.items():
        if key in before and before[key] != made_from.get(key):
            raise RunError(
                f"{run.folder}: was started with other {what}; resume with the same, "
                "or train anew with another --output"
            )


def _check_metrics(run: Run) -> None:
    """Check that the phases that are done have their metrics."""
    metrics = _read_object(run, "metrics.json")
    if missing := [name for name in _phases(run.recipe) if run.has(name) and name not in metrics]:
        raise RunError(
            f"{run.folder / 'metrics.json'}: missing, or without the phase {missing[0]}, which has its weights; "
            "bring the file back, or train anew with another --output"
        )


def _read_object(run: Run, name: str) -> dict[str, Any]:
    """Return a JSON object of a run, empty where there is none yet."""
    value = run.read_json(name, {})
    if not isinstance(value, dict):
        raise RunError(f"{run.folder / name}: expected a JSON object, got {type(value).__name__}")
    return value


def _train_phases(run: Run, material: Material, listener: Listener) -> None:
    """Train the phases that are not done, and calibrate the last one."""
    model = None
    taught = None
    for name in _phases(run.recipe):
        if not run.has(name):
            taught = taught or lesson(run.recipe, material.train, listener.view_done)
            trained = _float_phase(run, material, taught) if name == FLOAT else _qat_phase(run, material, taught)
            _train_phase(run, trained, material, listener)
            model = trained.model
    if model is None:
        model = _trained_model(run)
    found = calibrate(model, material.validation, material.photos, run.recipe.photos.lost, mirrored=run.recipe.mirrored)
    run.write_json(CALIBRATION, found.as_dict())


def _trained_model(run: Run) -> Any:
    """Return the model of a run's last phase, which an earlier process trained."""
    if run.recipe.qat.epochs:
        from edge_fmnist_export.quantize import qat

        return qat.restored(run.recipe.architecture, run.weights(QAT))
    return float_model(run, backend.keras_module())


def _float_phase(run: Run, material: Material, taught: Lesson | None) -> Phase:
    recipe, keras = run.recipe, backend.keras_module()
    keras.utils.set_random_seed(recipe.seed)
    precision = recipe.training.precision if backend.has_bfloat16(keras) else "float32"
    with backend.precision(keras, precision):
        settings = recipe.training
        model = architectures.build(recipe.architecture, keras, settings.dropout, settings.batch_norm_momentum)
    weights = initial_weights(recipe)
    if weights is not None:
        assign_variables(model.weights, weights, f"the initial weights from {recipe.initial}")
    return Phase(
        name=FLOAT,
        keras=keras,
        model=model,
        settings=recipe.training,
        objective=_objective(recipe, recipe.training),
        batches=_batches(recipe, FLOAT, material.train, recipe.augmentation, taught),
        batch_size=recipe.data.batch_size,
        steps=steps_per_epoch(material.train, recipe.data.batch_size),
        precision=precision,
    )


def _qat_phase(run: Run, material: Material, taught: Lesson | None) -> Phase:
    from edge_fmnist_export.quantize import qat

    recipe, keras = run.recipe, qat.modules().keras
    keras.utils.set_random_seed(recipe.seed)
    model = qat.quantization_aware(recipe.architecture, run.weights(FLOAT), material.train, recipe.qat.dropout)
    augmentation = recipe.augmentation if recipe.qat.augmentation else Augmentation()
    return Phase(
        name=QAT,
        keras=keras,
        model=model,
        settings=recipe.qat,
        objective=_objective(recipe, recipe.qat),
        batches=_batches(recipe, QAT, material.train, augmentation, taught),
        batch_size=recipe.data.batch_size,
        steps=steps_per_epoch(material.train, recipe.data.batch_size),
        extra_variables=qat.random_states(model),
    )


def _objective(recipe: Recipe, settings: PhaseSettings) -> Objective:
    return Objective(
        label_smoothing=settings.label_smoothing,
        unknown=recipe.photos.unknown if recipe.photos.views else None,
        teacher=recipe.distill.weight if recipe.distill.teachers else 0.0,
        temperature=recipe.distill.temperature,
    )


def _batches(
    recipe: Recipe, phase: str, train_subset: Subset, augmentation: Augmentation, taught: Lesson | None
) -> EpochBatches:
    """Return what gives a phase's batches: augmented anew in each epoch, or from the views that teachers answered."""

    def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        seed = (recipe.seed, PHASE_SEEDS[phase], epoch)
        if taught is not None:
            return taught.batches(epoch, recipe.data.batch_size, seed, augmentation)
        return epoch_batches(train_subset, recipe.data.batch_size, augmentation, seed)

    return batches


def _train_phase(run: Run, phase: Phase, material: Material, listener: Listener) -> None:
    """Train a phase to its end and save it; its model keeps the best weights."""
    checkpoint = load_checkpoint(run.checkpoint) if run.checkpoint.is_file() else None
    if checkpoint is not None and checkpoint.phase != phase.name:
        checkpoint = None
    done = checkpoint.epoch if checkpoint else 0
    history = [
        record
        for record in run.read_json("history.json", [])
        if record["phase"] != phase.name or record["epoch"] <= done
    ]

    def save(state: Checkpoint, record: EpochRecord | None) -> None:
        # History first: what it holds beyond the checkpoint is dropped when the run goes on.
        if record is not None:
            history.append(record.as_dict())
            run.write_json("history.json", history)
        save_checkpoint(run.checkpoint, state)

    last = run_phase(phase, material.validation, listener, save, checkpoint)
    metrics = run.read_json("metrics.json", {})
    metrics[phase.name] = {
        "epochs": last.epoch,
        "best_epoch": last.best_epoch,
        "validation_accuracy": round(last.best_accuracy, 6),
        "validation_images": len(material.validation),
        "parameters": int(phase.model.count_params()) if phase.name == FLOAT else metrics[FLOAT]["parameters"],
        "seconds": round(sum(record["seconds"] for record in history if record["phase"] == phase.name), 1),
    }
    run.write_json("metrics.json", metrics)
    save_arrays(run.weights_path(phase.name), last.best)
    assign_variables(phase.model.weights, last.best, f"the best weights of the {phase.name} phase")
