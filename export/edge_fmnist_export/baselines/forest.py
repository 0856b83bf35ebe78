"""``random-forest``: averaged randomised trees (Breiman 2001)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge_fmnist_export.baselines.base import Baseline, Fit, Grid, Material, Settings

TREES = "n_estimators"
# Trees grown between two looks at the bar and at Ctrl-C.
STEP = 10
# What scikit-learn's trees have in place of a leaf's children.
LEAF = -1


class Forest(Baseline):
    """A random forest on pixels."""

    name = "random-forest"
    title = "random forest on pixels (scikit-learn)"
    defaults: ClassVar[Settings] = {"n_estimators": 200, "max_features": "sqrt", "min_samples_leaf": 1}
    grid: ClassVar[Grid] = {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]}
    # skops leaves them to us: a tree's nodes are indexes, which prediction follows without looking.
    trusted = ("sklearn.tree._tree.Tree",)
    importance_method = "mean decrease of impurity by the splits on each pixel, as a share of all"

    def fit(self, material: Material, settings: Settings) -> Fit:
        """Grow the forest a few trees at a time, which gives the same trees as all at once."""
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(
            **{**settings, TREES: 0}, warm_start=True, n_jobs=material.threads, random_state=material.seed
        )
        wanted = int(settings[TREES])
        while model.n_estimators < wanted:
            model.set_params(**{TREES: min(model.n_estimators + STEP, wanted)})
            model.fit(material.features, material.classes)
            material.advance("growing trees", model.n_estimators, wanted)
        leaves = sum(int(tree.get_n_leaves()) for tree in model.estimators_)
        return Fit(model, {"trees": wanted, "leaves": leaves})

    def load(self, path: Path) -> Any:
        """Return the forest in a file, once every node of it is found to lead to a later node or to none.

        Raises:
            ValueError: a node leads elsewhere; and what :meth:`Baseline.load` raises.
        """
        model = super().load(path)
        for number, tree in enumerate(model.estimators_):
            _check_tree(tree.tree_, model.n_features_in_, number)
        return model


def _check_tree(tree: Any, features: int, number: int) -> None:
    """Check that following a tree's nodes from the root ends in a leaf, within the tree and the features."""
    left, right, nodes = tree.children_left, tree.children_right, np.arange(tree.node_count)
    inner = left != LEAF
    forward = (left > nodes) & (right > nodes) & (np.maximum(left, right) < tree.node_count)
    known = (tree.feature >= 0) & (tree.feature < features)
    if not (tree.node_count and (forward & known)[inner].all()):
        raise ValueError(f"tree {number} has nodes that lead out of it")
