"""Knowledge distillation: fixed augmented views, and what the teachers say to each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fmnist.data.dataset import user_cache
from edge_fmnist.errors import RecipeError, RunNotFoundError
from edge_fmnist.files import moved_into_place
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.augment import mix, vary
from edge_fmnist_export.training.batches import Subset, scaled
from edge_fmnist_export.training.float_model import float_model
from edge_fmnist_export.training.inference import Forward, quick_logits
from edge_fmnist_export.training.recipe import Augmentation, Recipe
from edge_fmnist_export.training.run import Run, open_run

# Marks the chance that makes the views apart from that of the phases (training.PHASE_SEEDS).
VIEW_SEED = 2
# The least probability that a logarithm is taken of, well within float16.
TINY = 1e-4
# Keeps the logarithm of mixed probabilities finite at low temperatures.
LEAST = np.finfo(np.float32).tiny

# Told how many views are done, and of how many.
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Views:
    """A fixed number of augmented views of each training image.

    Attributes:
        subset: the training images.
        augmentation: what makes a view; neither mixup nor CutMix, which come after it.
        count: how many views.
        seed: decides them.
    """

    subset: Subset
    augmentation: Augmentation
    count: int
    seed: int

    def images(self, view: int) -> np.ndarray:
        """Return one view of every image, uint8, shape (N, 28, 28); the same for each call."""
        return vary(self.subset.images, self.augmentation, np.random.default_rng((self.seed, VIEW_SEED, view)))


@dataclass(frozen=True)
class Lesson:
    """Views and what the teachers say to them.

    Attributes:
        views: the views.
        logits: the teachers' answers, float16, shape (views, N, 10).
        temperature: what they are divided by where they are compared.
    """

    views: Views
    logits: np.ndarray
    temperature: float

    def batches(
        self, epoch: int, batch_size: int, seed: tuple[int, ...], augmentation: Augmentation
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the shuffled batches of one epoch, whose view follows from its number.

        Args:
            epoch: counted from 0.
            batch_size: images in a batch; a last batch that is not full is left out.
            seed: decides the order, and what is mixed with what.
            augmentation: mixup and CutMix of it apply; the rest is in the views.

        Yields:
            Images, float32 (batch, 28, 28, 1), values 0 to 1, targets and the teachers' logits, float32 (batch, 20).
        """
        view = epoch % self.views.count
        images = self.views.images(view)
        targets = with_teacher(self.views.subset.one_hot(), self.logits[view])
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(targets))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            batch = scaled(images[chosen]), targets[chosen]
            yield mixed(*batch, self.temperature, augmentation, rng) if augmentation.mixing else batch


def mixed(
    images: np.ndarray, targets: np.ndarray, temperature: float, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch mixed by mixup or CutMix, the teacher's answers with it.

    No teacher saw the mixed image. What it would say is taken to be the mixture of what it said to the two images:
    the probabilities softened by the temperature are mixed as the targets are, by the same weight, and become logits
    again. Cross-entropy is linear in what it is measured against, so that, but for a constant, a mixed image's loss is
    the mixture of its losses against the two answers (the same holds for the targets, smoothed or not).

    Args:
        images: float32, shape (N, 28, 28, 1), values 0 to 1.
        targets: targets and a teacher's logits, float32 (N, 20).
        temperature: what logits are divided by where teacher and student are compared.
        augmentation: which of the two, and how strong.
        rng: where all randomness comes from.

    Returns:
        Images and targets in the same form; divided by the temperature, the logits are logarithms of probabilities.
    """
    softened = softmax(targets[:, CLASSES:] / np.float32(temperature))
    shown, rows = mix(images[..., 0], np.concatenate([targets[:, :CLASSES], softened], axis=1), augmentation, rng)
    logits = np.float32(temperature) * np.log(np.maximum(rows[:, CLASSES:], LEAST))
    return shown[..., None], with_teacher(rows[:, :CLASSES], logits)


def with_teacher(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return targets (N, 10) with a teacher's logits (N, 10) behind them, float32 (N, 20), as the loss expects them."""
    return np.concatenate([targets, logits.astype(np.float32)], axis=1)


def teachers(recipe: Recipe) -> list[Run]:
    """Return the runs that teach a recipe; none where it learns from targets alone.

    Raises:
        RunNotFoundError: neither a run folder nor a shipped checkpoint.
        RecipeError: a teacher that was trained on images that validate the student.
    """
    found = []
    for name in recipe.distill.teachers:
        try:
            run = open_run(name)
        except RunNotFoundError as error:
            raise RunNotFoundError(f"the recipe {recipe.name}, distill.teachers: {error}") from error
        ours, theirs = recipe.data, run.recipe.data
        if (ours.validation, ours.split_seed) != (theirs.validation, theirs.split_seed):
            raise RecipeError(
                f"the recipe {recipe.name}, distill.teachers: {name} held other images out for validation "
                f"(validation = {theirs.validation}, split_seed = {theirs.split_seed}), so it was trained on ours; "
                "set the same in both recipes"
            )
        found.append(run)
    return found


def lesson(recipe: Recipe, train: Subset, advance: Advance) -> Lesson | None:
    """Return the views of a recipe's training images with its teachers' answers; None without teachers.

    The answers are kept in the user's cache, a file for each view, since they are the same for all students that see
    the view. What is there is not asked for again, so that an interrupted run goes on with the next view.

    Args:
        recipe: the recipe.
        train: the training images.
        advance: told how many views are done, and of how many.

    Raises:
        RunNotFoundError: a teacher is not there.
        RecipeError: a teacher was trained on images that validate.
        RunError: a teacher's run is damaged or has no float weights.
    """
    runs = teachers(recipe)
    if not runs:
        return None
    distill = recipe.distill
    views = Views(train, recipe.augmentation.without_mixing(), distill.views, distill.view_seed)
    folder = user_cache().parent / "teachers" / _fingerprint(runs, views)
    logits = np.empty((views.count, len(train), CLASSES), np.float16)
    forwards: list[Forward] = []
    for view in range(views.count):
        place = folder / f"view-{view}.npy"
        answers = _read(place, logits.shape[1:])
        if answers is None:
            forwards = forwards or _forwards(runs)
            answers = _answers(forwards, views.images(view))
            _write(place, answers)
            advance(view + 1, views.count)
        logits[view] = answers
    return Lesson(views, logits, distill.temperature)


def _fingerprint(runs: list[Run], views: Views) -> str:
    """Return the hash of all that decides the answers, but for the number of the view."""
    digest = hashlib.sha256()
    for run in runs:
        digest.update(f"{run.recipe.architecture} {run.recipe.mirrored}".encode())
        for array in run.weights("float"):
            digest.update(array.tobytes())
    digest.update(views.subset.images.tobytes())
    # No view is mixed.
    augmentation = views.augmentation.model_dump_json(exclude={"mixup", "cutmix"})
    digest.update(f"{augmentation} {views.seed}".encode())
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the stored answers to a view, None where there are none or a damaged file."""
    try:
        with path.open("rb") as stream:
            found: np.ndarray = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float16 else None


def _write(path: Path, answers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with moved_into_place(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, answers, allow_pickle=False)


def _forwards(runs: list[Run]) -> list[Forward]:
    """Return what gives each teacher's logits for images."""
    keras = backend.keras_module()
    return [quick_logits(float_model(run, keras), mirrored=run.recipe.mirrored) for run in runs]


def _answers(forwards: list[Forward], images: np.ndarray) -> np.ndarray:
    """Return the logarithm of the teachers' mean probabilities, which serves as logits: float16, shape (N, 10)."""
    probabilities = np.mean([softmax(forward(images)) for forward in forwards], axis=0, dtype=np.float32)
    answers: np.ndarray = np.log(np.maximum(probabilities, TINY)).astype(np.float16)
    return answers
