"""Photographs on two machines: write them as JPEG once, and preprocess them on each.

``python photographs.py write FOLDER`` or ``python photographs.py preprocess FOLDER FILE``. The photographs are those of
the folder that EDGE_FMNIST_PHOTOS names; without it, pictures of the demo scene with noise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.sources.demo import Scene
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist.vision.read_image import read_image

COUNT = 200
# Factors of shrinking that are whole numbers, simple fractions, and neither.
SIZES = ((640, 480), (960, 720), (1210, 905), (333, 500), (250, 187), (80, 60))
NOISE, QUALITY = 6.0, 90


def scenes() -> Iterator[bytes]:
    """Yield pictures of the demo scene as JPEG."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        picture = Scene(*SIZES[number % len(SIZES)]).draw(0.5 + 0.37 * number)
        noisy = np.clip(picture + rng.normal(0, NOISE, picture.shape), 0, 255).astype(np.uint8)
        yield cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def photographs() -> Iterator[bytes]:
    """Yield photographs, evenly spaced over the folder, or scenes."""
    folder = os.environ.get("EDGE_FMNIST_PHOTOS")
    paths = sorted(Path(folder).rglob("*.jp*g")) if folder else []
    if not paths:
        yield from scenes()
    for path in paths[:: max(1, len(paths) // COUNT)][:COUNT]:
        yield path.read_bytes()


def write(folder: Path) -> None:
    """Write the photographs, numbered."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(photographs()):
        (folder / f"{number:03}.jpg").write_bytes(content)


def preprocess_all(folder: Path, file: Path) -> None:
    """Write ``images``, uint8, shape (N, 28, 28), and ``confidences``, float, shape (N,), to an .npz file."""
    garments = [preprocess(read_image(path)) for path in sorted(folder.glob("*.jpg"))]
    np.savez(file, images=[garment.image for garment in garments], confidences=[one.confidence for one in garments])


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        preprocess_all(Path(sys.argv[2]), Path(sys.argv[3]))
