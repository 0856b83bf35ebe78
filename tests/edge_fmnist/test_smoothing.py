"""Smoothing: the average, and the hysteresis on the shown label."""

from __future__ import annotations

import doctest
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from edge_fmnist.data.labels import UNKNOWN
from edge_fmnist.pipeline import smoothing
from edge_fmnist.pipeline.smoothing import ABSENCE, BAND, MARGIN, TIME_CONSTANT, Smoothed, Smoother

LABELS = ("Coat", "Dress", "Bag")


def scores(coat: float, dress: float) -> np.ndarray:
    return np.array([coat, dress, 1 - coat - dress], np.float32)


COAT, DRESS, UNSURE = scores(0.9, 0.05), scores(0.05, 0.9), scores(0.35, 0.33)


def run(smoother: Smoother, frames: Sequence[np.ndarray | None], fps: float = 30, start: float = 100) -> list[Smoothed]:
    return [smoother.update(frame, start + number / fps) for number, frame in enumerate(frames)]


def labels(shown: list[Smoothed]) -> list[str | None]:
    return [one.label for one in shown]


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(smoothing).failed == 0


def test_the_first_frame_shows_at_once() -> None:
    shown = Smoother(LABELS, 0.5).update(COAT, 0)
    assert shown.label == "Coat"
    assert shown.score == pytest.approx(0.9)
    assert shown.scores == pytest.approx(COAT)
    assert shown.scores.dtype == np.float32


@pytest.mark.parametrize("fps", [5, 30, 200])
def test_the_average_depends_on_time_not_on_the_frame_rate(fps: int) -> None:
    frames = [COAT] + [DRESS] * fps
    shown = run(Smoother(LABELS), frames, fps)[-1]
    left = np.exp(-1 / TIME_CONSTANT)
    assert shown.scores == pytest.approx(DRESS + left * (COAT - DRESS), abs=1e-5)


def test_results_keep_their_scores() -> None:
    smoother = Smoother(LABELS)
    first = smoother.update(COAT, 0)
    before = first.scores.copy()
    smoother.update(DRESS, 1)
    assert np.array_equal(first.scores, before)
    assert np.array_equal(COAT, scores(0.9, 0.05))


def test_one_odd_frame_changes_nothing() -> None:
    shown = run(Smoother(LABELS, 0.5), [*[COAT] * 10, DRESS, *[COAT] * 10])
    assert set(labels(shown)) == {"Coat"}


def test_another_garment_is_shown_within_a_second_and_only_once() -> None:
    after = labels(run(Smoother(LABELS), [*[COAT] * 30, *[DRESS] * 30]))
    assert after[-1] == "Dress"
    assert after.count("Coat") < 30 + 20
    assert sum(a != b for a, b in itertools.pairwise(after)) == 1


def test_two_equal_classes_do_not_take_turns() -> None:
    close = [scores(0.48, 0.5), scores(0.5, 0.48)]
    shown = run(Smoother(LABELS), [COAT, *close * 100])
    assert set(labels(shown)) == {"Coat"}


@pytest.mark.parametrize(("lead", "label"), [(MARGIN - 0.01, "Coat"), (MARGIN + 0.01, "Dress")])
def test_a_new_label_must_lead_by_the_margin(lead: float, label: str) -> None:
    settled = [scores(0.4, 0.4 + lead)] * 200
    assert run(Smoother(LABELS), [COAT, *settled])[-1].label == label


def test_the_score_is_that_of_the_most_probable_class_even_when_another_is_held() -> None:
    shown = run(Smoother(LABELS), [COAT, *[scores(0.4, 0.45)] * 200])[-1]
    assert shown.label == "Coat"
    assert shown.score == pytest.approx(0.45, abs=1e-4)


def test_unknown_is_left_only_above_the_band() -> None:
    smoother = Smoother(LABELS, 0.5)
    within = [scores(0.5 + BAND / 2, 0.1)] * 200
    shown = run(smoother, [UNSURE, *within])
    assert shown[-1].score > 0.5
    assert set(labels(shown)) == {UNKNOWN}
    assert run(smoother, [scores(0.5 + 2 * BAND, 0.1)] * 200, start=200)[-1].label == "Coat"


@pytest.mark.parametrize("threshold", [0.96, 0.99])
def test_a_high_threshold_can_be_left(threshold: float) -> None:
    shown = run(Smoother(LABELS, threshold), [UNSURE, *[scores(0.999, 0)] * 200])
    assert shown[-1].label == "Coat"


def test_after_unknown_the_best_class_is_shown_not_the_one_before_it() -> None:
    shown = run(Smoother(LABELS, 0.5), [COAT, *[UNSURE] * 100, *[DRESS] * 100])
    assert labels(shown)[-1] == "Dress"
    # Within the change there was no frame at which the coat came back.
    assert "Coat" not in labels(shown)[101:]


def test_a_mask_that_fails_for_a_moment_keeps_the_label() -> None:
    shown = run(Smoother(LABELS), [COAT, None, None, COAT])
    assert labels(shown) == ["Coat"] * 4
    assert shown[2].score == shown[0].score


def test_without_a_garment_the_label_goes_and_the_average_is_forgotten() -> None:
    smoother = Smoother(LABELS)
    gone = run(smoother, [COAT, *[None] * 30])
    assert gone[int(ABSENCE * 30) - 2].label == "Coat"
    assert (gone[-1].label, gone[-1].score, gone[-1].scores.tolist()) == (None, 0, [0, 0, 0])
    again = smoother.update(DRESS, 102)
    assert again.label == "Dress"
    assert again.scores == pytest.approx(DRESS)


def test_off_takes_each_picture_for_itself() -> None:
    frames = [COAT, DRESS, scores(0.48, 0.5), None, UNSURE, scores(0.51, 0.2)]
    shown = run(Smoother(LABELS, 0.5, smoothing=False), frames)
    assert labels(shown) == ["Coat", "Dress", "Dress", None, UNKNOWN, "Coat"]
    assert shown[1].scores == pytest.approx(DRESS)


def test_off_keeps_equal_scores_equal() -> None:
    tie = np.array([0.429, 0.429, 0.142], np.float32)
    before = np.array([0.03, 0.97, 0], np.float32)
    shown = run(Smoother(("Coat", "Dress", "Bag"), smoothing=False), [before, tie])[1]
    assert np.array_equal(shown.scores, tie)
    assert shown.label == "Coat"
