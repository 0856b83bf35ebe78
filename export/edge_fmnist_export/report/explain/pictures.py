"""What is explained: images of the data set, 28x28 pictures, and photographs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fmnist.data import dataset
from edge_fmnist.data.dataset import Split, SplitName
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.vision.detection import Garment
from edge_fmnist.vision.preprocess import is_image, preprocess, to_bgr, to_grey
from edge_fmnist.vision.read_image import STDIN, find_pictures, read_picture

# An image of the data set, as test:17.
INDEXED = re.compile(r"(test|train):(\d{1,9})")


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture whose answer is explained.

    Attributes:
        source: what messages call it: a path, ``-`` or ``test:17``.
        image: uint8, shape (28, 28), what the model sees.
        photograph: uint8, shape (H, W, 3), BGR; None where the picture is a 28x28 image itself.
        garment: what was found in the photograph; None without one.
    """

    source: str
    image: np.ndarray
    photograph: np.ndarray | None = None
    garment: Garment | None = None

    @property
    def stem(self) -> str:
        """A name for files about it."""
        return "stdin" if self.source == STDIN else Path(self.source.replace(":", "-")).stem


def subject(source: str, picture: np.ndarray) -> Subject:
    """Return what there is to explain in a picture.

    Args:
        source: what messages call it.
        picture: as for :func:`edge_fmnist.vision.preprocess.preprocess`; a 28x28 one is taken as it is.

    Raises:
        ImageError: another dtype or shape, or a photograph in which no garment was found.
    """
    if is_image(picture):
        return Subject(source, to_grey(picture))
    garment = preprocess(picture)
    if not garment.found:
        raise ImageError("no garment was found in it, so there is nothing to explain")
    return Subject(source, garment.image, to_bgr(picture), garment)


class Pictures:
    """Reads what the arguments of a command stand for; a split of the data set is loaded when it is first asked for.

    Attributes:
        data: the folder of the data set; None searches for it.
        labels: the names of its classes.
    """

    def __init__(self, data: Path | None = None, labels: tuple[str, ...] = LABELS) -> None:
        self.data, self.labels = data, labels
        self._splits: dict[str, Split] = {}

    def find(self, argument: str) -> Iterator[str]:
        """Yield the sources that a file, a folder, a glob, ``-`` or ``test:17`` stands for.

        Raises:
            SourceError: a folder without pictures, or a glob that matches nothing.
        """
        if self._place(argument):
            yield argument
        else:
            yield from find_pictures(argument)

    def read(self, source: str) -> Subject:
        """Return what there is to explain in one source.

        Raises:
            SourceError: it is not there, or the data set is not.
            ImageError: it cannot be read, is no picture, or shows no garment.
            DataError: the data set is damaged.
        """
        place = self._place(source)
        if place is not None:
            return Subject(source, self._from_split(*place))
        try:
            return subject(source, read_picture(source))
        except ImageError as error:
            message = str(error)
            raise error if message.startswith(f"{source}: ") else ImageError(f"{source}: {message}") from error

    def _place(self, source: str) -> tuple[SplitName, int] | None:
        found = INDEXED.fullmatch(source)
        if found is None or Path(source).exists():
            return None
        return ("test" if found[1] == "test" else "train"), int(found[2])

    def _from_split(self, name: SplitName, index: int) -> np.ndarray:
        if name not in self._splits:
            self._splits[name] = dataset.load(name, self.data, self.labels)
        images = self._splits[name].images
        if index >= len(images):
            raise SourceError(f"{name}:{index}: expected an index from 0 to {len(images) - 1}, the images of {name}")
        image: np.ndarray = images[index]
        return image
