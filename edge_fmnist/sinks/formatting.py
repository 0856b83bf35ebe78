"""Text that is safe on a terminal, on a web page and in MQTT; timestamps."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from edge_fmnist.errors import printable as printable


def printable_values(value: Any) -> Any:
    """Return plain values (as for JSON) with every string, keys included, made :func:`printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_values(key): printable_values(each) for key, each in value.items()}
    return value


def rfc3339(unix_time: float) -> str:
    """Return a Unix time in seconds as an RFC 3339 timestamp, in UTC with milliseconds."""
    return datetime.fromtimestamp(unix_time, timezone.utc).isoformat(timespec="milliseconds")
