from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist import LABELS

RunCli = Callable[..., Any]


@pytest.fixture
def shipped(ship: Callable[..., Path], describe_model: Callable[..., Path]) -> Path:
    """Ship two models, and return the folder they lie in."""
    settings = {"name": "edge", "accuracy": {"top1": 0.9512}, "recipe": {"seed": 7, "epochs": [10, 3]}}
    return ship(edge=describe_model(**settings), plain=describe_model("logits_int8", name="plain"))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("command", [["models"], ["models", "list"]])
def test_list(run_cli: RunCli, shipped: Path, command: list[str]) -> None:
    result = run_cli(*command)
    assert result.stdout == ""
    for text in ("the small model edge", "the small model plain", "95.12%", "95.23%", "Shipped models"):
        assert text in result.stderr


@pytest.mark.parametrize("command", [["models", "--json"], ["models", "list", "--json"]])
def test_list_json(run_cli: RunCli, shipped: Path, command: list[str]) -> None:
    entries = json.loads(run_cli(*command).stdout)
    assert [entry["name"] for entry in entries] == ["edge", "plain"]
    content = (shipped / "edge.tflite").read_bytes()
    assert entries[0] == {
        "name": "edge",
        "file": "edge.tflite",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "top1": 0.9512,
        "float_top1": 0.9523,
        "description": "the small model edge",
    }


def test_info(run_cli: RunCli, shipped: Path) -> None:
    result = run_cli("models", "info")
    assert result.stdout == ""
    for key in ("input.scale", "output.zero_point", "interpreter.delegate", "metadata.accuracy.top1", "Ankle boot"):
        assert key in result.stderr


@pytest.mark.parametrize("name", ["edge", "plain"])
def test_info_json(run_cli: RunCli, shipped: Path, name: str) -> None:
    facts = json.loads(run_cli("models", "info", name, "--json").stdout)
    assert facts["model"] == facts["metadata"]["name"] == name
    assert facts["bytes"] == (shipped / f"{name}.tflite").stat().st_size
    assert facts["labels"] == list(LABELS)
    assert facts["input"]["shape"] == [1, 28, 28, 1]
    assert facts["output"]["shape"] == [1, 10]
    assert facts["input"]["dtype"] == facts["output"]["dtype"] == ("uint8" if name == "edge" else "int8")
    assert facts["input"]["zero_point"] == (0 if name == "edge" else -128)
    assert facts["interpreter"]["threads"] == 1


def test_info_of_a_file_without_metadata(run_cli: RunCli, model_path: Callable[[str], Path]) -> None:
    path = model_path("logits_float")
    facts = json.loads(run_cli("models", "info", path, "--json").stdout)
    assert facts["metadata"] is None
    assert (facts["input"]["dtype"], facts["input"]["scale"]) == ("float32", 0)
    assert "metadata" not in run_cli("models", "info", path).stderr


def test_info_of_no_model(run_cli: RunCli, shipped: Path) -> None:
    result = run_cli("models", "info", "no-such-model", code=3)
    assert "neither a file nor a shipped model (shipped: edge, plain)" in result.stderr


def test_info_of_damaged_metadata(run_cli: RunCli, describe_model: Callable[..., Path]) -> None:
    path = describe_model()
    path.write_bytes(path.read_bytes().replace(b"labels.txt", b"lapels.txt"))
    assert "its embedded metadata is damaged" in run_cli("models", "info", path, code=1).stderr


@pytest.mark.parametrize("names", [[], ["edge"], ["plain", "edge"]])
def test_verify(run_cli: RunCli, shipped: Path, names: list[str]) -> None:
    result = run_cli("models", "verify", *names)
    assert result.stderr.splitlines() == [f"{name}: hash matches" for name in names or ["edge", "plain"]]


def test_verify_json(run_cli: RunCli, shipped: Path) -> None:
    assert json.loads(run_cli("models", "verify", "--json").stdout) == [
        {"name": "edge", "ok": True, "problem": None},
        {"name": "plain", "ok": True, "problem": None},
    ]


def test_verify_finds_a_changed_byte(run_cli: RunCli, shipped: Path) -> None:
    spoil(shipped / "edge.tflite")
    result = run_cli("models", "verify", code=1)
    assert "expected SHA-256" in result.stderr
    assert "plain: hash matches" in result.stderr
    entries = json.loads(run_cli("models", "verify", "--json", code=1).stdout)
    assert [entry["ok"] for entry in entries] == [False, True]
    assert "expected SHA-256" in entries[0]["problem"]


def test_verify_only_the_model_asked_for(run_cli: RunCli, shipped: Path) -> None:
    spoil(shipped / "edge.tflite")
    assert run_cli("models", "verify", "plain").stderr == "plain: hash matches\n"


def test_verify_finds_a_missing_file(run_cli: RunCli, shipped: Path) -> None:
    (shipped / "plain.tflite").unlink()
    assert "the file of this shipped model is missing" in run_cli("models", "verify", code=1).stderr


def test_verify_an_unknown_name(run_cli: RunCli, shipped: Path) -> None:
    assert "'egde' is no shipped model (edge, plain)" in run_cli("models", "verify", "egde", code=2).stderr


def test_a_damaged_registry(run_cli: RunCli, ship: Callable[..., Path]) -> None:
    (ship() / "registry.json").write_text("{", "utf-8")
    assert "the registry of shipped models cannot be read" in run_cli("models", "list", code=1).stderr


def test_a_changed_model_is_not_used(run_cli: RunCli, shipped: Path) -> None:
    spoil(shipped / "edge.tflite")
    assert "reinstall edge-fmnist" in run_cli("models", "info", "edge", code=1).stderr
