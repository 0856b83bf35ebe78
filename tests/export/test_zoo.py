from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.data import dataset
from edge_fmnist.errors import RunError, UsageError
from edge_fmnist.model.registry import read_model
from edge_fmnist_export.search import zoo
from edge_fmnist_export.search.zoo import PUBLISHED, zoo_page
from edge_fmnist_export.training.recipe import load_recipe
from edge_fmnist_export.training.run_folder import open_run


def row(name: str, top1: float) -> dict[str, Any]:
    """Return a row of a network that reached this top-1 accuracy as int8."""
    published, source = PUBLISHED[name]
    return {
        "name": name, "published": published, "source": source, "float_top1": 0.9, "top1": top1, "bytes": 12_345,
        "parameters": 1234, "macs": 56_789, "epochs": [30, 3], "microseconds": 12.34, "ratio": 0.5,
        "met": top1 >= (published or 0),
    }  # fmt: skip


ROWS = [row("mlp-128", 0.86), row("cnn-1", 0.1), row("lenet5", 0.9125)]


@pytest.mark.slow
def test_a_network_is_exported_once_and_again_when_its_file_is_damaged(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "lenet5"))
    train, test = dataset.load("train", tiny_data), dataset.load("test", tiny_data)
    model, files, times = run / "int8.tflite", [], []
    for damage in (False, False, True):
        if damage:
            model.write_bytes(b"something else")
        zoo.build_network(run, open_run(run).recipe, train, test)
        files.append(zoo.finished_file(run, test))
        times.append(model.stat().st_mtime_ns)
    assert files[0] == files[1] == files[2]
    assert times[0] == times[1] < times[2]
    # The file was not evaluated on these images.
    assert zoo.finished_file(run, train) is None
    (network,) = zoo.finished_networks(tmp_path, test, read_model("nano").content)
    found = [network[key] for key in ("name", "parameters", "images", "epochs", "bytes")]
    assert found == ["lenet5", 59_086, 200, [2, 2], model.stat().st_size]
    assert 0 < network["ratio"] < 100
    # Of another data set than the published accuracy.
    assert network["published"] is None
    assert network["met"]
    for damaged in ("{}", "[]", '{"float": null}'):
        (run / "metrics.json").write_text(damaged, "utf-8")
        with pytest.raises(RunError, match=r"metrics\.json: (without the phase float|expected|damaged)"):
            zoo.finished_networks(tmp_path, test, read_model("nano").content)


def test_every_published_network_has_a_recipe_of_its_architecture() -> None:
    assert list(PUBLISHED) == ["mlp-128", "cnn-dropout", "cnn-93k", "cnn-1", "cnn-2", "cnn-3", "lenet5"]
    for name in PUBLISHED:
        recipe = load_recipe(name)
        assert (recipe.name, recipe.architecture) == (name, name)
        assert recipe.qat.epochs > 0


def test_a_page_keeps_what_is_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    first = zoo_page(page, ROWS[:1])
    assert first.startswith("# The zoo")
    page.write_text(f"before\n{first}after\n", "utf-8")
    text = zoo_page(page, ROWS)
    assert text.startswith("before\n# The zoo")
    assert text.endswith("-->\nafter\n")
    assert "| `mlp-128` | 1,234 | 56,789 | 86 % | 90.00 % | 86.00 % | 12,345 | 12.3 | 0.50 | 30 + 3 |\n" in text
    assert "| `cnn-1` | 1,234 | 56,789 | not given |" in text
    assert text.count("| `mlp-128` |") == text.count("| `lenet5` |") == 1
    assert f"- `lenet5`: {PUBLISHED['lenet5'][1]}" in text


@pytest.mark.parametrize("content", ['{"name": "mine"}', "[]", "nonsense"])
def test_a_json_file_of_somebody_else_is_not_replaced(tmp_path: Path, content: str) -> None:
    page = tmp_path / "package.md"
    page.write_text(zoo_page(page, ROWS), "utf-8")
    (tmp_path / "package.json").write_text(content, "utf-8")
    with pytest.raises(UsageError, match=r"package\.json: exists, and is not of an earlier table"):
        zoo_page(page, ROWS)
    (tmp_path / "package.json").write_text('{"networks": []}', "utf-8")
    zoo_page(page, ROWS)


def test_the_page_of_the_repository_has_the_markers() -> None:
    path = Path(__file__).parents[2] / "export" / "ZOO.md"
    assert "| `lenet5` | 1,234 |" in zoo_page(path, ROWS)


@pytest.mark.parametrize("content", ["", "text\n", "<!-- zoo: do not edit above -->\n", "\udcff"])
def test_a_page_without_markers_is_refused(tmp_path: Path, content: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(content, "utf-8", errors="surrogateescape")
    with pytest.raises(UsageError, match=r"page\.md: (expected a page with the lines|cannot be read as text)"):
        zoo_page(page, ROWS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "resnet"), "expected a network of the zoo (mlp-128"),
        (("--table", "zoo.txt"), "expected the name of a Markdown file"),
    ],
)
def test_options_that_cannot_work(run_cli: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    result = run_cli("zoo", *arguments, code=2)
    assert message in result.stderr


def test_a_network_below_its_published_accuracy_fails(
    run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_data: Path
) -> None:
    built = []
    monkeypatch.setattr("edge_fmnist_export.search.zoo.build_network", lambda folder, *_: built.append(folder.name))
    monkeypatch.setattr("edge_fmnist_export.search.zoo.finished_networks", lambda *_: ROWS)
    monkeypatch.setattr("edge_fmnist_export.training.training_data.subsets", lambda *_: None)
    monkeypatch.setattr("edge_fmnist_export.training.backend.warm_up_keras", lambda: None)
    result = run_cli(
        "zoo", "--only", "lenet5", "--only", "cnn-1", "--output", tmp_path, "--data", tiny_data, "--json", code=1
    )
    assert "int8 below the published accuracy: lenet5 (of 7 networks)" in result.stderr
    assert built == ["cnn-1", "lenet5"]
    assert "| `lenet5` |" in (tmp_path / "zoo.md").read_text("utf-8")
    written = json.loads((tmp_path / "zoo.json").read_text("utf-8"))
    assert written == json.loads(result.stdout)
    assert written["networks"] == ROWS
