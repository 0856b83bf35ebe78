from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.data.labels import LABELS
from edge_fmnist.data.samples import bag
from edge_fmnist.errors import UsageError
from edge_fmnist_export import architectures
from edge_fmnist_export.report.explain import gradcam
from edge_fmnist_export.report.explain.base import ExplainRequest
from edge_fmnist_export.report.explain.scorer import Scorer, of_network

pytestmark = pytest.mark.slow

Command = Callable[..., Any]


@pytest.fixture
def explain(run_command: Command, tiny_data: Path, tmp_path: Path) -> Command:
    """Return a function that explains with options, into a folder of its own."""
    options = ("--data", tiny_data, "-o", tmp_path / "out", "--json")
    return lambda *arguments, code=0: run_command("explain", *arguments, *options, code=code)


@pytest.mark.parametrize("method", ["shap", "lime", "occlusion"])
def test_a_file_is_explained(explain: Command, tiny_model: Path, tmp_path: Path, method: str) -> None:
    answer = explain(tiny_model, "test:3", "--method", method)
    said = answer.json
    assert (said["file"], said["kind"], said["method"]) == ("test:3", "file", method)
    assert said["answer"] == said["class"]
    assert np.array(said["values"]).shape == (28, 28)
    written = tmp_path / "out" / f"test-3-{method}.png"
    assert said["picture"] == str(written)
    assert cv2.imread(str(written)) is not None
    assert json.loads(written.with_suffix(".json").read_text("utf-8")) == said
    assert sorted(path.name for path in written.parent.iterdir()) == [f"test-3-{method}.json", written.name]


@pytest.mark.parametrize("method", ["occlusion", "gradcam"])
def test_a_float_model_is_explained(explain: Command, tiny_run: Path, method: str) -> None:
    answer = explain(tiny_run, "test:3", "--method", method)
    said = answer.json
    assert (said["kind"], said["model"]) == ("float", "tiny")
    assert Path(said["picture"]).name == f"test-3-{method}-float.png"
    values = np.array(said["values"])
    assert values.shape == (28, 28)
    assert values.max() > 0
    if method == "gradcam":
        assert (values.min() >= 0, values.max()) == (True, 1.0)
        assert said["feature_map"][0] > 1


def test_a_folder_with_the_name_of_a_shipped_model_changes_nothing(
    explain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edge").mkdir()
    assert explain("edge", "test:3", "--method", "occlusion").json["kind"] == "file"


def test_a_file_whose_run_is_not_found_asks_for_it(run_command: Command, tiny_model: Path) -> None:
    # Runs are looked for in the working folder, which this process shares with no other test.
    answer = run_command("explain", tiny_model, "test:0", "--float", code=2)
    assert "give the run folder instead of the file" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_another_class_can_be_explained(explain: Command, tiny_model: Path) -> None:
    said = explain(tiny_model, "test:0", "--method", "occlusion", "--class", "Ankle boot").json
    assert (said["class"]["label"], said["class"]["index"]) == ("Ankle boot", 9)
    assert said["answer"]["label"] == "T-shirt/top"
    assert said == explain(tiny_model, "test:0", "--method", "occlusion", "--class", "9").json


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("{model}", "--class", "Hat"), 2, f"expected one of {', '.join(LABELS)}, or an index below 10; got 'Hat'"),
        (("{model}", "--method", "guess"), 2, "expected one of shap, lime, occlusion, gradcam"),
        (("{model}", "--seed", "-1"), 2, "--seed"),
        (("no-such-model",), 3, "neither a file nor a shipped model"),
    ],
)
def test_what_cannot_be_explained(
    explain: Command, tiny_model: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    answer = explain(*(option.format(model=tiny_model) for option in options[:1]), "test:0", *options[1:], code=code)
    assert answer.stdout == ""
    assert message in answer.stderr


def test_an_output_that_cannot_be_written(run_command: Command, tiny_model: Path) -> None:
    answer = run_command("explain", tiny_model, "test:0", "--output", "/proc/explained", code=1)
    assert answer.stderr.startswith("Error: /proc/explained: cannot write to this folder")


def test_a_photograph_is_mapped_back(explain: Command, tiny_model: Path, tmp_path: Path) -> None:
    picture = bag()
    cv2.imwrite(str(tmp_path / "bag.png"), picture)
    said = explain(tiny_model, tmp_path / "bag.png", "--method", "occlusion").json
    assert (said["photograph"]["height"], said["photograph"]["width"]) == picture.shape[:2]
    assert said["photograph"]["box"]["width"] > said["photograph"]["part"]["width"] > 20


def test_pictures_of_the_same_name_have_files_of_their_own(explain: Command, tiny_model: Path, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "image.png" for folder in ("a", "b")]
    for path, grey in zip(paths, (60, 200), strict=True):
        path.parent.mkdir()
        cv2.imwrite(str(path), np.full((28, 28), grey, np.uint8))
    answer = explain(tiny_model, *paths, "--method", "occlusion")
    written = [Path(json.loads(line)["picture"]).name for line in answer.stdout.splitlines()]
    assert written == ["image-occlusion.png", "image-2-occlusion.png"]


def test_an_image_that_cannot_be_explained_is_reported_and_skipped(
    explain: Command, tiny_model: Path, tmp_path: Path
) -> None:
    bare, broken = tmp_path / "bare.png", tmp_path / "broken.png"
    cv2.imwrite(str(bare), np.full((120, 100, 3), 180, np.uint8))
    broken.write_bytes(b"no picture")
    answer = explain(
        tiny_model, bare, broken, tmp_path / "none.png", "test:999", "test:0", "--method", "occlusion", code=1
    )
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [("error" in line) for line in lines] == [True, True, True, True, False]
    assert "no garment detected" in lines[0]["error"]
    assert answer.stderr.count("Error: ") == 4


def test_a_long_name_is_cut(explain: Command, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / f"n{'ä' * 120}.png"
    cv2.imwrite(str(path), np.full((28, 28), 60, np.uint8))
    answer = json.loads(explain(tiny_model, path, "--method", "occlusion").stdout)
    assert Path(answer["picture"]).name == f"n{'ä' * 99}-occlusion.png"


@pytest.mark.parametrize(
    ("package", "method"),
    [("matplotlib", "occlusion"), ("tomli_w", "occlusion"), ("shap", "shap"), ("lime", "lime"), ("skimage", "lime")],
)
def test_without_the_extra_it_says_what_to_install(
    run_cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, method: str
) -> None:
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda name: None if name == package else object())
    answer = run_cli("explain", "edge", "test:0", "--method", method, "-o", tmp_path / "out", code=2)
    assert f"needs the package {package!r}" in answer.stderr
    assert "pip install 'edge-fmnist[report]'" in answer.stderr
    assert not (tmp_path / "out").exists()


def float_scorer(network: Any, *, flip_tta: bool = False) -> Scorer:
    return of_network(network, "a network", LABELS, flip_tta=flip_tta, temperature=1.0)


def test_gradcam_of_a_network_without_a_feature_map_is_refused(keras: Any) -> None:
    scorer = float_scorer(architectures.build("mlp-128", keras))
    with pytest.raises(UsageError, match="a network: Grad-CAM needs a network with a feature map"):
        gradcam.explain(ExplainRequest(scorer, np.zeros((28, 28), np.uint8), 0))


@pytest.mark.parametrize("flip_tta", [True, False])
def test_gradcam_is_mirrored_with_the_image_if_the_model_averages_both(keras: Any, flip_tta: bool) -> None:
    keras.utils.set_random_seed(1)
    scorer = float_scorer(architectures.build("lenet5", keras), flip_tta=flip_tta)
    image = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    views = image, image[:, ::-1].copy()
    ours, theirs = (gradcam.explain(ExplainRequest(scorer, view, 3)).values for view in views)
    difference = np.abs(ours - theirs[:, ::-1]).max()
    assert difference < 1e-5 if flip_tta else difference > 0.01
