"""A Keras 3 model on the torch back end, as one function that ``torch.compile`` can fuse.

Keras runs layer by layer and changes the memory layout between layers, which on a CPU takes longer than a small
convolution. The function here uses the same variables, in the fastest memory layout and precision. Measured speed:
export/RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from edge_fmnist.errors import UsageError

# From the input tensors of a layer, and whether the network is training, to its output.
Operation = Callable[[Sequence[Any], bool], Any]


class Step(NamedTuple):
    """One layer: its operation, and the names of its input tensors and its output tensor."""

    operation: Operation
    inputs: tuple[str, ...]
    output: str


class TorchNetwork:
    """A Keras model as a function of torch tensors that shares the model's variables.

    Args:
        model: a functional Keras 3 model on the torch back end, with one input and one output.
        channels_last: keep activations channels last, as accelerators need it: torch cannot tell the layout of images
            with one channel, and a convolution takes that of its input.

    Raises:
        UsageError: the model has an unsupported layer.
    """

    def __init__(self, model: Any, *, channels_last: bool = False) -> None:
        from keras import tree

        self._input, self._output = model.inputs[0].name, model.outputs[0].name
        self._channels_last = channels_last
        self._steps = [
            Step(_operation(layer), tuple(tensor.name for tensor in tree.flatten(layer.input)), layer.output.name)
            for layer in model.layers
            if type(layer).__name__ != "InputLayer"
        ]

    def __call__(self, images: Any, training: bool) -> Any:
        """Return the logits (N, classes) for a float32 tensor of images (N, 1, 28, 28), values 0 to 1.

        They have the precision of the autocast context. In ``training``, dropout is active and batch normalization uses
        the batch.
        """
        import torch

        values = {self._input: images}
        for step in self._steps:
            value = step.operation([values[name] for name in step.inputs], training)
            if self._channels_last and value.ndim == images.ndim:
                value = value.to(memory_format=torch.channels_last)
            values[step.output] = value
        return values[self._output]


def _operation(layer: Any) -> Operation:
    """Return a Keras layer's operation on tensors (N, channels, height, width)."""
    kind = type(layer).__name__
    try:
        return _OPERATIONS[kind](layer)
    except KeyError:
        raise UsageError(
            f"the torch back end supports the layers {', '.join(sorted(_OPERATIONS))}, got {kind}; "
            "set KERAS_BACKEND=tensorflow"
        ) from None


def _activation(layer: Any) -> Callable[[Any], Any]:
    import torch

    name = layer.activation.__name__
    if name not in ("linear", "relu"):
        raise UsageError(
            f"the torch back end supports relu and linear, got the activation {name!r}; set KERAS_BACKEND=tensorflow"
        )
    return torch.relu if name == "relu" else lambda x: x


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after an axis for "same"; an odd pixel goes after, as in TensorFlow."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _padding(layer: Any, x: Any) -> tuple[int, int, int, int]:
    """Return left, right, top, bottom."""
    if layer.padding == "valid":
        return 0, 0, 0, 0
    window = getattr(layer, "kernel_size", None) or layer.pool_size
    rows = same_padding(x.shape[2], window[0], layer.strides[0])
    columns = same_padding(x.shape[3], window[1], layer.strides[1])
    return (*columns, *rows)


def _convolution(layer: Any, *, depthwise: bool = False) -> Operation:
    from torch.nn import functional

    activation = _activation(layer)
    kernel, bias = layer.kernel.value, layer.bias.value if layer.use_bias else None
    order, groups = ((2, 3, 0, 1), kernel.shape[2]) if depthwise else ((3, 2, 0, 1), 1)

    def run(inputs: Sequence[Any], _: bool) -> Any:
        (x,) = inputs
        left, right, top, bottom = _padding(layer, x)
        if (left, top) == (right, bottom):
            padding = (top, left)
        else:
            x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
        x = functional.conv2d(x, kernel.permute(order), bias, tuple(layer.strides), padding, groups=groups)
        return activation(x)

    return run


def _batch_normalization(layer: Any) -> Operation:
    from torch.nn import functional

    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    gamma, beta = layer.gamma.value, layer.beta.value

    def run(inputs: Sequence[Any], training: bool) -> Any:
        return functional.batch_norm(
            inputs[0], mean, variance, gamma, beta, training, momentum=1 - layer.momentum, eps=layer.epsilon
        )

    return run


def _max_pooling(layer: Any) -> Operation:
    from torch.nn import functional

    def run(inputs: Sequence[Any], _: bool) -> Any:
        (x,) = inputs
        x = functional.pad(x, _padding(layer, x), value=float("-inf"))
        return functional.max_pool2d(x, layer.pool_size, layer.strides)

    return run


def _dense(layer: Any) -> Operation:
    from torch.nn import functional

    activation = _activation(layer)
    kernel, bias = layer.kernel.value, layer.bias.value if layer.use_bias else None
    return lambda inputs, _: activation(functional.linear(inputs[0], kernel.T, bias))


def _dropout(layer: Any) -> Operation:
    from torch.nn import functional

    def run(inputs: Sequence[Any], training: bool) -> Any:
        x = inputs[0]
        if layer.noise_shape is None:
            return functional.dropout(x, layer.rate, training)
        kept = x.new_ones([size if size else x.shape[axis] for axis, size in enumerate(layer.noise_shape)])
        return x * functional.dropout(kept, layer.rate, training)

    return run


def _relu(layer: Any) -> Operation:
    import torch

    if layer.negative_slope or layer.threshold:
        raise UsageError("the torch back end supports ReLU without slope and threshold; set KERAS_BACKEND=tensorflow")
    if layer.max_value is None:
        return lambda inputs, _: torch.relu(inputs[0])
    return lambda inputs, _: torch.nn.functional.hardtanh(inputs[0], 0, layer.max_value)


def _enlargement(layer: Any) -> Operation:
    from torch.nn import functional

    size, method = tuple(map(float, layer.size)), layer.interpolation
    return lambda inputs, _: functional.interpolate(inputs[0], scale_factor=size, mode=method)


def _rescaling(layer: Any) -> Operation:
    return lambda inputs, _: inputs[0] * layer.scale + layer.offset


def _add(_layer: Any) -> Operation:
    return lambda inputs, _: sum(inputs[1:], inputs[0])


def _flatten(_layer: Any) -> Operation:
    # In the order of the Keras model, with channels last.
    return lambda inputs, _: inputs[0].permute(0, 2, 3, 1).flatten(1)


def _global_average_pooling(_layer: Any) -> Operation:
    return lambda inputs, _: inputs[0].mean((2, 3))


_OPERATIONS: dict[str, Callable[[Any], Operation]] = {
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": partial(_convolution, depthwise=True),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_average_pooling,
    "MaxPooling2D": _max_pooling,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "UpSampling2D": _enlargement,
}
