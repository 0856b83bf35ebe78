"""The systemd unit: right, hardened, and in step with its settings file and the installer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DEVICE = Path(__file__).parents[2] / "device"
UNIT = DEVICE / "edge-fmnist.service"
SETTINGS = DEVICE / "edge-fmnist.toml"
# Of systemd-analyze security: 0 is shut off from everything, 10 may do what it likes.
HIGHEST_EXPOSURE = 3.0


@pytest.fixture
def analyze() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs systemd-analyze; without systemd the test is skipped, or fails where it must run."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("EDGE_FMNIST_REQUIRE_SYSTEMD") == "1":
            pytest.fail("EDGE_FMNIST_REQUIRE_SYSTEMD=1, but there is no systemd-analyze: apt install systemd")
        pytest.skip("systemd-analyze is not installed")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"}
        words = [program, *map(str, arguments)]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Return what a unit file sets, each key with its values in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text("utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_it_is_a_correct_unit(analyze: Callable[..., Any], tmp_path: Path) -> None:
    # The program is not installed here; as the installer does, the copy gets the path of one that is.
    program = tmp_path / "edge-fmnist"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    text, count = re.subn(r"(?m)^ExecStart=[^ ]*", f"ExecStart={program}", UNIT.read_text("utf-8"))
    copy.write_text(text, "utf-8")
    result = analyze("verify", copy)
    assert count == 1
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_verify_finds_a_mistake(analyze: Callable[..., Any], tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("WatchdogSec=", "WatchdogSeconds="), "utf-8")
    assert "WatchdogSeconds" in analyze("verify", copy).stderr


def test_it_is_hardened(analyze: Callable[..., Any]) -> None:
    result = analyze("security", "--offline=true", "--no-pager", UNIT)
    match = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert match, result.stderr
    assert float(match[1]) <= HIGHEST_EXPOSURE


def test_cameras_stay_usable() -> None:
    settings = settings_of(UNIT)
    assert settings["SupplementaryGroups"] == ["video"]
    assert set(settings["DeviceAllow"]) >= {"char-video4linux rw", "char-media rw", "char-dma_heap rw"}
    # It would hide the cameras with all other devices.
    assert "PrivateDevices" not in settings


def test_it_is_restarted_but_for_settings_that_cannot_work() -> None:
    settings = settings_of(UNIT)
    assert settings["Type"] == ["notify"]
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == ["2"]
    # Fed at half of it, by frames that may come once a second.
    assert float(settings["WatchdogSec"][0]) >= 10


def test_the_command_and_the_settings_file_work_together(cli: Callable[..., Any], tmp_path: Path) -> None:
    command = settings_of(UNIT)["ExecStart"][0].split()[1:]
    assert command == ["live", "--serve", "--config", "/etc/edge-fmnist.toml"]
    shutil.copy(SETTINGS, tmp_path)
    command[-1] = str(tmp_path / SETTINGS.name)
    result = cli(*command, "--source", "demo", "--serve", "127.0.0.1:0", "--frames", 2, "--log", "journal")
    assert result.exit_code == 0, result.stderr
    assert "event=serving" in result.stderr


def test_settings_that_are_commented_out_work_too(cli: Callable[..., Any], tmp_path: Path) -> None:
    text, count = re.subn(r"(?m)^#(\w+ = )", r"\1", SETTINGS.read_text("utf-8"))
    assert count >= 10
    # A broker that does not answer is a failure, and rightly so.
    text, brokers = re.subn(r'(?m)^mqtt = "mqtts?://.*"$', "", text)
    assert brokers == 1
    text = text.replace('"snapshots"', f'"{tmp_path / "snapshots"}"')
    path = tmp_path / "all.toml"
    path.write_text(text, "utf-8")
    result = cli(
        *("live", "--config", path, "--source", "demo", "--serve", "127.0.0.1:0"), "--frames", 2, "--log", "journal"
    )
    assert result.exit_code == 0, result.stderr


def test_the_page_is_for_this_machine_alone_unless_set_otherwise() -> None:
    assert re.findall(r'(?m)^serve = "(.*)"$', SETTINGS.read_text("utf-8")) == ["127.0.0.1:8000"]
