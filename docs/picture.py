"""Draw the picture of docs/classify.md: ``python docs/picture.py`` writes docs/images/classify.png.

Each row is a frame of the drawn scene with the garment found in it, what the model sees, and the scores it gives.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_fmnist import Classifier
from edge_fmnist.model.predictions import Prediction
from edge_fmnist.model.registry import CAMERA_MODEL
from edge_fmnist.sinks.annotate import outline
from edge_fmnist.sources.demo import Scene
from edge_fmnist.vision.preprocess import preprocess

SIZE, WIDE, BARS, PAD = 280, 373, 520, 20
# Moments of the scene, in seconds.
MOMENTS = (3.6, 10.8, 32.4)
INK, ACCENT, TRACK = (40, 40, 40), (180, 110, 30), (232, 232, 232)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def bars(prediction: Prediction) -> np.ndarray:
    """Return a panel with the ten scores: uint8, (SIZE, BARS, 3), BGR."""
    panel = np.full((SIZE, BARS, 3), 255, np.uint8)
    for row, (label, score) in enumerate(zip(prediction.labels, prediction.scores, strict=True)):
        y = 8 + row * 27
        chosen = row == prediction.index
        cv2.putText(panel, label, (10, y + 17), FONT, 0.52, ACCENT if chosen else INK, 1 + chosen, cv2.LINE_AA)
        cv2.rectangle(panel, (150, y + 3), (430, y + 20), TRACK, -1)
        cv2.rectangle(panel, (150, y + 3), (150 + round(280 * float(score)), y + 20), ACCENT, -1)
        cv2.putText(panel, f"{float(score):.1%}", (442, y + 17), FONT, 0.5, INK, 1, cv2.LINE_AA)
    return panel


def row(classifier: Classifier, picture: np.ndarray) -> np.ndarray:
    """Return one row: the frame, the 28x28 image enlarged, the scores."""
    garment = preprocess(picture)
    shown = cv2.resize(outline(picture, garment), (WIDE, SIZE), interpolation=cv2.INTER_AREA)
    seen = cv2.cvtColor(cv2.resize(garment.image, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR)
    gap = np.full((SIZE, PAD, 3), 255, np.uint8)
    return np.hstack([gap, shown, gap, seen, gap, bars(classifier.predict(garment.image)), gap])


def main() -> None:
    """Write the picture."""
    classifier, scene = Classifier.load(CAMERA_MODEL), Scene(640, 480)
    rows = [row(classifier, scene.draw(moment)) for moment in MOMENTS]
    gap = np.full((PAD, rows[0].shape[1], 3), 255, np.uint8)
    target = Path(__file__).parent / "images" / "classify.png"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), np.vstack([gap, *(part for piece in rows for part in (piece, gap))]))


if __name__ == "__main__":
    main()
