"""The machine that runs the benchmark: hardware, state, library versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from edge_fmnist import extras
from edge_fmnist.model import processor

STAT = Path("/proc/stat")
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
BOARD = Path("/proc/device-tree/model")

LIBRARIES = (
    *("edge-fmnist", "numpy", "opencv-python", "opencv-python-headless", "ai-edge-litert", "tflite-runtime"),
    *("tensorflow", "keras", "torch", "onnxruntime"),
)

# Instruction set extensions for int8 or vectors, best first: they decide the speed-up of int8 over float32.
FEATURES = (*("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "avx"), *("i8mm", "asimddp", "asimd", "neon"))

# Bits of `vcgencmd get_throttled`: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED = {
    0: "under-voltage now",
    1: "the clock is capped now",
    2: "throttled now",
    3: "at the soft temperature limit now",
    16: "under-voltage since boot",
    17: "the clock was capped since boot",
    18: "throttled since boot",
    19: "at the soft temperature limit since boot",
}


def describe() -> dict[str, Any]:
    """Return the machine as plain values; None for what is unknown."""
    return {
        "cpu": _cpu(),
        "board": _text(BOARD),
        "architecture": platform.machine(),
        "feature": feature(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "virtual": "hypervisor" in processor.flags() or None,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "governor": _text(FREQUENCY / "scaling_governor"),
        "state": {"before": state(), "after": None},
    }


def state() -> dict[str, Any]:
    """Return what changes during a run: load, clock, temperature, throttling, steal time."""
    return {
        "load": _load(),
        "megahertz": _megahertz(),
        "celsius": _celsius(),
        "throttled": throttled(),
        "ticks": _ticks(),
    }


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def feature() -> str | None:
    """Return the best instruction set extension of the processor; None when unknown."""
    flags = processor.flags()
    return next((name for name in FEATURES if name in flags), None)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the relevant installed libraries."""
    installed = {name: found for name, found in extras.versions(LIBRARIES).items() if found is not None}
    return {"python": platform.python_version(), **installed}


def commit() -> str | None:
    """Return the git commit of this package's checkout, with ``-dirty`` when tracked files differ."""
    folder = Path(__file__).parent
    if (revision := _output("git", "-C", str(folder), "rev-parse", "HEAD")) is None:
        return None
    # An installed package may be inside another project's checkout.
    if _output("git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    changed = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return revision + ("-dirty" if changed else "")


def throttled() -> list[str] | None:
    """Return the voltage and throttling flags of a Raspberry Pi; None on other machines."""
    answer = _output("vcgencmd", "get_throttled")
    match = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", answer or "")
    if match is None:
        return None
    bits = int(match[1], 16)
    return [meaning for bit, meaning in THROTTLED.items() if bits >> bit & 1]


def _output(*command: str) -> str | None:
    """Return the output of a command; None if it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        # Only commands of this module, never user input.
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip("\x00\n ") or None
    except OSError:
        return None


def _cpu() -> str:
    return processor.entry("model name") or processor.entry("Model") or platform.processor() or platform.machine()


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _megahertz() -> float | None:
    if (kilohertz := _text(FREQUENCY / "scaling_cur_freq")) is not None:
        return round(int(kilohertz) / 1000, 1)
    if (megahertz := processor.entry("cpu MHz")) is not None:
        return round(float(megahertz), 1)
    return None


def _celsius() -> float | None:
    millidegrees = _text(THERMAL)
    return round(int(millidegrees) / 1000, 1) if millidegrees and millidegrees.lstrip("-").isdigit() else None


def _ticks() -> dict[str, int] | None:
    """Return clock ticks since boot: all, and those taken by the host of a virtual machine."""
    fields = (_text(STAT) or "").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    return {"all": sum(map(int, fields[1:9])), "stolen": int(fields[8])}
