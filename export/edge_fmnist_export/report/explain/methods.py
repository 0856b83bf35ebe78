"""The explanation methods by name."""

from __future__ import annotations

from collections.abc import Callable

from edge_fmnist_export.report.explain import gradcam, lime_weights, occlusion, shap_values
from edge_fmnist_export.report.explain.base import ExplainRequest, Explanation

METHODS: dict[str, Callable[[ExplainRequest], Explanation]] = {
    "shap": shap_values.explain,
    "lime": lime_weights.explain,
    "occlusion": occlusion.explain,
    "gradcam": gradcam.explain,
}
