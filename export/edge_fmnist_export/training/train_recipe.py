"""Train a recipe: the float phase on Keras 3, then quantization-aware training, then calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split, of_another_set
from edge_fmnist.errors import RecipeError, RunError, RunNotFoundError, UsageError
from edge_fmnist.vision.picture_files import log_warning
from edge_fmnist_export import architectures
from edge_fmnist_export.architectures.efficientnet import IMAGENET, imagenet_weights
from edge_fmnist_export.architectures.efficientnet import NAME as EFFICIENTNET
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import epoch_batches, steps_per_epoch
from edge_fmnist_export.training.calibration import FILE as CALIBRATION
from edge_fmnist_export.training.calibration import calibrate, recorded
from edge_fmnist_export.training.distill import DistillationTargets, distillation_targets, hashes, teachers
from edge_fmnist_export.training.epochs import run_phase
from edge_fmnist_export.training.inference import logits_of
from edge_fmnist_export.training.losses import Objective
from edge_fmnist_export.training.phase import EpochRecord, Listener, Phase
from edge_fmnist_export.training.recipe import Augmentation, Recipe
from edge_fmnist_export.training.run_folder import Run, environment, open_run
from edge_fmnist_export.training.training_data import (
    TrainingData,
    check_photos,
    gather,
    recorded_data,
    sources,
)
from edge_fmnist_export.training.weights import (
    Arrays,
    Checkpoint,
    assign_variables,
    load_checkpoint,
    save_arrays,
    save_checkpoint,
)

FLOAT, QAT = "float", "qat"
# Second part of a phase's random seed, so that the two phases see different batches.
PHASE_SEEDS = {FLOAT: 0, QAT: 1}


def train(run: Run, data: Split | None, listener: Listener, photos: Path | None = None) -> dict[str, Any]:
    """Train and calibrate a run, from its checkpoint if there is one; finished phases are skipped.

    Returns:
        The run's metrics: for each phase, the best epoch and its validation accuracy. With classes of its own, the
        last phase also has ``taught_accuracy`` and ``trained_accuracy``, 0 to 1, on the photographs that were held out.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: photographs are missing, or given to a recipe that uses none; or the back end cannot train it.
        DataNotFoundError: no photographs in the folder.
        DataError: too few images, or unusable photographs.
        ImageError: an unreadable photograph.
        RunError: the run folder is damaged, the run was started with other data, or training diverged.
    """
    check_photos(run.recipe, photos)
    check_back_end(run.recipe)
    origin = sources(run.recipe, data, photos)
    if run.recipe.distill.teachers:
        origin["teachers_sha256"] = hashes(run.recipe)
    _check_same_origin(run, origin)
    metrics = read_metrics(run)
    if run.has(QAT) and not run.has(FLOAT):
        raise RunError(
            f"{run.weights_path(FLOAT)}: missing, although the {QAT} phase, which started from it, is finished; "
            "restore the file, or train again with another --output"
        )
    if missing := [name for name in _phases(run.recipe) if run.has(name) and name not in metrics]:
        raise RunError(
            f"{run.folder / 'metrics.json'}: missing, or without the phase {missing[0]}, whose weights exist; "
            "restore the file, or train again with another --output"
        )
    finished = all(run.has(name) for name in _phases(run.recipe))
    if not finished or recorded(run) is None:
        training_data = gather(run.recipe, data, photos, listener.photo_done)
        backend.keras_module()
        if not finished:
            run.write_json("run.json", {"seed": run.recipe.seed, **origin, **environment()})
        _train_phases(run, training_data, listener)
    run.checkpoint.unlink(missing_ok=True)
    return read_metrics(run)


def check_runs(recipe: Recipe, data: Split | None) -> None:
    """Check, without Keras, that the weights and runs that a recipe starts or learns from can be used.

    Raises:
        MissingExtraError: the extra ``[pretrained]`` is not installed.
        RunNotFoundError: no such run, or its weights are not part of the installed package.
        RecipeError: its architecture does not fit, or a teacher was trained on the validation images or another data
            set.
        RunError: its float weights are missing or damaged.
    """
    if recipe.init_from == IMAGENET:
        imagenet_weights(recipe.architecture, recipe.outputs)
    if run := _initial_run(recipe):
        run.weights(FLOAT)
        if recipe.data.train_on_validation:
            _initial_calibration(recipe, run)
        elif data is not None and not of_another_set(recorded_data(run), "train", data) and _saw(run, recipe):
            log_warning(
                f"{recipe.init_from} was trained on images that are held out here: their accuracy says nothing about "
                "new images"
            )
    for teacher in teachers(recipe):
        teacher.require(FLOAT)
        if data is not None and of_another_set(recorded_data(teacher), "train", data):
            raise RecipeError(
                f"the recipe {recipe.name}, distill.teachers: {teacher.recipe.name} was trained on another data set; "
                "expected teachers of this one, or none"
            )


def _saw(run: Run, recipe: Recipe) -> bool:
    """Return whether a run was trained on validation images of a recipe."""
    return run.recipe.data.train_on_validation or not run.recipe.data.same_split(recipe.data)


def check_back_end(recipe: Recipe) -> None:
    """Check that the back end of Keras can train a recipe.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: weights of four bits, on another back end than torch; another optimizer than SGD, on torch;
            quantization-aware training of a network that it does not support.
    """
    if (recipe.qat.epochs or recipe.training.weight_bits == 4) and recipe.architecture == EFFICIENTNET:
        raise UsageError(
            f"the recipe {recipe.name}: {recipe.architecture} is trained in float only; set epochs = 0 under [qat] (or "
            "--no-qat), and weight_bits = 8"
        )
    name = backend.keras_module().backend.backend()
    if recipe.training.weight_bits == 4 and name != "torch":
        raise UsageError(
            f"the recipe {recipe.name}, weight_bits = 4: expected Keras on torch, got {name}; "
            "pip install 'edge-fmnist[torch]' and set KERAS_BACKEND=torch"
        )
    if recipe.training.optimizer != "sgd" and name == "torch":
        raise UsageError(
            f'the torch back end trains with optimizer = "sgd", got "{recipe.training.optimizer}"; '
            "set KERAS_BACKEND=tensorflow"
        )


def initial_weights(recipe: Recipe) -> Arrays | None:
    """Return the float weights that a recipe starts from; None for random initialization.

    Raises:
        RunNotFoundError, RecipeError, RunError: as :func:`check_runs`.
        MissingExtraError: the extra ``[pretrained]`` is not installed.
    """
    if recipe.init_from == IMAGENET:
        return imagenet_weights(recipe.architecture, recipe.outputs)
    run = _initial_run(recipe)
    return run.weights(FLOAT) if run else None


def _initial_run(recipe: Recipe) -> Run | None:
    if recipe.init_from in ("", IMAGENET):
        return None
    try:
        run = open_run(recipe.init_from)
    except RunNotFoundError as error:
        raise RunNotFoundError(f"the recipe {recipe.name}, init_from = {error}") from error
    ours, theirs = recipe.architecture, run.recipe.architecture
    if ours != theirs:
        raise RecipeError(
            f"the recipe {recipe.name}, init_from: expected a run of the architecture {ours}, got {recipe.init_from}, "
            f"which has {theirs}"
        )
    return run


def _phases(recipe: Recipe) -> list[str]:
    return [FLOAT, QAT] if recipe.qat.epochs else [FLOAT]


def _check_same_origin(run: Run, origin: dict[str, Any]) -> None:
    """Check that a run is resumed with the data it was started with, as far as that is recorded."""
    before = run.read_object("run.json")
    kinds = {
        "data_sha256": "files of the data set",
        "labels": "labels",
        "photos_sha256": "files of the photographs",
        "teachers_sha256": "weights of the teachers",
    }
    for key, what in kinds.items():
        if key in before and before[key] != origin.get(key):
            raise RunError(
                f"{run.folder}: was started with other {what}; resume with the same, "
                "or train again with another --output"
            )


def read_metrics(run: Run) -> dict[str, Any]:
    """Return a run's metrics of each finished phase.

    Raises:
        RunError: the file is damaged.
    """
    metrics = run.read_object("metrics.json")
    shown = ("parameters", "epochs", "best_epoch", "validation_accuracy", "seconds")
    if damaged := [name for name, m in metrics.items() if not (isinstance(m, dict) and all(key in m for key in shown))]:
        raise RunError(f"{run.folder / 'metrics.json'}: damaged in the phase {damaged[0]}; expected {', '.join(shown)}")
    return metrics


def _train_phases(run: Run, data: TrainingData, listener: Listener) -> None:
    model, targets, recipe = None, None, run.recipe
    for name in _phases(recipe):
        if not run.has(name):
            targets = targets or distillation_targets(recipe, data.train, listener.view_done)
            phase = _float_phase(run, data, targets) if name == FLOAT else _qat_phase(run, data, targets)
            _train_phase(run, phase, data, listener)
            model = phase.model
    if recipe.data.train_on_validation:
        run.write_json(CALIBRATION, _initial_calibration(recipe, open_run(recipe.init_from)))
        return
    if model is None:
        model = _trained_model(run)
    found = calibrate(model, data.validation, data.photos, recipe.photos.false_reject_rate, flip_tta=recipe.flip_tta)
    if data.start is not None:
        logits = logits_of(model, data.validation.images, flip_tta=recipe.flip_tta)
        metrics = run.read_json("metrics.json", {})
        metrics[_phases(recipe)[-1]] |= {
            "taught_accuracy": round(data.start.accuracy, 6),
            "trained_accuracy": round(float((logits.argmax(axis=1) == data.validation.targets).mean()), 6),
        }
        run.write_json("metrics.json", metrics)
    run.write_json(CALIBRATION, found.as_dict())


def _initial_calibration(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Return the calibration of the run that a recipe starts from, which was fitted on images it had not seen.

    Raises:
        RunError: it has none.
    """
    found = recorded(run)
    if found is None:
        raise RunError(f"{recipe.init_from}: has no {CALIBRATION}, whose temperature the recipe {recipe.name} needs")
    return {key: found[key] for key in ("temperature", "threshold")}


def _trained_model(run: Run) -> Any:
    """Return the model of a run's last phase, trained by an earlier process."""
    if run.recipe.qat.epochs:
        from edge_fmnist_export.training import qat

        return qat.restored(run.recipe.architecture, run.weights(QAT), run.recipe.outputs)
    return run.float_model(backend.keras_module())


def _float_phase(run: Run, data: TrainingData, targets: DistillationTargets | None) -> Phase:
    recipe, keras = run.recipe, backend.keras_module()
    keras.utils.set_random_seed(recipe.seed)
    precision = recipe.training.precision if backend.has_bfloat16(keras) else "float32"
    with backend.precision(keras, precision):
        settings = recipe.training
        model = architectures.build(
            recipe.architecture, keras, settings.dropout, settings.batch_norm_momentum, recipe.outputs
        )
    weights = initial_weights(recipe)
    if weights is not None and data.start is not None:
        weights = [*weights[:-2], data.start.kernel, data.start.bias]
    if weights is not None:
        assign_variables(model.weights, weights, f"the initial weights from {recipe.init_from}")
    phase = _phase(FLOAT, recipe, keras, model, data, targets)
    return replace(phase, precision=precision, weight_bits=recipe.training.weight_bits)


def _qat_phase(run: Run, data: TrainingData, targets: DistillationTargets | None) -> Phase:
    from edge_fmnist_export.training import qat

    recipe, keras = run.recipe, qat.modules().keras
    keras.utils.set_random_seed(recipe.seed)
    model = qat.quantization_aware(recipe.architecture, run.weights(FLOAT), data.train, recipe.qat.dropout)
    phase = _phase(QAT, recipe, keras, model, data, targets)
    return replace(phase, extra_variables=qat.random_states(model))


def _phase(
    name: str, recipe: Recipe, keras: Any, model: Any, data: TrainingData, targets: DistillationTargets | None
) -> Phase:
    settings = recipe.training if name == FLOAT else recipe.qat
    augmentation = recipe.augmentation if name == FLOAT or recipe.qat.augmentation else Augmentation()
    batch_size = recipe.data.batch_size

    def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        seed = (recipe.seed, PHASE_SEEDS[name], epoch)
        if targets is not None:
            return targets.batches(epoch, batch_size, seed)
        return epoch_batches(data.train, batch_size, augmentation, seed)

    return Phase(
        name=name,
        keras=keras,
        model=model,
        settings=settings,
        objective=Objective(
            label_smoothing=settings.label_smoothing,
            unknown=recipe.photos.unknown if recipe.photos.views else None,
            teacher=recipe.distill.weight if recipe.distill.teachers else 0.0,
            temperature=recipe.distill.temperature,
        ),
        batches=batches,
        batch_size=batch_size,
        steps=steps_per_epoch(data.train, batch_size),
    )


def _train_phase(run: Run, phase: Phase, data: TrainingData, listener: Listener) -> None:
    """Train a phase to its end and save it; its model keeps the best weights."""
    checkpoint = load_checkpoint(run.checkpoint) if run.checkpoint.is_file() else None
    if checkpoint is not None and checkpoint.phase != phase.name:
        checkpoint = None
    done = checkpoint.epoch if checkpoint else 0
    try:
        history = [
            record
            for record in run.read_json("history.json", [])
            if record["phase"] != phase.name or record["epoch"] <= done
        ]
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{run.folder / 'history.json'}: damaged, expected a list of epochs; delete it, or train again with "
            "another --output"
        ) from error

    def save(state: Checkpoint, record: EpochRecord | None) -> None:
        # History first: records beyond the checkpoint are dropped when the run is resumed.
        if record is not None:
            history.append(asdict(record))
            run.write_json("history.json", history)
        save_checkpoint(run.checkpoint, state)

    last = run_phase(phase, data.validation, listener, save, checkpoint)
    metrics = run.read_json("metrics.json", {})
    metrics[phase.name] = {
        "epochs": last.epoch,
        "best_epoch": last.best_epoch,
        "validation_accuracy": round(last.best_accuracy, 6),
        "validation_images": len(data.validation),
        "parameters": int(phase.model.count_params()) if phase.name == FLOAT else metrics[FLOAT]["parameters"],
        "seconds": round(sum(record["seconds"] for record in history if record["phase"] == phase.name), 1),
    }
    run.write_json("metrics.json", metrics)
    save_arrays(run.weights_path(phase.name), last.best)
    assign_variables(phase.model.weights, last.best, f"the best weights of the {phase.name} phase")
