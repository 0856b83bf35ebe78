"""The processor, as Linux describes it."""

from __future__ import annotations

import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def entry(key: str) -> str | None:
    """Return the value of a key of ``/proc/cpuinfo``, of the first core that has it; None if there is none."""
    try:
        text = CPUINFO.read_text("utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else None


def flags() -> set[str]:
    """Return the names of its instruction set extensions; empty if they are not listed."""
    return set((entry("flags") or entry("Features") or "").split())
