"""Train a Keras model on the torch back end, with fused layers and reduced precision."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.feeding import EVALUATION_BATCH, Batches
from edge_fmnist_export.training.keras_trainer import Report, learning_rate_schedule, means
from edge_fmnist_export.training.losses import accuracy, training_loss
from edge_fmnist_export.training.memory import keep_freed_memory
from edge_fmnist_export.training.phase import Phase
from edge_fmnist_export.training.torch_network import TorchNetwork

# Variables with weight decay; biases and batch normalization have none.
DECAYED = "kernel"
# The largest of four bits, as -8 is not used; and what a channel of zeros is divided by.
INT4_LIMIT, SMALLEST_STEP = 7, 1e-12
STATISTICS_BATCHES = 100
# Steps between two reports, each of which synchronizes with the device.
REPORT_EVERY = 20


class TorchTrainer:
    """Trains a :class:`TorchNetwork` like Keras' SGD (Nesterov momentum, decoupled weight decay).

    With weights of four bits, the network computes with rounded kernels, and their gradients move the kernels before
    rounding (straight-through estimator, Bengio et al. 2013, arXiv:1308.3432).

    Raises:
        UsageError: an unsupported layer.
    """

    def __init__(self, phase: Phase) -> None:
        import torch

        keep_freed_memory()
        self._phase, self._torch, self._seed = phase, torch, torch.initial_seed()
        keras, model = phase.keras, phase.model
        self._network = TorchNetwork(model, channels_last=model.weights[0].value.device.type != "cpu")
        self._compiled = compiled(self._network)
        self._reduced = phase.precision == "bfloat16"
        trained = model.trainable_variables
        self._weights = [variable.value for variable in trained]
        self._device = self._weights[0].device
        # Kernels of four bits move by less than a step at a time, so training moves a copy of them.
        copies = [
            keras.Variable(variable, trainable=False) if phase.weight_bits == 4 and _is_rounded(variable) else None
            for variable in trained
        ]
        self._parameters = [
            weight if copy is None else copy.value.detach() for weight, copy in zip(self._weights, copies, strict=True)
        ]
        self._rounded = [number for number, copy in enumerate(copies) if copy is not None]
        self._decayed = [
            parameter for parameter, variable in zip(self._parameters, trained, strict=True) if variable.name == DECAYED
        ]
        self._round(self._parameters)
        velocities = [keras.Variable(np.zeros(variable.shape, np.float32), trainable=False) for variable in trained]
        self._velocities = [variable.value.detach() for variable in velocities]
        self._step = keras.Variable(np.zeros((), np.int32), dtype="int32", trainable=False)
        self._rate = learning_rate_schedule(phase)
        self._loss = training_loss(keras, phase.objective)
        self._accuracy = accuracy(keras, phase.objective)
        self.variables = [*model.weights, *velocities, *(copy for copy in copies if copy is not None), self._step]

    def fit(self, batches: Batches, steps: int, report: Report) -> dict[str, float]:
        """Train one epoch and return the means of ``loss`` and ``accuracy``."""
        torch = self._torch
        # Dropout after a resumption is that of an uninterrupted run.
        torch.manual_seed(self._seed + int(self._step.value))
        sums = torch.zeros(2, device=self._device)
        done, reported = int(self._step.value), 0
        for number, (images, targets) in enumerate(batches, 1):
            rows = torch.from_numpy(targets).to(self._device)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._reduced):
                logits = self._compiled(_channels_first(images, self._device, self._reduced), True)
            logits = logits.float()
            loss = self._loss(rows, logits).mean()
            loss.backward()
            self._descend(self._learning_rate(done + number - 1))
            with torch.no_grad():
                sums += torch.stack([loss.detach(), self._accuracy(rows, logits.detach()).mean()])
            if number % REPORT_EVERY == 0 or number == steps:
                loss_mean, accuracy_mean = (sums / number).tolist()
                report(loss_mean, accuracy_mean, number - reported)
                reported = number
        self._step.assign(done + steps)
        return {"loss": loss_mean, "accuracy": accuracy_mean}

    def evaluate(self, validation: Subset) -> dict[str, float]:
        """Return ``loss`` and ``accuracy`` on the validation images, in float32."""
        return means(self._phase, validation, torch_logits(self._network, validation.inputs(), self._device))

    def round_weights(self, batches: Batches) -> None:
        """Round averaged weights of four bits, and measure the statistics of batch normalization with them again.

        Averaged over epochs, the statistics are of networks that were rounded otherwise: without this, the validation
        accuracy of ``nano4`` is 0.8 points lower.
        """
        if not self._rounded:
            return
        self._round(self._weights)
        normalizations = [layer for layer in self._phase.model.layers if type(layer).__name__ == "BatchNormalization"]
        momenta = [layer.momentum for layer in normalizations]
        with self._torch.no_grad():
            for number, (images, _) in enumerate(itertools.islice(batches, STATISTICS_BATCHES)):
                for layer in normalizations:
                    # The mean of all batches so far.
                    layer.momentum = number / (number + 1)
                self._network(_channels_first(images, self._device, False), True)
        for layer, momentum in zip(normalizations, momenta, strict=True):
            layer.momentum = momentum

    def learning_rate(self) -> float:
        """Return the current learning rate."""
        return self._learning_rate(int(self._step.value))

    def _learning_rate(self, step: int) -> float:
        return float(self._rate(step)) if callable(self._rate) else float(self._rate)

    def _descend(self, rate: float) -> None:
        """Take one step of Keras' SGD: decay the kernels, then the Nesterov update."""
        torch, settings = self._torch, self._phase.settings
        with torch.no_grad():
            gradients = [weight.grad for weight in self._weights]
            if settings.weight_decay:
                torch._foreach_mul_(self._decayed, 1 - rate * settings.weight_decay)
            torch._foreach_mul_(self._velocities, settings.momentum)
            torch._foreach_add_(self._velocities, gradients, alpha=-rate)
            torch._foreach_add_(self._parameters, self._velocities, alpha=settings.momentum)
            torch._foreach_add_(self._parameters, gradients, alpha=-rate)
        self._round(self._parameters)
        for weight in self._weights:
            weight.grad = None

    def _round(self, parameters: list[Any]) -> None:
        """Set the model's kernels of four bits to the rounded values of these parameters."""
        with self._torch.no_grad():
            for number in self._rounded:
                self._weights[number].copy_(_on_grid(parameters[number]))


def _is_rounded(variable: Any) -> bool:
    """Return whether a variable is the kernel of a convolution of several channels."""
    return variable.name == DECAYED and len(variable.shape) == 4 and variable.shape[2] > 1


def _on_grid(kernel: Any) -> Any:
    """Return a kernel (height, width, inputs, outputs) rounded to -7 to 7 steps, which differ by output channel."""
    step = kernel.abs().amax((0, 1, 2), keepdim=True) / INT4_LIMIT
    return (kernel / step.clamp_min(SMALLEST_STEP)).round() * step


def compiled(network: TorchNetwork) -> Callable[[Any, bool], Any]:
    """Return the network compiled by ``torch.compile``, or the network itself without a C++ compiler."""
    import torch

    if any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++") if name):
        fused: Callable[[Any, bool], Any] = torch.compile(network)
        return fused
    return network


def _channels_first(images: np.ndarray, device: Any, reduced: bool) -> Any:
    """Return images (N, 28, 28, 1) as a tensor (N, 1, 28, 28) in the memory layout that is fastest on the device.

    Matrix units and accelerators prefer channels last; in float32 on a CPU, a step of ``edge`` takes 1.29 times as
    long with them.
    """
    import torch

    channels_last = reduced or device.type != "cpu"
    tensor = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def torch_logits(
    network: Callable[[Any, bool], Any], inputs: np.ndarray, device: Any, *, reduced: bool = False
) -> np.ndarray:
    """Return a network's logits, float32 (N, classes), for inputs, float32 (N, 28, 28, 1), 0 to 1.

    With ``reduced``, it computes in bfloat16, which is faster with hardware support.
    """
    import torch

    found = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=reduced):
        for start in range(0, len(inputs), EVALUATION_BATCH):
            batch = _channels_first(inputs[start : start + EVALUATION_BATCH], device, reduced)
            found.append(network(batch, False).float().cpu().numpy())
    return np.concatenate(found)
