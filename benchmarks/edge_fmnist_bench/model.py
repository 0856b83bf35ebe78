"""What a model file is, for results and for the gate."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from edge_fmnist.errors import InterpreterError
from edge_fmnist.model.metadata import Metadata, extract
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import Structure, read_structure
from edge_fmnist_bench.variants.edge import model_file


def describe(model: str) -> dict[str, Any]:
    """Return a model's facts as plain values; None for what the file does not tell.

    Args:
        model: a shipped model's name, or a ``.tflite`` file.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: not a model, or a damaged one.
    """
    read = read_model(model)
    metadata = extract(read.content, read.source)
    accuracy = metadata.settings.get("accuracy") if metadata else None
    return {
        "name": metadata.name if metadata else model_file(model).stem,
        "described": metadata is not None,
        "file": model_file(model).name,
        "sha256": hashlib.sha256(read.content).hexdigest(),
        "bytes": len(read.content),
        "float_top1": accuracy.get("float_top1") if isinstance(accuracy, dict) else None,
        **_structure(read.content, read.source, metadata),
    }


def _structure(content: bytes, source: str, metadata: Metadata | None) -> dict[str, Any]:
    try:
        structure = read_structure(content, source)
    except InterpreterError:
        # No schema of the file format is installed (32-bit ARM).
        return dict.fromkeys(("macs", "parameters", "operators", "dtypes"))
    said = metadata.settings.get("parameters") if metadata else None
    return {
        "macs": structure.macs,
        "parameters": said if isinstance(said, int) else parameters(structure),
        "operators": sorted({operator.name for operator in structure.operators}),
        "dtypes": dtypes(structure),
    }


def parameters(structure: Structure) -> int:
    """Return how many weights and biases the layers of a file have; normalization is folded into them."""
    constants = {
        index
        for operator in structure.operators
        if operator.macs
        for index in operator.inputs[1:]
        if index >= 0 and structure.tensors[index].constant_bytes
    }
    return sum(math.prod(structure.tensors[index].shape) for index in constants)


def dtypes(structure: Structure) -> dict[str, Any]:
    """Return the types of input and output, and of all tensors that operators with weights use."""
    used = {
        structure.tensors[index].type
        for operator in structure.operators
        if operator.macs
        for index in (*operator.inputs, *operator.outputs)
        if index >= 0
    }
    return {
        "input": structure.tensors[structure.inputs[0]].type,
        "output": structure.tensors[structure.outputs[0]].type,
        "layers": sorted(used),
    }
