"""Damaged and made-up input: an error of this package or a usable value, never another exception."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_fmnist.data.files import read_toml
from edge_fmnist.data.idx import parse_idx, read_bytes
from edge_fmnist.errors import EdgeFmnistError, SourceError
from edge_fmnist.model.metadata import embed, extract
from edge_fmnist.model.registry import read_model
from edge_fmnist.pipeline.settings import LiveSettings, options
from edge_fmnist.sources.mjpeg import MjpegStream
from edge_fmnist_bench import baseline
from edge_fmnist_export.training.recipe import parse_recipe, shipped_recipes

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of a file with some bytes replaced, and cut at any place."""
    places = st.integers(0, len(content) - 1)
    edits = st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=4)

    def apply(given: tuple[list[tuple[int, bytes]], int]) -> bytes:
        result = bytearray(content)
        for place, value in given[0]:
            result[place : place + len(value)] = value
        return bytes(result[: given[1]])

    return st.tuples(edits, st.one_of(st.just(len(content)), places)).map(apply)


def in_file(content: bytes, read: Callable[[Path], Any]) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        return read(path)


IDX = b"\0\0\x08\3" + np.array([2, 28, 28], ">u4").tobytes() + bytes(2 * 28 * 28)


@given(damaged(IDX) | st.binary(max_size=40))
def test_idx(content: bytes) -> None:
    try:
        array = parse_idx(in_file(content, read_bytes), dimensions=3, name="file")
    except EdgeFmnistError:
        return
    assert array.dtype == np.uint8
    assert array.size == len(content) - 16


FLATBUFFER = read_model("nano").content
BARE = FLATBUFFER[: FLATBUFFER.index(b"PK\x03\x04")]
VALUES = ("format", "output", "threshold", "calibration", "flip_tta", "mirrored", "recipe")


@settings(max_examples=12)  # each packs and hashes a model
@given(st.dictionaries(st.sampled_from(VALUES), plain, max_size=4))
def test_metadata(values: dict[str, Any]) -> None:
    try:
        content = embed(BARE, {"output": "logits", **values}, tuple("abcdefghij"))
        found = extract(content, "model")
    except (EdgeFmnistError, ValueError):
        # ValueError: NaN, which is not JSON, is refused when it is written.
        return
    assert found is not None
    assert found.labels == tuple("abcdefghij")


LINES = [f"{name} = {value}" for name in ("source", "fps", "roi", "mirror", "model") for value in ('"x"', "1", "true")]


@given(st.lists(st.sampled_from(LINES), max_size=6).map("\n".join) | st.text(max_size=60))
def test_settings_file(text: str) -> None:
    try:
        values = in_file(text.encode("utf-8", "surrogatepass"), read_toml)
    except EdgeFmnistError:
        return
    assert isinstance(values, dict)


NUMBERS = [name for name, option in options().items() if option.type in (int, float)]


@given(st.sampled_from(NUMBERS), st.integers() | st.floats() | st.booleans() | st.text(max_size=3))
def test_settings(name: str, value: Any) -> None:
    try:
        found: Any = LiveSettings(**{name: value})
    except EdgeFmnistError as error:
        found = error
    assert getattr(found, name) == value if isinstance(found, LiveSettings) else found.setting == name


RECIPE = next(iter(shipped_recipes().values())).to_toml()


@given(damaged(RECIPE.encode()) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_recipes(content: bytes) -> None:
    try:
        parse_recipe(content.decode("utf-8", "replace"), "recipe")
    except EdgeFmnistError:
        return


BASELINE = json.loads(Path(__file__).parents[2].joinpath("benchmarks", "baseline.json").read_text("utf-8"))


@given(st.sampled_from(sorted(BASELINE)), plain)
def test_baselines(key: str, value: Any) -> None:
    content = json.dumps({**BASELINE, key: value}).encode("utf-8", "surrogatepass")
    try:
        found = in_file(content, baseline.read)
    except EdgeFmnistError:
        return
    for kinds in (found["metrics"], found["speedup"], found["instructions"]):
        assert all(isinstance(entry, dict) and "value" in entry for entry in kinds.values())


JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


@given(damaged(PART * 3) | st.lists(st.sampled_from([PART, JPEG, b"--frame\r\n", b"\r\n", b"\xff" * 9])).map(b"".join))
def test_motion_jpeg(body: bytes) -> None:
    client, server = socket.socketpair()

    def send() -> None:
        with server:
            server.sendall(HEAD + body)

    sender = threading.Thread(target=send)
    sender.start()
    response = http.client.HTTPResponse(client)
    response.begin()
    stream = MjpegStream(response, "camera")
    lost = False
    for _ in range(10):
        try:
            assert stream.read().dtype == np.uint8
        except SourceError:
            lost = True
    # The server has ended, so that the source is lost at last.
    assert lost
    stream.close()
    client.close()
    sender.join()
