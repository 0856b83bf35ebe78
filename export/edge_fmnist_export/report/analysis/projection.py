"""UMAP and t-SNE projections of images: of the penultimate layer's features and of the pixels.

Neighbouring points are similar. Distances between groups and the sizes of groups have no meaning in either method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError, ModelError
from edge_fmnist_export.report.analysis.activations import file_activations

IMAGES = 1500
LEAST_IMAGES = 50
# Number of nearest neighbours in purity, trustworthiness and UMAP.
NEIGHBOURS = 15
PERPLEXITY = 30
# Images per batch: all their activations must fit into memory.
BATCH = 100
METHODS = ("umap", "tsne")


@dataclass(frozen=True, eq=False)
class Projection:
    """A two-dimensional projection of images.

    Attributes:
        space: ``"features"`` or ``"pixels"``.
        method: ``"umap"`` or ``"tsne"``.
        points: float32, shape (N, 2).
        purity: mean share of a point's nearest neighbours that are of its class, 0 to 1.
        trustworthiness: how far neighbours in the projection were neighbours before, 0 to 1 (Venna and Kaski 2001).
    """

    space: str
    method: str
    points: np.ndarray
    purity: float
    trustworthiness: float


@dataclass(frozen=True, eq=False)
class Projections:
    """All projections of a sample of images.

    Attributes:
        chosen: indexes of the images in their split, int64, shape (N,).
        targets: class indexes, uint8, shape (N,).
        purity: purity of each space before projection.
        projections: one per space and method.
    """

    chosen: np.ndarray
    targets: np.ndarray
    purity: dict[str, float]
    projections: tuple[Projection, ...]


def project(
    content: bytes,
    source: str,
    split: Split,
    seed: int,
    progress: Callable[[str, float], None],
    *,
    count: int = IMAGES,
    methods: Sequence[str] = METHODS,
) -> Projections:
    """Project a sample of a split.

    ``progress`` is called with the current step and the share that is done, 0 to 1.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
        DataError: fewer than 50 images.
        ModelError: the file cannot be run, or has only one layer with weights.
    """
    extras.require("report", "projecting", ("sklearn", *(["umap"] if "umap" in methods else [])))
    chosen = sample(split, count, seed)
    images, targets = split.images[chosen], split.targets[chosen]
    progress("penultimate layer", 0.0)
    spaces = {
        "features": features(content, images, source),
        "pixels": images.reshape(len(images), -1) / np.float32(255),
    }
    found: list[Projection] = []
    for space, values in spaces.items():
        for method in methods:
            progress(f"{method} of {space}", (1 + len(found)) / (1 + len(spaces) * len(methods)))
            found.append(_projection(space, method, values, targets, seed))
    return Projections(
        chosen, targets, {space: purity(values, targets) for space, values in spaces.items()}, tuple(found)
    )


def sample(split: Split, count: int, seed: int) -> np.ndarray:
    """Return the sorted indexes of a sample that is stratified by class, int64.

    Raises:
        DataError: fewer than 50 images.
    """
    from sklearn.model_selection import train_test_split

    if min(len(split), count) < LEAST_IMAGES:
        raise DataError(f"expected at least {LEAST_IMAGES} images to project, got {min(len(split), count)}")
    everything = np.arange(len(split))
    if count >= len(split):
        return everything
    counts = np.bincount(split.targets)
    # A class with a single image cannot be stratified.
    stratify = split.targets if counts[counts > 0].min() > 1 and len(split) - count >= len(counts) else None
    _, chosen = train_test_split(everything, test_size=count, stratify=stratify, random_state=seed)
    return np.sort(chosen)


def features(content: bytes, images: np.ndarray, source: str) -> np.ndarray:
    """Return the penultimate layer's output: the input of the last layer with weights, dequantized.

    Images are uint8, shape (N, 28, 28); the result is float32, shape (N, features).

    Raises:
        ModelError: the file cannot be run, or has only one layer with weights.
    """
    parts = []
    for start in range(0, len(images), BATCH):
        activations = file_activations(content, images[start : start + BATCH], source)
        weighted = [place for place, activation in enumerate(activations) if activation.weights is not None]
        if not weighted or weighted[-1] == 0:
            raise ModelError(f"{source}: expected a layer before the last layer with weights")
        values = activations[weighted[-1] - 1].values
        parts.append(values.reshape(len(values), -1))
    return np.concatenate(parts)


def purity(values: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean share, 0 to 1, of the nearest neighbours of each point, (N, dimensions), of its class."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=_neighbours(len(values))).fit(values).kneighbors(return_distance=False)
    return float((targets[near] == targets[:, None]).mean())


def _neighbours(count: int) -> int:
    return min(NEIGHBOURS, count // 3)


def _projection(space: str, method: str, values: np.ndarray, targets: np.ndarray, seed: int) -> Projection:
    from sklearn.manifold import trustworthiness

    points = np.asarray({"umap": _umap, "tsne": _tsne}[method](values, seed), np.float32)
    kept = float(trustworthiness(values, points, n_neighbors=_neighbours(len(values))))
    return Projection(space, method, points, purity(points, targets), kept)


def _tsne(values: np.ndarray, seed: int) -> Any:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    method = TSNE(perplexity=min(PERPLEXITY, len(values) // 4), init="pca", random_state=seed)
    # With few points, several threads are much slower than one when a core is busy.
    with threadpool_limits(1):
        return method.fit_transform(values)


def _umap(values: np.ndarray, seed: int) -> Any:
    import umap

    # With a seed, UMAP uses one thread; n_jobs=1 avoids its warning.
    return umap.UMAP(n_neighbors=_neighbours(len(values)), random_state=seed, n_jobs=1).fit_transform(values)
