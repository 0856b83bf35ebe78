"""Metadata at the end of a model file."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tracemalloc
import zipfile
from typing import Any

import pytest

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import ModelError, ModelHashError
from edge_fmnist.model.metadata import (
    FORMAT,
    HASH_KEY,
    LABELS_NAME,
    MAX_BYTES,
    METADATA_NAME,
    Calibration,
    Metadata,
    associated_labels,
    embed,
    extract,
    without_metadata,
)

FLATBUFFER = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 4
SETTINGS: dict[str, Any] = {"name": "edge", "output": "logits", "accuracy": 0.93, "recipe": {"epochs": 3}}


def with_zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO(FLATBUFFER)
    with zipfile.ZipFile(stream, "a", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def extracted(content: bytes) -> Metadata:
    metadata = extract(content, "model")
    assert metadata is not None
    return metadata


def test_roundtrip() -> None:
    content = embed(FLATBUFFER, SETTINGS, LABELS)
    metadata = extracted(content)
    assert metadata.labels == LABELS
    assert metadata.output == "logits"
    assert metadata.name == "edge"
    assert metadata.settings == {"format": FORMAT, HASH_KEY: hashlib.sha256(FLATBUFFER).hexdigest(), **SETTINGS}
    assert metadata.calibration == Calibration(temperature=1, threshold=0)
    assert content.startswith(FLATBUFFER)


def test_labels_beyond_ascii_and_no_name() -> None:
    labels = ("Schuh", "Mütze", "靴")
    metadata = extracted(embed(FLATBUFFER, {"output": "probabilities"}, labels))
    assert (metadata.labels, metadata.name) == (labels, "unnamed")


def test_a_changed_flatbuffer_is_found() -> None:
    content = embed(FLATBUFFER, SETTINGS, LABELS)
    for position in range(len(FLATBUFFER)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(ModelHashError, match=r"^model: expected a model with SHA-256 .* changed or damaged"):
            extract(bytes(damaged), "model")


def test_files_of_earlier_versions_have_no_hash() -> None:
    settings = json.dumps({"format": FORMAT, "output": "logits"}).encode()
    assert extracted(with_zip({METADATA_NAME: settings, LABELS_NAME: b"a\nb\n"})).labels == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", ""), "expected 2 to 1000 labels"),
        (("a", "b\rc"), "line 2: expected a printable label"),
    ],
)
def test_labels_are_checked(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelError, match=rf"^model: labels\.txt: .*{re.escape(message)}"):
        extract(embed(FLATBUFFER, SETTINGS, labels), "model")


def test_same_arguments_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed(FLATBUFFER, SETTINGS, LABELS)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert embed(FLATBUFFER, dict(reversed(SETTINGS.items())), LABELS) == first


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(FLATBUFFER, id="no zip"),
        pytest.param(with_zip({"labelmap.txt": b"a\nb\n"}), id="TensorFlow Lite's own associated files"),
    ],
)
def test_models_without_our_metadata(content: bytes) -> None:
    assert extract(content, "model") is None


@pytest.mark.parametrize("settings", [{"format": "edge-fmnist-model/2"}, {}, [], None])
def test_wrong_format(settings: Any) -> None:
    content = with_zip({METADATA_NAME: json.dumps(settings).encode(), LABELS_NAME: b"a\nb\n"})
    with pytest.raises(ModelError, match=rf"^model: expected metadata of format '{FORMAT}', got "):
        extract(content, "model")


@pytest.mark.parametrize("output", [None, "scores", 1])
def test_wrong_output(output: Any) -> None:
    content = embed(FLATBUFFER, {"output": output}, LABELS)
    with pytest.raises(ModelError, match=rf"output 'logits' or 'probabilities', got {output!r}"):
        extract(content, "model")


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({METADATA_NAME: b"{not json", LABELS_NAME: b"a\n"}, id="not JSON"),
        pytest.param({METADATA_NAME: b"\xff\xfe\xfa", LABELS_NAME: b"a\n"}, id="JSON not UTF-8"),
        pytest.param({METADATA_NAME: b"{}", LABELS_NAME: b"\xff\n"}, id="labels not UTF-8"),
        pytest.param({METADATA_NAME: b"{}"}, id="no labels"),
        pytest.param(
            {METADATA_NAME: b"[" * 200_000, LABELS_NAME: b"a\n"},
            id="nested too deep",
        ),
    ],
)
def test_damaged_content(entries: dict[str, bytes]) -> None:
    with pytest.raises(ModelError, match=r"^model: its embedded metadata is damaged"):
        extract(with_zip(entries), "model")


def test_changed_byte_is_a_wrong_checksum() -> None:
    content = bytearray(with_zip({METADATA_NAME: b'{"a": "some text"}', LABELS_NAME: b"a\n"}, zipfile.ZIP_STORED))
    content[content.index(b"some text")] ^= 1
    with pytest.raises(ModelError, match=r"embedded metadata is damaged .*CRC"):
        extract(bytes(content), "model")


def test_zip_cut_within_its_first_header_is_no_metadata() -> None:
    whole = embed(FLATBUFFER, SETTINGS, LABELS)
    for end in range(len(FLATBUFFER), whole.index(b"metadata.json") + len("metadata.json")):
        assert extract(whole[:end], "model") is None


def test_zip_cut_after_its_first_header_is_reported() -> None:
    whole = embed(FLATBUFFER, SETTINGS, LABELS)
    for end in range(whole.index(b"metadata.json") + len("metadata.json"), len(whole)):
        with pytest.raises(ModelError, match="cut off"):
            extract(whole[:end], "model")


def test_any_changed_byte_is_reported_as_a_model_error() -> None:
    """Damage anywhere in the zip is harmless or a ModelError, never another exception."""
    whole = embed(FLATBUFFER, SETTINGS, LABELS)
    escaped = set()
    for position in range(len(FLATBUFFER), len(whole)):
        content = bytearray(whole)
        content[position] ^= 0xFF
        try:
            extract(bytes(content), "model")
        except ModelError:
            pass
        except Exception as error:
            escaped.add(type(error).__name__)
    assert escaped == set()


@pytest.mark.parametrize("name", [METADATA_NAME, LABELS_NAME])
def test_entry_larger_than_the_cap(name: str) -> None:
    entries = {METADATA_NAME: b"{}", LABELS_NAME: b"a\n", name: b" " * (MAX_BYTES + 1)}
    with pytest.raises(ModelError, match=f"{name} is larger than 1 MiB"):
        extract(with_zip(entries), "model")


def test_entries_together_larger_than_the_cap() -> None:
    content = with_zip({f"{number}.txt": b"a\n" * 300_000 for number in range(3)})
    with pytest.raises(ModelError, match=r"1\.txt is larger than 1 MiB, together with the files before it"):
        associated_labels(content, 10, "model")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(compression: int) -> None:
    content = with_zip({METADATA_NAME: b"{}", LABELS_NAME: b"a\n"}, compression)
    with pytest.raises(ModelError, match="compressed by another method than deflate"):
        extract(content, "model")


def test_an_empty_zip_is_no_metadata() -> None:
    content = with_zip({})
    assert extract(content, "model") is None
    assert without_metadata(content) == FLATBUFFER


def test_entry_as_large_as_the_cap() -> None:
    settings = json.dumps({"format": FORMAT, "output": "logits"}).encode()
    entries = {METADATA_NAME: settings.ljust(MAX_BYTES), LABELS_NAME: b"a\nb\n"}
    assert extracted(with_zip(entries)).labels == ("a", "b")


def test_entry_that_claims_less_than_it_holds_does_not_fill_memory() -> None:
    content = with_zip({METADATA_NAME: bytes(32 << 20), LABELS_NAME: b"a\n"})
    content = content.replace((32 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="embedded metadata is damaged"):
            extract(content, "model")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(("temperature", "threshold"), [(1.37, 0.42), (1, 0), (0.001, 1), (1000, 0.5)])
def test_calibration(temperature: float, threshold: float) -> None:
    given = {"temperature": temperature, "threshold": threshold, "validation_lost": 0.05}
    metadata = extracted(embed(FLATBUFFER, {**SETTINGS, "calibration": given}, LABELS))
    assert metadata.calibration == Calibration(temperature, threshold)


@pytest.mark.parametrize(
    "given",
    [
        *("text", 1.5, True, [], {}, {"temperature": 1.5}),
        *({"temperature": value, "threshold": 0.4} for value in (None, True, "1.5", [1], 10**400, 0, -1, 1e4)),
        *({"temperature": 1.5, "threshold": value} for value in (True, "0.4", -0.1, 1.1, float("nan"))),
    ],
)
def test_calibrations_that_cannot_be(given: Any) -> None:
    with pytest.raises(ModelError, match=r"^model: .* temperature from 0.001 to 1000 and a threshold from 0 to 1, got"):
        extract(embed(FLATBUFFER, {**SETTINGS, "calibration": given}, LABELS), "model")


@pytest.mark.parametrize("key", ["flip_tta", "mirrored"])
def test_flip_tta_is_true_or_false(key: str) -> None:
    assert extracted(embed(FLATBUFFER, {**SETTINGS, key: True}, LABELS)).flip_tta
    with pytest.raises(ModelError, match=r"expected flip_tta .* to be true or false, got 'yes'"):
        extract(embed(FLATBUFFER, {**SETTINGS, key: "yes"}, LABELS), "model")


@pytest.mark.parametrize("scale", ["1", True, 0, -1, float("inf"), float("nan"), 10**400])
def test_pixel_scales_that_cannot_be(scale: Any) -> None:
    content = embed(FLATBUFFER, {**SETTINGS, "preprocessing": {"pixel_scale": scale}}, LABELS)
    with pytest.raises(ModelError, match=r"^model: expected a pixel_scale above 0 in its metadata, got "):
        extract(content, "model")


def test_probabilities_have_no_temperature() -> None:
    def model(temperature: float) -> bytes:
        calibration = {"temperature": temperature, "threshold": 0.3}
        return embed(FLATBUFFER, {"output": "probabilities", "calibration": calibration}, LABELS)

    assert extracted(model(1)).calibration.threshold == 0.3
    with pytest.raises(ModelError, match=r"^model: expected temperature 1 with output 'probabilities', .* got 1.5$"):
        extract(model(1.5), "model")


@pytest.mark.parametrize(
    ("labels", "settings", "own"),
    [
        (LABELS, {}, False),
        (LABELS, {"training": {"data_sha256": ["1", "2"], "photos_sha256": "3"}}, False),
        (("a", "b"), {"training": {"photos_sha256": "3"}}, True),
        ((*LABELS, "hat"), {"taught": {}}, False),
        (("hat", "none"), {"taught": {}}, True),
    ],
)
def test_classes_of_a_user(labels: tuple[str, ...], settings: dict[str, Any], own: bool) -> None:
    assert extracted(embed(FLATBUFFER, {"output": "logits", **settings}, labels)).own_classes == own
