"""The images to explain: images of the data set, 28x28 pictures, and photographs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fmnist.data import dataset
from edge_fmnist.data.dataset import Split, SplitName
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import ImageError, MissingExtraError, SourceError
from edge_fmnist.vision.detection import Garment
from edge_fmnist.vision.picture_files import STDIN, find_pictures
from edge_fmnist.vision.preprocess import is_image, preprocess, to_bgr, to_grey
from edge_fmnist.vision.read_image import read_picture

# An image of the data set, such as test:17.
INDEXED = re.compile(r"(test|train):(\d{1,9})")
# Of a file name, which may have 255 on most file systems.
STEM_BYTES = 200


@dataclass(frozen=True, eq=False)
class ExplainInput:
    """An image to explain.

    Attributes:
        source: its name in messages: a path, ``-`` or ``test:17``.
        image: uint8, shape (28, 28), the model's input.
        photograph: uint8, shape (H, W, 3), BGR; None for a 28x28 image, as is what was detected in it.
    """

    source: str
    image: np.ndarray
    photograph: np.ndarray | None = None
    garment: Garment | None = None

    @property
    def stem(self) -> str:
        """File name without suffix for results, short enough for what is appended to it."""
        stem = "stdin" if self.source == STDIN else Path(self.source.replace(":", "-")).stem
        return os.fsencode(stem)[:STEM_BYTES].decode(errors="ignore")


def from_picture(source: str, picture: np.ndarray) -> ExplainInput:
    """Return what to explain in a picture; a 28x28 picture is not preprocessed.

    Raises:
        ImageError: wrong dtype or shape, or a photograph without a garment.
    """
    if is_image(picture):
        return ExplainInput(source, to_grey(picture))
    garment = preprocess(picture)
    if not garment.found:
        raise ImageError("no garment detected, so there is nothing to explain")
    return ExplainInput(source, garment.image, to_bgr(picture), garment)


class ExplainInputs:
    """Finds and reads the images to explain; the data set is loaded on first use."""

    def __init__(self, data: Path | None = None, labels: tuple[str, ...] = LABELS) -> None:
        self.data, self.labels = data, labels
        self._splits: dict[str, Split] = {}

    def find(self, argument: str) -> Iterator[str]:
        """Yield the sources for a file, a folder, a glob, ``-`` or ``test:17``.

        Raises:
            SourceError: a folder without pictures, or a glob without matches.
        """
        if self._index(argument):
            yield argument
        else:
            yield from find_pictures(argument)

    def read(self, source: str) -> ExplainInput:
        """Read one source.

        Raises:
            SourceError: the file or the data set does not exist.
            ImageError: not a picture that can be read here, or no garment in it.
            DataError: the data set is damaged.
        """
        index = self._index(source)
        if index is not None:
            return ExplainInput(source, self._from_split(*index))
        try:
            return from_picture(source, read_picture(source))
        except MissingExtraError as error:
            raise ImageError(f"{source}: {error}") from error
        except ImageError as error:
            message = str(error)
            raise error if message.startswith(f"{source}: ") else ImageError(f"{source}: {message}") from error

    def _index(self, source: str) -> tuple[SplitName, int] | None:
        found = INDEXED.fullmatch(source)
        if found is None or Path(source).exists():
            return None
        return ("test" if found[1] == "test" else "train"), int(found[2])

    def _from_split(self, name: SplitName, index: int) -> np.ndarray:
        if name not in self._splits:
            self._splits[name] = dataset.load(name, self.data, self.labels)
        images = self._splits[name].images
        if index >= len(images):
            raise SourceError(f"{name}:{index}: expected an index from 0 to {len(images) - 1}")
        return np.asarray(images[index])
