"""Fixtures for the tests of the benchmarks: variants that need no model, a quick protocol, small models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

from edge_fmnist.model.tflite_graph import file_schema
from edge_fmnist_bench import protocol
from edge_fmnist_bench.images import Images
from edge_fmnist_bench.protocol import Protocol
from edge_fmnist_bench.suite import BenchmarkPlan
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner

FACTS = {
    "name": "edge",
    "described": True,
    "takes_images": True,
    "flip_tta": False,
    "inputs": [{"shape": [1, 28, 28, 1], "dtype": "uint8"}],
    "outputs": [{"shape": [1, 10], "dtype": "uint8"}],
    "file": "edge.tflite",
    "sha256": "0" * 64,
    "bytes": 145_585,
    "float_top1": 0.9437,
    "macs": 14_000_000,
    "parameters": 123_322,
    "operators": ["ADD", "CONV_2D"],
    "dtypes": {"input": "UINT8", "output": "UINT8", "layers": ["INT32", "INT8"]},
}


class FakeVariant(BenchmarkVariant):
    """A variant that returns at once; ``error`` is raised when it is opened, ``late_error`` when it runs."""

    device = "CPU"
    file = None

    def __init__(
        self,
        name: str,
        *,
        run: Callable[[np.ndarray], np.ndarray] | None = None,
        error: Exception | None = None,
        late_error: BaseException | None = None,
        good_calls: int = 0,
    ) -> None:
        self.name, self.title = name, name.replace("-", " ")
        self.run, self.error, self.late_error, self.good_calls = run, error, late_error, good_calls
        self.opened: list[tuple[int, int]] = []

    def open(self, *, threads: int, batch: int) -> Runner:
        self.opened.append((threads, batch))
        if self.error is not None:
            raise self.error
        left = self.good_calls

        def answer(images: np.ndarray) -> np.ndarray:
            nonlocal left
            left -= 1
            if self.late_error is not None and left < 0:
                raise self.late_error
            return self.run(images) if self.run else np.zeros((len(images), 10), np.float32)

        return answer


@pytest.fixture
def fake() -> type[FakeVariant]:
    return FakeVariant


@pytest.fixture(scope="session")
def quick() -> Protocol:
    """Return a protocol that takes milliseconds."""
    whole = protocol.load()
    return dataclasses.replace(
        whole,
        single_stream=protocol.SingleStream(1, 1, 3, 6, 0.0, 0.05),
        paced=protocol.Paced(1, 500.0, 4, 2),
        offline=protocol.Offline((1, 4), (1, 64), 2, 0.001),
        frame=protocol.FrameToLabel((160, 120), 2, 8),
        process=protocol.SeparateProcess(1, 1.0),
        bootstrap=protocol.Bootstrap(200, 0.95),
    )


@pytest.fixture
def plan(quick: Protocol) -> Callable[..., BenchmarkPlan]:
    """Return a function that makes a plan for variants, without a data set, frames or processes."""

    def make(*variants: BenchmarkVariant, **settings: Any) -> BenchmarkPlan:
        images = Images(np.zeros((7, 28, 28), np.uint8), None)
        fields: dict[str, Any] = {
            "model": "edge",
            "facts": FACTS,
            "variants": variants,
            "reference": variants[0].name,
            "images": images,
            "protocol": quick,
            "scenarios": ("single-stream", "paced", "offline"),
        }
        return BenchmarkPlan(**{**fields, **settings})

    return make


class GraphWriter:
    """Writes a small int8 model with LiteRT's schema, without TensorFlow."""

    def __init__(self) -> None:
        self._schema = schema = file_schema()
        self.model, self._graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.model.subgraphs, self._graph.tensors, self._graph.operators = [self._graph], [], []

    def tensor(self, *shape: int, values: np.ndarray | None = None, scale: float | None = 1 / 64) -> int:
        """Add a tensor, int8 or of the type of ``values``, and return its index."""
        tensor, quantization = self._schema.TensorT(), self._schema.QuantizationParametersT()
        dtype = "INT8" if values is None else values.dtype.name.upper()
        tensor.name, tensor.shape, tensor.buffer = f"tensor_{len(self._graph.tensors)}", list(shape), 0
        tensor.type = getattr(self._schema.TensorType, dtype)
        if scale is not None:
            quantization.scale, quantization.zeroPoint = [scale], [0]
            tensor.quantization = quantization
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(self, name: str, version: int, kind: str, inputs: list[int], output: int, **options: int) -> None:
        """Add an operator; ``kind`` names its options."""
        code, operator = self._schema.OperatorCodeT(), self._schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, name)
        code.version = version
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(self._schema, f"{kind}T")()
        for option, value in options.items():
            setattr(operator.builtinOptions, option, value)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes), inputs, [output]
        self.model.operatorCodes.append(code)
        self._graph.operators.append(operator)

    def write(self, path: Path, inputs: list[int], output: int) -> Path:
        self._graph.inputs, self._graph.outputs = inputs, [output]
        path.write_bytes(convert_object_to_bytearray(self.model))
        return path


@pytest.fixture(scope="session")
def rgb_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an int8 model from 96x96 RGB images to two scores: a convolution with stride 4 and a dense layer."""
    rng, made = np.random.default_rng(0), GraphWriter()
    image, hidden, scores = made.tensor(1, 96, 96, 3), made.tensor(1, 24, 24, 4), made.tensor(1, 2)
    kernel = made.tensor(4, 3, 3, 3, values=rng.integers(-9, 9, (4, 3, 3, 3), np.int8))
    weights = made.tensor(2, 2304, values=rng.integers(-9, 9, (2, 2304), np.int8))
    biases = [made.tensor(size, values=np.zeros(size, np.int32), scale=1 / 64**2) for size in (4, 2)]
    made.operator("CONV_2D", 3, "Conv2DOptions", [image, kernel, biases[0]], hidden, strideH=4, strideW=4)
    made.operator("FULLY_CONNECTED", 4, "FullyConnectedOptions", [hidden, weights, biases[1]], scores)
    return made.write(tmp_path_factory.mktemp("rgb") / "person.tflite", [image], scores)


@pytest.fixture(scope="session")
def two_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an int8 model that adds two vectors."""
    made = GraphWriter()
    inputs, output = [made.tensor(1, 8), made.tensor(1, 8)], made.tensor(1, 8)
    made.operator("ADD", 2, "AddOptions", inputs, output)
    return made.write(tmp_path_factory.mktemp("two") / "sum.tflite", inputs, output)
