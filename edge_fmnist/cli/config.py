"""``--config FILE``: the options of a command from a file; those on the command line come first."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from edge_fmnist.cli.settings import read_settings
from edge_fmnist.errors import SourceError, UsageError

KEY = "edge_fmnist.config"
NOT_SETTINGS = ("config", "help")
# An option, or the name of an argument of Python, at the start of a message.
NAMED = re.compile(r"(?:--)?([a-z][a-z_-]*)(: )?")


def use(ctx: Any, path: Path | None) -> Path | None:
    """Make what the file says the defaults of the command's options: the callback of an eager ``--config``.

    Args:
        ctx: the context of the command.
        path: the file; None changes nothing.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or a value that cannot be; names file and key.
    """
    if path is None or ctx.resilient_parsing:
        return path
    options = {name_of(parameter): parameter for parameter in ctx.command.params}
    values = {}
    for key, value in read_settings(path).items():
        if key not in options or key in NOT_SETTINGS:
            raise UsageError(f"{path}: {key}: {_unknown(key, [name for name in options if name not in NOT_SETTINGS])}")
        may_be_bare = key in getattr(ctx.command, "bare", ())
        if may_be_bare and isinstance(value, bool):
            # As the option without its value, and as no option.
            value = "" if value else None
        if value is not None:
            values[options[key].name] = _checked(path, key, value, options[key], ctx)
    ctx.default_map = {**(ctx.default_map or {}), **values}
    ctx.meta[KEY] = (path, values)
    return path


def name_of(parameter: Any) -> str:
    """Return the key of an option in a file: its long name, with ``_`` for ``-``."""
    longest = max(parameter.opts, key=len)
    return str(longest.lstrip("-").replace("-", "_"))


def value_of(ctx: Any, key: str) -> Any:
    """Return what the file says for a key; None where there is no file or it says nothing."""
    return ctx.meta.get(KEY, (None, {}))[1].get(key)


@contextlib.contextmanager
def errors_name_the_file(ctx: Any) -> Iterator[None]:
    """Let an error in the block name the file and the key, where its cause is a value from the file.

    Raises:
        UsageError: one from the block, with the name of the file in front where the file is to blame.
        SourceError: the same, of a source or a model that is not there.
    """
    try:
        yield
    except (SourceError, UsageError) as error:
        path, values = ctx.meta.get(KEY, (None, {}))
        given = {key: value for key, value in values.items() if _is_from_file(ctx, key)}
        raise type(error)(_naming(path, given, str(error))) from error


def _is_from_file(ctx: Any, key: str) -> bool:
    source = ctx.get_parameter_source(key)
    return source is not None and source.name == "DEFAULT_MAP"


def _naming(path: Path, values: Mapping[str, Any], message: str) -> str:
    match = NAMED.match(message)
    key = match[1].replace("-", "_") if match else ""
    if match and key in values:
        return f"{path}: {key}: {message.removeprefix(match[0]) if match[2] else message}"
    # Others name the value: a file that cannot be written, an interpreter that is none.
    held = [
        key for key, value in values.items() if str(value) and isinstance(value, (str, Path)) and str(value) in message
    ]
    return f"{path}: {held[0]}: {message}" if held else message


def _unknown(key: str, known: list[str]) -> str:
    near = get_close_matches(key.replace("-", "_"), known, 1)
    hint = f"did you mean {near[0]}?" if near else "expected a long option of the command, with _ for -"
    return f"no such setting; {hint}"


def _checked(path: Path, key: str, value: Any, option: Any, ctx: Any) -> Any:
    kinds, expected = _kinds(option)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UsageError(f"{path}: {key}: expected {expected}, got {_described(value)}")
    try:
        return option.type_cast_value(ctx, value)
    except typer.BadParameter as error:
        raise UsageError(f"{path}: {key}: {error.message}") from error


def _kinds(option: Any) -> tuple[tuple[type, ...], str]:
    """Return TOML's types for an option, and how they are called."""
    kind = str(option.type.name)
    if getattr(option, "is_flag", False):
        return (bool,), "true or false"
    if kind.startswith("int"):
        return (int,), "a whole number"
    if kind.startswith("float"):
        return (int, float), "a number"
    return (str,), 'text in quotes, such as "0"'


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, (date, time)):
        return "a date or time"
    return ("true" if value else "false") if isinstance(value, bool) else repr(value)
