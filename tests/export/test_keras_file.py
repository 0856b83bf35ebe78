"""Export of a user's own Keras classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load_split
from edge_fmnist_export.quantize.keras_file import _rescales

Command = Callable[..., Any]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*HDF5.*"),
    # From Keras' own saving and loading with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def trained(keras: Any, tiny_data: Path) -> Any:
    """Return a trained classifier of images from 0 to 255, shape (28, 28), with a softmax."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    train = load_split(tiny_data, "train")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    for _ in range(60):
        model.train_on_batch(train.images.astype(np.float32), train.targets)
    return model


@pytest.mark.parametrize("name", ["mine.keras", "mine.h5", "saved_v1.5", "saved_255"])
def test_a_keras_classifier_is_quantized_and_checked(
    keras: Any,
    trained: Any,
    run_command: Command,
    tiny_data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    path, written = tmp_path / name, tmp_path / "mine.tflite"
    if name.startswith("mine"):
        trained.save(path)
    else:
        # Its layers cannot be seen, so the test images tell the range of its pixels.
        scaling = [] if name == "saved_255" else [keras.layers.Rescaling(255.0)]
        keras.Sequential([keras.Input((28, 28)), *scaling, trained]).export(path, verbose=False)
    answer = run_command("export", path, "--data", tiny_data, "--calibration", 50, "-o", written, "--json")
    (report,) = answer.json
    assert report["format"] == "int8-ptq"
    assert report["top1"] > 0.8
    assert report["drop_points"] <= 0.5
    classifier = Classifier.load(written)
    assert classifier.metadata is not None
    assert classifier.metadata.output == "probabilities"
    assert classifier.metadata.settings["source"] == name
    assert classifier.metadata.settings["name"] == name.removesuffix(".keras").removesuffix(".h5")
    assert ("model of pixels from 0 to 255" in caplog.text) == (name == "saved_255")
    assert "its classes get the names of Fashion-MNIST's" in answer.stderr


def test_a_rescaling_layer_within_a_block_counts(
    keras: Any, trained: Any, run_command: Command, tiny_data: Path, tmp_path: Path
) -> None:
    # Without the optimizer of the trained model, which Keras cannot load within another.
    block, inputs, path = keras.models.clone_model(trained), keras.Input((28, 28)), tmp_path / "nested.keras"
    block.set_weights(trained.get_weights())
    keras.Model(inputs, keras.Sequential([keras.Input((28, 28)), block])(inputs)).save(path)
    (report,) = run_command("export", path, "--data", tiny_data, "--calibration", 50, "--json", "-o", tmp_path).json
    assert report["top1"] > 0.8


def test_a_rescaling_of_the_logits_does_not_count(keras: Any) -> None:
    layers = [keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10), keras.layers.Rescaling(0.04)]
    assert not _rescales(keras.Sequential(layers), keras)


def test_a_model_of_mixed_precision(keras: Any, run_command: Command, tiny_data: Path, tmp_path: Path) -> None:
    path, options = tmp_path / "mixed.keras", {"dtype": "mixed_float16"}
    layers = [keras.layers.Conv2D(4, 3, 2, **options), keras.layers.Flatten(), keras.layers.Dense(10, **options)]
    keras.Sequential([keras.Input((28, 28, 1)), *layers]).save(path)
    answer = run_command("export", path, "--data", tiny_data, "--float32", "-o", tmp_path / "x.tflite", "--json")
    assert answer.json[0]["drop_points"] == 0
    quantized = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    quantized.layers[-1].quantize("int8")
    quantized.save(path)
    answer = run_command("export", path, "--data", tiny_data, "-o", tmp_path / "y.tflite", code=1)
    assert "was quantized by Keras" in answer.stderr


def test_classes_of_other_data_are_not_evaluated(
    keras: Any, run_command: Command, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(tiny_data))
    path, labels = tmp_path / "three.keras", tmp_path / "labels.txt"
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(12)]).save(path)
    labels.write_text("\n".join(f"class {number}" for number in range(12)))
    answer = run_command("export", path, "--labels", labels, "--float32", "-o", tmp_path / "x.tflite", "--json")
    assert answer.json[0]["top1"] is None
    assert "accuracy is not measured, since these are not" in answer.stderr


def test_calibration_on_pictures(trained: Any, run_command: Command, tiny_data: Path, tmp_path: Path) -> None:
    path, pictures = tmp_path / "mine.keras", tmp_path / "pictures"
    trained.save(path)
    pictures.mkdir()
    for index, image in enumerate(load_split(tiny_data, "train").images[:20]):
        cv2.imwrite(str(pictures / f"{index}.png"), image)
    # Nothing in it.
    cv2.imwrite(str(pictures / "plain.png"), np.full((120, 160, 3), 180, np.uint8))
    answer = run_command("export", path, "--images", pictures, "-o", tmp_path / "mine.tflite", "--json")
    assert answer.json[0]["top1"] is None
    metadata = Classifier.load(tmp_path / "mine.tflite").metadata
    assert metadata is not None
    assert metadata.settings["representative"]["images"] == 20
    for picture in pictures.glob("[0-9]*"):
        picture.unlink()
    answer = run_command("export", path, "--images", pictures, "-o", tmp_path / "mine.tflite", code=1)
    assert "expected pictures of garments for calibration, found none" in answer.stderr


def test_models_that_cannot_be_exported(keras: Any, run_command: Command, tiny_data: Path, tmp_path: Path) -> None:
    def failure(path: Path, *options: object, code: int) -> str:
        answer = run_command("export", path, "--data", tiny_data, "-o", tmp_path / "x.tflite", *options, code=code)
        assert not (tmp_path / "x.tflite").exists()
        return str(answer.stderr)

    def saved(name: str, shape: tuple[int, ...], *layers: Any) -> Path:
        keras.Sequential([keras.Input(shape), *layers]).save(tmp_path / name)
        return tmp_path / name

    (tmp_path / "damaged.keras").write_bytes(b"no zip")
    dense, flatten = keras.layers.Dense, keras.layers.Flatten
    for path, code, message in (
        (tmp_path / "none.keras", 3, "no such file"),
        (tmp_path / "damaged.keras", 1, "Keras cannot load it"),
        (saved("large.keras", (96, 96, 3), flatten(), dense(10)), 1, "expected a classifier of 28x28 grey images"),
        (saved("rgb.keras", (28, 28, 3), keras.layers.Conv2D(2, 3), flatten(), dense(10)), 1, "28x28 grey images"),
        (saved("map.keras", (28, 28, 1), keras.layers.Conv2D(2, 3)), 1, "one output of shape (N, classes)"),
        (saved("three.keras", (28, 28, 1), flatten(), dense(3)), 1, "expected 3 labels, got 10"),
        (saved("sigmoid.keras", (28, 28, 1), flatten(), dense(10, "sigmoid")), 1, "as of a sigmoid"),
        (saved("lstm.keras", (28, 28), keras.layers.LSTM(4), dense(10)), 1, "TensorFlow Lite cannot convert"),
    ):
        assert message in failure(path, code=code)
    path = saved("dense.keras", (28, 28, 1), flatten(), dense(10))
    assert "only int8 and int4 files are calibrated" in failure(path, "--float32", "--images", tmp_path, code=2)
    assert "--images is for a Keras classifier" in failure(tmp_path, "--images", tmp_path, code=2)
