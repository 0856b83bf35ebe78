"""Store the weights of convolutions in four bits instead of eight.

A run trained with ``weight_bits = 4`` has at most 15 values in each output channel of a kernel, so its file loses half
of its bytes and nothing else. The weights of other runs are rounded, which costs accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.errors import CheckError
from edge_fmnist.model.tflite_graph import CONV_2D, file_schema
from edge_fmnist_export.quantize.compact import compact_model

# From a step of int8, of which 127 are a channel's largest weight, to one of int4, of which 7 are.
COARSER = 127 / 7
# The first version of CONV_2D with int4 weights, so that older interpreters refuse the file.
CONV_2D_VERSION = 7


def int4_weights(content: bytes) -> bytes:
    """Return an int8 model file in which each convolution of more than one channel has int4 weights.

    The first convolution, which sees the image, and the fully connected layer stay int8. Appended data is dropped.

    Raises:
        CheckError: there is no such convolution.
        InterpreterError: no schema of the file format is installed.
    """
    model = file_schema().ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    kernels, biases = set(), set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.builtinCode != CONV_2D or graph.tensors[operator.inputs[1]].shape[3] == 1:
            continue
        code.version = max(code.version, CONV_2D_VERSION)
        # A layer that is used twice has one kernel and two biases, whose step is that of the input times the weight's.
        kernels.add(operator.inputs[1])
        biases.add(operator.inputs[2])
    if not kernels:
        raise CheckError("int4: the network has no convolution of more than one channel; use --int8 or --ptq")
    for index in kernels:
        _replace(model, graph.tensors[index], _packed(np.rint(_values(model, graph.tensors[index], np.int8) / COARSER)))
        graph.tensors[index].type = file_schema().TensorType.INT4
    for index in biases:
        values = np.rint(_values(model, graph.tensors[index], np.int32) / COARSER)
        _replace(model, graph.tensors[index], values.astype(np.int32))
    for index in kernels | biases:
        quantization = graph.tensors[index].quantization
        quantization.scale = (quantization.scale * COARSER).astype(np.float32)
    return compact_model(model)


def _values(model: Any, tensor: Any, dtype: type[np.generic]) -> np.ndarray:
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(dtype)


def _replace(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Store the values of a tensor in a new buffer; its former buffer may be shared with other tensors."""
    buffer = file_schema().BufferT()
    buffer.data = values.view(np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)


def _packed(values: np.ndarray) -> np.ndarray:
    """Return whole numbers from -8 to 7, shape (N,), as bytes of two each, the first in the lower half."""
    pairs = np.resize(values, -(-len(values) // 2) * 2).astype(np.int8).reshape(-1, 2) & 15
    return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8)
