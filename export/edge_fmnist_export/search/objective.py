"""The objective of a search: train a network briefly, quantize it after training, and measure the written file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model
from edge_fmnist_export.quantize.convert import Representative, representative_dataset
from edge_fmnist_export.quantize.latency import compare_latency
from edge_fmnist_export.search.runs import export_run, train_or_resume
from edge_fmnist_export.search.study import Candidate
from edge_fmnist_export.training import train_recipe, training_data
from edge_fmnist_export.training.batches import Subset, split_validation
from edge_fmnist_export.training.recipe import Recipe, parse_recipe

MODEL, REFERENCE = "model.tflite", "reference.tflite"
# One of 12 images is used for validation: of all 60,000, as many as full training holds out.
VALIDATION = 12
MOST_REPRESENTATIVE = 200
# The usual moving averages of batch normalization lag behind the weights in brief training, and would decide the
# ranking: they cover a quarter of an epoch, as a momentum of 0.99 does with all images.
AVERAGES_PER_EPOCH, LARGEST_MOMENTUM = 4, 0.99


def full_recipe(number: int, architecture: str, description: str = "") -> Recipe:
    """Return the recipe for training a candidate in full, with QAT.

    Raises:
        RecipeError: Invalid architecture.
    """
    text = (files("edge_fmnist_export.search") / "recipe.toml").read_text("utf-8")
    changes = {"name": f"candidate-{number:04}", "architecture": architecture, "description": description}
    return parse_recipe(parse_recipe(text, "recipe.toml").model_copy(update=changes).to_toml(), architecture)


def brief_recipe(number: int, architecture: str, images: int, epochs: int, seed: int) -> Recipe:
    """Return the recipe for training a candidate briefly, without QAT.

    ``images`` counts training and validation images together.

    Raises:
        RecipeError: Invalid architecture.
    """
    full = full_recipe(number, architecture)
    validation = max(1, images // VALIDATION)
    steps = (images - validation) / full.data.batch_size
    momentum = min(max(1 - AVERAGES_PER_EPOCH / steps, 0.0), LARGEST_MOMENTUM)
    return full.model_copy(update={"seed": seed}).with_changes(
        data={"validation": validation},
        # A few epochs are too short to learn from images with erased rectangles.
        augmentation={"erasing": 0.0},
        training={"epochs": epochs, "batch_norm_momentum": momentum},
        qat={"epochs": 0},
    )


def reference_model(folder: Path) -> bytes:
    """Return the model file that latencies are compared with: the search's own copy, so that it never changes."""
    copy = folder / REFERENCE
    return copy.read_bytes() if copy.is_file() else read_model(DEFAULT_MODEL).content


def stratified_subset(data: Split, count: int, seed: int) -> Split:
    """Return a class-balanced subset of a split, in the original order.

    With a count of 0, all images are returned.

    Raises:
        UsageError: too few or too many images wanted.
    """
    if count in (0, len(data)):
        return data
    classes = len(np.unique(data.targets))
    if not VALIDATION * classes <= count <= len(data) - classes:
        expected = f"0 for all {len(data):,}, or {VALIDATION * classes} to {len(data) - classes:,}"
        raise UsageError(f"expected {expected}, got {count:,}", setting="--images")
    _, chosen = split_validation(data, count, seed)
    return replace(data, images=chosen.images, targets=chosen.targets)


@dataclass(frozen=True)
class SearchObjective:
    """Trains and measures candidates; ``reference`` is the model file that latencies are compared with."""

    folder: Path
    data: Split
    reference: bytes
    epochs: int
    seed: int

    def calibration(self, number: int, architecture: str) -> tuple[Recipe, Representative, Subset]:
        """Return a candidate's recipe, the dataset for post-training quantization, and the validation images.

        Raises:
            DataError: Too few images to train, to validate or to quantize.
        """
        recipe = brief_recipe(number, architecture, len(self.data), self.epochs, self.seed)
        train, validation = training_data.subsets(recipe, self.data)
        return recipe, representative_dataset(train, min(MOST_REPRESENTATIVE, len(train) // 2), self.seed), validation

    def evaluate(self, number: int, architecture: str) -> Candidate:
        """Train a candidate, resuming from its checkpoint; write its int8 file and measure that.

        Raises:
            RunError: Training diverged.
            CheckError: The written file failed a check.
            EdgeFmnistError: The data set or the extras cannot be used.
        """
        recipe, representative, validation = self.calibration(number, architecture)
        folder = self.folder / "candidates" / recipe.name
        if not (folder / "recipe.toml").is_file():
            # Interrupted before its recipe was written.
            shutil.rmtree(folder, ignore_errors=True)
        run, metrics = train_or_resume(folder, recipe, self.data, f"candidate {number} {architecture}")
        exported = export_run(run, "int8-ptq", folder / MODEL, representative=representative)
        latency = compare_latency({MODEL: exported.path.read_bytes()}, self.reference)[MODEL]
        predictions = Classifier.load(exported.path).predict_batch(validation.images)
        return Candidate(
            number=number,
            architecture=architecture,
            accuracy=float((predictions.indexes == validation.targets).mean()),
            ratio=latency.ratio,
            microseconds=latency.microseconds,
            bytes=exported.bytes,
            parameters=metrics[train_recipe.FLOAT]["parameters"],
            macs=exported.macs,
        )
