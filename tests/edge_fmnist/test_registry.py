from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_fmnist import Classifier, ModelError, ModelHashError, ModelNotFoundError
from edge_fmnist.model import registry
from edge_fmnist.model.registry import read_model, shipped_models

Ship = Callable[..., Path]
Describe = Callable[..., Path]


def test_shipped_models(ship: Ship, describe_model: Describe) -> None:
    path = describe_model(name="the shipped one")
    folder = ship(edge=path, other=describe_model("logits_int8", name="the other one"))
    models = shipped_models()
    assert list(models) == ["edge", "other"]
    edge = models["edge"]
    assert edge.path == folder / "edge.tflite"
    assert (edge.name, edge.bytes, edge.top1, edge.float_top1) == ("edge", path.stat().st_size, 0.9512, 0.9523)
    loaded = [Classifier.load(), Classifier.load("edge"), Classifier.load("other")]
    names = [classifier.metadata.name for classifier in loaded if classifier.metadata]
    assert names == ["the shipped one", "the shipped one", "the other one"]


def test_a_path_needs_no_entry(ship: Ship, describe_model: Describe) -> None:
    ship()
    path = describe_model()
    assert read_model(path).content == path.read_bytes()
    assert read_model(path).source == read_model(str(path)).source == str(path)


def test_a_name_wins_over_a_file_of_that_name(
    ship: Ship, describe_model: Describe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = describe_model()
    ship(edge=path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge").write_bytes(b"not this one")
    assert read_model("edge").content == path.read_bytes()


@pytest.mark.parametrize("damage", ["first byte", "last byte", "cut off", "empty"])
def test_a_changed_file(ship: Ship, describe_model: Describe, damage: str) -> None:
    path = ship(edge=describe_model()) / "edge.tflite"
    content = bytearray(path.read_bytes())
    if damage.endswith("byte"):
        content[0 if damage == "first byte" else -1] ^= 1
    else:
        del content[5 if damage == "cut off" else 0 :]
    path.write_bytes(content)
    message = rf"edge.tflite: expected SHA-256 .* and {len(content)} bytes; .* reinstall edge-fmnist"
    with pytest.raises(ModelHashError, match=message):
        Classifier.load("edge")


def test_a_missing_file(ship: Ship, describe_model: Describe) -> None:
    (ship(edge=describe_model()) / "edge.tflite").unlink()
    with pytest.raises(ModelNotFoundError, match=r"^edge: the file of this shipped model is missing \(shipped: edge\)"):
        read_model("edge")


@pytest.mark.parametrize("text", ["", "[]", '{"models": {"edge": {"size": 1}}}', None])
def test_a_damaged_or_missing_registry(ship: Ship, text: str | None) -> None:
    path = ship() / "registry.json"
    path.unlink()
    if text is not None:
        path.write_text(text, "utf-8")
    shipped_models.cache_clear()
    with pytest.raises(ModelError, match=r"registry.json: the registry of shipped models cannot be read"):
        read_model("edge")


def test_a_file_too_large_to_be_a_model(ship: Ship, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship()
    monkeypatch.setattr(registry, "MAX_MODEL_BYTES", 1 << 20)
    path = tmp_path / "large.tflite"
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ModelError, match="larger than 1 MiB, so not a model for this package"):
        read_model(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any folder")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    with pytest.raises(ModelError, match=r"model.tflite: cannot be read \(Permission denied\)"):
        read_model(folder / "model.tflite")


def test_a_file_that_cannot_be_read(ship: Ship, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship()
    path = tmp_path / "model.tflite"
    path.write_bytes(b"bytes")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match=r"model.tflite: cannot be read \(Permission denied\)"):
        read_model(path)
