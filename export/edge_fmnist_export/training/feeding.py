"""How images get into Keras without tf.data's tuning, which Keras' ``fit`` and ``predict`` turn on.

A thread of TensorFlow's tunes a running pipeline. Between two looks it sleeps for
10 ms, then for 20, for twice as long each time up to a minute, and the end of the
pipeline waits until it wakes (seen with TensorFlow 2.21): an epoch of ``lenet5``,
9 seconds of work, took 20.5 seconds, the sum of 10 ms, 20 ms, ... 10.24 s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Batches = Iterable[tuple[np.ndarray, np.ndarray]]

EVALUATION_BATCH = 500


def fed(keras: Any, batches: Batches) -> Any:
    """Return batches in the form in which ``fit`` takes them.

    Args:
        keras: the module ``keras`` or ``tf_keras``.
        batches: at least one; all of the same shapes and dtypes.
    """
    # Keras tells a generator by its type.
    pairs: Iterator[tuple[np.ndarray, np.ndarray]] = (batch for batch in batches)
    if keras.backend.backend() != "tensorflow":
        return pairs
    import tensorflow as tf

    first = next(pairs)
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(
        lambda: itertools.chain([first], pairs),
        output_signature=tuple(tf.TensorSpec(array.shape, array.dtype) for array in first),
    ).with_options(options)


def outputs(model: Any, inputs: np.ndarray, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
    """Return what a Keras model with one output gives for inputs, float32, shape (N, ...).

    Args:
        model: a model of Keras 3 or ``tf_keras``.
        inputs: float32, shape (N, 28, 28, 1), at least one.
        batch_size: how many the model sees at once.
    """
    parts = range(0, len(inputs), batch_size)
    return np.concatenate([np.asarray(model.predict_on_batch(inputs[at : at + batch_size])) for at in parts])
