"""What the search, the zoo and ablation studies share: train a recipe, export it, write a page with the results."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge_fmnist.cli import console
from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import has_key
from edge_fmnist.errors import RunError, UsageError
from edge_fmnist_export.report import markdown
from edge_fmnist_export.training import backend, train_recipe
from edge_fmnist_export.training.progress import ProgressListener
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run_folder import Run, create_run, resume_run

if TYPE_CHECKING:
    from edge_fmnist_export.quantize.exporting import Exported


def train_or_resume(folder: Path, recipe: Recipe, data: Split, title: str) -> tuple[Run, dict[str, Any]]:
    """Train a recipe, resuming from its checkpoint, and return the run and its metrics by phase.

    A finished run is not trained again.

    Raises:
        RunError: The folder is damaged or holds a run of another recipe or data set, or training diverged.
    """
    console.say(f"{title}: training, unless finished")
    if (folder / "recipe.toml").is_file():
        try:
            run = resume_run(folder, recipe)
        except RunError as error:
            raise RunError(f"{error}, or delete {folder} to train it again") from error
    else:
        run = create_run(folder, recipe)
    # Keras keeps every graph, and torch every compilation, until the session is cleared.
    keras = backend.keras_module()
    with interrupted_later():
        keras.utils.clear_session()
        gc.collect()
    with ProgressListener(console.stderr_console()) as listener:
        return run, train_recipe.train(run, data, listener)


def export_run(run: Run, kind: str, path: Path, **inputs: Any) -> Exported:
    """Export a trained run to a checked model file, whatever the drop in accuracy.

    Raises:
        CheckError: The written file failed a check.
    """
    from edge_fmnist_export.quantize.exporting import Exporter

    with console.quiet_native_log():
        return Exporter(run, **inputs).export(kind, path, max_drop=100.0)


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Turn Ctrl-C into a message on how to resume, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        console.say(f"Interrupted. Progress is saved in {folder}; run the same command to resume.")
        raise typer.Exit(130) from None


def page_with(path: Path, name: str, command: str, content: str, new_page: str, key: str) -> str:
    """Return a Markdown page with new content between its two markers.

    ``key`` is in the JSON file beside the page, which is written with it.

    Raises:
        UsageError: Not the name of a Markdown file, not readable, or a page without the markers; or another JSON file
            of the same name, which would be replaced.
    """
    begin, end = f"<!-- {name}: made by {command}, do not edit below -->", f"<!-- {name}: do not edit above -->"
    if path.suffix != ".md":
        raise UsageError(f"{path}: expected the name of a Markdown file (ending in .md)")
    plain = path.with_suffix(".json")
    if plain.exists() and not (path.exists() and has_key(plain, key)):
        raise UsageError(f"{plain}: exists, and is not of an earlier table; name another page with --table")
    try:
        page = path.read_text("utf-8") if path.exists() else f"{new_page}\n\n{begin}\n{end}\n"
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from error
    return markdown.with_part(page, begin, end, content, str(path))
