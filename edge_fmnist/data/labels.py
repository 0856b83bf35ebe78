"""Names of classes: the ten of Fashion-MNIST, or those in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_fmnist.data.files import advice
from edge_fmnist.errors import DataError, SourceError

LABELS: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# The answer when no score reaches the threshold of the model.
UNKNOWN = "unknown"
# Name of the reject class of a taught model: its images get the answer "unknown".
NONE = "none"

MAX_LABELS = 1000
MAX_LABEL_LENGTH = 60
# Far larger than any real labels file; stops a wrong file from filling memory.
MAX_BYTES = 1 << 18


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels in a text file: UTF-8, one on each line, in the order of the classes.

    Empty lines at the end of the file are ignored.

    Raises:
        SourceError: no such file.
        DataError: not UTF-8 text, fewer than 2 or more than 1,000 labels, or a label that is empty, duplicate, too
            long, not printable or "unknown".
    """
    try:
        if not path.is_file():
            raise SourceError(f"{path}: no such file; expected a text file with one label on each line")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(
                f"{path}: expected a text file with one label on each line, got more than {MAX_BYTES} bytes"
            )
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({advice(error, path)})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    labels = parse_labels(text)
    check_labels(labels, str(path))
    return labels


def parse_labels(text: str) -> tuple[str, ...]:
    """Return the labels in a text, one on each line; empty lines at its end are ignored."""
    return tuple(line.strip(" \t") for line in text.rstrip().replace("\r\n", "\n").split("\n"))


def filled(labels: Sequence[str], count: int) -> tuple[str, ...]:
    """Return labels for ``count`` outputs of a network; outputs beyond the classes of the data are called unused.

    Such an output has no training image, so it is practically never the answer.
    """
    return (*labels, *map(unused_label, range(len(labels), count)))


def unused_label(index: int | str) -> str:
    """Return the label of an output without a class."""
    return f"unused {index}"


def is_unused(label: str) -> bool:
    """Return whether a label stands for an output without a class."""
    index = label.rpartition(" ")[2]
    return index.isdecimal() and label == unused_label(index)


def check_labels(labels: tuple[str, ...], where: str) -> None:
    """Check labels; ``where`` names their file in messages.

    Raises:
        DataError: fewer than 2 or more than 1,000 labels, or a label that is empty, duplicate, too long, not printable
            or "unknown".
    """
    if not 2 <= len(labels) <= MAX_LABELS:
        raise DataError(f"{where}: expected 2 to {MAX_LABELS} labels, one on each line; got {len(labels)}")
    for number, label in enumerate(labels, 1):
        if not label:
            raise DataError(f"{where}: line {number} is empty; expected a label on each line")
        if len(label) > MAX_LABEL_LENGTH or not label.isprintable():
            raise DataError(
                f"{where}: line {number}: expected a printable label of at most {MAX_LABEL_LENGTH} characters, "
                f"got {label[:MAX_LABEL_LENGTH]!r}"
            )
        if label == UNKNOWN:
            raise DataError(f"{where}: line {number}: {UNKNOWN!r} means a score below the threshold; use another label")
        if labels.index(label) != number - 1:
            raise DataError(f"{where}: duplicate label {label!r} on lines {labels.index(label) + 1} and {number}")
