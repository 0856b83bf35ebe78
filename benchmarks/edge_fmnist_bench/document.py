"""The result of a run as one JSON document.

::

    schema      "edge-fmnist-bench/1"
    complete    false when the run was interrupted; the document then holds what was measured before
    created     start time, ISO 8601 in UTC
    seconds     duration of the run
    marks       failed validity checks, one sentence each
    protocol    settings of the run (protocol.toml with the changes from the command line)
    machine     the machine (machine.describe)
    versions    versions of Python and of the libraries
    commit      git commit of the checkout, with "-dirty" when tracked files differ; null outside a checkout
    data        {images, fashion_mnist, sha256} of the test images; null when accuracy was not measured
    model       {name, sha256, bytes, macs, parameters, operators, inputs, outputs, takes_images,
                 dtypes: {input, output, layers}, float_top1, flip_tta, described, file, no_scores}
    reference   name of the variant that ratios refer to
    variants    [{name, title, device, error,
                  file_bytes,     null for a model in memory
                  accuracy        {top1, images, batch} or null
                  single_stream   {first_us, count, p50_us, p90_us, p99_us, max_us, samples_us, rounds} or null
                  paced           {hertz, count, p50_us, p90_us, p99_us, max_us, samples_us} or null
                  offline         {points: [{threads, batch, images_per_second}], best: a point} or null
                  process         {peak_bytes, first_label_ms: [...]} or null}]
    ratios      [{of, to, ratio, low, high, confidence, rounds}]: duration of one variant divided by another's
    frame       {model, size, frames, found, following, alone} or null; following and alone are null, or have
                {count, p50_us, p90_us, p99_us, max_us} for each of preprocess, classify, smooth and total
    live        frames per second of the live loop for each output (live.measure), or null
    litert_benchmark  times of LiteRT's own tool (litert_benchmark.measure), or null
    gate        with --gate only: {baseline, passed, rows: [{metric, status, baseline, measured, note}]}
    profile     with --profile only (profile.measure)

Times are in microseconds. ``samples_us`` are the raw samples in the order
they were taken; ``rounds`` is the number of samples in each round.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import write_text
from edge_fmnist.errors import DataError, EdgeFmnistError, SourceError, UsageError

SCHEMA = "edge-fmnist-bench/1"
Document = dict[str, Any]

# A list of plain numbers, which indentation would spread over thousands of lines.
_NUMBERS = re.compile(r"\[\n\s*(-?\d[-+\d.eE,\s]*)\]")


def as_json(document: Document) -> str:
    """Return a document as indented JSON, lists of numbers on one line each."""
    text = json.dumps(document, indent=1)
    return _NUMBERS.sub(lambda match: "[" + re.sub(r"\s+", "", match[1]) + "]", text)


def write(path: Path, document: Document) -> None:
    """Write a document to a file.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, as_json(document) + "\n")


def check_replaceable(path: Path, schema: str = SCHEMA) -> None:
    """Check that a file to be written is none, empty, or an earlier result of the same schema: not a baseline.

    Raises:
        UsageError: it is another file.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        read_schema(path, schema, ("an earlier result", "not a result"), "")
    except DataError as error:
        raise UsageError(
            f"{path}: holds something else than a result; choose another file", setting="--output"
        ) from error


def read(path: Path) -> Document:
    """Read a document written by :func:`write`.

    Raises:
        SourceError: the file does not exist.
        DataError: not such a document, or another schema.
    """
    missing = "no such file; expected a result written by `edge-fmnist bench --output`"
    return read_schema(path, SCHEMA, ("a result", "not a result of `edge-fmnist bench`"), missing)


def read_schema(
    path: Path, schema: str, names: tuple[str, str], missing: str, error: type[EdgeFmnistError] = DataError
) -> Document:
    """Read a JSON object of a schema.

    ``names`` are what messages call it and anything else, ``missing`` is the message without a file.

    Raises:
        SourceError: the file does not exist.
        EdgeFmnistError: ``error``: not such an object, or another schema.
    """
    name, other = names
    if not path.is_file():
        raise SourceError(f"{path}: {missing}")
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"{path}: {other} ({cause})") from cause
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise error(f"{path}: expected {name} of schema {schema!r}, got {found!r}")
    return dict(document)
