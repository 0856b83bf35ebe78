"""The models in the package: that they are the ones that were measured, and as good as they say."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, live
from edge_fmnist.data.dataset import load_split
from edge_fmnist.data.samples import SAMPLES
from edge_fmnist.model.evaluation import evaluate
from edge_fmnist.model.quantization import PIXEL_SCALE
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL, FOLDER, read_model, shipped_models, verify
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.demo import CYCLE, Scene
from edge_fmnist.vision.preprocess import preprocess

# What the project promises: accuracy on Fashion-MNIST's test images, and bytes of the file.
LEAST_TOP1 = {"edge": 0.944, "camera": 0.935, "nano": 0.926, "max": 0.946}
MOST_BYTES = {"edge": 128_000, "camera": 160_000, "nano": 24_000, "max": 512_000}
MOST_LOST_TOP1 = 0.003


@pytest.fixture(scope="module")
def edge() -> Classifier:
    return Classifier.load("edge")


@pytest.fixture(scope="module")
def camera() -> Classifier:
    return Classifier.load("camera")


def test_edge_is_the_default() -> None:
    assert DEFAULT_MODEL == "edge"
    assert DEFAULT_MODEL in shipped_models()


@pytest.mark.parametrize("name", list(shipped_models()))
def test_hash_and_size_are_those_of_the_registry(name: str) -> None:
    entry = shipped_models()[name]
    content = entry.path.read_bytes()
    verify(entry, content)
    assert len(content) == entry.bytes
    assert read_model(name).content == content


def test_every_model_file_has_an_entry() -> None:
    files = {entry.path for entry in shipped_models().values()}
    assert files == set(FOLDER.glob("*.tflite"))


@pytest.mark.parametrize("name", list(MOST_BYTES))
def test_models_are_small(name: str) -> None:
    assert shipped_models()[name].bytes <= MOST_BYTES[name]


def test_every_model_has_its_promises() -> None:
    assert set(shipped_models()) == set(MOST_BYTES) == set(LEAST_TOP1)


def test_edge_keeps_what_the_float_model_knew() -> None:
    entry = shipped_models()["edge"]
    assert entry.top1 >= LEAST_TOP1["edge"]
    assert abs(entry.top1 - entry.float_top1) <= MOST_LOST_TOP1


def test_edge_loads(edge: Classifier) -> None:
    assert edge.labels == LABELS
    assert edge.metadata is not None
    assert edge.metadata.labels == LABELS
    prediction = edge.predict(np.zeros((28, 28), np.uint8))
    assert prediction.label in LABELS
    assert prediction.scores.sum() == pytest.approx(1, abs=1e-5)


def test_edge_takes_pixels_as_they_are(edge: Classifier) -> None:
    assert edge.input.shape == (1, 28, 28, 1)
    assert edge.input.dtype == np.uint8
    assert edge.input.scale == pytest.approx(PIXEL_SCALE, abs=1e-8)
    assert edge.input.zero_point == 0
    assert edge.output.quantized


@pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no XNNPACK promised here")
def test_litert_runs_edge_through_xnnpack() -> None:
    assert Classifier.load("edge", interpreter="ai-edge-litert").info.delegate == "XNNPACK"


def test_batches_give_what_single_images_give(edge: Classifier, images: np.ndarray) -> None:
    one_by_one = np.stack([edge.predict(image).scores for image in images])
    np.testing.assert_array_equal(edge.predict_batch(images).scores, one_by_one)


@pytest.mark.data
@pytest.mark.parametrize("name", list(LEAST_TOP1))
def test_accuracy_on_the_test_set(name: str, real_data: Path) -> None:
    entry = shipped_models()[name]
    top1 = evaluate(Classifier.load(name), load_split(real_data, "test", fashion_mnist=True)).top1
    assert top1 >= LEAST_TOP1[name]
    # Interpreters round the odd tie otherwise: ten images of 10,000.
    assert top1 == pytest.approx(entry.top1, abs=0.001)


def test_edge_answers_every_image(edge: Classifier) -> None:
    assert edge.threshold == 0


def test_camera_is_shipped_for_photographs() -> None:
    assert CAMERA_MODEL == "camera"
    assert CAMERA_MODEL in shipped_models()


def test_camera_is_int8_and_takes_pixels_as_they_are(camera: Classifier) -> None:
    assert camera.labels == LABELS
    assert camera.input.shape == (1, 28, 28, 1)
    assert camera.input.dtype == np.uint8
    assert camera.input.scale == pytest.approx(PIXEL_SCALE, abs=1e-8)
    assert camera.output.quantized


def test_camera_is_calibrated(camera: Classifier) -> None:
    assert camera.metadata is not None
    assert camera.metadata.calibration.temperature == camera.temperature > 0
    assert camera.metadata.settings["calibration"] is not None
    assert 0 < camera.threshold < 1


@pytest.mark.parametrize("name", SAMPLES)
def test_camera_names_the_samples(camera: Classifier, name: str) -> None:
    draw, label = SAMPLES[name]
    garment = preprocess(draw())
    assert garment.found
    assert camera.predict(garment.image).answer == label


class Unpaced(Source):
    """The drawn scene at ten frames a second, as quickly as they are read."""

    name = "scene"
    realtime = False
    fps = 10.0

    def __init__(self, seconds: float) -> None:
        self.scene = Scene(640, 480)
        self._frames = iter(range(round(seconds * 10)))

    def open(self) -> None:
        pass

    def read(self) -> np.ndarray | None:
        index = next(self._frames, None)
        return None if index is None else self.scene.draw(index / 10)

    def close(self) -> None:
        pass


def test_the_drawn_scene_is_named_right_while_garments_come_and_go() -> None:
    source = Unpaced(2 * CYCLE)
    named = [(source.scene.label(result.frame.index / 10), result.label) for result in live(source, model="camera")]
    garments = {wanted for wanted, _ in named if wanted}
    assert garments == {"Trouser", "T-shirt/top"}
    still = [(wanted, shown) for wanted, shown in named if wanted]
    assert sum(wanted == shown for wanted, shown in still) > 0.95 * len(still)
    assert any(wanted is None and shown is None for wanted, shown in named)
