"""``edge-fmnist data``: find or download the data set, and describe it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.data.dataset import IMAGES, Split, find_data, is_fashion_mnist, load, named_folder, user_cache
from edge_fmnist.errors import DataNotFoundError


def data(
    data: options.Data = None,
    labels: options.Labels = None,
    download: Annotated[
        bool, typer.Option("--download/--no-download", help="Download Fashion-MNIST if it is not found.")
    ] = True,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror", help="Base URL to download from, instead of the built-in mirrors and Debian's package."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Find the data set, or download it, and describe it.

    Searches --data, $EDGE_FMNIST_DATA, the user cache and the folder of Debian's package dataset-fashion-mnist.
    Otherwise downloads Fashion-MNIST into the user cache: from two mirrors, or with apt-get (no root needed).
    """
    names = options.labels_of(labels)
    try:
        folder = find_data(data)
    except DataNotFoundError:
        # The cache would not be used in place of a named folder.
        if named_folder(data) is not None or not download:
            raise
        folder = _download(mirror)
        console.say(f"Downloaded Fashion-MNIST to {folder}")
    splits = {name: load(name, data, names) for name in IMAGES}
    facts = {"folder": str(folder), **describe(splits)}
    if json:
        console.emit_json(facts)
    else:
        _show(facts)


def describe(splits: dict[Any, Split]) -> dict[str, Any]:
    """Return counts per class and split, shapes, pixel statistics and hashes, as plain values."""
    return {
        "fashion_mnist": all(is_fashion_mnist(split) for split in splits.values()),
        "labels": list(next(iter(splits.values())).labels),
        "splits": {name: _describe_split(split) for name, split in splits.items()},
    }


def _describe_split(split: Split) -> dict[str, Any]:
    import numpy as np

    return {
        "images": len(split),
        "shape": list(split.images.shape[1:]),
        "dtype": str(split.images.dtype),
        "counts": np.bincount(split.targets, minlength=len(split.labels)).tolist(),
        "pixels": {
            "min": int(split.images.min()),
            "max": int(split.images.max()),
            "mean": round(float(split.images.mean()), 4),
            "std": round(float(split.images.std()), 4),
            "zero_share": round(float((split.images == 0).mean()), 4),
        },
        "sha256": list(split.sha256),
    }


def _download(mirrors: list[str] | None) -> Path:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from edge_fmnist.data.download import download

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.stderr_console()) as bars:
        tasks: dict[str, Any] = {}

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        return download(user_cache(), report, mirrors or None)


def _show(facts: dict[str, Any]) -> None:
    kind = "Fashion-MNIST, hashes match" if facts["fashion_mnist"] else "an IDX data set other than Fashion-MNIST"
    splits = facts["splits"]
    console.show_table(
        f"{facts['folder']}: {kind}",
        ["class", *splits],
        [
            *((label, *(split["counts"][i] for split in splits.values())) for i, label in enumerate(facts["labels"])),
            ("all images", *(f"{split['images']:,}" for split in splits.values())),
            ("shape", *(" x ".join(map(str, split["shape"])) for split in splits.values())),
            ("dtype", *(split["dtype"] for split in splits.values())),
            *(
                (f"pixel {name}", *(split["pixels"][key] for split in splits.values()))
                for name, key in (
                    ("minimum", "min"),
                    ("maximum", "max"),
                    ("mean", "mean"),
                    ("standard deviation", "std"),
                    ("share of zeros", "zero_share"),
                )
            ),
        ],
    )
