"""Run the scenarios over the variants and make the result document."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from edge_fmnist.cli import console
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist_bench import frame, litert_benchmark, live, machine, process, timing, validity
from edge_fmnist_bench.accuracy import accuracy
from edge_fmnist_bench.document import SCHEMA, Document
from edge_fmnist_bench.images import Images
from edge_fmnist_bench.protocol import SCENARIOS, Protocol
from edge_fmnist_bench.timing import Samples
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner
from edge_fmnist_bench.variants.browser import BrowserVariant

# Reports what is being measured. No spinner: its thread would disturb the timing.
Progress = Callable[[str], None]


@dataclass
class VariantMeasurement:
    """A variant and its measurements so far."""

    variant: BenchmarkVariant
    error: str | None = None
    runner: Runner | None = None
    single: Samples = field(default_factory=Samples)
    paced: Samples = field(default_factory=Samples)
    rates: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    accuracy: dict[str, Any] | None = None
    process: dict[str, Any] | None = None

    def fail(self, error: Exception) -> None:
        """Record the first error."""
        reason = str(error) if isinstance(error, EdgeFmnistError) else f"{type(error).__name__}: {error}"
        self.error = self.error or reason

    @contextlib.contextmanager
    def contained(self) -> Iterator[None]:
        """Record an error inside the block, so that the other variants continue."""
        try:
            yield
        except Exception as error:  # whatever a library raises is the result of that variant
            self.fail(error)


@dataclass(frozen=True)
class BenchmarkPlan:
    """What to measure.

    Attributes:
        model: the model as named on the command line.
        facts: from ``model.describe``.
        variants: the ways to run it, and others beside it.
        reference: name of the variant that ratios refer to.
        images: the inputs.
        protocol: how to measure.
        scenarios: names from ``protocol.SCENARIOS``.
        browser: the model in a browser, measured after the others.
    """

    model: str
    facts: dict[str, Any]
    variants: Sequence[BenchmarkVariant]
    reference: str
    images: Images
    protocol: Protocol
    scenarios: Collection[str] = SCENARIOS
    browser: BrowserVariant | None = None


class Suite:
    """One run. :meth:`run` may be interrupted at any time; :meth:`document` returns what was measured so far."""

    def __init__(self, plan: BenchmarkPlan, progress: Progress) -> None:
        """Record the state of the machine before anything is measured."""
        self._plan, self._protocol, self._progress = plan, plan.protocol, progress
        self._results = {variant.name: VariantMeasurement(variant) for variant in plan.variants}
        self._frame: dict[str, Any] | None = None
        self._live: dict[str, Any] | None = None
        self._litert: dict[str, Any] | None = None
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
            "live": self._live_loop,
            "process": self._processes,
        }
        # Not a scenario: the other figures mean nothing without it.
        wanted = {*self._plan.scenarios, "accuracy"}
        self._open()
        for name, step in steps.items():
            if name in wanted:
                self._progress(name)
                step()
        if self._plan.browser is not None:
            self._progress(self._plan.browser.title)
            self._browser(self._plan.browser)
        self._complete = True

    def _open(self) -> None:
        """Open each variant for one image and time its first call separately."""
        settings = self._protocol.single_stream
        for result in self._results.values():
            self._progress(f"opening {result.variant.title}")
            with result.contained(), console.quiet_native_log():
                result.runner = result.variant.open(threads=settings.threads, batch=1)
                timing.warm_up(self._call(result.runner, 1), settings, result.single)

    def _call(self, runner: Runner, batch: int) -> timing.Call:
        images = self._plan.images.batch(batch)
        return lambda: runner(images)

    def _working(self) -> list[VariantMeasurement]:
        return [result for result in self._results.values() if result.error is None]

    def _calls(self) -> dict[str, timing.Call]:
        """Return the calls for one image of the variants that have not failed."""
        return {
            result.variant.name: self._call(result.runner, 1) for result in self._working() if result.runner is not None
        }

    def _record(self, failures: dict[str, Exception]) -> None:
        for name, error in failures.items():
            self._results[name].fail(error)

    def _single_stream(self) -> None:
        into = {name: result.single for name, result in self._results.items()}
        self._record(timing.single_stream(self._calls(), self._protocol.single_stream, self._protocol.seed, into))

    def _paced(self) -> None:
        into = {name: result.paced for name, result in self._results.items()}
        self._record(timing.paced(self._calls(), self._protocol.paced, self._protocol.seed, into))

    def _accuracy(self) -> None:
        split = self._plan.images.split
        if split is None:
            return
        threads = self._protocol.single_stream.threads
        for result in self._working():
            with result.contained(), console.quiet_native_log():
                result.accuracy = accuracy(result.variant, result.runner, split, self._protocol.accuracy, threads)

    def _offline(self) -> None:
        settings = self._protocol.offline
        points: dict[str, tuple[VariantMeasurement, int, int]] = {}
        calls = {}
        for threads in sorted({min(threads, machine.usable_cores()) for threads in settings.threads}):
            for batch in settings.batches:
                for result in self._working():
                    # A variant may lack this batch size or number of threads; that point is then left out.
                    with contextlib.suppress(Exception), console.quiet_native_log():
                        call = self._call(result.variant.open(threads=threads, batch=batch), batch)
                        call()
                        key = f"{result.variant.name} {threads} {batch}"
                        points[key], calls[key] = (result, threads, batch), call
        into: dict[str, list[float]] = {key: [] for key in calls}
        images = {key: batch for key, (_, _, batch) in points.items()}
        try:
            timing.rates(calls, images, settings, self._protocol.seed, into)
        finally:
            for key, (result, threads, batch) in points.items():
                result.rates[threads, batch] = into[key]

    def _frames(self) -> None:
        self._frame = self._of_frames("frame", frame.measure, self._protocol.percentiles)

    def _live_loop(self) -> None:
        self._live = self._of_frames("live", live.measure)

    def _of_frames(self, name: str, measure: Callable[..., dict[str, Any]], *settings: Any) -> dict[str, Any] | None:
        """Return a measurement of frames; None, with a warning, if the model takes no images or it failed."""
        if not self._plan.facts["takes_images"]:
            console.warn(f"{name}: not measured, since the model takes no images")
            return None
        try:
            with console.quiet_native_log():
                return measure(self._plan.model, self._protocol.frame, *settings)
        except (EdgeFmnistError, OSError) as error:
            console.warn(f"{name}: {error}")
            return None

    def _processes(self) -> None:
        for result in self._working():
            with result.contained():
                result.process = process.measure(result.variant, self._protocol.process)
        settings = self._protocol.single_stream
        try:
            self._litert = litert_benchmark.measure(
                self._plan.model, settings.iterations, settings.warm_up, settings.threads
            )
        except (EdgeFmnistError, OSError) as error:
            console.warn(str(error))

    def _browser(self, variant: BrowserVariant) -> None:
        result = self._results[variant.name] = VariantMeasurement(variant)
        with result.contained(), console.quiet_native_log():
            result.single, result.accuracy = variant.measure(self._plan.images, self._protocol.single_stream)

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
            "variants": [self._variant(result) for result in self._results.values()],
            "ratios": self._ratios(),
            "frame": self._frame,
            "live": self._live,
            "litert_benchmark": self._litert,
        }
        document["marks"] = validity.marks(document, self._protocol.validity)
        return document

    def _variant(self, result: VariantMeasurement) -> dict[str, Any]:
        file = result.variant.file
        first, single = result.single.first, self._summary(result.single)
        if first is not None and single is not None:
            rounds = [len(times) for times in result.single.rounds]
            single = {"first_us": round(first / 1000, 2), **single, "rounds": rounds}
        paced = self._summary(result.paced)
        return {
            "name": result.variant.name,
            "title": result.variant.title,
            "device": result.variant.device,
            "error": result.error,
            "file_bytes": file.stat().st_size if file is not None and file.is_file() else None,
            "accuracy": result.accuracy,
            "single_stream": single,
            "paced": paced and {"hertz": self._protocol.paced.hertz, **paced},
            "offline": _offline_summary(result.rates),
            "process": result.process,
        }

    def _summary(self, samples: Samples) -> dict[str, Any] | None:
        times = samples.microseconds
        if not len(times):
            return None
        return {**timing.summary(times, self._protocol.percentiles), "samples_us": times.round(2).tolist()}

    def _ratios(self) -> list[dict[str, Any]]:
        """Return the ratios of the variants that took turns with the reference."""
        reference = self._results.get(self._plan.reference)
        if reference is None:
            return []
        to, protocol = (self._plan.reference, reference.single), self._protocol
        ratios = [
            timing.ratio((name, result.single), to, protocol.bootstrap, protocol.seed)
            for name, result in self._results.items()
            if result is not reference and result.variant is not self._plan.browser
        ]
        return [found for found in ratios if found is not None]


def _offline_summary(rates: dict[tuple[int, int], list[float]]) -> dict[str, Any] | None:
    points = [
        {"threads": threads, "batch": batch, "images_per_second": round(statistics.median(found), 1)}
        for (threads, batch), found in rates.items()
        if found
    ]
    if not points:
        return None
    return {"points": points, "best": max(points, key=lambda point: point["images_per_second"])}
