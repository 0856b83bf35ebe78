from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist_export.report.duplicates import FARTHEST, near_pairs, repeated, shared


def garments(count: int, seed: int) -> np.ndarray:
    """Return smooth images that share what they vary in, as garments do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 7, 7)).repeat(4, 1).repeat(4, 2)
    return coarse.astype(np.uint8)


def test_equal_images_are_counted() -> None:
    train, test = garments(30, 1), garments(20, 2)
    train[7] = train[3]
    train[9] = train[3]
    test[5] = train[3]
    assert (repeated(train), repeated(test), shared(train, test)) == (2, 0, 1)


def test_every_near_pair_is_found() -> None:
    rng = np.random.default_rng(3)
    train, test = garments(200, 4), garments(100, 5)
    for index, size in enumerate((0, 1, 4, 9, 14, 15, 16, 30)):
        # Noise that changes the root mean square by just so much.
        noise = rng.choice([-size, size], (28, 28))
        test[index] = np.clip(train[index].astype(int) + noise, 0, 255).astype(np.uint8)
    differences = np.sqrt(((test[:, None].astype(float) - train[None]) ** 2).mean(axis=(2, 3)))
    expected = {(i, j): differences[i, j] for i, j in np.argwhere(differences <= FARTHEST).tolist()}
    found = near_pairs(train, test)
    assert 6 <= len(expected) <= 8
    assert {(pair.test, pair.train): pair.difference for pair in found} == pytest.approx(expected, abs=1e-4)
    assert [pair.difference for pair in found] == sorted(pair.difference for pair in found)


def test_all_images_near_or_none() -> None:
    images = np.full((3, 28, 28), 7, np.uint8)
    assert len(near_pairs(images, images)) == 9
    assert near_pairs(images, np.full((4, 28, 28), 200, np.uint8)) == []
