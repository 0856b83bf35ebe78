from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError
from edge_fmnist.model.registry import read_model
from edge_fmnist_export.report.analysis.activations import file_activations
from edge_fmnist_export.report.analysis.projection import features, project, purity, sample
from edge_fmnist_export.report.sections.projection import draw


def bars(count: int, seed: int) -> Split:
    """Return images with a bright bar at a position that depends on the class, for three classes."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 3).astype(np.uint8)
    images = rng.integers(0, 40, (count, 28, 28), dtype=np.uint8)
    for image, target in zip(images, targets, strict=True):
        image[4 + 7 * target : 10 + 7 * target, 4:24] = 220
    return Split(images, targets, ("", ""))


def progress(step: str, share: float) -> None:
    assert step
    assert 0 <= share < 1


def test_a_sample_has_its_share_of_each_class() -> None:
    split = bars(300, 1)
    chosen = sample(split, 60, 5)
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.bincount(split.targets[chosen]).tolist() == [20, 20, 20]
    assert np.array_equal(chosen, sample(split, 60, 5))
    assert not np.array_equal(chosen, sample(split, 60, 6))


def test_a_small_split_is_taken_whole() -> None:
    assert sample(bars(70, 1), 2000, 0).tolist() == list(range(70))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least 50 images to project, got 30"):
        sample(bars(30, 1), 2000, 0)


def test_purity_of_separate_and_of_mixed_groups() -> None:
    rng = np.random.default_rng(1)
    targets = np.arange(90) % 3
    parted = rng.normal(size=(90, 2)) + 100 * np.eye(3)[targets][:, :2]
    assert purity(parted, targets) == 1
    assert purity(rng.normal(size=(900, 2)), np.arange(900) % 3) == pytest.approx(1 / 3, abs=0.05)


def test_features_are_the_input_of_the_last_layer() -> None:
    split, content = bars(120, 2), read_model("edge").content
    values = features(content, split.images, "edge")
    before_last = file_activations(content, split.images[:5], "edge")[-2].values
    assert len(values) == 120
    np.testing.assert_allclose(values[:5], before_last.reshape(5, -1))


def test_tsne_separates_classes_and_is_seeded() -> None:
    split, content = bars(90, 3), read_model("edge").content
    first, again = (project(content, "edge", split, 7, progress, count=60, methods=("tsne",)) for _ in range(2))
    assert [(one.space, one.method) for one in first.projections] == [("features", "tsne"), ("pixels", "tsne")]
    assert first.purity["pixels"] == 1
    for one, other in zip(first.projections, again.projections, strict=True):
        assert one.points.shape == (60, 2)
        assert np.array_equal(one.points, other.points)
        assert one.purity > 0.9
        assert one.trustworthiness > 0.7
    wrong = np.zeros(60, bool)
    wrong[3] = True
    figure = draw(first.projections[1], first.targets, wrong, LABELS)
    assert {text.get_text() for text in figure.axes[0].texts} == set(LABELS[:3])
    points, crosses = figure.axes[0].collections
    assert (len(points.get_offsets()), len(crosses.get_offsets())) == (59, 1)  # type: ignore[arg-type]


@pytest.mark.slow
def test_umap_separates_classes_and_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    umap = pytest.importorskip("umap")
    # Few epochs suffice for 60 images.
    monkeypatch.setattr(umap, "UMAP", partial(umap.UMAP, n_epochs=20))
    split, content = bars(60, 1), read_model("edge").content
    first, again = (project(content, "edge", split, 4, progress, methods=("umap",)).projections[1] for _ in range(2))
    assert first.points.shape == (60, 2)
    assert first.purity > 0.9
    assert np.array_equal(first.points, again.points)
