"""The plan of a job: its options in ``job.json``, its photographs in the manifest, its totals in ``summary.json``."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from edge_fmnist import extras
from edge_fmnist.errors import MissingExtraError, RunError, SourceError, UsageError
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL, read_model
from edge_fmnist.vision.picture_files import Warn, log_warning
from edge_fmnist_export.bulk.cluster import PACKAGE
from edge_fmnist_export.bulk.files import READ_THREADS, Folder, is_uri, local_path, open_folder
from edge_fmnist_export.bulk.labeller import LabelOptions, LabelSpec, failures
from edge_fmnist_export.bulk.parts import JOB, PART, Counts, Layout, Manifest, is_part, write_manifest
from edge_fmnist_export.bulk.sources import open_source

SUMMARY = "summary.json"
MANIFESTS = ("manifest.parquet", "manifest.jsonl")
# The manifest while it is written. Hidden files are ignored where the folder has to be empty.
NEW_MANIFEST = ".manifest.new"
# Of a file that is being written (edge_fmnist.data.files.moved_into_place).
TEMPORARY = re.compile(r"\.(.+(\.\w+))\.[a-z0-9_]{8}\2")
JOB_KEYS: dict[str, type] = {
    **dict.fromkeys(("options", "models", "versions"), dict),
    **dict.fromkeys(("format", "base"), str),
    **dict.fromkeys(("photographs", "group", "partition_size"), int),
    "columns": list,
}
# Photographs in a row group of the manifest; a partition is one or several of them.
LEAST_PARTITION, LARGEST_PARTITION = 250, 5000
MOST_PARTITIONS = 20_000
# What else the answers depend on; another version is worth a warning.
LIBRARIES = ("ai-edge-litert", "numpy", "opencv-python", "pillow")


@dataclass(frozen=True, eq=False)
class Plan:
    """A job that is ready to run.

    Attributes:
        spec: what workers have to know.
        folder: the output folder.
        manifest: the photographs.
        photographs: their number.
        done: partitions that were finished before.
        opened: the open manifest, and the lock that keeps other runs out of the folder.
    """

    spec: LabelSpec
    folder: Folder
    manifest: Manifest
    photographs: int
    done: frozenset[int]
    opened: ExitStack

    def close(self) -> None:
        """Close the manifest and release the lock."""
        self.opened.close()

    @property
    def left(self) -> list[int]:
        """The partitions that are not finished."""
        return [partition for partition in range(len(self.manifest)) if partition not in self.done]

    @property
    def photographs_done(self) -> int:
        """The number of photographs in finished partitions."""
        size = self.manifest.size
        return sum(min(size, self.photographs - partition * size) for partition in self.done)

    def summarize(self, counts: Counts, seconds: float) -> dict[str, Any]:
        """Return the totals of all parts, and write them to ``summary.json``.

        Args:
            counts: of the partitions finished in this run.
            seconds: of this run.

        Raises:
            RunError: parts are missing.
        """
        layout = self.spec.layout
        if missing := len(self.manifest) - len(layout.finished(self.folder, len(self.manifest))):
            raise RunError(f"{missing:,} of {len(self.manifest):,} parts are not in {self.spec.options.output}")
        photographs = counts.total()
        try:
            with ThreadPoolExecutor(READ_THREADS) as threads:
                counts = sum(threads.map(partial(layout.read_counts, self.folder), self.done), Counter(counts))
        except ValueError as error:
            raise RunError(f"{self.spec.options.output}: {error}") from error
        by_status, by_answer = Counter[str](), Counter[str]()
        for (status, answer), count in counts.items():
            by_status[status] += count
            if answer is not None:
                by_answer[answer] += count
        summary = {
            "photographs": counts.total(),
            "failures": failures(counts),
            "status": dict(by_status.most_common()),
            "answers": dict(by_answer.most_common()),
            "parts": len(self.manifest),
            "this_run": {
                "photographs": photographs,
                "seconds": round(seconds, 2),
                "photographs_per_second": round(photographs / seconds, 2) if seconds and photographs else None,
            },
        }
        _write_json(self.folder, SUMMARY, summary)
        return summary


def prepare(options: LabelOptions, restart: bool = False, warn: Warn = log_warning) -> Plan:
    """Plan a job, or read the plan of one that was interrupted.

    Args:
        options: what to label, and how.
        restart: delete the results of an earlier job in the output folder.
        warn: receives what is left out of a folder, and other versions of libraries.

    Raises:
        UsageError: the output folder holds something else, or a job with other options, or another run writes to it.
        SourceError: the source does not exist, or holds no photographs.
        EdgeFmnistError: a model that cannot be used.
    """
    options = replace(options, output=local_path(options.output))
    folder = open_folder(options.output)
    if not is_uri(options.output):
        if os.path.lexists(options.output) and not os.path.isdir(options.output):  # noqa: PTH112
            raise UsageError(f"{options.output}: expected a folder for the results, got something else")
        # Workers may have another working folder.
        options = replace(options, output=os.path.abspath(options.output))  # noqa: PTH100
    names = [DEFAULT_MODEL, CAMERA_MODEL] if options.model is None else [options.model]
    files = {name: read_model(name) for name in names}
    job: dict[str, Any] = {
        "options": _comparable(options),
        "models": {name: hashlib.sha256(file.content).hexdigest() for name, file in files.items()},
        "versions": extras.versions((PACKAGE, *LIBRARIES)),
    }
    with ExitStack() as opened:
        opened.enter_context(folder.locked())
        if restart or JOB not in folder.names():
            job = _plan(folder, options, job, restart, warn)
        else:
            job = _resumed(folder, options, job, warn)
        for name in filter(_is_unfinished, folder.names()):
            folder.remove(name)
        try:
            manifest = Manifest(folder, job["format"], tuple(job["columns"]), job["group"], job["partition_size"])
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{options.output}: its manifest is damaged ({error}); start over with --restart"
            ) from error
        opened.callback(manifest.close)
        spec = LabelSpec(options, files, job["base"], manifest.layout)
        done = manifest.layout.finished(folder, len(manifest))
        return Plan(spec, folder, manifest, job["photographs"], done, opened.pop_all())


def _plan(folder: Folder, options: LabelOptions, job: dict[str, Any], restart: bool, warn: Warn) -> dict[str, Any]:
    """Write the manifest and ``job.json`` of a new job, and return its plan."""
    # job.json is deleted first: without it, the parts belong to no job.
    names = sorted(folder.names(), key=lambda name: name != JOB)
    place, name = os.path.split(os.path.realpath(local_path(options.source)))
    if place == os.path.realpath(options.output) and _is_ours(name):
        raise UsageError(f"{options.source}: would be replaced by the results; choose another folder with --output")
    if not (restart and _holds_job(folder, names)) and any(not name.startswith(".") for name in names):
        raise UsageError(f"{options.output}: not empty, and holds no job; choose another folder with --output")
    source = open_source(options.source, options.column, options.output, warn)
    layout = Layout.of(source, not extras.missing(["pyarrow"]))
    group = options.partition_size or LEAST_PARTITION
    # Nothing is deleted before all of the source was read.
    count = write_manifest(folder, NEW_MANIFEST, layout, source, group, options.limit)
    if not count:
        raise SourceError(f"{options.source}: no photographs")
    for name in filter(_is_ours, names):
        folder.remove(name)
    wanted = min(max(count // MOST_PARTITIONS, LEAST_PARTITION), LARGEST_PARTITION)
    job |= {
        "format": layout.suffix,
        "base": source.base,
        "columns": list(layout.columns),
        "photographs": count,
        "group": group,
        "partition_size": options.partition_size or -(-wanted // group) * group,
    }
    # job.json first: a job without its manifest is reported as damaged, and can be restarted.
    _write_json(folder, JOB, job)
    folder.rename(NEW_MANIFEST, f"manifest.{layout.suffix}")
    return job


def _is_ours(name: str) -> bool:
    return name in (JOB, SUMMARY, *MANIFESTS) or PART.fullmatch(name) is not None


def _is_unfinished(name: str) -> bool:
    """Return whether a file is what a run that was killed had not yet moved into place."""
    written = TEMPORARY.fullmatch(name)
    return written is not None and (written[1] == NEW_MANIFEST or _is_ours(written[1]))


def _holds_job(folder: Folder, names: Sequence[str]) -> bool:
    """Return whether a folder has the files of a job, complete or not, and not only files of their names."""
    try:
        if JOB in names and (
            not {*MANIFESTS}.isdisjoint(names) or json.loads(folder.read(JOB)).keys() >= JOB_KEYS.keys()
        ):
            return True
    except (OSError, ValueError, AttributeError):
        pass
    return any(is_part(folder, name) for name in names if PART.fullmatch(name))


def _comparable(options: LabelOptions) -> dict[str, Any]:
    """Return the options that a job keeps from beginning to end."""
    source = options.source if is_uri(options.source) else os.path.abspath(options.source)  # noqa: PTH100
    # As JSON gives it back.
    labels = None if options.labels is None else list(options.labels)
    values = asdict(options) | {"source": source, "labels": labels}
    del values["output"], values["partition_size"]
    return values


def _resumed(folder: Folder, options: LabelOptions, job: dict[str, Any], warn: Warn) -> dict[str, Any]:
    """Return the plan in ``job.json``; refuse other options, another model or another version of this package."""
    try:
        planned: dict[str, Any] = json.loads(folder.read(JOB))
        if missing := JOB_KEYS.keys() - planned.keys():
            raise ValueError(f"no {', '.join(sorted(missing))}")
        if not all(isinstance(planned[key], kind) for key, kind in JOB_KEYS.items()):
            raise ValueError("values of another type")
        if min(planned["group"], planned["partition_size"]) < 1:
            raise ValueError("no photographs in a partition")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{options.output}/{JOB}: damaged ({error}); start over with --restart") from error
    if planned["format"] == "parquet" and extras.missing(["pyarrow"]):
        raise MissingExtraError("bulk", "pyarrow", "going on with a job whose parts are Parquet files")
    pairs = {f"--{name.replace('_', '-')}": (planned["options"].get(name), now) for name, now in job["options"].items()}
    # Named first: other differences may follow from it.
    pairs = {"SOURCE": pairs.pop("--source"), **pairs}
    pairs["the model's SHA-256"] = planned["models"], job["models"]
    pairs[PACKAGE] = planned["versions"].get(PACKAGE), job["versions"][PACKAGE]
    if options.partition_size is not None:
        pairs["--partition-size"] = planned["partition_size"], options.partition_size
    for what, (before, now) in pairs.items():
        if before != now:
            raise UsageError(
                f"{options.output}: holds a job with {what} {_short(before)}, not {_short(now)}; "
                "run the same command to go on with it, or start over with --restart"
            )
    for name in LIBRARIES:
        if (before := planned["versions"].get(name)) != (now := job["versions"][name]):
            warn(f"{name} {now} is installed, and {before} labelled the first part of this job: answers may differ")
    return planned


def _short(value: Any) -> str:
    if value is None:
        return "unset"
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) < 80 else f"{text[:79]}…"


def _write_json(folder: Folder, name: str, value: dict[str, Any]) -> None:
    folder.write(name, (json.dumps(value, indent=2) + "\n").encode())
