"""``knn``: the nearest neighbours vote (Cover and Hart 1967)."""

from __future__ import annotations

from typing import ClassVar

from edge_fmnist_export.baselines.base import Fit, Grid, Material, Settings
from edge_fmnist_export.baselines.permutation import WeighsBlocks


class Neighbours(WeighsBlocks):
    """The training images nearest by Euclidean distance of pixels vote."""

    name = "knn"
    title = "nearest neighbours by pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"n_neighbors": 6, "weights": "distance"}
    grid: ClassVar[Grid] = {"n_neighbors": [3, 4, 6, 8], "weights": ["uniform", "distance"]}

    def fit(self, material: Material, settings: Settings) -> Fit:
        """Keep the training images; no tree helps in 784 dimensions, so all distances are computed."""
        from sklearn.neighbors import KNeighborsClassifier

        model = KNeighborsClassifier(**settings, algorithm="brute", n_jobs=material.threads)
        model.fit(material.features, material.classes)
        return Fit(model, {"images": len(material.classes)})
