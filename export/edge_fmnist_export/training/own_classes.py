"""Training on photographs of any classes: what is held out, and the taught last layer that training starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.errors import DataError
from edge_fmnist.model.photos import subfolders
from edge_fmnist.model.registry import CAMERA_MODEL, ModelBytes
from edge_fmnist.teaching.parent import Parent
from edge_fmnist.teaching.photographs import Photographs, photograph_files, read_photographs
from edge_fmnist.teaching.trained_head import TrainedHead
from edge_fmnist.vision.picture_files import Warn
from edge_fmnist.vision.preprocess import to_frame
from edge_fmnist.vision.read_image import read_image
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.photo_views import TRAIN, VALIDATION, Advance, varied
from edge_fmnist_export.training.recipe import Recipe

# Share of the photographs of each class that is held out.
HELD_OUT = 0.2
# At most; a few hundred views make few batches of the usual size.
BATCH_SIZE = 32
SEED = 0
# In place of distillation: no teacher knows the classes.
FINE_TUNING: dict[str, dict[str, Any]] = {
    "data": {"batch_size": 128},
    "photos": {"views": 10},
    "distill": {"teachers": ()},
    "training": {"epochs": 10, "learning_rate": 0.02, "weight_decay": 0.004, "ema": 0.0},
}


@dataclass(frozen=True, eq=False)
class Start:
    """A taught last layer, float32, and its accuracy on the photographs that are held out, 0 to 1.

    The kernel has the shape (features, classes).
    """

    kernel: np.ndarray
    bias: np.ndarray
    accuracy: float


def class_folders(folder: Path) -> bool:
    """Return whether a folder has a folder for each class, and not the splits ``train`` and ``validation``."""
    names = subfolders(folder) if folder.is_dir() else {}
    return bool(names) and not {TRAIN, VALIDATION} & {*names}


def for_classes(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe that trains on the photographs of a folder alone, from the weights of ``camera``.

    The last epoch is kept, so that held-out photographs are not used for model selection and measure without bias.
    A recipe with teachers is replaced by FINE_TUNING. Raises as :func:`photograph_files`.
    """
    if recipe.distill.teachers:
        recipe = recipe.with_changes(**FINE_TUNING)
    size = min(recipe.data.batch_size, BATCH_SIZE)
    # Of the learning rate, in proportion to the images of a batch (Goyal et al. 2017, arXiv:1706.02677).
    slower = size / recipe.data.batch_size
    changed = recipe.with_changes(
        data={"batch_size": size},
        photos={"classes": tuple(photograph_files(folder, 2, lambda _: None))},
        training={"keep": "last", "learning_rate": recipe.training.learning_rate * slower},
        qat={"keep": "last", "learning_rate": recipe.qat.learning_rate * slower},
    )
    return changed.model_copy(update={"init_from": CAMERA_MODEL})


def class_subsets(recipe: Recipe, folder: Path, advance: Advance, warn: Warn) -> tuple[Subset, Subset, Start]:
    """Return the views of the photographs, those that are held out, and the last layer taught from the others.

    The recipe is one of :func:`for_classes`. ``advance`` is called with the number of finished photographs and of all,
    ``warn`` with what is skipped. Raises as :func:`edge_fmnist.teach`.
    """
    photographs = read_photographs(folder, 2, advance, warn)
    held = held_out(photographs.targets, photographs.groups)
    if not held.any():
        raise DataError(f"{folder}: the photographs of each class are too alike to hold some out; add different ones")
    taught, measured = photographs.chosen(~held), photographs.chosen(held)
    images, targets = [taught.images], [taught.targets]
    for index, (path, target) in enumerate(zip(taught.paths, taught.targets, strict=True)):
        rng = np.random.default_rng((recipe.seed, index))
        views = list(varied(to_frame(read_image(path)), recipe.photos.views - 1, rng))
        images += [np.stack(views)] if views else []
        targets.append(np.full(len(views), target))
        advance(index + 1, len(taught.paths))
    train = Subset(np.concatenate(images), np.concatenate(targets).astype(np.uint8), recipe.outputs)
    if len(train) < recipe.data.batch_size:
        raise DataError(
            f"{folder}: expected at least {recipe.data.batch_size} views of photographs to train on, got {len(train)}; "
            "add photographs"
        )
    validation = Subset(measured.images, measured.targets.astype(np.uint8), recipe.outputs)
    return train, validation, _start(taught, measured)


def held_out(targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return which photographs are held out, bool, shape (N,): a fifth of each class, those of a group together.

    A group that exceeds the fifth is used for training, so fewer may be held out, and none of a class whose photographs
    are all alike. Classes and groups are int, shape (N,).
    """
    rng = np.random.default_rng(SEED)
    held = np.zeros(len(targets), bool)
    for label in np.unique(targets):
        ours = targets == label
        most = np.ceil(HELD_OUT * ours.sum())
        for group in rng.permutation(np.unique(groups[ours])):
            together = ours & (groups == group)
            if (held & ours).sum() + together.sum() <= most:
                held |= together
    return held


def _start(taught: Photographs, measured: Photographs) -> Start:
    """Teach ``camera``, and measure the file that :func:`edge_fmnist.teach` would write."""
    content = TrainedHead(Parent(CAMERA_MODEL), taught, lambda *_: None, add=False).file("taught")
    model = Parent(ModelBytes(content, "taught"))
    weights, predictions = model.weights(), model.classifier.predict_batch(measured.images)
    return Start(weights[:, :-1].T, weights[:, -1], float((predictions.indexes == measured.targets).mean()))
