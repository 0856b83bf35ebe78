"""Find and load Fashion-MNIST, or any IDX data set of the same shape.

Fashion-MNIST: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_fmnist.data.idx import read_idx
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError, DataNotFoundError

SplitName = Literal["train", "test"]

DATA_VARIABLE = "EDGE_FMNIST_DATA"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGE_SHAPE = (28, 28)

IMAGES: dict[SplitName, str] = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
TARGETS: dict[SplitName, str] = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}

# Of the unpacked bytes: the gzip layer differs from mirror to mirror.
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

OTHER_WAYS = (
    "on Debian and Raspberry Pi OS `apt install dataset-fashion-mnist`, or name a folder of IDX files "
    f"with --data or the environment variable {DATA_VARIABLE}"
)
HOW_TO_GET = f"get it with `edge-fmnist data`, or {OTHER_WAYS}"


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        images: uint8, shape (N, 28, 28), 0 is background and 255 the brightest garment.
        targets: uint8, shape (N,), indexes into ``labels``.
        sha256: SHA-256 of the unpacked images file and labels file.
        labels: names of the classes.
    """

    images: np.ndarray
    targets: np.ndarray
    sha256: tuple[str, str]
    labels: tuple[str, ...] = LABELS

    def __len__(self) -> int:
        return len(self.targets)


def user_cache() -> Path:
    """Return the folder of downloads: ``$XDG_CACHE_HOME/edge-fmnist/data``, by default below ``~/.cache``.

    Raises:
        DataNotFoundError: the user has no home folder.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DataNotFoundError("no home folder for the cache; set the environment variable XDG_CACHE_HOME") from error
    return Path(base) / "edge-fmnist" / "data"


def named_folder(folder: Path | None = None) -> Path | None:
    """Return the folder named by the caller, or else by the environment variable; None if neither names one.

    A named folder must exist, and may hold any IDX data set of this shape.
    """
    if folder is None and (variable := os.environ.get(DATA_VARIABLE)):
        return Path(variable)
    return folder


def search_places() -> Iterator[Path]:
    """Yield the folders that are searched: the environment variable, the user cache, Debian's package."""
    if named := named_folder():
        yield named
    with contextlib.suppress(DataNotFoundError):
        yield user_cache()
    yield DEBIAN_FOLDER


def idx_path(folder: Path, name: str) -> Path | None:
    """Return the path of an IDX file in a folder, or None.

    Also accepts ``.gz`` and the dotted names of other distributions, such as ``train-images.idx3-ubyte``.
    """
    for stem in (name, name.replace("-idx", ".idx")):
        for candidate in (folder / stem, folder / f"{stem}.gz"):
            if os.path.isfile(candidate):  # noqa: PTH113 - False where the folder may not be entered
                return candidate
    return None


def missing_files(folder: Path) -> list[str]:
    """Return which of the four IDX files a folder lacks."""
    return [name for name in (*IMAGES.values(), *TARGETS.values()) if idx_path(folder, name) is None]


def find_data(folder: Path | None = None) -> Path:
    """Return the folder with the four IDX files.

    Args:
        folder: the folder to use; None searches :func:`search_places`.

    Raises:
        DataNotFoundError: the folder lacks files, or no place has them all.
    """
    folder = named_folder(folder)
    if folder is not None:
        if not folder.is_dir():
            raise DataNotFoundError(f"{folder}: no such folder; expected one with the four IDX files of a data set")
        if missing := missing_files(folder):
            raise DataNotFoundError(f"{folder}: not a data set folder, it lacks {', '.join(missing)} (or .gz)")
        return folder
    places = list(search_places())
    for place in places:
        if not missing_files(place):
            return place
    raise DataNotFoundError(f"Fashion-MNIST was not found in {', '.join(map(str, places))}; {HOW_TO_GET}")


def check_hash(name: str, sha256: str, *, where: str) -> None:
    """Check the hash of one Fashion-MNIST file.

    Raises:
        DataError: ``sha256`` is not that of the published file.
    """
    expected = FASHION_MNIST_SHA256[name]
    if sha256 != expected:
        raise DataError(
            f"{where}: wrong hash: expected SHA-256 {expected[:16]}… of Fashion-MNIST's {name} unpacked, "
            f"got {sha256[:16]}…; delete the file and download it again, "
            "or name its folder with --data if it is another data set"
        )


def load_split(
    folder: Path, split: SplitName, *, fashion_mnist: bool = False, labels: tuple[str, ...] = LABELS
) -> Split:
    """Load one split from a folder with IDX files.

    ``fashion_mnist`` also requires the files to be Fashion-MNIST itself, by hash.

    Raises:
        DataNotFoundError: the folder lacks the files.
        DataError: a damaged file, images that are not 28x28, different counts of images and labels, a class without a
            label, or a wrong hash.
    """
    image_path, target_path = idx_path(folder, IMAGES[split]), idx_path(folder, TARGETS[split])
    if image_path is None or target_path is None:
        raise DataNotFoundError(f"{folder}: {IMAGES[split]} or {TARGETS[split]} (or .gz) is missing; {HOW_TO_GET}")
    images, image_hash = read_idx(image_path, dimensions=3)
    targets, target_hash = read_idx(target_path, dimensions=1)
    if fashion_mnist:
        check_hash(IMAGES[split], image_hash, where=str(image_path))
        check_hash(TARGETS[split], target_hash, where=str(target_path))
    if images.shape[1:] != IMAGE_SHAPE:
        raise DataError(f"{image_path}: expected images of 28 x 28, got {images.shape[1]} x {images.shape[2]}")
    if len(images) != len(targets):
        raise DataError(f"{image_path} has {len(images)} images but {target_path} {len(targets)} labels")
    if len(images) == 0:
        raise DataError(f"{image_path}: expected images, got none")
    if targets.max() >= len(labels):
        position = int(np.argmax(targets >= len(labels)))
        raise DataError(
            f"{target_path}: label {targets[position]} at position {position} is outside the classes "
            f"0 to {len(labels) - 1}"
        )
    return Split(images, targets, (image_hash, target_hash), labels)


def load(split: SplitName, folder: Path | None = None, labels: tuple[str, ...] = LABELS) -> Split:
    """Find a data set and load one split of it.

    A folder named by the caller or by the environment variable may hold any IDX data set of this shape; one that is
    found by searching must be Fashion-MNIST itself.

    Raises:
        DataNotFoundError: no data set found.
        DataError: the data set is damaged, or has a class without a label.
    """
    return load_split(find_data(folder), split, fashion_mnist=named_folder(folder) is None, labels=labels)


def is_fashion_mnist(split: Split) -> bool:
    """Return whether the files of a split are those of Fashion-MNIST, by hash."""
    return any(
        split.sha256 == (FASHION_MNIST_SHA256[IMAGES[name]], FASHION_MNIST_SHA256[TARGETS[name]]) for name in IMAGES
    )


def of_another_set(recorded: Any, name: SplitName, split: Split) -> bool:
    """Return whether a model is known to be trained on another data set than a split's.

    Models and runs record the hashes of their training files only, so a test split can only be recognized as
    Fashion-MNIST's or as another one.

    Args:
        recorded: the recorded ``data_sha256``: hashes of the training images and labels; None if unknown.
        name: which split ``split`` is.
        split: the split.
    """
    if recorded is None:
        return False
    if name == "train":
        return bool(recorded != list(split.sha256))
    published = [FASHION_MNIST_SHA256[IMAGES["train"]], FASHION_MNIST_SHA256[TARGETS["train"]]]
    return bool((recorded == published) != is_fashion_mnist(split))
