"""What callgrind counts: each stage over the same frames, between marks. ``instructions.py`` starts this.

``python -m edge_fmnist_bench.callgrind_target MODEL FRAMES WIDTH HEIGHT``. A mark is a
call of libc's ``getsid``, which nothing else here makes, and at which
callgrind writes down what it counted and starts from nought.
"""

from __future__ import annotations

import gc
import os
import sys

import cv2
import numpy as np

from edge_fmnist.model.classifier import Classifier
from edge_fmnist.pipeline.smoothing import Smoother
from edge_fmnist.sources.demo import FPS, Scene
from edge_fmnist.vision.detection import Garment
from edge_fmnist.vision.preprocess import preprocess

MARK = "getsid"
# In the order in which they are counted; each ends with a mark.
STAGES = ("frame", "preprocess", "classify", "smooth")
# The scene's first garment is whole by then.
BEGIN_SECONDS = 0.5


def mark() -> None:
    """Let callgrind write down what it counted since the last mark."""
    os.getsid(0)


def pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    """Return consecutive frames of the drawn scene: uint8, shape (height, width, 3), BGR."""
    scene = Scene(width, height)
    return [scene.draw(BEGIN_SECONDS + number / FPS) for number in range(count)]


def frames(classifier: Classifier, scene: list[np.ndarray]) -> None:
    """Take each frame through all stages, as the live loop does."""
    smoother = Smoother(classifier.labels, classifier.threshold)
    previous: Garment | None = None
    for number, picture in enumerate(scene):
        previous = preprocess(picture, previous)
        smoother.update(classifier.predict(previous.image).scores, number / FPS)


def count(classifier: Classifier, scene: list[np.ndarray]) -> None:
    """Run what is counted: whole frames, then stage by stage."""
    # What is done once only, and making the interpreter, belong to no stage.
    frames(classifier, scene)
    mark()
    frames(classifier, scene)
    mark()
    garments: list[Garment] = []
    for picture in scene:
        garments.append(preprocess(picture, garments[-1] if garments else None))
    mark()
    predictions = [classifier.predict(garment.image) for garment in garments]
    mark()
    smoother = Smoother(classifier.labels, classifier.threshold)
    for number, prediction in enumerate(predictions):
        smoother.update(prediction.scores, number / FPS)
    mark()


def main() -> None:
    """Count over the frames that the command line names."""
    model, *numbers = sys.argv[1:]
    # Which thread does what is for the scheduler to say, and collections come when they will.
    cv2.setNumThreads(1)
    gc.disable()
    count(Classifier.load(model), pictures(*map(int, numbers)))


if __name__ == "__main__":
    main()
