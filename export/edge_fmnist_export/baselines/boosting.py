"""``xgboost``: gradient-boosted trees (Chen and Guestrin 2016, arXiv:1603.02754)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from edge_fmnist_export.baselines.base import Advance, Baseline, Fit, Grid, Material, Settings

ROUNDS = "n_estimators"


class Boosting(Baseline):
    """Gradient-boosted trees on pixels; the validation images say when to stop."""

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
    grid: ClassVar[Grid] = {"max_depth": [4, 6, 8], "learning_rate": [0.1, 0.2]}
    file_name = "model.json"
    importance_method = "total gain of the splits on each pixel, as a share of all"
    modules = ("sklearn", "xgboost")

    def fit(self, material: Material, settings: Settings) -> Fit:
        """Boost until the error on the validation images has not fallen for ``early_stopping_rounds``."""
        from xgboost import XGBClassifier

        model = XGBClassifier(
            **settings,
            tree_method="hist",
            # xgboost names the same metric differently for two classes.
            eval_metric="merror" if material.classes.max() > 1 else "error",
            importance_type="total_gain",
            n_jobs=material.threads,
            random_state=material.seed,
            callbacks=[_told(material.advance, settings[ROUNDS])],
        )
        model.fit(
            material.features,
            material.classes,
            eval_set=[(material.validation_features, material.validation_classes)],
            verbose=False,
        )
        # A callback is no setting: it would be in the way of copies and of the next fit.
        model.set_params(callbacks=None)
        return Fit(model, {"rounds": int(model.best_iteration) + 1})

    def save(self, estimator: Any, path: Path) -> None:
        """Write xgboost's own JSON."""
        estimator.save_model(path)

    def load(self, path: Path) -> Any:
        """Return the model in a JSON file of xgboost's."""
        from xgboost import XGBClassifier

        model = XGBClassifier(importance_type="total_gain")
        model.load_model(path)
        return model


def _told(advance: Advance, rounds: int) -> Any:
    """Return a callback of xgboost's that passes the rounds on."""
    from xgboost.callback import TrainingCallback

    class Told(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 - xgboost's interface
            advance("boosting", epoch + 1, rounds)
            return False

    return Told()
