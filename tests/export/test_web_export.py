"""The page for phones: what Python writes, and the same results in Node and Chromium as in Python."""

from __future__ import annotations

import _thread
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_fmnist import LABELS, Classifier
from edge_fmnist.cli.app import app
from edge_fmnist.data import dataset
from edge_fmnist.data.files import write_bytes
from edge_fmnist.errors import DataNotFoundError, DownloadError, InterpreterError, ModelError, UsageError
from edge_fmnist.model.classifier import FLIP_LIMIT
from edge_fmnist.model.flatbuffer import Table
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.photos import find_photos
from edge_fmnist.model.registry import read_model
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist.sources.demo import Scene
from edge_fmnist.sources.scenery import wardrobe
from edge_fmnist.teaching.parent import SHAPE_SIGNATURE, SUBGRAPHS, TENSORS
from edge_fmnist.vision.preprocess import convention_warning, preprocess
from edge_fmnist.vision.read_image import read_image
from edge_fmnist_export.cli.web import web
from edge_fmnist_export.web import browser, build, litertjs
from edge_fmnist_export.web.server import PageHandler

HERE = Path(__file__).parent / "web"
REQUIRED = os.environ.get("EDGE_FMNIST_REQUIRE_BROWSER") == "1"
PHOTOS = os.environ.get("EDGE_FMNIST_PHOTOS")
MODELS = ("camera", "edge", "edge4", "nano", "nano4", "max")
FRAMES, FPS = 40, 4
# For the camera model, whose page is tried in full; the others' raw outputs are compared on fewer images.
IMAGES, FEWER_IMAGES = 10_000, 300
SECONDS = 240
NO_RUNTIME = b"""
export const loadLiteRt = async () => { throw new Error("no runtime"); };
export const loadAndCompile = null, Tensor = null;
"""


def give_up(reason: str) -> NoReturn:
    """Skip the test, or fail where browsers are required."""
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def without_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "litertjs_files", lambda: {"index.js": NO_RUNTIME})


# ---------------------------------------------------------------- the folder


def test_the_folder_holds_the_page_the_model_unchanged_and_a_worker_that_stores_all_files(
    without_npm: None, tmp_path: Path
) -> None:
    written = build.write_page("camera", tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    assert {"index.html", "app.js", "display.js", "style.css", "litert/index.js", "icon.svg"} <= names
    content = (tmp_path / "model.tflite").read_bytes()
    assert content == read_model("camera").content
    stated = json.loads((tmp_path / "model.json").read_bytes())["model"]
    assert (stated["bytes"], stated["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    markup, *scripts = ((tmp_path / name).read_text("utf-8") for name in ("index.html", "app.js", "display.js"))
    named = set(re.findall(r'element\("([a-z-]+)"\)', "".join(scripts)))
    assert "bars" in named
    assert named <= set(re.findall(r'id="([a-z-]+)"', markup))
    worker = (tmp_path / "sw.js").read_text("utf-8")
    stored = json.loads(worker.splitlines()[1].removeprefix("const FILES = ").rstrip(";"))
    assert set(stored) == names - {"sw.js"} | {"./"}


def test_export_writes_the_page_of_a_model_file(without_npm: None, tmp_path: Path) -> None:
    model = tmp_path / "mine.tflite"
    model.write_bytes(read_model("nano").content)
    result = CliRunner().invoke(app, ["export", str(model), "--web", str(tmp_path / "page"), "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, [{"path": str(model), "web": str(tmp_path / "page")}])
    assert json.loads((tmp_path / "page" / "model.json").read_bytes())["model"]["name"] == "nano"


def test_a_folder_that_cannot_be_written_is_named(without_npm: None, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("a file")
    with pytest.raises(UsageError, match="page: cannot be written to"):
        build.write_page("edge", tmp_path / "page")


def test_a_page_of_somebody_else_is_not_replaced(without_npm: None, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("theirs")
    with pytest.raises(UsageError, match=r"holds other files \(style\.css\)"):
        build.write_page("edge", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["style.css"]
    # A page of this package is.
    for model in ("edge", "nano"):
        build.write_page(model, tmp_path / "page")
    assert (tmp_path / "page" / "model.tflite").read_bytes() == read_model("nano").content


def test_an_interrupted_page_can_be_written_again(
    without_npm: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails_at_the_model(path: Path, data: bytes) -> None:
        if path.name == "model.tflite":
            raise OSError("no space left")
        write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_bytes", fails_at_the_model)
        with pytest.raises(UsageError, match="no space left"):
            build.write_page("edge", tmp_path)
    build.write_page("edge", tmp_path)
    assert (tmp_path / "model.tflite").read_bytes() == read_model("edge").content


def test_a_browser_that_leaves_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = functools.partial(PageHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=10).close()
        server.shutdown()
        serving.join()
    assert capsys.readouterr().err == ""


def test_the_worker_changes_with_the_model_only(without_npm: None, tmp_path: Path) -> None:
    workers = []
    for name, model in (("a", "camera"), ("b", "camera"), ("c", "edge")):
        build.write_page(model, tmp_path / name)
        workers.append((tmp_path / name / "sw.js").read_bytes())
    assert workers[0] == workers[1] != workers[2]


@pytest.mark.parametrize("model", MODELS)
def test_the_offsets_are_those_of_variable_batch_sizes(model: str) -> None:
    content = bytearray(read_model(model).content)
    offsets = build.page_settings(model)["model"]["batchOffsets"]
    assert offsets
    for offset in offsets:
        assert content[offset : offset + 4] == b"\xff" * 4
        content[offset : offset + 4] = (1).to_bytes(4, "little")
    tensors = Table.root(bytes(content)).tables(SUBGRAPHS)[0].tables(TENSORS)
    assert not any(-1 in tensor.numbers(SHAPE_SIGNATURE, "<i4") for tensor in tensors)


def test_the_settings_are_those_of_the_classifier() -> None:
    model, classifier = build.page_settings("camera")["model"], Classifier.load("camera")
    assert (model["threshold"], model["flipLimit"]) == (classifier.threshold, FLIP_LIMIT)
    assert build.page_settings("edge")["model"]["flipLimit"] == 0
    assert model["output"]["scale"] == classifier.output.scale


def test_pixels_have_the_range_that_the_file_states(model_path: Callable[[str], Path], tmp_path: Path) -> None:
    content = model_path("range_255_float").read_bytes()
    (tmp_path / "own.tflite").write_bytes(embed(content, {"name": "own", "output": "logits"}, LABELS))
    table = build.page_settings(tmp_path / "own.tflite")["model"]["input"]["table"]
    assert table == list(range(256))


def test_a_model_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.tflite"
    content = read_model("edge").content
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    with pytest.raises(ModelError, match="expected a file with this package's metadata"):
        build.page_settings(path)


def test_without_npm_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DownloadError, match=r"install Node\.js .* or save https://registry\.npmjs\.org/@litertjs/core"):
        litertjs.litertjs_files()


def test_a_package_with_another_hash_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = tmp_path / "edge-fmnist" / "litertjs" / f"litertjs-core-{litertjs.VERSION}.tgz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"another package")
    with pytest.raises(DownloadError, match=r"expected SHA-512 PlGm.* delete .*litertjs-core"):
        litertjs.litertjs_files()


def test_web_serves_the_page_and_opens_a_browser(without_npm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[str | None, bytes]] = []

    def visit(url: str) -> None:
        try:
            for name in ("", "model.tflite", "manifest.webmanifest"):
                with urllib.request.urlopen(url + name, timeout=10) as answer:
                    answers.append((answer.headers["Content-Type"], answer.read()))
        finally:
            _thread.interrupt_main()

    # It returns when the page is closed, as a browser in the terminal does.
    monkeypatch.setattr(webbrowser, "open", visit)
    web("edge", port=0, browser=True)
    assert [kind for kind, _ in answers] == ["text/html", "application/octet-stream", "application/manifest+json"]
    assert answers[1][1] == read_model("edge").content


# ---------------------------------------------------------------- fixtures for Node and Chromium


@dataclass
class Fixtures:
    """What Python computed, with the pictures that it came from."""

    folder: Path
    labels: list[str | None] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)


class Writer:
    """Collects the bytes of arrays and returns where they are."""

    def __init__(self) -> None:
        self.content = bytearray()

    def add(self, array: np.ndarray) -> dict[str, int]:
        at = len(self.content)
        self.content += np.ascontiguousarray(array).tobytes()
        return {"at": at, "length": len(self.content) - at}

    def add_garment(self, name: str, picture: np.ndarray, garment: Any) -> dict[str, Any]:
        return {
            "name": name,
            "width": picture.shape[1],
            "height": picture.shape[0],
            "found": bool(garment.found),
            "warning": convention_warning(picture) is not None,
            "data": self.add(to_rgba(picture)),
            "mask": self.add(garment.mask > 0),
            "image": self.add(garment.image),
        }


def to_rgba(picture: np.ndarray) -> np.ndarray:
    code = {2: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA}.get(picture.ndim, 0)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA if picture.shape[2:] == (4,) else code))


def trimmed(cut_out: np.ndarray) -> np.ndarray:
    left, top, width, height = cv2.boundingRect((cut_out[..., 3] > 127).astype(np.uint8))
    return cut_out[top : top + height, left : left + width]


def pictures() -> Iterator[tuple[str, np.ndarray]]:
    """Yield still pictures: of all kinds, and the public photographs where they are at hand."""
    scene = Scene(640, 480)
    frame = scene.draw(3.0)
    yield "whole factor", cv2.resize(frame, (960, 720))
    yield "factor 2", cv2.resize(frame, (192, 144), interpolation=cv2.INTER_AREA)
    yield "already small", cv2.resize(frame, (90, 60), interpolation=cv2.INTER_AREA)
    yield "portrait", np.ascontiguousarray(frame[:, 200:440])
    yield "too thin", frame[:6]
    yield "noise", np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    faint = np.full((300, 400, 3), 250, np.uint8)
    faint[60:240, 120:280] = 243
    yield "white on white", faint
    small = np.full((96, 96, 3), 230, np.uint8)
    small[40:56, 42:54] = (30, 60, 200)
    yield "enlarged", small
    garment = wardrobe()[2]
    colours = garment.colours / np.maximum(garment.alpha, 1e-3)
    cut_out = np.concatenate([colours.clip(0, 255), 255 * garment.alpha], axis=2).astype(np.uint8)
    yield "cut out", cut_out
    yield "small cut out", cv2.copyMakeBorder(cut_out[::3, ::3], 900, 5, 5, 700, cv2.BORDER_CONSTANT)
    yield "trimmed", trimmed(cut_out)
    yield "almost trimmed", cv2.copyMakeBorder(trimmed(cut_out), 0, 1, 2, 0, cv2.BORDER_CONSTANT)
    yield "a speck", np.dstack([frame, np.eye(*frame.shape[:2], dtype=np.uint8) * 255])[:40, :40]
    translucent = np.dstack([frame, np.full(frame.shape[:2], 200, np.uint8)])
    yield "translucent", translucent
    yield "28x28", np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8)
    yield (
        "28x28, bright on black",
        cv2.copyMakeBorder(np.full((20, 20), 200, np.uint8), 4, 4, 4, 4, cv2.BORDER_CONSTANT),
    )
    yield "28x28, nearly empty", np.eye(28, dtype=np.uint8)
    for photo in find_photos(Path(PHOTOS), "validation") if PHOTOS else ():
        yield str(photo.path), read_image(photo.path)


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Fixtures:
    made = Fixtures(tmp_path_factory.mktemp("fixtures"))
    writer = Writer()
    classifier = Classifier.load("camera")
    pipeline, scene, frames, stills = Pipeline(classifier), Scene(640, 480), [], []
    for index in range(FRAMES):
        seconds = 1 + index / FPS
        picture = scene.draw(seconds)
        output = pipeline.run(picture, seconds)
        made.labels.append(output.smoothed.label)
        frames.append(
            {
                **writer.add_garment(f"frame {index}", picture, output.garment),
                "seconds": seconds,
                "scores": output.prediction.scores.tolist() if output.prediction else None,
                "label": output.smoothed.label,
                "smoothed": output.smoothed.scores.tolist(),
            }
        )
    for name, picture in pictures():
        garment = preprocess(picture)
        stills.append(writer.add_garment(name, picture, garment))
        made.scores.append(classifier.predict(garment.image).scores.tolist() if garment.found else [])
    alpha = np.resize(np.arange(0, 1210, dtype=np.float32).clip(0, 255).astype(np.uint8), (905, 1210))
    large = np.dstack([cv2.resize(scene.draw(3.0), (1210, 905)), alpha])
    assert cv2.imwrite(str(made.folder / "large.png"), large)
    reduced = {
        "width": large.shape[1],
        "height": large.shape[0],
        "data": writer.add(to_rgba(large)),
        "expected": writer.add(to_rgba(read_image(made.folder / "large.png"))),
    }
    (made.folder / "fixtures.bin").write_bytes(writer.content)
    content = {"settings": build.page_settings("camera"), "frames": frames, "stills": stills, "reduced": reduced}
    (made.folder / "fixtures.json").write_text(json.dumps(content))
    return made


@pytest.mark.slow
def test_node_computes_the_same(
    fixtures: Fixtures, without_npm: None, tmp_path: Path, need: Callable[..., str]
) -> None:
    node = need("node", "nodejs", "BROWSER")
    build.write_page("camera", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    environment = {**os.environ, "FIXTURES": str(fixtures.folder), "SOURCES": tmp_path.as_uri()}
    done = subprocess.run(
        [node, "--test", str(HERE / "port.test.mjs")], env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


# ---------------------------------------------------------------- Chromium


def write_site(model: str, folder: Path, images: np.ndarray) -> None:
    """Write the page and its tests to a folder that a server serves."""
    try:
        browser.find_browser()
        browser.write_site(model, folder, images)
    except (DownloadError, InterpreterError) as error:
        give_up(str(error))


def first_test_images(count: int) -> np.ndarray:
    try:
        return dataset.load("test").images[:count]
    except DataNotFoundError:
        return np.random.default_rng(0).integers(0, 256, (FEWER_IMAGES, 28, 28), np.uint8)


def write_camera(path: Path) -> None:
    """Write half a second of a garment that lies still, for Chromium's fake camera."""
    scene = Scene(640, 480)
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n")
        for index in range(15):
            yuv = cv2.cvtColor(scene.draw(3 + index / 30), cv2.COLOR_BGR2YUV_I420)
            file.write(b"FRAME\n" + yuv.tobytes())


@pytest.mark.slow
def test_chromium_computes_the_same_and_the_page_works_offline(fixtures: Fixtures, tmp_path: Path) -> None:
    site, images = tmp_path / "site", first_test_images(IMAGES)
    write_site("camera", site, images)
    for name in ("browser.html", "browser.mjs", "fixtures.mjs"):
        shutil.copy(HERE / name, site)
    for name in ("fixtures.bin", "fixtures.json"):
        shutil.copy(fixtures.folder / name, site)
    write_camera(site / "camera.y4m")
    cv2.imwrite(str(site / "garment.png"), Scene(1200, 900).draw(3.0))
    (site / "damaged.png").write_bytes(b"not a picture")

    results = browser.run(
        site,
        "browser.html",
        (
            *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
            f"--use-file-for-fake-video-capture={site / 'camera.y4m'}",
        ),
        lambda name, pages: pages.stop() if name == "stop" else None,
    )

    classifier = Classifier.load("camera")
    assert results["outputs"] == classifier.outputs(images)[0].tobytes()
    result = json.loads(results["done"])["result"]
    pipeline, app = result["pipeline"], result["app"]
    assert pipeline["smoothed"] == fixtures.labels
    for got, expected in zip(pipeline["answers"], fixtures.scores, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert app["online"]["label"] == app["offline"]["label"] == "Trouser"
    assert app["pictures"] == [
        "Trouser",
        "damaged.png: not a picture that this browser can read",
        "garment.png: 1 of 2 files",
    ]
    assert app["stalls"] == [["No new frame for 2 s", "grayscale(1)"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("model", "steps"), [("edge", 0), ("max", 0), ("nano4", 8)])
def test_chromium_gives_the_same_output_bytes(model: str, steps: int) -> None:
    """Kernels of convolutions with int4 weights round in another way."""
    images = first_test_images(FEWER_IMAGES)
    try:
        measured = browser.measure(model, images)
    except (DownloadError, InterpreterError) as error:
        give_up(str(error))
    expected = Classifier.load(model).outputs(images)[0]
    np.testing.assert_allclose(measured.outputs.astype(int), expected.astype(int), rtol=0, atol=steps)
    # Rounding changes the label only where two classes are almost equal.
    best = np.sort(expected.astype(int), axis=1)
    clear = best[:, -1] - best[:, -2] > steps / 2
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(measured.outputs.argmax(1)[clear], expected.argmax(1)[clear])
    assert measured.milliseconds.shape == (len(images),)
    assert measured.milliseconds.min() > 0
