"""The command ``edge-fmnist``.

Exit codes: 0 success; 1 a check failed or an input is damaged; 2 wrong usage; 3 a source (data, model, picture,
camera, run) does not exist; 4 a gate failed; 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge_fmnist.cli import console
from edge_fmnist.cli.classify import classify
from edge_fmnist.cli.data import data
from edge_fmnist.cli.doctor import doctor
from edge_fmnist.cli.evaluate import evaluate
from edge_fmnist.cli.live import LiveCommand, live
from edge_fmnist.cli.models import models
from edge_fmnist.cli.mqtt import mqtt
from edge_fmnist.cli.samples import samples
from edge_fmnist.cli.teach import teach

COMMAND_GROUP = "edge_fmnist.commands"
HELP = "Classify clothing on edge devices with int8 Fashion-MNIST models."


def plug_ins() -> dict[str, EntryPoint]:
    """Return the commands that other packages add, by name, not yet imported."""
    return {entry.name: entry for entry in entry_points(group=COMMAND_GROUP)}


class CommandGroup(TyperGroup):
    """Imports plugged-in commands when they are called or listed, and turns errors into messages and exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *plug_ins()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        entry = plug_ins().get(cmd_name)
        if entry is None:
            return None
        holder = typer.Typer(add_completion=False, rich_markup_mode=None)
        holder.command(name=cmd_name)(entry.load())
        return typer.main.get_command(holder)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error becomes one message and its exit code."""
        with console.exit_codes([*ctx.args]):
            result = super().invoke(ctx)
            # A full disk or a closed pipe shows when the last results are written.
            sys.stdout.flush()
            return result


app = typer.Typer(
    cls=CommandGroup,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=HELP,
    epilog="Exit codes: 0 success; 1 a check failed or an input is damaged; 2 wrong usage; "
    "3 a source does not exist; 4 a gate failed; 130 interrupted.",
)
for command in (classify, data, doctor, evaluate, samples, teach):
    app.command()(command)
app.command(cls=LiveCommand)(live)
app.add_typer(models, name="models")
app.add_typer(mqtt, name="mqtt")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version("edge-fmnist"))
        raise typer.Exit


@app.callback(help=HELP)
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Classify clothing on edge devices."""


def main() -> None:
    """Run the command line."""
    console.prepare_streams()
    app(prog_name="edge-fmnist")
