"""Feed batches to Keras without tf.data's autotuning, which Keras' ``fit`` and ``predict`` turn on.

The thread that tunes a running pipeline sleeps for 10 ms, then 20 ms, and twice as long each time up to a minute; the
end of the pipeline waits for it (TensorFlow 2.21). An epoch of ``lenet5`` with 9 seconds of work took 20.5 seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edge_fmnist.cli.signals import interrupted_later

Batches = Iterable[tuple[np.ndarray, np.ndarray]]

EVALUATION_BATCH = 500


def fed(keras: Any, batches: Batches) -> Any:
    """Return batches, at least one, in a form that ``fit`` of ``keras`` (the module) or ``tf_keras`` accepts.

    All have the same shapes and dtypes.
    """
    # Keras recognizes a generator by its type.
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
    """Return the output of a Keras model for inputs, float32 (N, 28, 28, 1), at least one: float32, shape (N, ...)."""
    parts = [inputs[at : at + batch_size] for at in range(0, len(inputs), batch_size)]
    return np.concatenate([_batch_outputs(model, part) for part in parts])


@interrupted_later()
def _batch_outputs(model: Any, inputs: np.ndarray) -> np.ndarray:
    # Layers in bfloat16 give bfloat16, which NumPy reads from a TensorFlow tensor with a warning.
    return np.asarray(model.predict_on_batch(inputs), np.float32)
