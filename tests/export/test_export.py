from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import Split, load_split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import CheckError, DataError
from edge_fmnist.model.evaluation import evaluate
from edge_fmnist.model.tflite_graph import read_graph
from edge_fmnist_export.quantize.convert import representative_dataset
from edge_fmnist_export.quantize.parity import compare
from edge_fmnist_export.training.batches import split_validation
from edge_fmnist_export.training.recipe import Recipe, load_recipe

Command = Callable[..., Any]
FORMATS = ("float32", "float16", "dynamic", "int8", "int8-ptq")
INTEGER = ("int8", "int8-ptq")


@pytest.fixture(scope="module")
def export_run(run_command: Command, tiny_run: Path, tiny_data: Path) -> Command:
    """Return a function that exports the tiny run with options, and answers with JSON."""
    return lambda *options, code=0: run_command("export", tiny_run, "--data", tiny_data, "--json", *options, code=code)


@pytest.fixture(scope="module")
def exports(make_once: Callable[..., Path], run_command: Command, tiny_run: Path, tiny_data: Path) -> Path:
    """Return a folder with every format of the tiny run and the command's answer; not to be written to."""

    def make(folder: Path) -> None:
        options = ("--all", "--calibration", 50, "--data", tiny_data)
        answer = run_command("export", tiny_run, *options, "--output", folder, "--json")
        (folder / "answer.json").write_text(answer.stdout, "utf-8")

    return make_once("tiny-exports", make)


@pytest.fixture(scope="module")
def reports(exports: Path) -> dict[str, dict[str, Any]]:
    """Return what the command said of each format."""
    return {report["format"]: report for report in json.loads((exports / "answer.json").read_text("utf-8"))}


@pytest.fixture(scope="module")
def tiny_test(tiny_data: Path) -> Split:
    return load_split(tiny_data, "test")


def model_of(folder: Path, kind: str) -> Path:
    return folder / f"tiny-{kind}.tflite"


@pytest.mark.parametrize("kind", FORMATS)
def test_the_report_is_that_of_the_file(exports: Path, reports: dict[str, Any], tiny_test: Split, kind: str) -> None:
    path, report = model_of(exports, kind), reports[kind]
    content = path.read_bytes()
    assert report["path"] == str(path)
    assert (report["bytes"], report["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    graph = read_graph(content, kind)
    assert report["operators"] == [operator.name for operator in graph.operators]
    assert report["macs"] == graph.macs == 413_920
    classifier = Classifier.load(path)
    assert evaluate(classifier, tiny_test).top1 == pytest.approx(report["top1"])
    assert report["images"] == len(tiny_test)
    assert report["top1"] > 0.8
    assert report["drop_points"] == pytest.approx((report["float_top1"] - report["top1"]) * 100, abs=1e-3)
    expected = "uint8" if kind in INTEGER else "float32"
    assert (str(classifier.input.dtype), str(classifier.output.dtype)) == (expected, expected)
    if kind in INTEGER:
        assert classifier.input.scale == pytest.approx(1 / 255, rel=1e-4)
        assert graph.stray_operators() == []
    else:
        assert any("CONV_2D on FLOAT32" in problem for problem in graph.stray_operators())
        assert graph.output_step is None
    assert graph.unsupported_operators() == []


def test_files_answer_almost_as_the_float_model(reports: dict[str, Any]) -> None:
    for kind, largest in (("float32", 1e-3), ("float16", 0.05), ("dynamic", 0.5)):
        assert reports[kind]["largest_difference"] < largest
        assert (reports[kind]["difference_unit"], reports[kind]["output_step"]) == ("logits", None)
    report = reports["int8-ptq"]
    assert report["difference_unit"] == "quantization steps"
    assert 0 < report["output_step"] < 1
    assert report["largest_difference"] < 6
    assert report["agreement"] > 0.95


@pytest.mark.parametrize("kind", FORMATS)
def test_metadata_describes_the_model(
    exports: Path, reports: dict[str, Any], tiny_run: Path, tiny_data: Path, kind: str
) -> None:
    classifier = Classifier.load(model_of(exports, kind))
    assert classifier.metadata is not None
    settings = classifier.metadata.settings
    assert classifier.labels == LABELS
    assert (settings["name"], settings["architecture"], settings["parameters"]) == ("tiny", "lenet5", 59_086)
    recipe = load_recipe(str(tiny_run / "recipe.toml"))
    whole = {"name": settings["name"], "architecture": settings["architecture"], "description": recipe.description}
    assert Recipe(**settings["recipe"], **whole) == recipe
    assert settings["training"]["data_sha256"] == list(load_split(tiny_data, "train").sha256)
    accuracy = settings["accuracy"]
    assert accuracy["data_sha256"] == list(load_split(tiny_data, "test").sha256)
    assert (accuracy["top1"], accuracy["float_top1"]) == (reports[kind]["top1"], reports[kind]["float_top1"])


def test_calibration_comes_from_training_images_only(exports: Path, tiny_run: Path, tiny_data: Path) -> None:
    recipe = load_recipe(str(tiny_run / "recipe.toml"))
    train, _ = split_validation(load_split(tiny_data, "train"), recipe.data.validation, recipe.seed)
    expected = representative_dataset(train, 50, recipe.seed)
    settings = {kind: Classifier.load(model_of(exports, kind)).metadata.settings for kind in INTEGER}  # type: ignore[union-attr]
    assert settings["int8-ptq"]["representative"] == {"images": 50, "seed": 3, "sha256": expected.sha256}
    assert "representative" not in settings["int8"]


def test_weights_of_four_bits(export_run: Command, exports: Path, tmp_path: Path) -> None:
    answer = export_run("--int4", "--calibration", 50, "--max-drop", 100, "--output", tmp_path)
    (report,) = answer.json
    content = model_of(tmp_path, "int4").read_bytes()
    graph = read_graph(content, "int4")
    # The first convolution and the three Dense layers stay int8.
    assert [tensor.type for tensor in graph.tensors].count("INT4") == 1
    assert graph.stray_operators() == []
    assert report["bytes"] == len(content) < len(model_of(exports, "int8-ptq").read_bytes())
    assert report["top1"] > 0.7
    settings = Classifier.load(model_of(tmp_path, "int4")).metadata.settings  # type: ignore[union-attr]
    assert settings["quantization"].startswith("int4 weights")
    assert settings["representative"]["images"] == 50


@pytest.mark.slow
def test_exporting_again_gives_the_same_bytes(
    run_command: Command, reports: dict[str, Any], tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("--all", "--calibration", 50, "--data", tiny_data)
    answer = run_command("export", tiny_run, *options, "--output", tmp_path, "--json")
    assert {report["format"]: report["sha256"] for report in answer.json} == {
        kind: report["sha256"] for kind, report in reports.items()
    }


def test_no_drop_is_allowed_by_what_is_no_number(export_run: Command, tmp_path: Path) -> None:
    answer = export_run("--float32", "--max-drop", "nan", "--output", tmp_path, code=1)
    assert (answer.json, list(tmp_path.iterdir())) == ([], [])


def test_files_that_fail_replace_nothing_and_are_all_named(export_run: Command, tmp_path: Path) -> None:
    path = tmp_path / "tiny-float32.tflite"
    path.write_bytes(b"the old model")
    answer = export_run("--float32", "--dynamic", "--max-drop", -101, "--output", tmp_path, code=1)
    assert answer.json == []
    assert "float32: accuracy fell by" in answer.stderr
    assert "dynamic: accuracy fell by" in answer.stderr
    assert path.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_other_input_and_output_types(export_run: Command, tiny_test: Split, tmp_path: Path, io: str) -> None:
    path = tmp_path / "other.tflite"
    export_run("--ptq", "--calibration", 50, "--io", io, "-o", path)
    classifier = Classifier.load(path)
    assert (str(classifier.input.dtype), str(classifier.output.dtype)) == (io, io)
    assert read_graph(path.read_bytes(), io).stray_operators() == []
    assert evaluate(classifier, tiny_test).top1 > 0.8


def test_without_test_data_accuracy_is_null(run_command: Command, tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    answer = run_command("export", tiny_run, "--float32", "--output", path, "--json")
    assert "Warning: accuracy is not measured" in answer.stderr
    assert {answer.json[0][key] for key in ("top1", "float_top1", "drop_points", "images", "agreement")} == {None}
    metadata = Classifier.load(path).metadata
    assert metadata is not None
    assert metadata.settings.get("accuracy") is None


def test_a_run_without_qat_points_to_ptq(
    run_command: Command, no_qat_run: tuple[Path, str], tiny_data: Path, tmp_path: Path
) -> None:
    options = (no_qat_run[0], "--data", tiny_data, "--max-drop", 100, "--output", tmp_path)
    answer = run_command("export", *options, "--int8", code=1)
    assert list(tmp_path.iterdir()) == []
    assert "qat.npz" in answer.stderr
    assert "--ptq" in answer.stderr
    run_command("export", *options, "--ptq")
    assert list(tmp_path.iterdir()) == [model_of(tmp_path, "int8-ptq")]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("no-such-run",), 3, "neither a run folder nor a shipped checkpoint"),
        (("{run}", "--ptq"), 3, "no such folder"),
        (("{run}", "--data", "{run}"), 3, "it lacks train-images-idx3-ubyte"),
        (("{data}",), 1, "not a run folder"),
        (("{run}", "--io", "int16"), 2, "expected one of uint8, int8, float32, got 'int16'"),
        (("{run}", "--int8", "--float32", "--output", "x.tflite"), 2, "one file for 2 formats"),
        (("{run}", "--calibration", "9"), 2, "--calibration"),
        (("{run}", "--data", "{data}", "--output", "/proc/files"), 1, "/proc/files: cannot write to this folder"),
    ],
)
def test_what_cannot_be_exported(
    run_command: Command, tiny_run: Path, tiny_data: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    answer = run_command("export", *(option.format(run=tiny_run, data=tiny_data) for option in options), code=code)
    assert answer.stdout == ""
    assert message in answer.stderr
    assert not any(text in answer.stderr for text in ("Traceback", "exporting int8"))


def test_a_written_file_that_is_not_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_fmnist.model.registry import ModelBytes, read_model
    from edge_fmnist.model.tflite_graph import Graph
    from edge_fmnist_export.quantize.exporting import Exporter

    written = ModelBytes(read_model("edge").content, "edge.tflite")
    exporter = Exporter.__new__(Exporter)
    exporter.io, exporter.labels = "uint8", LABELS
    exporter._check("int8", written)
    monkeypatch.setattr(Graph, "stray_operators", lambda _: ["CONV_2D on FLOAT32"])
    with pytest.raises(CheckError, match="int8: not fully quantized: CONV_2D on FLOAT32"):
        exporter._check("int8", written)
    monkeypatch.setattr(Graph, "unsupported_operators", lambda _: ["FlexErf"])
    with pytest.raises(CheckError, match="int8: the written file needs operators that the interpreter lacks: FlexErf"):
        exporter._check("int8", written)
    monkeypatch.undo()
    with pytest.raises(CheckError, match="expected an input of float32, the written file has uint8"):
        exporter._check("float32", written)
    exporter.labels = LABELS[::-1]
    with pytest.raises(CheckError, match="labels or settings cannot be read back"):
        exporter._check("int8", written)


TEN = Split(np.zeros((10, 28, 28), np.uint8), np.arange(10, dtype=np.uint8), ("", ""))


def test_differences_are_in_steps_of_the_output() -> None:
    logits, values = np.eye(10), np.eye(10)
    values[0, :2] = 0.5, 0.75
    classifier = SimpleNamespace(values=lambda _: (values, 0.0))
    parity = compare(cast(Classifier, classifier), logits, TEN, 0.25)
    assert (parity.top1, parity.agreement, parity.largest) == (0.9, 0.9, 3)
    assert (parity.mean, parity.drop_points) == pytest.approx((0.05, 10))


def test_test_images_of_a_class_that_the_model_does_not_have() -> None:
    from edge_fmnist_export.quantize.exporting import Exporter

    with pytest.raises(DataError, match=r"expected test images of the 9 classes .*; got class 9, counted from 0"):
        Exporter.__new__(Exporter)._prepare("mine", None, LABELS[:9], "uint8", TEN)
