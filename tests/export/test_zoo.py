from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist.model.registry import read_model
from edge_fmnist_export.quantize.latency import Latency, compare_latency
from edge_fmnist_export.search.zoo.build import Facts, Row
from edge_fmnist_export.search.zoo.published import Published, published
from edge_fmnist_export.search.zoo.table import BEGIN, END, check_page, text, write_table
from edge_fmnist_export.training.recipe import load_recipe


def row(name: str, accuracy: float | None, top1: float) -> Row:
    """Return a row of a network, as published and as trained."""
    facts = Facts(
        sha256="s",
        test_sha256=("a", "b"),
        images=10_000,
        float_top1=0.9,
        top1=top1,
        bytes=12_345,
        parameters=1234,
        macs=56_789,
        epochs=(30, 3),
        seconds=12.0,
    )
    return Row(Published(name, accuracy, f"the source of {name}"), facts, Latency(12.34, 0.5))


ROWS = [row("one", 0.86, 0.86), row("two", None, 0.1), row("three", 0.9126, 0.9125)]


def test_every_published_network_has_a_recipe_of_its_architecture() -> None:
    found = published()
    assert list(found) == ["mlp-128", "cnn-dropout", "cnn-93k", "cnn-1", "cnn-2", "cnn-3", "lenet5"]
    for name, network in found.items():
        recipe = load_recipe(name)
        assert recipe.architecture == name
        assert recipe.qat.epochs > 0
        assert network.source
        assert network.accuracy is None or 0.8 < network.accuracy < 0.95


@pytest.mark.parametrize(("name", "accuracy"), [("mlp-128", 0.86), ("cnn-dropout", 0.93), ("cnn-1", None)])
def test_published_figures(name: str, accuracy: float | None) -> None:
    assert published()[name].accuracy == accuracy


def test_a_row_below_its_published_accuracy_is_not_met() -> None:
    assert [each.met for each in ROWS] == [True, True, False]


def test_the_table_as_markdown() -> None:
    lines = text(ROWS).splitlines()
    assert lines[2] == "| `one` | 1,234 | 56,789 | 86 % | 90.00 % | 86.00 % | 12,345 | 12.3 | 0.50 | 30 + 3 |"
    assert "| not given |" in lines[3]
    assert "| 91.26 % |" in lines[4]
    assert "- `three`: the source of three" in lines


def test_a_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    plain = write_table(page, ROWS[:1])
    first = page.read_text("utf-8")
    assert first.startswith("# The zoo")
    page.write_text(f"before\n{first}after\n", "utf-8")
    check_page(page)
    write_table(page, ROWS)
    text = page.read_text("utf-8")
    assert text.startswith("before\n# The zoo")
    assert text.endswith(f"{END}\nafter\n")
    assert text.count(BEGIN) == text.count("| `one` |") == text.count("| `three` |") == 1
    assert [each["met"] for each in json.loads(plain.read_text("utf-8"))["networks"]] == [True, True, False]


@pytest.mark.parametrize("content", ["", "text\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", "\udcff"])
def test_a_page_without_markers_is_left_alone(tmp_path: Path, content: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(content, "utf-8", errors="surrogateescape")
    before = page.read_bytes()
    for write in (check_page, lambda path: write_table(path, ROWS)):
        with pytest.raises(UsageError):
            write(page)
    assert page.read_bytes() == before


@pytest.mark.alone
def test_a_model_as_quick_as_the_reference_has_a_ratio_of_about_one() -> None:
    content = read_model("edge").content
    found = compare_latency({"itself": content}, content, rounds=9)["itself"]
    # Wide, since other work may slow one turn and not the next.
    assert 0.5 < found.ratio < 2
    assert found.microseconds > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "resnet"), "expected a network of the zoo (mlp-128"),
        (("--table", "zoo.txt"), "expected the name of a Markdown file"),
    ],
)
def test_options_that_cannot_work(cli: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    result = cli("zoo", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_the_extra(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda _: None)
    result = cli("zoo", "--output", tmp_path / "zoo")
    assert result.exit_code == 2
    assert "pip install 'edge-fmnist[export]'" in result.stderr
    assert not (tmp_path / "zoo").exists()


def test_a_network_below_its_published_accuracy_fails(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_data: Path
) -> None:
    monkeypatch.setattr("edge_fmnist_export.cli.zoo._rows", lambda *_: ROWS)
    result = cli("zoo", "--output", tmp_path, "--data", tiny_data)
    assert result.exit_code == 1
    assert "below the published accuracy as int8: three" in result.stderr
    assert "| `three` |" in (tmp_path / "zoo.md").read_text("utf-8")


@pytest.fixture(scope="module")
def enough_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return IDX files with as many images as the recipes hold out and a few more, a bar for each class."""
    folder = tmp_path_factory.mktemp("enough")
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 5800), ("t10k", 200)):
        targets = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for index, target in enumerate(targets):
            images[index, 2 * target : 2 * target + 4] = rng.integers(150, 256)
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", targets)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / name).write_bytes(header + array.tobytes())
    return folder


def test_a_network_is_trained_exported_and_put_into_the_table_once(
    warm_command: Callable[..., Any], enough_data: Path, tmp_path: Path
) -> None:
    arguments = ("zoo", "--only", "mlp-128", "--data", enough_data, "--output", tmp_path / "zoo")
    page = tmp_path / "page.md"
    first = warm_command(*arguments, "--table", page, "--json")
    assert first.code == 0, first.stderr
    (network,) = first.json["networks"]
    folder = tmp_path / "zoo" / "mlp-128"
    assert (network["name"], network["parameters"], network["images"]) == ("mlp-128", 101_770, 200)
    assert network["bytes"] == (folder / "int8.tflite").stat().st_size
    assert network["top1"] > 0.86
    assert 0 < network["ratio"] < 100
    assert "`mlp-128` | 101,770" in page.read_text("utf-8")

    weights, facts = (folder / "float.npz").stat().st_mtime_ns, (folder / "zoo.json").stat().st_mtime_ns
    again = warm_command(*arguments, "--json")
    assert again.code == 0, again.stderr
    assert again.json["networks"][0]["sha256"] == network["sha256"]
    assert (folder / "float.npz").stat().st_mtime_ns == weights
    assert (folder / "zoo.json").stat().st_mtime_ns == facts

    # A changed file is written anew from the weights.
    (folder / "int8.tflite").write_bytes(b"something else")
    mended = warm_command(*arguments, "--json")
    assert mended.code == 0, mended.stderr
    assert mended.json["networks"][0]["sha256"] == network["sha256"]
    assert (folder / "float.npz").stat().st_mtime_ns == weights

    # A run of another recipe is neither shown as this one nor overwritten.
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text("utf-8").replace("epochs = 15", "epochs = 16"), "utf-8")
    other = warm_command(*arguments)
    assert other.code == 1
    assert "another recipe (it differs in training)" in other.stderr
    assert f"delete {folder}" in other.stderr
