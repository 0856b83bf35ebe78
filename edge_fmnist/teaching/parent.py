"""The model that is taught: an int8 ``.tflite`` file whose last layer is read, cut off or replaced.

What changes size is appended to the flatbuffer and the offsets in its tables are set to it; offsets point forward, so
that works for any file. The former values stay as a few hundred unused bytes. TensorFlow Lite's own schema is not
needed: tflite-runtime does not have it.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.labels import MAX_LABELS
from edge_fmnist.errors import ModelError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.flatbuffer import DAMAGE, Table
from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.registry import ModelBytes, shipped_models
from edge_fmnist.model.tflite_graph import DEQUANTIZE, FULLY_CONNECTED, QUANTIZE, TYPES

# Fields of the schema's tables.
BUFFERS, SUBGRAPHS, OPERATOR_CODES, SIGNATURES = 4, 2, 1, 7
TENSORS, OUTPUTS, OPERATORS = 0, 2, 3
SHAPE, TYPE, BUFFER, QUANTIZATION, SHAPE_SIGNATURE = 0, 1, 2, 4, 7
MINIMUM, MAXIMUM, SCALE, ZERO_POINT = 0, 1, 2, 3
# Alignment that kernels expect of constants.
ALIGNMENT = 16
# Outputs beyond the range of the photographs, as a share of it.
HEADROOM = 0.1
INT8_STEPS = 255
# Avoids a scale of 0 where all weights are 0.
TINY = 1e-9


class Parent:
    """A model that ends in a fully connected int8 layer with a bias, and perhaps a conversion of its output's type.

    Attributes:
        classifier: the model.
        source: how messages call it.
        settings: its metadata.
        classes: number of its classes.
        size: number of features, the values before its last layer.
        photos_sha256: of the photographs that it was trained with, from its metadata; None if there are none.
        taught_from: of its metadata: hashes of the photographs that it was taught from.
        sha256: of its file.
        original_sha256: of the file that the first of these models was; its own if it was not taught.
    """

    def __init__(self, model: str | Path | ModelBytes) -> None:
        """Load a model; raises as :func:`teach`."""
        self.classifier = Classifier(model)
        self.source, metadata = self.classifier.source, self.classifier.metadata
        if metadata is not None and metadata.output != "logits":
            raise ModelError(f"{self.source}: expected a model whose output is logits, got probabilities")
        self.settings: dict[str, Any] = dict(metadata.settings) if metadata else {"output": "logits"}
        training = self.settings.get("training")
        self.photos_sha256 = training.get("photos_sha256") if isinstance(training, dict) else None
        taught = self.settings.get("taught")
        taught = taught if isinstance(taught, dict) else {}
        self.sha256 = hashlib.sha256(self.classifier.content).hexdigest()
        self.original_sha256 = str(taught.get("original_sha256", taught.get("parent_sha256", self.sha256)))
        self.taught_from = metadata.taught_from if metadata else ()
        self._flatbuffer = without_metadata(self.classifier.content)
        try:
            self._find_last_layer()
            # What cannot be replaced raises here, before any photograph is read.
            self.taught(self.weights(), np.zeros((1, self.size + 1), np.float32))
        except DAMAGE as error:
            raise ModelError(
                f"{self.source}: expected a model that ends in an int8 fully connected layer with a bias, as those of "
                "`edge-fmnist export --int8` do; only such a layer can be replaced"
            ) from error

    def _find_last_layer(self) -> None:
        """Find the tensors of the last layer; raise ``ValueError`` if it cannot be replaced."""
        self._root = Table.root(self._flatbuffer)
        self._graph = self._root.tables(SUBGRAPHS)[0]
        codes = [max(code.number(0, "b"), code.number(3, "i")) for code in self._root.tables(OPERATOR_CODES)]
        operators, tensors = self._graph.tables(OPERATORS), self._graph.tables(TENSORS)
        kinds = [codes[operator.number(0, "I")] for operator in operators]
        self._position = len(operators) - (2 if kinds[-1] in (QUANTIZE, DEQUANTIZE) else 1)
        layer, options = operators[self._position], operators[self._position].table(4)
        inputs = [int(index) for index in layer.numbers(1, "<i4")]
        # The output of the layer, and that of the conversion.
        outputs = [int(operator.numbers(2, "<i4")[0]) for operator in operators[self._position :]]
        buffers = [tensor.number(BUFFER, "I") for tensor in tensors]
        quantizations = [tensor.target(QUANTIZATION) for tensor in tensors]
        if (
            kinds[self._position] != FULLY_CONNECTED
            or min(inputs) < 0
            or (options is not None and options.number(0, "b"))
            or outputs[-1] != int(self._graph.numbers(OUTPUTS, "<i4")[0])
            or any(TYPES[tensors[i].number(TYPE, "B")][0] != "INT8" for i in (*inputs[:2], outputs[0]))
            or not all(len(_scales(tensors[i])) for i in (*inputs, outputs[0]))
            # What will be changed may not be shared with another tensor.
            or any(buffers.count(buffers[i]) > 1 for i in inputs[1:])
            or any(quantizations[i] and quantizations.count(quantizations[i]) > 1 for i in (*inputs[1:], *outputs))
        ):
            raise ValueError
        self._input = inputs[0]
        self._features, self._weights, self._bias = (tensors[i] for i in inputs)
        self._outputs = [tensors[i] for i in outputs]
        self.classes, self.size = map(int, self._weights.numbers(SHAPE, "<i4"))
        if self.size > MAX_LABELS:
            raise ModelError(
                f"{self.source}: expected at most {MAX_LABELS} values before the last layer, got {self.size:,}; "
                "use a model with pooling before it"
            )

    def original(self) -> Parent | None:
        """Return the shipped model that this one was taught from, perhaps in several steps; None if it was another."""
        names = (each.name for each in shipped_models().values() if each.sha256 == self.original_sha256)
        return next(map(Parent, names), None)

    def weights(self) -> np.ndarray:
        """Return the weights of the last layer, float32, shape (classes, features + 1); the last column is the bias."""
        buffers = self._root.tables(BUFFERS)
        raw, raw_bias = (buffers[tensor.number(BUFFER, "I")].numbers(0, "u1") for tensor in (self._weights, self._bias))
        weights = raw.view("i1").reshape(self.classes, self.size) * _scales(self._weights)[:, None]
        bias = raw_bias.view("<i4") * _scales(self._bias)
        return np.concatenate([weights, bias[:, None]], axis=1).astype(np.float32)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return the input of the last layer for images, uint8, shape (N, 28, 28), and a last column of 1.

        Returns:
            float32, shape (N, features + 1).
        """
        names = tuple(f"feature {index}" for index in range(self.size))
        content = embed(self.without_last_layer(), {**self.settings, "calibration": None}, names)
        values, _ = Classifier(ModelBytes(content, self.source)).values(images)
        return np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)

    def without_last_layer(self) -> bytes:
        """Return the flatbuffer of the network that ends before the last layer: int8, shape (1, features)."""
        content = bytearray(self._flatbuffer)
        struct.pack_into("<I", content, self._graph.target(OPERATORS), self._position)
        struct.pack_into("<i", content, self._graph.target(OUTPUTS) + 4, self._input)
        # Signatures name the former output.
        if signatures := self._root.target(SIGNATURES):
            struct.pack_into("<I", content, signatures, 0)
        return bytes(content)

    def taught(self, weights: np.ndarray, features: np.ndarray) -> bytes:
        """Return the flatbuffer with another last layer, quantized as the former one was.

        Args:
            weights: float32, shape (classes, features + 1); the last column is the bias.
            features: what the layer will be given, float32, shape (N, features + 1): sets the range of its output.
        """
        content, kernel, classes = bytearray(self._flatbuffer), weights[:, :-1], len(weights)
        largest = np.abs(kernel).max(axis=1 if len(_scales(self._weights)) > 1 else None).reshape(-1)
        scales = np.maximum(largest, TINY) / 127
        bias_scales = scales * _scales(self._features)[0]
        # Of an int32, so far beyond any real value that it cannot overflow the sum.
        steps = np.clip(np.round(weights[:, -1] / bias_scales), -(2**30), 2**30).astype("<i4")
        quantized = np.round(kernel / scales[:, None]).astype("i1")
        for tensor, values, its_scales in ((self._weights, quantized, scales), (self._bias, steps, bias_scales)):
            _describe(content, tensor, values.shape, its_scales, np.zeros(len(scales)))
            buffer = self._root.tables(BUFFERS)[tensor.number(BUFFER, "I")]
            _set(content, buffer, 0, np.frombuffer(values.tobytes(), "u1"))
        logits = features @ weights.T
        low, high = min(0.0, float(logits.min())), max(0.0, float(logits.max()))
        margin = HEADROOM * max(high - low, TINY)
        scale = (high - low + 2 * margin) / INT8_STEPS
        zero_point = round((margin - low) / scale) - 128
        for tensor in self._outputs:
            unsigned = TYPES[tensor.number(TYPE, "B")][0] == "UINT8"
            _describe(content, tensor, (1, classes), np.array([scale]), np.array([zero_point + 128 * unsigned]))
        return bytes(content)


def _scales(tensor: Table) -> np.ndarray:
    """Return the scales of a quantized tensor: one, or one for each channel; none if it is not quantized."""
    quantization = tensor.table(QUANTIZATION)
    return np.empty(0, "<f4") if quantization is None else quantization.numbers(SCALE, "<f4")


def _describe(
    content: bytearray, tensor: Table, shape: tuple[int, ...], scales: np.ndarray, zero_points: np.ndarray
) -> None:
    """Set shape and quantization of a tensor; an open batch size stays open, and what is not quantized stays so."""
    _set(content, tensor, SHAPE, np.array(shape, "<i4"))
    if len(signature := tensor.numbers(SHAPE_SIGNATURE, "<i4")):
        _set(content, tensor, SHAPE_SIGNATURE, np.array([-1 if signature[0] < 0 else shape[0], *shape[1:]], "<i4"))
    quantization = tensor.table(QUANTIZATION)
    if quantization is not None and len(_scales(tensor)):
        _set(content, quantization, SCALE, scales.astype("<f4"))
        _set(content, quantization, ZERO_POINT, zero_points.astype("<i8"))
        for field in (MINIMUM, MAXIMUM):
            if quantization.place(field):
                _set(content, quantization, field, np.empty(0, "<f4"))


def _set(content: bytearray, table: Table, field: int, values: np.ndarray) -> None:
    """Point a field that the table already has to a new vector at the end of the content."""
    place = table.place(field)
    if not place:
        raise ValueError(f"field {field} is absent")
    # The values follow their number.
    content += bytes(-(len(content) + 4) % ALIGNMENT)
    struct.pack_into("<I", content, place, len(content) - place)
    content += struct.pack("<I", values.size) + values.tobytes()
