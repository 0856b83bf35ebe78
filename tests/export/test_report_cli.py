from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist import extras
from edge_fmnist.model.registry import read_model, shipped_models

pytestmark = pytest.mark.slow

Cli = Callable[..., Any]
SHORT = ("--only", "training", "--only", "result", "--only", "gallery")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model file without a run, so that TensorFlow is not needed."""
    return Path(shutil.copy(shipped_models()["edge"].path, tmp_path / "mine.tflite"))


def test_report_is_written_and_cached(cli: Cli, model: Path, small_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = cli("report", model, "--data", small_data, "--output", output, *SHORT, "--json")
    assert first.exit_code == 0, first.stderr
    summary = json.loads(first.stdout)
    assert summary == json.loads((output / "report.json").read_text("utf-8"))
    assert (summary["name"], summary["run"], summary["failures"]) == ("mine", None, {})
    assert list(summary["sections"]) == ["result", "gallery", "training"]
    assert summary["peak_memory_bytes"] > 20e6
    html = (output / "index.html").read_text("utf-8")
    assert html.index("Quantization drop") < html.index("<h2>Result") < html.index("<h2>Training")
    assert html.count("<img ") == html.count('src="data:image/svg+xml;base64,') == 8
    assert (output / "result" / "confusion.csv").is_file()
    second = json.loads(cli("report", model, "--data", small_data, "--output", output, *SHORT, "--json").stdout)
    assert all(section["cached"] for section in second["sections"].values())
    assert (output / "index.html").read_text("utf-8").count("<img ") == 8


def test_files_of_somebody_else_are_not_replaced(cli: Cli, model: Path, small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine", "utf-8")
    done = cli("report", model, "--data", small_data, "--output", tmp_path, *SHORT)
    assert done.exit_code == 2
    assert "holds other files (index.html)" in done.stderr
    assert (tmp_path / "index.html").read_text("utf-8") == "mine"


def test_files_in_the_folder_of_a_section_are_not_replaced(
    cli: Cli, model: Path, small_data: Path, tmp_path: Path
) -> None:
    for name, content in {"history.csv": "mine", "section.json": '{"mine": 1}'}.items():
        path = tmp_path / "training" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")
        done = cli("report", model, "--data", small_data, "--output", tmp_path, *SHORT)
        assert (done.exit_code, path.read_text("utf-8")) == (2, content)
        assert re.search(r"training: holds other files \((history\.csv|section\.json)\)", done.stderr)


@pytest.mark.parametrize("run", ["nano", "max"])
def test_a_run_of_another_model_is_refused(cli: Cli, model: Path, small_data: Path, tmp_path: Path, run: str) -> None:
    for wanted in ("edge", model):
        done = cli("report", wanted, "--run", run, "--data", small_data, "--output", tmp_path / "out", *SHORT)
        assert done.exit_code == 2
        assert f"--run {run}: {wanted} was not exported from this run" in done.stderr


def test_human_readable_output(
    run_cli: Cli, model: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run_cli("report", model, "--data", small_data, "--only", "training")
    assert "seconds to compute" in answer.stdout
    assert "Report: reports/mine/index.html" in answer.stderr
    assert (tmp_path / "reports" / "mine" / "index.html").is_file()


def test_progress_that_cannot_be_written_does_not_end_it(model: Path, small_data: Path, tmp_path: Path) -> None:
    words = ["report", model, "--data", small_data, "--output", tmp_path / "out", "--only", "training"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "edge_fmnist", *map(str, words)], stderr=full, stdout=subprocess.PIPE, check=False
        )
    assert ended.returncode == 0
    assert (tmp_path / "out" / "index.html").is_file()


def test_another_data_set_is_reported(cli: Cli, model: Path, small_data: Path, tmp_path: Path) -> None:
    options = ("--data", small_data, "--output", tmp_path / "out", "--only", "training")
    warning = "edge: accuracy is measured on another data set than it was trained on"
    assert warning in cli("report", "edge", *options).stderr.replace("\n", " ")
    assert warning not in cli("report", model, *options).stderr.replace("\n", " ")
    # Without a run, the file's metadata counts.
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(read_model("edge").content)
    assert "copy: accuracy is measured on another" in cli("report", copy, *options).stderr.replace("\n", " ")


def test_labels_replace_the_class_names(cli: Cli, model: Path, small_data: Path, tmp_path: Path) -> None:
    # Not a formula.
    names = [f"digit {index}" for index in range(9)] + [r"$\foo$"]
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(names) + "\n", "utf-8")
    options = ("--data", small_data, "--labels", labels, "--output", tmp_path / "out", "--only", "result", "--json")
    summary = json.loads(cli("report", model, *options).stdout)
    assert [entry["label"] for entry in summary["sections"]["result"]["classes"]] == names


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 3, "nothing: not a run folder, a model file, a shipped model (edge, camera"),
        (["{model}", "--run", "nothing"], 3, "nothing: neither a run folder nor a shipped checkpoint"),
        (["{folder}"], 1, "not a run folder, it has no recipe.toml"),
        (["{model}", "--only", "dta"], 2, "'dta': no such section"),
        (["{model}", "--data", "{folder}"], 3, "not a data set folder"),
        (["{broken}", "--data", "{data}"], 1, "broken.tflite"),
    ],
)
def test_bad_arguments_are_reported(
    run_cli: Cli, model: Path, small_data: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    folder, broken = tmp_path / "folder", tmp_path / "broken.tflite"
    folder.mkdir()
    broken.write_bytes(b"no model")
    places = {"model": model, "folder": folder, "broken": broken, "data": small_data}
    answer = run_cli(
        "report", *[argument.format(**places) for argument in arguments], "--output", tmp_path / "out", code=code
    )
    assert message in answer.stderr
    assert not (tmp_path / "out" / "index.html").exists()


def test_an_output_that_cannot_be_created_is_reported(
    run_cli: Cli, model: Path, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = run_cli("report", model, "--data", small_data, "--only", "training", "--output", tmp_path / "file", code=2)
    assert f"{tmp_path / 'file'}: expected a folder to write to, this is a file" in answer.stderr
    assert "Report on" not in answer.stderr


def test_a_failed_section_decides_the_exit_code(
    run_cli: Cli, model: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_fmnist.errors import MissingExtraError
    from edge_fmnist_export.report.base import ReportContext, ReportSection
    from edge_fmnist_export.report.sections import gallery

    def fail(context: ReportContext) -> ReportSection:
        raise MissingExtraError("report", "umap", "the section")

    monkeypatch.setattr(gallery, "build", fail)
    answer = run_cli("report", model, "--data", small_data, "--output", tmp_path / "out", *SHORT, code=2)
    assert "Error: gallery: the section needs the package 'umap'" in answer.stderr
    assert (tmp_path / "out" / "index.html").is_file()


def test_without_the_extra_the_command_says_what_to_install(
    run_cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    answer = run_cli("report", model, code=2)
    assert "pip install 'edge-fmnist[report]'" in answer.stderr


def test_a_run_is_exported_and_compared_with_its_float_model(
    run_command: Callable[..., Any], tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("--data", tiny_data, "--output", tmp_path / "out", "--only", "data", *SHORT, "--json")
    mine = tmp_path / "out" / "tiny-int8.tflite"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    assert "holds other files (tiny-int8.tflite)" in run_command("report", tiny_run, *options, code=2).stderr
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    first = run_command("report", tiny_run, *options)
    sections = first.json["sections"]
    assert Path(first.json["model"]) == tmp_path / "out" / "tiny-int8.tflite"
    assert sections["data"]["images"] == {"train": 500, "validation": 100, "test": 200}
    assert sections["training"]["epochs"] == 4
    assert set(sections["training"]["verdict"]) == {"float", "qat"}
    facts = sections["result"]["facts"]
    evaluated = run_command("evaluate", first.json["model"], "--data", tiny_data, "--json").json[0]
    assert facts["top-1 accuracy"] == pytest.approx(evaluated["top1"], abs=1e-6)
    exported = run_command("export", tiny_run, "--data", tiny_data, "--output", tmp_path, "--max-drop", 100, "--json")
    assert facts["float model: top-1 accuracy"] == pytest.approx(exported.json[0]["float_top1"], abs=1e-6)
    agreement = facts["same prediction by file and float model"]
    assert agreement == pytest.approx(exported.json[0]["agreement"], abs=1e-6)
    assert sections["gallery"]["differing"] == round((1 - agreement) * 200)
    # The file of this very run is not exported again.
    written = Path(first.json["model"]).stat().st_mtime_ns
    second = run_command("report", tiny_run, *options)
    assert Path(first.json["model"]).stat().st_mtime_ns == written
    assert all(section["cached"] for section in second.json["sections"].values())


def test_a_run_without_qat_is_quantized_after_training(
    run_command: Callable[..., Any], no_qat_run: tuple[Path, str], tiny_data: Path, tmp_path: Path
) -> None:
    options = ("--data", tiny_data, "--output", tmp_path / "out", "--only", "training", "--json")
    answer = run_command("report", no_qat_run[0], *options)
    assert answer.json["model"].endswith("tiny-int8-ptq.tflite")
    assert list(answer.json["sections"]["training"]["verdict"]) == ["float"]
