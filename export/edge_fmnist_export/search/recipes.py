"""The recipes of a search: brief ones for its candidates, and full ones for its front."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from edge_fmnist.files import write_text
from edge_fmnist_export.search.state import Candidate, Settings
from edge_fmnist_export.training.recipe import Recipe, parse_recipe

FULL = "recipe.toml"
FRONT = "front"
# A share of the images validates: with all 60,000 it comes to what full training holds out.
VALIDATION = 12
# Few epochs leave no time to learn from images with holes.
BRIEF_AUGMENTATION = {"erasing": 0.0}
# Moving statistics that lag behind the weights would decide the ranking: they look back a quarter of an epoch, which is
# what 0.99 does with all images.
STATISTICS_PER_EPOCH = 4
LARGEST_MOMENTUM = 0.99


def full_recipe(name: str, architecture: str, description: str = "") -> Recipe:
    """Return the recipe by which a network is trained in full.

    Raises:
        RecipeError: no such architecture, or no such name.
    """
    text = (files("edge_fmnist_export.search") / FULL).read_text("utf-8")
    base = parse_recipe(text, FULL)
    return parse_recipe(
        base.model_copy(update={"name": name, "architecture": architecture, "description": description}).to_toml(), name
    )


def brief_recipe(number: int, architecture: str, settings: Settings, images: int) -> Recipe:
    """Return the recipe by which a candidate is trained, with the epochs of the settings and without QAT.

    Args:
        number: of the candidate.
        architecture: its network.
        settings: of the search.
        images: how many there are to train and to validate on together.

    Raises:
        RecipeError: no such architecture.
    """
    full = full_recipe(candidate_name(number), architecture)
    validation = max(1, images // VALIDATION)
    steps = (images - validation) / full.data.batch_size
    momentum = min(max(1 - STATISTICS_PER_EPOCH / steps, 0.0), LARGEST_MOMENTUM)
    return full.model_copy(update={"seed": settings.seed}).with_changes(
        data={"validation": validation},
        augmentation=BRIEF_AUGMENTATION,
        training={"epochs": settings.epochs, "batch_norm_momentum": momentum},
        qat={"epochs": 0},
    )


def candidate_name(number: int) -> str:
    """Return the name of a candidate, which its folder and its recipe bear."""
    return f"candidate-{number:04}"


def write_front(folder: Path, front: list[Candidate]) -> dict[int, Path]:
    """Write a recipe for each candidate of the front, and remove those of candidates that are on it no more.

    Returns:
        The recipes' paths, by the candidate's number.

    Raises:
        OSError: a file cannot be written.
    """
    paths = {each.number: folder / FRONT / f"{candidate_name(each.number)}.toml" for each in front}
    for path in (folder / FRONT).glob("candidate-*.toml"):
        if path not in paths.values():
            path.unlink()
    for candidate in front:
        found = candidate.measured
        told = found and (
            f"Found by a search: {found.accuracy:.2%} of the validation images right after brief training, "
            f"{found.ratio:.2f} times the reference's latency, {found.bytes:,} bytes."
        )
        name = candidate_name(candidate.number)
        write_text(paths[candidate.number], full_recipe(name, candidate.architecture, told or "").to_toml())
    return paths
