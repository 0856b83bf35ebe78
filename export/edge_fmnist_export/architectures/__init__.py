"""Networks for 28x28 images: our own, and those of published projects.

A builder takes the Keras module as its argument, so that one function builds the float model (Keras 3) and the network
for quantization-aware training (``tf_keras``). Every network maps float32 images (N, 28, 28, 1), values 0 to 1, to
float32 logits (N, 10), or (N, classes) where :func:`build` is asked for another number of classes.
"""

from __future__ import annotations

from typing import Any

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import UsageError
from edge_fmnist_export.architectures import edge, efficientnet, published, residual
from edge_fmnist_export.architectures.registry import CLASSES, Builder

BUILDERS: dict[str, Builder] = {
    "cnn-1": published.cnn_1,
    "cnn-2": published.cnn_2,
    "cnn-3": published.cnn_3,
    "cnn-93k": published.cnn_93k,
    "cnn-dropout": published.cnn_dropout,
    "edge": edge.edge,
    efficientnet.NAME: efficientnet.lite2,
    "lenet5": published.lenet5,
    "mlp-128": published.mlp_128,
}


def names() -> list[str]:
    """Return the names of the architectures, sorted."""
    return sorted(BUILDERS)


def builder(name: str) -> Builder:
    """Return the builder of an architecture, or of the network that a name such as ``resnet:32;48/2,80/2`` describes.

    Raises:
        UsageError: an unknown or invalid name.
    """
    if name.startswith(f"{residual.FAMILY}:"):
        network = residual.parse(name)
        return lambda keras: residual.build(network, keras)
    if name not in BUILDERS:
        known = ", ".join([*names(), f"{residual.FAMILY}:..."])
        raise UsageError(f"unknown architecture {name!r}; expected one of {known}")
    return BUILDERS[name]


@interrupted_later()
def build(
    name: str, keras: Any, dropout: float = 1.0, batch_norm_momentum: float = 0.99, classes: int = CLASSES
) -> Any:
    """Build an uncompiled model with random weights by a Keras module, ``keras`` (Keras 3) or ``tf_keras``.

    Args:
        name: see :func:`builder`.
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
