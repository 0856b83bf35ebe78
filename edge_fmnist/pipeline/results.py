"""Frames, and the result for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edge_fmnist.model.predictions import Prediction
    from edge_fmnist.vision.detection import Garment


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One frame from a source.

    Attributes:
        picture: uint8, shape (H, W, 3), BGR; read-only in a result.
        index: its number in the source, from 0; numbers of dropped frames are missing.
        captured: when it arrived, in seconds of ``time.perf_counter``.
        name: the file it came from, for sources of files; else the source's name.
        small: the same picture at low resolution, in which the garment is found; None if the source has none.
    """

    picture: np.ndarray
    index: int
    captured: float
    name: str
    small: np.ndarray | None = None


def opaque(frame: Frame) -> Frame:
    """Return a frame as the outputs take it, without an alpha channel."""
    if frame.picture.shape[2] != 4:
        return frame
    from edge_fmnist.vision.preprocess import to_bgr

    picture = to_bgr(frame.picture)
    picture.flags.writeable = False
    return replace(frame, picture=picture)


@dataclass(frozen=True, slots=True)
class Stages:
    """Time of each stage for one frame, in milliseconds.

    Attributes:
        preprocess: from the frame to the 28x28 image.
        classify: from the image to the scores.
        smooth: from the scores to the shown label.
    """

    preprocess: float
    classify: float
    smooth: float

    @property
    def total(self) -> float:
        """The sum of all stages."""
        return self.preprocess + self.classify + self.smooth


@dataclass(frozen=True, eq=False, slots=True)
class LiveResult:
    """The result of one frame.

    Attributes:
        frame: the frame.
        garment: the detected garment: mask, box, the 28x28 image.
        prediction: the model's prediction for this frame alone; None if no garment was found.
        label: the shown label after smoothing: a class, ``"unknown"``, or None for no garment.
        score: the smoothed score of the most probable class, 0 to 1; 0 without a garment.
        scores: smoothed scores of all classes, float32, shape (classes,).
        labels: the names of the classes.
        stages: time of each stage.
        age: milliseconds from the frame's capture to this result.
        seen: frames that the source has delivered so far, this one included.
        dropped: how many of them were dropped because a newer one was there.
        fps: results per second, smoothed; 0 for the first.
    """

    frame: Frame
    garment: Garment
    prediction: Prediction | None
    label: str | None
    score: float
    scores: np.ndarray
    labels: tuple[str, ...]
    stages: Stages
    age: float
    seen: int
    dropped: int
    fps: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times in milliseconds."""
        height, width = self.frame.picture.shape[:2]
        return {
            "frame": self.frame.index,
            "name": self.frame.name,
            "size": [width, height],
            "label": self.label,
            "score": round(self.score, 4),
            "scores": {label: round(float(score), 4) for label, score in zip(self.labels, self.scores, strict=True)},
            "found": self.garment.found,
            "box": list(self.garment.box) if self.garment.found else None,
            "confidence": round(self.garment.confidence, 4),
            "prediction": (
                {"label": self.prediction.label, "score": round(self.prediction.score, 4)} if self.prediction else None
            ),
            "milliseconds": {
                "preprocess": round(self.stages.preprocess, 3),
                "classify": round(self.stages.classify, 3),
                "smooth": round(self.stages.smooth, 3),
                "age": round(self.age, 3),
            },
            "seen": self.seen,
            "dropped": self.dropped,
            "fps": round(self.fps, 2),
        }


def next_within(result: LiveResult) -> float:
    """Return twice the usual time between two results, in seconds; 0 for the first result."""
    return 2 / result.fps if result.fps else 0.0
