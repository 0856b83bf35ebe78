"""Fixtures for the runtime's tests: small models made once a session, and a registry to ship them in."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import ImageError
from edge_fmnist.model import registry
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.predictions import Prediction
from edge_fmnist.pipeline.results import Frame, LiveResult, Stages
from edge_fmnist.sinks.web import WebPage
from edge_fmnist.vision.detection import Box, Garment

COAT = (
    (0.42, 0.1),
    (0.58, 0.1),
    (0.8, 0.3),
    (0.72, 0.62),
    (0.66, 0.5),
    (0.68, 0.9),
    (0.32, 0.9),
    (0.34, 0.5),
    (0.28, 0.62),
    (0.2, 0.3),
)


@pytest.fixture
def describe_model(model_path: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a copy of a small model with metadata, and returns its path."""

    def describe(model: str = "logits_uint8", /, *, labels: tuple[str, ...] = LABELS, **settings: Any) -> Path:
        path = tmp_path / f"described_{model}.tflite"
        path.write_bytes(embed(model_path(model).read_bytes(), {"output": "logits", **settings}, labels))
        return path

    return describe


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Return 300 seeded images of noise, brighter in some quarters than in others: the small models tell them apart."""
    generator = np.random.default_rng(11)
    brightness = generator.random((300, 2, 2)).repeat(14, 1).repeat(14, 2)
    return (brightness * generator.random((300, 28, 28)) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def certificate(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a PEM file with a private key and its self-signed certificate for localhost."""
    path = tmp_path_factory.mktemp("certificate") / "server.pem"
    command = [need("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "2"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-keyout", str(path), "-out", str(path), "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Return a function that makes a registry of the given model files by name, and returns its folder."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(registry, "FOLDER", folder)
    monkeypatch.setattr(registry, "REGISTRY", folder / "registry.json")
    registry.shipped_models.cache_clear()

    def make(**models: Path) -> Path:
        entries = {}
        for name, path in models.items():
            content = path.read_bytes()
            (folder / f"{name}.tflite").write_bytes(content)
            entries[name] = {
                "file": f"{name}.tflite",
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "top1": 0.9512,
                "float_top1": 0.9523,
                "description": f"the small model {name}",
            }
        (folder / "registry.json").write_text(json.dumps({"models": entries}), "utf-8")
        registry.shipped_models.cache_clear()
        return folder

    yield make
    registry.shipped_models.cache_clear()


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock: ``clock()`` is the time, and ``clock.now`` sets it."""
    return Clock()


@pytest.fixture
def warnings() -> list[str]:
    """Return an empty list, for the function that receives warnings."""
    return []


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """Return a function that writes frames, uint8, shape (H, W, 3), as a video file, and returns its path."""

    def write(path: Path, frames: Iterable[np.ndarray], codec: str = "MJPG", fps: float = 25) -> Path:
        height, width = (frames := list(frames))[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        for frame in frames:
            writer.write(frame)
        writer.release()
        return path

    return write


class GreyClassifier:
    """Stands in for a classifier: the last digit of the grey value that an image is filled with is its class.

    Attributes:
        calls: number of predictions.
    """

    labels = LABELS
    threshold = 0.5

    def __init__(self, score: float = 0.9, pause: float = 0.0) -> None:
        self.score, self.pause = score, pause
        self.calls = 0

    def predict(self, image: np.ndarray) -> Any:
        time.sleep(self.pause)
        self.calls += 1
        index = int(image[0, 0]) % len(LABELS)
        scores = np.full(len(LABELS), (1 - self.score) / (len(LABELS) - 1), np.float32)
        scores[index] = self.score
        return SimpleNamespace(label=LABELS[index], index=index, score=self.score, scores=scores)


@pytest.fixture
def grey_classifier() -> Callable[..., Any]:
    """Return a function that makes a stand-in for a classifier, to be used with ``grey_preprocessing``."""
    return GreyClassifier


@pytest.fixture
def grey_preprocessing(monkeypatch: pytest.MonkeyPatch) -> list[Garment | None]:
    """Replace preprocessing: the image has the grey value of the frame; black is no garment, white cannot be used.

    Return the detections that the last calls were started from.
    """
    started_from: list[Garment | None] = []

    def preprocess(picture: np.ndarray, previous: Garment | None = None, small: np.ndarray | None = None) -> Garment:
        started_from.append(previous)
        del started_from[:-10]
        value, (height, width) = int(picture[0, 0, 0]), picture.shape[:2]
        if value == 255:
            raise ImageError("expected another picture")
        image, mask = np.full((28, 28), value, np.uint8), np.zeros((4, 4), np.uint8)
        confidence = 0.5 if previous else 0.9
        return Garment(value > 0, image, mask, Box(0, 0, width, height), confidence, (height, width))

    monkeypatch.setattr("edge_fmnist.vision.preprocess.preprocess", preprocess)
    return started_from


class Reply(NamedTuple):
    """A response of the browser page."""

    status: int
    headers: Message
    body: bytes

    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def picture(self) -> np.ndarray:
        return np.asarray(cv2.imdecode(np.frombuffer(self.body, np.uint8), cv2.IMREAD_UNCHANGED))


class AskedPage(WebPage):
    """A browser page, and an HTTP client for it."""

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
        """Return the response to a request; ``headers`` with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(HTTPConnection("127.0.0.1", urlsplit(self.url).port, timeout=20)) as connection:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())


@pytest.fixture(scope="session")
def page_class() -> Any:
    """Return the class of the browser page, with a method ``ask``."""
    return AskedPage


@pytest.fixture
def page() -> Iterator[Any]:
    """Return a browser page for this machine, with a method ``ask``."""
    with closing(AskedPage(port=0)) as page:
        yield page


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes pixels as a picture file, and returns its path."""

    def write(name: str, pixels: np.ndarray) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
        return path

    return write


def scene(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of a coat on seeded noise, uint8 BGR of ``size`` (width, height), and its mask, 0 or 255."""
    width, height = size
    picture = np.random.default_rng(5).integers(90, 170, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [(np.array(COAT) * size).astype(np.int32)], 255)
    picture[mask > 0] = (120, 60, 40)
    return picture, mask


@pytest.fixture
def make_result() -> Callable[..., LiveResult]:
    """Return a function that makes the result for one frame of a coat; ``label=None`` is a frame without a garment."""

    def make(
        index: int = 0,
        label: str | None = "Coat",
        score: float = 0.9,
        size: tuple[int, int] = (640, 480),
        *,
        found: bool = True,
        picture: np.ndarray | None = None,
        **settings: Any,
    ) -> LiveResult:
        """Make a result.

        Args:
            index: the frame's number.
            label: the shown label: a class, ``"unknown"``, or None.
            score: its score; the other classes share the rest.
            size: width and height of the frame.
            found: whether there is a garment.
            picture: the frame's pixels, in place of the coat; its size is then the frame's.
            **settings: other fields of LiveResult, in place of likely ones.
        """
        found = found and label is not None
        if picture is not None:
            size = (picture.shape[1], picture.shape[0])
        shown, coat = scene(size)
        empty = np.zeros((28, 28), np.uint8)
        shrink = min(1.0, 160 / max(size))
        small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
        mask = cv2.resize(coat, small, interpolation=cv2.INTER_NEAREST)
        garment = Garment(
            found=found,
            image=cv2.resize(coat, (28, 28), interpolation=cv2.INTER_AREA) if found else empty,
            mask=mask if found else np.zeros_like(mask),
            box=Box(*cv2.boundingRect(coat)) if found else Box(0, 0, 0, 0),
            confidence=0.8 if found else 0.0,
            frame_shape=(size[1], size[0]),
        )
        position = LABELS.index(label) if label in LABELS else 0
        scores = np.full(len(LABELS), (1 - score) / (len(LABELS) - 1), np.float32)
        scores[position] = score
        if not found:
            scores[:] = 0
        fields: dict[str, Any] = {
            "frame": Frame(shown if picture is None else picture, index, 100 + index / 30, "test"),
            "garment": garment,
            "prediction": Prediction(LABELS[position], position, score, scores, 0.2, LABELS) if found else None,
            "label": label if found else None,
            "score": score if found else 0.0,
            "scores": scores,
            "labels": LABELS,
            "stages": Stages(preprocess=2.0, classify=0.2, smooth=0.01),
            "age": 5.0,
            "seen": index + 1,
            "dropped": 0,
            "fps": 30.0 if index else 0.0,
        }
        return LiveResult(**{**fields, **settings})

    return make
