from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import UsageError
from edge_fmnist_export.cli import explain as command
from edge_fmnist_export.report.explain import NAMES, lime_weights
from edge_fmnist_export.report.explain.base import ExplainRequest
from edge_fmnist_export.report.explain.methods import METHODS
from edge_fmnist_export.report.explain.scorer import Scorer, of_file

ROWS, COLUMNS = slice(8, 16), slice(10, 18)


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
    assert list(command.METHODS) == list(NAMES) == list(METHODS)


def test_occlusion_of_a_known_model_is_exact(image: np.ndarray) -> None:
    found = METHODS["occlusion"](ExplainRequest(patch_scorer(), image, 0))
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


def test_shap_of_a_known_model_lies_where_it_looks(image: np.ndarray) -> None:
    found = METHODS["shap"](ExplainRequest(patch_scorer(), image, 0))
    assert found.values.sum() + found.details["base"] == pytest.approx(200 / 255, abs=1e-6)
    # The score is linear in the pixels of the patch, so that each has the same share; at the patch's edge the last
    # halves that the evaluations reached lie across it.
    np.testing.assert_allclose(found.values[ROWS, COLUMNS][1:-1, 1:-1], 200 / 255 / 64, atol=1e-6)
    assert inside(found.values) > 0.8
    assert found.values.min() >= -1e-6


@pytest.mark.parametrize("method", ["shap", "lime"])
def test_explanations_are_reproducible_and_do_not_touch_global_random_numbers(image: np.ndarray, method: str) -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    first, second = (METHODS[method](ExplainRequest(patch_scorer(), image, 0, seed=3)).as_dict() for _ in range(2))
    assert first == second
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    if method == "lime":
        assert METHODS[method](ExplainRequest(patch_scorer(), image, 0, seed=4)).as_dict() != first


def test_lime_finds_the_superpixels_of_a_known_model(image: np.ndarray) -> None:
    found = METHODS["lime"](ExplainRequest(patch_scorer(), image, 0))
    assert found.details["fit"] > 0.9
    assert inside(found.values) > 0.5
    numbers = lime_weights.superpixels(np.dstack([image] * 3))
    for number in range(found.details["superpixels"]):
        assert len(np.unique(found.values[numbers == number])) == 1


def test_gradcam_refuses_a_model_file(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="needs gradients, which a model file does not have; use its float model"):
        METHODS["gradcam"](ExplainRequest(patch_scorer(), image, 0))


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


def test_the_support_for_drawn_trousers_is_on_the_trousers(edge: Scorer) -> None:
    image = trousers()
    assert LABELS[int(edge.scores(image[None])[0].argmax())] == "Trouser"
    values = METHODS["occlusion"](ExplainRequest(edge, image, LABELS.index("Trouser"))).values
    # The garment and its edge are less than half of the image.
    assert share_near(values, image) > 0.7
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert image[row, column] > 0 or 8 <= column <= 19
