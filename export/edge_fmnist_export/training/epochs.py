"""The epochs of a phase: training, validation, the best weights, checkpoints.

The same loop trains the float model (Keras 3) and the quantization-aware model (``tf_keras``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.errors import RunError
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.keras_trainer import KerasTrainer
from edge_fmnist_export.training.phase import EpochRecord, Listener, Phase
from edge_fmnist_export.training.weights import Arrays, Checkpoint, assign_variables, read_variables

if TYPE_CHECKING:
    from edge_fmnist_export.training.torch_trainer import TorchTrainer

    Trainer = KerasTrainer | TorchTrainer


def make_trainer(phase: Phase) -> Trainer:
    """Return the trainer for the back end of the phase's model.

    Raises:
        UsageError: the torch back end does not support a layer.
    """
    if phase.keras.backend.backend() == "torch":
        from edge_fmnist_export.training.torch_trainer import TorchTrainer

        return TorchTrainer(phase)
    return KerasTrainer(phase)


def run_phase(
    phase: Phase,
    validation: Subset,
    listener: Listener,
    save: Callable[[Checkpoint, EpochRecord | None], None],
    checkpoint: Checkpoint | None = None,
) -> Checkpoint:
    """Train a phase from its start or from a checkpoint to its end.

    The batches of an epoch depend only on the random seed and the epoch, so a resumed phase gives the same result as
    an uninterrupted one.

    ``save`` is called with the state before the first epoch and after each epoch.

    Returns:
        The last checkpoint, with the best weights.

    Raises:
        RunError: the checkpoint does not fit the network, or training diverged.
        UsageError: the back end does not support a layer.
    """
    trainer = make_trainer(phase)
    if checkpoint is None:
        checkpoint = Checkpoint(phase.name, state=read_variables(trainer.variables))
        save(checkpoint, None)
    else:
        assign_variables(trainer.variables, checkpoint.state, f"the checkpoint of the {phase.name} phase")
    listener.phase_started(phase.name, phase.settings.epochs, phase.steps, checkpoint.epoch)
    for epoch in range(checkpoint.epoch, phase.settings.epochs):
        started = time.perf_counter()
        fitted = trainer.fit(phase.batches(epoch), phase.steps, listener.step_done)
        seconds = time.perf_counter() - started
        checkpoint.epoch, checkpoint.state = epoch + 1, read_variables(trainer.variables)
        checkpoint.average = averaged(checkpoint.average, read_variables(phase.model.weights), phase.settings.ema)
        validated = _validate(phase, trainer, checkpoint, validation)
        if not np.isfinite([fitted["loss"], validated["loss"]]).all():
            raise RunError(
                f"training diverged in epoch {epoch + 1}: the loss is not finite; train with a lower learning_rate"
            )
        record = EpochRecord(
            phase=phase.name,
            epoch=epoch + 1,
            loss=fitted["loss"],
            accuracy=fitted["accuracy"],
            validation_loss=validated["loss"],
            validation_accuracy=validated["accuracy"],
            learning_rate=trainer.learning_rate(),
            seconds=round(seconds, 3),
            images_per_second=round(phase.steps * phase.batch_size / seconds, 1),
        )
        save(checkpoint, record)
        listener.epoch_done(record)
    return checkpoint


def averaged(average: Arrays, weights: Arrays, decay: float) -> Arrays:
    """Return the exponential moving average of the weights over epochs; empty if it is off.

    The statistics of batch normalization are averaged like weights.

    Without an average so far, it starts with the weights.
    """
    if not decay:
        return []
    if not average:
        return weights
    return [
        (decay * old + (1 - decay) * new).astype(new.dtype) if np.issubdtype(new.dtype, np.floating) else new
        for old, new in zip(average, weights, strict=True)
    ]


def _validate(phase: Phase, trainer: Trainer, checkpoint: Checkpoint, validation: Subset) -> dict[str, float]:
    """Validate the weights, or their moving average if there is one, and keep them if the settings say so."""
    weights = phase.model.weights
    if checkpoint.average:
        last = read_variables(weights)
        assign_variables(weights, checkpoint.average, "the averaged weights")
        trainer.round_weights(phase.batches(checkpoint.epoch - 1))
    found = trainer.evaluate(validation)
    if phase.settings.keep == "last" or found["accuracy"] > checkpoint.best_accuracy:
        checkpoint.best = read_variables(weights)
        checkpoint.best_accuracy, checkpoint.best_epoch = found["accuracy"], checkpoint.epoch
    if checkpoint.average:
        assign_variables(weights, last, "the weights")
    return found
