"""Runs the scenarios over the variants and makes the result document."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from edge_fmnist.cli import console
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist_bench import frame, machine, process, timing
from edge_fmnist_bench import validity as doubts
from edge_fmnist_bench.document import SCHEMA, Document
from edge_fmnist_bench.images import Images, accuracy
from edge_fmnist_bench.protocol import SCENARIOS, Protocol
from edge_fmnist_bench.timing import Samples
from edge_fmnist_bench.variants.base import Runner, Variant

# Says what is being measured. No spinner: its thread would take time from what is timed.
Progress = Callable[[str], None]


@dataclass
class Row:
    """A variant and what was measured of it so far."""

    variant: Variant
    error: str | None = None
    runner: Runner | None = None
    single: Samples = field(default_factory=Samples)
    paced: Samples = field(default_factory=Samples)
    rates: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    accuracy: dict[str, Any] | None = None
    process: dict[str, Any] | None = None

    def fail(self, error: Exception) -> None:
        """Note the first thing that went wrong."""
        reason = str(error) if isinstance(error, EdgeFmnistError) else f"{type(error).__name__}: {error}"
        self.error = self.error or reason

    @contextlib.contextmanager
    def contained(self) -> Iterator[None]:
        """Keep what goes wrong inside the block to this row, so that the others go on."""
        try:
            yield
        except Exception as error:  # whatever a library raises: it is that variant's result
            self.fail(error)


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        model: the model as the command line names it.
        facts: what ``model.describe`` says of it.
        variants: the ways to run it, and others beside it.
        reference: the name of the variant that ratios are to.
        images: what they are fed with.
        protocol: how everything is measured.
        scenarios: which of ``protocol.SCENARIOS``.
    """

    model: str
    facts: dict[str, Any]
    variants: Sequence[Variant]
    reference: str
    images: Images
    protocol: Protocol
    scenarios: Collection[str] = SCENARIOS


class Suite:
    """One run. :meth:`run` may be interrupted at any time; :meth:`document` gives what was measured by then."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        """Describe the machine as it is before anything is measured."""
        self._plan, self._protocol, self._progress = plan, plan.protocol, progress
        self._rows = {variant.name: Row(variant) for variant in plan.variants}
        self._frame: dict[str, Any] | None = None
        self._machine = machine.describe()
        self._created = datetime.now(timezone.utc)
        self._started = time.perf_counter()
        self._complete = False

    def run(self) -> None:
        """Measure everything that is planned."""
        steps = {
            "single-stream": self._single_stream,
            "accuracy": self._accuracy,
            "paced": self._paced,
            "offline": self._offline,
            "frame": self._frames,
            "process": self._processes,
        }
        # No scenario, but what every other figure is worth nothing without.
        wanted = {*self._plan.scenarios, "accuracy"}
        self._open()
        for name, step in steps.items():
            if name in wanted:
                self._progress(name)
                step()
        self._complete = True

    def _open(self) -> None:
        """Open each variant for one image and time its first call apart."""
        settings = self._protocol.single_stream
        for row in self._rows.values():
            self._progress(f"opening {row.variant.title}")
            with row.contained(), console.quiet_native_log():
                row.runner = row.variant.open(threads=settings.threads, batch=1)
                timing.warm_up(self._call(row.runner, 1), settings, row.single)

    def _call(self, runner: Runner, batch: int) -> timing.Call:
        images = self._plan.images.batch(batch)
        return lambda: runner(images)

    def _calls(self) -> dict[str, timing.Call]:
        """Return the calls for one image of the variants that have not failed."""
        return {
            name: self._call(row.runner, 1)
            for name, row in self._rows.items()
            if row.runner is not None and row.error is None
        }

    def _note(self, failures: dict[str, Exception]) -> None:
        for name, error in failures.items():
            self._rows[name].fail(error)

    def _single_stream(self) -> None:
        into = {name: row.single for name, row in self._rows.items()}
        self._note(timing.single_stream(self._calls(), self._protocol.single_stream, self._protocol.seed, into))

    def _paced(self) -> None:
        into = {name: row.paced for name, row in self._rows.items()}
        self._note(timing.paced(self._calls(), self._protocol.paced, self._protocol.seed, into))

    def _accuracy(self) -> None:
        split = self._plan.images.split
        if split is None:
            return
        threads = self._protocol.single_stream.threads
        for row in self._rows.values():
            if row.error is None:
                with row.contained(), console.quiet_native_log():
                    row.accuracy = accuracy(row.variant, row.runner, split, self._protocol.accuracy, threads)

    def _offline(self) -> None:
        settings = self._protocol.offline
        points: dict[str, tuple[Row, int, int]] = {}
        calls = {}
        for threads in sorted({min(threads, machine.usable_cores()) for threads in settings.threads}):
            for batch in settings.batches:
                for name, call in self._batch_calls(threads, batch):
                    key = f"{name} {threads} {batch}"
                    points[key], calls[key] = (self._rows[name], threads, batch), call
        into: dict[str, list[float]] = {key: [] for key in calls}
        images = {key: batch for key, (_, _, batch) in points.items()}
        try:
            timing.rates(calls, images, settings, self._protocol.seed, into)
        finally:
            for key, (row, threads, batch) in points.items():
                row.rates[threads, batch] = into[key]

    def _batch_calls(self, threads: int, batch: int) -> Iterator[tuple[str, timing.Call]]:
        """Yield the warmed-up calls of the variants that can run a batch with so many threads."""
        for name, row in self._rows.items():
            # A variant may lack batches or threads and be right all the same: such a point is left out.
            with contextlib.suppress(Exception), console.quiet_native_log():
                if row.error is None:
                    call = self._call(row.variant.open(threads=threads, batch=batch), batch)
                    call()
                    yield name, call

    def _frames(self) -> None:
        try:
            with console.quiet_native_log():
                self._frame = frame.measure(self._plan.model, self._protocol.frame, self._protocol.percentiles)
        except EdgeFmnistError as error:
            console.warn(f"frame: {error}")

    def _processes(self) -> None:
        for row in self._rows.values():
            if row.error is None:
                with row.contained():
                    row.process = process.measure(row.variant, self._protocol.process)

    def document(self) -> Document:
        """Return what was measured so far."""
        self._machine["state"]["after"] = machine.state()
        document: Document = {
            "schema": SCHEMA,
            "complete": self._complete,
            "created": self._created.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._started, 1),
            "marks": [],
            "protocol": {**self._protocol.as_dict(), "scenarios": sorted(self._plan.scenarios, key=SCENARIOS.index)},
            "machine": self._machine,
            "versions": machine.versions(),
            "commit": machine.commit(),
            "data": self._plan.images.describe(),
            "model": self._plan.facts,
            "reference": self._plan.reference,
            "variants": [self._variant(row) for row in self._rows.values()],
            "ratios": self._ratios(),
            "frame": self._frame,
        }
        document["marks"] = doubts.marks(document, self._protocol.doubt)
        return document

    def _variant(self, row: Row) -> dict[str, Any]:
        file = row.variant.file
        return {
            "name": row.variant.name,
            "title": row.variant.title,
            "device": row.variant.device,
            "error": row.error,
            "file_bytes": file.stat().st_size if file is not None and file.is_file() else None,
            "accuracy": row.accuracy,
            "single_stream": self._single_summary(row.single),
            "paced": self._paced_summary(row.paced),
            "offline": _offline_summary(row.rates),
            "process": row.process,
        }

    def _single_summary(self, samples: Samples) -> dict[str, Any] | None:
        times = samples.microseconds
        if samples.first is None or not len(times):
            return None
        return {
            "first_us": round(samples.first / 1000, 2),
            **timing.summary(times, self._protocol.percentiles),
            "rounds": [len(times) for times in samples.rounds],
            "samples_us": times.round(2).tolist(),
        }

    def _paced_summary(self, samples: Samples) -> dict[str, Any] | None:
        times = samples.microseconds
        if not len(times):
            return None
        return {
            "hertz": self._protocol.paced.hertz,
            **timing.summary(times, self._protocol.percentiles),
            "samples_us": times.round(2).tolist(),
        }

    def _ratios(self) -> list[dict[str, Any]]:
        reference = self._rows.get(self._plan.reference)
        if reference is None:
            return []
        ratios = [
            timing.ratio(
                (name, row.single),
                (self._plan.reference, reference.single),
                self._protocol.bootstrap,
                self._protocol.seed,
            )
            for name, row in self._rows.items()
            if row is not reference
        ]
        return [asdict(found) for found in ratios if found is not None]


def _offline_summary(rates: dict[tuple[int, int], list[float]]) -> dict[str, Any] | None:
    points = [
        {"threads": threads, "batch": batch, "images_per_second": round(statistics.median(found), 1)}
        for (threads, batch), found in rates.items()
        if found
    ]
    if not points:
        return None
    return {"points": points, "best": max(points, key=lambda point: point["images_per_second"])}
