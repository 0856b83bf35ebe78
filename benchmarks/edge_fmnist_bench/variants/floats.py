"""The float model of the network, in Keras and as TensorFlow Lite files of each format (extra ``[export]``)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from edge_fmnist import extras
from edge_fmnist.errors import RunError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.subprocesses import module_command
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner, VariantError
from edge_fmnist_bench.variants.edge import InterpreterVariant

PURPOSE = "comparing with the float model"
# Without int8: the benchmarked model is the int8 format of the network.
FORMATS = ("float32", "float16", "dynamic")


def float_variants(run: str, folder: Path) -> list[BenchmarkVariant]:
    """Return the float model of a run as variants: TensorFlow Lite files, Keras ``predict`` and compiled functions.

    The run is a folder or a shipped checkpoint's name. The files go to ``folder``.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RunError: the run is damaged, or nothing could be exported.
        InterpreterError: no interpreter is installed.
    """
    from edge_fmnist_export.training import backend

    extras.require("export", PURPOSE, backend.FLOAT_MODULES)
    from edge_fmnist_bench.variants.keras_model import keras_variants
    from edge_fmnist_export.training.run_folder import open_run

    opened = open_run(run)
    return [*tflite_variants(run, folder), *keras_variants(opened)]


def tflite_variants(run: str, folder: Path) -> list[BenchmarkVariant]:
    """Export a run into a folder, and return a variant in the preferred interpreter for each format.

    A format that cannot be exported is a variant that raises the reason when it is opened.

    Raises:
        RunError: nothing could be exported.
        InterpreterError: no interpreter is installed.
    """
    interpreter = interpreters.choose()
    options = [f"--{kind}" for kind in FORMATS]
    # A separate process: conversion needs TensorFlow, while the Keras variants run on the current back end.
    command = module_command("edge_fmnist", "export", run, *options, "--output", str(folder), "--json")
    # Without the data set, the export does not measure accuracy, which the benchmark does itself.
    environment = {**os.environ, "EDGE_FMNIST_DATA": str(folder / "no-data")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    messages = [line.removeprefix("Error: ") for line in done.stderr.splitlines() if line.startswith("Error: ")]
    reason = " ".join(messages) or done.stderr.strip()[-500:]
    try:
        files = {entry["format"]: Path(entry["path"]) for entry in json.loads(done.stdout)}
    except ValueError as error:
        # The float model runs on any Keras back end, its files need TensorFlow.
        if not extras.missing(("tensorflow",)):
            raise RunError(f"{run}: cannot be exported: {reason}") from error
        files = {}
    return [
        InterpreterVariant(str(files[kind]), interpreter, kind)
        if kind in files
        else MissingVariant(kind, interpreter, reason)
        for kind in FORMATS
    ]


class MissingVariant(InterpreterVariant):
    """A format that could not be exported; its row shows the reason."""

    def __init__(self, kind: str, interpreter: str, reason: str) -> None:
        super().__init__("", interpreter, kind)
        self.file = None
        self._reason = reason

    def open(self, *, threads: int, batch: int) -> Runner:  # noqa: ARG002
        """Raise VariantError with the reason."""
        raise VariantError(self._reason)
