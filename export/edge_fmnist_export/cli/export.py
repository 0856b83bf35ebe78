"""``edge-fmnist export``: from a trained run to checked TensorFlow Lite files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist.errors import CheckError, DataNotFoundError, UsageError
from edge_fmnist_export.cli import micro
from edge_fmnist_export.cli.web import write_page
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    from edge_fmnist.data.dataset import Split
    from edge_fmnist_export.quantize.convert import Representative
    from edge_fmnist_export.quantize.exporting import Exported, Exporter
    from edge_fmnist_export.training.run import Run

DEFAULT_RUN = "edge"
EXPORTS = Path("exports")
IO_TYPES = ("uint8", "int8", "float32")
NAME_ITS_DATA = "name the folder of the set it was trained on with --data"


def export(
    run: Annotated[
        str, typer.Argument(help="A run folder or a shipped checkpoint's name; or a model, for --c-array and --arena.")
    ] = DEFAULT_RUN,
    int8: Annotated[bool, typer.Option("--int8", help="int8 by quantization-aware training (the default).")] = False,
    ptq: Annotated[bool, typer.Option("--ptq", help="int8 by post-training quantization.")] = False,
    float32: Annotated[bool, typer.Option("--float32", help="float32.")] = False,
    float16: Annotated[bool, typer.Option("--float16", help="float16 weights.")] = False,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="int8 weights, float activations.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every format.")] = False,
    io: Annotated[str, typer.Option("--io", help="Input and output of int8: uint8, int8 or float32.")] = "uint8",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder, or a .tflite file when one format is written.")
    ] = EXPORTS,
    data: options.Data = None,
    labels: options.ModelLabels = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Largest allowed drop of accuracy, in percentage points.")
    ] = 0.5,
    calibration: Annotated[int, typer.Option("--calibration", min=10, help="Representative images of --ptq.")] = 500,
    c_array: Annotated[
        bool, typer.Option("--c-array", help="Write a C header and source, for TensorFlow Lite for Microcontrollers.")
    ] = False,
    arena: Annotated[
        bool, typer.Option("--arena", help="Estimate the tensor arena that a microcontroller needs.")
    ] = False,
    web: Annotated[
        Path | None,
        typer.Option("--web", help="Write a static web page that runs the model in a browser.", metavar="DIR"),
    ] = None,
    json: options.Json = False,
) -> None:
    """Turn a trained run into checked TensorFlow Lite files.

    Each is opened again, checked and evaluated before it is moved into place. Without RUN it exports the shipped
    edge checkpoint, offline and without training. Exit code 1 when a file fails a check; that file is not written.

    With --c-array or --arena, a .tflite file or a shipped model's name is taken as it is, unless a format is named.
    """
    if io not in IO_TYPES:
        raise typer.BadParameter(f"expected one of {', '.join(IO_TYPES)}, got {io!r}", param_hint="--io")
    chosen = {"float32": float32, "float16": float16, "dynamic": dynamic, "int8": int8 and not ptq, "int8-ptq": ptq}
    named = [kind for kind, wanted in chosen.items() if wanted or every]
    wanted = micro.Wanted(c_array, arena)
    converting = bool(named or io != IO_TYPES[0] or data or labels)
    if web is not None and micro.is_model(run) and not converting:
        page = write_page(run, web, quiet=json)
        if not wanted:
            if json:
                console.emit_json([{"path": run, **page}])
            return
    if micro.is_model(run) and (Path(run).suffix == ".tflite" or (wanted and not converting)):
        _make_of_model(run, wanted, output, converting, json)
        return
    kinds = named or ["int8"]
    if output.suffix == ".tflite" and len(kinds) > 1:
        raise UsageError(f"{output}: one file for {len(kinds)} formats; name a folder with --output")
    if output.suffix in micro.C_SUFFIXES:
        raise UsageError(f"{output}: C files lie beside the .tflite file; name that, or a folder, with --output")
    exporter = _prepare(run, io, data, labels, calibration if "int8-ptq" in kinds else None)
    results, failures = _export_all(exporter, kinds, output, max_drop)
    if not json:
        _show(results)
    made = [micro.make(wanted, str(result.path), result.path.with_suffix(""), quiet=json) for result in results]
    for result, extra in zip(results[:1], made, strict=False):
        extra |= {} if web is None else write_page(str(result.path), web, quiet=json)
    if json:
        console.emit_json([result.as_dict() | extra for result, extra in zip(results, made, strict=True)])
    if failures:
        raise typer.Exit(1)


def _make_of_model(name: str, wanted: micro.Wanted, output: Path, converting: bool, json: bool) -> None:
    if not wanted or converting:
        problem = "a format, --io, --data and --labels are for runs" if wanted else "name --c-array or --arena"
        raise UsageError(f"{name}: a model already, so there is nothing to convert; {problem}")
    made = micro.make(wanted, name, micro.target_of(name, output), quiet=json)
    if json:
        console.emit_json([{"path": name, **made}])


def _prepare(name: str, io: str, data: Path | None, labels: Path | None, calibration: int | None) -> Exporter:
    # Conversion works on TensorFlow alone, whichever back end trained.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    extras.require("export", "exporting")
    from edge_fmnist_export.training.run import open_run
    from edge_fmnist_export.training.training_data import of_another_set

    run = open_run(name)
    names = None if labels is None else options.labels_of(labels)
    test = _test_split(data)
    if test is not None and of_another_set(run, "test", test):
        console.warn(f"{name}: was trained on another data set than its accuracy is measured on; {NAME_ITS_DATA}")
    with console.quiet_native_log():
        backend.warm_up()
        from edge_fmnist_export.quantize.exporting import Exporter

        representative = _representative(run, data, calibration) if calibration else None
        return Exporter(run, io=io, test=test, representative=representative, labels=names)  # type: ignore[arg-type]


def _test_split(data: Path | None) -> Split | None:
    try:
        return dataset.load("test", data)
    except DataNotFoundError as error:
        if data is not None:
            raise
        console.warn(f"accuracy is not measured: {error}")
        return None


def _representative(run: Run, data: Path | None, count: int) -> Representative:
    from edge_fmnist_export.quantize.convert import representative_dataset
    from edge_fmnist_export.training import training_data as material

    train, _ = material.split(run.recipe, dataset.load("train", data))
    return representative_dataset(train, count, run.recipe.seed)


def _export_all(
    exporter: Exporter, kinds: list[str], output: Path, max_drop: float
) -> tuple[list[Exported], list[CheckError]]:
    results, failures = [], []
    for kind in kinds:
        name = f"{exporter.run.recipe.name}-{kind}.tflite"
        path = output if output.suffix == ".tflite" else output / name
        with console.status(f"exporting {kind}"):
            try:
                with console.quiet_native_log():
                    results.append(exporter.export(kind, path, max_drop=max_drop))
            except CheckError as error:
                failures.append(error)
    for failure in failures:
        console.say(f"Error: {failure}")
    return results, failures


def _show(results: list[Exported]) -> None:
    if not results:
        return
    console.show_table(
        "Exported: opened again, checked" + (", evaluated" if results[0].parity else "; accuracy not measured"),
        ["format", "bytes", "top-1", "float", "drop", "difference, largest / mean"],
        [(result.kind, f"{result.bytes:,}", *_parity_cells(result)) for result in results],
    )
    for result in results:
        console.say(f"{result.kind}: {result.path}")


def _parity_cells(result: Exported) -> tuple[str, ...]:
    parity = result.parity
    if parity is None:
        return ("-",) * 4
    unit = "steps" if parity.step else "logits"
    return (
        f"{parity.top1:.2%}",
        f"{parity.float_top1:.2%}",
        f"{parity.drop_points:+.2f}",
        f"{parity.largest:.2f} / {parity.mean:.3f} {unit}",
    )
