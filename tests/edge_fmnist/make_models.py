"""Write small TensorFlow Lite models with random weights: python make_models.py FOLDER.

A script of its own, since importing TensorFlow warns, and warnings are errors in the tests.
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


def weights(*shape: int, scale: float, seed: int) -> Any:
    """Return constant weights: the same for every model, so that only the types differ."""
    values = np.random.default_rng(seed).normal(0, scale, shape)
    return tf.constant(values, tf.float32)


def logits(pixels: Any, classes: int = 10) -> Any:
    """Return the outputs of a convolution, an average of each quarter, and a dense layer."""
    hidden = tf.nn.relu(tf.nn.conv2d(pixels, weights(3, 3, 1, 4, scale=0.6, seed=1), 2, "SAME"))
    quarters = tf.nn.avg_pool2d(hidden, hidden.shape[1] // 2, hidden.shape[1] // 2, "VALID")
    features = tf.reshape(quarters, (-1, 16))
    return tf.matmul(features, weights(16, classes, scale=4, seed=2))


def softmax(pixels: Any) -> Any:
    """Return probabilities."""
    return tf.nn.softmax(logits(pixels))


def five(pixels: Any) -> Any:
    """Return outputs for five classes only."""
    return logits(pixels, 5)


def stacked(pixels: Any) -> Any:
    """Return outputs with a dimension too many."""
    return tf.expand_dims(logits(pixels), 2)


def fixed_batch(pixels: Any) -> Any:
    """Return outputs through a reshape that holds for one image only."""
    return tf.matmul(tf.reshape(pixels, (1, 784)), weights(784, 10, scale=0.1, seed=3))


def samples(size: int) -> Iterator[list[Any]]:
    """Yield images for calibration: noise, brighter in some quarters than in others, all of 0 to 1."""
    generator = np.random.default_rng(4)
    for _ in range(100):
        brightness = generator.random((2, 2)).repeat(size // 2, 0).repeat(size // 2, 1)
        image = brightness * generator.random((size, size))
        image[0, :2] = 0, 1
        yield [image.reshape(1, size, size, 1).astype(np.float32)]


def convert(network: Network, kind: Any = None, *, size: int = 28, batch: int | None = None) -> bytes:
    """Return a model.

    Args:
        network: from images to outputs.
        kind: the dtype of a quantized model's input and output; None keeps all float.
        size: the edge of the images.
        batch: how many images it takes at a time; None leaves it open.
    """
    function = tf.function(network).get_concrete_function(tf.TensorSpec((batch, size, size, 1), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if kind is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: samples(size)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = kind
    return bytes(converter.convert())


def integer_input() -> bytes:
    """Return a model whose input is int32, which images cannot be put in."""
    function = tf.function(lambda pixels: logits(tf.cast(pixels, tf.float32)))
    concrete = function.get_concrete_function(tf.TensorSpec((None, 28, 28, 1), tf.int32))
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())


def main(folder: Path) -> None:
    """Write every model into ``folder``."""
    kinds = {"uint8": tf.uint8, "int8": tf.int8, "float_io": tf.float32, "float": None}
    models = {f"logits_{name}": convert(logits, kind) for name, kind in kinds.items()}
    models |= {f"softmax_{name}": convert(softmax, kinds[name]) for name in ("uint8", "int8", "float")}
    models["five_classes"] = convert(five)
    models["stacked_output"] = convert(stacked)
    models["input_32"] = convert(logits, size=32)
    models["input_int32"] = integer_input()
    models["fixed_batch"] = convert(fixed_batch, batch=1)
    for name, content in models.items():
        (folder / f"{name}.tflite").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
