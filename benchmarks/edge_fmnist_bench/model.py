"""The facts about a model file that results and the gate need."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from edge_fmnist.errors import InterpreterError, ModelError
from edge_fmnist.model.metadata import Metadata, extract
from edge_fmnist.model.quantization import TensorInfo
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import Graph, read_graph
from edge_fmnist_bench.variants.edge import model_file, scores_output, takes_images, tensors


def describe(model: str) -> dict[str, Any]:
    """Return the facts of a shipped model or a file as plain values; None for what the file does not contain.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter can be used.
    """
    read = read_model(model)
    metadata = extract(read.content, read.source)
    accuracy = metadata.settings.get("accuracy") if metadata else None
    inputs, outputs = tensors(read)
    no_scores = None
    try:
        scores = scores_output(read, inputs, outputs)
        # The first is the one whose accuracy is measured.
        outputs = [scores, *(output for output in outputs if output is not scores)]
    except ModelError as error:
        no_scores = str(error)
    return {
        "name": metadata.name if metadata else model_file(model).stem,
        "described": metadata is not None,
        "file": model_file(model).name,
        "sha256": hashlib.sha256(read.content).hexdigest(),
        "bytes": len(read.content),
        "inputs": [_plain(tensor) for tensor in inputs],
        "outputs": [_plain(tensor) for tensor in outputs],
        "takes_images": takes_images(inputs),
        "no_scores": no_scores,
        "flip_tta": metadata is not None and metadata.flip_tta,
        "training_data": metadata.training_data if metadata else None,
        "own_classes": bool(metadata and metadata.own_classes),
        "float_top1": _share(accuracy.get("float_top1")) if isinstance(accuracy, dict) else None,
        **_structure(read.content, read.source, metadata),
    }


def _share(value: object) -> float | None:
    """Return a stated number from 0 to 1; None for anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 else None


def _plain(tensor: TensorInfo) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}


def _structure(content: bytes, source: str, metadata: Metadata | None) -> dict[str, Any]:
    try:
        graph = read_graph(content, source)
    except InterpreterError:
        # No schema of the file format is installed (32-bit ARM).
        return dict.fromkeys(("macs", "parameters", "operators", "dtypes"))
    stated = metadata.settings.get("parameters") if metadata else None
    return {
        "macs": graph.macs,
        "parameters": stated if isinstance(stated, int) else parameters(graph),
        "operators": sorted({operator.name for operator in graph.operators}),
        "dtypes": dtypes(graph),
    }


def parameters(graph: Graph) -> int:
    """Return the number of weights and biases in a file, where batch normalization is folded into the layers."""
    # Weights of 16 bits are converted before they are used.
    stored = {one.outputs[0]: one.inputs[0] for one in graph.operators if one.name == "DEQUANTIZE"}
    used = {index for operator in graph.operators if operator.macs for index in operator.inputs[1:] if index >= 0}
    constants = {found for index in used if graph.tensors[found := stored.get(index, index)].constant_bytes}
    return sum(math.prod(graph.tensors[index].shape) for index in constants)


def dtypes(graph: Graph) -> dict[str, Any]:
    """Return the types of the first input and output, and of all tensors used by operators with weights."""
    used = {
        graph.tensors[index].type
        for operator in graph.operators
        if operator.macs
        for index in (*operator.inputs, *operator.outputs)
        if index >= 0
    }
    return {
        "input": graph.tensors[graph.inputs[0]].type,
        "output": graph.tensors[graph.outputs[0]].type,
        "layers": sorted(used),
    }
