"""``edge-fmnist models``: list, describe and verify the shipped models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model, shipped_models

models = typer.Typer(
    help="List, describe and verify the shipped models.", invoke_without_command=True, rich_markup_mode=None
)


@models.callback()
def _default(ctx: typer.Context, json: options.Json = False) -> None:
    if ctx.invoked_subcommand is None:
        list_models(json)


@models.command("list")
def list_models(json: options.Json = False) -> None:
    """List the shipped models."""
    entries = list(shipped_models().values())
    if json:
        console.emit_json([asdict(entry) for entry in entries])
        return
    console.show_table(
        "Shipped models (top-1 on Fashion-MNIST's 10,000 test images)",
        ["name", "description", "int8", "float", "bytes"],
        [(m.name, m.description, f"{m.top1:.2%}", f"{m.float_top1:.2%}", f"{m.bytes:,}") for m in entries],
        numbers_from=2,
    )


@models.command()
def info(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a .tflite file.")] = DEFAULT_MODEL,
    json: options.Json = False,
) -> None:
    """Show what a model file says of itself, and what runs it here."""
    with console.quiet_native_log():
        classifier = Classifier.load(model)
    facts = _facts(model, classifier)
    if json:
        console.emit_json(facts)
        return
    console.show_table(
        model, ["", ""], [(key, value) for key, value in _flat(facts) if value not in (None, "")], numbers_from=2
    )


def _facts(model: str, classifier: Classifier) -> dict[str, Any]:
    def tensor(info: Any) -> dict[str, Any]:
        return {
            "dtype": str(info.dtype),
            "shape": list(info.shape),
            "scale": info.scale,
            "zero_point": info.zero_point,
        }

    return {
        "model": model,
        "bytes": len(read_model(model).content),
        "labels": list(classifier.labels),
        "input": tensor(classifier.input),
        "output": tensor(classifier.output),
        "interpreter": asdict(classifier.info),
        "metadata": classifier.metadata.settings if classifier.metadata else None,
    }


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested values as dotted keys in order, lists joined by commas."""
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return rows


@models.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Shipped models' names. Default: all.")] = None,
    json: options.Json = False,
) -> None:
    """Check the files of shipped models against the registry's hashes; exit code 1 when one differs."""
    known = shipped_models()
    for name in names or []:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is no shipped model ({', '.join(known)})")
    results: dict[str, str | None] = {}
    for name in names or known:
        try:
            read_model(name)
            results[name] = None
        except EdgeFmnistError as error:
            results[name] = str(error)
    if json:
        console.emit_json(
            [{"name": name, "ok": problem is None, "problem": problem} for name, problem in results.items()]
        )
    else:
        for name, problem in results.items():
            console.say(f"{name}: {problem or 'hash matches'}")
    if any(results.values()):
        raise typer.Exit(1)
