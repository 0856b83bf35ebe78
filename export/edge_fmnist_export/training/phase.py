"""One training phase: epochs, validation, the best weights, checkpoints.

The same loop trains the float model (Keras 3) and the quantization-aware one
(``tf_keras``): it uses only what both offer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.losses import Objective
from edge_fmnist_export.training.recipe import PhaseSettings
from edge_fmnist_export.training.trainers import Trainer, trainer
from edge_fmnist_export.training.weights import Arrays, Checkpoint, assign_variables, read_variables


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave. Accuracies 0 to 1, time in seconds; ``learning_rate`` is what the schedule has come to."""

    phase: str
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return asdict(self)


class Listener(Protocol):
    """What a phase tells while it runs."""

    def phase_started(self, phase: str, epochs: int, steps: int, done: int) -> None:
        """Tell that a phase of ``epochs`` epochs of ``steps`` steps starts, ``done`` of them behind it."""

    def step_done(self, loss: float, accuracy: float, steps: int) -> None:
        """Tell that so many more steps are done, with the running means of the epoch."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Tell that an epoch is done and validated."""


# The batches of an epoch, which it alone decides.
EpochBatches = Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]


@dataclass
class Phase:
    """A model ready to train and all that decides how.

    Attributes:
        name: ``"float"`` or ``"qat"``.
        keras: the Keras module the model was built with.
        model: the uncompiled model.
        settings: optimiser, schedule and epochs.
        objective: what is minimised.
        batches: gives the batches of an epoch, counted from 0.
        batch_size: images in a batch.
        steps: batches in an epoch.
        precision: of the layers while training on the torch back end, ``"float32"`` or ``"bfloat16"``.
        extra_variables: state outside the model's variables that training changes.
    """

    name: str
    keras: Any
    model: Any
    settings: PhaseSettings
    objective: Objective
    batches: EpochBatches
    batch_size: int
    steps: int
    precision: str = "float32"
    extra_variables: tuple[Any, ...] = ()


def run_phase(
    phase: Phase,
    validation: Subset,
    listener: Listener,
    save: Callable[[Checkpoint, EpochRecord | None], None],
    checkpoint: Checkpoint | None = None,
) -> Checkpoint:
    """Train a phase to its end, from its start or from a checkpoint of it.

    Every epoch's batches depend on the seed and the epoch alone, so a phase
    that goes on from a checkpoint ends where an uninterrupted one does.

    Args:
        phase: the model and its settings.
        validation: what chooses the best epoch.
        listener: told of each step and epoch.
        save: called with the state before the first epoch and after each.
        checkpoint: where to go on from.

    Returns:
        The last checkpoint, which holds the best weights.

    Raises:
        RunError: the checkpoint does not fit the network.
        UsageError: the back end does not know a layer or the optimiser.
    """
    running = trainer(phase)
    if checkpoint is None:
        checkpoint = Checkpoint(phase.name, state=read_variables(running.variables))
        save(checkpoint, None)
    else:
        assign_variables(running.variables, checkpoint.state, f"the checkpoint of the {phase.name} phase")
    listener.phase_started(phase.name, phase.settings.epochs, phase.steps, checkpoint.epoch)
    for epoch in range(checkpoint.epoch, phase.settings.epochs):
        started = time.perf_counter()
        fitted = running.fit(phase.batches(epoch), phase.steps, listener.step_done)
        seconds = time.perf_counter() - started
        checkpoint.epoch, checkpoint.state = epoch + 1, read_variables(running.variables)
        checkpoint.average = averaged(checkpoint.average, read_variables(phase.model.weights), phase.settings.ema)
        validated = _validate(phase, running, checkpoint, validation)
        record = EpochRecord(
            phase=phase.name,
            epoch=epoch + 1,
            loss=fitted["loss"],
            accuracy=fitted["accuracy"],
            validation_loss=validated["loss"],
            validation_accuracy=validated["accuracy"],
            learning_rate=running.learning_rate(),
            seconds=round(seconds, 3),
            images_per_second=round(phase.steps * phase.batch_size / seconds, 1),
        )
        save(checkpoint, record)
        listener.epoch_done(record)
    return checkpoint


def averaged(average: Arrays, weights: Arrays, decay: float) -> Arrays:
    """Return the exponential moving average of the weights over epochs; empty where it is switched off.

    Statistics of batch normalization are averaged like weights.

    Args:
        average: the average so far; empty at the start.
        weights: the weights after the epoch.
        decay: share of the average so far, 0 to 1; 0 switches it off.
    """
    if not decay:
        return []
    if not average:
        return weights
    return [
        (decay * old + (1 - decay) * new).astype(new.dtype) if np.issubdtype(new.dtype, np.floating) else new
        for old, new in zip(average, weights, strict=True)
    ]


def _validate(phase: Phase, running: Trainer, checkpoint: Checkpoint, validation: Subset) -> dict[str, float]:
    """Validate the weights, or their average where there is one, and keep them where they are the best so far."""
    weights = phase.model.weights
    if checkpoint.average:
        last = read_variables(weights)
        assign_variables(weights, checkpoint.average, "the averaged weights")
    found = running.evaluate(validation)
    if found["accuracy"] > checkpoint.best_accuracy:
        checkpoint.best = read_variables(weights)
        checkpoint.best_accuracy, checkpoint.best_epoch = found["accuracy"], checkpoint.epoch
    if checkpoint.average:
        assign_variables(weights, last, "the weights")
    return found
