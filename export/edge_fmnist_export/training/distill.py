"""Knowledge distillation: fixed augmented views and the teachers' logits for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_fmnist.data.dataset import user_cache
from edge_fmnist.data.files import moved_into_place
from edge_fmnist.errors import RecipeError, RunNotFoundError
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.augment import augment
from edge_fmnist_export.training.batches import Subset, epoch_batches
from edge_fmnist_export.training.inference import Forward, quick_logits
from edge_fmnist_export.training.recipe import Augmentation, Recipe
from edge_fmnist_export.training.run_folder import Run, open_run

# Part of the random seed of the views, different from that of the phases (train_recipe.PHASE_SEEDS).
VIEW_SEED = 2
# Lower bound of probabilities before the logarithm, within float16.
TINY = 1e-4

# Called with the number of finished views and of all.
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Views:
    """A fixed number of augmented views of each training image."""

    subset: Subset
    augmentation: Augmentation
    count: int
    seed: int

    def images(self, view: int) -> np.ndarray:
        """Return one view of every image, uint8, shape (N, 28, 28); the same for each call."""
        return augment(self.subset.images, self.augmentation, np.random.default_rng((self.seed, VIEW_SEED, view)))


@dataclass(frozen=True)
class DistillationTargets:
    """Views and the teachers' logits for them.

    Attributes:
        logits: float16, shape (views, N, 10).
    """

    views: Views
    logits: np.ndarray

    def batches(self, epoch: int, batch_size: int, seed: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the batches of an epoch, counted from 0, which shows one view of each image.

        As in :func:`epoch_batches`, but the targets are followed by the teachers' logits: float32 (batch, 20).
        """
        view = epoch % self.views.count
        shown = replace(self.views.subset, images=self.views.images(view))
        rows = with_teacher(shown.one_hot(), self.logits[view])
        return epoch_batches(shown, batch_size, Augmentation(), seed, rows)


def with_teacher(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return targets (N, 10) and teachers' logits (N, 10) side by side, float32 (N, 20), as the loss expects them."""
    return np.concatenate([targets, logits.astype(np.float32)], axis=1)


def teachers(recipe: Recipe) -> list[Run]:
    """Return the runs of a recipe's teachers.

    Raises:
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RecipeError: a teacher was trained on the student's validation images.
    """
    found = []
    for name in recipe.distill.teachers:
        try:
            run = open_run(name)
        except RunNotFoundError as error:
            raise RunNotFoundError(f"the recipe {recipe.name}, distill.teachers: {error}") from error
        if run.recipe.photos.classes != recipe.photos.classes:
            raise RecipeError(
                f"the recipe {recipe.name}, distill.teachers: {name} has other classes; expected a "
                "teacher of the same classes"
            )
        ours, theirs = recipe.data, run.recipe.data
        if not ours.same_split(theirs):
            raise RecipeError(
                f"the recipe {recipe.name}, distill.teachers: {name} held out other images for validation "
                f"(validation = {theirs.validation}, split_seed = {theirs.split_seed}), so it was trained on ours; "
                "set the same in both recipes"
            )
        if theirs.train_on_validation and not ours.train_on_validation:
            raise RecipeError(
                f"the recipe {recipe.name}, distill.teachers: {name} was trained on its validation images, too, which "
                "are ours; expected a teacher that held them out"
            )
        found.append(run)
    return found


def distillation_targets(recipe: Recipe, train: Subset, advance: Advance) -> DistillationTargets | None:
    """Return the views of a recipe's training images with its teachers' logits; None without teachers.

    Each teacher's logits are cached in the user's cache folder, one file for each view, and reused by all students with
    the same views: another teacher costs its own logits only. An interrupted run continues with the next view.

    Raises:
        RunNotFoundError: a teacher, or its weights, cannot be found.
        RecipeError: a teacher was trained on the validation images.
        RunError: a teacher's run is damaged or has no float weights.
    """
    runs = teachers(recipe)
    if not runs:
        return None
    distill = recipe.distill
    views = Views(train, recipe.augmentation, distill.views, distill.view_seed)
    probabilities = np.zeros((views.count, len(train), CLASSES), np.float32)
    for number, run in enumerate(runs):
        folder = user_cache().parent / "teachers" / _fingerprint(run, views)
        forward: Forward | None = None
        for view in range(views.count):
            path = folder / f"view-{view}.npy"
            logits = _read(path, probabilities.shape[1:])
            if logits is None:
                forward = forward or _forward(run)
                logits = forward(views.images(view)).astype(np.float16)
                _write(path, logits)
                advance(number * views.count + view + 1, len(runs) * views.count)
            probabilities[view] += softmax(logits.astype(np.float32)) / len(runs)
    return DistillationTargets(views, np.log(np.maximum(probabilities, TINY)).astype(np.float16))


def hashes(recipe: Recipe) -> dict[str, str]:
    """Return the SHA-256 of the float weights of each of a recipe's teachers, by name.

    Raises:
        RunNotFoundError: a teacher, or its weights, cannot be found.
        RecipeError: a teacher was trained on the validation images.
        RunError: a teacher's run is damaged or has no float weights.
    """
    return dict(zip(recipe.distill.teachers, map(_weights_hash, teachers(recipe)), strict=True))


def _weights_hash(run: Run) -> str:
    digest = hashlib.sha256()
    for array in run.weights("float"):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _fingerprint(run: Run, views: Views) -> str:
    """Return the hash of everything that a teacher's logits depend on, except for the number of the view."""
    digest = hashlib.sha256(f"{run.recipe.architecture} {run.recipe.flip_tta} {_weights_hash(run)}".encode())
    digest.update(views.subset.images.tobytes())
    digest.update(f"{views.augmentation.model_dump_json()} {views.seed}".encode())
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the cached logits of a view, None without a valid file."""
    try:
        with path.open("rb") as stream:
            found: np.ndarray = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float16 else None


def _write(path: Path, logits: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with moved_into_place(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, logits, allow_pickle=False)


def _forward(run: Run) -> Forward:
    return quick_logits(run.float_model(backend.keras_module()), flip_tta=run.recipe.flip_tta)
