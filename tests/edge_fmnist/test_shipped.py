"""The models in the package: that they are the ones that were measured, and as accurate as stated."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier
from edge_fmnist.data.dataset import load_split
from edge_fmnist.data.samples import SAMPLES
from edge_fmnist.model.evaluation import evaluate
from edge_fmnist.model.metadata import HASH_KEY
from edge_fmnist.model.quantization import PIXEL_SCALE
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL, FOLDER, read_model, shipped_models
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist.sources.demo import CYCLE, Scene
from edge_fmnist.vision.preprocess import preprocess

# What the project promises: accuracy on Fashion-MNIST's test images, and bytes of the file.
MIN_TOP1 = {"edge": 0.95, "edge4": 0.953, "camera": 0.948, "nano": 0.934, "nano4": 0.937, "max": 0.954}
MAX_BYTES = {"edge": 128_000, "edge4": 128_000, "camera": 512_000, "nano": 24_000, "nano4": 24_576, "max": 512_000}
MAX_LOST_TOP1 = 0.003


@pytest.fixture(scope="module")
def camera() -> Classifier:
    return Classifier("camera")


def test_the_registry_lists_the_files_and_the_defaults() -> None:
    models = shipped_models()
    assert set(models) == set(MAX_BYTES)
    assert {entry.path for entry in models.values()} == set(FOLDER.glob("*.tflite"))
    assert (DEFAULT_MODEL, CAMERA_MODEL) == ("edge", "camera")
    assert abs(models["edge"].top1 - models["edge"].float_top1) <= MAX_LOST_TOP1


@pytest.mark.parametrize("name", MAX_BYTES)
def test_a_shipped_model(name: str) -> None:
    entry = shipped_models()[name]
    assert len(read_model(name).content) == entry.bytes <= MAX_BYTES[name]
    classifier = Classifier(name)
    assert classifier.metadata is not None
    assert HASH_KEY in classifier.metadata.settings
    assert (classifier.labels, classifier.assumptions) == (LABELS, ())
    # Pixels are the input, unchanged.
    assert classifier.input.shape == (1, 28, 28, 1)
    assert classifier.input.dtype == np.uint8
    assert classifier.input.zero_point == 0
    assert classifier.input.scale == pytest.approx(PIXEL_SCALE, abs=1e-8)
    assert classifier.output.quantized


@pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no XNNPACK promised here")
def test_litert_runs_edge_through_xnnpack() -> None:
    assert Classifier("edge", interpreter="ai-edge-litert").info.delegate == "XNNPACK"


@pytest.mark.data
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("camera", "max"))) for name in MIN_TOP1]
)
def test_accuracy_on_the_test_set(name: str, real_data: Path) -> None:
    top1 = evaluate(Classifier(name), load_split(real_data, "test", fashion_mnist=True)).top1
    assert top1 >= MIN_TOP1[name]
    # Interpreters round the odd tie otherwise: ten images of 10,000.
    assert top1 == pytest.approx(shipped_models()[name].top1, abs=0.001)


def test_camera_is_calibrated_and_edge_is_not(camera: Classifier) -> None:
    assert Classifier("edge").threshold == 0
    assert camera.metadata is not None
    assert camera.metadata.calibration.temperature == camera.temperature > 0
    assert 0 < camera.threshold < 1


@pytest.mark.parametrize("name", SAMPLES)
def test_camera_classifies_the_samples(camera: Classifier, name: str) -> None:
    draw, label = SAMPLES[name]
    garment = preprocess(draw())
    assert garment.found
    assert camera.predict(garment.image).answer == label


def test_the_drawn_scene_is_classified_while_garments_come_and_go(camera: Classifier) -> None:
    scene, pipeline = Scene(640, 480), Pipeline(camera)
    times = np.arange(0, 2 * CYCLE, 0.1)
    shown = [(scene.label(seconds), pipeline.run(scene.draw(seconds), seconds).smoothed.label) for seconds in times]
    still = [(wanted, label) for wanted, label in shown if wanted]
    assert {wanted for wanted, _ in still} == {"Trouser", "T-shirt/top"}
    assert sum(wanted == label for wanted, label in still) > 0.95 * len(still)
    assert any(wanted is None and label is None for wanted, label in shown)
