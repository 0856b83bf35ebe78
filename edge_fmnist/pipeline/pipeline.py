"""The pipeline that every frame takes: preprocess, classify, smooth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.pipeline.results import Stages
from edge_fmnist.pipeline.smoothing import Smoothed, Smoother

if TYPE_CHECKING:
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.model.predictions import Prediction
    from edge_fmnist.vision.detection import Garment

# In a stream, the garment is also segmented from scratch once in this many frames: about once a second.
REFRESH_INTERVAL = 30
IMAGE_EDGE = 28


@dataclass(frozen=True, eq=False, slots=True)
class PipelineOutput:
    """The result of one frame.

    Attributes:
        garment: the detected garment: mask, box, the 28x28 image.
        prediction: the model's prediction for this frame alone; None if no garment was found.
        smoothed: label and scores after smoothing.
        stages: time of each stage.
        finished: end of the last stage, in seconds of ``time.perf_counter``.
    """

    garment: Garment
    prediction: Prediction | None
    smoothed: Smoothed
    stages: Stages
    finished: float


class Pipeline:
    """Preprocesses, classifies and smooths frames, one after another.

    :meth:`run` does all three and measures them; the stages can also be called one by one.

    Example:
        >>> from edge_fmnist import Classifier
        >>> from edge_fmnist.pipeline.pipeline import Pipeline
        >>> from edge_fmnist.sources.demo import Scene
        >>> pipeline = Pipeline(Classifier.load("edge"))
        >>> pipeline.run(Scene(320, 240).draw(3.0), seconds=3.0).smoothed.label
        'Trouser'
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        tracking: bool = True,
        smoothing: bool = True,
        threshold: float | None = None,
    ) -> None:
        """Create a pipeline.

        Args:
            classifier: classifies the 28x28 images.
            tracking: whether frames follow each other, so that segmentation starts from the mask of the frame before.
            smoothing: whether to smooth scores over time; False treats each frame on its own.
            threshold: score below which the label is ``"unknown"``, 0 to 1; None uses the model's.
        """
        # Imports OpenCV, which takes a tenth of a second.
        from edge_fmnist.vision.preprocess import preprocess

        self._preprocess = preprocess
        self._tracking = tracking
        self._smoothing = smoothing
        self._threshold = threshold
        self.swap(classifier)
        self._previous: Garment | None = None
        self._frames = 0

    def swap(self, classifier: Classifier) -> None:
        """Use another model from the next frame on; smoothing starts over with its labels, tracking goes on."""
        self.classifier = classifier
        threshold = classifier.threshold if self._threshold is None else self._threshold
        self._smoother = Smoother(classifier.labels, threshold, smoothing=self._smoothing)

    def run(self, picture: np.ndarray, seconds: float, small: np.ndarray | None = None) -> PipelineOutput:
        """Run all stages on a frame.

        Args:
            picture: uint8, shape (H, W, 3), BGR.
            seconds: time of the frame, in seconds of any clock; not before the last frame's.
            small: the same picture at low resolution, if there is one, as for :meth:`preprocess`.

        Raises:
            ImageError: another dtype or shape, or no pixels.
            ModelError: the model failed.
        """
        started = time.perf_counter()
        garment = self.preprocess(picture, small)
        preprocessed = time.perf_counter()
        prediction = self.classify(garment)
        classified = time.perf_counter()
        smoothed = self.smooth(prediction, seconds)
        finished = time.perf_counter()
        stages = Stages(
            (preprocessed - started) * 1e3, (classified - preprocessed) * 1e3, (finished - classified) * 1e3
        )
        return PipelineOutput(garment, prediction, smoothed, stages, finished)

    def preprocess(self, picture: np.ndarray, small: np.ndarray | None = None) -> Garment:
        """Detect the garment in a frame, uint8, shape (H, W, 3), BGR.

        Args:
            picture: the frame.
            small: the same picture at low resolution; only its pixels are then read.

        Raises:
            ImageError: another dtype or shape, or no pixels.
        """
        previous, self._previous = self._previous, None
        self._frames += 1
        if previous is not None and previous.frame_shape != np.shape(picture)[:2]:
            previous = None
        garment = self._preprocess(picture, previous, small)
        if previous is not None and self._frames % REFRESH_INTERVAL == 0:
            # Tracking cannot notice that it follows the wrong thing.
            fresh = self._preprocess(picture, small=small)
            if fresh.found and fresh.confidence >= garment.confidence:
                garment = fresh
        if self._tracking and garment.found:
            self._previous = garment
        return garment

    def classify(self, garment: Garment) -> Prediction | None:
        """Classify a detected garment; None if there is none.

        Raises:
            ModelError: the model failed.
        """
        return self.classifier.predict(garment.image) if garment.found else None

    def smooth(self, prediction: Prediction | None, seconds: float) -> Smoothed:
        """Update the smoothed scores with a prediction, None for a frame without a garment."""
        return self._smoother.update(None if prediction is None else prediction.scores, seconds)

    def warm_up(self) -> None:
        """Run the stages once, since first calls are slow (OpenCV takes 0.1 s); leaves no trace in the results.

        Raises:
            ModelError: a damaged model, as shown by running it.
        """
        picture = np.zeros((96, 128, 3), np.uint8)
        picture[16:80, 40:88] = 200
        self._preprocess(picture)
        self.classifier.predict(np.zeros((IMAGE_EDGE, IMAGE_EDGE), np.uint8))
