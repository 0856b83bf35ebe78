"""``knn``: the nearest neighbours vote (Cover and Hart 1967)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from edge_fmnist_export.baselines.base import Advance, Baseline, Fit, Grid, Material, Settings, silent
from edge_fmnist_export.baselines.permutation import block_importance
from edge_fmnist_export.batches import Subset


class Neighbours(Baseline):
    """The training images nearest by Euclidean distance of pixels vote."""

    name = "knn"
    title = "nearest neighbours by pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"n_neighbors": 6, "weights": "distance"}
    grid: ClassVar[Grid] = {"n_neighbors": [3, 4, 6, 8], "weights": ["uniform", "distance"]}
    importance_method = "accuracy lost when a block of 4x4 pixels is shuffled among validation images"

    def fit(self, material: Material, settings: Settings) -> Fit:
        """Keep the training images; no tree helps in 784 dimensions, so all distances are computed."""
        from sklearn.neighbors import KNeighborsClassifier

        model = KNeighborsClassifier(**settings, algorithm="brute", n_jobs=material.threads)
        model.fit(material.features, material.classes)
        return Fit(model, {"images": len(material.classes)})

    def importance(
        self,
        estimator: Any,  # noqa: ARG002
        predict: Callable[[np.ndarray], np.ndarray],
        validation: Subset,
        seed: int,
        advance: Advance = silent,
    ) -> np.ndarray:
        """Return the accuracy that each block of pixels is worth, shape (28, 28)."""
        return block_importance(predict, validation, seed, advance)
