"""Train a phase's epochs with Keras' own loop; the schedule and the validation of every back end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.feeding import Batches, fed, outputs
from edge_fmnist_export.training.losses import PerRow, accuracy, target_loss, training_loss
from edge_fmnist_export.training.phase import Phase

# Called with the running means of loss and accuracy, and the number of steps since the last call.
Report = Callable[[float, float, int], None]


class KerasTrainer:
    """Trains with ``fit``, which Keras 3 and ``tf_keras`` both have.

    Attributes:
        variables: all variables that training changes, in a fixed order, for checkpoints.
    """

    @interrupted_later()
    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        model = phase.model
        optimizer = _optimizer(phase)
        model.compile(
            optimizer=optimizer,
            loss=training_loss(phase.keras, phase.objective),
            metrics=[phase.keras.metrics.MeanMetricWrapper(accuracy(phase.keras, phase.objective), name="accuracy")],
        )
        optimizer.build(model.trainable_variables)
        state = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
        # Keras 3 keeps the state of random layers (dropout) outside of the weights.
        weights = {id(variable) for variable in model.weights}
        random = [variable for variable in model.non_trainable_variables if id(variable) not in weights]
        self.variables = [*model.weights, *random, *state, *phase.extra_variables]

    def fit(self, batches: Batches, steps: int, report: Report) -> dict[str, float]:
        """Train one epoch and return the means of ``loss`` and ``accuracy``."""

        def end_of_step(_: int, logs: dict[str, float]) -> None:
            report(float(logs["loss"]), float(logs["accuracy"]), 1)
            check_interrupt()

        keras = self._phase.keras
        callback = keras.callbacks.LambdaCallback(on_train_batch_end=end_of_step)
        with interrupted_later() as check_interrupt:
            history = self._phase.model.fit(fed(keras, batches), steps_per_epoch=steps, verbose=0, callbacks=[callback])
        return {name: float(values[-1]) for name, values in history.history.items()}

    def evaluate(self, validation: Subset) -> dict[str, float]:
        """Return ``loss`` and ``accuracy`` on the validation images."""
        return means(self._phase, validation, outputs(self._phase.model, validation.inputs()))

    def round_weights(self, batches: Batches) -> None:
        """Do nothing: the weights are not rounded."""

    def learning_rate(self) -> float:
        """Return the current learning rate."""
        return float(np.asarray(self._phase.model.optimizer.learning_rate))


def means(phase: Phase, validation: Subset, logits: Any) -> dict[str, float]:
    """Return the mean ``loss`` on the targets, without teachers, and the ``accuracy`` of logits (N, 10)."""
    targets = validation.one_hot()

    def mean(of: PerRow) -> float:
        values = of(targets, logits)
        return float(np.mean(phase.keras.ops.convert_to_numpy(values) if hasattr(phase.keras, "ops") else values))

    return {
        "loss": mean(target_loss(phase.keras, phase.objective)),
        "accuracy": mean(accuracy(phase.keras, phase.objective)),
    }


def learning_rate_schedule(phase: Phase) -> Any:
    """Return a constant learning rate, or a Keras schedule: cosine with linear warm-up."""
    keras, settings = phase.keras, phase.settings
    if settings.schedule == "constant":
        return settings.learning_rate
    warmup = round(settings.warmup_epochs * phase.steps)
    total = round(settings.epochs * phase.steps / settings.schedule_share)
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(settings.learning_rate, decay_steps=total)
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / warmup,
        decay_steps=max(1, total - warmup),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


def _optimizer(phase: Phase) -> Any:
    keras, settings = phase.keras, phase.settings
    rate = learning_rate_schedule(phase)
    if settings.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    else:
        decay = settings.weight_decay or None
        optimizer = keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=True, weight_decay=decay)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
