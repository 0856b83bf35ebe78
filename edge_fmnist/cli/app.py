"""The command ``edge-fmnist``.

Exit codes: 0 success; 1 a check failed or an input is damaged; 2 wrong usage; 3 a source (data, model, picture,
camera, run) does not exist; 4 a gate failed; 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from edge_fmnist.cli import console

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# Each is an attribute of the module of the same name, imported when it is called or listed.
COMMANDS = ("classify", "data", "doctor", "evaluate", "live", "models", "mqtt", "samples", "teach")
COMMAND_GROUP = "edge_fmnist.commands"
HOME = re.compile(r"(--[\w-]+=)(~(?:/.*)?)", re.DOTALL)


def plug_ins() -> dict[str, EntryPoint]:
    """Return the commands that other packages add, by name, not yet imported."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=COMMAND_GROUP)}


class CommandGroup(TyperGroup):
    """Imports commands when they are called or listed, and turns errors into messages and exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *COMMANDS, *plug_ins()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name, or None."""
        if cmd_name not in self.commands:
            self._load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def _load(self, name: str) -> None:
        """Import a command and add it; an unknown name adds all of this package's, which are then suggested."""
        holder = typer.Typer(add_completion=False, rich_markup_mode=None)
        if name in COMMANDS:
            module = import_module(f"edge_fmnist.cli.{name}")
            command = getattr(module, name)
            if isinstance(command, typer.Typer):
                holder.add_typer(command, name=name)
            else:
                holder.command(name=name, cls=getattr(module, "COMMAND_CLASS", TyperCommand))(command)
        elif entry := plug_ins().get(name):
            holder.command(name=name)(entry.load())
        else:
            for each in set(COMMANDS) - set(self.commands):
                self._load(each)
        self.commands.update(typer.main.get_group(holder).commands)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace ~ in words such as ``--output=~/x``, where shells leave it, and parse them."""
        found = ((word, HOME.fullmatch(word)) for word in args)
        words = [match[1] + os.path.expanduser(match[2]) if match else word for word, match in found]  # noqa: PTH111
        # Help and version are printed here.
        with console.exit_codes(args):
            return list(super().parse_args(ctx, words))

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
    help="Classify clothing on edge devices with int8 Fashion-MNIST models.",
    epilog="Exit codes: 0 success; 1 a check failed or an input is damaged; 2 wrong usage; "
    "3 data, model, source or run not found; 4 a gate failed; 130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from edge_fmnist import __version__

        print(__version__, flush=True)
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Classify clothing on edge devices."""


def main() -> None:
    """Run the command line."""
    console.prepare_streams()
    try:
        app(prog_name="edge-fmnist")
    except SystemExit as end:
        console.discard_unwritten()
        if console.end_at_once and isinstance(end.code, int):
            os._exit(end.code)
        raise
