"""Settings in a file: TOML, one ``key = value`` a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edge_fmnist.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# More than any such file needs; what is larger is another file, or a device without an end.
MAX_BYTES = 1 << 20


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a settings file says, as TOML's types.

    Raises:
        UsageError: it is not there, cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: the settings cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path}: expected settings in TOML, got a file of more than {MAX_BYTES >> 20} MiB")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected text in UTF-8, got the byte {content[error.start]:#04x}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
