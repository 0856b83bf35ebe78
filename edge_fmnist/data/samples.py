"""Sample pictures, drawn: trousers, a T-shirt and a bag, like product photographs on white."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_fmnist.data.files import write_bytes
from edge_fmnist.errors import UsageError

SIZE = 280
SHADE = 14


def polygon(canvas: np.ndarray, points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    """Fill a polygon; points are (x, y) as shares of the canvas, the colour is BGR."""
    import cv2

    corners = np.round(np.array(points) * SIZE).astype(np.int32)
    cv2.fillPoly(canvas, [corners], colour, lineType=cv2.LINE_AA)


def cloth(canvas: np.ndarray, seed: int) -> np.ndarray:
    """Return the canvas with folds and a fine weave on everything that is not white."""
    import cv2

    rng = np.random.default_rng(seed)
    folds = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 12)
    weave = rng.normal(0, 3, (SIZE, SIZE)).astype(np.float32)
    shade = folds / folds.std() * SHADE + weave
    garment = (canvas.min(axis=2) < 250)[..., None]
    return np.where(garment, np.clip(canvas + shade[..., None], 0, 255), canvas).astype(np.uint8)


def trouser() -> np.ndarray:
    """Draw a pair of dark blue trousers: uint8, (280, 280, 3), BGR, on white."""
    canvas = np.full((SIZE, SIZE, 3), 255, np.uint8)
    blue = (120, 60, 40)
    polygon(
        canvas,
        [(0.36, 0.04), (0.64, 0.04), (0.69, 0.96), (0.55, 0.96), (0.5, 0.32), (0.45, 0.96), (0.31, 0.96)],
        blue,
    )
    polygon(canvas, [(0.36, 0.04), (0.64, 0.04), (0.642, 0.09), (0.358, 0.09)], (95, 45, 30))
    return cloth(canvas, 1)


def t_shirt() -> np.ndarray:
    """Draw a red T-shirt: uint8, (280, 280, 3), BGR, on white."""
    canvas = np.full((SIZE, SIZE, 3), 255, np.uint8)
    red = (50, 40, 190)
    body = [(0.29, 0.06), (0.40, 0.04), (0.60, 0.04), (0.71, 0.06), (0.94, 0.30), (0.80, 0.42), (0.72, 0.34)]
    polygon(canvas, [*body, (0.73, 0.96), (0.27, 0.96), (0.28, 0.34), (0.20, 0.42), (0.06, 0.30)], red)
    polygon(canvas, [(0.40, 0.04), (0.60, 0.04), (0.57, 0.10), (0.50, 0.125), (0.43, 0.10)], (255, 255, 255))
    return cloth(canvas, 2)


def bag() -> np.ndarray:
    """Draw a brown handbag: uint8, (280, 280, 3), BGR, on white."""
    import cv2

    canvas = np.full((SIZE, SIZE, 3), 255, np.uint8)
    brown = (40, 70, 110)
    centre, axes = (SIZE // 2, int(0.44 * SIZE)), (int(0.2 * SIZE), int(0.3 * SIZE))
    cv2.ellipse(canvas, centre, axes, 0, 180, 360, (30, 50, 80), int(0.05 * SIZE), cv2.LINE_AA)
    polygon(canvas, [(0.12, 0.42), (0.88, 0.42), (0.95, 0.9), (0.05, 0.9)], brown)
    polygon(canvas, [(0.12, 0.42), (0.88, 0.42), (0.89, 0.56), (0.11, 0.56)], (32, 58, 92))
    polygon(canvas, [(0.46, 0.53), (0.54, 0.53), (0.54, 0.61), (0.46, 0.61)], (120, 190, 220))
    return cloth(canvas, 3)


# File name, and the function that draws it with the right label.
SAMPLES = {"trouser": (trouser, "Trouser"), "t-shirt": (t_shirt, "T-shirt/top"), "bag": (bag, "Bag")}


def write_samples(folder: Path) -> list[Path]:
    """Draw the three samples into PNG files, always the same pictures, and return their paths.

    Raises:
        UsageError: there are other files of these names.
        OSError: the folder cannot be written to.
    """
    import cv2

    files = {folder / f"{name}.png": cv2.imencode(".png", draw())[1].tobytes() for name, (draw, _) in SAMPLES.items()}
    for path, content in files.items():
        if path.is_file() and path.read_bytes() != content:
            raise UsageError(f"{path}: another file of this name exists; choose another folder with --output")
    for path, content in files.items():
        write_bytes(path, content)
    return list(files)
