"""Write the page: a static folder with a model, LiteRT for the web and the page's files."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_fmnist.data.files import check_replaceable, write_bytes
from edge_fmnist.errors import ModelError, UsageError
from edge_fmnist.model.classifier import FLIP_LIMIT, Classifier, pixel_range
from edge_fmnist.model.flatbuffer import Table
from edge_fmnist.model.quantization import input_table
from edge_fmnist.model.registry import read_model
from edge_fmnist.sinks.web.parts import static_file, with_part
from edge_fmnist.teaching.parent import SHAPE_SIGNATURE, SUBGRAPHS, TENSORS
from edge_fmnist_export.web.litertjs import litertjs_files

PAGE = files("edge_fmnist_export.web").joinpath("page")
# Shared with the live page, as is its part results.html.
SHARED_FILES = ("display.js", "icon.svg", "style.css")
INDEX, MODEL_FILE, SETTINGS_FILE, WORKER = "index.html", "model.tflite", "model.json", "sw.js"
# Types of tensors in LiteRT for the web.
WEB_TYPES = ("uint8", "float32")


def write_page(model: str | Path, folder: Path) -> list[Path]:
    """Write the page for a model to a folder, which any static web server can serve, and return the written files.

    The model is a shipped one, by name, or a ``.tflite`` file that this package wrote; it is copied unchanged. A file
    of an earlier page is replaced; other files stay.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: a damaged model, one without this package's metadata, or one that browsers cannot run.
        DownloadError: npm is missing or cannot fetch LiteRT for the web.
        UsageError: the folder cannot be written to, or holds other files of the same names.
    """
    content = read_model(model).content
    contents = {
        # First: after an interruption, the folder can be written to again.
        SETTINGS_FILE: json.dumps(page_settings(model), separators=(",", ":")).encode(),
        **{file.name: file.read_bytes() for file in PAGE.iterdir() if file.is_file() and file.name != WORKER},
        **{name: static_file(name) for name in SHARED_FILES},
        **{f"litert/{name}": data for name, data in litertjs_files().items()},
        MODEL_FILE: content,
    }
    contents[INDEX] = with_part(contents[INDEX], "results")
    contents[WORKER] = _worker(contents)
    check_replaceable(folder, contents, SETTINGS_FILE, "preprocess")
    try:
        for name, data in contents.items():
            write_bytes(folder / name, data)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    return [folder / name for name in contents]


def page_settings(model: str | Path) -> dict[str, Any]:
    """Return what the page reads from ``model.json``: the model's settings and all constants of the pipeline.

    The JavaScript code has no such numbers of its own.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: a damaged model, one without this package's metadata, or one that browsers cannot run.
    """
    from edge_fmnist.pipeline import smoothing
    from edge_fmnist.pipeline.pipeline import REFRESH_INTERVAL
    from edge_fmnist.sinks import annotate
    from edge_fmnist.vision import preprocess, segmentation
    from edge_fmnist.vision.read_image import STILL_EDGE

    return {
        "model": _model_settings(model),
        "preprocess": {**_constants(preprocess), "segmentation": _constants(segmentation)},
        "smoothing": _constants(smoothing),
        "outline": _constants(annotate),
        "refreshInterval": REFRESH_INTERVAL,
        "stillEdge": STILL_EDGE,
    }


def _constants(module: ModuleType) -> dict[str, Any]:
    """Return a module's public constants that are numbers, tuples of numbers or texts."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int | float | tuple | str)
    }


def _model_settings(model: str | Path) -> dict[str, Any]:
    data = read_model(model)
    classifier = Classifier(data)
    metadata, input_, output = classifier.metadata, classifier.input, classifier.output
    if metadata is None:
        raise ModelError(f"{model}: expected a file with this package's metadata, as `edge-fmnist export` writes it")
    for tensor in (input_, output):
        if tensor.dtype.name not in WEB_TYPES:
            raise ModelError(
                f"{model}: expected an input and output of {' or '.join(WEB_TYPES)}, which is what LiteRT for the web "
                f"takes, got {tensor.dtype}; export the model with --io uint8"
            )
    if input_.images != 1:
        raise ModelError(f"{model}: expected a model that takes one image at a time, got input {input_.shape}")
    table = input_table(input_, pixel_range(data.content, metadata, input_)[0])
    return {
        "name": metadata.name,
        "file": MODEL_FILE,
        "bytes": len(data.content),
        "sha256": hashlib.sha256(data.content).hexdigest(),
        "batchOffsets": _batch_offsets(data.content),
        "labels": classifier.labels,
        "input": {"type": input_.dtype.name, "shape": input_.shape, "table": None if table is None else table.tolist()},
        "output": {
            "type": output.dtype.name,
            "kind": metadata.output,
            "scale": output.scale,
            "zeroPoint": output.zero_point,
        },
        # The page also runs the mirror image where the best score is below it.
        "flipLimit": FLIP_LIMIT if classifier.flip_tta else 0,
        "temperature": classifier.temperature,
        "threshold": classifier.threshold,
    }


def _batch_offsets(content: bytes) -> list[int]:
    """Return where the file holds sizes of -1 in shape signatures: the page sets them to 1 in memory."""
    start = np.frombuffer(content, np.uint8).ctypes.data
    offsets = []
    for graph in Table.root(content).tables(SUBGRAPHS):
        for tensor in graph.tables(TENSORS):
            # A view of the content, so that its address says where it lies.
            sizes = tensor.numbers(SHAPE_SIGNATURE, "<i4")
            offsets += [sizes.ctypes.data - start + sizes.itemsize * int(axis) for axis in np.flatnonzero(sizes == -1)]
    return offsets


def _worker(contents: dict[str, bytes]) -> bytes:
    """Return the service worker, with the list of files and a version that changes with each of them."""
    digest = hashlib.sha256()
    script = PAGE.joinpath(WORKER).read_bytes()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + hashlib.sha256(contents[name]).digest())
    digest.update(script)
    head = {"VERSION": digest.hexdigest()[:16], "FILES": ["./", *sorted(contents)]}
    return b"".join(f"const {name} = {json.dumps(value)};\n".encode() for name, value in head.items()) + script
