from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load_split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import UsageError
from edge_fmnist_export.cli import explain as command
from edge_fmnist_export.report.explain import lime_weights, occlusion
from edge_fmnist_export.report.explain.base import Explanation, Question
from edge_fmnist_export.report.explain.methods import METHODS, explain
from edge_fmnist_export.report.explain.scorer import Scorer, of_file

ROWS, COLUMNS = slice(8, 16), slice(10, 18)
BLACK_BOX = ("shap", "lime", "occlusion")


def patch_scorer() -> Scorer:
    """Return a model with a known answer: its score is the mean brightness of one patch, and nothing else counts."""

    def scores(images: np.ndarray) -> np.ndarray:
        patch = images[:, ROWS, COLUMNS].mean(axis=(1, 2), dtype=np.float32) / 255
        return np.stack([patch, 1 - patch], axis=1)

    return Scorer("patch", "file", ("patch", "rest"), scores)


@pytest.fixture
def image() -> np.ndarray:
    """Return an image that is grey all over, so that covering counts everywhere."""
    return np.full((28, 28), 200, np.uint8)


def inside(values: np.ndarray) -> float:
    """Return the share of the mass that lies on the patch."""
    return float(np.abs(values[ROWS, COLUMNS]).sum() / np.abs(values).sum())


def test_the_command_knows_the_methods() -> None:
    assert list(command.METHODS) == list(command.NAMES) == list(METHODS)


def test_an_unknown_method_is_refused(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="expected one of shap, lime, occlusion, gradcam"):
        explain("guess", Question(patch_scorer(), image, 0))


def test_occlusion_of_a_known_model_is_exact(image: np.ndarray) -> None:
    found = explain("occlusion", Question(patch_scorer(), image, 0))
    # A covered pixel of the patch takes 200 / 255 / 64 from the score; the mean counts what each of the 25 places of
    # the square around a pixel covers of the patch.
    offsets = np.arange(-4, 5)
    kernel = np.outer(5 - np.abs(offsets), 5 - np.abs(offsets)) / 25
    expected = np.zeros((36, 36))
    for row, column in np.argwhere(mask()):
        expected[row : row + 9, column : column + 9] += kernel * 200 / 255 / 64
    np.testing.assert_allclose(found.values, expected[4:32, 4:32], atol=1e-6)


def mask() -> np.ndarray:
    """Return where the patch is, bool, shape (28, 28)."""
    covered = np.zeros((28, 28), bool)
    covered[ROWS, COLUMNS] = True
    return covered


def test_occlusion_covers_every_pixel_equally_often(image: np.ndarray) -> None:
    covered = (occlusion.occluded(image) == 0).sum(axis=0)
    assert (covered == occlusion.PATCH**2).all()


def test_shap_of_a_known_model_lies_where_it_looks(image: np.ndarray) -> None:
    found = explain("shap", Question(patch_scorer(), image, 0))
    assert found.values.sum() + found.details["base"] == pytest.approx(200 / 255, abs=1e-6)
    # The score is linear in the pixels of the patch, so that each has the same share; at the patch's edge the last
    # halves that the evaluations reached lie across it.
    np.testing.assert_allclose(found.values[ROWS, COLUMNS][1:-1, 1:-1], 200 / 255 / 64, atol=1e-6)
    assert inside(found.values) > 0.8
    assert found.values.min() >= -1e-6


def test_lime_finds_the_superpixels_of_a_known_model(image: np.ndarray) -> None:
    found = explain("lime", Question(patch_scorer(), image, 0))
    assert found.details["fit"] > 0.9
    assert inside(found.values) > 0.5
    numbers = lime_weights.superpixels(np.dstack([image] * 3))
    for number in range(found.details["superpixels"]):
        assert len(np.unique(found.values[numbers == number])) == 1


def test_the_random_numbers_of_others_stay_as_they_are(image: np.ndarray) -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    explain("shap", Question(patch_scorer(), image, 0))
    assert np.random.random() == expected


@pytest.mark.parametrize("method", BLACK_BOX)
def test_the_other_class_has_the_opposite_values(image: np.ndarray, method: str) -> None:
    ours, theirs = (explain(method, Question(patch_scorer(), image, target)) for target in (0, 1))
    # A rounding of the two scores may part another half first, where SHAP finds both equal.
    assert np.abs(ours.values + theirs.values).max() < 0.1 * np.abs(ours.values).max()


@pytest.mark.parametrize("method", BLACK_BOX)
def test_the_same_question_has_the_same_answer(image: np.ndarray, method: str) -> None:
    first, second = (explain(method, Question(patch_scorer(), image, 0, seed=3)).as_dict() for _ in range(2))
    assert first == second


def test_another_seed_draws_other_samples(image: np.ndarray) -> None:
    first, second = (explain("lime", Question(patch_scorer(), image, 0, seed=seed)) for seed in (1, 2))
    assert not np.array_equal(first.values, second.values)


def test_gradcam_refuses_a_model_file(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="needs gradients, which a model file has not; use its float model"):
        explain("gradcam", Question(patch_scorer(), image, 0))


def test_values_are_rounded_for_json() -> None:
    written = Explanation("shap", np.full((28, 28), 1 / 3), "share", details={"base": 2 / 3, "layer": "x"}).as_dict()
    assert (written["values"][5][7], written["base"], written["layer"]) == (0.333333, 0.666667, "x")


def test_a_chequered_cloth_falls_into_many_superpixels() -> None:
    image = np.kron(np.indices((14, 14)).sum(axis=0) % 2, np.ones((2, 2))).astype(np.uint8) * 255
    numbers = lime_weights.superpixels(np.dstack([image] * 3))
    sizes = np.bincount(numbers.ravel())
    assert len(sizes) >= 30
    assert sizes.min() > 0
    assert sizes.max() < 784 / 8


# A pair of trousers in the middle, two legs below a waist: bright on black, as the data set has them.
def trousers() -> np.ndarray:
    image = np.zeros((28, 28), np.uint8)
    image[2:8, 9:19] = 200
    image[8:27, 9:13] = image[8:27, 15:19] = 190
    return image


@pytest.fixture(scope="module")
def edge() -> Scorer:
    return of_file(Classifier.load("edge"), "edge")


def share_near(values: np.ndarray, image: np.ndarray) -> float:
    """Return the share of the mass that lies on the garment and the pixel beside it."""
    near = np.zeros((28, 28), bool)
    for row, column in np.argwhere(image > 0):
        near[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    return float(np.abs(values[near]).sum() / np.abs(values).sum())


def test_what_speaks_for_drawn_trousers_lies_on_them(edge: Scorer) -> None:
    image = trousers()
    assert LABELS[int(edge.scores(image[None])[0].argmax())] == "Trouser"
    values = explain("occlusion", Question(edge, image, LABELS.index("Trouser"))).values
    # The garment and its edge are less than half of the image.
    assert share_near(values, image) > 0.7
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert image[row, column] > 0 or 8 <= column <= 19


@pytest.mark.data
def test_what_speaks_for_real_trousers_lies_on_them(edge: Scorer, real_data: object) -> None:
    split = load_split(real_data, "test")  # type: ignore[arg-type]
    chosen = np.flatnonzero(split.targets == LABELS.index("Trouser"))[:8]
    shares = [
        share_near(explain("occlusion", Question(edge, split.images[index], 1)).values, split.images[index])
        for index in chosen
    ]
    assert min(shares) > 0.5
    assert float(np.mean(shares)) > 0.7


@pytest.mark.data
def test_shap_adds_up_to_the_change_of_the_file_s_score(edge: Scorer, real_data: object) -> None:
    split = load_split(real_data, "test")  # type: ignore[arg-type]
    for image in split.images[:2]:
        scores = edge.scores(image[None])[0]
        target = int(scores.argmax())
        found = explain("shap", Question(edge, image, target))
        empty = edge.scores(np.zeros((1, 28, 28), np.uint8))[0, target]
        assert found.details["base"] == pytest.approx(float(empty), abs=1e-6)
        assert found.values.sum() == pytest.approx(float(scores[target] - empty), abs=1e-5)


def test_scores_are_asked_in_the_way_of_the_data_set(image: np.ndarray) -> None:
    asked: list[tuple[object, ...]] = []

    def scores(images: np.ndarray) -> np.ndarray:
        asked.append((images.dtype, images.shape[1:], images.flags.c_contiguous))
        return np.tile(np.array([0.25, 0.75], np.float32), (len(images), 1))

    question = Question(Scorer("spy", "file", ("a", "b"), scores), image, 1)
    methods: list[Callable[[Question], Explanation]] = [METHODS[name] for name in BLACK_BOX]
    for method in methods:
        assert np.abs(method(question).values).max() == pytest.approx(0, abs=1e-6)
    assert set(asked) == {(np.dtype(np.uint8), (28, 28), True)}
