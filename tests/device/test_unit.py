"""The systemd unit: valid, hardened, and consistent with its settings file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEVICE = Path(__file__).parents[2] / "device"
UNIT = DEVICE / "edge-fmnist.service"
SETTINGS = DEVICE / "edge-fmnist.toml"
# Exposure level of systemd-analyze security: 0 (isolated) to 10 (unrestricted).
MAX_EXPOSURE = 1.5


def analyze(need: Callable[..., str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    environment = {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"}
    words = [need("systemd-analyze", "systemd"), *map(str, arguments)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Return the settings of a unit file, each key with its values in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text("utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_unit_is_valid(need: Callable[..., str], tmp_path: Path) -> None:
    # Like the installer: a copy with the path of a program that exists.
    program = tmp_path / "edge-fmnist"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    text, count = re.subn(r"(?m)^ExecStart=[^ ]*", f"ExecStart={program}", UNIT.read_text("utf-8"))
    assert count == 1
    copy.write_text(text, "utf-8")
    result = analyze(need, "verify", copy)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    copy.write_text(text.replace("WatchdogSec=", "WatchdogSeconds="), "utf-8")
    assert "WatchdogSeconds" in analyze(need, "verify", copy).stderr


def test_unit_is_hardened(need: Callable[..., str]) -> None:
    result = analyze(need, "security", "--offline=true", "--no-pager", UNIT)
    match = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert match, result.stderr
    assert float(match[1]) <= MAX_EXPOSURE
    assert {"MemoryMax", "TasksMax"} < set(settings_of(UNIT))


def test_hardening_leaves_cameras_and_watchdog_usable() -> None:
    settings = settings_of(UNIT)
    assert settings["SupplementaryGroups"] == ["video"]
    assert set(settings["DeviceAllow"]) >= {"char-video4linux rw", "char-media rw", "char-dma_heap rw"}
    # Would hide cameras as well.
    assert "PrivateDevices" not in settings
    # An idle service processes one frame per second and notifies at most twice per interval.
    assert float(settings["WatchdogSec"][0]) >= 10


def test_command_of_the_unit_accepts_the_settings_file(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    command = settings_of(UNIT)["ExecStart"][0].split()[1:]
    assert command == ["live", "--config", "/etc/edge-fmnist.toml"]
    shutil.copy(SETTINGS, tmp_path)
    command[-1] = str(tmp_path / SETTINGS.name)
    result = run_cli(*command, "--source", "demo", "--serve", "127.0.0.1:0", "--frames", 2, "--log", "journal")
    assert "event=serving" in result.stderr


def test_commented_settings_are_valid(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    text, count = re.subn(r"(?m)^#(\w+ = )", r"\1", SETTINGS.read_text("utf-8"))
    assert count >= 10
    # There is no broker.
    text, brokers = re.subn(r'(?m)^mqtt = "mqtts?://.*"$', "", text)
    assert brokers == 1
    text = text.replace('"snapshots"', f'"{tmp_path / "snapshots"}"')
    path = tmp_path / "all.toml"
    path.write_text(text, "utf-8")
    command = ("live", "--config", path, "--source", "demo", "--serve", "127.0.0.1:0", "--frames", 2)
    run_cli(*command, "--log", "journal")


def test_browser_view_is_local_by_default() -> None:
    assert re.findall(r'(?m)^serve = "(.*)"$', SETTINGS.read_text("utf-8")) == ["127.0.0.1:8000"]
