"""The installer as far as it changes nothing: arguments, checks, what --dry-run says. emulate.sh runs it in earnest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DEVICE = Path(__file__).parents[2] / "device"
INSTALLER = DEVICE / "install.sh"
SCRIPTS = sorted([*DEVICE.glob("*.sh"), *DEVICE.glob("*/*.sh")])
Install = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return a function that makes an environment of stand-in commands, by name the lines of a shell script."""

    def make(**commands: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        said = {"dpkg": "echo arm64", "apt-get": "exit 9", "dpkg-query": "exit 1", "uname": "echo aarch64", **commands}
        for name, lines in said.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{lines}\n")
            path.chmod(0o755)
        return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    return make


@pytest.fixture
def install(machine: Callable[..., dict[str, str]], tmp_path: Path) -> Install:
    """Return a function that runs the installer, with a prefix that is not there yet unless arguments name one."""

    def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        if not any(word.startswith("--prefix") for word in words):
            words = ["--prefix", str(tmp_path / "prefix"), *words]
        return subprocess.run(
            ["sh", str(INSTALLER), *words],
            env=environment or machine(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "edge_fmnist-0.1.0-py3-none-any.whl"
    path.write_bytes(b"")
    return path


def test_dry_run_says_every_step_and_changes_nothing(install: Install, wheel: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = install("--dry-run", "--wheel", wheel)
    assert result.returncode == 0, result.stderr
    steps = [line for line in result.stdout.splitlines() if line.startswith("would ")]
    for part in ("apt-get update", "apt-get install", "python3-venv", "-m venv", str(wheel), "ln -sfn", "doctor"):
        assert any(part in step for step in steps), part
    assert set(tmp_path.rglob("*")) - set(before) <= {tmp_path / "bin", *(tmp_path / "bin").iterdir()}


def test_usual_install_keeps_the_environment_apart(install: Install, wheel: Path) -> None:
    result = install("--dry-run", "--wheel", wheel, "--no-picamera2")
    assert "--system-site-packages" not in result.stdout
    assert "python3-picamera2" not in result.stdout


def test_picamera2_comes_from_debian_and_is_seen(install: Install, wheel: Path) -> None:
    result = install("--dry-run", "--wheel", wheel, "--picamera2")
    assert result.returncode == 0, result.stderr
    assert "--no-install-recommends python3-venv python3-picamera2" in result.stdout
    assert "-m venv --system-site-packages" in result.stdout


def test_32_bit_is_told_what_it_costs(install: Install, machine: Callable[..., dict[str, str]], wheel: Path) -> None:
    # The kernel of 32-bit Raspberry Pi OS is a 64-bit one by default.
    result = install("--dry-run", "--wheel", wheel, environment=machine(dpkg="echo armhf"))
    assert "tflite-runtime runs the models" in result.stdout
    assert re.search(r"named [\d,]+ images a second where LiteRT named [\d,]+", result.stdout)
    assert "python3-numpy python3-opencv" in result.stdout


def test_32_bit_figures_are_those_of_the_results() -> None:
    results = (DEVICE.parent / "export" / "RESULTS.md").read_text("utf-8")
    rates = dict(re.findall(r"^\| (ai-edge-litert|tflite-runtime) \| [\d.]+ % \| ([\d,]+) \|$", results, re.MULTILINE))
    said = f"named {rates['tflite-runtime']} images a second where LiteRT named {rates['ai-edge-litert']}"
    assert said in INSTALLER.read_text("utf-8")


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ({"dpkg": "echo riscv64"}, "expected a 64-bit (arm64, amd64) or armhf system, got riscv64"),
        ({"dpkg": "echo armhf", "uname": "echo armv6l"}, "ARMv6"),
        ({"df": "printf 'a\\nb 1 1 204800 1 /\\n'"}, "expected 1100 MB free"),
    ],
)
def test_unfit_machine(
    install: Install, machine: Callable[..., dict[str, str]], wheel: Path, commands: dict[str, str], message: str
) -> None:
    result = install("--dry-run", "--wheel", wheel, environment=machine(**commands))
    assert result.returncode == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--what",), 2, "unknown argument '--what'"),
        (("--wheel",), 2, "--wheel needs a value"),
        (("--wheel", "edge_fmnist-9-py3-none-any.whl"), 3, "no such file"),
        (("--wheel", "other.txt"), 2, "expected a file edge_fmnist-VERSION"),
        (("--prefix", "relative"), 2, "expected an absolute path below /, got 'relative'"),
        (("--prefix", "/"), 2, "expected an absolute path"),
        (("--prefix", "/opt/a b"), 2, "letters, digits"),
        (("--prefix", "/opt/../etc"), 2, "letters, digits"),
        (("--prefix=/usr",), 2, "/usr holds files of something else"),
        (("--keep-settings",), 2, "goes with --uninstall"),
    ],
)
def test_wrong_arguments(install: Install, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = install("--dry-run", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "would run" not in result.stdout


def test_folder_of_something_else_is_never_removed(install: Install, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    result = install("--uninstall", "--prefix", tmp_path / "mine")
    assert result.returncode == 2
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_uninstall_of_nothing(install: Install) -> None:
    result = install("--uninstall", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "nothing to remove" in result.stdout


def test_help_names_every_option(install: Install) -> None:
    result = install("--help")
    assert result.returncode == 0
    options = re.findall(r"^        (--[a-z0-9-]+)(?: \| \S+)*\)", INSTALLER.read_text("utf-8"), re.MULTILINE)
    assert len(options) > 5
    for option in options:
        assert f"  {option} " in result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        if os.environ.get("EDGE_FMNIST_REQUIRE_SHELLCHECK") == "1":
            pytest.fail("EDGE_FMNIST_REQUIRE_SHELLCHECK=1, but there is no shellcheck: apt install shellcheck")
        pytest.skip("shellcheck is not installed")
    result = subprocess.run([program, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout
