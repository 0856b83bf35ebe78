"""Picture files as a source: one file, a folder, or a glob."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from edge_fmnist.errors import ImageError, MissingExtraError, SourceError
from edge_fmnist.sources.base import Source, Warn, log_warning
from edge_fmnist.vision.picture_files import find_pictures
from edge_fmnist.vision.read_image import read_image


class Stills(Source):
    """The pictures of a file, a folder or a glob, each once, sorted by name.

    One that cannot be read is skipped with a warning.
    """

    realtime = False

    def __init__(self, argument: str, warn: Warn = log_warning) -> None:
        self.name = argument
        self._warn = warn
        self._files: Iterator[str] | None = None
        self._first: np.ndarray | None = None
        self._file: str | None = None
        self._unusual = False

    def open(self) -> None:
        """See :meth:`Source.open`.

        Raises:
            SourceError: there are no pictures, or none can be read; says why.
        """
        self.close()
        files = list(find_pictures(self.name, self._warn))
        problems: list[str] = []
        remaining = iter(files)
        self._first = self._next(remaining, problems.append)
        if self._first is None:
            several = f"{self.name}: none of these {len(files)} files can be read as a picture; the first: "
            raise SourceError((several if len(files) > 1 else "") + problems[0])
        for problem in problems:
            self._warn(problem)
        self._files = remaining

    def read(self) -> np.ndarray | None:
        """Return the next picture; None after the last.

        Returns:
            uint8, shape (H, W, 3), BGR, or (H, W, 4), BGRA, for a picture with transparency.

        Raises:
            SourceError: not open.
        """
        files = self._files
        if files is None:
            raise SourceError(f"{self.name}: not open")
        first, self._first = self._first, None
        return first if first is not None else self._next(files, self._warn)

    def _next(self, files: Iterator[str], warn: Warn) -> np.ndarray | None:
        """Return the next picture that can be read, None if there is none."""
        from edge_fmnist.vision.preprocess import convention_warning, to_frame

        for file in files:
            try:
                picture = read_image(file)
            except (ImageError, MissingExtraError, SourceError) as error:
                warn(str(error))
                continue
            self._file = file
            unusual = None if self._unusual else convention_warning(picture)
            if unusual:
                self._unusual = True
                self._warn(f"{file}: {unusual}")
            return to_frame(picture)
        return None

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._files = self._first = None

    def first_picture(self) -> np.ndarray | None:
        """See :meth:`Source.first_picture`: the first that can be read."""
        with contextlib.suppress(SourceError):
            for file in find_pictures(self.name, lambda _: None):
                with contextlib.suppress(ImageError, MissingExtraError, SourceError):
                    return read_image(file)
        return None

    @property
    def frame_name(self) -> str:
        """Name of the file read last."""
        return self._file or self.name
