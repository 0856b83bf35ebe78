from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier
from edge_fmnist.cli import console
from edge_fmnist.data.dataset import load_split
from edge_fmnist.model.metadata import FORMAT, embed, without_metadata
from edge_fmnist.model.registry import read_model
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist.vision.read_image import read_image

RunCli = Callable[..., Any]


@pytest.fixture
def model(model_path: Callable[[str], Path]) -> str:
    return str(model_path("logits_uint8"))


def test_text(run_cli: RunCli, model: str, small_data: Path) -> None:
    result = run_cli("evaluate", model, "--data", small_data)
    assert " top-1 on 40 images, " in result.output
    assert f"{Path(model).stat().st_size:,} bytes" in result.output
    assert "Confusion matrix: rows are true classes" in result.output
    for label in LABELS:
        assert label in result.output


@pytest.mark.parametrize(("split", "images"), [("test", 40), ("train", 60)])
def test_json(run_cli: RunCli, model: str, small_data: Path, split: str, images: int) -> None:
    result = run_cli("evaluate", model, "--data", small_data, "--split", split, "--json")
    (entry,) = json.loads(result.stdout)
    data = load_split(small_data, "test" if split == "test" else "train")
    predicted = Classifier.load(model).predict_batch(data.images).indexes
    assert (entry["model"], entry["split"], entry["images"]) == (model, split, images)
    assert entry["top1"] == pytest.approx(float(np.mean(predicted == data.targets)), abs=1e-6)
    assert list(entry["predicted_histogram"].values()) == np.bincount(predicted, minlength=10).tolist()
    confusion = np.array(entry["confusion"])
    assert confusion.sum(axis=1).tolist() == np.bincount(data.targets, minlength=10).tolist()
    assert [row["label"] for row in entry["classes"]] == list(LABELS)
    assert entry["images_per_second"] > 0


def test_a_model_of_another_data_set_is_warned_about(run_cli: RunCli, model: str, small_data: Path) -> None:
    warning = "accuracy is measured on another data set than it was trained on"
    # Made of a part of Fashion-MNIST, which the shipped model records in its file; the small model records nothing.
    assert warning in run_cli("evaluate", "edge", "--data", small_data).stderr
    assert warning not in run_cli("evaluate", model, "--data", small_data).stderr


def test_the_shipped_model_is_the_default(
    run_cli: RunCli, ship: Callable[..., Path], model: str, small_data: Path
) -> None:
    ship(edge=Path(model))
    (entry,) = json.loads(run_cli("evaluate", "--data", small_data, "--json").stdout)
    assert entry["model"] == "edge"


def test_a_failing_model_among_good_ones(
    run_cli: RunCli, model: str, model_path: Callable[[str], Path], small_data: Path
) -> None:
    models = [model, "no-such-model", model_path("logits_int8")]
    result = run_cli("evaluate", *models, "--data", small_data, code=3)
    assert result.output.count(" top-1 on 40 images") == 2
    assert "Error: no-such-model: neither a file nor a shipped model" in result.output
    result = run_cli("evaluate", model_path("input_32"), model, "--data", small_data, "--json", code=1)
    assert [entry["model"] for entry in json.loads(result.stdout)] == [model]
    assert "expected a model with input (1, 28, 28, 1) or another of 784 values" in result.output


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_leaves_early_keeps_the_exit_code(
    run_cli: RunCli, model: str, small_data: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object, **__: object) -> None:
        raise BrokenPipeError

    for name in ("show_table", "emit_json"):
        monkeypatch.setattr(console, name, leave)
    run_cli("evaluate", model, "missing", "--data", small_data, *options, code=3)


def test_a_model_of_fewer_classes_than_the_data(
    run_cli: RunCli, describe_model: Callable[..., Path], small_data: Path
) -> None:
    path = describe_model("five_classes", labels=("a", "b", "c", "d", "e"))
    result = run_cli("evaluate", path, "--data", small_data, code=1)
    assert "expected labels of the model's 5 classes, got label 9" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "Test"], "expected test or train, got 'Test'"),
        (["--threads", "0"], "--threads"),
        (["--interpreter", "onnx"], "unknown interpreter 'onnx'"),
    ],
)
def test_bad_options(run_cli: RunCli, model: str, small_data: Path, options: list[str], message: str) -> None:
    assert message in run_cli("evaluate", model, "--data", small_data, *options, code=2).stderr


@pytest.fixture
def photos(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a folder of photographs, three known garments, a hat and a bare floor."""
    garment = np.full((160, 120, 3), (200, 205, 210), np.uint8)
    empty = garment.copy()
    garment[30:130, 35:85] = 120, 60, 40
    for name, pixels in {"t-shirt/a": garment, "t-shirt/b": garment, "shoes/a": empty, "hat/a": garment}.items():
        picture(f"photos/validation/{name}.png", pixels)
    picture("photos/train/dress/a.png", garment)
    return tmp_path / "photos"


def test_photographs_in_text(run_cli: RunCli, model: str, photos: Path) -> None:
    result = run_cli("evaluate", model, "--photos", photos)
    assert f"{model}: 0.0% top-1 on 3 photographs, AUROC known/unknown " in result.output
    assert "threshold 0.00 rejects 0.0% of correct predictions" in result.output
    for cell in ("t-shirt", "T-shirt/top", "shoes", "Sandal or Sneaker or Ankle boot", "hat", "no garment", "unknown"):
        assert cell in result.output


def test_photographs_in_json(run_cli: RunCli, describe_model: Callable[..., Path], photos: Path) -> None:
    # Labels by which the model is right about the shirts, and a threshold that leaves all unsaid.
    shirt = read_image(str(photos / "validation" / "t-shirt" / "a.png"))
    index = Classifier.load(describe_model()).predict(preprocess(shirt).image).index
    labels = tuple(np.roll(LABELS, index))
    path = describe_model(labels=labels, calibration={"temperature": 1.5, "threshold": 1.0})
    (entry,) = json.loads(run_cli("evaluate", path, "--photos", photos, "--json").stdout)
    assert (entry["model"], entry["split"], entry["images"]) == (str(path), "validation", 3)
    assert (entry["top1"], entry["false_reject_rate"], entry["threshold"]) == (0.666667, 1.0, 1.0)
    kinds = {kind["garment"]: (kind["right"], kind["images"], kind["answered"]) for kind in entry["garments"]}
    assert kinds == {"t-shirt": (2, 2, 0), "shoes": (0, 1, 0), "hat": (1, 1, 0), "no garment": (3, 3, 0)}
    assert entry["garments"][-1]["labels"] == []
    # The hat looks like the shirts, and the shoes like the floor.
    assert entry["auroc"] == pytest.approx((2 * 3.5 + 1.5) / 12, abs=1e-6)


def test_camera_is_the_default_for_photographs(
    run_cli: RunCli, ship: Callable[..., Path], model: str, photos: Path
) -> None:
    ship(edge=Path(model), camera=Path(model))
    (entry,) = json.loads(run_cli("evaluate", "--photos", photos, "--json").stdout)
    assert entry["model"] == "camera"


@pytest.mark.parametrize(
    ("folder", "options", "split", "images"),
    [
        (".", [], "validation", 3),
        (".", ["--split", "train"], "train", 1),
        ("validation", [], "validation", 3),
        ("train", [], "train", 1),
    ],
)
def test_which_photographs(
    run_cli: RunCli, model: str, photos: Path, folder: str, options: list[str], split: str, images: int
) -> None:
    (entry,) = json.loads(run_cli("evaluate", model, "--photos", photos / folder, *options, "--json").stdout)
    assert (entry["split"], entry["images"]) == (split, images)


def test_a_damaged_photograph_is_reported_and_the_rest_evaluated(run_cli: RunCli, model: str, photos: Path) -> None:
    path = photos / "validation" / "t-shirt" / "a.png"
    path.write_bytes(path.read_bytes()[:50])
    result = run_cli("evaluate", "--model", model, "--photos", photos, "--json", code=1)
    assert f"Error: {path}: damaged PNG picture" in result.stderr
    (entry,) = json.loads(result.stdout)
    assert entry["images"] == 2
    assert str(path) in entry["unreadable"][0]


def test_data_and_photographs_at_once(run_cli: RunCli, model: str, small_data: Path, photos: Path) -> None:
    result = run_cli("evaluate", model, "--data", small_data, "--photos", photos, code=2)
    assert "expected --data or --photos, got both" in result.output


@pytest.mark.parametrize(("labels", "code"), [(LABELS[::-1], 2), (LABELS, 0)])
def test_a_model_of_own_classes_is_not_measured_on_the_data_set(
    run_cli: RunCli, small_data: Path, tmp_path: Path, labels: tuple[str, ...], code: int
) -> None:
    content, path = read_model("nano").content, tmp_path / "taught.tflite"
    settings = {"format": FORMAT, "output": "logits", "taught": {"parent": "nano"}}
    path.write_bytes(embed(without_metadata(content), settings, labels))
    done = run_cli("evaluate", path, "--data", small_data, code=code)
    assert ("its classes are not those of Fashion-MNIST" in done.stderr) == bool(code)
