"""What a baseline leaves behind: the fitted model, the results, and figures.

::

    baselines/NAME/
    ├── model.json or model.skops   the fitted model; holds no code
    ├── confusion.png               of the test images
    ├── importance.png, .csv        how much each pixel counts
    ├── report.txt                  scikit-learn's classification report of the test images
    └── results.json                settings, metrics, times, machine, hashes of the data
"""

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
from edge_fmnist_export.baselines.figures import draw_confusion, draw_importance
from edge_fmnist_export.baselines.fitted import RESULTS
from edge_fmnist_export.baselines.runner import Options, Outcome, save

PACKAGES = ("edge-fmnist", "numpy", "scikit-image", "scikit-learn", "xgboost")


def write(folder: Path, outcome: Outcome, options: Options, train: Split, test: Split) -> dict[str, Any]:
    """Write all files of a baseline, the results last, and return the results.

    Args:
        folder: where they go; made where it is not there.
        outcome: what came of the baseline.
        options: how it was run.
        train: the training split that was given.
        test: the split that it was measured on.

    Raises:
        CheckError: the model that was written answers otherwise than the fitted one.
        OSError: the folder cannot be written to.
    """
    model = folder / outcome.fitted.baseline.file_name
    save(outcome, model, test.images)
    results = {
        **outcome.as_dict(),
        "seed": options.seed,
        "model": {"file": model.name, "bytes": model.stat().st_size},
        "data_sha256": {"train": list(train.sha256), "test": list(test.sha256)},
        "environment": _environment(options.threads),
    }
    write_bytes(folder / "confusion.png", draw_confusion(outcome.test))
    title = outcome.fitted.baseline.importance_method
    write_bytes(folder / "importance.png", draw_importance(outcome.importance, title))
    write_text(folder / "importance.csv", _csv(outcome.importance))
    write_text(folder / "report.txt", outcome.test.report)
    write_json(folder / RESULTS, results)
    return results


def _csv(values: np.ndarray) -> str:
    stream = io.StringIO()
    np.savetxt(stream, values, fmt="%.8g", delimiter=",")
    return stream.getvalue()


def _environment(threads: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "versions": {package: version(package) for package in PACKAGES},
    }
