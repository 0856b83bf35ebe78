"""LIME: a linear model around one image, through the library ``lime`` (Ribeiro et al. 2016, arXiv:1602.04938).

The image is cut into superpixels (SLIC, Achanta et al. 2012); random ones are
blanked, and a ridge regression, weighted by nearness, is fitted to the scores.
A superpixel's weight is the value of each of its pixels.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np

from edge_fmnist import extras
from edge_fmnist_export.report.explain.base import BACKGROUND, Explanation, Question

SUPERPIXELS = 60
# SLIC's balance of nearness against likeness, for grey values of 0 to 1: superpixels follow the garment's outline,
# and a chequered cloth still falls into many.
COMPACTNESS = 0.3
SAMPLES = 1000
BATCH = 128


def explain(question: Question) -> Explanation:
    """Explain a score by a local linear model.

    Args:
        question: what is asked; its seed draws which superpixels are blanked.

    Returns:
        The weight of each pixel's superpixel; ``fit`` among the details is the linear model's weighted R²,
        1 at best: near 0 the weights say little.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
    """
    extras.require("report", "explaining with LIME", ("lime", "skimage"))
    from lime.lime_image import LimeImageExplainer

    def scores(images: np.ndarray) -> np.ndarray:
        return question.scorer.scores(np.ascontiguousarray(images[..., 0], dtype=np.uint8)).astype(np.float64)

    explainer = LimeImageExplainer(random_state=question.seed)
    # It shows a progress bar whatever is asked.
    with contextlib.redirect_stderr(io.StringIO()):
        answer = explainer.explain_instance(
            question.image,
            scores,
            labels=(question.target,),
            top_labels=None,
            hide_color=BACKGROUND,
            num_samples=SAMPLES,
            batch_size=BATCH,
            segmentation_fn=superpixels,
            random_seed=question.seed,
        )
    weights = dict(answer.local_exp[question.target])
    return Explanation(
        method="lime",
        values=np.array([weights[index] for index in range(len(weights))], np.float64)[answer.segments],
        unit="weight of the superpixel in a local linear model",
        details={
            "fit": float(answer.score),
            "superpixels": len(weights),
            "samples": SAMPLES,
            "seed": question.seed,
            "covered_with": BACKGROUND,
        },
    )


def superpixels(image: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's superpixel, from 0 without gaps.

    Args:
        image: uint8, shape (28, 28, 3), its channels alike.

    Returns:
        int64, shape (28, 28).
    """
    from skimage.segmentation import slic

    numbers = slic(
        image[..., 0] / 255, n_segments=SUPERPIXELS, compactness=COMPACTNESS, channel_axis=None, start_label=0
    )
    return np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape)
