"""The sections of the report by name, in the order of the page."""

from __future__ import annotations

from edge_fmnist_export.report.base import SectionModule
from edge_fmnist_export.report.sections import data, explanation, gallery, projection, quantization, result, training

SECTIONS: dict[str, SectionModule] = {
    "result": result,
    "gallery": gallery,
    "quantization": quantization,
    "projection": projection,
    "explanation": explanation,
    "data": data,
    "training": training,
}
