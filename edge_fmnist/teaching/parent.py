"""The model that is taught: its features, and its file with another last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.errors import ModelError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.teaching.last_layer import find_head, with_head, without_head


class Parent:
    """The model that is taught: its classifier, its bytes, its last layer and its metadata."""

    def __init__(self, model: str | Path) -> None:
        """Load a model; raises as :func:`teach`."""
        read = read_model(model)
        self.source, self.content = read.source, read.content
        self.classifier = Classifier(read)
        if self.classifier.metadata is not None and self.classifier.metadata.output != "logits":
            raise ModelError(f"{read.source}: expected a model whose output is logits, got probabilities")
        self.head = find_head(without_metadata(read.content), read.source)
        metadata = self.classifier.metadata
        self.settings: dict[str, Any] = dict(metadata.settings) if metadata else {"output": "logits"}

    def weights(self) -> np.ndarray:
        """Return the weights of the last layer, float32, shape (classes, features + 1); the last column is the bias."""
        weights, bias = self.head.values()
        return np.concatenate([weights, bias[:, None]], axis=1).astype(np.float32)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return the input of the last layer for images, uint8, shape (N, 28, 28), and a last column of 1.

        Returns:
            float32, shape (N, features + 1).
        """
        names = tuple(f"feature {index}" for index in range(self.head.size))
        content = embed(without_head(self.head), {**self.settings, "calibration": None}, names)
        values, _ = Classifier(ModelBytes(content, self.source)).values(images)
        return np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)

    def taught(self, weights: np.ndarray, features: np.ndarray) -> bytes:
        """Return the flatbuffer with another last layer.

        Args:
            weights: float32, shape (classes, features + 1); the last column is the bias.
            features: what the layer will be given, float32, shape (N, features + 1).
        """
        return with_head(self.head, weights[:, :-1], weights[:, -1], features[:, :-1])
