"""From images to a model's input tensor, and from its output tensor to probabilities.

Pure functions of arrays: no interpreter, no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.data.labels import MAX_LABELS
from edge_fmnist.errors import ImageError, ModelError

# This project's networks take pixels as 0..1; images are 0..255.
PIXEL_SCALE = 1.0 / 255.0
# A quantized softmax always has this output scale (TensorFlow Lite's int8 specification).
SOFTMAX_SCALE = 1.0 / 256.0
# exp of less than -87 loses digits in float32.
LEAST_EXPONENT = -80.0
Range = tuple[float, float]
UNIT_RANGE: Range = (0.0, 1.0)
# What networks are commonly trained on, as the values of pixels 0 and 255.
COMMON_RANGES: tuple[Range, ...] = (UNIT_RANGE, (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0), (-0.5, 0.5))


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's index, shape, dtype and affine quantization: real = scale * (q - zero_point).

    ``scale`` is 0 for a float tensor.
    """

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    @classmethod
    def from_details(cls, details: dict[str, Any]) -> TensorInfo:
        """Read one entry of an interpreter's ``get_input_details()`` or ``get_output_details()``."""
        scale, zero_point = details["quantization"]
        shape = tuple(int(size) for size in details["shape"])
        return cls(int(details["index"]), shape, np.dtype(details["dtype"]), float(scale), int(zero_point))

    @property
    def quantized(self) -> bool:
        """Whether the tensor holds quantized integers."""
        return self.dtype.kind in "iu"

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def images(self) -> int:
        """How many 28x28 images an input tensor takes at a time; 0 if it takes something else.

        Shapes that fit: (28, 28), (1, 28, 28), (N, 28, 28, 1), (N, 1, 28, 28), (N, 784).
        """
        sizes = [size for size in self.shape if size != 1]
        if sizes in ([28, 28], [784]):
            return 1
        return sizes[0] if sizes[1:] in ([28, 28], [784]) and self.shape[0] == sizes[0] else 0


def check_images(images: np.ndarray, dimensions: int) -> None:
    """Check that ``images`` is uint8 of shape (28, 28), or (N, 28, 28) with N at least 1.

    Raises:
        ImageError: another type, dtype or shape, or an empty batch.
    """
    expected = "(28, 28)" if dimensions == 2 else "(N, 28, 28)"
    if not isinstance(images, np.ndarray):
        raise ImageError(f"expected a NumPy array of uint8 and shape {expected}, got {type(images).__name__}")
    if images.dtype != np.uint8:
        span = (
            f" with values {images.min():g} to {images.max():g}" if images.size and images.dtype.kind in "iuf" else ""
        )
        raise ImageError(
            f"expected dtype uint8 with values 0 to 255, got {images.dtype}{span}; scale to 0..255 and use "
            ".astype('uint8')"
        )
    if images.ndim != dimensions or images.shape[-2:] != (28, 28):
        raise ImageError(
            f"expected shape {expected}, got {images.shape}; for photographs and frames call the classifier itself, "
            "`classifier(photograph)`, or use `edge-fmnist classify`"
        )
    if images.shape[0] == 0:
        raise ImageError("expected at least one image, got an empty batch")


def choose_output(outputs: list[TensorInfo], images: int, classes: int, source: str) -> TensorInfo:
    """Return the only output, or the only one of several that has a value for each class.

    Raises:
        ModelError: none, or more than one, has the scores of the classes.
    """
    # Behind a reshape, an output keeps the shape of one image until the first run.
    fitting = [output for output in outputs if output.elements in (images * classes, classes)]
    if len(outputs) > 1 and len(fitting) != 1:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise ModelError(
            f"{source}: expected one output of {classes} classes, got outputs {shapes}; convert the model with its "
            "class scores as the only output"
        )
    output = (fitting or outputs)[0]
    if not any(count in range(2, MAX_LABELS + 1) for count in (output.elements / images, output.elements)):
        raise ModelError(f"{source}: expected a model with output (1, classes) of 2 to 1000, got {output.shape}")
    return output


def input_range(tensor: TensorInfo) -> Range | None:
    """Return the real values of pixels 0 and 255 that scale and zero point of a quantized input state.

    Calibration with images of 0 to 255 makes the tensor's range that of the network's input: 0..1, -1..1, 0..255 or
    any other. A range close to a common one is that one, since calibration images may miss its ends.

    Returns:
        The range; None for a float tensor, which does not state it.
    """
    if not tensor.quantized or tensor.scale <= 0:
        return None
    limits = np.iinfo(tensor.dtype)
    low, high = ((limit - tensor.zero_point) * tensor.scale for limit in (limits.min, limits.max))

    def distance(other: Range) -> float:
        return (abs(low - other[0]) + abs(high - other[1])) / (other[1] - other[0])

    nearest = min(COMMON_RANGES, key=distance)
    return nearest if distance(nearest) < 0.2 else (low, high)


def input_table(tensor: TensorInfo, values: Range | None = None) -> np.ndarray | None:
    """Return the 256 input values for the 256 pixel values, or None if they are the same.

    Quantizing is a look-up, since a pixel has only 256 values. It rounds, then clips, then casts, with the tensor's own
    scale and zero point.

    Args:
        tensor: the input tensor.
        values: the real values of pixels 0 and 255; None takes :func:`input_range`, or 0..1 for a float tensor.

    Raises:
        ModelError: the input tensor has a type that cannot hold images.
    """
    low, high = values or input_range(tensor) or UNIT_RANGE
    pixels = low + np.arange(256) * ((high - low) / 255)
    if tensor.dtype in (np.float32, np.float16):
        return pixels.astype(tensor.dtype)
    if tensor.dtype not in (np.uint8, np.int8) or tensor.scale <= 0:
        raise ModelError(
            f"expected an input tensor of float32, or of quantized uint8 or int8, got {tensor.dtype} "
            f"with scale {tensor.scale:g}"
        )
    limits = np.iinfo(tensor.dtype)
    table = np.clip(np.round(pixels / tensor.scale) + tensor.zero_point, limits.min, limits.max).astype(tensor.dtype)
    return None if np.array_equal(table, np.arange(256)) and tensor.dtype == np.uint8 else table


def dequantize(values: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """Return a tensor's values as float32 reals."""
    if not tensor.quantized:
        return values.astype(np.float32)
    return (values.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)


def mirror(images: np.ndarray) -> np.ndarray:
    """Return images, uint8, shape (N, 28, 28), with left and right swapped."""
    return np.ascontiguousarray(images[:, :, ::-1])


def softmax(logits: np.ndarray, dtype: type[np.floating | float] = np.float32) -> np.ndarray:
    """Return the softmax over the last axis, computed in a float type."""
    exponentials = np.exp((logits - logits.max(axis=-1, keepdims=True)).astype(dtype, copy=False))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def softmax_numerators(tensor: TensorInfo, temperature: float) -> np.ndarray | None:
    """Return exp(logit / temperature), up to a common factor, for each value of an 8-bit tensor of logits.

    With it, softmax is a look-up and a division, in a third of the calls, which for one image cost more than the
    arithmetic.

    Returns:
        float32, shape (256,), indexed by the value: negative ones index from the end. None for another tensor, or if
        the range is too large for float32.
    """
    if not tensor.quantized or tensor.dtype.itemsize != 1:
        return None
    values = np.arange(256, dtype=np.uint8).view(tensor.dtype)
    logits = dequantize(values, tensor).astype(np.float64) / temperature
    exponents = logits - logits.max()
    # Not true for NaN, from a damaged scale.
    return np.exp(exponents).astype(np.float32) if exponents.min() > LEAST_EXPONENT else None


def are_probabilities(values: np.ndarray, tensor: TensorInfo) -> bool:
    """Guess whether outputs are probabilities, for models whose metadata does not state it.

    A quantized softmax has scale 1/256; float outputs are probabilities if every row is non-negative and sums to 1
    within 0.02.

    Args:
        values: dequantized outputs, shape (N, classes).
        tensor: the output tensor.
    """
    if tensor.quantized:
        return abs(tensor.scale - SOFTMAX_SCALE) < 1e-6
    return bool(values.min() >= 0 and np.all(np.abs(values.sum(axis=-1) - 1) < 0.02))


def normalize(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities that sum to 1: a quantized softmax does so only within its step."""
    total = probabilities.sum(axis=-1, keepdims=True)
    uniform = np.float32(1 / probabilities.shape[-1])
    return np.where(total > 0, probabilities / np.where(total > 0, total, 1), uniform).astype(np.float32)
