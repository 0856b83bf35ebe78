"""The zoo: networks of published projects, trained, quantized and measured like the shipped models."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.metadata import extract
from edge_fmnist.model.registry import DEFAULT_MODEL
from edge_fmnist.model.tflite_graph import read_structure
from edge_fmnist_export.quantize.latency import Latency, compare_latency
from edge_fmnist_export.report import markdown
from edge_fmnist_export.search.runs import export_run, page_with, train_or_resume
from edge_fmnist_export.training import training
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run import open_run

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


@dataclass(frozen=True)
class ZooEntry:
    """A row of the zoo's table.

    Attributes:
        name: Name of the network.
        file: Properties of the int8 file, accuracies 0 to 1, and of its training; see :func:`finished_file`.
        latency: Latency of the file.
    """

    name: str
    file: dict[str, Any]
    latency: Latency

    @property
    def met(self) -> bool:
        """Whether the int8 file reaches the published accuracy, if there is one."""
        return bool(self.file["top1"] >= (PUBLISHED[self.name][0] or 0))

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row as text, in the order of ``HEADINGS``."""
        published, file = PUBLISHED[self.name][0], self.file
        return (
            self.name,
            f"{file['parameters']:,}",
            f"{file['macs']:,}",
            "not given" if published is None else f"{100 * published:.4g} %",
            f"{100 * file['float_top1']:.2f} %",
            f"{100 * file['top1']:.2f} %",
            f"{file['bytes']:,}",
            f"{self.latency.microseconds:.1f}",
            f"{self.latency.ratio:.2f}",
            " + ".join(map(str, file["epochs"])),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        published, source = PUBLISHED[self.name]
        latency = {"microseconds": round(self.latency.microseconds, 2), "ratio": round(self.latency.ratio, 4)}
        return {"name": self.name, "published": published, "source": source, **self.file, **latency, "met": self.met}


def build_network(folder: Path, recipe: Recipe, train: Split, test: Split) -> None:
    """Train a network and write its evaluated int8 file, unless both are finished.

    Args:
        folder: Run folder.
        recipe: Recipe of the network.
        train: Training split.
        test: Test split, for the accuracy.

    Raises:
        CheckError: The written file failed a check.
        EdgeFmnistError: See :func:`edge_fmnist_export.search.runs.train_or_resume`.
    """
    run, _ = train_or_resume(folder, recipe, train, recipe.name)
    if finished_file(folder, test) is None:
        export_run(run, "int8", folder / MODEL, test=test)


def finished_file(folder: Path, test: Split) -> dict[str, Any] | None:
    """Return the properties of the int8 file in a run folder, which its own metadata and the run's metrics contain.

    Returns:
        Properties for JSON; None if the file is missing, damaged, or was evaluated on other test images.
    """
    path = folder / MODEL
    try:
        content = path.read_bytes()
        metadata, macs = extract(content, str(path)), read_structure(content, str(path)).macs
    except (FileNotFoundError, ModelError):
        return None
    accuracy = metadata.settings.get("accuracy", {}) if metadata else {}
    if metadata is None or accuracy.get("data_sha256") != list(test.sha256):
        return None
    metrics = open_run(folder).read_json("metrics.json", {})
    phases = [metrics[name] for name in (training.FLOAT, training.QAT)]
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


def finished_entries(folder: Path, test: Split, reference: bytes) -> list[ZooEntry]:
    """Return the entries of all finished networks, and measure their latency in alternation.

    Args:
        folder: Contains the run folders.
        test: Test split that the accuracy was measured on.
        reference: Bytes of the model file that latencies are compared with.
    """
    files = {name: file for name in PUBLISHED if (file := finished_file(folder / name, test)) is not None}
    latencies = compare_latency({name: (folder / name / MODEL).read_bytes() for name in files}, reference)
    return [ZooEntry(name, file, latencies[name]) for name, file in files.items()]


def measured_with() -> str:
    """Return the interpreter and the processor type with which latency is measured here."""
    name = interpreters.choose()
    return f"{name} {interpreters.installed()[name]}, {platform.machine()}, one thread, one image at a time"


def zoo_document(entries: Sequence[ZooEntry]) -> dict[str, Any]:
    """Return the table as plain values for JSON."""
    networks = [entry.as_dict() for entry in entries]
    return {"measured_with": measured_with(), "reference": DEFAULT_MODEL, "networks": networks}


def zoo_page(path: Path, entries: Sequence[ZooEntry]) -> str:
    """Return a Markdown page with the table, and how it was measured, between its markers.

    Raises:
        UsageError: See :func:`edge_fmnist_export.search.runs.page_with`.
    """
    rows = [(f"`{name}`", *rest) for name, *rest in (entry.cells() for entry in entries)]
    lines = [
        markdown.table(HEADINGS, rows),
        "",
        "Top-1 accuracy on the test images: float of the Keras model, int8 of the written file after",
        f"quantization-aware training (QAT). Latency: {measured_with()};",
        f"measured in alternation with `{DEFAULT_MODEL}`, to which the ratio refers. Epochs: float + QAT.",
        "Published accuracies are of float networks:",
        "",
        *(f"- `{entry.name}`: {PUBLISHED[entry.name][1]}" for entry in entries),
    ]
    new_page = "# The zoo\n\nNetworks of published projects, trained with the recipes of the same name."
    return page_with(path, "zoo", "edge-fmnist zoo", "\n".join(lines), new_page)
