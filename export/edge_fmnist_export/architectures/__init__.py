"""Networks for 28x28 images: our own, and those of published projects.

Importing this package registers them, without importing Keras.
"""

from edge_fmnist_export.architectures import edge, published, residual
from edge_fmnist_export.architectures.registry import architecture, build, builder, names

__all__ = ["architecture", "build", "builder", "edge", "names", "published", "residual"]
