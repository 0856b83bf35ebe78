"""Training runs: what they write, how they resume, how they start, and what is refused."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load_split
from edge_fmnist.errors import RecipeError, RunError, RunNotFoundError
from edge_fmnist_export import training
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.epochs import averaged, run_phase
from edge_fmnist_export.training.keras_trainer import learning_rate_schedule
from edge_fmnist_export.training.losses import Objective
from edge_fmnist_export.training.own_classes import held_out
from edge_fmnist_export.training.phase import EpochRecord, Phase
from edge_fmnist_export.training.photo_views import fingerprint
from edge_fmnist_export.training.progress import ProgressListener
from edge_fmnist_export.training.recipe import FloatPhase, Recipe, load_recipe, parse_recipe
from edge_fmnist_export.training.run_folder import create_run, open_run
from edge_fmnist_export.training.train_recipe import check_runs, initial_weights
from edge_fmnist_export.training.weights import Checkpoint, load_arrays

Command = Callable[..., Any]
FILES = ["calibration.json", "float.npz", "history.json", "metrics.json", "qat.npz", "recipe.toml", "run.json"]


def read_json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


@pytest.fixture
def copied(photo_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run with photographs that a test may change."""
    return Path(shutil.copytree(photo_run, tmp_path / "run"))


@pytest.fixture
def resume(run_command: Command, photo_recipe: Path, tiny_data: Path, tiny_photos: Path) -> Command:
    """Return a function that resumes a run of the recipe with photographs."""
    options = ("--data", tiny_data, "--photos", tiny_photos, "--resume")
    return lambda folder, code=0: run_command("train", photo_recipe, *options, "--output", folder, code=code)


def test_what_a_run_writes(tiny_run: Path, tiny_recipe: Path, tiny_data: Path) -> None:
    assert sorted(path.name for path in tiny_run.iterdir()) == FILES
    assert load_recipe(str(tiny_run / "recipe.toml")) == load_recipe(str(tiny_recipe))
    facts = read_json(tiny_run, "run.json")
    assert facts["seed"] == 3
    assert facts["data_sha256"] == list(load_split(tiny_data, "train").sha256)
    assert facts["versions"]["keras"].startswith("3.")
    history, metrics = read_json(tiny_run, "history.json"), read_json(tiny_run, "metrics.json")
    assert [(record["phase"], record["epoch"]) for record in history] == [
        (phase, epoch) for phase in ("float", "qat") for epoch in (1, 2)
    ]
    assert history[1]["loss"] < history[0]["loss"]
    for phase, result in metrics.items():
        records = [record for record in history if record["phase"] == phase]
        best = max(records, key=lambda record: record["validation_accuracy"])
        assert (result["epochs"], result["best_epoch"]) == (2, best["epoch"])
        assert result["validation_accuracy"] == pytest.approx(best["validation_accuracy"], abs=1e-6)
        assert result["validation_accuracy"] > 0.8
        assert (result["parameters"], result["validation_images"]) == (59_086, 100)
    calibration = read_json(tiny_run, "calibration.json")
    assert calibration["validation_nll_after"] < calibration["validation_nll_before"]
    assert (calibration["threshold"], calibration["validation_false_reject_rate"]) == (0, 0)


def test_without_qat(no_qat_run: tuple[Path, str]) -> None:
    folder, messages = no_qat_run
    assert sorted(path.name for path in folder.iterdir()) == [name for name in FILES if name != "qat.npz"]
    assert list(read_json(folder, "metrics.json")) == ["float"]
    assert "--ptq" in messages


@pytest.mark.slow
def test_a_run_with_photographs(photo_run: Path, tiny_data: Path, tiny_photos: Path) -> None:
    assert sorted(path.name for path in photo_run.iterdir()) == FILES
    facts, calibration = read_json(photo_run, "run.json"), read_json(photo_run, "calibration.json")
    assert facts["data_sha256"] == list(load_split(tiny_data, "train").sha256)
    assert facts["photos_sha256"] == fingerprint(tiny_photos)
    for metrics in read_json(photo_run, "metrics.json").values():
        assert metrics["validation_images"] == 199
        assert metrics["validation_accuracy"] > 0.8
    assert 0 < calibration["threshold"] < 1
    assert 0 < calibration["validation_false_reject_rate"] <= 0.25


@pytest.mark.slow
def test_the_exported_file_carries_the_calibration(
    run_command: Command, photo_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    path, calibration = tmp_path / "pictured.tflite", read_json(photo_run, "calibration.json")
    run_command("export", photo_run, "--ptq", "--data", tiny_data, "--output", path, "--max-drop", 100)
    classifier = Classifier.load(path)
    assert classifier.metadata is not None
    # What was measured with it stays in the run folder.
    used = {key: calibration[key] for key in ("temperature", "threshold")}
    assert classifier.metadata.settings["calibration"] == used
    assert (classifier.temperature, classifier.threshold) == (calibration["temperature"], calibration["threshold"])


class Stopper:
    """A listener that interrupts after the first epoch of a phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.photos = 0

    def phase_started(self, phase: str, epochs: int, steps: int, done: int) -> None: ...

    def step_done(self, loss: float, accuracy: float, steps: int) -> None: ...

    def view_done(self, done: int, of: int) -> None: ...

    def photo_done(self, done: int, of: int) -> None:
        self.photos = done

    def epoch_done(self, record: EpochRecord) -> None:
        if (record.phase, record.epoch) == (self.phase, 1):
            raise KeyboardInterrupt


def train_in_parts(recipe: Recipe, folder: Path, data: Path, photos: Path | None, *stops: str) -> list[list[object]]:
    """Train a recipe, interrupted after the first epoch of the phases in ``stops``; return the state at each stop."""
    states: list[list[object]] = []
    run = create_run(folder, recipe)
    for phase in (*stops, "none"):
        listener = Stopper(phase)
        with contextlib.suppress(KeyboardInterrupt):
            training.train(run, load_split(data, "train"), listener, photos)
        states.append([run.has("float"), run.has("qat"), run.checkpoint.is_file(), listener.photos])
    return states


def assert_same_run(one: Path, other: Path) -> None:
    timed = ("seconds", "images_per_second")
    for phase in ("float", "qat"):
        for left, right in zip(load_arrays(one / f"{phase}.npz"), load_arrays(other / f"{phase}.npz"), strict=True):
            np.testing.assert_array_equal(left, right)
    histories = [
        [{key: value for key, value in record.items() if key not in timed} for record in read_json(run, "history.json")]
        for run in (one, other)
    ]
    assert histories[0] == histories[1]
    assert read_json(one, "calibration.json") == read_json(other, "calibration.json")
    assert sorted(path.name for path in one.iterdir()) == FILES


@pytest.mark.slow
def test_a_resumed_run_gives_the_same_result(
    photo_run: Path, photo_recipe: Path, tiny_data: Path, tiny_photos: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(str(photo_recipe))
    states = train_in_parts(recipe, tmp_path / "run", tiny_data, tiny_photos, "float", "qat")
    assert states == [[False, False, True, 16], [True, False, True, 16], [True, True, False, 16]]
    assert_same_run(tmp_path / "run", photo_run)


@pytest.mark.slow
def test_an_interruption_is_reported(
    run_command: Command, tiny_recipe: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    step_done = ProgressListener.step_done

    def press(self: ProgressListener, loss: float, accuracy: float, done: int) -> None:
        # While Keras runs, inside whose native code an exception could end the process.
        signal.raise_signal(signal.SIGINT)
        steps.append(done)
        step_done(self, loss, accuracy, done)

    monkeypatch.setattr(ProgressListener, "step_done", press)
    answer = run_command("train", tiny_recipe, "--data", tiny_data, "--output", tmp_path / "run", code=130)
    assert answer.stderr.rstrip().endswith("continue with the same command and --resume.")
    assert len(steps) == 1
    assert (tmp_path / "run" / "checkpoint.npz").is_file()


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(resume: Command, copied: Path, photo_run: Path) -> None:
    answer = resume(copied)
    assert "preprocessing photographs" not in answer.stderr
    for name in FILES:
        assert (copied / name).read_bytes() == (photo_run / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("content", ["[1]", "[{}]", "null"])
def test_a_damaged_history_ends_a_resumed_run(resume: Command, copied: Path, content: str) -> None:
    (copied / "qat.npz").unlink()
    (copied / "history.json").write_text(content)
    assert "history.json: damaged, expected a list of epochs" in resume(copied, code=1).stderr


@pytest.mark.slow
@pytest.mark.parametrize("content", ['{"float": {}}', '{"float": null}'])
def test_damaged_metrics_are_named_before_training(resume: Command, copied: Path, content: str) -> None:
    (copied / "qat.npz").unlink()
    (copied / "metrics.json").write_text(content)
    assert "metrics.json: damaged in the phase float" in resume(copied, code=1).stderr
    assert not (copied / "checkpoint.npz").exists()


@pytest.mark.slow
def test_resuming_calibrates_a_run_from_an_earlier_version(
    resume: Command, copied: Path, photo_run: Path, run_command: Command, tmp_path: Path
) -> None:
    (copied / "calibration.json").unlink()
    facts = read_json(copied, "run.json")
    del facts["photos_sha256"]
    (copied / "run.json").write_text(json.dumps(facts), "utf-8")
    run_command("export", copied, "--float32", "--output", tmp_path / "model.tflite")
    classifier = Classifier.load(tmp_path / "model.tflite")
    assert (classifier.temperature, classifier.threshold) == (1, 0)
    resume(copied)
    assert read_json(copied, "calibration.json") == read_json(photo_run, "calibration.json")
    # Where it was trained stays on record.
    assert read_json(copied, "run.json") == facts
    assert (copied / "qat.npz").read_bytes() == (photo_run / "qat.npz").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("calibration.json", '{"temperature": 1}', "calibration.json: expected a temperature above 0"),
        ("metrics.json", None, "metrics.json: missing, or without the phase float"),
        ("metrics.json", "{}", "metrics.json: missing, or without the phase float"),
        ("metrics.json", '{"float": {}}', "metrics.json: damaged in the phase float"),
        ("float.npz", None, "float.npz: missing, although the qat phase, which started from it, is finished"),
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
    answer = resume(copied, code=1)
    assert answer.stdout == ""
    assert message in answer.stderr
    assert {path: path.read_bytes() for path in copied.iterdir()} == before


def test_an_unreadable_photograph_is_named_before_training(
    run_command: Command, photo_recipe: Path, tiny_data: Path, tiny_photos: Path, tmp_path: Path
) -> None:
    photos, folder = Path(shutil.copytree(tiny_photos, tmp_path / "photos")), tmp_path / "run"
    broken = photos / "train" / "shoes" / "2.png"
    broken.write_bytes(b"no picture")
    options = ("--data", tiny_data, "--photos", photos, "--output", folder, "--no-qat", "--epochs", 1)
    answer = run_command("train", photo_recipe, *options, code=1)
    assert f"{broken}: not a picture" in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["recipe.toml"]


def init_from(recipe: Path, run: object) -> str:
    """Return the text of a recipe that starts from a run."""
    return f'init_from = "{run}"\n{recipe.read_text("utf-8")}'


def test_training_starts_from_the_weights_of_a_run(
    run_command: Command, tiny_run: Path, tiny_recipe: Path, tiny_data: Path, tmp_path: Path
) -> None:
    recipe, folder = tmp_path / "further.toml", tmp_path / "run"
    recipe.write_text(init_from(tiny_recipe, tiny_run).replace("0.003", "1e-9"), "utf-8")
    run_command("train", recipe, "--data", tiny_data, "--output", folder, "--no-qat", "--epochs", 1)
    for further, start in zip(load_arrays(folder / "float.npz"), load_arrays(tiny_run / "float.npz"), strict=True):
        np.testing.assert_allclose(further, start, atol=1e-6)


def test_initial_weights_of_a_shipped_checkpoint() -> None:
    found = initial_weights(load_recipe("camera-flat"))
    assert found is not None
    for array, start in zip(found, open_run("float-flat").weights("float"), strict=True):
        np.testing.assert_array_equal(array, start)
    assert initial_weights(load_recipe("lenet5")) is None


def on_all_images(text: str) -> str:
    """Return the text of a recipe that trains on the validation images, too."""
    last = text.replace("epochs = 2", 'epochs = 1\nkeep = "last"')
    return last.replace("batch_size", "train_on_validation = true\nbatch_size")


def test_the_last_run_trains_on_all_images_and_keeps_the_temperature(
    run_command: Command, tiny_run: Path, tiny_recipe: Path, tiny_data: Path, tmp_path: Path, caplog: Any
) -> None:
    recipe, folder = tmp_path / "all.toml", tmp_path / "run"
    recipe.write_text(on_all_images(init_from(tiny_recipe, tiny_run)), "utf-8")
    said = run_command("train", recipe, "--data", tiny_data, "--output", folder, "--no-qat")
    assert "accuracy, images trained on" in said.stdout
    assert read_json(folder, "metrics.json")["float"]["validation_images"] == 100
    # 600 images are 18 steps of 32, 500 would be 15.
    epoch = read_json(folder, "history.json")[0]
    assert round(epoch["seconds"] * epoch["images_per_second"]) == pytest.approx(18 * 32, rel=0.02)
    ours, theirs = read_json(folder, "calibration.json"), read_json(tiny_run, "calibration.json")
    assert ours == {key: theirs[key] for key in ("temperature", "threshold")}

    # A run that holds these images out again cannot measure anything on them.
    recipe.write_text(init_from(tiny_recipe, folder), "utf-8")
    assert "held out here" not in caplog.text
    run_command("train", recipe, "--data", tiny_data, "--no-qat", "--epochs", 1, "--output", tmp_path / "again")
    assert "was trained on images that are held out here" in caplog.text


def test_training_on_all_images_needs_a_temperature(tiny_recipe: Path, tiny_run: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(tiny_run, tmp_path / "start"))
    (start / "calibration.json").unlink()
    recipe = parse_recipe(on_all_images(init_from(tiny_recipe, start)), "all.toml")
    with pytest.raises(RunError, match=r"has no calibration\.json, whose temperature the recipe tiny needs"):
        check_runs(recipe, None)


def test_runs_that_cannot_initialize_a_recipe(tiny_recipe: Path, tiny_run: Path, tmp_path: Path) -> None:
    def recipe(run: object) -> Recipe:
        return parse_recipe(init_from(tiny_recipe, run), "tiny.toml")

    shutil.copyfile(tiny_run / "recipe.toml", tmp_path / "recipe.toml")
    other = "init_from: expected a run of the architecture lenet5, got edge, which has edge"
    for check in (initial_weights, partial(check_runs, data=None)):
        with pytest.raises(RunNotFoundError, match=r"recipe tiny, init_from = .*none: neither a run folder nor"):
            check(recipe(tmp_path / "none"))
        with pytest.raises(RecipeError, match=re.escape(other)):
            check(recipe("edge"))
        with pytest.raises(RunError, match="has no float weights"):
            check(recipe(tmp_path))


def test_average_moves_towards_the_weights_and_leaves_counters_alone() -> None:
    old, new = [np.array([1.0, 3.0], np.float32), np.array(4)], [np.array([3.0, 3.0], np.float32), np.array(9)]
    assert averaged([], new, 0.0) == []
    assert averaged([], new, 0.5) is new
    moved = averaged(old, new, 0.75)
    np.testing.assert_allclose(moved[0], [1.5, 3.0])
    assert moved[0].dtype == np.float32
    assert int(moved[1]) == 9


def test_a_share_of_the_schedule_ends_before_the_learning_rate_is_0() -> None:
    keras = backend.keras_on_tensorflow()

    def rates(epochs: int, share: float) -> list[float]:
        settings = FloatPhase(epochs=epochs, learning_rate=0.2, warmup_epochs=1, schedule_share=share)
        schedule = learning_rate_schedule(
            Phase("float", keras, None, settings, Objective(), lambda epoch: iter(()), 8, steps=10)
        )
        return [float(schedule(step)) for step in range(epochs * 10)]

    assert rates(3, 0.5) == rates(6, 1)[:30]
    assert rates(3, 1)[-1] < 0.01 < rates(3, 0.5)[-1]


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 2)])
def test_the_weights_of_the_best_or_of_the_last_epoch_are_kept(
    tiny_data: Path, keep: Literal["best", "last"], kept: int
) -> None:
    keras = backend.keras_on_tensorflow()
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    split = load_split(tiny_data, "train")
    images, steps = Subset(split.images, split.targets), 30

    def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        # The second epoch teaches wrong classes.
        yield from [(images.inputs(), np.roll(images.one_hot(), epoch, axis=1))] * steps

    settings = FloatPhase(epochs=2, optimizer="adamw", schedule="constant", learning_rate=0.01, keep=keep)
    phase = Phase("float", keras, model, settings, Objective(), batches, len(images), steps)
    states: list[list[np.ndarray]] = []
    accuracies: list[float] = []

    def save(checkpoint: Checkpoint, record: EpochRecord | None) -> None:
        states.append(checkpoint.state)
        accuracies.append(record.validation_accuracy if record else 0)

    checkpoint = run_phase(phase, images, Stopper("none"), save)
    assert accuracies[1] > accuracies[2]
    assert (checkpoint.best_epoch, checkpoint.best_accuracy) == (kept, accuracies[kept])
    for array, expected in zip(checkpoint.best, states[kept], strict=False):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.slow
def test_the_whole_network_is_trained_on_classes_of_ones_own(
    run_command: Command, tiny_photos: Path, tmp_path: Path
) -> None:
    run, model, photos = tmp_path / "run", tmp_path / "mine.tflite", tiny_photos / "train"
    options = ("--photos", photos, "--epochs", 1, "--qat-epochs", 1, "--output", run)
    answer = run_command("train", "camera", *options)
    assert "Held-out photographs classified correctly: 4 of 4 with a taught last layer, " in answer.stderr
    last = read_json(run, "metrics.json")["qat"]
    assert (last["validation_images"], last["taught_accuracy"]) == (4, 1)
    assert read_json(run, "run.json")["labels"] == ["hat", "pants", "shoes", "t-shirt"]
    assert "trained on photographs alone" in run_command("export", run, "--ptq", "--output", model, code=2).stderr
    run_command("export", run, "--output", model)
    assert Classifier(model).labels == ("hat", "pants", "shoes", "t-shirt")
    # One epoch of three steps keeps what the last layer was taught.
    evaluated = run_command("evaluate", model, "--photos", photos, "--json")
    assert evaluated.json[0]["top1"] >= 0.75
    (photos_moved := tmp_path / "photos").mkdir()
    shutil.copytree(photos / "hat", photos_moved / "hat")
    shutil.copytree(photos / "pants", photos_moved / "trousers")
    other = run_command("train", "camera", *options[2:], "--photos", photos_moved, "--resume", code=1)
    assert "was started with another recipe" in other.stderr


def test_a_fifth_of_each_class_is_held_out_and_groups_stay_together() -> None:
    targets, groups = np.repeat([0, 1], [20, 3]), np.arange(23)
    groups[:4] = 0
    held = held_out(targets, groups)
    assert held[:4].all() or not held[:4].any()
    assert held[:20].sum() == 4
    assert held[20:].sum() == 1


@pytest.mark.parametrize("size", range(2, 12))
def test_most_photographs_of_a_class_stay_in_training(size: int) -> None:
    targets, groups = np.zeros(12, int), np.maximum(np.arange(12) - size + 1, 0)
    held = held_out(targets, groups)
    assert held.sum() == min(3, 12 - size)


@pytest.mark.slow
def test_a_smaller_data_set_holds_out_5_percent(run_command: Command, tiny_data: Path, tmp_path: Path) -> None:
    options = ("--data", tiny_data, "--no-qat", "--epochs", 1, "--output", tmp_path / "run")
    # As `edge-fmnist recipes lenet5` writes it, with every number.
    (tmp_path / "mine.toml").write_text(load_recipe("lenet5").to_toml(), "utf-8")
    answer = run_command("train", tmp_path / "mine.toml", *options)
    assert "Holding out 30 of 600 training images for validation (3,000 in the recipe)" in answer.stderr
    assert open_run(tmp_path / "run").recipe.data.validation == 30


@pytest.mark.parametrize(
    ("recipe", "options", "code", "message"),
    [
        ("no-such", (), 2, "neither a file nor a shipped recipe"),
        ("{tiny}", ("--data", "{new}"), 3, "no such folder"),
        ("{tiny}", ("--validation", "599"), 1, "cannot hold out 599 of 600 training images"),
        ("{tiny}", ("--output", "{new}", "--resume"), 3, "no such run folder"),
        ("{tiny}", ("--output", "{new}", "--no-qat", "--qat-epochs", "2"), 2, "--no-qat leaves the phase out"),
        ("{tiny}", ("--output", "{run}"), 2, "already exists; continue it with --resume"),
        ("{tiny}", ("--output", "{run}", "--resume", "--seed", "9"), 1, "another recipe (it differs in seed)"),
        ("{photo}", (), 2, "the recipe pictured trains on photographs; give their folder with --photos"),
        ("{tiny}", ("--photos", "{photos}"), 2, "the recipe tiny trains without photographs; omit --photos"),
        ("{photo}", ("--photos", "{photos}/train"), 2, "your own classes are trained on alone; omit --data"),
        ("{photo}", ("--photos", "{new}"), 3, "new: no such folder"),
        ("{photo}", ("--photos", "{data}"), 3, "expected a folder named 'train'"),
        ("{unknown}", (), 3, "init_from = no-such: neither a run folder nor a shipped checkpoint"),
        ("{taught}", ("--output", "{new}"), 3, "distill.teachers: no-such: neither a run folder"),
    ],
)
def test_what_cannot_be_trained(
    run_command: Command,
    tiny_run: Path,
    tiny_recipe: Path,
    photo_recipe: Path,
    tiny_data: Path,
    tiny_photos: Path,
    tmp_path: Path,
    recipe: str,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    before = {path: path.read_bytes() for path in tiny_run.iterdir()}
    texts = {
        "unknown": init_from(tiny_recipe, "no-such"),
        "taught": tiny_recipe.read_text("utf-8") + '[distill]\nteachers = ["no-such"]\n',
    }
    named = {"tiny": tiny_recipe, "photo": photo_recipe, "run": tiny_run, "photos": tiny_photos, "data": tiny_data}
    for name, text in texts.items():
        named[name] = tmp_path / f"{name}.toml"
        named[name].write_text(text, "utf-8")
    named["new"] = tmp_path / "new"
    arguments = [argument.format(**named) for argument in (recipe, "--data", str(tiny_data), *options)]
    if "--output" not in options:
        arguments += ["--output", str(tmp_path / "new")]
    answer = run_command("train", *arguments, code=code)
    assert answer.stdout == ""
    assert message in answer.stderr
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in tiny_run.iterdir()} == before


def test_a_data_set_of_more_classes_than_outputs_is_refused(
    run_command: Command, tiny_recipe: Path, tmp_path: Path, write_data: Callable[..., Path]
) -> None:
    images, targets = np.zeros((240, 28, 28), np.uint8), (np.arange(240) % 12).astype(np.uint8)
    labels, folder = tmp_path / "labels.txt", tmp_path / "data"
    folder.mkdir()
    labels.write_text("".join(f"class {number}\n" for number in range(12)), "utf-8")
    write_data(folder, (images, targets), (images, targets))
    options = ("--data", folder, "--labels", labels, "--output", tmp_path / "run")
    said = run_command("train", tiny_recipe, *options, code=1).stderr
    assert "expected a data set of at most 10 classes, got 12" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_that_diverges_ends(run_command: Command, tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "diverging.toml"
    recipe.write_text(tiny_recipe.read_text("utf-8").replace("0.003", "1e30"), "utf-8")
    said = run_command("train", recipe, "--data", tiny_data, "--output", tmp_path / "run", code=1).stderr
    assert "training diverged in epoch 1: the loss is not finite; train with a lower learning_rate" in said
