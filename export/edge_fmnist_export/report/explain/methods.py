"""The methods by name."""

from __future__ import annotations

from collections.abc import Callable

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report.explain import gradcam, lime_weights, occlusion, shap_values
from edge_fmnist_export.report.explain.base import Explanation, Question

METHODS: dict[str, Callable[[Question], Explanation]] = {
    "shap": shap_values.explain,
    "lime": lime_weights.explain,
    "occlusion": occlusion.explain,
    "gradcam": gradcam.explain,
}


def explain(method: str, question: Question) -> Explanation:
    """Explain with the method of this name.

    Raises:
        UsageError: no such method, or one that cannot explain this model.
        MissingExtraError: the method's library is not installed.
    """
    try:
        chosen = METHODS[method]
    except KeyError:
        raise UsageError(f"unknown method {method!r}; expected one of {', '.join(METHODS)}") from None
    return chosen(question)
