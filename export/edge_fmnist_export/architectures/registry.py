"""The registry of architectures: a name, and the function that builds the network.

A builder takes the Keras module as its argument and uses only what Keras 3
and ``tf_keras`` share, so that one function builds the float model (Keras 3)
and the network that quantization-aware training starts from (``tf_keras``).
Every network maps float32 images (N, 28, 28, 1), values 0 to 1, to float32
logits (N, 10).

A family is many architectures under one prefix: what follows the colon of
``resnet:32;48/2,80/2`` describes the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_fmnist.errors import UsageError

INPUT_SHAPE = (28, 28, 1)
CLASSES = 10

# Keras 3 and tf_keras have no common type, so a Keras module and its models are Any.
Builder = Callable[[Any], Any]
# Takes the whole name; raises UsageError where it describes no network.
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
    """Register the decorated function as the one that makes builders for names that begin with ``prefix:``."""

    def register(maker: Family) -> Family:
        _FAMILIES[prefix] = maker
        return maker

    return register


def names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_BUILDERS)


def builder(name: str) -> Builder:
    """Return the builder registered under ``name``, or the one that its family makes.

    Raises:
        UsageError: there is none of that name, or the family cannot read it.
    """
    prefix, colon, _ = name.partition(":")
    if colon and prefix in _FAMILIES:
        return _FAMILIES[prefix](name)
    try:
        return _BUILDERS[name]
    except KeyError:
        known = ", ".join([*names(), *(f"{prefix}:..." for prefix in _FAMILIES)])
        raise UsageError(f"unknown architecture {name!r}; expected one of {known}") from None


def build(name: str, keras: Any, dropout: float = 1.0, batch_norm_momentum: float = 0.99) -> Any:
    """Build architecture ``name`` with the Keras module given.

    Args:
        name: a registered name, or one of a family.
        keras: the module ``keras`` (Keras 3) or ``tf_keras``.
        dropout: what the rates of its dropout layers are multiplied by, 0 to 1; part of no weight and no answer.
        batch_norm_momentum: share that the moving statistics of batch normalization keep at each training step.

    Returns:
        A freshly initialised, uncompiled functional model.

    Raises:
        UsageError: there is no architecture of that name.
    """
    model = builder(name)(keras)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate *= dropout
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    return model
