from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def feed(module: str) -> None:
    """Print what a tf.data pipeline of ours yields and whether it is tuned, and what a model puts out, as JSON."""
    import json

    import numpy as np

    from edge_fmnist_export.quantize import qat
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.feeding import fed, outputs

    backend.tensorflow_module()
    keras = backend.keras_module() if module == "keras" else qat.modules().keras
    rng = np.random.default_rng(1)
    batches = [(rng.random((4, 28, 28, 1), np.float32), rng.random((4, 20), np.float32)) for _ in range(3)]
    pipeline = fed(keras, batches)
    found = [[array.numpy() for array in batch] for batch in pipeline]
    inputs = keras.layers.Input((28, 28, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    images = rng.random((7, 28, 28, 1), np.float32)
    kernel, bias = (np.asarray(variable) for variable in model.weights)
    apart = np.abs(outputs(model, images, 3) - (images.reshape(7, -1) @ kernel + bias)).max()
    same = all((a == b).all() for one, two in zip(found, batches, strict=True) for a, b in zip(one, two, strict=True))
    print(json.dumps({"tuned": pipeline.options().autotune.enabled, "same": same, "apart": float(apart)}))


@pytest.mark.parametrize("module", ["keras", "tf_keras"])
def test_batches_reach_the_model_untuned_and_whole(run_function: Callable[..., Any], module: str) -> None:
    found = run_function(feed, module)
    assert found["tuned"] is False
    assert found["same"]
    assert found["apart"] < 1e-5
