"""Files of one operator: cut out of a model, or made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import read_structure
from edge_fmnist_bench.flatfile import SCALE, Operand, cut_operator, make_operator

IMAGE = np.random.default_rng(3).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)


def opened(content: bytes) -> Any:
    name = interpreters.choose()
    return interpreters.create(content, name=name, threads=1, batch=1, source="test").interpreter


def run(content: bytes, inputs: list[np.ndarray]) -> np.ndarray:
    interpreter = opened(content)
    for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


def test_cut_operators_one_after_the_other_give_what_the_model_gives() -> None:
    content = read_model("edge").content
    structure = read_structure(content, "edge")
    known = {structure.inputs[0]: IMAGE}
    for index, operator in enumerate(structure.operators):
        read = [known[tensor] for tensor in dict.fromkeys(operator.inputs) if tensor in known]
        known[operator.outputs[0]] = run(cut_operator(content, index), read)
    assert np.array_equal(known[structure.outputs[0]], run(content, [IMAGE]))


def test_a_cut_operator_carries_no_other_weights() -> None:
    content = read_model("edge").content
    structure = read_structure(content, "edge")
    for index, operator in enumerate(structure.operators):
        own = sum(structure.tensors[tensor].constant_bytes for tensor in operator.inputs)
        cut = read_structure(cut_operator(content, index), "cut")
        assert sum(tensor.constant_bytes for tensor in cut.tensors) == own
        assert [part.name for part in cut.operators] == [operator.name]


def test_made_matrix_product() -> None:
    rng = np.random.default_rng(0)
    weights, values = rng.integers(-9, 10, (6, 8), dtype=np.int8), rng.integers(-9, 10, (4, 8), dtype=np.int8)
    bias = np.arange(6, dtype=np.int32)
    inputs = [Operand((4, 8)), Operand((6, 8), values=weights), Operand((6,), "INT32", SCALE * SCALE, bias)]
    # An output step of 64 input steps, each of which is a product of two scales.
    content = make_operator("FULLY_CONNECTED", inputs, Operand((4, 6), scale=SCALE * SCALE * 64))
    expected = (values.astype(int) @ weights.T.astype(int) + bias) / 64
    assert np.abs(run(content, [values]) - expected).max() <= 0.5


def test_made_convolution_keeps_the_size() -> None:
    kernel = np.zeros((2, 3, 3, 1), np.int8)
    kernel[:, 1, 1] = 64
    inputs = [
        Operand((1, 5, 7, 1)),
        Operand(kernel.shape, values=kernel),
        Operand((2,), "INT32", SCALE * SCALE, np.zeros(2, np.int32)),
    ]
    image = np.arange(35, dtype=np.int8).reshape(1, 5, 7, 1)
    result = run(make_operator("CONV_2D", inputs, Operand((1, 5, 7, 2))), [image])
    assert np.array_equal(result, np.repeat(image, 2, axis=3))


@pytest.mark.parametrize("first", [5, -5])
def test_made_addition(first: int) -> None:
    one = Operand((1, 1))
    content = make_operator("ADD", [one, one], one)
    assert run(content, [np.full((1, 1), first, np.int8), np.full((1, 1), 2, np.int8)]) == first + 2
