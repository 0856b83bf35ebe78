"""``edge-fmnist bench``: measure a model, compare it with others and with a baseline."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.cli.signals import interrupted_by_signals
from edge_fmnist.data.files import check_outputs
from edge_fmnist.errors import DataNotFoundError, EdgeFmnistError
from edge_fmnist.model.registry import DEFAULT_MODEL
from edge_fmnist_bench import action, callgrind, device_report, document, tables
from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench import gate as gates
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.gate import GateRow
from edge_fmnist_bench.images import generated_images, load_images, mismatch
from edge_fmnist_bench.model import describe
from edge_fmnist_bench.protocol import DEFAULT, SCENARIOS
from edge_fmnist_bench.protocol import load as load_protocol
from edge_fmnist_bench.suite import BenchmarkPlan, Suite
from edge_fmnist_bench.variants.base import BenchmarkVariant
from edge_fmnist_bench.variants.browser import BrowserVariant
from edge_fmnist_bench.variants.edge import InterpreterVariant, edge_variants

FLOAT = "float"
FAILED, INTERRUPTED = 1, 130

File = Path | None


@interrupted_by_signals()
def bench(
    model: Annotated[
        str | None, typer.Argument(help=f"A shipped model's name or a .tflite file. Default: {DEFAULT_MODEL}.")
    ] = None,
    same: options.SameModel = None,
    data: options.Data = None,
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"Run only this scenario; repeatable: {', '.join(SCENARIOS)}.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Calls per scenario. Default: from the protocol.")
    ] = None,
    protocol: Annotated[File, typer.Option(help="Measurement protocol, a file like benchmarks/protocol.toml.")] = None,
    against: Annotated[
        str | None, typer.Option(help="float: compare with the float network in Keras and TFLite ([export]).")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Compare with the same network in ONNX Runtime ([peers]).")
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Also measure the model in headless Chromium, as on the page for phones.")
    ] = False,
    run: Annotated[
        str | None, typer.Option(help="Training run of the float network. Default: the model's own.")
    ] = None,
    gate: Annotated[File, typer.Option(help="Compare with this baseline; exit code 4 if a metric moved.")] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the result to the baseline named by --gate.")
    ] = False,
    plot: Annotated[File, typer.Option(help="Write plots to this folder ([plot]).")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also measure time, MACs and share of each operator (LiteRT).")
    ] = False,
    instructions: Annotated[
        bool, typer.Option("--instructions", help="Instead: count the instructions of each stage with valgrind.")
    ] = False,
    report: Annotated[
        str | None, typer.Option(help="pi: write all measurements of a Raspberry Pi to one file.")
    ] = None,
    output: Annotated[File, typer.Option("--output", "-o", help="Write the result to this JSON file.")] = None,
    action_benchmark: Annotated[
        File, typer.Option(help="Write the files of github-action-benchmark to this folder.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown on standard output.")] = False,
    json: options.Json = False,
) -> None:
    """Measure latency, accuracy, size and memory of any TensorFlow Lite model.

    The base install measures the model in each installed interpreter and compares it with a float32 reference of it.
    Variants take turns, so ratios are valid on a noisy machine. Accuracy needs a data set that fits the model. Ctrl-C
    and SIGTERM keep what was measured. Exit code 1 if nothing could be measured, 4 if the gate failed.
    """
    model = options.one_model(model, same, DEFAULT_MODEL)
    measuring = (
        *(scenario, iterations, data, protocol, against, peers, run),
        *(web, plot, profile, report, action_benchmark, markdown),
    )
    for wrong, message, option in (
        (against not in (None, FLOAT), f"expected {FLOAT}, got {against!r}", "--against"),
        (json and markdown, "--json and --markdown both write to standard output", "--markdown"),
        (update_baseline and gate is None, "needs --gate FILE, the baseline to write", "--update-baseline"),
        (report not in (None, device_report.KIND), f"expected {device_report.KIND}, got {report!r}", "--report"),
        (run and gate, "the gate compares with the model's own float network", "--run"),
        (run and not (against or peers), "needs --against or --peers, which measure the float network", "--run"),
        (report and (scenario or gate), "measures all scenarios, without a gate", "--report"),
        (
            instructions and any(measuring),
            "can only be combined with --gate, --update-baseline, --output and --json",
            "--instructions",
        ),
    ):
        if wrong:
            raise typer.BadParameter(message, param_hint=option)
    if report is not None:
        profile, output = True, output or device_report.default_path()
    for read in (model, gate, protocol):
        if output is not None and read is not None and os.path.realpath(output) == os.path.realpath(read):
            raise typer.BadParameter(f"{output}: is read; choose another file", param_hint="--output")
    if output is not None:
        document.check_replaceable(output, callgrind.SCHEMA if instructions else document.SCHEMA)
    if action_benchmark is not None:
        action.check_replaceable(action_benchmark)
    if plot is not None:
        from edge_fmnist_bench import plots

        plots.check_replaceable(plot)
    files = (output, gate if update_baseline else None)
    check_outputs(filter(None, files), filter(None, (plot, action_benchmark)))
    if instructions:
        raise typer.Exit(callgrind.command(model, gate=gate, update=update_baseline, output=output, json=json))
    for extra, option, given in (
        ("export", "--against", against and run is None),
        ("peers", "--peers", peers),
        ("export", "--peers", peers),
        ("plot", "--plot", plot),
    ):
        if given:
            extras.require(extra, option)
    with console.quiet_native_log():
        plan = _plan(model, data, _scenarios(scenario, gate), protocol, iterations)
    if gate is not None:
        plan = _for_gate(plan, gate, update_baseline)
    if web:
        plan = dataclasses.replace(plan, browser=BrowserVariant(model))
    with TemporaryDirectory(prefix="edge-fmnist-bench-") if against or peers else contextlib.nullcontext("") as folder:
        # Holds the files of the float network while they are measured.
        others = _others(model, run, Path(folder), against=against is not None, peers=peers)
        result = _measured(
            Suite(_beside(plan, others, gated=gate is not None), lambda step: console.say(f"bench: {step}"))
        )
    if result["complete"] and all(variant["error"] for variant in result["variants"]):
        errors = "; ".join(f"{variant['title']}: {variant['error']}" for variant in result["variants"])
        console.say(f"Error: {plan.facts['file']}: no variant could be measured ({errors})")
        raise typer.Exit(FAILED)
    if profile and result["complete"]:
        _profile(result, model)
    if output is not None:
        # Again below, with the comparison.
        document.write(output, result)
    rows = _compare(result, model, gate, update_baseline) if gate is not None and result["complete"] else []
    if output is not None and gate is not None:
        document.write(output, result)
    if action_benchmark is not None:
        action.write(action_benchmark, result)
    action.report(result, rows)
    with console.reader_may_leave():
        _print(result, rows, markdown=markdown, json=json)
    if report is not None and output is not None:
        for line in device_report.remarks(result, output, shortened=iterations is not None):
            console.say(line)
    if plot is not None and result["complete"]:
        plots.plot(result, plot)
        console.say(f"Wrote the plots to {plot}")
    if not markdown:
        with console.reader_may_leave():
            (console.say if json else functools.partial(print, flush=True))(tables.sentence(result))
    if not result["complete"]:
        raise typer.Exit(INTERRUPTED)
    if any(not row.passed for row in rows):
        raise typer.Exit(gates.EXIT_CODE)


def _scenarios(given: list[str] | None, gate: Path | None) -> Collection[str]:
    for name in given or []:
        if name not in SCENARIOS:
            raise typer.BadParameter(f"expected one of {', '.join(SCENARIOS)}, got {name!r}", param_hint="--scenario")
    if gate is not None:
        # The gate compares nothing else.
        return {"single-stream", *(given or [])}
    return given or SCENARIOS


def _plan(
    model: str, data: Path | None, scenarios: Collection[str], protocol: Path | None, iterations: int | None
) -> BenchmarkPlan:
    settings = load_protocol(protocol or DEFAULT)
    if iterations is not None:
        settings = settings.shortened(iterations)
    variants, facts = edge_variants(model), describe(model)
    images = load_images(data, settings.seed) if facts["takes_images"] else generated_images(settings.seed)
    if reason := mismatch(facts, images):
        facts["no_accuracy"] = reason
        images = generated_images(settings.seed)
        if data is not None:
            console.warn(f"--data {data} is not used: {reason}")
    if images.split is not None:
        options.warn_of_other_data(model, facts["training_data"], "test", images.split)
    # The bare loop in the preferred interpreter.
    reference = next(variant.name for variant in variants if isinstance(variant, InterpreterVariant))
    return BenchmarkPlan(model, facts, variants, reference, images, settings, scenarios)


def _for_gate(plan: BenchmarkPlan, path: Path, update: bool) -> BenchmarkPlan:
    """Return a plan of what the gate compares, after checking that the baseline is usable.

    Raises:
        DataNotFoundError: accuracy applies to the model, and there is no data set.
        SourceError: the baseline does not exist.
        BaselineError: the baseline is not usable for this model.
    """
    if plan.images.split is None and "no_accuracy" not in plan.facts:
        raise DataNotFoundError("the gate compares accuracy, and no data set was found; get it with `edge-fmnist data`")
    if not update:
        baselines.check_subject(plan.facts, plan.images.describe(), baselines.read(path), path)
    elif path.exists():
        # Only a baseline is replaced.
        baselines.read(path)
    needed = (
        plan.reference,
        baselines.accuracy_variant(plan.facts, plan.reference),
        baselines.float32_name(plan.reference),
    )
    return dataclasses.replace(plan, variants=[variant for variant in plan.variants if variant.name in needed])


def _others(model: str, run: str | None, folder: Path, *, against: bool, peers: bool) -> list[BenchmarkVariant]:
    """Return the variants of the float network and of other runtimes; their modules need extras.

    Without ``run``, they are made from the run that the model was exported from.
    """
    variants: list[BenchmarkVariant] = []
    if not (against or peers):
        return variants
    if run is None:
        from edge_fmnist_export.report.explain.scorer import run_of

        run = str(run_of(options.load_classifier(model), model, "--run").folder)
    if against:
        from edge_fmnist_bench.variants.floats import float_variants

        console.say("bench: exporting the float network")
        variants += float_variants(run, folder)
    if peers:
        from edge_fmnist_bench.variants.peers import peer_variants

        console.say("bench: converting the network for other runtimes")
        variants += peer_variants(run, folder)
    return variants


def _beside(plan: BenchmarkPlan, others: list[BenchmarkVariant], *, gated: bool) -> BenchmarkPlan:
    """Return a plan with other variants; each replaces one of the same name, or is renamed if that is the reference.

    The gate compares with the variants of the plan alone, so that none of them is replaced.
    """
    variants = {variant.name: variant for variant in plan.variants}
    for variant in others:
        if variant.name == plan.reference or (gated and variant.name in variants):
            variant.name, variant.title = f"{variant.name}-export", f"{variant.title} export"
        variants[variant.name] = variant
    return dataclasses.replace(plan, variants=list(variants.values()))


def _measured(suite: Suite) -> Document:
    try:
        suite.run()
    except KeyboardInterrupt:
        console.say("Interrupted: what was measured so far is kept and marked incomplete.")
    return suite.document()


def _profile(result: Document, model: str) -> None:
    """Put a profile into the result; without one, print a warning."""
    from edge_fmnist_bench.profile import measure

    console.say("bench: profile")
    try:
        with console.quiet_native_log():
            result["profile"] = measure(model)
    except EdgeFmnistError as error:
        console.warn(str(error))
    except KeyboardInterrupt:
        console.say("Interrupted: there is no profile.")
        result["complete"] = False


def _compare(result: Document, model: str, gate: Path, update: bool) -> list[GateRow]:
    """Compare with the baseline, or write it; the comparison goes into the result."""

    def count() -> int | None:
        console.say("bench: counting instructions with valgrind")
        try:
            return callgrind.count_inference(model)
        except EdgeFmnistError as error:
            console.warn(str(error))
            return None

    try:
        if update:
            baselines.update(result, gate, count() if callgrind.available() else None)
            console.say(f"Wrote the baseline {gate}")
        rows = gates.compare(result, gate, count if callgrind.available() and not update else None)
    except KeyboardInterrupt:
        console.say("Interrupted: the comparison with the baseline is missing.")
        result["complete"] = False
        return []
    result["gate"] = gates.as_dict(rows, gate)
    return rows


def _print(result: Document, rows: list[GateRow], *, markdown: bool, json: bool) -> None:
    if json:
        print(document.as_json(result), flush=True)
    elif markdown:
        print(tables.markdown(result, rows), end="", flush=True)
    else:
        print(tables.headline(result))
        print(tables.details(result))
        for table in [*tables.tables(result), *([tables.gate(rows)] if rows else [])]:
            tables.show(table)
        for note in tables.notes(result):
            (console.say if note.startswith("Warning:") else print)(note)
    for line in gates.warnings(rows):
        console.warn(line)
