"""SHAP: Shapley values of pixels, through the library ``shap`` (Lundberg and Lee 2017, arXiv:1705.07874).

The partition explainer halves the image again and again and shares the score
out among the halves (Owen values); within its number of evaluations it goes
deeper where the score changes more. Its values add up to the difference
between the score of the image and that of an empty one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.vision.preprocess import SIZE
from edge_fmnist_export.report.explain.base import BACKGROUND, Explanation, Question

# Enough to part a garment of about 400 pixels; more sharpens little.
EVALUATIONS = 2000
BATCH = 128


def explain(question: Question) -> Explanation:
    """Explain a score by Shapley values.

    Args:
        question: what is asked; its seed draws which of two halves is parted first where neither matters more.

    Returns:
        The share of each pixel in the score; ``base`` among the details is the score of an empty image,
        and ``base`` and all values together are the score.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
    """
    shap = _shap()

    def scores(masked: np.ndarray) -> np.ndarray:
        return question.scores(np.ascontiguousarray(masked[..., 0], dtype=np.uint8)).astype(np.float64)

    masker = shap.maskers.Image(BACKGROUND, (SIZE, SIZE, 1))
    explainer = shap.explainers.PartitionExplainer(scores, masker)
    with _seeded(question.seed):
        answer = explainer(question.image[None, ..., None], max_evals=EVALUATIONS, batch_size=BATCH, silent=True)
    return Explanation(
        method="shap",
        values=np.asarray(answer.values, np.float64).reshape(SIZE, SIZE),
        unit="share in the score",
        details={
            "base": float(np.ravel(answer.base_values)[0]),
            "evaluations": EVALUATIONS,
            "seed": question.seed,
            "covered_with": BACKGROUND,
        },
    )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global random numbers, which the library draws from, and put them back when the block ends."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _shap() -> Any:
    extras.require("report", "explaining with SHAP", ("shap",))
    with warnings.catch_warnings():
        # It sets up colour maps when imported, in a way that matplotlib is about to change.
        warnings.filterwarnings(
            "ignore", message="The set_(bad|over|under) function", category=PendingDeprecationWarning
        )
        import shap
    return shap
