"""The zoo: networks of published projects, trained, quantized and measured like the shipped models."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.data.dataset import Split, is_fashion_mnist
from edge_fmnist.errors import ModelError, RunError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.metadata import extract
from edge_fmnist.model.registry import DEFAULT_MODEL
from edge_fmnist.model.tflite_graph import read_graph
from edge_fmnist_export.quantize.latency import compare_latency
from edge_fmnist_export.report import markdown
from edge_fmnist_export.search.runs import export_run, page_with, train_or_resume
from edge_fmnist_export.training import train_recipe
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run_folder import open_run

MODEL = "int8.tflite"
HEADINGS = (
    "network", "parameters", "MACs", "published", "float", "int8", "int8 file, bytes", "p50, µs", f"x {DEFAULT_MODEL}",
    "epochs",
)  # fmt: skip
NO_ACCURACY = "no accuracy is given for this network"
# Name of the architecture and the recipe: published top-1 accuracy of the float network on the test images, and source.
PUBLISHED: dict[str, tuple[float | None, str]] = {
    "mlp-128": (0.86, "network of the basic classification tutorial: Flatten, Dense 128, Dense 10"),
    "cnn-dropout": (0.93, "three convolutions with dropout, the best network of its project"),
    "cnn-93k": (0.83, "network of the CNN tutorial, on Fashion-MNIST: 93,322 parameters"),
    "cnn-1": (None, f"the shallowest of a comparison of three depths; {NO_ACCURACY}"),
    "cnn-2": (None, f"the middle one of a comparison of three depths; {NO_ACCURACY}"),
    "cnn-3": (None, f"the deepest of a comparison of three depths; {NO_ACCURACY}"),
    "lenet5": (0.9126, "LeNet-5 with ReLU, max pooling and Dense layers of 120 and 64: 59,086 parameters"),
}


def build_network(folder: Path, recipe: Recipe, train: Split, test: Split) -> str:
    """Train a network and write its evaluated int8 file, unless both are finished; return its name.

    Raises:
        CheckError: The written file failed a check.
    """
    run, _ = train_or_resume(folder, recipe, train, recipe.name)
    if finished_file(folder, test) is None:
        export_run(run, "int8", folder / MODEL, test=test)
    return recipe.name


def finished_file(folder: Path, test: Split) -> dict[str, Any] | None:
    """Return, for JSON, the properties of the int8 file in a run folder, from its metadata and the run's metrics.

    None if the file is missing, damaged, or was evaluated on other test images.

    Raises:
        RunError: the run folder is damaged.
    """
    path = folder / MODEL
    try:
        content = path.read_bytes()
        metadata, macs = extract(content, str(path)), read_graph(content, str(path)).macs
    except (FileNotFoundError, ModelError):
        return None
    accuracy = metadata.settings.get("accuracy", {}) if metadata else {}
    if metadata is None or accuracy.get("data_sha256") != list(test.sha256):
        return None
    metrics = train_recipe.read_metrics(open_run(folder))
    names = (train_recipe.FLOAT, train_recipe.QAT)
    if missing := [name for name in names if name not in metrics]:
        raise RunError(f"{folder / 'metrics.json'}: without the phase {missing[0]}; delete {folder} to train it again")
    phases = [metrics[name] for name in names]
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "test_sha256": accuracy["data_sha256"],
        **{key: accuracy[key] for key in ("images", "float_top1", "top1")},
        "bytes": len(content),
        "parameters": metadata.settings["parameters"],
        "macs": macs,
        "epochs": [phase["epochs"] for phase in phases],
        "seconds": round(sum(phase["seconds"] for phase in phases), 1),
    }


def finished_networks(folder: Path, test: Split, reference: bytes) -> list[dict[str, Any]]:
    """Return a row for JSON for each finished network, and measure their latency in alternation.

    ``met`` tells whether the int8 file reaches the published accuracy, if there is one for this data set.
    """
    comparable = is_fashion_mnist(test)
    published = {name: accuracy if comparable else None for name, (accuracy, _) in PUBLISHED.items()}
    files = {name: file for name in PUBLISHED if (file := finished_file(folder / name, test)) is not None}
    latencies = compare_latency({name: (folder / name / MODEL).read_bytes() for name in files}, reference)
    return [
        {
            "name": name,
            "published": published[name],
            "source": PUBLISHED[name][1],
            **file,
            "microseconds": round(latencies[name].microseconds, 2),
            "ratio": round(latencies[name].ratio, 4),
            "met": file["top1"] >= (published[name] or 0),
        }
        for name, file in files.items()
    ]


def table_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row as text, in the order of ``HEADINGS``."""
    return (
        row["name"],
        f"{row['parameters']:,}",
        f"{row['macs']:,}",
        "not given" if row["published"] is None else f"{100 * row['published']:.4g} %",
        f"{100 * row['float_top1']:.2f} %",
        f"{100 * row['top1']:.2f} %",
        f"{row['bytes']:,}",
        f"{row['microseconds']:.1f}",
        f"{row['ratio']:.2f}",
        " + ".join(map(str, row["epochs"])),
    )


def measured_with() -> str:
    """Return the interpreter and the processor type with which latency is measured here."""
    name = interpreters.choose()
    return f"{name} {interpreters.installed()[name]}, {platform.machine()}, one thread, one image at a time"


def zoo_page(path: Path, networks: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown page with the table, and how it was measured, between its markers.

    Raises:
        UsageError: See :func:`edge_fmnist_export.search.runs.page_with`.
    """
    lines = [
        markdown.table(HEADINGS, [(f"`{name}`", *rest) for name, *rest in map(table_cells, networks)]),
        "",
        "Top-1 accuracy on the test images: float of the Keras model, int8 of the written file after",
        f"quantization-aware training (QAT). Latency: {measured_with()};",
        f"measured in alternation with `{DEFAULT_MODEL}`, to which the ratio refers. Epochs: float + QAT.",
        "Published accuracies are of float networks:",
        "",
        *(f"- `{row['name']}`: {row['source']}" for row in networks),
    ]
    new_page = "# The zoo\n\nNetworks of published projects, trained with the recipes of the same name."
    return page_with(path, "zoo", "edge-fmnist zoo", "\n".join(lines), new_page, "networks")
