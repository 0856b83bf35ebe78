"""The training and validation data of a recipe: images of the data set, and photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError, UsageError
from edge_fmnist.teaching.photographs import photograph_files
from edge_fmnist.vision.picture_files import log_warning
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import own_classes, photo_views
from edge_fmnist_export.training.batches import UNKNOWN, Subset, join, split_validation, steps_per_epoch
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run_folder import Run

FASHION_MNIST_IMAGES = 60_000
# Largest share of a smaller data set that is held out for validation by default.
VALIDATION_SHARE = 0.05


@dataclass(frozen=True)
class TrainingData:
    """The data of a recipe.

    Attributes:
        train: the training images, with the views of photographs.
        validation: selects the best epoch: images of the data set, and photographs of known garments, repeated until
            they have the same weight. With ``data.train_on_validation``, they are among the training images.
        photos: each validation photograph once, with unknown garments; None without photographs.
        start: the last layer that training starts from; None: that of the initial weights.
    """

    train: Subset
    validation: Subset
    photos: Subset | None = None
    start: own_classes.Start | None = None


def scaled_validation(recipe: Recipe, images: int) -> Recipe:
    """Return the recipe with at most 5 % of a data set smaller than Fashion-MNIST held out, but ten images or more."""
    # One of each class.
    most = max(CLASSES, round(images * VALIDATION_SHARE))
    if images >= FASHION_MNIST_IMAGES or recipe.data.validation <= most:
        return recipe
    return recipe.with_changes(data={"validation": most})


def split(recipe: Recipe, data: Split) -> tuple[Subset, Subset]:
    """Split the training images into those that a recipe trains on and those held out for validation.

    Raises:
        DataError: too few images, or more classes than outputs.
    """
    if (classes := max(len(data.labels), int(data.targets.max(initial=0)) + 1)) > CLASSES:
        raise DataError(f"expected a data set of at most {CLASSES} classes, got {classes}")
    return split_validation(data, recipe.data.validation, recipe.data.split_seed)


def subsets(recipe: Recipe, data: Split) -> tuple[Subset, Subset]:
    """Return the training and the validation subset of a recipe, without photographs.

    Raises:
        DataError: too few images for the split or for one batch.
    """
    train_subset, validation = split(recipe, data)
    steps_per_epoch(train_subset, recipe.data.batch_size)
    return train_subset, validation


def check_photos(recipe: Recipe, folder: Path | None) -> None:
    """Check that a folder of photographs is given if, and only if, the recipe uses photographs.

    Raises:
        UsageError: it is missing, or not used.
        DataNotFoundError: it has no photographs to train or to validate on.
        DataError: it has an unknown garment, or no known one to validate on, or a folder that cannot be a class.
    """
    if not recipe.photos.views:
        if folder is not None:
            raise UsageError(f"the recipe {recipe.name} trains without photographs; omit --photos")
    elif folder is None:
        raise UsageError(f"the recipe {recipe.name} trains on photographs; give their folder with --photos")
    elif recipe.photos.classes:
        if (found := tuple(photograph_files(folder, 2, lambda _: None))) != recipe.photos.classes:
            expected = ", ".join(recipe.photos.classes)
            raise DataError(f"{folder}: expected folders for the classes {expected}, got {', '.join(found)}")
    else:
        photo_views.check_folder(folder)


def sources(recipe: Recipe, data: Split | None, photos: Path | None) -> dict[str, Any]:
    """Return the hashes of images and photographs, and the labels, for ``run.json``.

    Raises:
        DataNotFoundError: no photographs in the folder.
        DataError: an unknown garment.
        ImageError: an unreadable photograph.
    """
    if photos is not None and recipe.photos.classes:
        files = photograph_files(photos, 2, lambda _: None).values()
        hashed = photo_views.fingerprint(photos, (path for paths in files for path in paths))
        return {"labels": list(recipe.photos.classes), "photos_sha256": hashed}
    data = _images(data)
    hashes: dict[str, Any] = {"data_sha256": list(data.sha256), "labels": list(data.labels)}
    return hashes if photos is None else {**hashes, "photos_sha256": photo_views.fingerprint(photos)}


def recorded_data(run: Run) -> Any:
    """Return the hashes of the data set that a run was trained on, for :func:`of_another_set`; None if unknown.

    Raises:
        RunError: the run's record is damaged.
    """
    return run.read_object("run.json").get("data_sha256")


def gather(recipe: Recipe, data: Split | None, photos: Path | None, advance: photo_views.Advance) -> TrainingData:
    """Return all data of a recipe.

    Raises:
        DataNotFoundError: no photographs in the folder.
        DataError: too few images, or no garment found in any photograph.
        ImageError: an unreadable photograph.
    """
    if photos is not None and recipe.photos.classes:
        views, held_out, start = own_classes.class_subsets(recipe, photos, advance, log_warning)
        return TrainingData(views, held_out, held_out, start)
    images = _images(data)
    train_subset, validation = subsets(recipe, images)
    if recipe.data.train_on_validation:
        train_subset = Subset(images.images, images.targets)
    if photos is None:
        return TrainingData(train_subset, validation)
    views = photo_views.training_views(photos, recipe.photos.views, recipe.seed, advance)
    pictured = photo_views.validation_images(photos)
    known = pictured.chosen(pictured.targets != UNKNOWN)
    repeats = max(1, round(len(validation) / len(known)))
    return TrainingData(join([train_subset, views]), join([validation, *[known] * repeats]), pictured)


def _images(data: Split | None) -> Split:
    if data is None:
        raise UsageError("expected the images of a data set: the recipe does not list its own classes")
    return data
