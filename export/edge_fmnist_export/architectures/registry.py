"""The registry of architectures: names, and functions that build the networks.

A builder takes the Keras module as its argument, so that one function builds the float model (Keras 3) and the network
for quantization-aware training (``tf_keras``). Every network maps float32 images (N, 28, 28, 1), values 0 to 1, to
float32 logits (N, 10), or (N, classes) where :func:`build` is asked for another number of classes.

A family is a set of architectures with a common prefix: in ``resnet:32;48/2,80/2``, the text after the colon describes
the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import UsageError

INPUT_SHAPE = (28, 28, 1)
CLASSES = 10

# Keras 3 and tf_keras have no common type, so a Keras module and its models are Any.
Builder = Callable[[Any], Any]
# Takes the whole name; raises UsageError if it is invalid.
Family = Callable[[str], Builder]

_BUILDERS: dict[str, Builder] = {}
_FAMILIES: dict[str, Family] = {}


def architecture(name: str) -> Callable[[Builder], Builder]:
    """Register the decorated builder under ``name``."""

    def register(builder: Builder) -> Builder:
        _BUILDERS[name] = builder
        return builder

    return register


def family(prefix: str) -> Callable[[Family], Family]:
    """Register the decorated function, which returns the builder for a name that begins with ``prefix:``."""

    def register(maker: Family) -> Family:
        _FAMILIES[prefix] = maker
        return maker

    return register


def names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_BUILDERS)


def builder(name: str) -> Builder:
    """Return the builder of a registered name, or of a family's.

    Raises:
        UsageError: an unknown or invalid name.
    """
    prefix, colon, _ = name.partition(":")
    if colon and prefix in _FAMILIES:
        return _FAMILIES[prefix](name)
    try:
        return _BUILDERS[name]
    except KeyError:
        known = ", ".join([*names(), *(f"{prefix}:..." for prefix in _FAMILIES)])
        raise UsageError(f"unknown architecture {name!r}; expected one of {known}") from None


@interrupted_later()
def build(
    name: str, keras: Any, dropout: float = 1.0, batch_norm_momentum: float = 0.99, classes: int = CLASSES
) -> Any:
    """Build an uncompiled model with random weights by a Keras module, ``keras`` (Keras 3) or ``tf_keras``.

    Args:
        name: a registered name, or one of a family.
        keras: the module.
        dropout: factor on the dropout rates, 0 to 1.
        batch_norm_momentum: share that the moving statistics of batch normalization keep at each training step.
        classes: number of logits.

    Raises:
        UsageError: an unknown name.
    """
    model = builder(name)(keras)
    if classes != CLASSES:
        last = model.layers[-1]
        model = keras.Model(model.inputs, keras.layers.Dense(classes, name=last.name)(last.input), name=model.name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate *= dropout
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    return model
