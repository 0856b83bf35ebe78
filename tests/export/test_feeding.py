from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist_export.training.feeding import fed, outputs


def test_batches_reach_the_model_unchanged_and_without_autotuning(each_keras: Any) -> None:
    keras = each_keras
    rng = np.random.default_rng(1)
    batches = [(rng.random((4, 28, 28, 1), np.float32), rng.random((4, 20), np.float32)) for _ in range(3)]
    pipeline = fed(keras, batches)
    assert pipeline.options().autotune.enabled is False
    for found, given in zip(pipeline, batches, strict=True):
        np.testing.assert_array_equal(found[0], given[0])
        np.testing.assert_array_equal(found[1], given[1])
    inputs = keras.layers.Input((28, 28, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    images = rng.random((7, 28, 28, 1), np.float32)
    kernel, bias = (np.asarray(variable) for variable in model.weights)
    np.testing.assert_allclose(outputs(model, images, 3), images.reshape(7, -1) @ kernel + bias, atol=1e-5)
