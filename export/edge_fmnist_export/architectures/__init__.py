"""Networks for 28x28 images: our own, and those of the published projects.

Importing this package fills the registry; no Keras is imported here.
"""

from edge_fmnist_export.architectures import cnn_93k, cnn_depth, cnn_dropout, edge, lenet5, mlp, residual
from edge_fmnist_export.architectures.registry import architecture, build, builder, names

__all__ = [
    "architecture",
    "build",
    "builder",
    "cnn_93k",
    "cnn_depth",
    "cnn_dropout",
    "edge",
    "lenet5",
    "mlp",
    "names",
    "residual",
]
