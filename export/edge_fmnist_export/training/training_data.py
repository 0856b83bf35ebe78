"""What a recipe trains and validates on: images of the data set, and photographs where it takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.data.dataset import FASHION_MNIST_SHA256, IMAGES, TARGETS, Split, SplitName, is_fashion_mnist
from edge_fmnist.errors import UsageError
from edge_fmnist_export.training import photo_views
from edge_fmnist_export.training.batches import UNKNOWN, Subset, join, split_validation, steps_per_epoch
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run import Run


@dataclass(frozen=True)
class Material:
    """What a recipe trains and validates on.

    Attributes:
        train: the training images, views of photographs among them.
        validation: what chooses the best epoch: images of the data set, and with photographs those of
            garments it knows, repeated until they weigh as much.
        photos: each validation photograph once, unknown garments among them; None without photographs.
    """

    train: Subset
    validation: Subset
    photos: Subset | None = None


def split(recipe: Recipe, data: Split) -> tuple[Subset, Subset]:
    """Return the images of a training split that a recipe trains on, and those that it holds out for validation.

    Raises:
        DataError: too few images.
    """
    return split_validation(data, recipe.data.validation, recipe.data.split_seed)


def subsets(recipe: Recipe, data: Split) -> tuple[Subset, Subset]:
    """Return the training and the validation subset of a recipe, without photographs.

    Args:
        recipe: the recipe.
        data: the training split; validation is taken from it.

    Raises:
        DataError: too few images for the split or for one batch.
    """
    train_subset, validation = split(recipe, data)
    steps_per_epoch(train_subset, recipe.data.batch_size)
    return train_subset, validation


def check_photos(recipe: Recipe, folder: Path | None) -> None:
    """Check that a folder of photographs is given where the recipe needs one, and only there.

    Raises:
        UsageError: it is not so.
        DataNotFoundError: the folder has no photographs to train or to validate on.
        DataError: it has a garment that is not known, or none of a known kind to validate on.
    """
    if not recipe.photos.views:
        if folder is not None:
            raise UsageError(f"the recipe {recipe.name} trains without photographs; leave --photos out")
    elif folder is None:
        raise UsageError(f"the recipe {recipe.name} trains on photographs too; name their folder with --photos")
    else:
        photo_views.check_folder(folder)


def sources(data: Split, photos: Path | None) -> dict[str, Any]:
    """Return what identifies the images, labels and photographs that a run is made from, for its ``run.json``.

    Raises:
        DataNotFoundError: no photographs in the folder.
        DataError: a garment that is not known.
        ImageError: a photograph that cannot be read.
    """
    hashes: dict[str, Any] = {"data_sha256": list(data.sha256), "labels": list(data.labels)}
    return hashes if photos is None else {**hashes, "photos_sha256": photo_views.fingerprint(photos)}


def of_another_set(run: Run, name: SplitName, data: Split) -> bool:
    """Tell whether a run is known to be trained on another data set than the one that a split is of.

    A run records the hashes of its training images alone; beside a test split only Fashion-MNIST is told from others.

    Args:
        run: the run folder.
        name: which split it is.
        data: the split.

    Raises:
        RunError: the run's record is damaged.
    """
    record = run.read_json("run.json", {})
    recorded = record.get("data_sha256") if isinstance(record, dict) else None
    if recorded is None:
        return False
    if name == "train":
        return bool(recorded != list(data.sha256))
    published = [FASHION_MNIST_SHA256[IMAGES["train"]], FASHION_MNIST_SHA256[TARGETS["train"]]]
    return bool((recorded == published) != is_fashion_mnist(data))


def gather(recipe: Recipe, data: Split, photos: Path | None, advance: photo_views.Advance) -> Material:
    """Return all that a recipe trains and validates on.

    Args:
        recipe: the recipe.
        data: the training split; validation is taken from it.
        photos: the folder of photographs; None where the recipe takes none.
        advance: told how many photographs are done, and of how many.

    Raises:
        DataNotFoundError: no photographs in the folder.
        DataError: too few images, or no garment found in any photograph.
        ImageError: a photograph that cannot be read.
    """
    train_subset, validation = subsets(recipe, data)
    if photos is None:
        return Material(train_subset, validation)
    views = photo_views.training_views(photos, recipe.photos.views, recipe.seed, advance)
    pictured = photo_views.validation_images(photos)
    known = pictured.chosen(pictured.targets != UNKNOWN)
    repeats = max(1, round(len(validation) / len(known)))
    return Material(join([train_subset, views]), join([validation, *[known] * repeats]), pictured)
