"""What Linux says of the processor."""

from __future__ import annotations

import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def entry(key: str) -> str | None:
    """Return what stands behind a key, of the first core that has it; None where there is none, or no Linux."""
    try:
        text = CPUINFO.read_text("utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else None


def flags() -> set[str]:
    """Return the names of the instructions it has; empty where they are not told."""
    return set((entry("flags") or entry("Features") or "").split())
