"""``edge-fmnist export``: convert a trained run to checked TensorFlow Lite files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist.data.files import check_outputs
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import CheckError, DataNotFoundError, UsageError
from edge_fmnist_export.cli.model_outputs import C_SUFFIXES, ModelOutputs, is_model, target_of
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.run_folder import find_run, open_run

if TYPE_CHECKING:
    from edge_fmnist.data.dataset import Split
    from edge_fmnist_export.quantize.exporting import Exported, Exporter

DEFAULT_RUN = "edge"
EXPORTS = Path("exports")
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
IO_TYPES = ("uint8", "int8", "float32")


def export(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, a shipped checkpoint's name, or a Keras classifier (.keras, .h5, SavedModel folder); "
            f"with --c-array, --arena or --web also a model file. Default: {DEFAULT_RUN}."
        ),
    ] = None,
    same: options.SameModel = None,
    int8: Annotated[bool, typer.Option("--int8", help="int8 by quantization-aware training (the default).")] = False,
    ptq: Annotated[bool, typer.Option("--ptq", help="int8 by post-training quantization.")] = False,
    int4: Annotated[
        bool, typer.Option("--int4", help="Weights of convolutions in 4 bits, for runs trained with weight_bits = 4.")
    ] = False,
    float32: Annotated[bool, typer.Option("--float32", help="float32.")] = False,
    float16: Annotated[bool, typer.Option("--float16", help="float16 weights.")] = False,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="int8 weights, float activations.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="All formats that fit; int4 only for runs trained with weight_bits = 4.")
    ] = False,
    io: Annotated[str, typer.Option(help="Input and output type of int8 files: uint8, int8 or float32.")] = "uint8",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder, or a .tflite file for a single format.")
    ] = EXPORTS,
    data: options.Data = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures to calibrate a Keras classifier on, instead of --data.", metavar="DIR"),
    ] = None,
    labels: options.ModelLabels = None,
    max_drop: Annotated[float, typer.Option(help="Maximum drop of accuracy, in percentage points.")] = 0.5,
    calibration: Annotated[
        int, typer.Option(min=10, help="Number of calibration images of post-training quantization.")
    ] = 500,
    c_array: Annotated[
        bool, typer.Option("--c-array", help="Write a C header and source, for TensorFlow Lite for Microcontrollers.")
    ] = False,
    arena: Annotated[
        bool, typer.Option("--arena", help="Estimate the tensor arena that a microcontroller needs.")
    ] = False,
    web: Annotated[
        Path | None, typer.Option(help="Write a static web page that runs the model in a browser.", metavar="DIR")
    ] = None,
    json: options.Json = False,
) -> None:
    """Convert a trained run, or a Keras classifier of your own, to checked TensorFlow Lite files.

    Each file is checked and evaluated before it is moved into place. Without RUN, the shipped edge checkpoint is
    exported, offline and without training. If a file fails a check, it is not written and the exit code is 1.

    A Keras classifier takes 28x28 grey images from 0 to 1, or from 0 to 255 if it begins with a Rescaling layer, or if
    the test images tell so. Its int8 file is quantized after training, with calibration on training images from --data
    or on pictures from --images.

    With --c-array, --arena or --web, a .tflite file or a shipped model is used as it is, unless a format is given.
    """
    run = options.one_model(run, same, DEFAULT_RUN)
    if io not in IO_TYPES:
        raise typer.BadParameter(f"expected one of {', '.join(IO_TYPES)}, got {io!r}", param_hint="--io")
    chosen = {
        "float32": float32,
        "float16": float16,
        "dynamic": dynamic,
        "int8": int8 and not ptq,
        "int8-ptq": ptq,
        "int4": int4,
    }
    formats = [name for name, wanted in chosen.items() if wanted or (every and name != "int4")]
    outputs = ModelOutputs(c_array, arena, web)
    converting = bool(formats or io != IO_TYPES[0] or data or labels)
    if images is not None and not _is_keras_file(run):
        raise UsageError(f"{run}: --images is for a Keras classifier; a run is calibrated on its training images")
    if is_model(run) and (Path(run).suffix.lower() == ".tflite" or (outputs and not converting)):
        _use_model(run, outputs, output, converting, json)
        return
    keras_file = _is_keras_file(run)
    _check_output(output, formats)
    if web is not None and io == "int8":
        raise UsageError("--web: LiteRT for the web takes no int8 input or output; expected --io uint8 or float32")
    # Conversion needs TensorFlow, even if another back end trained the run.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not keras_file:
        # Before the extra: a typing mistake needs none.
        find_run(run)
    extras.require("export", "exporting")
    if keras_file:
        # It has no quantization-aware weights.
        formats = _with_integer(formats or ["int8"], "int8-ptq")
        if images is not None and not {"int8-ptq", "int4"} & {*formats}:
            raise UsageError("--images: only int8 and int4 files are calibrated; expected one of these formats")
    else:
        if every:
            # A run has one of the integer formats.
            formats = _with_integer(formats, _integer_format(run))
        formats = formats or [_integer_format(run).removesuffix("-ptq")]
    names, count = options.given_labels(labels), calibration if {"int8-ptq", "int4"} & {*formats} else None
    if keras_file:
        exporter = _keras_exporter(Path(run), io, data, images, names, count)
    else:
        exporter = _run_exporter(run, io, data, names, count)
    if _is_file(output):
        check_outputs(files=[output])
    else:
        check_outputs(folders=[output])
    results, failures = _export_all(exporter, formats, output, max_drop)
    if not json:
        _show(results)
    documents = []
    for result in results:
        made = outputs.make(str(result.path), result.path.with_suffix(""), quiet=json, several=len(results) > 1)
        documents.append(result.as_dict() | made)
        # There is one page, of the first file.
        outputs = replace(outputs, web=None)
    if json:
        console.emit_json(documents)
    if failures:
        raise typer.Exit(1)


def _use_model(name: str, outputs: ModelOutputs, output: Path, converting: bool, json: bool) -> None:
    """Make the outputs of a model file, which is not converted."""
    if not outputs or converting:
        problem = "a format, --io, --data and --labels are for runs" if outputs else "give --c-array, --arena or --web"
        raise UsageError(f"{name}: already a model file, so there is nothing to convert; {problem}")
    made = outputs.make(name, target_of(name, output), quiet=json)
    if json:
        console.emit_json([{"path": name, **made}])


def _is_keras_file(name: str) -> bool:
    return Path(name).suffix.lower() in KERAS_SUFFIXES or (Path(name) / "saved_model.pb").is_file()


def _integer_format(run: str) -> str:
    return open_run(run).integer_format


def _with_integer(formats: list[str], kind: str) -> list[str]:
    """Return formats with another integer format in the place of int8, each once."""
    return list(dict.fromkeys(kind if name == "int8" else name for name in formats))


def _is_file(output: Path) -> bool:
    """Return whether ``--output`` is one file, and not a folder."""
    return output.suffix.lower() == ".tflite"


def _check_output(output: Path, formats: list[str]) -> None:
    if _is_file(output) and len(formats) > 1:
        raise UsageError(f"{output}: one file for {len(formats)} formats; give a folder with --output")
    if output.suffix.lower() in C_SUFFIXES:
        raise UsageError(
            f"{output}: C files are written next to the .tflite file; name that, or a folder, with --output"
        )


def _run_exporter(
    name: str, io: str, data: Path | None, labels: tuple[str, ...] | None, calibration: int | None
) -> Exporter:
    """Return the exporter of a run; ``calibration`` is the number of images for post-training quantization."""
    from edge_fmnist_export.training.training_data import recorded_data

    run = open_run(name)
    # Before TensorFlow is imported.
    run.require("float")
    if run.recipe.photos.classes and (data is not None or calibration):
        raise UsageError(
            f"{name}: was trained on photographs alone, so --data, --ptq and --all do not fit it; expected --int8 (the "
            "default), --float32, --float16 or --dynamic"
        )
    test = None if run.recipe.photos.classes else _test_split(data)
    if test is not None:
        options.warn_of_other_data(name, recorded_data(run), "test", test)
    with console.quiet_native_log():
        backend.warm_up()
        from edge_fmnist_export.quantize.exporting import Exporter, run_representative

        representative = run_representative(run, dataset.load("train", data), calibration) if calibration else None
        return Exporter(run, io=io, test=test, representative=representative, labels=labels)  # type: ignore[arg-type]


def _keras_exporter(
    path: Path, io: str, data: Path | None, images: Path | None, labels: tuple[str, ...] | None, calibration: int | None
) -> Exporter:
    """Return the exporter of a Keras file, calibrated on the pictures in ``images`` or on training images."""
    from edge_fmnist_export.quantize.keras_file import KerasFileExporter, images_of

    others = labels is not None and labels != LABELS
    if data is None and others:
        console.warn(
            f"{path}: accuracy is not measured, since these are not Fashion-MNIST's classes"
            + ("; it is calibrated on Fashion-MNIST, give its own --data or --images" if images is None else "")
        )
    if labels is None and (data is not None or images is not None):
        console.warn(f"{path}: its classes get the names of Fashion-MNIST's; give others with --labels")
    # Without --data, the pictures of --images are all that is known.
    test = None if data is None and (images is not None or others) else _test_split(data)
    pixels = None
    if calibration is not None:
        pixels = dataset.load("train", data).images if images is None else images_of(images)
    with console.quiet_native_log():
        backend.warm_up()
        exporter = KerasFileExporter(path, io=io, test=test, labels=labels)  # type: ignore[arg-type]
    if pixels is not None and calibration is not None:
        exporter.calibrate_on(pixels, calibration)
    return exporter


def _test_split(data: Path | None) -> Split | None:
    try:
        return dataset.load("test", data)
    except DataNotFoundError as error:
        if data is not None:
            raise
        console.warn(f"accuracy is not measured: {error}")
        return None


def _export_all(
    exporter: Exporter, kinds: list[str], output: Path, max_drop: float
) -> tuple[list[Exported], list[CheckError]]:
    results, failures = [], []
    for kind in kinds:
        name = f"{exporter.name}-{kind}.tflite"
        path = output if _is_file(output) else output / name
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
        "Exported and checked" + ("" if results[0].parity else "; accuracy not measured"),
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
