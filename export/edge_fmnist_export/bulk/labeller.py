"""Label the photographs of a partition: the code that every worker runs, in a pool or on a cluster."""

from __future__ import annotations

import hashlib
import socket
import time
from collections import Counter
from dataclasses import dataclass, replace

from edge_fmnist.cli import console
from edge_fmnist.errors import EdgeFmnistError, ModelError, RunError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import ModelBytes
from edge_fmnist.pipeline.stills import StillClassifier
from edge_fmnist_export.bulk.files import PhotoReader, open_folder
from edge_fmnist_export.bulk.parts import COLUMNS, JOB, Layout, Row, Task, printable, write_part

# The number of photographs by status and answer.
Counts = Counter[tuple[str, str | None]]
Outcome = Counts | list[Row]
FAILED = ("unreadable", "undecodable", "crashed")


@dataclass(frozen=True)
class LabelOptions:
    """What to label, and how.

    Attributes:
        source: as for :func:`edge_fmnist_export.bulk.sources.open_source`.
        output: path or URI of the output folder.
        model: name or path of the model; None takes ``edge`` for images of 28x28 and ``camera`` for photographs.
        column: of a table, the column of paths; None takes ``path``.
        top_k: number of classes in the column ``top``.
        threshold: least score of a known class, 0 to 1; None takes the model's.
        labels: names of the classes instead of those in the model's file.
        interpreter: its name; None chooses.
        limit: label only this many photographs, the first ones; None labels all.
        partition_size: photographs in a partition; None chooses by their number.
    """

    source: str
    output: str
    model: str | None = None
    column: str | None = None
    top_k: int = 3
    threshold: float | None = None
    labels: tuple[str, ...] | None = None
    interpreter: str | None = None
    limit: int | None = None
    partition_size: int | None = None


@dataclass(frozen=True)
class LabelSpec:
    """What a worker has to know.

    Attributes:
        options: those of the job; the output folder is an absolute path or a URI.
        files: content of the model files, by name or path.
        base: folder or URI that relative paths start from.
        layout: how parts are written.
    """

    options: LabelOptions
    files: dict[str, ModelBytes]
    base: str
    layout: Layout


class Labeller:
    """Labels photographs; made once in each worker."""

    def __init__(self, spec: LabelSpec) -> None:
        import cv2

        # Every core has a worker.
        cv2.setNumThreads(1)
        self._spec = spec
        self._options = spec.options
        self._sha256 = {name: hashlib.sha256(file.content).hexdigest() for name, file in spec.files.items()}
        self._reader = PhotoReader(spec.base)
        self._folder = open_folder(spec.options.output)
        try:
            self._folder.read(JOB)
        except OSError as error:
            node, output = socket.gethostname(), spec.options.output
            raise RunError(
                f"{output}: not shared by the node {node} ({error}); use a network folder, s3:// or gs://"
            ) from error
        self._classifier = StillClassifier(spec.options.model, self._load)

    def _load(self, name: str) -> Classifier:
        options = self._options
        with console.quiet_native_log():
            return Classifier(self._spec.files[name], interpreter=options.interpreter, labels=options.labels)

    def run(self, task: Task) -> tuple[Outcome, float]:
        """Label photographs; write the part of a whole partition.

        Returns:
            The counts of a whole partition, else the rows; and the seconds that it took.

        Raises:
            SinkError: the part cannot be written.
            ModelError: the model failed.
        """
        started = time.monotonic()
        contents = zip(task.paths, self._reader.read_all(task.paths), strict=True)
        rows = [self._row(number, *content) for number, content in enumerate(contents, task.first)]
        if task.whole:
            write_part(self._folder, self._spec.layout, task, rows)
        outcome = Counter((row["status"], row["answer"]) for row in rows) if task.whole else rows
        return outcome, time.monotonic() - started

    def _row(self, number: int, path: str, data: bytes | EdgeFmnistError) -> Row:
        from edge_fmnist.vision.read_image import decode_still

        if isinstance(data, EdgeFmnistError):
            return failed_row(number, path, "unreadable", str(data))
        try:
            still = decode_still(data, path)
            answer = self._classifier.answer(still.pixels)
        except ModelError:
            raise
        except Exception as error:
            # Whatever one photograph of a million raises, the others go on.
            return failed_row(number, path, "undecodable", describe(error))
        prediction, threshold = answer.prediction, self._options.threshold
        if prediction is not None and threshold is not None:
            answer = replace(answer, prediction=replace(prediction, threshold=threshold))
        values = answer.as_dict(self._options.top_k)
        return _row(number, path) | {
            "status": "no_garment" if prediction is None else "ok",
            **{key: values[key] for key in ("answer", "label", "score")},
            "top": [{"label": choice["label"], "score": choice["score"]} for choice in values["top"]],
            "confidence": round(answer.confidence, 6),
            "width": still.width,
            "height": still.height,
            "model_sha256": self._sha256[answer.model],
        }


def _row(number: int, path: str) -> Row:
    return dict.fromkeys(COLUMNS) | {"id": number, "path": printable(path)}


def failures(counts: Counts) -> int:
    """Return the number of photographs that could not be read or decoded, or killed their worker."""
    return sum(count for (status, _), count in counts.items() if status in FAILED)


def failed_row(number: int, path: str, status: str, error: str) -> Row:
    """Return the row of a photograph without an answer."""
    return _row(number, path) | {"status": status, "error": printable(error)}


def describe(error: Exception) -> str:
    """Return the message of an error; the type of an unexpected one is part of it."""
    return str(error) if isinstance(error, EdgeFmnistError) else f"{type(error).__name__}: {error}"
