"""``logistic``: multinomial logistic regression, the linear reference."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from edge_fmnist_export.baselines.base import Advance, Baseline, Fit, Grid, Material, Settings, silent
from edge_fmnist_export.training.batches import Subset


class Logistic(Baseline):
    """Multinomial logistic regression on pixels, by L-BFGS."""

    name = "logistic"
    title = "multinomial logistic regression on pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"C": 0.1, "max_iter": 200}
    grid: ClassVar[Grid] = {"C": [0.01, 0.03, 0.1, 0.3, 1.0]}
    importance_method = "absolute coefficient of each pixel, averaged over the classes"

    def fit(self, material: Material, settings: Settings) -> Fit:
        """Minimise the regularised log-loss; ``converged`` tells whether that ended before ``max_iter``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        material.advance("fitting", 0, None)
        model = LogisticRegression(**settings)
        with warnings.catch_warnings():
            # It is a fact among the results, and no news to whoever set max_iter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(material.features, material.classes)
        iterations = int(model.n_iter_.max())
        return Fit(model, {"iterations": iterations, "converged": iterations < settings["max_iter"]})

    def importance(
        self,
        estimator: Any,
        predict: Callable[[np.ndarray], np.ndarray],  # noqa: ARG002
        validation: Subset,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        advance: Advance = silent,  # noqa: ARG002
    ) -> np.ndarray:
        """Return the mean absolute coefficient of each pixel, shape (28, 28)."""
        means: np.ndarray = np.abs(estimator.coef_).mean(axis=0).astype(np.float64)
        return means.reshape(28, 28)
