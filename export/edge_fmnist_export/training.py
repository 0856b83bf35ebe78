"""Train a recipe: the float phase on Keras 3, then quantization-aware training."""

from __future__ import annotations

from typing import Any

from edge_fmnist.dataset import Split
from edge_fmnist_export import architectures, backend
from edge_fmnist_export.batches import Subset, split_validation, steps_per_epoch
from edge_fmnist_export.phase import EpochRecord, Listener, Phase, run_phase
from edge_fmnist_export.recipe import Augmentation, Recipe
from edge_fmnist_export.run import Run, environment
from edge_fmnist_export.weights import Checkpoint, load_checkpoint, save_arrays, save_checkpoint

FLOAT, QAT = "float", "qat"
# The second part of a phase's seed, so that the two phases see different batches.
PHASE_SEEDS = {FLOAT: 0, QAT: 1}


def subsets(recipe: Recipe, data: Split) -> tuple[Subset, Subset]:
    """Return the training and the validation subset of a recipe.

    Raises:
        DataError: too few images for the split or for one batch.
    """
    train_subset, validation = split_validation(data, recipe.data.validation, recipe.seed)
    steps_per_epoch(train_subset, recipe.data.batch_size)
    return train_subset, validation


def train(run: Run, data: Split, listener: Listener) -> dict[str, Any]:
    """Train a run from where it stands to its end.

    Goes on from the run's checkpoint where there is one, and skips phases that are done.

    Args:
        run: the run folder and its recipe.
        data: the training split; validation is taken from it.
        listener: told of progress.

    Returns:
        The run's metrics: for each phase, the best epoch and its validation accuracy.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        DataError: too few images.
        RunError: the run folder is damaged or does not fit.
    """
    train_subset, validation = subsets(run.recipe, data)
    backend.keras_module()
    run.write_json("run.json", {"seed": run.recipe.seed, "data_sha256": list(data.sha256), **environment()})
    phases = [FLOAT, QAT] if run.recipe.qat.epochs else [FLOAT]
    for name in phases:
        if not run.has(name):
            phase = _float_phase(run) if name == FLOAT else _qat_phase(run, train_subset)
            _train_phase(run, phase, train_subset, validation, listener)
    run.checkpoint.unlink(missing_ok=True)
    metrics: dict[str, Any] = run.read_json("metrics.json", {})
    return metrics


def _float_phase(run: Run) -> Phase:
    keras = backend.keras_module()
    keras.utils.set_random_seed(run.recipe.seed)
    return Phase(
        name=FLOAT,
        keras=keras,
        model=architectures.build(run.recipe.architecture, keras),
        settings=run.recipe.training,
        augmentation=run.recipe.augmentation,
        batch_size=run.recipe.data.batch_size,
        seed=(run.recipe.seed, PHASE_SEEDS[FLOAT]),
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
