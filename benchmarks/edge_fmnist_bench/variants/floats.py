"""The float model of the network, in Keras and as TensorFlow Lite files of each format (extra ``[export]``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_fmnist import extras
from edge_fmnist.errors import RunError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist_bench.variants.base import Runner, Variant, VariantError
from edge_fmnist_bench.variants.edge import InterpreterVariant

PURPOSE = "comparing with the float model"
# int8 is not among them: the model that is measured is the int8 form of the network.
FORMATS = ("float32", "float16", "dynamic")


def float_variants(run: str, folder: Path) -> list[Variant]:
    """Return the float model of a run as variants: TensorFlow Lite files, Keras ``predict`` and compiled functions.

    Args:
        run: a run folder, or a shipped checkpoint's name.
        folder: where the files go; it is made if it is not there.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RunError: the run is damaged.
        InterpreterError: no interpreter is installed.
    """
    extras.require("export", PURPOSE)
    from edge_fmnist_bench.variants.keras_model import keras_variants
    from edge_fmnist_export.training.run_folder import open_run

    return [*tflite_variants(run, folder), *keras_variants(open_run(run))]


def tflite_variants(run: str, folder: Path, formats: Sequence[str] = FORMATS) -> list[Variant]:
    """Export a run in some formats, and return a variant for each file in the preferred interpreter.

    A format that cannot be exported is a variant that says why when it is opened.

    Args:
        run: a run folder, or a shipped checkpoint's name.
        folder: where the files go; it is made if it is not there.
        formats: of those that ``edge-fmnist export`` writes.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RunError: nothing could be exported.
        InterpreterError: no interpreter is installed.
    """
    extras.require("export", PURPOSE)
    interpreter = interpreters.choose()
    files, complaint = _export(run, folder, formats)
    if not files:
        raise RunError(f"{run}: cannot be exported: {complaint}")
    return [
        InterpreterVariant(str(files[kind]), interpreter, kind)
        if kind in files
        else MissingVariant(kind, interpreter, complaint)
        for kind in formats
    ]


class MissingVariant(InterpreterVariant):
    """A format that could not be exported: its row says why."""

    def __init__(self, kind: str, interpreter: str, reason: str) -> None:
        """Take the format, the interpreter's name, and why there is no file."""
        super().__init__("", interpreter, kind)
        self.file = None
        self._reason = reason

    def open(self, *, threads: int, batch: int) -> Runner:  # noqa: ARG002
        """Raise VariantError with the reason."""
        raise VariantError(self._reason)


def _export(run: str, folder: Path, formats: Sequence[str]) -> tuple[dict[str, Path], str]:
    """Return the files by format, and what the export complained of.

    It runs in a process of its own: conversion works on TensorFlow alone,
    while the Keras variants take the back end in use here.
    """
    from edge_fmnist_export.training.run_folder import open_run

    open_run(run)
    options = [f"--{kind}" for kind in formats]
    command = [sys.executable, "-m", "edge_fmnist", "export", run, *options, "--output", str(folder), "--json"]
    # Accuracy is measured by the benchmark itself; this keeps the export from doing so as well.
    environment = {**os.environ, "EDGE_FMNIST_DATA": str(folder / "no-data")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    complaint = " ".join(line for line in done.stderr.splitlines() if line.startswith("Error: "))
    try:
        written = {entry["format"]: Path(entry["path"]) for entry in json.loads(done.stdout)}
    except ValueError:
        written = {}
    return written, complaint.removeprefix("Error: ") or done.stderr.strip()[-500:]
