from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import RunError
from edge_fmnist.model.calibration import choose_threshold, correct_scores, fit_temperature, negative_log_likelihood
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.training.batches import FOOTWEAR, TARGET_ROWS, UNKNOWN, Subset
from edge_fmnist_export.training.calibration import FILE, calibrate, recorded
from edge_fmnist_export.training.recipe import load_recipe
from edge_fmnist_export.training.run_folder import Run, create_run

COUNT = 4000


class Network:
    """Returns given logits: row i for image number i, which is encoded in its first two pixels."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def predict_on_batch(self, inputs: np.ndarray) -> np.ndarray:
        assert inputs.shape[1:] == (28, 28, 1)
        assert inputs.dtype == np.float32
        first, second = (inputs[:, 0, place, 0] * 255 for place in (0, 1))
        return np.asarray(self.logits[(first * 256 + second).round().astype(int)])


def subset(targets: np.ndarray) -> Subset:
    images = np.zeros((len(targets), 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(len(targets)) // 256, np.arange(len(targets)) % 256
    return Subset(images, targets.astype(np.uint8))


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(7).normal(0, 2, (COUNT, 10)).astype(np.float32)


@pytest.fixture(scope="module")
def targets(logits: np.ndarray) -> np.ndarray:
    """Return classes drawn from the probabilities that the logits stand for, so that temperature 1 is right."""
    rng = np.random.default_rng(8)
    return np.array([rng.choice(10, p=row / row.sum()) for row in softmax(logits).astype(float)])


def test_likelihood_sums_the_correct_classes() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32))
    rows = np.array([[1, 1, 0], [0, 0, 1]], np.float32)
    assert negative_log_likelihood(logits, rows, 1.0) == pytest.approx(-np.log([0.8, 0.8]).mean(), rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_undoes_the_scale_of_the_logits(logits: np.ndarray, targets: np.ndarray, scale: float) -> None:
    assert fit_temperature(logits * np.float32(scale), TARGET_ROWS[targets]) == pytest.approx(scale, rel=0.05)


def test_correct_scores_accept_any_correct_class_and_leave_out_unknown() -> None:
    scores = np.full((4, 10), 0.02, np.float32)
    scores[[0, 1, 2, 3], [7, 7, 3, 3]] = [0.9, 0.8, 0.7, 0.6]
    rows = TARGET_ROWS[[FOOTWEAR, UNKNOWN, 3, 4]]
    assert correct_scores(scores, rows).tolist() == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("lost", [0.0, 0.05, 0.25, 0.5, 1.0])
def test_threshold_rejects_the_requested_share_and_no_more(lost: float) -> None:
    hits = np.random.default_rng(1).uniform(0.2, 1, 1000).astype(np.float32)
    assert (hits < choose_threshold(hits, lost)).mean() == pytest.approx(lost, abs=0.002)
    # Of few predictions, one more is much more than the share.
    few = np.linspace(0.3, 0.9, 11)
    assert (few < choose_threshold(few, lost)).mean() <= lost


def test_without_a_correct_prediction_the_threshold_is_0() -> None:
    assert choose_threshold(np.empty(0, np.float32), 0.05) == 0


def test_threshold_is_not_above_the_scores_it_was_taken_from() -> None:
    hits = np.full(10, 0.99996, np.float32)
    assert choose_threshold(hits, 0.5) == 0.9999


def test_calibration_lowers_the_loss_and_rejects_the_reported_share(logits: np.ndarray, targets: np.ndarray) -> None:
    network = Network(logits * 3)
    photos = subset(np.where(np.arange(1000) % 4, targets[:1000], UNKNOWN))
    found = calibrate(network, subset(targets), photos, 0.1)
    temperature, threshold = found.calibration.temperature, found.calibration.threshold
    assert temperature == pytest.approx(3, rel=0.05)
    assert found.after < found.before
    assert found.before == pytest.approx(negative_log_likelihood(logits * 3, TARGET_ROWS[targets], 1.0))
    hits = correct_scores(softmax(logits[:1000] * 3 / temperature), photos.one_hot())
    assert found.false_reject_rate == pytest.approx((hits < threshold).mean()) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_diverged_is_not_calibrated(logits: np.ndarray, targets: np.ndarray, value: float) -> None:
    broken = logits.copy()
    broken[17, 3] = value
    with pytest.raises(RunError, match="outputs are not finite; train with a lower learning_rate"):
        calibrate(Network(broken), subset(targets), None, 0.05)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "run", load_recipe("lenet5"))


def test_what_is_written_is_read(run: Run, logits: np.ndarray, targets: np.ndarray) -> None:
    found = calibrate(Network(logits), subset(targets), subset(targets[:100]), 0.2)
    run.write_json(FILE, found.as_dict())
    read = recorded(run)
    assert read == found.as_dict()
    assert read is not None
    assert (read["temperature"], read["threshold"]) == (found.calibration.temperature, found.calibration.threshold)


@pytest.mark.parametrize(
    "value", [[1.0, 0.5], {"temperature": float("nan"), "threshold": 0.5}, {"temperature": "hot", "threshold": 0.5}]
)
def test_a_damaged_calibration_says_what_to_do(run: Run, value: Any) -> None:
    run.write_json(FILE, value)
    with pytest.raises(RunError, match=r"calibration\.json: expected a temperature above 0 .*run train with --resume"):
        recorded(run)
