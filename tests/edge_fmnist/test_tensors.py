"""Quantizing images, dequantizing outputs, probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import ModelError
from edge_fmnist.model.quantization import (
    TensorInfo,
    are_probabilities,
    choose_output,
    dequantize,
    input_range,
    input_table,
    normalize,
    softmax,
)


def tensor(dtype: Any, scale: float = 0.0, zero_point: int = 0) -> TensorInfo:
    return TensorInfo(0, (1, 10), np.dtype(dtype), scale, zero_point)


def test_from_details() -> None:
    details = {
        "index": np.int64(3),
        "shape": np.array([1, 28, 28, 1], np.int32),
        "dtype": np.int8,
        "quantization": (np.float32(0.5), np.int64(-128)),
    }
    assert TensorInfo.from_details(details) == TensorInfo(3, (1, 28, 28, 1), np.dtype(np.int8), 0.5, -128)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_float_input_is_the_pixel_divided_by_255(dtype: Any) -> None:
    table = input_table(tensor(dtype))
    assert table is not None
    assert table.dtype == dtype
    assert np.array_equal(table, (np.arange(256) / 255).astype(dtype))


def test_uint8_input_of_scale_1_255_needs_no_table() -> None:
    assert input_table(tensor(np.uint8, 1 / 255)) is None
    assert input_table(tensor(np.uint8, float(np.float32(1 / 255)))) is None


def test_int8_input_of_scale_1_255_is_shifted_by_128() -> None:
    table = input_table(tensor(np.int8, float(np.float32(1 / 255)), -128))
    assert table is not None
    assert table.dtype == np.int8
    assert table.tolist() == list(range(-128, 128))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "expected"),
    [
        (np.uint8, 1 / 255, 0, (0, 1)),
        (np.int8, 1 / 255, -128, (0, 1)),
        (np.uint8, 0.97 / 255, 0, (0, 1)),
        (np.uint8, 2 / 255, 128, (-1, 1)),
        (np.int8, 2 / 255, 0, (-1, 1)),
        (np.uint8, 1, 0, (0, 255)),
        (np.int8, 1, -128, (0, 255)),
        (np.int8, 1, 0, (-128, 127)),
        # A standardized input: mean 0.286, standard deviation 0.353.
        (np.uint8, 2.83 / 255, 73, (-0.81, 2.02)),
        (np.float32, 0, 0, None),
    ],
)
def test_the_range_that_scale_and_zero_point_state(dtype: Any, scale: float, zero_point: int, expected: Any) -> None:
    found = input_range(tensor(dtype, scale, zero_point))
    assert found == (None if expected is None else pytest.approx(expected, abs=0.005))
    if expected:
        table = input_table(tensor(dtype, scale, zero_point))
        steps = np.arange(256) if table is None else table.astype(int) - np.iinfo(dtype).min
        # Pixels 0 and 255 are the ends of the tensor's range, up to what calibration missed.
        assert abs(steps - np.arange(256)).max() <= 8


def test_a_given_range_is_clipped_and_does_not_wrap() -> None:
    table = input_table(tensor(np.int8, 0.001, 0), (0, 1))
    assert table is not None
    assert (table[0], table[-1]) == (0, 127)
    table = input_table(tensor(np.float32), (-1, 1))
    assert table is not None
    np.testing.assert_allclose(table, np.linspace(-1, 1, 256), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "images"),
    [
        *(((28, 28), 1), ((1, 28, 28), 1), ((1, 28, 28, 1), 1), ((1, 1, 28, 28), 1), ((1, 784), 1), ((784,), 1)),
        *(((4, 28, 28, 1), 4), ((4, 784), 4), ((28, 28, 28), 28)),
        *(((1, 32, 32, 1), 0), ((1, 28, 28, 3), 0), ((1, 4, 784), 0), ((), 0), ((1, 10), 0)),
    ],
)
def test_images_that_an_input_takes(shape: tuple[int, ...], images: int) -> None:
    assert TensorInfo(0, shape, np.dtype(np.uint8), 1.0, 0).images == images


@pytest.mark.parametrize(
    ("dtype", "scale", "message"),
    [
        (np.int16, 0.1, "got int16 with scale 0.1"),
        (np.int32, 0.1, "got int32"),
        (np.float64, 0.0, "got float64"),
        (bool, 0.0, "got bool"),
        (np.int8, 0.0, "got int8 with scale 0"),
        (np.uint8, -1.0, "got uint8 with scale -1"),
    ],
)
def test_input_that_images_cannot_be_put_in(dtype: Any, scale: float, message: str) -> None:
    with pytest.raises(ModelError, match=f"expected an input tensor of float32, or of quantized .*{message}"):
        input_table(tensor(dtype, scale))


def test_dequantize() -> None:
    reals = dequantize(np.array([[-128, 0, 127]], np.int8), tensor(np.int8, 0.5, -128))
    assert reals.dtype == np.float32
    assert reals.tolist() == [[0.0, 64.0, 127.5]]
    assert dequantize(np.array([0, 255], np.uint8), tensor(np.uint8, 1.0, 255)).tolist() == [-255.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dequantize_leaves_floats(dtype: Any) -> None:
    reals = dequantize(np.array([0.25, -2], dtype), tensor(dtype))
    assert reals.dtype == np.float32
    assert reals.tolist() == [0.25, -2.0]


def test_softmax() -> None:
    logits = np.array([[0, np.log(3)], [5, 5]], np.float32)
    result = softmax(logits)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)


def test_softmax_of_large_logits_does_not_overflow() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e30, 0], [-1e30, -1e30]], np.float32)), [[1.0, 0.0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("values", "info", "expected"),
    [
        pytest.param([[0.2, 0.7]], tensor(np.int8, 1 / 256, -128), True, id="quantized softmax"),
        pytest.param([[0.5, 0.5]], tensor(np.int8, 0.1, 4), False, id="quantized logits"),
        pytest.param([[0.5, 0.5], [0.01, 0.99]], tensor(np.float32), True, id="float softmax"),
        pytest.param([[0.5, 0.51]], tensor(np.float32), True, id="rounded softmax"),
        pytest.param([[0.5, 0.5], [0.5, 0.6]], tensor(np.float32), False, id="one row does not sum to 1"),
        pytest.param([[1.5, -0.5]], tensor(np.float32), False, id="negative"),
        pytest.param([[np.nan, 1.0]], tensor(np.float32), False, id="not a number"),
    ],
)
def test_are_probabilities(values: list[list[float]], info: TensorInfo, expected: bool) -> None:
    assert are_probabilities(np.array(values, np.float32), info) is expected


def test_normalize() -> None:
    result = normalize(np.array([[0.25, 0.25], [0.0, 0.0], [0.1, 0.3]], np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]], rtol=1e-6)


def test_an_output_behind_a_reshape_has_the_shape_of_one_image_before_the_first_run() -> None:
    features, scores = (TensorInfo(index, (1, size), np.dtype(np.float32), 0, 0) for index, size in ((0, 16), (1, 10)))
    assert choose_output([features, scores], 128, 10, "model") == scores
