"""Images that a data set holds twice, or nearly so.

A near-duplicate between train and test makes accuracy look better than it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMPONENTS = 64
# Images whose pixels differ by more than this, as root mean square in grey levels, are not looked at.
FARTHEST = 15.0
# What float32 rounds away must not lose a pair at the edge.
SLACK = 1.001
# Images the principal components are found from; more change little.
FITTED = 15_000


@dataclass(frozen=True)
class Pair:
    """A test image and a train image that look alike.

    Attributes:
        test: position in the test split.
        train: position in the train split.
        difference: root mean square of the differences of their pixels, in grey levels of 255.
    """

    test: int
    train: int
    difference: float


def repeated(images: np.ndarray) -> int:
    """Return how many images, uint8 (N, 28, 28), are byte for byte equal to an earlier one."""
    return len(images) - len({image.tobytes() for image in images})


def shared(train: np.ndarray, test: np.ndarray) -> int:
    """Return how many test images are byte for byte equal to a train image."""
    known = {image.tobytes() for image in train}
    return sum(image.tobytes() in known for image in test)


def near_pairs(train: np.ndarray, test: np.ndarray, farthest: float = FARTHEST) -> list[Pair]:
    """Return every pair of a test and a train image within a distance, the closest first.

    Principal components find the candidates and pixels decide. None is
    missed: a projection never lengthens a distance, so two images whose
    pixels are close are close there too.

    Args:
        train: uint8, shape (N, 28, 28).
        test: uint8, shape (M, 28, 28).
        farthest: root mean square of the differences of the pixels, in grey levels of 255.
    """
    from sklearn.neighbors import NearestNeighbors

    ours, theirs = _projected(train, test)
    radius = farthest * np.sqrt(train[0].size) * SLACK
    found = NearestNeighbors(radius=radius, algorithm="brute").fit(theirs)
    candidates = found.radius_neighbors(ours, return_distance=False)
    pairs = [
        Pair(index, int(neighbour), difference)
        for index, neighbours in enumerate(candidates)
        for neighbour, difference in zip(neighbours, _differences(test[index], train[neighbours]), strict=True)
        if difference <= farthest
    ]
    return sorted(pairs, key=lambda pair: (pair.difference, pair.test, pair.train))


def _projected(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return test and train images as float32 rows of principal components."""
    from sklearn.decomposition import PCA

    flat_train, flat_test = (images.reshape(len(images), -1).astype(np.float32) for images in (train, test))
    fitted = flat_train[:: -(-len(train) // FITTED)]
    components = PCA(min(COMPONENTS, *fitted.shape), svd_solver="covariance_eigh")
    # Images that are all the same have no variance to take shares of.
    with np.errstate(invalid="ignore", divide="ignore"):
        components.fit(fitted)
    return components.transform(flat_test), components.transform(flat_train)


def _differences(image: np.ndarray, others: np.ndarray) -> list[float]:
    """Return the root mean squares of the differences of an image, uint8 (28, 28), from others, uint8 (N, 28, 28)."""
    differences = others.astype(np.float32) - image.astype(np.float32)
    values: list[float] = np.sqrt((differences**2).mean(axis=(1, 2), dtype=np.float64)).tolist()
    return values
