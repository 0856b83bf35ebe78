"""Training: recipes, run folders, the float and the quantization-aware phase, calibration."""

from __future__ import annotations

from typing import Any

from edge_fmnist import keep_former_paths

keep_former_paths(__name__, {"run": "run_folder", "trainers": "keras_trainer", "training": "train_recipe"})


def __getattr__(name: str) -> Any:
    if name == "train":
        from edge_fmnist_export.training.train_recipe import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
