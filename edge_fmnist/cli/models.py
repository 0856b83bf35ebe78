"""``edge-fmnist models``: list, describe and verify models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.errors import EdgeFmnistError, ModelError, printable_lines
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model, shipped_models

models = typer.Typer(help="List, describe and verify models.", invoke_without_command=True, rich_markup_mode=None)


@models.callback()
def _default(ctx: typer.Context, json: options.Json = False) -> None:
    if ctx.invoked_subcommand is None:
        list_models(json)
    elif json:
        raise typer.BadParameter(f"give it after {ctx.invoked_subcommand}", param_hint="--json")


@models.command("list")
def list_models(json: options.Json = False) -> None:
    """List the shipped models."""
    entries = list(shipped_models().values())
    if json:
        console.emit_json([asdict(entry) for entry in entries])
        return
    console.show_table(
        "Shipped models (top-1 on Fashion-MNIST's 10,000 test images)",
        ["name", "description", "top-1", "float", "bytes"],
        [(m.name, m.description, f"{m.top1:.2%}", f"{m.float_top1:.2%}", f"{m.bytes:,}") for m in entries],
        numbers_from=2,
    )


@models.command()
def info(
    model: Annotated[
        str | None,
        typer.Argument(help=f"A shipped model's name or a .tflite file. Default: {DEFAULT_MODEL}.", show_default=False),
    ] = None,
    same: options.SameModel = None,
    labels: options.ModelLabels = None,
    json: options.Json = False,
) -> None:
    """Show a model's tensors, labels and metadata, and the interpreter that runs it."""
    name = options.one_model(model, same, DEFAULT_MODEL)
    facts = _facts(name, options.given_labels(labels))
    if json:
        console.emit_json(facts)
        return
    for title, rows in _groups(facts).items():
        console.show_table(title or name, ["", ""], rows, numbers_from=2)


def _facts(model: str, labels: tuple[str, ...] | None) -> dict[str, Any]:
    def tensor(info: Any) -> dict[str, Any]:
        return {
            "dtype": str(info.dtype),
            "shape": list(info.shape),
            "scale": info.scale,
            "zero_point": info.zero_point,
        }

    classifier = options.load_classifier(model, labels=labels)
    return {
        "model": model,
        "bytes": len(read_model(model).content),
        "labels": list(classifier.labels),
        "input": tensor(classifier.input),
        "output": tensor(classifier.output),
        "interpreter": {**asdict(classifier.info), "version": classifier.info.version},
        "metadata": classifier.metadata.settings if classifier.metadata else None,
    }


def _groups(values: dict[str, Any], title: str = "") -> dict[str, list[tuple[str, Any]]]:
    """Return the plain values by the dotted name of the dictionary that holds them."""
    plain = [
        (key, value) for key, value in values.items() if not isinstance(value, dict) and value not in (None, "", [])
    ]
    groups = {title: [(key, ", ".join(map(str, v)) if isinstance(v, list) else v) for key, v in plain]} if plain else {}
    for key, value in values.items():
        if isinstance(value, dict):
            groups |= _groups(value, f"{title}.{key}".lstrip("."))
    return groups


@models.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Shipped models' names or .tflite files. Default: all shipped models.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Check models for damage; exit code 1 if one is damaged, 3 if one does not exist.

    A shipped model is compared with the registry's SHA-256, an exported file with the one in its own metadata.
    """
    results: dict[str, str | None] = {}
    codes = set()
    for name in names or shipped_models():
        try:
            _verify(name)
            results[name] = None
        except EdgeFmnistError as error:
            results[name] = str(error)
            codes.add(error.exit_code)
    with console.reader_may_leave():
        if json:
            console.emit_json(
                [{"name": name, "ok": problem is None, "problem": problem} for name, problem in results.items()]
            )
        else:
            for name, problem in results.items():
                print(printable_lines(problem or f"{name}: hash matches"), flush=True)
    if codes:
        raise typer.Exit(min(codes))


def _verify(name: str) -> None:
    from edge_fmnist.model.metadata import HASH_KEY, extract
    from edge_fmnist.model.tflite_graph import check_model

    model = read_model(name)
    metadata = extract(model.content, model.source)
    if name not in shipped_models() and (metadata is None or metadata.settings.get(HASH_KEY) is None):
        check_model(model.content, model.source, allow_custom=True)
        raise ModelError(f"{name}: has no hash to compare with; files exported by this version have one")
