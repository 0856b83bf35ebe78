"""What :func:`edge_fmnist.teach` returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TaughtClass:
    """A class and how well it is recognized.

    Attributes:
        label: its name, which is that of its folder.
        photographs: number of its photographs.
        missed: number of those in which no garment was found: they are not taught, and count as not recognized, or as
            recognized in the class ``none``.
        right: how many of all were recognized by a model that was taught without them.
        accuracy: share that was recognized, 0 to 1.
        wanted: how many more photographs would help; 0 if there are enough.
    """

    label: str
    photographs: int
    missed: int
    right: int
    accuracy: float
    wanted: int


@dataclass(frozen=True)
class BeforeAfter:
    """The parent model and the taught one on the same photographs, none of which either was taught from.

    Attributes:
        photographs: number of photographs in which a garment was found.
        before: share that the parent recognized, 0 to 1; a class that it does not have counts as not recognized.
        after: share that the taught model recognized, by cross-validation.
    """

    photographs: int
    before: float
    after: float


@dataclass(frozen=True)
class Taught:
    """A taught model file and how good it is.

    Attributes:
        path: the written file.
        parent: name or path of the model that it was made from.
        labels: the classes of the file, in the order of its output.
        classes: results for each class with photographs, sorted by name.
        photographs: number of their photographs.
        accuracy: cross-validated accuracy, 0 to 1: each photograph is classified by an int8 file that was taught
            without it. One in which no garment is found counts as not recognized, except in the class ``none``, where
            an answer of unknown is right, too.
        confusion: counts of photographs in which a garment was found, a row for each of ``classes``, a column for each
            of ``labels``.
        comparison: the parent on the photographs that it was not taught from; None if there are none.
        parent_trained_on_photographs: whether the parent was itself trained with photographs; see :attr:`notice`.
        temperature: of the scores, as in the file's metadata.
        threshold: minimum score of a known class, as in the file's metadata.
        warnings: what was skipped and what would help, in sentences.
        seconds: time of it all.
    """

    path: Path
    parent: str
    labels: tuple[str, ...]
    classes: tuple[TaughtClass, ...]
    photographs: int
    accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    comparison: BeforeAfter | None
    parent_trained_on_photographs: bool
    temperature: float
    threshold: float
    warnings: tuple[str, ...]
    seconds: float

    @property
    def notice(self) -> str | None:
        """Why ``accuracy`` may be too high, in a sentence to read before it; None if there is no reason."""
        if not self.parent_trained_on_photographs:
            return None
        return (
            f"{self.parent} was itself trained with photographs. If yours are among them, the accuracy by "
            "cross-validation is too high: new ones are recognized less often."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the notice too."""
        return {"notice": self.notice, **asdict(self), "path": str(self.path)}
