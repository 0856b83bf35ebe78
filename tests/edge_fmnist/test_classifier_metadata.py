"""What a classifier makes of a model's metadata, and of a model without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, ModelError

GARMENTS = tuple(f"garment {i}" for i in range(10))


def test_metadata_is_read(describe_model: Callable[..., Path], images: np.ndarray) -> None:
    classifier = Classifier.load(describe_model(labels=GARMENTS, name="mine", accuracy={"top1": 0.9}))
    assert classifier.metadata is not None
    assert classifier.metadata.name == "mine"
    assert classifier.metadata.settings["accuracy"] == {"top1": 0.9}
    assert classifier.labels == GARMENTS
    assert classifier.predict(images[0]).label.startswith("garment ")


def test_metadata_changes_no_score(
    describe_model: Callable[..., Path], model_path: Callable[[str], Path], images: np.ndarray
) -> None:
    np.testing.assert_array_equal(
        Classifier.load(describe_model()).predict_batch(images).scores,
        Classifier.load(model_path("logits_uint8")).predict_batch(images).scores,
    )


def test_metadata_decides_what_the_output_is(describe_model: Callable[..., Path], images: np.ndarray) -> None:
    logits = Classifier.load(describe_model("softmax_uint8", output="logits")).predict_batch(images).scores
    probabilities = (
        Classifier.load(describe_model("softmax_uint8", output="probabilities")).predict_batch(images).scores
    )
    # A softmax of probabilities lies between 1/(9 + e) and e/(9 + e).
    assert logits.max() < 0.24
    assert probabilities.max() > 0.5


@pytest.mark.parametrize("name", ["logits_uint8", "softmax_uint8", "softmax_float", "logits_float"])
def test_without_metadata_it_is_a_fashion_mnist_model(
    model_path: Callable[[str], Path], name: str, images: np.ndarray
) -> None:
    classifier = Classifier.load(model_path(name))
    assert classifier.metadata is None
    assert classifier.labels == LABELS
    assert 0.24 < classifier.predict_batch(images).scores.max() <= 1


def test_metadata_with_a_wrong_checksum(describe_model: Callable[..., Path]) -> None:
    path = describe_model()
    content = bytearray(path.read_bytes())
    # The CRC-32 in the central directory.
    content[content.rindex(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="metadata is damaged"):
        Classifier.load(path)
