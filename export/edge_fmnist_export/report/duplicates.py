"""Duplicates and near-duplicates. Near-duplicates of training images in the test split inflate accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMPONENTS = 64
# Maximum root mean square difference of a near-duplicate, in grey levels of 255.
FARTHEST = 15.0
# Margin for float32 rounding of distances.
MARGIN = 1.001
# Number of images that the principal components are computed from.
PCA_IMAGES = 15_000


@dataclass(frozen=True)
class NearPair:
    """A test and a training image, by index, and the root mean square difference in grey levels of 255."""

    test: int
    train: int
    difference: float


def repeated(images: np.ndarray) -> int:
    """Return how many images, uint8 (N, 28, 28), are identical to an earlier one."""
    return len(images) - len({image.tobytes() for image in images})


def shared(train: np.ndarray, test: np.ndarray) -> int:
    """Return how many test images are identical to a training image."""
    known = {image.tobytes() for image in train}
    return sum(image.tobytes() in known for image in test)


def near_pairs(train: np.ndarray, test: np.ndarray) -> list[NearPair]:
    """Return every pair of a test and a training image within the distance ``FARTHEST``, the closest first.

    Images are uint8, shape (N, 28, 28). Candidates are searched among principal components and then compared by pixels.
    The search is complete: a projection never increases a distance.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    flat_train, flat_test = (images.reshape(len(images), -1).astype(np.float32) for images in (train, test))
    sample = flat_train[:: -(-len(train) // PCA_IMAGES)]
    if len(sample) == 1:
        # PCA takes no single image; its other components are all the same.
        sample = np.repeat(sample, 2, axis=0)
    components = PCA(min(COMPONENTS, *sample.shape), svd_solver="covariance_eigh")
    # Identical images have no variance to divide by.
    with np.errstate(invalid="ignore", divide="ignore"):
        components.fit(sample)
    index = NearestNeighbors(radius=FARTHEST * np.sqrt(train[0].size) * MARGIN, algorithm="brute")
    index.fit(components.transform(flat_train))
    candidates = index.radius_neighbors(components.transform(flat_test), return_distance=False)
    pairs = []
    for position, neighbours in enumerate(candidates):
        squares = (flat_train[neighbours] - flat_test[position]) ** 2
        for neighbour, difference in zip(neighbours, np.sqrt(squares.mean(axis=1, dtype=np.float64)), strict=True):
            if difference <= FARTHEST:
                pairs.append(NearPair(position, int(neighbour), float(difference)))
    return sorted(pairs, key=lambda pair: (pair.difference, pair.test, pair.train))
