"""Draw the image of docs/classify.md: ``python docs/picture.py`` writes docs/images/classify.png.

Each row shows a frame of the demo scene with the detected garment, the model input, and the scores.
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

HEIGHT, FRAME_WIDTH, SCORES_WIDTH, PADDING = 280, 373, 520, 20
# Times in the demo scene, in seconds.
TIMES = (3.6, 10.8, 32.4)
# Colours, BGR.
TEXT, ACCENT, TRACK = (40, 40, 40), (180, 110, 30), (232, 232, 232)
FONT = cv2.FONT_HERSHEY_SIMPLEX
OUTPUT = Path(__file__).parent / "images" / "classify.png"


def draw_scores(prediction: Prediction) -> np.ndarray:
    """Return a bar chart of the class scores: uint8, shape (HEIGHT, SCORES_WIDTH, 3), BGR."""
    panel = np.full((HEIGHT, SCORES_WIDTH, 3), 255, np.uint8)
    for number, (label, score) in enumerate(zip(prediction.labels, prediction.scores, strict=True)):
        y = 8 + number * 27
        best = number == prediction.index
        cv2.putText(panel, label, (10, y + 17), FONT, 0.52, ACCENT if best else TEXT, 1 + best, cv2.LINE_AA)
        cv2.rectangle(panel, (150, y + 3), (430, y + 20), TRACK, -1)
        cv2.rectangle(panel, (150, y + 3), (150 + round(280 * float(score)), y + 20), ACCENT, -1)
        cv2.putText(panel, f"{float(score):.1%}", (442, y + 17), FONT, 0.5, TEXT, 1, cv2.LINE_AA)
    return panel


def draw_row(classifier: Classifier, frame: np.ndarray) -> np.ndarray:
    """Return one row for a frame: uint8, shape (HEIGHT + PADDING, W, 3), BGR."""
    detection = preprocess(frame)
    shown = cv2.resize(outline(frame, detection), (FRAME_WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(detection.image, (HEIGHT, HEIGHT), interpolation=cv2.INTER_NEAREST)
    model_input = cv2.cvtColor(enlarged, cv2.COLOR_GRAY2BGR)
    gap = np.full((HEIGHT, PADDING, 3), 255, np.uint8)
    scores = draw_scores(classifier.predict(detection.image))
    row = np.hstack([gap, shown, gap, model_input, gap, scores, gap])
    return cv2.copyMakeBorder(row, 0, PADDING, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def main() -> None:
    """Write the image."""
    classifier, scene = Classifier.load(CAMERA_MODEL), Scene(640, 480)
    rows = np.vstack([draw_row(classifier, scene.draw(seconds)) for seconds in TIMES])
    image = cv2.copyMakeBorder(rows, PADDING, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    OUTPUT.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(OUTPUT), image)


if __name__ == "__main__":
    main()
