"""The workstation: recipes, training, quantization-aware training, conversion, parity.

Importing this package imports neither TensorFlow nor Keras; each command
imports them when it runs (:mod:`edge_fmnist_export.training.backend`).
"""
