"""The classical baselines: xgboost, random forest, logistic regression, k nearest neighbours, HOG with linear SVM."""

# ruff: noqa: D102 - the methods are documented in the base class

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import UsageError
from edge_fmnist_export.baselines.base import Baseline, BaselineData, Settings, StepProgress, no_progress

# HOG of 7x7 cells of 4x4 pixels, normalized in blocks of 2x2 cells: 36 blocks x 4 cells x 9 orientations = 1,296.
ORIENTATIONS, CELL, BLOCK = 9, 4, 2
HOG_LENGTH = (28 // CELL - BLOCK + 1) ** 2 * BLOCK**2 * ORIENTATIONS
HOG_PROGRESS_EVERY = 500
# Child index of a leaf in scikit-learn's trees.
LEAF = -1


class Boosting(Baseline):
    """Gradient-boosted trees (Chen and Guestrin 2016, arXiv:1603.02754), with early stopping on validation images."""

    name = "xgboost"
    title = "gradient-boosted trees on pixels (xgboost, histograms)"
    defaults: ClassVar[Settings] = {
        "n_estimators": 200,
        "early_stopping_rounds": 30,
        "learning_rate": 0.2,
        "max_depth": 6,
        "max_bin": 64,
        "subsample": 0.8,
        "colsample_bytree": 0.3,
    }
    grid: ClassVar = {"max_depth": [4, 6, 8], "learning_rate": [0.1, 0.2]}
    file_name = "model.json"
    importance_method = "total gain of the splits on each pixel, as a share of all"
    modules = ("sklearn", "xgboost")

    def estimator(self, data: BaselineData, settings: Settings) -> Any:
        from xgboost import XGBClassifier

        return XGBClassifier(
            **settings,
            tree_method="hist",
            # xgboost has two names for the same metric.
            eval_metric="merror" if data.classes.max() > 1 else "error",
            importance_type="total_gain",
            n_jobs=data.threads,
            random_state=data.seed,
        )

    def fit_arguments(self, data: BaselineData) -> dict[str, Any]:
        return {"eval_set": [(data.validation_features, data.validation_classes)], "verbose": False}

    def watched(self, estimator: Any, after_round: Callable[[int], None]) -> Any:
        from xgboost.callback import TrainingCallback

        class EachRound(TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
                after_round(epoch + 1)
                return False

        return estimator.set_params(callbacks=[EachRound()])

    def fit(self, data: BaselineData, settings: Settings, progress: StepProgress = no_progress) -> Any:
        # The features are read by a callback of native code.
        with interrupted_later() as check_interrupt:

            def after_round(finished: int) -> None:
                check_interrupt()
                progress("boosting", finished, int(settings["n_estimators"]))

            model = self.watched(self.estimator(data, settings), after_round)
            model.fit(data.features, data.classes, **self.fit_arguments(data))
        return model.set_params(callbacks=None)

    def facts(self, estimator: Any) -> dict[str, Any]:
        return {"rounds": int(estimator.best_iteration) + 1}

    def importance(self, estimator: Any, *_: Any) -> np.ndarray:
        return _of_features(estimator)

    def save(self, estimator: Any, path: Path) -> None:
        """Write xgboost's own JSON format."""
        estimator.save_model(path)

    def load(self, path: Path) -> Any:
        """Read a model in xgboost's JSON format."""
        from xgboost import XGBClassifier

        model = XGBClassifier(importance_type="total_gain")
        model.load_model(path)
        return model


class Forest(Baseline):
    """A random forest (Breiman 2001)."""

    name = "random-forest"
    title = "random forest on pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"n_estimators": 200, "max_features": "sqrt", "min_samples_leaf": 1}
    grid: ClassVar = {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]}
    importance_method = "mean decrease of impurity by the splits on each pixel, as a share of all"
    # skops does not trust trees: prediction follows node indexes without a bounds check. ``load`` checks them.
    trusted = ("sklearn.tree._tree.Tree",)

    def estimator(self, data: BaselineData, settings: Settings) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**settings, n_jobs=data.threads, random_state=data.seed)

    def facts(self, estimator: Any) -> dict[str, Any]:
        leaves = sum(int(tree.get_n_leaves()) for tree in estimator.estimators_)
        return {"trees": len(estimator.estimators_), "leaves": leaves}

    def importance(self, estimator: Any, *_: Any) -> np.ndarray:
        return _of_features(estimator)

    def load(self, path: Path) -> Any:
        """Read a forest and check that all node and feature indexes are valid.

        Raises:
            ValueError: an index is out of range; also raises what :meth:`Baseline.load` raises.
        """
        model = super().load(path)
        for number, tree in enumerate(model.estimators_):
            _check_tree(tree.tree_, model.n_features_in_, number)
        return model


class Logistic(Baseline):
    """Multinomial logistic regression by L-BFGS: the linear reference."""

    name = "logistic"
    title = "multinomial logistic regression on pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"C": 0.1, "max_iter": 200}
    grid: ClassVar = {"C": [0.01, 0.03, 0.1, 0.3, 1.0]}
    importance_method = "absolute coefficient of each pixel, averaged over the classes"

    def estimator(self, data: BaselineData, settings: Settings) -> Any:  # noqa: ARG002
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(**settings)

    def facts(self, estimator: Any) -> dict[str, Any]:
        iterations = int(estimator.n_iter_.max())
        return {"iterations": iterations, "converged": iterations < estimator.max_iter}

    def importance(self, estimator: Any, *_: Any) -> np.ndarray:
        means: np.ndarray = np.abs(estimator.coef_).mean(axis=0).astype(np.float64)
        return means.reshape(28, 28)


class Neighbours(Baseline):
    """Nearest neighbours by Euclidean distance of pixels (Cover and Hart 1967)."""

    name = "knn"
    title = "nearest neighbours by pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"n_neighbors": 6, "weights": "distance"}
    grid: ClassVar = {"n_neighbors": [3, 4, 6, 8], "weights": ["uniform", "distance"]}

    def estimator(self, data: BaselineData, settings: Settings) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        # Tree indexes do not help in 784 dimensions.
        return KNeighborsClassifier(**settings, algorithm="brute", n_jobs=data.threads)

    def facts(self, estimator: Any) -> dict[str, Any]:
        return {"images": int(estimator.n_samples_fit_)}


class HogSvm(Baseline):
    """Linear SVM on histograms of oriented gradients (Dalal and Triggs 2005).

    Averaged stochastic gradient descent (Bottou 2010) reaches the accuracy of liblinear in a fraction of the time.
    """

    name = "hog-svm"
    title = "linear SVM on histograms of oriented gradients (scikit-image, scikit-learn)"
    defaults: ClassVar[Settings] = {"alpha": 3e-6, "max_iter": 9}
    grid: ClassVar = {"alpha": [1e-6, 3e-6, 1e-5]}
    modules = ("skimage", "sklearn", "skops")

    def features(self, images: np.ndarray, progress: StepProgress = no_progress) -> np.ndarray:
        """Return histograms of oriented gradients: float32, shape (N, 1296)."""
        from skimage.feature import hog

        rows = np.empty((len(images), HOG_LENGTH), np.float32)
        for index, image in enumerate(images):
            rows[index] = hog(image, ORIENTATIONS, (CELL, CELL), (BLOCK, BLOCK), block_norm="L2-Hys")
            if (index + 1) % HOG_PROGRESS_EVERY == 0:
                progress("histograms of gradients", index + 1, len(images))
        return rows

    def estimator(self, data: BaselineData, settings: Settings) -> Any:
        from sklearn.linear_model import SGDClassifier

        # tol=None: exactly max_iter epochs.
        return SGDClassifier(**settings, tol=None, average=True, n_jobs=data.threads, random_state=data.seed)


BASELINES: dict[str, Baseline] = {
    baseline.name: baseline for baseline in (Boosting(), Forest(), Logistic(), Neighbours(), HogSvm())
}


def find_baseline(name: str) -> Baseline:
    """Return a baseline by name.

    Raises:
        UsageError: unknown name.
    """
    if name not in BASELINES:
        raise UsageError(f"unknown baseline {name!r}; expected one of {', '.join(BASELINES)}")
    return BASELINES[name]


def _of_features(estimator: Any) -> np.ndarray:
    return np.asarray(estimator.feature_importances_, np.float64).reshape(28, 28)


def _check_tree(tree: Any, features: int, number: int) -> None:
    """Check that every inner node's children come later in the tree, so that prediction ends in a leaf."""
    left, right, nodes = tree.children_left, tree.children_right, np.arange(tree.node_count)
    forward = (left > nodes) & (right > nodes) & (np.maximum(left, right) < tree.node_count)
    known = (tree.feature >= 0) & (tree.feature < features)
    if not (tree.node_count and (forward & known)[left != LEAF].all()):
        raise ValueError(f"tree {number} has node or feature indexes that are out of range")
