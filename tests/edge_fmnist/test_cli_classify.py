from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier
from edge_fmnist.vision.preprocess import preprocess

KEYS = ["answer", "file", "found", "index", "label", "milliseconds", "model", "score", "top"]

RunCli = Callable[..., Any]
Picture = Callable[..., Path]


@pytest.fixture
def model(describe_model: Callable[..., Path]) -> Path:
    return describe_model()


@pytest.fixture
def classify(run_cli: RunCli, model: Path) -> RunCli:
    return lambda *arguments, **options: run_cli("classify", "--model", model, *arguments, **options)


def json_lines(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def photo() -> np.ndarray:
    """Return a photograph of a dark garment on a bright ground, BGR."""
    pixels = np.full((300, 200, 3), 235, np.uint8)
    pixels[60:240, 50:150] = 40, 60, 90
    pixels[120:180, 80:120] = 90, 120, 180
    return pixels


def test_one_file(classify: RunCli, model: Path, picture: Picture, images: np.ndarray) -> None:
    path = picture("shirt.png", images[0])
    result = classify(path)
    expected = Classifier.load(model).predict(images[0])
    assert result.stdout.count("\n") == 1
    assert result.stdout.startswith(f"{path}: {expected.label} {expected.score:.1%}, ")
    assert result.stdout.rstrip().endswith(" ms)")
    assert result.stderr == ""


def test_a_model_without_metadata_is_warned_about(
    run_cli: RunCli, model_path: Callable[[str], Path], picture: Picture, images: np.ndarray
) -> None:
    path = model_path("logits_uint8")
    result = run_cli("classify", "-m", path, picture("a.png", images[0]))
    assert f"Warning: {path} has no labels: using Fashion-MNIST's" in result.stderr


@pytest.mark.parametrize(("top_k", "shown"), [(1, 1), (99, 10)])
def test_top_k(classify: RunCli, picture: Picture, images: np.ndarray, top_k: int, shown: int) -> None:
    path = picture("a.png", images[0])
    assert classify(path, "--top-k", top_k).stdout.count("%") == shown
    top = json_lines(classify(path, "-k", top_k, "--json"))[0]["top"]
    assert len(top) == shown
    assert [entry["score"] for entry in top] == sorted((entry["score"] for entry in top), reverse=True)


def test_json_gives_one_line_for_each_image(
    classify: RunCli, model: Path, picture: Picture, images: np.ndarray
) -> None:
    paths = [picture(f"{i}.png", images[i]) for i in range(3)]
    lines = json_lines(classify(*paths, "--json"))
    expected = [Classifier.load(model).predict(image) for image in images[:3]]
    assert [line["file"] for line in lines] == [str(path) for path in paths]
    assert [line["label"] for line in lines] == [prediction.label for prediction in expected]
    for line, prediction in zip(lines, expected, strict=True):
        assert sorted(line) == KEYS
        assert (line["found"], line["model"], line["answer"]) == (True, str(model), prediction.label)
        assert line["score"] == pytest.approx(prediction.score, abs=1e-6)
        assert line["label"] == LABELS[line["index"]] == line["top"][0]["label"]
        assert line["milliseconds"] > 0


def test_standard_input(classify: RunCli, picture: Picture, images: np.ndarray) -> None:
    path = picture("a.png", images[5])
    from_stdin = json_lines(classify("-", "--json", stdin=path.read_bytes()))[0]
    from_file = json_lines(classify(path, "--json"))[0]
    assert from_stdin.pop("file") == "-"
    assert from_stdin["top"] == from_file["top"]


@pytest.mark.parametrize("stdin", [b"", b"no picture"])
def test_standard_input_without_a_picture(classify: RunCli, stdin: bytes) -> None:
    assert classify("-", stdin=stdin, code=1).stderr.startswith("Error: -: ")


def test_a_photo_goes_through_preprocessing(classify: RunCli, model: Path, picture: Picture) -> None:
    line = json_lines(classify(picture("photo.png", photo()), "-k", 10, "--json"))[0]
    garment = preprocess(photo())
    assert garment.found
    assert line["top"] == Classifier.load(model).predict(garment.image).as_dict(10)["top"]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 500), np.uint8),
        np.full((60, 80, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8),
    ],
    ids=["a line", "white", "noise"],
)
def test_no_garment_is_an_answer(classify: RunCli, model: Path, picture: Picture, pixels: np.ndarray) -> None:
    path = picture("empty.png", pixels)
    result = classify(path)
    assert (result.stdout, result.stderr) == (f"{path}: no garment found\n", "")
    (line,) = json_lines(classify(path, "--json"))
    assert sorted(line) == KEYS
    assert (line["found"], line["model"], line["score"], line["top"]) == (False, str(model), None, [])
    assert [line[key] for key in ("answer", "label", "index", "milliseconds")] == [None] * 4


def test_below_the_threshold_the_answer_is_unknown(
    run_cli: RunCli, describe_model: Callable[..., Path], picture: Picture, images: np.ndarray
) -> None:
    model = describe_model(calibration={"temperature": 1.0, "threshold": 1.0})
    path = picture("a.png", images[0])
    label = Classifier.load(model).predict(images[0]).label
    result = run_cli("classify", "-m", model, path, "-k", 1)
    assert result.stdout.startswith(f"{path}: unknown; perhaps {label} ")
    line = json_lines(run_cli("classify", "-m", model, path, "--json"))[0]
    assert (line["answer"], line["label"], line["found"]) == ("unknown", label, True)


@pytest.fixture
def two_models(ship: Callable[..., Path], describe_model: Callable[..., Path]) -> None:
    """Ship an ``edge`` and a ``camera`` that are told apart by their labels."""
    camera = describe_model(labels=tuple(f"camera {label}" for label in LABELS))
    edge = describe_model("logits_int8", labels=tuple(f"edge {label}" for label in LABELS))
    ship(edge=edge, camera=camera)


@pytest.mark.usefixtures("two_models")
def test_the_kind_of_picture_chooses_the_model(run_cli: RunCli, picture: Picture, images: np.ndarray) -> None:
    paths = [picture("photo.jpg", photo()), picture("image.png", images[0]), picture("photo.png", photo()[..., 0])]
    lines = json_lines(run_cli("classify", *paths, "--json"))
    assert [line["model"] for line in lines] == ["camera", "edge", "camera"]
    assert [line["label"].partition(" ")[0] for line in lines] == ["camera", "edge", "camera"]
    lines = json_lines(run_cli("classify", "-m", "edge", *paths, "--json"))
    assert [line["model"] for line in lines] == ["edge"] * 3


def test_a_model_that_is_missing_ends_the_command(
    run_cli: RunCli,
    ship: Callable[..., Path],
    describe_model: Callable[..., Path],
    picture: Picture,
    images: np.ndarray,
) -> None:
    ship(edge=describe_model())
    paths = [picture("image.png", images[0]), picture("photo.png", photo()), picture("other.png", photo())]
    result = run_cli("classify", *paths, code=3)
    assert result.stdout.startswith(f"{paths[0]}: ")
    assert result.stdout.count("\n") == 1
    assert result.stderr == "Error: camera: neither a file nor a shipped model (shipped: edge)\n"


@pytest.fixture
def mixed(picture: Picture, images: np.ndarray, tmp_path: Path) -> list[Path]:
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("not a picture", "utf-8")
    cut.write_bytes(cv2.imencode(".png", images[0])[1].tobytes()[:40])
    return [picture("a.png", images[0]), text, tmp_path / "missing.png", cut, picture("z.png", images[1])]


def test_unreadable_files_are_reported_and_the_rest_classified(classify: RunCli, mixed: list[Path]) -> None:
    result = classify(*mixed, code=1)
    assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == [str(mixed[0]), str(mixed[4])]
    errors = result.stderr.splitlines()
    assert [line.partition(": ")[0] for line in errors] == ["Error"] * 3
    for path, message in zip(mixed[1:4], ("not a picture", "no such file", "damaged PNG picture"), strict=True):
        assert any(line.startswith(f"Error: {path}: ") and message in line for line in errors)
    lines = json_lines(classify(*mixed, "--json", code=1))
    assert [line["file"] for line in lines] == [str(path) for path in mixed]
    assert ["error" in line for line in lines] == [False, True, True, True, False]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(classify: RunCli, picture: Picture, images: np.ndarray) -> None:
    path = picture("a.png", images[0])
    path.chmod(0)
    assert f"Error: {path}: cannot be read" in classify(path, code=1).stderr


def test_files_of_a_folder_that_are_left_out_are_counted(
    classify: RunCli, picture: Picture, images: np.ndarray, tmp_path: Path
) -> None:
    for name in ("b.png", "a.bmp", "c.PNG"):
        picture(f"folder/{name}", images[0])
    folder = tmp_path / "folder"
    (folder / "notes.txt").write_text("not a picture", "utf-8")
    (folder / "a.bmp").rename(folder / "a")
    result = classify(folder, "--json")
    assert [Path(line["file"]).name for line in json_lines(result)] == ["a", "b.png", "c.PNG"]
    assert result.stderr == f"Warning: {folder}: 1 files skipped: 1 .txt\n"


def test_a_picture_that_is_a_link_to_nothing_is_an_error(
    classify: RunCli, picture: Picture, images: np.ndarray, tmp_path: Path
) -> None:
    link = picture("folder/a.png", images[0]).with_name("b.png")
    link.symlink_to(tmp_path / "unplugged.png")
    for argument in (link.parent, f"{link.parent}/*.png"):
        result = classify(argument, "--json", code=1)
        assert [("error" in line) for line in json_lines(result)] == [False, True]
        assert f"Error: {link}: no such file" in result.stderr


def test_unusual_28x28_images_are_warned_about_once(classify: RunCli, picture: Picture) -> None:
    white = np.full((28, 28), 255, np.uint8)
    paths = [picture(name, white) for name in ("a.png", "b.png")]
    result = classify(*paths)
    assert result.stdout.count("\n") == 2
    assert result.stderr.count("Warning") == 1
    assert f"Warning: {paths[0]}: bright border" in result.stderr


def test_bad_arguments_among_good_ones(classify: RunCli, picture: Picture, images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paths = ["a" * 300, tmp_path / "empty", tmp_path / "nul*", picture("a.png", images[0])]
    result = classify(*paths, "--json", code=1)
    lines = json_lines(result)
    assert [line["file"] for line in lines] == [str(path) for path in paths]
    assert ["error" in line for line in lines] == [True, True, True, False]
    assert f"Error: {paths[1]}: no pictures in this folder" in result.stderr
    assert f"Error: {paths[2]}: no file match" in result.stderr


def test_the_model_may_be_the_first_argument(
    run_cli: RunCli, ship: Callable[..., Path], model: Path, picture: Picture, images: np.ndarray
) -> None:
    ship(edge=model)
    path = picture("a.png", images[0])
    for name in (str(model), "edge"):
        assert json_lines(run_cli("classify", name, path, "--json"))[0]["model"] == name


def test_a_reader_that_closes_the_pipe_ends_it_well(model: Path, picture: Picture, images: np.ndarray) -> None:
    paths = [str(picture(f"{i}.png", images[i])) for i in range(3)]
    command = [sys.executable, "-m", "edge_fmnist", "classify", "-m", str(model), "missing.png", *paths * 20]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read().startswith(b"Error: missing.png: ")
    # That of the pictures so far.
    assert process.returncode == 1


def test_classify_and_live_give_the_same_answers(
    run_cli: RunCli, model: Path, picture: Picture, images: np.ndarray, tmp_path: Path
) -> None:
    for i in range(20):
        picture(f"folder/{i:02}.png", images[i])
    picture("folder/photo.jpg", photo())
    picture("folder/photo.png", np.dstack([photo(), (photo()[..., 0] < 200).astype(np.uint8) * 255]))
    classified = json_lines(run_cli("classify", "-m", model, tmp_path / "folder", "--json"))
    live = json_lines(run_cli("live", "--model", model, "--source", tmp_path / "folder", "--jsonl", "-", "--quiet"))
    assert [line["label"] for line in live] == [line["answer"] for line in classified]
    assert [line["score"] for line in live] == pytest.approx([line["score"] for line in classified], abs=1e-3)


@pytest.mark.usefixtures("two_models")
@pytest.mark.parametrize(("name", "model"), [("image.png", "edge"), ("photo.jpg", "camera")])
def test_live_chooses_the_model_as_classify_does(
    run_cli: RunCli, picture: Picture, images: np.ndarray, tmp_path: Path, name: str, model: str
) -> None:
    picture(f"folder/{name}", images[0] if model == "edge" else photo())
    # What cannot be read does not decide.
    (tmp_path / "folder" / "a.png").write_bytes(b"not a picture")
    (classified,) = json_lines(run_cli("classify", tmp_path / "folder" / name, "--json"))
    (live,) = json_lines(run_cli("live", "--source", tmp_path / "folder", "--jsonl", "-", "--quiet"))
    assert live["label"] == classified["answer"]
    assert live["label"].startswith(model)


@pytest.mark.usefixtures("two_models")
def test_live_chooses_the_model_for_each_picture_of_a_folder(
    run_cli: RunCli, picture: Picture, images: np.ndarray, tmp_path: Path
) -> None:
    for name, pixels in (("a.png", images[0]), ("b.png", photo()), ("c.png", images[1])):
        picture(f"folder/{name}", pixels)
    live = json_lines(run_cli("live", "--source", tmp_path / "folder", "--jsonl", "-", "--quiet"))
    assert [line["label"].partition(" ")[0] for line in live] == ["edge", "camera", "edge"]
    assert [line["label"] in line["scores"] for line in live] == [True] * 3


@pytest.mark.parametrize(
    "options", [["--top-k", "0"], ["--threads", "0"], ["--threads", "65"], ["--interpreter", "onnx"], ["--nonsense"]]
)
def test_bad_options(classify: RunCli, picture: Picture, images: np.ndarray, options: list[str]) -> None:
    assert classify(picture("a.png", images[0]), *options, code=2).stderr != ""


def test_no_images(run_cli: RunCli) -> None:
    assert "Missing argument" in run_cli("classify", code=2).stderr
    assert "expected images after the model edge" in run_cli("classify", "edge", code=2).stderr


def test_models_of_other_formats_as_the_first_argument(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    result = run_cli("classify", tmp_path / "model.h5", "absent.png", code=1)
    assert result.stderr.startswith(f"Error: {tmp_path / 'model.h5'}: a Keras model (.h5), not a .tflite file; convert")


def test_control_characters_in_file_names_do_not_reach_the_terminal(
    run_cli: Callable[..., Any], picture: Callable[..., Path]
) -> None:
    # Bright borders are warned about, with the name.
    good = picture("a\x1b[31mb.png", np.full((28, 28), 255, np.uint8))
    bad = good.with_name("c\x9b\n.png")
    bad.write_bytes(b"junk")
    result = run_cli("classify", good, bad, "--model", "edge", code=1)
    assert r"a\x1b[31mb.png: " in result.stdout
    assert r"a\x1b[31mb.png: " in result.stderr
    assert r"c\x9b" in result.stderr
    assert not {"\x1b", "\x9b"} & set(result.stdout + result.stderr)
