"""Write small TensorFlow Lite models with random weights: python make_models.py FOLDER.

A separate script, since importing TensorFlow warns, and warnings are errors in the tests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf

Network = Callable[[Any], Any]
IMAGES = (None, 28, 28, 1)
INT16_ACTIVATIONS = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def weights(*shape: int, scale: float, seed: int) -> Any:
    """Return constant weights: the same for every model, so that only the types differ."""
    values = np.random.default_rng(seed).normal(0, scale, shape)
    return tf.constant(values, tf.float32)


def features(pixels: Any) -> Any:
    """Return the output of a convolution, averaged over each quarter, shape (N, 16), for pixels 0..1 of any layout."""
    images = tf.reshape(pixels, (-1, 28, 28, 1))
    hidden = tf.nn.relu(tf.nn.conv2d(images, weights(3, 3, 1, 4, scale=0.6, seed=1), 2, "SAME"))
    return tf.reshape(tf.nn.avg_pool2d(hidden, 7, 7, "VALID"), (-1, 16))


def logits(pixels: Any, classes: int = 10) -> Any:
    """Return the outputs of a dense layer on the features."""
    return tf.matmul(features(pixels), weights(16, classes, scale=4, seed=2))


def samples(low: float, high: float) -> Iterator[list[Any]]:
    """Yield images for calibration: noise, brighter in some quarters than in others, from low to high."""
    generator = np.random.default_rng(4)
    for _ in range(100):
        brightness = generator.random((2, 2)).repeat(14, 0).repeat(14, 1)
        image = brightness * generator.random((28, 28))
        image[0, :2] = 0, 1
        yield [(low + image * (high - low)).reshape(1, 28, 28, 1).astype(np.float32)]


def convert(
    network: Network,
    kind: Any = None,
    *,
    shape: tuple[int | None, ...] = IMAGES,
    low: float = 0,
    high: float = 1,
    operators: Any = tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
) -> bytes:
    """Return a model.

    Args:
        network: from images to outputs.
        kind: the dtype of a quantized model's input and output; None keeps all float.
        shape: of the input.
        low: the value of black for calibration.
        high: the value of white for calibration.
        operators: that a quantized model may have.
    """
    function = tf.function(network).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if kind is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: samples(low, high)
        converter.target_spec.supported_ops = [operators]
        converter.inference_input_type = converter.inference_output_type = kind
    return bytes(converter.convert())


def with_operators_of_tensorflow() -> bytes:
    """Return a model with a select TensorFlow operator."""
    function = tf.function(lambda pixels: tf.linalg.inv(tf.reshape(pixels, (28, 28))))
    concrete = function.get_concrete_function(tf.TensorSpec((1, 28, 28, 1), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return bytes(converter.convert())


def integer_input() -> bytes:
    """Return a model with an int32 input, which cannot hold images."""
    function = tf.function(lambda pixels: logits(tf.cast(pixels, tf.float32)))
    concrete = function.get_concrete_function(tf.TensorSpec(IMAGES, tf.int32))
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())


def two_inputs() -> bytes:
    """Return a model whose logits are multiplied by a second input."""
    function = tf.function(lambda pixels, gain: logits(pixels) * gain)
    concrete = function.get_concrete_function(
        tf.TensorSpec((1, 28, 28, 1), tf.float32), tf.TensorSpec((1, 1), tf.float32)
    )
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())


def main(folder: Path) -> None:
    """Write every model into ``folder``."""
    kinds = {"uint8": tf.uint8, "int8": tf.int8, "float_io": tf.float32, "float": None}
    models = {f"logits_{name}": convert(logits, kind) for name, kind in kinds.items()}
    models |= {
        "softmax_uint8": convert(lambda pixels: tf.nn.softmax(logits(pixels)), tf.uint8),
        "softmax_float": convert(lambda pixels: tf.nn.softmax(logits(pixels))),
        "five_classes": convert(lambda pixels: logits(pixels, 5)),
        "many_classes": convert(lambda pixels: logits(pixels, 1000)),
        "input_32": convert(lambda pixels: logits(pixels[:, :28, :28]), shape=(None, 32, 32, 1)),
        "input_int32": integer_input(),
        # A matrix product with a reshape that holds for one image only.
        "fixed_batch": convert(
            lambda pixels: tf.matmul(tf.reshape(pixels, (1, 784)), weights(784, 10, scale=0.1, seed=3)),
            shape=(1, 28, 28, 1),
        ),
        "shape_28_28": convert(logits, shape=(28, 28)),
        "shape_1_28_28": convert(logits, shape=(1, 28, 28)),
        "shape_n_784": convert(logits, shape=(None, 784)),
        "shape_4_28_28_1": convert(logits, shape=(4, 28, 28, 1)),
        "range_255_uint8": convert(lambda pixels: logits(pixels / 255), tf.uint8, high=255),
        "range_255_float_io": convert(lambda pixels: logits(pixels / 255), tf.float32, high=255),
        "activations_int16": convert(logits, tf.float32, operators=INT16_ACTIVATIONS),
        "range_255_float": convert(lambda pixels: logits(pixels / 255)),
        "range_signed_int8": convert(lambda pixels: logits((pixels + 1) / 2), tf.int8, low=-1),
        "range_signed_uint8": convert(lambda pixels: logits((pixels + 1) / 2), tf.uint8, low=-1),
        "two_outputs": convert(lambda pixels: (features(pixels), logits(pixels))),
        "two_alike": convert(lambda pixels: (logits(pixels) * 2, logits(pixels))),
        "open_batch_of_one": convert(
            lambda pixels: tf.matmul(tf.reshape(pixels, (1, 784)), weights(784, 10, scale=0.1, seed=3))
        ),
        "two_inputs": two_inputs(),
        "whole_numbers": convert(lambda pixels: tf.cast(tf.nn.softmax(logits(pixels)) * 100, tf.int32)),
        "not_finite": convert(lambda pixels: logits(pixels) + tf.math.log(-1 - tf.reduce_mean(pixels))),
        "select_tf": with_operators_of_tensorflow(),
    }
    for name, content in models.items():
        (folder / f"{name}.tflite").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
