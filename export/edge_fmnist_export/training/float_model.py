"""The trained float model of a run."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export import architectures
from edge_fmnist_export.training.run_folder import Run
from edge_fmnist_export.training.weights import assign_variables


def float_model(run: Run, keras: Any) -> Any:
    """Return the float model of a run with its best weights; ``keras`` is the Keras 3 module.

    Raises:
        RunNotFoundError: the weights of a shipped checkpoint are not part of the installed package.
        RunError: the float weights are missing, damaged or do not fit.
    """
    model = architectures.build(run.recipe.architecture, keras, classes=run.recipe.outputs)
    assign_variables(model.weights, run.weights("float"), str(run.weights_path("float")))
    return model
