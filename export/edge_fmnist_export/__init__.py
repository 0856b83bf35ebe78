"""The workstation: recipes, training, quantization-aware training, conversion, parity.

Importing this package imports neither TensorFlow nor Keras; each command
imports them when it runs (:mod:`edge_fmnist_export.training.backend`).
"""

from edge_fmnist import keep_former_paths

keep_former_paths(
    __name__,
    {
        "exporting": "quantize.exporting",
        "metrics": "report.metrics",
        "progress": "training.progress",
        "recipe": "training.recipe",
        "run": "training.run_folder",
    },
)
