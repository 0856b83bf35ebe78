"""``--config FILE``: options of a command from a TOML file; those on the command line take precedence."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from edge_fmnist.data.files import read_toml
from edge_fmnist.errors import EdgeFmnistError, SinkError, UsageError
from edge_fmnist.pipeline.settings import options

KEY = "edge_fmnist.config"
NOT_SETTINGS = ("config", "help")


def use(ctx: Any, path: Path | None) -> Path | None:
    """Make the settings of a file the defaults of the command's options: callback of an eager ``--config``.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or an invalid value; names file and key.
    """
    if path is None or ctx.resilient_parsing:
        return path
    parameters = {parameter.name: parameter for parameter in ctx.command.params if parameter.name not in NOT_SETTINGS}
    values = {}
    for key, value in read_toml(path).items():
        if key not in parameters:
            raise UsageError(f"{path}: {key}: {_unknown(key, list(parameters))}")
        if key in ctx.command.bare and isinstance(value, bool):
            # Like the option without its value, or no option.
            value = "" if value else None
        if value is not None:
            values[key] = _checked(path, key, value, parameters[key], ctx)
    ctx.default_map = {**(ctx.default_map or {}), **values}
    ctx.meta[KEY] = (path, values)
    return path


def value_of(ctx: Any, key: str) -> Any:
    """Return the value of a key in the file; None if there is no file or no such key."""
    return ctx.meta.get(KEY, (None, {}))[1].get(key)


def located(ctx: Any, error: EdgeFmnistError) -> str:
    """Return the message of an error with the file and key, or the option, that caused it, if known."""
    path, _ = ctx.meta.get(KEY, (None, {}))
    setting = error.setting
    message = error.message if isinstance(error, UsageError) else str(error)
    source = None if setting is None else ctx.get_parameter_source(setting)
    if source is not None and source.name == "DEFAULT_MAP":
        return f"{path}: {setting}: {message}"
    if isinstance(error, (UsageError, SinkError)) and setting is not None and not message.startswith("--"):
        return f"--{setting.replace('_', '-')}: {message}"
    return str(error)


def _unknown(key: str, known: list[str]) -> str:
    near = get_close_matches(key.replace("-", "_"), known, 1)
    hint = f"did you mean {near[0]}?" if near else "expected a long option of the command, with _ for -"
    return f"no such setting; {hint}"


def _checked(path: Path, key: str, value: Any, parameter: Any, ctx: Any) -> Any:
    option = options().get(key)
    try:
        if getattr(parameter, "is_flag", False) and not isinstance(value, bool):
            raise UsageError(f"expected true or false, got {value!r}")
        if option is not None and option.type in (str, Path) and not isinstance(value, str):
            raise UsageError(f'expected text in quotes, such as "0", got {value}')
        if option is not None:
            option.check(value, key)
        if isinstance(value, str) and value.startswith("~"):
            # As the shell does on a command line.
            value = os.path.expanduser(value)  # noqa: PTH111 - also texts that are no paths
        return parameter.type_cast_value(ctx, value)
    except (UsageError, typer.BadParameter) as error:
        raise UsageError(f"{path}: {key}: {error.message}") from error
