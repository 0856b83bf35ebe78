from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load_split
from edge_fmnist.errors import RecipeError, RunError, RunNotFoundError
from edge_fmnist.model.quantization import dequantize, softmax
from edge_fmnist_export.training.photo_views import fingerprint, validation_images
from edge_fmnist_export.training.recipe import Recipe, load_recipe, parse_recipe
from edge_fmnist_export.training.run import open_run
from edge_fmnist_export.training.training import check_initial, initial_weights
from edge_fmnist_export.training.weights import load_arrays

FILES = ["calibration.json", "float.npz", "history.json", "metrics.json", "qat.npz", "recipe.toml", "run.json"]
Command = Callable[..., Any]


def read_json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


@pytest.fixture
def copied(photo_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run with photographs that a test may change."""
    return Path(shutil.copytree(photo_run, tmp_path / "run"))


@pytest.fixture
def resume(warm_command: Command, photo_recipe: Path, tiny_data: Path, tiny_photos: Path) -> Command:
    """Return a function that resumes a run of the recipe with photographs."""
    options = ("--data", tiny_data, "--photos", tiny_photos, "--resume")
    return lambda folder: warm_command("train", photo_recipe, *options, "--output", folder)


def test_a_run_with_photographs_leaves_what_it_promises(photo_run: Path, tiny_data: Path, tiny_photos: Path) -> None:
    assert sorted(path.name for path in photo_run.iterdir()) == FILES
    facts = read_json(photo_run, "run.json")
    assert facts["data_sha256"] == list(load_split(tiny_data, "train").sha256)
    assert facts["photos_sha256"] == fingerprint(tiny_photos)


def test_it_learns_images_and_photographs(photo_run: Path) -> None:
    for metrics in read_json(photo_run, "metrics.json").values():
        assert metrics["validation_images"] == 199
        assert metrics["validation_accuracy"] > 0.8
    assert all(np.isfinite(record["loss"]) for record in read_json(photo_run, "history.json"))


def test_its_threshold_loses_no_more_than_the_recipe_allows(photo_run: Path) -> None:
    calibration = read_json(photo_run, "calibration.json")
    assert 0 < calibration["threshold"] < 1
    assert 0 < calibration["validation_lost"] <= 0.25
    assert calibration["validation_nll_after"] <= calibration["validation_nll_before"]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, warm_command: Command, photo_run: Path, tiny_data: Path
) -> Classifier:
    path = tmp_path_factory.mktemp("exported") / "pictured.tflite"
    answer = warm_command("export", photo_run, "--data", tiny_data, "--output", path, "--max-drop", 100)
    assert answer.code == 0, answer.stderr
    return Classifier.load(path)


def test_the_exported_file_carries_the_calibration(exported: Classifier, photo_run: Path) -> None:
    calibration = read_json(photo_run, "calibration.json")
    assert exported.metadata is not None
    assert exported.metadata.settings["calibration"] == calibration
    assert (exported.temperature, exported.threshold) == (calibration["temperature"], calibration["threshold"])


def test_the_classifier_applies_it(exported: Classifier, tiny_photos: Path) -> None:
    images = validation_images(tiny_photos).images
    logits = dequantize(exported.outputs(images)[0], exported.output)
    predictions = exported.predict_batch(images)
    np.testing.assert_allclose(predictions.scores, softmax(logits / np.float32(exported.temperature)), rtol=1e-5)
    expected = ["unknown" if one.score < exported.threshold else one.label for one in predictions]
    assert [one.answer for one in predictions] == expected
    assert "unknown" in expected


def train_in_pieces(recipe: str, data: str, photos: str, folder: str) -> None:
    """Train a recipe, interrupted after the first epoch of each phase and resumed; print where it stood."""
    import contextlib
    import json
    from pathlib import Path

    from edge_fmnist.data.dataset import load_split
    from edge_fmnist_export.training import training
    from edge_fmnist_export.training.phase import EpochRecord
    from edge_fmnist_export.training.recipe import load_recipe
    from edge_fmnist_export.training.run import create_run

    class Stopper:
        """Interrupts after the first epoch of a phase."""

        def __init__(self, phase: str) -> None:
            self.phase = phase
            self.photos = 0

        def phase_started(self, phase: str, epochs: int, steps: int, done: int) -> None:
            """Hear nothing."""

        def step_done(self, loss: float, accuracy: float, steps: int) -> None:
            """Hear nothing."""

        def view_done(self, done: int, of: int) -> None:
            """Hear nothing."""

        def photo_done(self, done: int, of: int) -> None:
            self.photos = done

        def epoch_done(self, record: EpochRecord) -> None:
            if (record.phase, record.epoch) == (self.phase, 1):
                raise KeyboardInterrupt

    run = create_run(Path(folder), load_recipe(recipe))
    states = []
    for phase in ("float", "qat", "none"):
        listener = Stopper(phase)
        with contextlib.suppress(KeyboardInterrupt):
            training.train(run, load_split(Path(data), "train"), listener, Path(photos))
        states.append([run.has("float"), run.has("qat"), run.checkpoint.is_file(), listener.photos])
    print(json.dumps(states))


def test_a_resumed_run_is_that_of_an_uninterrupted_one(
    run_function: Callable[..., Any],
    photo_run: Path,
    photo_recipe: Path,
    tiny_data: Path,
    tiny_photos: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    states = run_function(train_in_pieces, *map(str, (photo_recipe, tiny_data, tiny_photos, folder)))
    assert states == [[False, False, True, 16], [True, False, True, 16], [True, True, False, 16]]
    for phase in ("float", "qat"):
        resumed, whole = (load_arrays(place / f"{phase}.npz") for place in (folder, photo_run))
        for one, two in zip(resumed, whole, strict=True):
            np.testing.assert_array_equal(one, two)
    assert read_json(folder, "calibration.json") == read_json(photo_run, "calibration.json")
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_resuming_a_finished_run_changes_nothing(resume: Command, copied: Path, photo_run: Path) -> None:
    answer = resume(copied)
    assert answer.code == 0, answer.stderr
    assert "preprocessing photographs" not in answer.stderr
    for name in FILES:
        assert (copied / name).read_bytes() == (photo_run / name).read_bytes()


def test_a_run_from_before_calibration_gets_it_by_resuming(resume: Command, copied: Path, photo_run: Path) -> None:
    (copied / "calibration.json").unlink()
    facts = read_json(copied, "run.json")
    del facts["photos_sha256"]
    (copied / "run.json").write_text(json.dumps(facts), "utf-8")
    answer = resume(copied)
    assert answer.code == 0, answer.stderr
    assert read_json(copied, "calibration.json") == read_json(photo_run, "calibration.json")
    assert (copied / "qat.npz").read_bytes() == (photo_run / "qat.npz").read_bytes()


def test_a_run_from_before_calibration_exports_without(warm_command: Command, copied: Path, tmp_path: Path) -> None:
    (copied / "calibration.json").unlink()
    answer = warm_command("export", copied, "--output", tmp_path / "model.tflite")
    assert answer.code == 0, answer.stderr
    classifier = Classifier.load(tmp_path / "model.tflite")
    assert (classifier.temperature, classifier.threshold) == (1, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("calibration.json", "{", "calibration.json: not readable as JSON"),
        ("calibration.json", '{"temperature": 1}', "calibration.json: expected a temperature above 0"),
        ("metrics.json", None, "metrics.json: missing, or without the phase float"),
        ("metrics.json", '{"float": {}}', "metrics.json: missing, or without the phase qat"),
        ("run.json", "[]", "run.json: expected a JSON object, got list"),
        ("run.json", '{"data_sha256": ["a", "b"]}', "was started with other files of the data set"),
        ("run.json", '{"photos_sha256": "a"}', "was started with other files of the photographs"),
    ],
)
def test_a_run_folder_that_does_not_fit(
    resume: Command, copied: Path, name: str, content: str | None, message: str
) -> None:
    if content is None:
        (copied / name).unlink()
    else:
        (copied / name).write_text(content, "utf-8")
    before = {path: path.read_bytes() for path in copied.iterdir()}
    answer = resume(copied)
    assert (answer.code, answer.stdout) == (1, "")
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert {path: path.read_bytes() for path in copied.iterdir()} == before


def test_a_damaged_calibration_is_not_exported(warm_command: Command, copied: Path, tmp_path: Path) -> None:
    (copied / "calibration.json").write_text('{"temperature": -1, "threshold": 0}', "utf-8")
    answer = warm_command("export", copied, "--output", tmp_path / "model.tflite")
    assert answer.code == 1
    assert "calibration.json: expected a temperature above 0" in answer.stderr
    assert not (tmp_path / "model.tflite").exists()


def test_an_unreadable_photograph_is_named_and_the_run_goes_on_without_it(
    warm_command: Command, photo_recipe: Path, tiny_data: Path, tiny_photos: Path, tmp_path: Path
) -> None:
    photos, folder = Path(shutil.copytree(tiny_photos, tmp_path / "photos")), tmp_path / "run"
    broken = photos / "train" / "shoes" / "2.png"
    broken.write_bytes(b"no picture")
    options = ("--data", tiny_data, "--photos", photos, "--output", folder, "--no-qat", "--epochs", 1)
    answer = warm_command("train", photo_recipe, *options)
    assert answer.code == 1
    assert f"{broken}: not a picture" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["recipe.toml"]
    broken.unlink()
    answer = warm_command("train", photo_recipe, *options, "--resume")
    assert answer.code == 0, answer.stderr
    assert read_json(folder, "run.json")["photos_sha256"] == fingerprint(photos)


def with_initial(recipe: Path, initial: object) -> str:
    """Return the text of a recipe with a setting of its own for the initial weights."""
    return f'initial = "{initial}"\n{recipe.read_text("utf-8")}'


def test_training_starts_from_initial_weights(
    warm_command: Command, tiny_run: Path, tiny_recipe: Path, tiny_data: Path, tmp_path: Path
) -> None:
    recipe, folder = tmp_path / "further.toml", tmp_path / "run"
    recipe.write_text(with_initial(tiny_recipe, tiny_run).replace("0.003", "1e-9"), "utf-8")
    options = ("--data", tiny_data, "--output", folder, "--no-qat", "--epochs", 1)
    answer = warm_command("train", recipe, *options)
    assert answer.code == 0, answer.stderr
    for further, start in zip(load_arrays(folder / "float.npz"), load_arrays(tiny_run / "float.npz"), strict=True):
        np.testing.assert_allclose(further, start, atol=1e-6)


@pytest.fixture
def recipe_from(tiny_recipe: Path) -> Callable[[object], Recipe]:
    """Return a function that gives the tiny recipe with other initial weights."""
    return lambda initial: parse_recipe(with_initial(tiny_recipe, initial), "tiny.toml")


def test_initial_weights_are_the_float_weights_of_a_run(
    recipe_from: Callable[[object], Recipe], tiny_run: Path
) -> None:
    found = initial_weights(recipe_from(tiny_run))
    assert found is not None
    for one, two in zip(found, load_arrays(tiny_run / "float.npz"), strict=True):
        np.testing.assert_array_equal(one, two)
    assert initial_weights(recipe_from("")) is None


def test_initial_weights_of_a_shipped_checkpoint() -> None:
    found = initial_weights(load_recipe("camera"))
    assert found is not None
    assert [array.shape for array in found] == [array.shape for array in open_run("float-deep").weights("float")]


def test_initial_weights_that_cannot_be_taken(
    recipe_from: Callable[[object], Recipe], tiny_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunNotFoundError, match=r"recipe tiny, initial = .*none: neither a run folder nor a shipped"):
        initial_weights(recipe_from(tmp_path / "none"))
    other = (
        "the recipe tiny, initial: expected a run of the architecture lenet5, or of one that is wider inside its "
        "blocks, got edge, which has edge"
    )
    with pytest.raises(RecipeError, match=re.escape(other)):
        initial_weights(recipe_from("edge"))
    with pytest.raises(RecipeError, match=re.escape(other)):
        check_initial(recipe_from("edge"))
    shutil.copyfile(tiny_run / "recipe.toml", tmp_path / "recipe.toml")
    for take in (initial_weights, check_initial):
        with pytest.raises(RunError, match="has no float weights"):
            take(recipe_from(tmp_path))


@pytest.mark.parametrize(
    ("recipe", "options", "code", "message"),
    [
        ("{photo_recipe}", (), 2, "the recipe pictured trains on photographs too; name their folder with --photos"),
        (
            "{tiny_recipe}",
            ("--photos", "{photos}"),
            2,
            "the recipe tiny trains without photographs; leave --photos out",
        ),
        ("{photo_recipe}", ("--photos", "{none}"), 3, "none: no such folder"),
        ("{photo_recipe}", ("--photos", "{data}"), 3, "expected a folder named 'train'"),
        ("{mixup}", ("--photos", "{photos}"), 2, "photos.views and augmentation.mixup exclude each other"),
        ("{no_initial}", (), 3, "initial = no-such: neither a run folder nor a shipped checkpoint"),
        ("{edge_initial}", (), 2, "initial: expected a run of the architecture lenet5"),
    ],
)
def test_what_cannot_be_trained(
    warm_command: Command,
    tiny_data: Path,
    tiny_photos: Path,
    tiny_recipe: Path,
    photo_recipe: Path,
    tmp_path: Path,
    recipe: str,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    texts = {
        "mixup": photo_recipe.read_text("utf-8").replace("shift = 1", "mixup = 0.2"),
        "no_initial": with_initial(tiny_recipe, "no-such"),
        "edge_initial": with_initial(tiny_recipe, "edge"),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text, "utf-8")
    named = {
        **{name: tmp_path / f"{name}.toml" for name in texts},
        "tiny_recipe": tiny_recipe,
        "photo_recipe": photo_recipe,
        "photos": tiny_photos,
        "data": tiny_data,
        "none": tmp_path / "none",
    }
    folder = tmp_path / "run"
    filled = [argument.format(**named) for argument in (recipe, *options)]
    answer = warm_command("train", *filled, "--data", tiny_data, "--output", folder)
    assert (answer.code, answer.stdout) == (code, "")
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not folder.exists()
