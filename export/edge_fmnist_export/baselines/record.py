"""The results folder of a baseline. docs/baselines.md describes its files."""

from __future__ import annotations

import io
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import write_bytes, write_json, write_text
from edge_fmnist_export.baselines.fitted import RESULTS
from edge_fmnist_export.baselines.runner import BaselineOptions, BaselineResult, save
from edge_fmnist_export.report.figures import as_png, confusion_figure, drawing, new_figure

# What is written beside the model and its results.
FILES = CONFUSION, IMPORTANCE, IMPORTANCES, REPORT = "confusion.png", "importance.png", "importance.csv", "report.txt"
PACKAGES = ("edge-fmnist", "numpy", "scikit-image", "scikit-learn", "xgboost")
# Keeps the colour scale valid if all values are 0.
LEAST_IMPORTANCE = 1e-6


def write(folder: Path, result: BaselineResult, options: BaselineOptions, train: Split, test: Split) -> dict[str, Any]:
    """Write all files of a baseline, ``results.json`` last.

    Returns:
        The content of ``results.json``.

    Raises:
        CheckError: the saved model predicts differently from the fitted one.
        OSError: the folder is not writable.
    """
    model = folder / result.fitted.baseline.file_name
    save(result, model, test.images)
    with drawing():
        confusion = confusion_figure(result.test.confusion, result.test.labels)
        write_bytes(folder / CONFUSION, as_png(confusion))
        importance = importance_figure(result.importance, result.fitted.baseline.importance_method)
        write_bytes(folder / IMPORTANCE, as_png(importance))
    values = io.StringIO()
    np.savetxt(values, result.importance, fmt="%.8g", delimiter=",")
    write_text(folder / IMPORTANCES, values.getvalue())
    write_text(folder / REPORT, result.test.report)
    results = {
        **result.as_dict(),
        "seed": options.seed,
        "model": {"file": model.name, "bytes": model.stat().st_size},
        "data_sha256": {"train": list(train.sha256), "test": list(test.sha256)},
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "versions": {package: version(package) for package in PACKAGES},
        },
    }
    write_json(folder / RESULTS, results)
    return results


def importance_figure(importance: np.ndarray, title: str) -> Any:
    """Return a matplotlib figure of the importance of each pixel, shape (28, 28), with a colour bar."""
    figure = new_figure(4.2)
    axes = figure.add_subplot()
    # Values below 0 are noise, so the scale starts at 0.
    highest = max(float(importance.max()), LEAST_IMPORTANCE)
    shown = axes.imshow(importance, cmap="inferno", vmin=0, vmax=highest, interpolation="nearest")
    axes.set_title(title, wrap=True)
    axes.set_axis_off()
    figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure
