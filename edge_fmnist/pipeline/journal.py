"""Lines for the journal of systemd: a priority, then key=value pairs.

``<6>event=label label=Coat previous="no garment" score=0.93``: the journal
takes the prefix as the priority of the line, see sd-daemon(3); the rest is
logfmt, which is readable and easy to parse.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping

# Of syslog(3).
ERROR, WARNING, INFO = 3, 4, 6

BARE = re.compile(r"[\w.,:;/+@%()-]+")


def is_stderr() -> bool:
    """Return whether standard error is connected to the journal, see JOURNAL_STREAM in systemd.exec(5)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def line(event: str, fields: Mapping[str, object], priority: int = INFO) -> str:
    """Return one line, escaping line breaks; fields that are None are left out. ``priority`` is that of syslog(3)."""
    pairs = [f"{key}={_value(value)}" for key, value in {"event": event, **fields}.items() if value is not None]
    return f"<{priority}>{' '.join(pairs)}"


def _value(value: object) -> str:
    if isinstance(value, float):
        # No exponent: a service runs for weeks.
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
    text = str(value)
    # JSON's escapes keep a line break in a file name from starting a new line.
    return text if BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
