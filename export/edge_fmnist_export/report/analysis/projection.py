"""Images as points in the plane: UMAP and t-SNE of what the last layer sees, and of the pixels.

Points that lie near each other are alike to the model. Distances between far
groups, and the sizes of groups, mean nothing in either method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError, ModelError
from edge_fmnist_export.report.analysis.activations import file_activations

IMAGES = 1500
# Of whose points it is asked whether they are of the same class; also UMAP's own idea of near.
NEIGHBOURS = 15
LEAST_IMAGES = 50
PERPLEXITY = 30
# All activations of these many fit into memory.
BATCH = 100
METHODS = ("umap", "tsne")
Advance = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Projection:
    """Images as points in the plane.

    Attributes:
        space: ``"features"`` or ``"pixels"``.
        method: ``"umap"`` or ``"tsne"``.
        points: float32, shape (N, 2).
        purity: mean share of a point's nearest neighbours in the plane that are of its class, 0 to 1.
        trustworthiness: how many of the neighbours in the plane are neighbours in the space too, 0 to 1
            (Venna and Kaski 2001).
    """

    space: str
    method: str
    points: np.ndarray
    purity: float
    trustworthiness: float


@dataclass(frozen=True, eq=False)
class Projections:
    """All projections of the same images.

    Attributes:
        chosen: the indexes of the images in their split, int64, shape (N,).
        targets: their classes, uint8, shape (N,).
        purity: of each space before projection: mean share of nearest neighbours of the same class, 0 to 1.
        projections: one for each space and method.
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
    advance: Advance,
    *,
    count: int = IMAGES,
    methods: tuple[str, ...] = METHODS,
) -> Projections:
    """Project a sample of a split.

    Args:
        content: the bytes of the model file.
        source: what messages call it.
        split: images and targets.
        seed: decides the sample and where the methods start.
        advance: told what is being done, and the share that is done.
        count: how many images.
        methods: of ``METHODS``.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
        DataError: fewer than 50 images.
        ModelError: a file that cannot be run, or has no layer before its last.
    """
    extras.require("report", "projecting", ("sklearn", *(["umap"] if "umap" in methods else [])))
    chosen = sample(split, count, seed)
    images, targets = split.images[chosen], split.targets[chosen]
    advance("penultimate layer", 0.0)
    spaces = {
        "features": features(content, images, source),
        "pixels": images.reshape(len(images), -1) / np.float32(255),
    }
    found: list[Projection] = []
    for space, values in spaces.items():
        for method in methods:
            advance(f"{method} of {space}", (1 + len(found)) / (1 + len(spaces) * len(methods)))
            found.append(_projection(space, method, values, targets, seed))
    purity_before = {space: purity(values, targets) for space, values in spaces.items()}
    return Projections(chosen, targets, purity_before, tuple(found))


def sample(split: Split, count: int, seed: int) -> np.ndarray:
    """Return the sorted indexes of a sample in which each class has its share, int64.

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
    # A class with a single image cannot be shared out.
    stratify = split.targets if counts[counts > 0].min() > 1 and len(split) - count >= len(counts) else None
    _, chosen = train_test_split(everything, test_size=count, stratify=stratify, random_state=seed)
    result: np.ndarray = np.sort(chosen)
    return result


def features(content: bytes, images: np.ndarray, source: str) -> np.ndarray:
    """Return what the last layer with weights of a model file is given: the penultimate layer's output.

    Args:
        content: the bytes of the file.
        images: uint8, shape (N, 28, 28).
        source: what messages call it.

    Returns:
        Dequantized, float32, shape (N, features).

    Raises:
        ModelError: a file that cannot be run, or has no layer before its last.
    """
    parts = []
    for start in range(0, len(images), BATCH):
        activations = file_activations(content, images[start : start + BATCH], source)
        weighted = [place for place, activation in enumerate(activations) if activation.weights is not None]
        if not weighted or weighted[-1] == 0:
            raise ModelError(f"{source}: expected a layer before the last one with weights, and there is none")
        values = activations[weighted[-1] - 1].values
        parts.append(values.reshape(len(values), -1))
    return np.concatenate(parts)


def purity(values: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean share of the nearest neighbours of each point that are of its class, 0 to 1.

    Args:
        values: float, shape (N, dimensions).
        targets: shape (N,).
    """
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
    # So few points take seconds on one thread; several wait for one another, for minutes where a core is busy.
    with threadpool_limits(1):
        return method.fit_transform(values)


def _umap(values: np.ndarray, seed: int) -> Any:
    import umap

    # A seed makes UMAP run on one thread; saying so keeps it from warning.
    return umap.UMAP(n_neighbors=_neighbours(len(values)), random_state=seed, n_jobs=1).fit_transform(values)
