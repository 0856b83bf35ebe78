"""Label the photographs of a partition: the code that every worker runs, in a pool or on a cluster."""

from __future__ import annotations

import hashlib
import socket
import time
from dataclasses import dataclass, replace

from edge_fmnist.cli import console
from edge_fmnist.data.files import as_utf8
from edge_fmnist.errors import EdgeFmnistError, ModelError, RunError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import ModelBytes
from edge_fmnist.pipeline.stills import StillClassifier
from edge_fmnist_export.bulk.files import check_source, open_folder, read_photos
from edge_fmnist_export.bulk.parts import COLUMNS, JOB, Counts, Layout, Row, Task, counted
from edge_fmnist_export.training.memory import keep_freed_memory

Outcome = Counts | list[Row]
FAILED = ("unreadable", "undecodable", "crashed")


@dataclass(frozen=True)
class LabelOptions:
    """The options of ``edge-fmnist label``, and their defaults."""

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
        # Otherwise the system clears a hundred pages for each photograph.
        keep_freed_memory()
        self._spec, self._options = spec, spec.options
        self._sha256 = {name: hashlib.sha256(file.content).hexdigest() for name, file in spec.files.items()}
        self._folder = open_folder(spec.options.output)
        try:
            self._folder.read(JOB)
        except OSError as error:
            node, output = socket.gethostname(), spec.options.output
            raise RunError(
                f"{output}: not shared by the node {node} ({error}); use a network folder, s3:// or gs://"
            ) from error
        self._classifier = StillClassifier(spec.options.model, self._load)
        self._warned = False

    def _load(self, name: str) -> Classifier:
        options = self._options
        try:
            with console.quiet_native_log():
                return Classifier(self._spec.files[name], interpreter=options.interpreter, labels=options.labels)
        except Exception as error:
            # It concerns all photographs, so it is not one that could not be decoded.
            reason = f"the model {name} cannot be loaded on {socket.gethostname()}"
            raise ModelError(f"{reason} ({describe(error)})") from error

    def run(self, task: Task) -> tuple[Outcome, float]:
        """Label photographs; return the counts of a whole partition, written as a part, or rows; and the seconds.

        Raises:
            SinkError: the part cannot be written.
            RunError: none of the photographs can be read, since their source is gone.
            ModelError: the model failed.
        """
        started = time.monotonic()
        contents = zip(task.paths, read_photos(task.paths, self._spec.base), strict=True)
        rows = [self._row(number, *content) for number, content in enumerate(contents, task.first)]
        if all(row["status"] == "unreadable" for row in rows):
            # Otherwise these rows would be final, also when the source is back.
            check_source(self._spec.options.source, self._spec.base, task.paths[0])
        if task.whole:
            self._spec.layout.write_part(self._folder, task, rows)
        return counted(rows) if task.whole else rows, time.monotonic() - started

    def _row(self, number: int, path: str, data: bytes | EdgeFmnistError) -> Row:
        from edge_fmnist.vision.preprocess import convention_warning
        from edge_fmnist.vision.read_image import decode_still

        if isinstance(data, EdgeFmnistError):
            return failed_row(number, path, "unreadable", str(data))
        try:
            still = decode_still(data, path)
            if not self._warned and (unusual := convention_warning(still.pixels)):
                self._warned = True
                console.warn(f"{as_utf8(path)}: {unusual}")
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
    return dict.fromkeys(COLUMNS) | {"id": number, "path": as_utf8(path)}


def failed_row(number: int, path: str, status: str, error: str) -> Row:
    """Return the row of a photograph without an answer."""
    return _row(number, path) | {"status": status, "error": as_utf8(error)}


def failures(counts: Counts) -> int:
    """Return the number of photographs that could not be read or decoded, or killed their worker."""
    return sum(count for (status, _), count in counts.items() if status in FAILED)


def describe(error: Exception) -> str:
    """Return the message of an error; the type of an unexpected one is part of it."""
    return str(error) if isinstance(error, EdgeFmnistError) else f"{type(error).__name__}: {error}"
