"""One training phase: epochs, validation, the best weights, checkpoints.

The same loop trains the float model (Keras 3) and the quantization-aware one
(``tf_keras``): it uses only what both offer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from edge_fmnist_export.batches import Subset, epoch_batches, steps_per_epoch
from edge_fmnist_export.losses import any_of_accuracy, any_of_crossentropy
from edge_fmnist_export.recipe import Augmentation, PhaseSettings, PhotoSettings
from edge_fmnist_export.weights import Checkpoint, assign_variables, read_variables

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave. Accuracies 0 to 1, time in seconds; ``learning_rate`` is that of the last step."""

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

    def step_done(self, loss: float, accuracy: float) -> None:
        """Tell that a step is done, with the running means of the epoch."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Tell that an epoch is done and validated."""


@dataclass
class Phase:
    """A model ready to train and all that decides how.

    Attributes:
        name: ``"float"`` or ``"qat"``.
        keras: the Keras module the model was built with.
        model: the uncompiled model.
        settings: optimiser, schedule and epochs.
        augmentation: what is done to each batch.
        batch_size: images in a batch.
        seed: the recipe's seed and a number for the phase.
        photos: how photographs count, which need a loss of their own; None without them.
        extra_variables: state outside the model's variables that training changes.
    """

    name: str
    keras: Any
    model: Any
    settings: PhaseSettings
    augmentation: Augmentation
    batch_size: int
    seed: tuple[int, int]
    photos: PhotoSettings | None = None
    extra_variables: tuple[Any, ...] = ()


def learning_rate_schedule(keras: Any, settings: PhaseSettings, steps: int) -> Any:
    """Return the learning rate for ``steps`` steps an epoch: a number, or a cosine with linear warm-up."""
    if settings.schedule == "constant":
        return settings.learning_rate
    warmup = round(settings.warmup_epochs * steps)
    total = settings.epochs * steps
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(settings.learning_rate, decay_steps=total)
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / warmup,
        decay_steps=max(1, total - warmup),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


def make_optimizer(keras: Any, settings: PhaseSettings, steps: int) -> Any:
    """Return the optimiser that ``settings`` describe."""
    rate = learning_rate_schedule(keras, settings, steps)
    decay = settings.weight_decay or None
    if settings.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=True, weight_decay=decay)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _compile(phase: Phase, steps: int) -> list[Any]:
    """Compile the phase's model and return every variable that training changes."""
    keras, model = phase.keras, phase.model
    optimizer = make_optimizer(keras, phase.settings, steps)
    model.compile(
        optimizer=optimizer,
        loss=_loss(phase),
        metrics=[_accuracy(phase)],
    )
    optimizer.build(model.trainable_variables)
    state = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
    return [*model.weights, *_seed_states(model), *state, *phase.extra_variables]


def _loss(phase: Phase) -> Any:
    smoothing = phase.settings.label_smoothing
    if phase.photos is None:
        return phase.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    return any_of_crossentropy(phase.keras, label_smoothing=smoothing, unknown=phase.photos.unknown)


def _accuracy(phase: Phase) -> Any:
    if phase.photos is None:
        return phase.keras.metrics.CategoricalAccuracy(name="accuracy")
    return phase.keras.metrics.MeanMetricWrapper(any_of_accuracy(phase.keras), name="accuracy")


def _seed_states(model: Any) -> list[Any]:
    """Return what Keras 3's random layers (dropout) draw their next number from; part of no weight."""
    known = {id(variable) for variable in model.weights}
    return [variable for variable in model.non_trainable_variables if id(variable) not in known]


def _fit_epoch(phase: Phase, train: Subset, epoch: int, steps: int, listener: Listener) -> dict[str, float]:
    def report(_: int, logs: dict[str, float]) -> None:
        listener.step_done(float(logs["loss"]), float(logs["accuracy"]))

    history = phase.model.fit(
        epoch_batches(train, phase.batch_size, phase.augmentation, (*phase.seed, epoch)),
        steps_per_epoch=steps,
        verbose=0,
        callbacks=[phase.keras.callbacks.LambdaCallback(on_train_batch_end=report)],
    )
    return {name: float(values[-1]) for name, values in history.history.items()}


def _validate(phase: Phase, validation: Subset) -> dict[str, float]:
    metrics: dict[str, float] = phase.model.evaluate(
        validation.inputs(), validation.one_hot(), batch_size=EVALUATION_BATCH, verbose=0, return_dict=True
    )
    return metrics


def run_phase(
    phase: Phase,
    train: Subset,
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
        train: what to train on.
        validation: what chooses the best epoch.
        listener: told of each step and epoch.
        save: called with the state before the first epoch and after each.
        checkpoint: where to go on from.

    Returns:
        The last checkpoint, which holds the best weights.

    Raises:
        DataError: fewer images than one batch.
        RunError: the checkpoint does not fit the network.
    """
    steps = steps_per_epoch(train, phase.batch_size)
    variables = _compile(phase, steps)
    if checkpoint is None:
        checkpoint = Checkpoint(phase.name, state=read_variables(variables))
        save(checkpoint, None)
    else:
        assign_variables(variables, checkpoint.state, f"the checkpoint of the {phase.name} phase")
    listener.phase_started(phase.name, phase.settings.epochs, steps, checkpoint.epoch)
    for epoch in range(checkpoint.epoch, phase.settings.epochs):
        record = _run_epoch(phase, train, validation, epoch, steps, listener)
        checkpoint.epoch, checkpoint.state = epoch + 1, read_variables(variables)
        if record.validation_accuracy > checkpoint.best_accuracy:
            checkpoint.best = read_variables(phase.model.weights)
            checkpoint.best_accuracy, checkpoint.best_epoch = record.validation_accuracy, epoch + 1
        save(checkpoint, record)
        listener.epoch_done(record)
    return checkpoint


def _run_epoch(
    phase: Phase, train: Subset, validation: Subset, epoch: int, steps: int, listener: Listener
) -> EpochRecord:
    started = time.perf_counter()
    fitted = _fit_epoch(phase, train, epoch, steps, listener)
    seconds = time.perf_counter() - started
    validated = _validate(phase, validation)
    return EpochRecord(
        phase=phase.name,
        epoch=epoch + 1,
        loss=fitted["loss"],
        accuracy=fitted["accuracy"],
        validation_loss=validated["loss"],
        validation_accuracy=validated["accuracy"],
        learning_rate=float(np.asarray(phase.model.optimizer.learning_rate)),
        seconds=round(seconds, 3),
        images_per_second=round(steps * phase.batch_size / seconds, 1),
    )
