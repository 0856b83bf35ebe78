"""The function :func:`edge_fmnist.teach`: photographs in folders, a model taught from them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from edge_fmnist.data.files import check_outputs, write_bytes
from edge_fmnist.errors import CancelledError, DataError, SinkError, UsageError
from edge_fmnist.model.registry import CAMERA_MODEL, shipped_models
from edge_fmnist.model.tflite_graph import IDENTIFIER
from edge_fmnist.teaching.parent import Parent
from edge_fmnist.teaching.photographs import read_photographs
from edge_fmnist.teaching.results import Taught
from edge_fmnist.teaching.trained_head import TrainedHead


def teach(
    photos: str | Path,
    output: str | Path,
    *,
    model: str | Path = CAMERA_MODEL,
    add: bool = False,
    progress: Callable[[str, int, int], object] | None = None,
    cancel: Event | None = None,
) -> Taught:
    """Teach a model the classes of a folder of photographs, and write it as an int8 ``.tflite`` file.

    The network keeps its weights; its last layer is replaced by a logistic regression on the values before it. No
    TensorFlow is needed. The file is moved into place when everything has succeeded; until then, an existing file is
    unchanged.

    Args:
        photos: has a folder of photographs for each class; the name of the folder is the name of the class. A class
            named ``none`` has things to reject: its answer is ``"unknown"``.
        output: the file to write.
        model: the parent: name of a shipped model or path of a ``.tflite`` file, itself taught or not.
        add: keep the classes of the parent and add those of the folders. Few images of Fashion-MNIST, which come with
            the package, keep its ten classes from being forgotten.
        progress: called in the calling thread after each step with the name of its stage, such as ``"Fitting"``, the
            number of finished steps of this stage, and the number of all.
        cancel: set by another thread to stop early.

    Returns:
        The classes, their accuracy by cross-validation, and warnings.

    Raises:
        DataNotFoundError: no such folder, or no photographs in it.
        DataError: fewer than two classes, a class with fewer than 3 photographs in which a garment was found, the same
            photograph in two classes, or a folder whose name cannot be a label.
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: a model that is damaged, or whose last layer cannot be replaced.
        CancelledError: ``cancel`` was set; nothing was written.
        UsageError: ``output`` is a folder, a file that is not a model, or the name of a shipped model.
        SinkError: the file cannot be written.
    """
    path, warnings, started = Path(output), list[str](), time.perf_counter()
    if os.path.isdir(path) or not path.name:  # noqa: PTH112 - False for any text
        raise UsageError(f"expected a file to write such as mine.tflite, got the folder {path}", setting="output")
    if str(output) in shipped_models():
        raise UsageError(f"{output} is the name of a shipped model; write to {output}.tflite", setting="output")
    if os.path.isfile(path) and path.stat().st_size and not _is_model(path):  # noqa: PTH113
        raise UsageError(f"{path}: holds something else than a model; choose another file", setting="output")

    def step(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done, total)
        if cancel is not None and cancel.is_set():
            raise CancelledError("teaching was stopped; nothing was written")

    parent = Parent(model)
    check_outputs([path])
    try:
        photographs = read_photographs(
            Path(photos), 1 if add else 2, lambda done, total: step("Reading photographs", done, total), warnings.append
        )
    except DataError as error:
        # Such as HEIC files without the extra: often the reason.
        error.args = ("; ".join([str(error), *warnings]),)
        raise
    head = TrainedHead(parent, photographs, step, add=add)
    content = head.file(path.stem)
    try:
        write_bytes(path, content)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed") from error
    return head.result(path, tuple(warnings), time.perf_counter() - started)


def _is_model(path: Path) -> bool:
    """Return whether a file begins as a model does."""
    with path.open("rb") as stream:
        return stream.read(8)[4:] == IDENTIFIER
