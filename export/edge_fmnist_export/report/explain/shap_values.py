"""SHAP: Shapley values of pixels, by the library ``shap`` (Lundberg and Lee 2017, arXiv:1705.07874).

The partition explainer halves the image recursively and distributes the score among the halves (Owen values), in more
detail where the score changes more. The values add up to the difference between the scores of the image and of an
empty image.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.vision.preprocess import SIZE
from edge_fmnist_export.report.explain.base import BACKGROUND, ExplainRequest, Explanation

# Enough to divide a garment of about 400 pixels; more adds little detail.
EVALUATIONS = 2000
BATCH = 128


def explain(request: ExplainRequest) -> Explanation:
    """Explain a score by Shapley values.

    Returns:
        The contribution of each pixel to the score. ``base`` in the details is the score of an empty image; ``base``
        plus all values is the score.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
    """
    shap = _import_shap()

    def scores(masked: np.ndarray) -> np.ndarray:
        return request.scores(np.ascontiguousarray(masked[..., 0], dtype=np.uint8)).astype(np.float64)

    masker = shap.maskers.Image(BACKGROUND, (SIZE, SIZE, 1))
    explainer = shap.explainers.PartitionExplainer(scores, masker)
    with _seeded(request.seed):
        answer = explainer(request.image[None, ..., None], max_evals=EVALUATIONS, batch_size=BATCH, silent=True)
    return Explanation(
        method="shap",
        values=np.asarray(answer.values, np.float64).reshape(SIZE, SIZE),
        unit="contribution to the score",
        details={
            "base": float(np.ravel(answer.base_values)[0]),
            "evaluations": EVALUATIONS,
            "seed": request.seed,
            "covered_with": BACKGROUND,
        },
    )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global random numbers, which the library uses, and restore them after the block."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _import_shap() -> Any:
    extras.require("report", "explaining with SHAP", ("shap",))
    with warnings.catch_warnings():
        # Raised by its colour maps on import.
        warnings.filterwarnings(
            "ignore", message="The set_(bad|over|under) function", category=PendingDeprecationWarning
        )
        import shap
    return shap
