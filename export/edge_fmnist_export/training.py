"""Train a recipe: the float phase on Keras 3, then quantization-aware training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.dataset import Split
from edge_fmnist.errors import DataNotFoundError, UsageError
from edge_fmnist.photos import find_photos
from edge_fmnist_export import architectures, backend
from edge_fmnist_export.batches import UNKNOWN, Subset, join, split_validation, steps_per_epoch
from edge_fmnist_export.calibration import FILE as CALIBRATION
from edge_fmnist_export.calibration import calibrate
from edge_fmnist_export.phase import EpochRecord, Listener, Phase, run_phase
from edge_fmnist_export.photo_views import Advance, training_views, validation_images
from edge_fmnist_export.recipe import Augmentation, Recipe
from edge_fmnist_export.run import Run, environment, open_run
from edge_fmnist_export.weights import Checkpoint, assign_variables, load_checkpoint, save_arrays, save_checkpoint

FLOAT, QAT = "float", "qat"
# The second part of a phase's seed, so that the two phases see different batches.
PHASE_SEEDS = {FLOAT: 0, QAT: 1}


@dataclass(frozen=True)
class Material:
    """What a recipe trains and validates on.

    Attributes:
        train: the training images, views of photographs among them.
        validation: what chooses the best epoch: images of the data set, and where photographs
            train, as many of those of garments it knows.
        photos: the validation photographs, unknown garments among them; None without photographs.
    """

    train: Subset
    validation: Subset
    photos: Subset | None = None


def subsets(recipe: Recipe, data: Split) -> tuple[Subset, Subset]:
    """Return the training and the validation subset of a recipe, without photographs.

    Raises:
        DataError: too few images for the split or for one batch.
    """
    train_subset, validation = split_validation(data, recipe.data.validation, recipe.seed)
    steps_per_epoch(train_subset, recipe.data.batch_size)
    return train_subset, validation


def unheard(done: int, of: int) -> None:
    """Tell nobody how many photographs are preprocessed."""


def check_photos(recipe: Recipe, folder: Path | None) -> None:
    """Check that a folder of photographs is given where the recipe needs one, and only there.

    Raises:
        UsageError: it is not so.
        DataNotFoundError: the folder has no photographs.
        DataError: it has an unknown garment.
    """
    if not recipe.photos.views:
        if folder is not None:
            raise UsageError(f"the recipe {recipe.name} trains without photographs; leave --photos out")
        return
    if folder is None:
        raise UsageError(f"the recipe {recipe.name} trains on photographs too; name their folder with --photos")
    for split in ("train", "validation"):
        if not (folder / split).is_dir():
            raise DataNotFoundError(f"{folder}: expected folders train and validation with photographs in it")
        find_photos(folder, split)


def material(recipe: Recipe, data: Split, folder: Path | None, advance: Advance) -> Material:
    """Return all that a recipe trains and validates on.

    Args:
        recipe: the recipe.
        data: the training split; validation is taken from it.
        folder: the photographs, where the recipe takes any.
        advance: called with the number of photographs done and of all.

    Raises:
        DataError: too few images, or photographs that cannot be used.
        ImageError: a photograph that cannot be read.
    """
    train_subset, validation = subsets(recipe, data)
    if folder is None or not recipe.photos.views:
        return Material(train_subset, validation)
    views = training_views(folder, recipe.photos.views, recipe.seed, advance)
    photos = validation_images(folder)
    known = photos.chosen(photos.targets != UNKNOWN)
    # Repeated until photographs and images weigh the same.
    repeats = max(1, round(len(validation) / len(known)))
    return Material(join([train_subset, views]), join([validation, *[known] * repeats]), photos)


def train(
    run: Run, data: Split, listener: Listener, folder: Path | None = None, advance: Advance = unheard
) -> dict[str, Any]:
    """Train a run from where it stands to its end, and calibrate it.

    Goes on from the run's checkpoint where there is one, and skips phases that are done.

    Args:
        run: the run folder and its recipe.
        data: the training split; validation is taken from it.
        listener: told of progress.
        folder: the photographs, where the recipe takes any.
        advance: called with the number of photographs preprocessed and of all.

    Returns:
        The run's metrics: for each phase, the best epoch and its validation accuracy.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: photographs are missing, or not wanted.
        DataError: too few images.
        RunError: the run folder is damaged or does not fit.
    """
    check_photos(run.recipe, folder)
    images = material(run.recipe, data, folder, advance)
    backend.keras_module()
    run.write_json("run.json", {"seed": run.recipe.seed, "data_sha256": list(data.sha256), **environment()})
    phases = [FLOAT, QAT] if run.recipe.qat.epochs else [FLOAT]
    for name in phases:
        if not run.has(name):
            phase = _float_phase(run) if name == FLOAT else _qat_phase(run, images.train)
            _train_phase(run, phase, images.train, images.validation, listener)
    calibrate_run(run, images)
    run.checkpoint.unlink(missing_ok=True)
    metrics: dict[str, Any] = run.read_json("metrics.json", {})
    return metrics


def calibrate_run(run: Run, images: Material) -> None:
    """Calibrate the scores of a trained run's last phase, and keep the result in the run folder."""
    if run.has(QAT):
        from edge_fmnist_export import qat

        model = qat.restored(run.recipe.architecture, run.weights(QAT))
    else:
        model = architectures.build(run.recipe.architecture, backend.keras_module())
        assign_variables(model.weights, run.weights(FLOAT), f"{run.folder}/float.npz")
    found = calibrate(model, images.validation, images.photos, run.recipe.photos.lost)
    run.write_json(CALIBRATION, found.as_dict())


def _float_phase(run: Run) -> Phase:
    keras = backend.keras_module()
    keras.utils.set_random_seed(run.recipe.seed)
    model = architectures.build(run.recipe.architecture, keras)
    if run.recipe.initial:
        weights = open_run(run.recipe.initial).weights(FLOAT)
        assign_variables(model.weights, weights, f"the initial weights from {run.recipe.initial}")
    return Phase(
        name=FLOAT,
        keras=keras,
        model=model,
        settings=run.recipe.training,
        augmentation=run.recipe.augmentation,
        batch_size=run.recipe.data.batch_size,
        seed=(run.recipe.seed, PHASE_SEEDS[FLOAT]),
        photos=run.recipe.photos if run.recipe.photos.views else None,
    )


def _qat_phase(run: Run, train_subset: Subset) -> Phase:
    from edge_fmnist_export import qat

    keras = qat.modules().keras
    keras.utils.set_random_seed(run.recipe.seed)
    model = qat.quantization_aware(run.recipe.architecture, run.weights(FLOAT), train_subset)
    return Phase(
        name=QAT,
        keras=keras,
        model=model,
        settings=run.recipe.qat,
        augmentation=run.recipe.augmentation if run.recipe.qat.augmentation else Augmentation(),
        batch_size=run.recipe.data.batch_size,
        seed=(run.recipe.seed, PHASE_SEEDS[QAT]),
        photos=run.recipe.photos if run.recipe.photos.views else None,
        extra_variables=qat.random_states(model),
    )


def _train_phase(run: Run, phase: Phase, train_subset: Subset, validation: Subset, listener: Listener) -> None:
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

    last = run_phase(phase, train_subset, validation, listener, save, checkpoint)
    metrics = run.read_json("metrics.json", {})
    metrics[phase.name] = {
        "epochs": last.epoch,
        "best_epoch": last.best_epoch,
        "validation_accuracy": round(last.best_accuracy, 6),
        "validation_images": len(validation),
        "parameters": int(phase.model.count_params()) if phase.name == FLOAT else metrics[FLOAT]["parameters"],
        "seconds": round(sum(record["seconds"] for record in history if record["phase"] == phase.name), 1),
    }
    run.write_json("metrics.json", metrics)
    save_arrays(run.weights_path(phase.name), last.best)
