"""The explanation methods by name."""

from __future__ import annotations

from collections.abc import Callable

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report.explain import gradcam, lime_weights, occlusion, shap_values
from edge_fmnist_export.report.explain.base import ExplainRequest, Explanation

METHODS: dict[str, Callable[[ExplainRequest], Explanation]] = {
    "shap": shap_values.explain,
    "lime": lime_weights.explain,
    "occlusion": occlusion.explain,
    "gradcam": gradcam.explain,
}


def explain(method: str, request: ExplainRequest) -> Explanation:
    """Explain a prediction by the method of this name.

    Raises:
        UsageError: an unknown method, or one that cannot explain this model.
        MissingExtraError: the method's library is not installed.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
    return METHODS[method](request)
