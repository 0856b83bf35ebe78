"""The sections that do not need TensorFlow, with the shipped file and random images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier
from edge_fmnist.cli import console
from edge_fmnist.data.dataset import load_split
from edge_fmnist.errors import DataError, ModelError, RunError, UsageError
from edge_fmnist.model.predictions import Predictions
from edge_fmnist.model.registry import shipped_models
from edge_fmnist_export.report import builder, figures, metrics
from edge_fmnist_export.report.analysis.projection import Projection
from edge_fmnist_export.report.base import ReportContext, ReportSection
from edge_fmnist_export.report.explain.base import ExplainRequest
from edge_fmnist_export.report.explain.methods import METHODS
from edge_fmnist_export.report.explain.scorer import of_file
from edge_fmnist_export.report.sections import SECTIONS, data, explanation, gallery, projection, result, training
from edge_fmnist_export.report.store import drawn
from edge_fmnist_export.training.run_folder import open_run

OURS = ("result", "gallery", "data", "training")


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(figures.RC):
        yield


@pytest.fixture
def context(small_data: Path, tmp_path: Path) -> ReportContext:
    return ReportContext(
        name="edge",
        model_path=shipped_models()["edge"].path,
        classifier=Classifier.load("edge"),
        run=None,
        train=load_split(small_data, "train"),
        test=load_split(small_data, "test"),
        labels=LABELS,
        output=tmp_path / "report",
    )


def table(section: ReportSection, name: str) -> dict[str, list[Any]]:
    """Return the rows of a table by their first cell, without it."""
    (found,) = [table for table in section.tables if table.name == name]
    return {str(row[0]): list(row[1:]) for row in found.rows}


@pytest.mark.parametrize("name", OURS)
def test_every_section_can_be_drawn(context: ReportContext, name: str) -> None:
    section = drawn(SECTIONS[name].build(context))
    assert section.text
    assert all(figure.caption and len(bytes(figure.content)) > 1000 for figure in section.figures)  # type: ignore[arg-type]


def test_result_reports_the_predictions_of_the_file(context: ReportContext) -> None:
    predicted, targets = context.predictions.indexes, context.test.targets
    section = result.build(context)
    facts = {name: values[0] for name, values in table(section, "metrics").items()}
    assert facts["top-1 accuracy"] == (predicted == targets).mean()
    assert facts["top-1, 95 % interval from"] < facts["top-1 accuracy"] < facts["top-1, 95 % interval to"]
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (targets, predicted), 1)
    assert list(table(section, "confusion").values()) == confusion.tolist() == section.summary["confusion"]
    assert [tile.label for tile in section.tiles] == [
        "Top-1 accuracy",
        "File size",
        "Latency, p50",
        "Quantization drop",
    ]
    assert section.tiles[3].value == "unknown"
    assert section.summary["latency_p50_ms"] > 0


def test_most_frequent_mistake_is_named(context: ReportContext) -> None:
    section = result.build(context)
    (first, *_) = section.tables[2].rows
    assert f"mistake is {first[0]} predicted as {first[1]}: {first[2]} images" in section.text[0]


def test_a_model_that_is_always_right(context: ReportContext) -> None:
    sure = Predictions(np.eye(10, dtype=np.float32)[context.test.targets], LABELS, 1.0)
    vars(context)["predictions"] = sure
    section = result.build(context)
    assert section.summary["top1"] == 1
    assert section.summary["expected_calibration_error"] == 0
    assert table(section, "confused") == {}
    assert drawn(gallery.build(context)).summary["mistakes"] == 0


def test_coverage_at_the_threshold_is_reported(context: ReportContext) -> None:
    scores = context.predictions.scores.max(axis=1)
    context.classifier.threshold = float(np.median(scores))
    text = result.build(context).text[1]
    share = (scores >= context.classifier.threshold).mean()
    assert f"{share:.1%} of predictions are accepted" in text
    context.classifier.threshold = 1.0
    assert "no prediction is accepted" in result.build(context).text[1]


def test_data_counts_and_duplicates(context: ReportContext) -> None:
    train, test = context.train, context.test
    images, others, targets = train.images.copy(), test.images.copy(), test.targets.copy()
    images[5] = others[7] = images[2]
    targets[7] = 9
    # Four grey levels in each pixel.
    others[8] = images[3] ^ 4
    train, test = replace(train, images=images), replace(test, images=others, targets=targets)
    section = data.build(replace(context, train=train, test=test))
    assert section.summary["images"] == {"train": 60, "test": 40}
    counts = table(section, "classes")
    assert [counts[label][0] for label in LABELS] == np.bincount(train.targets, minlength=10).tolist()
    assert section.summary["duplicates"] == {
        "within train": 1,
        "within test": 0,
        "between train and test": 1,
        "near pairs with different labels": 3,
    }
    assert section.summary["near_duplicates"] == {"2": 1, "5": 2, "10": 2, "15": 2}
    assert any(figure.name == "near-duplicates" for figure in section.figures)
    assert "1 test images are identical" in section.text[1]


def test_validation_is_a_split_only_if_the_run_used_this_data(context: ReportContext) -> None:
    # The shipped run is of Fashion-MNIST, not of these images.
    assert set(data.targets_by_split(replace(context, run=open_run("edge")))) == {"train", "test"}


def test_a_class_without_images_is_drawn(context: ReportContext) -> None:
    keep = context.train.targets != 3
    train = replace(context.train, images=context.train.images[keep], targets=context.train.targets[keep])
    section = data.build(replace(context, train=train))
    assert table(section, "classes")["Dress"] == [0, 4, None, None]
    assert len(drawn(section).figures) >= 4


def test_gallery_shows_the_mistakes_with_the_highest_scores_first(context: ReportContext) -> None:
    section = gallery.build(context)
    wrong = np.flatnonzero(context.predictions.indexes != context.test.targets)
    scores = context.predictions.scores.max(axis=1)
    rows = next(table for table in section.tables if table.name == "mistakes").rows
    assert sorted(row[0] for row in rows) == wrong.tolist()
    assert [row[3] for row in rows] == sorted(scores[wrong].tolist(), reverse=True)
    assert section.summary["differing"] is None


def test_gallery_shows_where_file_and_float_model_differ(context: ReportContext) -> None:
    floats = context.predictions.scores.copy()
    # The float model is right on two images that the file gets wrong.
    wrong = np.flatnonzero(context.predictions.indexes != context.test.targets)[:2]
    floats[wrong] = np.eye(10, dtype=np.float32)[context.test.targets[wrong]]
    vars(context)["float_scores"] = floats
    section = gallery.build(context)
    assert section.summary["differing"] == 2
    assert "the file is correct for 0, the float model for 2, and neither for 0" in section.text[1]
    assert sorted(int(row) for row in table(section, "differing")) == wrong.tolist()
    measured = result.build(context)
    assert measured.tiles[3].value == "5.00 points"
    facts = table(measured, "metrics")
    assert facts["same prediction by file and float model"] == [pytest.approx(1 - 2 / 40)]


def test_right_images_are_spread_over_the_classes() -> None:
    targets = np.repeat(np.arange(10), [91, *[1] * 9])
    shown = gallery.spread(np.arange(100), targets, np.random.default_rng(0))
    assert np.bincount(targets[shown]).tolist() == [11, *[1] * 9]


def test_training_of_the_shipped_run(context: ReportContext) -> None:
    run = open_run("edge")
    section = training.build(replace(context, run=run))
    history = run.read_json("history.json", [])
    # The record of the float phase is of each fifth epoch.
    assert section.summary["epochs"] == 60 + 1 > len(history)
    found = section.summary["verdict"]["float"]
    floats = [record for record in history if record["phase"] == "float"]
    best = max(floats, key=lambda record: record["validation_accuracy"])
    assert found["best_epoch"] == best["epoch"]
    assert found["gap_points"] == pytest.approx((best["accuracy"] - best["validation_accuracy"]) * 100, abs=1e-5)
    assert "Quantization-aware training" in section.text[1]
    assert all("Shaded" in figure.caption for figure in section.figures)


def test_without_a_run_training_says_how_to_name_one(context: ReportContext) -> None:
    assert "--run" in training.build(context).text[0]


@pytest.mark.parametrize("content", ["[]", '[{"phase": "float"}]', "[1]", "no json"])
def test_a_damaged_history_is_reported(context: ReportContext, tmp_path: Path, content: str) -> None:
    recipe = open_run("edge").folder / "recipe.toml"
    (tmp_path / "recipe.toml").write_bytes(recipe.read_bytes())
    (tmp_path / "history.json").write_text(content)
    with pytest.raises(RunError, match=re.escape("history.json")):
        training.build(replace(context, run=open_run(tmp_path)))


def test_sections_are_chosen() -> None:
    assert builder.choose_sections([], ["data", "result"]) == [n for n in SECTIONS if n not in ("data", "result")]
    assert builder.choose_sections(["data", "result"], []) == ["result", "data"]
    with pytest.raises(UsageError, match="'dta': no such section; expected one of result, gallery"):
        builder.choose_sections(["dta"], [])
    with pytest.raises(UsageError, match="no section is left"):
        builder.choose_sections(["data"], ["data"])


def test_a_section_that_fails_leaves_the_others(context: ReportContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(context: ReportContext) -> ReportSection:
        raise ModelError("the file is <damaged>")

    monkeypatch.setattr(result, "build", fail)
    report = builder.build_report(context, ["training", "result"])
    assert list(report.failures) == ["result"]
    assert list(report.summary["sections"]) == ["training"]
    assert "the file is &lt;damaged&gt;" in report.page.read_text("utf-8")


def test_an_unexpected_error_of_a_section_leaves_the_others(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(context: ReportContext) -> ReportSection:
        raise ZeroDivisionError("of a library")

    monkeypatch.setattr(result, "build", fail)
    report = builder.build_report(context, ["training", "result"])
    assert list(report.summary["sections"]) == ["training"]
    assert report.summary["failures"] == {"result": "ZeroDivisionError: of a library"}
    # Ctrl-C, which native code made another exception of.
    monkeypatch.setattr(console, "was_interrupted", lambda: True)
    with pytest.raises(ZeroDivisionError):
        builder.build_report(context, ["result"])


def test_explanations_and_projections_shorten_long_names(context: ReportContext) -> None:
    context = replace(context, labels=tuple(f"a class name as long as it can be, {index}" for index in range(10)))
    request = ExplainRequest(of_file(context.classifier, "edge"), context.test.images[0], 0, 0)
    explained = {0: [METHODS["occlusion"](request)]}
    (axes, *_) = explanation._rows(context, [0], explained, ["occlusion"]).axes
    targets = np.arange(10)
    points = Projection("features", "umap", np.eye(10)[:, :2], 1.0, 1.0)
    drawn = projection.draw(points, targets, targets < 0, context.labels)
    names = [*axes.get_title(loc="left").splitlines(), *(text.get_text() for text in drawn.axes[0].texts)]
    assert len(names) >= 11
    assert all(len(name) <= figures.LONGEST_LABEL + len("→  100%") for name in names)


def test_a_section_is_cached_until_its_inputs_change(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch, make_idx: Callable[..., Path]
) -> None:
    calls: list[str] = []

    def count(context: ReportContext) -> ReportSection:
        calls.append(context.name)
        return ReportSection("Training")

    monkeypatch.setattr(training, "build", count)
    for changed, expected in (
        (context, 1),
        (context, 1),
        (replace(context, seed=1), 2),
        (replace(context, labels=LABELS[::-1]), 3),
        (replace(context, run=open_run("edge")), 4),
        (replace(context, test=load_split(make_idx("other", test_labels=np.zeros(40, np.uint8)), "test")), 5),
        (replace(context, model_path=shipped_models()["camera"].path), 6),
    ):
        builder.build_report(changed, ["training"])
        assert len(calls) == expected
    monkeypatch.setattr(training, "VERSION", training.VERSION + 1)
    builder.build_report(changed, ["training"])
    builder.build_report(changed, ["training"], fresh=True)
    assert len(calls) == 8


def test_the_tables_of_the_result(context: ReportContext) -> None:
    # Of classes of different size.
    unequal = np.repeat(np.arange(10, dtype=np.uint8), [1, 2, 3, 4, *[5] * 6])
    context = replace(context, test=replace(context.test, targets=unequal))
    section = result.build(context)
    scores, targets = context.predictions.scores.max(axis=1), context.test.targets
    correct = context.predictions.indexes == targets
    measured = metrics.measure(targets, context.predictions.indexes, LABELS, context.predictions.scores)
    assert list(table(section, "classification-report").values())[:10] == [
        [m.precision, m.recall, m.f1, m.support, m.predicted] for m in measured.classes
    ]
    (confused,) = (each for each in section.tables if each.name == "confused")
    for true, predicted, images, share in confused.rows:
        assert images == measured.confusion[LABELS.index(true), LABELS.index(predicted)]
        assert share == images / (targets == LABELS.index(true)).sum()
    (covered,) = (each for each in section.tables if each.name == "coverage")
    for share, accuracy, least in covered.rows:
        assert (share, accuracy) == pytest.approx(((scores >= least).mean(), correct[scores >= least].mean()))
    assert section.summary["log_loss"] == pytest.approx(measured.log_loss, abs=1e-6)


def test_the_labels_of_mistakes_and_of_right_images(context: ReportContext) -> None:
    section = gallery.build(context)
    predicted, targets, scores = context.predictions.indexes, context.test.targets, context.predictions.scores
    for name, (true, answer, _, of_true) in table(section, "mistakes").items():
        index = int(name)
        assert (true, answer) == (LABELS[targets[index]], LABELS[predicted[index]])
        assert of_true == scores[index, targets[index]]
    for figure in section.figures:
        captions = [axes.xaxis.label for axes in figure.content.axes if axes.get_xlabel()]  # type: ignore[union-attr]
        signs = {(text.get_text().splitlines()[1][0], text.get_color()) for text in captions}
        assert signs == {("=", figures.INK) if figure.name == "correct" else ("→", figures.RED)}


def test_disagreement_comes_with_the_highest_scores_first(context: ReportContext) -> None:
    floats = np.roll(context.predictions.scores, 1, axis=1)
    vars(context)["float_scores"] = floats
    rows = list(table(gallery.build(context), "differing").items())
    assert [row[2] for _, row in rows] == sorted((row[2] for _, row in rows), reverse=True)
    for name, (true, ours, score, theirs, theirs_score) in rows:
        index = int(name)
        assert (true, ours) == (LABELS[context.test.targets[index]], LABELS[context.predictions.indexes[index]])
        assert (score, theirs, theirs_score) == (
            floats[index].max(),
            LABELS[floats[index].argmax()],
            floats[index].max(),
        )


def test_the_curves_of_training_have_the_names_of_their_values(context: ReportContext) -> None:
    run = open_run("edge")
    records = training.read_history(run)
    section = training.build(replace(context, run=run))
    for figure in section.figures[:2]:
        (axes,) = figure.content.axes  # type: ignore[union-attr]
        drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
        factor = 100 if figure.name == "accuracy" else 1
        assert drawn["training"] == pytest.approx([getattr(each, figure.name) * factor for each in records])
        validation = [getattr(each, f"validation_{figure.name}") * factor for each in records]
        assert drawn["validation"] == pytest.approx(validation)
    assert "that were trained on, too" in section.text[-1]
    assert section.tables[0].rows[0][2:6] == [
        getattr(records[-1], name) for name in ("loss", "accuracy", "validation_loss", "validation_accuracy")
    ]


def test_the_page_describes_the_file(context: ReportContext) -> None:
    page = builder.build_report(context, ["training"]).page.read_text("utf-8")
    assert "quantization: int8" in page


def test_one_class_too_many_is_refused(context: ReportContext) -> None:
    with pytest.raises(DataError, match="expected labels of the model's 9 classes, got label 9"):
        builder.build_report(replace(context, labels=LABELS[:9]), ["training"])


def test_the_tables_of_the_data(context: ReportContext) -> None:
    train, test = context.train, context.test
    others = test.images.copy()
    others[7] = train.images[2]
    section = data.build(replace(context, test=replace(test, images=others)))
    assert table(section, "duplicates")["identical images between train and test"] == [1]
    assert "near pairs with different labels" in table(section, "duplicates")
    assert table(section, "near-duplicates") == {"7": [LABELS[test.targets[7]], 2, LABELS[train.targets[2]], 0.0]}
    assert table(section, "classes")["Coat"][2] == train.images[train.targets == 4].mean()
