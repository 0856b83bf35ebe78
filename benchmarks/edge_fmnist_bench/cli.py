"""``edge-fmnist bench``: measure a model, beside others, and hold it to a baseline."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.errors import DataNotFoundError, UsageError
from edge_fmnist.model.registry import DEFAULT_MODEL
from edge_fmnist_bench import action, device_report, document, tables
from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench import callgrind as counting
from edge_fmnist_bench import gate as gates
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.gate import GateRow
from edge_fmnist_bench.images import load_images
from edge_fmnist_bench.model import describe
from edge_fmnist_bench.protocol import DEFAULT, SCENARIOS
from edge_fmnist_bench.protocol import load as load_protocol
from edge_fmnist_bench.suite import Plan, Suite
from edge_fmnist_bench.variants.base import Variant
from edge_fmnist_bench.variants.edge import edge_variants

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
FLOAT = "float"
# What the gate compares needs no more.
GATE_SCENARIOS = ("single-stream",)
INTERRUPTED = 130


def bench(
    model: options.Model = DEFAULT_MODEL,
    data: options.Data = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", help=f"Only this one; may be repeated: {', '.join(SCENARIOS)}.", show_default=False),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", help="Calls in each scenario, in place of the protocol's.", show_default=False),
    ] = None,
    protocol: Annotated[
        Path | None,
        typer.Option("--protocol", help="A protocol to measure by, as benchmarks/protocol.toml.", show_default=False),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="float: also the float network, in Keras and TFLite ([export]).", show_default=False
        ),
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Also the same network in ONNX Runtime ([peers]).")] = False,
    run: Annotated[
        str | None,
        typer.Option("--run", help="The run of the float network. Default: the model's own.", show_default=False),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option("--gate", help="Hold the result to this baseline; exit code 4 if it moved.", show_default=False),
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline that --gate names, from this run.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the result into this folder ([plot]).", show_default=False)
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also: layer by layer, beside the machine's peak.")
    ] = False,
    instructions: Annotated[
        bool, typer.Option("--instructions", help="Instead: count instructions of each stage, below valgrind.")
    ] = False,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            help="pi: everything that a Raspberry Pi should record, in one file to send in.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result to this JSON file.", show_default=False)
    ] = None,
    action_benchmark: Annotated[
        Path | None,
        typer.Option("--action-benchmark", help="Write github-action-benchmark's files here.", show_default=False),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown on standard output.")] = False,
    json: options.Json = False,
) -> None:
    """Measure what going to the edge cost and won: latency, accuracy, size, memory.

    The base install measures the model in each installed interpreter and beside a float32 twin of it. Variants take
    turns, so that ratios hold on a noisy machine. Ctrl-C keeps what was measured. Exit code 4 when a gate failed.
    """
    if against not in (None, FLOAT):
        raise typer.BadParameter(f"expected {FLOAT}, got {against!r}", param_hint="--against")
    if json and markdown:
        raise typer.BadParameter("--json and --markdown both write to standard output", param_hint="--markdown")
    if update_baseline and gate is None:
        raise typer.BadParameter("needs --gate FILE, the baseline to write", param_hint="--update-baseline")
    if report is not None:
        _check_report(report, scenario, gate)
        profile, output = True, output or device_report.default_path()
    if instructions and (scenario or iterations or data or protocol or against or peers or plot or profile or markdown):
        raise typer.BadParameter(
            "goes with --gate, --update-baseline, --output and --json only", param_hint="--instructions"
        )
    _check_outputs(files=(output, gate if update_baseline else None), folders=(plot, action_benchmark))
    if instructions:
        raise typer.Exit(counting.run(model, gate=gate, update=update_baseline, output=output, json=json))
    _check_extras(against=against is not None, peers=peers, plot=plot is not None)
    plan = _plan(model, data, _scenarios(scenario, gate), protocol, iterations)
    if gate is not None:
        plan = _for_gate(plan, gate, update_baseline)
    with ExitStack() as stack:
        # The float network's files live here as long as they are measured.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="edge-fmnist-bench-")))
        others = _others(run or plan.facts["name"], folder, against=against is not None, peers=peers)
        result = _measured(Suite(_beside(plan, others), lambda step: console.say(f"bench: {step}")))
    if profile and result["complete"]:
        _profile(result, model)
    rows = _hold(result, gate, update_baseline) if gate is not None and result["complete"] else []
    _deliver(result, rows, output, action_benchmark)
    _print(result, rows, markdown=markdown, json=json)
    if report is not None and output is not None:
        for line in device_report.remarks(result, output, shortened=iterations is not None):
            console.say(line)
    if not result["complete"]:
        raise typer.Exit(INTERRUPTED)
    if plot is not None:
        _draw(result, plot)
    if any(not row.passed for row in rows):
        raise typer.Exit(gates.EXIT_CODE)


def _check_report(report: str, scenario: list[str] | None, gate: Path | None) -> None:
    if report not in device_report.KINDS:
        raise typer.BadParameter(f"expected {' or '.join(device_report.KINDS)}, got {report!r}", param_hint="--report")
    if scenario or gate is not None:
        raise typer.BadParameter("measures all scenarios, and has no gate", param_hint="--report")


def _check_outputs(files: Iterable[Path | None], folders: Iterable[Path | None]) -> None:
    """Check where results will go, before minutes are spent on them."""
    for file in filter(None, files):
        if file.is_dir():
            raise UsageError(f"{file}: expected a file to write to, this is a folder")
        file.parent.mkdir(parents=True, exist_ok=True)
    for folder in filter(None, folders):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: expected a folder to write to, this is a file")


def _check_extras(*, against: bool, peers: bool, plot: bool) -> None:
    if against:
        extras.require("export", "--against float")
    if peers:
        extras.require("export", "--peers")
        extras.require("peers", "--peers")
    if plot:
        extras.require("plot", "--plot")


def _scenarios(given: list[str] | None, gate: Path | None) -> Collection[str]:
    for name in given or []:
        if name not in SCENARIOS:
            raise typer.BadParameter(f"expected one of {', '.join(SCENARIOS)}, got {name!r}", param_hint="--scenario")
    if gate is not None:
        # It compares nothing else, but it needs these.
        return {*GATE_SCENARIOS, *(given or [])}
    return given or SCENARIOS


def _plan(
    model: str, data: Path | None, scenarios: Collection[str], protocol: Path | None, iterations: int | None
) -> Plan:
    settings = load_protocol(protocol or DEFAULT)
    if iterations is not None:
        settings = settings.shortened(iterations)
    variants = edge_variants(model)
    return Plan(
        model=model,
        facts=describe(model),
        variants=variants,
        # The bare loop of the preferred interpreter; the classifier, which wraps it, comes before it.
        reference=variants[1].name,
        images=load_images(data, settings.seed),
        protocol=settings,
        scenarios=scenarios,
    )


def _for_gate(plan: Plan, path: Path, update: bool) -> Plan:
    """Return a plan of what the gate compares, after checking that it can be compared.

    Raises:
        DataNotFoundError: there is no data set, so that accuracy cannot be compared.
        SourceError: there is no baseline.
        BaselineError: the baseline is of no use for this model.
    """
    if plan.images.split is None:
        raise DataNotFoundError("the gate compares accuracy, and no data set was found; get it with `edge-fmnist data`")
    if not update:
        baselines.check_subject(plan.facts, plan.images.describe(), baselines.read(path), path)
    needed = (plan.reference, baselines.twin_of(plan.reference))
    return dataclasses.replace(plan, variants=[variant for variant in plan.variants if variant.name in needed])


def _others(run: str, folder: Path, *, against: bool, peers: bool) -> list[Variant]:
    """Return the variants of the float network and of other runtimes; their modules need extras."""
    variants: list[Variant] = []
    if against:
        from edge_fmnist_bench.variants.floats import float_variants

        console.say("bench: exporting the float network")
        variants += float_variants(run, folder)
    if peers:
        from edge_fmnist_bench.variants.peers import peer_variants

        console.say("bench: making the network for other runtimes")
        variants += peer_variants(run, folder)
    return variants


def _beside(plan: Plan, others: list[Variant]) -> Plan:
    """Return a plan with other variants; one of a name that is there already takes its place, but for the reference."""
    variants = {variant.name: variant for variant in plan.variants}
    variants |= {variant.name: variant for variant in others if variant.name != plan.reference}
    return dataclasses.replace(plan, variants=list(variants.values()))


def _measured(suite: Suite) -> Document:
    try:
        suite.run()
    except KeyboardInterrupt:
        console.say("Interrupted: what was measured so far is kept and marked incomplete.")
    return suite.document()


def _hold(result: Document, gate: Path, update: bool) -> list[GateRow]:
    """Compare with the baseline, or write it; the comparison goes into the result."""
    if update:
        baselines.update(result, gate)
        console.say(f"Wrote the baseline {gate}")
    rows = gates.compare(result, gate)
    result["gate"] = gates.as_dict(rows, gate)
    return rows


def _deliver(result: Document, rows: list[GateRow], output: Path | None, action_benchmark: Path | None) -> None:
    """Write the files that were asked for."""
    if output is not None:
        document.write(output, result)
    if action_benchmark is not None:
        action.write(action_benchmark, result)
    if summary := os.environ.get(SUMMARY_VARIABLE):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(_markdown(result, rows))


def _markdown(result: Document, rows: list[GateRow]) -> str:
    text = tables.markdown(result)
    if rows:
        table = tables.gate(rows)
        text += f"\n### {table.title}\n\n{tables.markdown_table(table)}\n"
    return text


def _print(result: Document, rows: list[GateRow], *, markdown: bool, json: bool) -> None:
    if json:
        print(document.as_json(result), flush=True)
        return
    if markdown:
        print(_markdown(result, rows), end="", flush=True)
        return
    console.say(tables.headline(result))
    console.say(tables.details(result))
    for table in [*tables.tables(result), *([tables.gate(rows)] if rows else [])]:
        console.show_table(table.title, table.columns, table.rows, numbers_from=table.text_columns)
    for note in tables.notes(result):
        console.say(note)


def _profile(result: Document, model: str) -> None:
    """Show a model layer by layer, and put that into the result."""
    from edge_fmnist_bench.profile import profile

    console.say("bench: profile")
    try:
        result["profile"] = profile(model).as_dict()
    except KeyboardInterrupt:
        console.say("Interrupted: there is no profile.")
        result["complete"] = False


def _draw(result: Document, folder: Path) -> None:
    from edge_fmnist_bench.plots import plot

    plot(result, folder)
    console.say(f"Drew the plots in {folder}")
