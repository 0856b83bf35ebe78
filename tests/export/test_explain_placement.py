from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.data.samples import bag, t_shirt, trouser
from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.vision.detection import Garment
from edge_fmnist.vision.preprocess import DARKEST, preprocess
from edge_fmnist_export.report.explain.base import Explanation
from edge_fmnist_export.report.explain.drawing import draw
from edge_fmnist_export.report.explain.explain_input import ExplainInput, ExplainInputs, from_picture
from edge_fmnist_export.report.explain.placement import onto_photograph

SAMPLES = {"bag": bag, "t-shirt": t_shirt, "trouser": trouser}


def found(name: str) -> tuple[np.ndarray, Garment]:
    picture = SAMPLES[name]()
    garment = preprocess(picture)
    assert garment.found
    return picture, garment


@pytest.mark.parametrize("name", SAMPLES)
def test_the_image_mapped_back_covers_the_garment(name: str) -> None:
    picture, garment = found(name)
    # At least half of the pixel is garment.
    mapped = onto_photograph((garment.image > DARKEST / 2).astype(np.float64), garment, picture.shape[:2])
    size = (picture.shape[1], picture.shape[0])
    expected = cv2.resize(garment.mask, size, interpolation=cv2.INTER_NEAREST) > 0
    both = np.count_nonzero((mapped > 0.5) & expected) / np.count_nonzero((mapped > 0.5) | expected)
    assert both > 0.8
    middle = [axis.mean() for axis in np.nonzero(expected)]
    np.testing.assert_allclose([axis.mean() for axis in np.nonzero(mapped > 0.5)], middle, atol=0.02 * max(size))


def test_each_quarter_comes_back_to_its_quarter() -> None:
    picture, garment = found("bag")
    box = garment.box
    for rows, down in ((slice(0, 14), 0.25), (slice(14, 28), 0.75)):
        for columns, across in ((slice(0, 14), 0.25), (slice(14, 28), 0.75)):
            values = np.zeros((28, 28))
            values[rows, columns] = 1
            mapped = onto_photograph(values, garment, picture.shape[:2])
            row, column = (axis.mean() for axis in np.nonzero(mapped > 0.5))
            assert (row - box.top) / box.height == pytest.approx(down, abs=0.06)
            assert (column - box.left) / box.width == pytest.approx(across, abs=0.06)


def test_a_small_picture_is_taken_as_it_is() -> None:
    image = np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
    taken = from_picture("a.png", image)
    assert np.array_equal(taken.image, image)
    assert (taken.photograph, taken.garment, taken.stem) == (None, None, "a")


def test_a_source_is_named_once_in_a_message(tmp_path: Path) -> None:
    path = tmp_path / "bare.png"
    cv2.imwrite(str(path), np.full((120, 100, 3), 180, np.uint8))
    with pytest.raises(ImageError) as raised:
        ExplainInputs().read(str(path))
    assert str(raised.value).count(str(path)) == 1


def test_an_image_of_the_data_set_is_named_by_its_index(small_data: Path) -> None:
    from edge_fmnist.data.dataset import load

    pictures = ExplainInputs(small_data)
    assert list(pictures.find("test:7")) == ["test:7"]
    taken = pictures.read("test:7")
    assert np.array_equal(taken.image, load("test", small_data).images[7])
    assert taken.stem == "test-7"
    assert np.array_equal(pictures.read("train:3").image, load("train", small_data).images[3])


def test_an_index_beyond_the_split_is_refused(small_data: Path) -> None:
    with pytest.raises(SourceError, match="test:40: expected an index from 0 to 39"):
        ExplainInputs(small_data).read("test:40")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("image.png", np.full((28, 28), 90, np.uint8))
    Path("image.png").rename("test:7")
    assert ExplainInputs(tmp_path / "no-data").read("test:7").image[0, 0] == 90


def explanation(values: np.ndarray, *, signed: bool = True) -> Explanation:
    return Explanation("shap", values, "share", signed=signed)


def drawn(source: ExplainInput, values: np.ndarray, *, signed: bool = True) -> np.ndarray:
    content = draw(source, explanation(values, signed=signed), "Bag 71 %", "SHAP: share\nedge, model file")
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("signed", [True, False])
def test_a_picture_shows_for_in_orange_and_against_in_blue(signed: bool) -> None:
    image = np.full((28, 28), 128, np.uint8)
    values = np.zeros((28, 28))
    values[4, 4] = 1.0
    values[20, 20] = -1.0 if signed else 0.0
    picture = drawn(ExplainInput("x.png", image), values, signed=signed).astype(int)
    # Without the colour bar, which has both colours in any case.
    panels = picture[:, : int(picture.shape[1] * 0.8)]
    blue, green, red = panels[..., 0], panels[..., 1], panels[..., 2]
    assert ((red > green + 60) & (red > blue + 60)).any()
    assert bool(((blue > red + 60) & (blue > green + 20)).any()) is signed


def test_a_photograph_has_a_third_panel_and_pictures_are_reproducible() -> None:
    picture, garment = found("bag")
    small, large = ExplainInput("x.png", garment.image), ExplainInput("x.png", garment.image, picture, garment)
    values = np.random.default_rng(2).normal(size=(28, 28))
    assert drawn(large, values).shape[1] > 1.3 * drawn(small, values).shape[1]
    first, second = (draw(small, explanation(values), "a", "b") for _ in range(2))
    assert first == second
