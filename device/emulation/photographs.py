"""Images and photographs on two machines: write them once, and preprocess the photographs on each.

``python photographs.py write FOLDER COUNT`` or ``python photographs.py preprocess FOLDER FILE``. The images are the
first of Fashion-MNIST, the photographs those of the folder that EDGE_FMNIST_PHOTOS names; without it, pictures of the
demo scene with noise.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.dataset import IMAGES, TARGETS, find_data, idx_path
from edge_fmnist.data.files import write_bytes
from edge_fmnist.data.idx import parse_idx, read_bytes
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


def write_images(folder: Path, count: int) -> None:
    """Write the four IDX files of the data set that :func:`find_data` returns, shortened to ``count`` images each."""
    source = find_data()
    for names, dimensions in ((IMAGES, 3), (TARGETS, 1)):
        for name in names.values():
            data = read_bytes(idx_path(source, name) or source / name)
            kept = parse_idx(data, dimensions=dimensions, name=name)[:count]
            write_bytes(folder / name, data[:4] + struct.pack(f">{dimensions}I", *kept.shape) + kept.tobytes())


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
        write_images(Path(sys.argv[2]), int(sys.argv[3]))
        write(Path(sys.argv[2]) / "photographs")
    else:
        preprocess_all(Path(sys.argv[2]), Path(sys.argv[3]))
