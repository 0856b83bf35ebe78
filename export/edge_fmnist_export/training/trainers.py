"""Two ways to train a phase's epochs: Keras' own loop, and torch's where Keras runs on torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_fmnist_export.training.feeding import Batches, fed, outputs
from edge_fmnist_export.training.losses import PerRow, accuracy, target_loss, training_loss

if TYPE_CHECKING:
    from edge_fmnist_export.training.batches import Subset
    from edge_fmnist_export.training.phase import Phase

# Told the running means of loss and accuracy, and how many steps are done since it was last told.
Report = Callable[[float, float, int], None]


class Trainer(Protocol):
    """What trains a phase's model.

    Attributes:
        variables: every variable that training changes, in an order that a checkpoint can rely on.
    """

    variables: list[Any]

    def fit(self, batches: Batches, steps: int, report: Report) -> dict[str, float]:
        """Train one epoch and return the means of ``loss`` and ``accuracy``."""

    def evaluate(self, validation: Subset) -> dict[str, float]:
        """Return ``loss`` and ``accuracy`` on the validation images."""

    def learning_rate(self) -> float:
        """Return the learning rate that the schedule has come to."""


def trainer(phase: Phase) -> Trainer:
    """Return what trains a phase, on the back end that its model lives on.

    Raises:
        UsageError: the model or the optimiser is not one that the torch back end knows.
    """
    if phase.keras.backend.backend() == "torch":
        from edge_fmnist_export.training.torch_trainer import TorchTrainer

        return TorchTrainer(phase)
    return KerasTrainer(phase)


class KerasTrainer:
    """Trains through ``fit`` and ``evaluate``, which Keras 3 and ``tf_keras`` both have."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        model = phase.model
        optimizer = make_optimizer(phase)
        model.compile(
            optimizer=optimizer,
            loss=training_loss(phase.keras, phase.objective),
            metrics=[phase.keras.metrics.MeanMetricWrapper(accuracy(phase.keras, phase.objective), name="accuracy")],
        )
        optimizer.build(model.trainable_variables)
        state = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
        self.variables = [*model.weights, *_seed_states(model), *state, *phase.extra_variables]

    def fit(self, batches: Batches, steps: int, report: Report) -> dict[str, float]:
        """Train one epoch and return the means of ``loss`` and ``accuracy``."""

        def end_of_step(_: int, logs: dict[str, float]) -> None:
            report(float(logs["loss"]), float(logs["accuracy"]), 1)

        keras = self._phase.keras
        callback = keras.callbacks.LambdaCallback(on_train_batch_end=end_of_step)
        history = self._phase.model.fit(fed(keras, batches), steps_per_epoch=steps, verbose=0, callbacks=[callback])
        return {name: float(values[-1]) for name, values in history.history.items()}

    def evaluate(self, validation: Subset) -> dict[str, float]:
        """Return ``loss`` and ``accuracy`` on the validation images."""
        return means(self._phase, validation, outputs(self._phase.model, validation.inputs()))

    def learning_rate(self) -> float:
        """Return the learning rate that the schedule has come to."""
        return float(np.asarray(self._phase.model.optimizer.learning_rate))


def means(phase: Phase, validation: Subset, logits: Any) -> dict[str, float]:
    """Return the mean ``loss`` against the targets, without any teacher, and the ``accuracy`` of logits (N, 10)."""
    targets = validation.one_hot()

    def mean(of: PerRow) -> float:
        values = of(targets, logits)
        return float(np.mean(phase.keras.ops.convert_to_numpy(values) if hasattr(phase.keras, "ops") else values))

    return {
        "loss": mean(target_loss(phase.keras, phase.objective)),
        "accuracy": mean(accuracy(phase.keras, phase.objective)),
    }


def _seed_states(model: Any) -> list[Any]:
    """Return what Keras 3's random layers (dropout) draw their next number from; part of no weight."""
    known = {id(variable) for variable in model.weights}
    return [variable for variable in model.non_trainable_variables if id(variable) not in known]


def learning_rate_schedule(phase: Phase) -> Any:
    """Return the learning rate of each step: a number, or a cosine with linear warm-up."""
    keras, settings = phase.keras, phase.settings
    if settings.schedule == "constant":
        return settings.learning_rate
    warmup = round(settings.warmup_epochs * phase.steps)
    total = settings.epochs * phase.steps
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(settings.learning_rate, decay_steps=total)
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / warmup,
        decay_steps=max(1, total - warmup),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


def make_optimizer(phase: Phase) -> Any:
    """Return the Keras optimiser that the phase's settings describe."""
    keras, settings = phase.keras, phase.settings
    rate = learning_rate_schedule(phase)
    decay = settings.weight_decay or None
    if settings.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=True, weight_decay=decay)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
