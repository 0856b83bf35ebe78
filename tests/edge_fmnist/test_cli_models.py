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
    """Ship two models, and return their folder."""
    settings = {"name": "edge", "accuracy": {"top1": 0.9512}, "recipe": {"seed": 7, "epochs": [10, 3]}}
    return ship(edge=describe_model(**settings), plain=describe_model("logits_int8", name="plain"))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("command", [["models"], ["models", "list"]])
def test_list(run_cli: RunCli, shipped: Path, command: list[str]) -> None:
    result = run_cli(*command)
    assert result.stderr == ""
    for text in ("the small model edge", "the small model plain", "95.12%", "95.23%", "Shipped models"):
        assert text in result.stdout
    entries = json.loads(run_cli(*command, "--json").stdout)
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


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("command", [("models",), ("models", "info"), ("doctor",)])
def test_tables_fit_the_width_without_losing_anything(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], width: int
) -> None:
    def words(text: str) -> list[str]:
        return [word.strip(",:") for word in text.split() if word.strip("─,:")]

    monkeypatch.setenv("COLUMNS", "500")
    expected = words(run_cli(*command).stdout)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run_cli(*command).stdout.splitlines()
    assert "…" not in "".join(lines)
    # A stacked row begins with its first cell, which needs no heading.
    assert set(expected) - {"name"} <= set(words("\n".join(lines)))
    # A longer line is one of a stacked table, which the terminal wraps.
    assert all(len(line.rstrip()) <= width or ":" in line or line.startswith("Shipped") for line in lines)


def test_a_terminal_without_a_width(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    expected = run_cli("models").stdout
    monkeypatch.setenv("COLUMNS", "0")
    assert run_cli("models").stdout == expected


def test_info(run_cli: RunCli, shipped: Path) -> None:
    shown = run_cli("models", "info").stdout
    for text in ("input", "zero_point", "interpreter", "metadata.accuracy", "0.9512", "10, 3", "Ankle boot"):
        assert text in shown
    for name in ("edge", "plain"):
        facts = json.loads(run_cli("models", "info", name, "--json").stdout)
        assert facts["model"] == facts["metadata"]["name"] == name
        assert facts["bytes"] == (shipped / f"{name}.tflite").stat().st_size
        assert facts["labels"] == list(LABELS)
        assert (facts["input"]["shape"], facts["output"]["shape"]) == ([1, 28, 28, 1], [1, 10])
        assert facts["input"]["dtype"] == facts["output"]["dtype"] == ("uint8" if name == "edge" else "int8")
        assert facts["input"]["zero_point"] == (0 if name == "edge" else -128)


def test_info_of_a_file_with_other_classes(run_cli: RunCli, model_path: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n", "utf-8")
    arguments = ("models", "info", model_path("five_classes"))
    assert "expected an output for 10 labels, got 5" in run_cli(*arguments, code=1).stderr
    facts = json.loads(run_cli(*arguments, "--labels", tmp_path / "labels.txt", "--json").stdout)
    assert facts["labels"] == ["a", "b", "c", "d", "e"]


def test_info_of_a_file_without_metadata(run_cli: RunCli, model_path: Callable[[str], Path]) -> None:
    path = model_path("logits_float")
    result = run_cli("models", "info", path, "--json")
    assert json.loads(result.stdout)["metadata"] is None
    assert result.stderr.splitlines() == [
        f"Warning: {path} has no labels: using Fashion-MNIST's",
        f"Warning: {path} does not state its input range: scaling pixels to 0..1",
    ]


def test_models_that_cannot_be_used(run_cli: RunCli, shipped: Path, describe_model: Callable[..., Path]) -> None:
    result = run_cli("models", "info", "no-such-model", code=3)
    assert "neither a file nor a shipped model (shipped: edge, plain)" in result.stderr
    path = describe_model()
    path.write_bytes(path.read_bytes().replace(b"labels.txt", b"lapels.txt"))
    assert "its embedded metadata is damaged" in run_cli("models", "info", path, code=1).stderr
    spoil(shipped / "edge.tflite")
    assert "reinstall edge-fmnist" in run_cli("models", "info", "edge", code=1).stderr
    assert "give it after info" in run_cli("models", "--json", "info", "plain", code=2).stderr
    assert "neither a file nor a shipped model" in run_cli("models", "info", "", code=3).stderr


@pytest.mark.parametrize("names", [[], ["plain", "edge"]])
def test_verify(run_cli: RunCli, shipped: Path, names: list[str]) -> None:
    expected = names or ["edge", "plain"]
    assert run_cli("models", "verify", *names).stdout.splitlines() == [f"{name}: hash matches" for name in expected]
    entries = json.loads(run_cli("models", "verify", *names, "--json").stdout)
    assert entries == [{"name": name, "ok": True, "problem": None} for name in expected]


def test_verify_finds_changed_and_missing_models(run_cli: RunCli, shipped: Path) -> None:
    spoil(shipped / "edge.tflite")
    assert run_cli("models", "verify", "plain").stdout == "plain: hash matches\n"
    result = run_cli("models", "verify", code=1)
    assert "expected SHA-256" in result.stdout
    assert "plain: hash matches" in result.stdout
    entries = json.loads(run_cli("models", "verify", "--json", code=1).stdout)
    assert [entry["ok"] for entry in entries] == [False, True]
    (shipped / "plain.tflite").unlink()
    assert "the file of this shipped model is missing" in run_cli("models", "verify", code=1).stdout


def test_verify_takes_paths(
    run_cli: RunCli, describe_model: Callable[..., Path], model_path: Callable[..., Path], tmp_path: Path
) -> None:
    path = describe_model()
    assert run_cli("models", "verify", path).stdout == f"{path}: hash matches\n"
    spoil(path)
    assert "as its metadata states" in run_cli("models", "verify", path, code=1).stdout
    assert "has no hash to compare with" in run_cli("models", "verify", model_path("logits_int8"), code=1).stdout
    content = model_path("logits_int8").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: len(content) // 2])
    assert "lies outside of the file" in run_cli("models", "verify", tmp_path / "cut.tflite", code=1).stdout
    assert "no-such.tflite: neither a file" in run_cli("models", "verify", "no-such.tflite", code=3).stdout
