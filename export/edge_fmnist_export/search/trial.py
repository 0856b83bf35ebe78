"""One candidate: trained briefly, quantized after training, written, measured."""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist_export.quantize.convert import representative_dataset
from edge_fmnist_export.quantize.latency import compare_latency
from edge_fmnist_export.search.state import Measured
from edge_fmnist_export.training import backend
from edge_fmnist_export.training import train_recipe as training
from edge_fmnist_export.training import training_data as material
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run_folder import Run, create_run, resume_run

MODEL = "model.tflite"
# Representative images of post-training quantization: a few hundred do.
REPRESENTATIVE = 200


@dataclass(frozen=True)
class Bench:
    """What all candidates of a search share.

    Attributes:
        data: the images to train and to validate on.
        reference: the bytes of the model file that latencies are compared with.
    """

    data: Split
    reference: bytes


def subset(data: Split, count: int, seed: int) -> Split:
    """Return so many images of a split, as many of each class as there is room for, in their order.

    Args:
        data: what they are taken from.
        count: how many; 0 for all.
        seed: decides which.

    Raises:
        DataError: there are fewer.
    """
    if count in (0, len(data)):
        return data
    if count > len(data):
        raise DataError(f"expected at most the {len(data)} training images that there are, got {count}")
    from sklearn.model_selection import train_test_split

    try:
        chosen, _ = train_test_split(np.arange(len(data)), train_size=count, stratify=data.targets, random_state=seed)
    except ValueError as error:
        raise DataError(f"cannot take {count} of {len(data)} training images: {error}") from error
    chosen = np.sort(chosen)
    return replace(data, images=data.images[chosen], targets=data.targets[chosen])


def train_candidate(folder: Path, recipe: Recipe, bench: Bench, listener: training.Listener) -> Run:
    """Train a candidate, from its checkpoint where an interrupted search left one.

    Raises:
        EdgeFmnistError: as :func:`edge_fmnist_export.training.train_recipe.train`.
    """
    # Keras keeps every graph until it is told; a search would fill the memory with them.
    backend.keras_module().utils.clear_session()
    gc.collect()
    if (folder / "recipe.toml").is_file():
        run = resume_run(folder, recipe)
    else:
        # Cut off before its recipe was written, a folder holds nothing.
        shutil.rmtree(folder, ignore_errors=True)
        run = create_run(folder, recipe)
    training.train(run, bench.data, listener)
    return run


def measure_candidate(run: Run, bench: Bench) -> Measured:
    """Write a trained candidate's int8 file and measure it.

    The file is quantized after training, opened again and checked like any
    export, and lies in the run folder. Validation images alone give its accuracy.

    Raises:
        CheckError: the written file failed a check.
        EdgeFmnistError: as :class:`edge_fmnist_export.quantize.exporting.Exporter`.
    """
    from edge_fmnist_export.quantize.exporting import PTQ, Exporter

    train, validation = material.subsets(run.recipe, bench.data)
    representative = representative_dataset(train, representative_count(train), run.recipe.seed)
    exporter = Exporter(run, representative=representative)
    exported = exporter.export(PTQ, run.folder / MODEL, max_drop=0.0)
    content = exported.path.read_bytes()
    latency = compare_latency({str(exported.path): content}, bench.reference)[str(exported.path)]
    return Measured(
        accuracy=top1(Classifier.load(exported.path), validation),
        ratio=latency.ratio,
        microseconds=latency.microseconds,
        bytes=exported.bytes,
        parameters=int(exporter.model.count_params()),
        macs=exported.macs,
    )


def representative_count(train: Subset) -> int:
    """Return how many training images post-training quantization looks at: half of them where there are few."""
    return min(REPRESENTATIVE, len(train) // 2)


def top1(classifier: Classifier, images: Subset) -> float:
    """Return the share of images, 0 to 1, that a classifier names right."""
    return float((classifier.predict_batch(images.images).indexes == images.targets).mean())
