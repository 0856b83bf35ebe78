"""Finding and loading data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.data.dataset import (
    DATA_VARIABLE,
    FASHION_MNIST_SHA256,
    IMAGES,
    TARGETS,
    Split,
    SplitName,
    find_data,
    idx_path,
    load,
    load_split,
    of_another_set,
    search_places,
    user_cache,
)
from edge_fmnist.data.idx import read_bytes
from edge_fmnist.errors import DataError, DataNotFoundError

MakeIdx = Callable[..., Path]


@pytest.mark.parametrize("gz", [True, False])
def test_load_both_splits(make_idx: MakeIdx, gz: bool) -> None:
    images = np.arange(20 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(20, 28, 28)
    labels = (np.arange(20) % 10).astype(np.uint8)
    folder = make_idx(train_images=images, train_labels=labels, gz=gz)
    train = load("train", folder)
    assert np.array_equal(train.images, images)
    assert np.array_equal(train.targets, labels)
    assert (len(train), len(load("test", folder))) == (20, 40)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"test_images": np.zeros((40, 32, 32))},
            r"idx3-ubyte\.gz: expected images of 28 x 28, got 32 x 32",
        ),
        ({"test_labels": np.zeros(39)}, r"images-idx3-ubyte\.gz has 40 images but .*ubyte\.gz 39 labels"),
        ({"test_images": np.zeros((0, 28, 28)), "test_labels": np.zeros(0)}, "expected images, got none"),
        ({"test_labels": np.arange(40) // 3}, "label 10 at position 30 is outside the classes 0 to 9"),
    ],
)
def test_contents_that_do_not_fit(make_idx: MakeIdx, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load("test", make_idx(**arrays))


def test_nothing_found_names_the_places_and_what_to_do(no_data_installed: None) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        find_data()
    for part in (str(user_cache()), "`edge-fmnist data`", "dataset-fashion-mnist", "--data", DATA_VARIABLE):
        assert part in str(caught.value)


def test_a_complete_cache_comes_before_debians_folder(make_idx: MakeIdx, monkeypatch: pytest.MonkeyPatch) -> None:
    debian = make_idx("debian")
    monkeypatch.setattr("edge_fmnist.data.dataset.DEBIAN_FOLDER", debian)
    assert find_data() == debian
    cache = make_idx(user_cache())
    assert find_data() == cache
    (cache / "train-labels-idx1-ubyte.gz").unlink()
    assert find_data() == debian
    with pytest.raises(DataNotFoundError, match=r"it lacks train-labels-idx1-ubyte \(or \.gz\)"):
        find_data(cache)


def test_dotted_names_of_other_distributions(make_idx: MakeIdx) -> None:
    folder = make_idx()
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    assert len(load("test", folder)) == 40


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, make_idx: MakeIdx, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "edge-fmnist" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == Path.home() / ".cache" / "edge-fmnist" / "data"

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("edge_fmnist.data.dataset.DEBIAN_FOLDER", make_idx("debian"))
    assert find_data().name == "debian"
    with pytest.raises(DataNotFoundError, match="XDG_CACHE_HOME"):
        user_cache()


def test_environment_variable_is_used_and_may_hold_another_set(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(small_data))
    assert find_data() == small_data
    assert next(search_places()) == small_data
    assert len(load("test")) == 40


def test_wrong_environment_variable_is_an_error(
    make_idx: MakeIdx, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_idx(user_cache())
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(DataNotFoundError, match="absent: no such folder"):
        find_data()


@pytest.mark.parametrize("split", ["train", "test"])
def test_found_by_search_with_other_contents_is_a_wrong_hash(make_idx: MakeIdx, split: SplitName) -> None:
    folder = make_idx(user_cache())
    with pytest.raises(DataError, match=rf"wrong hash: .* Fashion-MNIST's {IMAGES[split]} .*--data") as caught:
        load(split)
    assert str(folder) in str(caught.value)


@pytest.mark.usefixtures("published")
def test_labels_that_were_found_by_search_are_checked(make_idx: MakeIdx) -> None:
    make_idx(user_cache(), test_labels=np.zeros(40))
    with pytest.raises(DataError, match=rf"wrong hash: .* Fashion-MNIST's {TARGETS['test']} "):
        load("test")


@pytest.mark.data
def test_real_data_with_one_pixel_changed(real_data: Path, tmp_path: Path) -> None:
    for name in (IMAGES["test"], TARGETS["test"]):
        source = idx_path(real_data, name)
        assert source is not None
        content = bytearray(read_bytes(source))
        content[-1] ^= name == IMAGES["test"]
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="wrong hash: expected SHA-256"):
        load_split(tmp_path, "test", fashion_mnist=True)


def hashes(name: SplitName) -> tuple[str, str]:
    return FASHION_MNIST_SHA256[IMAGES[name]], FASHION_MNIST_SHA256[TARGETS[name]]


@pytest.mark.parametrize(
    ("recorded", "name", "given", "another"),
    [
        (None, "train", ("a", "b"), False),
        (("a", "b"), "train", ("a", "b"), False),
        (("a", "b"), "train", ("c", "d"), True),
        (hashes("train"), "test", hashes("test"), False),
        (hashes("train"), "test", ("c", "d"), True),
        (("a", "b"), "test", hashes("test"), True),
        # Of two sets that are both not Fashion-MNIST, nothing is known.
        (("a", "b"), "test", ("c", "d"), False),
    ],
)
def test_data_of_another_set_than_the_model(
    recorded: tuple[str, str] | None,
    name: SplitName,
    given: tuple[str, str],
    another: bool,
) -> None:
    images, targets = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
    assert of_another_set(None if recorded is None else list(recorded), name, Split(images, targets, given)) is another
