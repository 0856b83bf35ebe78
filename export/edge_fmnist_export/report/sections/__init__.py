"""The sections of the report by name, in the order of the page."""

from __future__ import annotations

from types import ModuleType

from edge_fmnist_export.report.sections import data, explanation, gallery, projection, quantization, result, training

SECTIONS: dict[str, ModuleType] = {
    "result": result,
    "gallery": gallery,
    "quantization": quantization,
    "projection": projection,
    "explanation": explanation,
    "data": data,
    "training": training,
}
