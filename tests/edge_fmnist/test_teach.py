from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import cv2
import flatbuffers
import numpy as np
import pytest

import edge_fmnist
from edge_fmnist import (
    CancelledError,
    Classifier,
    DataError,
    DataNotFoundError,
    ModelError,
    Prediction,
    SinkError,
    Taught,
    UsageError,
)
from edge_fmnist.data.labels import LABELS, UNKNOWN
from edge_fmnist.data.samples import bag, t_shirt, trouser
from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.photos import evaluate_photos, find_photos
from edge_fmnist.model.quantization import softmax
from edge_fmnist.model.registry import read_model, shipped_models
from edge_fmnist.model.tflite_graph import file_schema, read_graph
from edge_fmnist.pipeline.smoothing import Smoother
from edge_fmnist.teaching.fit import BIAS_SHARE, FOLDS, Regression, cross_validate, folds_of
from edge_fmnist.teaching.parent import Parent
from edge_fmnist.teaching.photographs import read_photographs, rehearsal
from edge_fmnist.vision.read_image import read_image

# Stands for a model that is there already.
FORMER = b"\0\0\0\0TFL3"
PARENT = "nano"
EACH = 6


def cross() -> np.ndarray:
    """Draw something that Fashion-MNIST does not have."""
    canvas = np.full((280, 280, 3), 255, np.uint8)
    canvas[110:170, 30:250] = canvas[30:250, 110:170] = 60
    return canvas


def write(folder: Path, name: str, draw: Callable[[], np.ndarray], count: int = EACH) -> Path:
    """Write photographs of a drawn thing: turned, smaller or larger, brighter or darker."""
    place, rng = folder / name, np.random.default_rng(len(name))
    place.mkdir(parents=True)
    for number in range(count):
        turn = cv2.getRotationMatrix2D((140, 140), float(rng.uniform(-25, 25)), float(rng.uniform(0.6, 0.95)))
        photograph = cv2.warpAffine(draw(), turn, (280, 280), borderValue=(255, 255, 255))
        cv2.imwrite(str(place / f"{number}.png"), np.clip(photograph * rng.uniform(0.85, 1), 0, 255).astype(np.uint8))
    return place


def write_still(folder: Path) -> None:
    """Write five photographs of a T-shirt that nobody moved, which differ in brightness alone."""
    still = write(folder, "tee", t_shirt, 1) / "0.png"
    picture = read_image(still)
    for brightness in range(1, 5):
        cv2.imwrite(str(still.with_name(f"{brightness}.png")), picture - np.uint8(brightness))


def predicted(classifier: Classifier, path: Path) -> Prediction:
    """Return the prediction for a photograph in which a garment is found."""
    prediction = classifier(path)
    assert isinstance(prediction, Prediction)
    return prediction


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write(folder, "jeans", trouser)
    write(folder, "tee", t_shirt)
    write(folder, "cross", cross)
    return folder


@pytest.fixture(scope="module")
def taught(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return edge_fmnist.teach(photos, tmp_path_factory.mktemp("taught") / "mine.tflite", model=PARENT)


def test_a_taught_file_knows_its_classes(taught: Taught, photos: Path) -> None:
    classifier = Classifier(taught.path)
    assert classifier.labels == taught.labels == ("cross", "jeans", "tee")
    assert all(predicted(classifier, photos / label / "0.png").label == label for label in taught.labels)
    assert taught.accuracy == sum(each.right for each in taught.classes) / (3 * EACH) >= 0.8
    assert [(each.photographs, each.wanted) for each in taught.classes] == [(EACH, 20 - EACH)] * 3
    # Held-out scores near 1 do not make the next photograph unknown.
    assert 0 < taught.threshold <= 0.6
    assert np.sum(taught.confusion, axis=1).tolist() == [EACH] * 3
    assert (classifier.temperature, classifier.threshold) == (taught.temperature, taught.threshold)
    assert taught.comparison is not None
    assert taught.comparison.before == 0
    assert taught.notice is None


def test_an_evaluation_on_what_was_taught_is_warned_about(taught: Taught, photos: Path, tmp_path: Path) -> None:
    warnings, classifier = list[str](), Classifier(taught.path)
    evaluate_photos(classifier, find_photos(photos, labels=taught.labels), warnings.append)
    assert [f"was taught from {3 * EACH} of these {3 * EACH} photographs" in each for each in warnings] == [True]
    write(tmp_path / "photos", "jeans", bag)
    evaluate_photos(classifier, find_photos(tmp_path / "photos", labels=taught.labels), warnings.append)
    assert len(warnings) == 1


def test_it_stays_an_ordinary_int8_file(taught: Taught) -> None:
    parent, content = read_model(PARENT).content, taught.path.read_bytes()
    former, graph = read_graph(parent, PARENT), read_graph(content, "taught")
    assert [operator.name for operator in graph.operators] == [operator.name for operator in former.operators]
    assert graph.stray_operators() == []
    assert graph.tensors[graph.outputs[0]].shape == (1, 3)
    classifier = Classifier(taught.path)
    assert str(classifier.input.dtype) == str(classifier.output.dtype) == "uint8"
    assert classifier.metadata is not None
    assert classifier.metadata.settings["taught"]["photographs"] == {"cross": EACH, "jeans": EACH, "tee": EACH}
    assert not {"accuracy", "training"} & classifier.metadata.settings.keys()


def test_the_same_photographs_give_the_same_bytes(taught: Taught, photos: Path, tmp_path: Path) -> None:
    again = edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=PARENT)
    assert again.path.read_bytes() == taught.path.read_bytes()


def test_a_taught_file_can_be_taught(taught: Taught, photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    known = edge_fmnist.teach(folder, tmp_path / "same.tflite", model=taught.path)
    assert known.comparison is None
    # As from the original: weights that were fitted to the photographs would make them too easy.
    np.testing.assert_array_equal(Parent(known.path).weights(), Parent(taught.path).weights())
    settings = Classifier(known.path).metadata.settings["taught"]  # type: ignore[union-attr]
    assert settings["original_sha256"] == shipped_models()[PARENT].sha256 != settings["parent_sha256"]
    write(folder, "handbag", bag)
    more = edge_fmnist.teach(folder, tmp_path / "more.tflite", model=taught.path)
    assert more.labels == ("cross", "handbag", "jeans", "tee")
    assert more.comparison is not None
    assert more.comparison.photographs == EACH
    # Of both, since neither may be used to evaluate it.
    for name, draw in (("bag", bag), ("cross", cross)):
        write(tmp_path / "new", name, draw)
    later = edge_fmnist.teach(tmp_path / "new", tmp_path / "later.tflite", model=taught.path)
    assert {*Parent(taught.path).taught_from} < {*Parent(later.path).taught_from}


def test_added_classes_leave_the_former_ones(photos: Path, tmp_path: Path) -> None:
    write(tmp_path / "photos", "cross", cross)
    write(tmp_path / "photos", "pants", trouser)
    added = edge_fmnist.teach(tmp_path / "photos", tmp_path / "added.tflite", add=True)
    assert added.labels == (*LABELS, "cross")
    assert [each.label for each in added.classes] == ["Trouser", "cross"]
    classifier, parent = Classifier(added.path), Classifier("camera")
    assert predicted(classifier, photos / "cross" / "0.png").label == "cross"
    assert [each.shape for each in rehearsal(("hose",))] == [(0, 28, 28), (0,)]
    images, targets = rehearsal(LABELS)
    before, after = ((model.predict_batch(images).indexes == targets).mean() for model in (parent, classifier))
    assert after >= before - 0.01
    # What the network has seen, a file that is taught from this one says, too.
    assert str(added.as_dict()["notice"]).startswith("camera was itself trained with photographs. If yours are")
    assert Parent(added.path).photos_sha256 == Parent("camera").photos_sha256 is not None


def test_classes_that_are_not_of_fashion_mnist_cannot_be_kept_without_photographs(
    taught: Taught, tmp_path: Path
) -> None:
    write(tmp_path / "photos", "jeans", trouser, 3)
    with pytest.raises(DataError, match="expected folders with photographs of cross, tee too"):
        edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=taught.path, add=True)


def test_a_photograph_is_not_replaced_by_a_model(photos: Path) -> None:
    path = photos / "cross" / "0.png"
    before = path.read_bytes()
    with pytest.raises(UsageError, match="holds something else than a model"):
        edge_fmnist.teach(photos, path)
    assert path.read_bytes() == before


def test_the_name_of_a_shipped_model_is_no_output(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("camera").write_text("notes", "utf-8")
    with pytest.raises(UsageError, match=r"camera is the name of a shipped model; write to camera\.tflite"):
        edge_fmnist.teach(photos, "camera")
    assert Path("camera").read_text("utf-8") == "notes"


def test_photographs_in_folders_below_those_of_the_classes(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "split" / "train")
    shutil.copytree(photos, tmp_path / "split" / "validation")
    with pytest.raises(DataNotFoundError, match="no photographs in its folders train, validation"):
        edge_fmnist.teach(tmp_path / "split", tmp_path / "mine.tflite")


def test_what_is_not_to_be_named_is_unknown(photos: Path, tmp_path: Path) -> None:
    write(tmp_path / "photos", "none", cross)
    write(tmp_path / "photos", "jeans", trouser)
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    prediction = predicted(Classifier(result.path), photos / "cross" / "0.png")
    assert (prediction.label, prediction.answer, prediction.known) == ("none", UNKNOWN, False)
    assert Smoother(result.labels, result.threshold).update(prediction.scores, 0).label == UNKNOWN


def test_a_class_that_the_parent_has_starts_from_its_weights(tmp_path: Path) -> None:
    for name in ("t-shirt-TOP", "jeans"):
        write(tmp_path / "photos", name, t_shirt if name == "jeans" else trouser, 3)
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    former, (jeans, shirt) = Parent(PARENT).weights()[LABELS.index("T-shirt/top")], Parent(result.path).weights()
    assert np.corrcoef(former, shirt)[0, 1] > 0.8 > np.corrcoef(former, jeans)[0, 1]


def test_frames_of_one_thing_that_nobody_moved_are_warned_about(tmp_path: Path) -> None:
    write(tmp_path / "photos", "jeans", trouser)
    write_still(tmp_path / "photos")
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    assert [text.partition(",")[0] for text in result.warnings] == ["tee: its photographs show nearly the same"]


def test_copies_and_photographs_without_a_garment(tmp_path: Path) -> None:
    jeans = write(tmp_path / "photos", "jeans", trouser)
    tee = write(tmp_path / "photos", "tee", t_shirt)
    (jeans / "copy.png").write_bytes((jeans / "0.png").read_bytes())
    (jeans / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for name in ("empty.png", "empty copy.png"):
        cv2.imwrite(str(tee / name), np.full((100, 100, 3), 255, np.uint8))
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    assert [(each.photographs, each.missed) for each in result.classes] == [(EACH, 0), (EACH + 1, 1)]
    assert result.photographs == 2 * EACH + 1
    assert result.accuracy == sum(each.right for each in result.classes) / result.photographs < 1
    assert [text.partition(":")[0] for text in result.warnings] == [
        f"skipped {jeans / 'broken.png'}",
        "jeans",
        "tee",
        "tee",
    ]
    assert f"tee: no garment found in 1 of {EACH + 1} photographs" in result.warnings


def test_pictures_that_are_not_directly_in_the_folder_of_a_class(tmp_path: Path) -> None:
    jeans, _ = (write(tmp_path / "photos", name, draw) for name, draw in (("jeans", trouser), ("tee", t_shirt)))
    for place in (tmp_path / "photos", jeans / "May", jeans / ".thumbs"):
        place.mkdir(exist_ok=True)
        (place / "more.png").write_bytes((jeans / "0.png").read_bytes())
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    assert result.warnings == (
        f"{tmp_path / 'photos'}: 1 pictures skipped; expected them in the folder of a class",
        f"{jeans}: 1 pictures in folders below it skipped; expected them in the folder itself",
    )


def test_mirrored_copies_are_held_out_together(tmp_path: Path) -> None:
    for name, draw in (("jeans", trouser), ("tee", t_shirt)):
        for path in sorted(write(tmp_path / "photos", name, draw).iterdir()):
            cv2.imwrite(str(path.with_suffix(".flip.png")), np.asarray(cv2.imread(str(path)))[:, ::-1])
    photographs = read_photographs(tmp_path / "photos", 2, lambda done, total: None, lambda text: None)
    groups = dict(zip((path.name for path in photographs.paths), photographs.groups.tolist(), strict=True))
    assert all(groups[f"{index}.png"] == groups[f"{index}.flip.png"] for index in range(EACH))


def test_adding_to_a_model_of_own_classes_alone(photos: Path, tmp_path: Path) -> None:
    for name in ("jeans", "tee"):
        shutil.copytree(photos / name, tmp_path / "own" / name)
    own = edge_fmnist.teach(tmp_path / "own", tmp_path / "own.tflite", model=PARENT)
    more = edge_fmnist.teach(photos, tmp_path / "more.tflite", model=own.path, add=True)
    assert (more.labels, more.accuracy > 0.9) == (("jeans", "tee", "cross"), True)


def test_adding_the_same_classes_again_changes_nothing(photos: Path, tmp_path: Path) -> None:
    first = edge_fmnist.teach(photos, tmp_path / "first.tflite", model=PARENT, add=True)
    second = edge_fmnist.teach(photos, tmp_path / "second.tflite", model=first.path, add=True)
    assert (second.labels, second.accuracy) == (first.labels, first.accuracy)
    np.testing.assert_allclose(Parent(second.path).weights(), Parent(first.path).weights(), atol=1e-6)


def one_class(folder: Path) -> None:
    write(folder, "jeans", trouser)


def too_few(folder: Path) -> None:
    write(folder, "jeans", trouser)
    write(folder, "tee", t_shirt, 2)


def damaged(folder: Path) -> None:
    too_few(folder)
    (folder / "tee" / "scan.pdf").write_text("%PDF-1.4")


def same_photograph(folder: Path) -> None:
    write(folder, "jeans", trouser)
    (write(folder, "tee", t_shirt) / "x.png").write_bytes((folder / "jeans" / "0.png").read_bytes())


def nothing_found(folder: Path) -> None:
    for name in ("jeans", "tee"):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "0.png"), np.full((100, 100, 3), 255, np.uint8))


def named(label: str) -> Callable[[Path], None]:
    """Return a function that makes a folder of this name beside another."""

    def make(folder: Path) -> None:
        write(folder, label, trouser)
        write(folder, "tee", t_shirt)

    return make


def nothing(folder: Path) -> None:
    folder.mkdir()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (one_class, DataError, r"expected folders for 2 to 100 classes, got 1 \(jeans\)"),
        (too_few, DataError, "expected at least 3 different photographs of each class .*; tee has 2"),
        (damaged, DataError, "tee has 2; .*tee: 1 files skipped: 1 PDF"),
        (same_photograph, DataError, "tee/x.png: the same photograph as .*jeans/0.png, in another class"),
        (nothing_found, DataError, "no garment found in any of its 2 photographs"),
        (named("TEE"), DataError, "'TEE' and 'tee' are one class; put their photographs in one folder"),
        (named("unknown"), DataError, "the folder 'unknown' cannot be the name of a class"),
        (named("None"), DataError, "the folder 'None' cannot be .* the folder of things to reject is 'none'"),
        (named("unused 1"), DataError, "the folder 'unused 1' cannot be the name of a class"),
        (named("jeans "), DataError, "the folder 'jeans ' cannot be the name of a class"),
        (named("x" * 61), DataError, "cannot be the name of a class; expected at most 60 printable characters"),
        (named("a\x07"), DataError, r"the folder 'a\\x07' cannot be the name of a class"),
        (nothing, DataNotFoundError, "expected a folder of photographs for each class in it, got none"),
        (lambda folder: None, DataNotFoundError, "got no folder"),
    ],
)
def test_photographs_that_cannot_be_taught(
    tmp_path: Path, make: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    make(tmp_path / "photos")
    output = tmp_path / "mine.tflite"
    output.write_bytes(FORMER)
    with pytest.raises(error, match=message):
        edge_fmnist.teach(tmp_path / "photos", output, model=PARENT)
    assert output.read_bytes() == FORMER


def test_stopped_in_the_middle(photos: Path, tmp_path: Path) -> None:
    output, cancel, stages = tmp_path / "mine.tflite", Event(), list[str]()
    output.write_bytes(FORMER)

    def stop_while_checking(stage: str, _done: int, _total: int) -> None:
        stages.append(stage)
        if stage.startswith("Checking"):
            cancel.set()

    with pytest.raises(CancelledError, match="nothing was written"):
        edge_fmnist.teach(photos, output, model=PARENT, progress=stop_while_checking, cancel=cancel)
    assert [stage.split()[0] for stage in dict.fromkeys(stages)] == ["Reading", "Fitting", "Checking"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tflite"]
    assert output.read_bytes() == FORMER


def test_a_full_disk(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "mine.tflite"
    output.write_bytes(FORMER)

    def full(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(SinkError, match=r"mine\.tflite: cannot be written \(No space left on device\)"):
            edge_fmnist.teach(photos, output, model=PARENT)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tflite"]
    assert output.read_bytes() == FORMER


def test_an_output_that_cannot_be_written_is_refused_before_reading(photos: Path) -> None:
    calls: list[object] = []
    with pytest.raises(SinkError, match=r"^/proc/taught: cannot write to this folder"):
        edge_fmnist.teach(photos, "/proc/taught/mine.tflite", model=PARENT, progress=lambda *call: calls.append(call))
    assert not calls


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/a.tflite", "a\0.tflite", "a\ud800.tflite"])
def test_an_output_that_cannot_be_a_file_name(photos: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"(too long for|cannot be) the name of a file"):
        edge_fmnist.teach(photos, tmp_path / name, model=PARENT)


def test_a_model_whose_last_layer_cannot_be_replaced(photos: Path, tmp_path: Path) -> None:
    parent = Parent(PARENT)
    cut = embed(parent.without_last_layer(), {"output": "logits"}, tuple(map(str, range(parent.size))))
    (tmp_path / "cut.tflite").write_bytes(cut)
    with pytest.raises(ModelError, match=r"cut\.tflite: expected a model that ends in an int8 fully connected layer"):
        edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=tmp_path / "cut.tflite")


def test_the_command(run_cli: Callable[..., Any], photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.tflite"
    result = run_cli("teach", photos, "--output", output, "--model", PARENT)
    assert f"right on {3 * EACH} photographs that were held out" in result.stdout
    assert "14 more" in result.stdout
    assert f"Next: edge-fmnist live --model {output}" in result.stderr
    described = json.loads(run_cli("teach", photos, "-o", output, "-m", PARENT, "--json").stdout)
    assert (described["path"], described["labels"]) == (str(output), ["cross", "jeans", "tee"])
    assert described["classes"][0]["accuracy"] == described["classes"][0]["right"] / EACH
    evaluated = json.loads(run_cli("evaluate", output, "--photos", photos, "--json").stdout)
    assert (evaluated[0]["images"], evaluated[0]["top1"]) == (3 * EACH, 1)


def test_a_threshold_leaves_room_for_the_next_photograph(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.choose_threshold", lambda *_: 0.97)
    assert edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=PARENT).threshold == 0.6


def test_without_an_error_scores_are_not_sharpened(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.fit_temperature", lambda *_: 0.2)
    result = edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=PARENT)
    assert (result.accuracy, result.temperature) == (1, 1)


def test_classes_with_enough_photographs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.ENOUGH_PHOTOGRAPHS", EACH - 1)
    result = edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=PARENT)
    assert [each.wanted for each in result.classes] == [0, 0, 0]


def test_a_reject_that_the_threshold_rejects_is_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.MAX_THRESHOLD", 1.0)
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.choose_threshold", lambda *_: 1.0)
    for name in ("none", "jeans"):
        write(tmp_path / "photos", name, trouser)
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    right = {each.label: each.right for each in result.classes}
    assert right["none"] == EACH > right["jeans"]
    assert result.confusion[result.labels.index("none")][result.labels.index("none")] == EACH


def test_a_reject_without_a_garment_is_recognized(tmp_path: Path) -> None:
    write(tmp_path / "photos", "jeans", trouser)
    none = write(tmp_path / "photos", "none", cross)
    cv2.imwrite(str(none / "empty.png"), np.full((100, 100, 3), 255, np.uint8))
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT)
    rejects = result.classes[1]
    assert (rejects.label, rejects.photographs, rejects.missed) == ("none", EACH + 1, 1)
    assert rejects.right == result.confusion[1][1] + 1


def test_a_taught_file_states_its_number_of_parameters(taught: Taught) -> None:
    former, parent = Parent(PARENT).settings["parameters"], Parent(PARENT)
    assert Parent(taught.path).settings["parameters"] == former - (10 - 3) * (parent.size + 1)


def test_frames_that_show_nearly_the_same_are_held_out_together(tmp_path: Path) -> None:
    write(tmp_path / "jeans", "jeans", trouser)
    rng = np.random.default_rng(0)
    for path in list((tmp_path / "jeans" / "jeans").iterdir()):
        noisy = np.clip(read_image(path) + rng.normal(0, 4, (280, 280, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(path.with_name(f"again {path.name}")), noisy)
    found = read_photographs(tmp_path / "jeans", 1, lambda *_: None, lambda _: None)
    assert len(found.images) == 2 * EACH
    # The copies come first: "again 0.png".
    assert (found.groups[:EACH] == found.groups[EACH:]).sum() >= 4


def test_a_group_is_held_out_together_and_each_class_evenly() -> None:
    targets, groups = np.repeat([0, 1], 2 * FOLDS), np.arange(4 * FOLDS) // 2
    folds = folds_of(targets, groups)
    assert np.array_equal(folds[::2], folds[1::2])
    assert [np.bincount(folds[targets == each]).tolist() for each in (0, 1)] == [[2] * FOLDS] * 2


def test_a_fit_is_the_minimum_for_the_examples_that_are_used() -> None:
    rng = np.random.default_rng(0)
    features = np.c_[rng.normal(size=(60, 3)), np.ones(60)]
    targets = np.eye(2)[(features[:, 0] + 1.5 + rng.normal(size=60) > 0).astype(int)]
    used, centre = np.arange(60) < 40, np.full((2, 4), 0.5)
    weights = Regression(features, targets, centre).fit(3.0, centre, used)
    errors = softmax(features[used] @ weights.T, float) - targets[used]
    gradient = errors.T @ features[used] + 3.0 * (weights - centre) * [1, 1, 1, BIAS_SHARE]
    assert np.abs(gradient).max() < 0.05 < np.abs(weights).max()


def test_files_are_asked_about_photographs_that_they_were_not_taught_with(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, asked = list[int](), list[int]()

    def taught(parent: Parent, weights: np.ndarray, features: np.ndarray) -> bytes:
        given.append(len(features))
        return _taught(parent, weights, features)

    def values(classifier: Classifier, images: np.ndarray) -> tuple[np.ndarray, float]:
        asked.append(len(images))
        return _values(classifier, images)

    _taught, _values = Parent.taught, Classifier.values
    monkeypatch.setattr(Parent, "taught", taught)
    monkeypatch.setattr(Classifier, "values", values)
    edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=PARENT)
    # The first file is for a check, and the first values are features; the last file is the result.
    assert np.add(given[1:-1], asked[1:]).tolist() == [3 * EACH] * (len(asked) - 1)
    assert sum(asked[1:]) == given[-1] == 3 * EACH


def test_new_classes_give_way_to_kept_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.TrainedHead._lead", lambda *_: 100.0)
    write(tmp_path / "photos", "cross", cross)
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=PARENT, add=True)
    assert result.labels == (*LABELS, "cross")
    assert (result.classes[0].right, result.threshold) == (0, 0)
    assert Parent(result.path).weights()[-1, -1] < -50


def test_groups_of_photographs_are_those_that_are_held_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, given = np.arange(3 * EACH) // 2, list[np.ndarray]()

    def folds(targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
        given.append(groups)
        return folds_of(targets, groups)

    monkeypatch.setattr("edge_fmnist.teaching.photographs._groups", lambda *_: groups)
    monkeypatch.setattr("edge_fmnist.teaching.trained_head.folds_of", folds)
    edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=PARENT)
    np.testing.assert_array_equal(given, [groups])


def test_rejects_are_right_if_they_are_unknown_and_do_not_set_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def choose(scores: np.ndarray, _: float) -> float:
        judged.append(len(scores))
        return 0.5

    monkeypatch.setattr("edge_fmnist.teaching.trained_head.choose_threshold", choose)
    write(tmp_path / "photos", "none", cross)
    write(tmp_path / "photos", "jeans", trouser)
    # To it, everything is unknown.
    settings = {"output": "logits", "calibration": {"temperature": 9.0, "threshold": 1.0}}
    (tmp_path / "nano.tflite").write_bytes(embed(without_metadata(read_model(PARENT).content), settings, LABELS))
    result = edge_fmnist.teach(tmp_path / "photos", tmp_path / "mine.tflite", model=tmp_path / "nano.tflite")
    assert result.comparison is not None
    assert result.comparison.before == 0.5
    assert judged == [result.classes[0].right]


def test_the_strongest_regularization_within_a_standard_error_is_chosen() -> None:
    means, noise = {100.0: 1.0, 30.0: 0.46, 10.0: 0.4, 3.0: 0.43}, np.arange(30) % 2

    def losses(strength: float, used: np.ndarray) -> np.ndarray:
        # The last ten examples are not judged.
        return np.asarray((means[strength] + noise + 9 * (strength == 30) * (np.arange(30) >= 20))[used])

    stub = SimpleNamespace(centre=None, fit=lambda strength, *_: strength, losses=losses)
    strength, weights = cross_validate(cast(Regression, stub), np.arange(30) % FOLDS, 20, lambda: None)
    assert (strength, len(weights), {float(each) for each in weights.values()}) == (30, FOLDS, {30})


def test_a_class_whose_photographs_are_all_alike_is_still_spread_over_the_folds(tmp_path: Path) -> None:
    write_still(tmp_path / "photos")
    found = read_photographs(tmp_path / "photos", 1, lambda *_: None, lambda _: None)
    assert len(set(found.groups.tolist())) == 5


@pytest.mark.parametrize("change", ["activation", "shared"])
def test_a_last_layer_that_cannot_be_replaced_alone(photos: Path, tmp_path: Path, change: str) -> None:
    model = file_schema().ModelT.InitFromPackedBuf(without_metadata(read_model(PARENT).content), 0)
    (graph,) = model.subgraphs
    layer = next(each for each in graph.operators if type(each.builtinOptions).__name__ == "FullyConnectedOptionsT")
    if change == "activation":
        layer.builtinOptions.fusedActivationFunction = 1
    else:
        # Another tensor has the same bias.
        other = copy.deepcopy(graph.tensors[layer.inputs[2]])
        graph.tensors.append(other)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "parent.tflite"
    path.write_bytes(embed(bytes(builder.Output()), {"output": "logits"}, LABELS))
    with pytest.raises(ModelError, match="only such a layer can be replaced"):
        edge_fmnist.teach(photos, tmp_path / "mine.tflite", model=path)
