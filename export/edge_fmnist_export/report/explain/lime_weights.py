"""LIME: a local linear model around one image, by the library ``lime`` (Ribeiro et al. 2016, arXiv:1602.04938).

The image is divided into superpixels (SLIC, Achanta et al. 2012). Random superpixels are removed, and a ridge
regression, weighted by proximity, is fitted to the scores. A superpixel's weight is the value of each of its pixels.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np

from edge_fmnist import extras
from edge_fmnist_export.report.explain.base import BACKGROUND, ExplainRequest, Explanation

SUPERPIXELS = 60
# SLIC's balance of proximity and similarity for grey values of 0 to 1: superpixels follow the outline of the garment,
# and a chequered fabric still has many.
COMPACTNESS = 0.3
SAMPLES = 1000
BATCH = 128


def explain(request: ExplainRequest) -> Explanation:
    """Explain a score by a local linear model.

    Returns:
        The weight of each pixel's superpixel. ``fit`` in the details is the weighted R² of the linear model, at most 1;
        near 0 the weights are not meaningful.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
    """
    extras.require("report", "explaining with LIME", ("lime", "skimage"))
    from lime.lime_image import LimeImageExplainer

    def scores(images: np.ndarray) -> np.ndarray:
        return request.scorer.scores(np.ascontiguousarray(images[..., 0], dtype=np.uint8)).astype(np.float64)

    explainer = LimeImageExplainer(random_state=request.seed)
    # Its progress bar cannot be turned off.
    with contextlib.redirect_stderr(io.StringIO()):
        answer = explainer.explain_instance(
            request.image,
            scores,
            labels=(request.target,),
            top_labels=None,
            hide_color=BACKGROUND,
            num_samples=SAMPLES,
            batch_size=BATCH,
            segmentation_fn=superpixels,
            random_seed=request.seed,
        )
    weights = dict(answer.local_exp[request.target])
    return Explanation(
        method="lime",
        values=np.array([weights[index] for index in range(len(weights))], np.float64)[answer.segments],
        unit="weight of the superpixel in a local linear model",
        details={
            "fit": float(answer.score),
            "superpixels": len(weights),
            "samples": SAMPLES,
            "seed": request.seed,
            "covered_with": BACKGROUND,
        },
    )


def superpixels(image: np.ndarray) -> np.ndarray:
    """Return the superpixel of each pixel, int64, shape (28, 28), numbered from 0 without gaps.

    The image is uint8, shape (28, 28, 3), with equal channels.
    """
    from skimage.segmentation import slic

    numbers = slic(
        image[..., 0] / 255, n_segments=SUPERPIXELS, compactness=COMPACTNESS, channel_axis=None, start_label=0
    )
    return np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape)
