"""One training phase as data, and what it reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge_fmnist_export.training.losses import Objective
from edge_fmnist_export.training.recipe import PhaseSettings


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch: accuracies from 0 to 1, time in seconds, the learning rate at its end."""

    phase: str
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float


class Listener(Protocol):
    """Callbacks of a training run."""

    def photo_done(self, done: int, of: int) -> None:
        """Handle one more preprocessed photograph."""

    def view_done(self, done: int, of: int) -> None:
        """Handle one more view for which the teachers' logits are computed."""

    def phase_started(self, phase: str, epochs: int, steps: int, done: int) -> None:
        """Handle the start of a phase of ``epochs`` epochs of ``steps`` steps, ``done`` of them finished before."""

    def step_done(self, loss: float, accuracy: float, steps: int) -> None:
        """Handle ``steps`` more finished steps; loss and accuracy are the running means of the epoch."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Handle a finished and validated epoch."""


# Returns the batches of an epoch, counted from 0.
EpochBatches = Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]


@dataclass
class Phase:
    """A model to train and its settings.

    Attributes:
        name: ``"float"`` or ``"qat"``.
        keras: the Keras module that built the model, which is not compiled.
        batches: returns the batches of an epoch.
        steps: batches in an epoch.
        precision: of the layers on the torch back end, ``"float32"`` or ``"bfloat16"``.
        weight_bits: of the kernels of convolutions, 8 or, on the torch back end, 4.
        extra_variables: state outside of the model's variables that training changes.
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
    weight_bits: int = 8
    extra_variables: tuple[Any, ...] = ()
