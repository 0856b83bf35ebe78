"""The installer, run on a simulated machine: stub commands, and a root folder in place of /.

emulate.sh --installer runs it on a real Debian system.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEVICE = Path(__file__).parents[2] / "device"
INSTALLER = DEVICE / "install.sh"

COMMANDS = {
    "apt-get": "exit 9",
    "chgrp": "",
    "df": "printf 'header\\ndisk 1 1 9999999 1 /\\n'",
    "dpkg": "echo arm64",
    # The package python3-venv is installed.
    "dpkg-query": 'case "$*" in *python3-venv) echo install ok installed ;; *) exit 1 ;; esac',
    "id": "echo 0",
    "systemctl": """echo "$*" >>"$EDGE_FMNIST_ROOT/systemctl.log"
case $1 in
is-active) [ -e "$EDGE_FMNIST_ROOT/running" ] ;;
restart) grep -L fails-to-start "$PREFIX/venv/bin/edge-fmnist" | grep -q . && touch "$EDGE_FMNIST_ROOT/running" ;;
esac""",
    "uname": "echo aarch64",
}
# Stands in for Python and pip. Installing a wheel makes it the command: test wheels are shell scripts.
PYTHON = """case "$*" in
"-c "*) echo 3.11 ;;
"-m venv "*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python" ;;
*" install --no-deps "*) for wheel; do :; done; install -m 755 "$wheel" "${0%/*}/edge-fmnist" ;;
esac"""


class Machine:
    """A simulated machine: ``root`` is used in place of /, ``prefix`` is the default installation folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.prefix = folder / "root", folder / "prefix"
        self._bin = folder / "bin"
        for name, lines in COMMANDS.items():
            self.command(name, lines)
        self.script(self.root / "usr/bin/python3", PYTHON)
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.unit = self.root / "etc/systemd/system/edge-fmnist.service"
        self.settings = self.root / "etc/edge-fmnist.toml"
        self.secrets = self.root / "etc/edge-fmnist.env"
        self.data = self.root / "var/lib/edge-fmnist/snapshots"
        self.link = self.root / "usr/local/bin/edge-fmnist"

    def command(self, name: str, lines: str) -> None:
        self.script(self._bin / name, lines)

    def wheel(self, version: str, *lines: str) -> Path:
        """Return a wheel of a version; ``lines`` are added to its command."""
        path = self.root.parent / f"edge_fmnist-{version}-py3-none-any.whl"
        path.write_text("\n".join(["#!/bin/sh", f'[ "$1" != --version ] || echo {version}', *lines, ""]))
        return path

    def install(self, *arguments: object, prefix: Path | str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the installer."""
        prefix = prefix or self.prefix
        environment = {
            **os.environ,
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "EDGE_FMNIST_ROOT": str(self.root),
            "PREFIX": str(prefix),
        }
        words = ["sh", str(INSTALLER), "--prefix", str(prefix), *map(str, arguments)]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def installed(self, version: str, *arguments: object, prefix: Path | None = None) -> None:
        """Install a version, which must succeed."""
        result = self.install("--wheel", self.wheel(version), *arguments, prefix=prefix)
        assert result.returncode == 0, result.stderr

    def service(self) -> None:
        """Install version 1 with the service, passwords and data."""
        self.installed("1", "--service")
        self.secrets.write_text("EDGE_FMNIST_MQTT_PASSWORD=secret")
        self.data.mkdir(parents=True)

    def version(self) -> str:
        """Return the version of the active environment."""
        command = [str(self.prefix / "venv/bin/edge-fmnist"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def script(self, path: Path, lines: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_dry_run_prints_every_step_and_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.command("dpkg-query", "exit 1")
    wheel = machine.wheel("1")
    before = sorted(tmp_path.rglob("*"))
    result = machine.install("--dry-run", "--wheel", wheel, "--no-picamera2")
    assert result.returncode == 0, result.stderr
    steps = [line for line in result.stdout.splitlines() if line.startswith("would ")]
    for part in ("apt-get update", "apt-get install", "python3-venv", "-m venv", str(wheel), "ln -sfn", "doctor"):
        assert any(part in step for step in steps), part
    assert "--system-site-packages" not in result.stdout
    assert result.stdout.count("Python: ") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_picamera2_is_a_debian_package_that_the_environment_sees(machine: Machine) -> None:
    result = machine.install("--dry-run", "--wheel", machine.wheel("1"), "--picamera2")
    assert result.returncode == 0, result.stderr
    assert "--no-install-recommends python3-picamera2" in result.stdout
    assert "-m venv --system-site-packages" in result.stdout


def test_32_bit_system_prints_the_recorded_speeds(machine: Machine) -> None:
    machine.command("dpkg", "echo armhf")
    result = machine.install("--dry-run", "--wheel", machine.wheel("1"))
    results = (DEVICE.parent / "export" / "RESULTS.md").read_text("utf-8")
    rates = dict(re.findall(r"^\| (ai-edge-litert|tflite-runtime) \| [\d.]+ % \| ([\d,]+) \|$", results, re.MULTILINE))
    for rate in rates.values():
        assert f"classified {rate}" in re.sub(r"\s*\ninstall.sh: ", " ", result.stdout)
    assert len(rates) == 2
    assert "python3-numpy python3-opencv" in result.stdout


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ({"dpkg": "echo riscv64"}, "expected an arm64, amd64 or armhf system, got riscv64"),
        ({"dpkg": "echo armhf", "uname": "echo armv6l"}, "ARMv6"),
        ({"df": "printf 'a\\nb 1 1 204800 1 /\\n'"}, "expected 1100 MB free"),
        ({"id": "echo 1000"}, "run it with sudo"),
    ],
)
def test_unsuitable_machine(machine: Machine, commands: dict[str, str], message: str) -> None:
    for name, lines in commands.items():
        machine.command(name, lines)
    result = machine.install("--wheel", machine.wheel("1"))
    assert result.returncode == 1
    assert message in result.stderr
    assert not machine.prefix.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--what",), 2, "unknown argument '--what'"),
        (("--wheel",), 2, "--wheel needs a value"),
        (("--wheel", "edge_fmnist-9-py3-none-any.whl"), 3, "no such file"),
        (("--wheel", "other.txt"), 2, "expected a file edge_fmnist-VERSION"),
        (("--prefix", "relative"), 2, "expected an absolute path other than /, got 'relative'"),
        (("--prefix", "/"), 2, "expected an absolute path"),
        (("--prefix", "/opt/a b"), 2, "letters, digits"),
        (("--prefix", "/opt/../etc"), 2, "letters, digits"),
        (("--service", "--prefix", "/home/pi/edge-fmnist"), 2, "the service cannot read /home/pi"),
        (("--prefix=/usr",), 2, "/usr contains files that do not belong to edge-fmnist"),
        (("--purge", "--rollback"), 2, "expected --rollback or --uninstall, not both"),
    ],
)
def test_invalid_arguments(machine: Machine, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = machine.install("--dry-run", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "would run" not in result.stdout


def test_update_keeps_one_previous_environment(machine: Machine) -> None:
    for version in ("1", "2", "3"):
        machine.installed(version)
    assert machine.version() == "3"
    assert len(list(machine.prefix.glob("env-*"))) == 2
    assert machine.link.readlink() == machine.prefix / "venv/bin/edge-fmnist"


def test_failed_update_leaves_the_old_environment_active(machine: Machine) -> None:
    machine.installed("1")
    result = machine.install("--wheel", machine.wheel("2", '[ "$1" != doctor ]'))
    assert result.returncode == 1
    assert "the new version has the problems above; nothing was changed" in result.stderr
    assert machine.version() == "1"
    assert len(list(machine.prefix.glob("env-*"))) == 1


def test_update_whose_service_does_not_start_is_undone(machine: Machine) -> None:
    machine.service()
    unit = machine.unit.read_text("utf-8")
    result = machine.install("--wheel", machine.wheel("2", "# fails-to-start"))
    assert result.returncode == 1
    assert "the old one was restored" in result.stderr
    assert machine.version() == "1"
    assert machine.unit.read_text("utf-8") == unit
    # Once for the new version, once for the old one.
    assert (machine.root / "systemctl.log").read_text().count("restart") == 3


def test_first_start_without_camera_is_a_warning(machine: Machine) -> None:
    result = machine.install("--service", "--wheel", machine.wheel("1", "# fails-to-start"))
    assert result.returncode == 0, result.stderr
    assert "Warning: the service did not start yet" in result.stdout


def test_rollback_and_back_again(machine: Machine) -> None:
    assert "no previous version" in machine.install("--rollback").stderr
    machine.service()
    machine.installed("2")
    for version in ("1", "2"):
        result = machine.install("--rollback")
        assert result.returncode == 0, result.stderr
        assert machine.version() == version
    # Installation, update and two rollbacks.
    assert (machine.root / "systemctl.log").read_text().count("restart") == 4


def test_settings_are_not_world_readable(machine: Machine) -> None:
    machine.service()
    assert machine.settings.stat().st_mode & 0o777 == 0o640
    machine.settings.write_text('source = "rtsp://user:password@camera/"')
    for path in (machine.settings, machine.secrets):
        path.chmod(0o644)
    rotation = machine.root / "etc/logrotate.d/edge-fmnist"
    rotation.write_text("mine")
    machine.installed("2", "--service")
    assert rotation.read_text("utf-8") == "mine"
    assert "password" in machine.settings.read_text("utf-8")
    for path in (machine.settings, machine.secrets):
        assert path.stat().st_mode & 0o777 == 0o640


def test_unit_runs_the_program_of_the_prefix(machine: Machine, tmp_path: Path) -> None:
    machine.service()
    assert f"\nExecStart={machine.prefix}/venv/bin/edge-fmnist live " in machine.unit.read_text("utf-8")
    result = machine.install("--service", "--wheel", machine.wheel("2"), prefix=tmp_path / "other")
    assert result.returncode == 1
    assert f"already runs {machine.prefix}" in result.stderr


@pytest.mark.parametrize("option", ["--uninstall", "--purge"])
def test_uninstalling_one_of_two_leaves_the_other(machine: Machine, tmp_path: Path, option: str) -> None:
    machine.service()
    files = sorted(machine.root.rglob("*"))
    other = tmp_path / "other"
    machine.installed("2", prefix=other)
    (other / "packages").write_text("python3-venv\n")
    result = machine.install(option, prefix=other)
    assert result.returncode == 0, result.stderr
    assert f"kept Debian packages that are now used by: {machine.prefix}" in result.stdout
    assert not other.exists()
    assert sorted(machine.root.rglob("*")) == files
    assert machine.version() == "1"
    assert "disable" not in (machine.root / "systemctl.log").read_text()


@pytest.mark.parametrize("uninstall_first", [True, False])
def test_uninstall_keeps_settings_and_data_until_purge(machine: Machine, uninstall_first: bool) -> None:
    machine.service()
    kept = (machine.settings, machine.secrets, machine.data)
    if uninstall_first:
        result = machine.install("--uninstall")
        assert result.returncode == 0, result.stderr
        assert all(path.exists() for path in kept)
        assert not any(os.path.lexists(path) for path in (machine.prefix, machine.unit, machine.link))
        assert f"kept {machine.secrets}; --purge deletes it" in result.stdout
    assert machine.install("--purge").returncode == 0
    left = [*kept, machine.data.parent, machine.prefix, machine.unit, machine.link]
    assert not any(os.path.lexists(path) for path in left)


def test_purging_a_folder_without_an_installation_leaves_another(machine: Machine, tmp_path: Path) -> None:
    machine.installed("1")
    for path in (machine.settings, machine.data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    result = machine.install("--purge", prefix=tmp_path / "other")
    assert (result.returncode, "nothing to remove" in result.stdout) == (0, True)
    assert machine.settings.exists()
    assert machine.data.exists()


def test_uninstall_keeps_files_of_the_user(machine: Machine) -> None:
    machine.service()
    mine = machine.prefix / "photos/mine.jpg"
    mine.parent.mkdir()
    mine.touch()
    result = machine.install("--uninstall")
    assert (result.returncode, f"kept {machine.prefix}" in result.stdout) == (0, True)
    assert [path for path in machine.prefix.rglob("*") if path.is_file()] == [mine]
    # What the first one kept.
    assert machine.install("--purge").returncode == 0
    assert mine.exists()
    assert not machine.settings.exists()


def test_packages_that_were_not_installed_are_not_purged(machine: Machine) -> None:
    machine.command("apt-get", 'case "$*" in *-s*) echo "Inst libcap-dev (1)" ;; update*) ;; *) exit 100 ;; esac')
    machine.command("dpkg-query", "exit 1")
    result = machine.install("--wheel", machine.wheel("1"))
    assert (result.returncode, "error: apt-get could not install python3-venv" in result.stderr) == (1, True)
    assert (machine.prefix / "packages").read_text("utf-8") == ""


def test_other_spellings_of_the_prefix(machine: Machine, tmp_path: Path) -> None:
    machine.service()
    (tmp_path / "link").symlink_to(machine.prefix)
    refused = machine.install("--purge", prefix=tmp_path / "link")
    assert (refused.returncode, "is a symbolic link" in refused.stderr) == (2, True)
    assert machine.install("--purge", prefix=f"{machine.prefix.parent}//./{machine.prefix.name}/").returncode == 0
    assert not any(os.path.lexists(path) for path in (machine.prefix, machine.unit, machine.link, machine.settings))


def test_uninstall_never_removes_an_unrelated_folder(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert machine.install("--uninstall", prefix=tmp_path / "mine").returncode == 2
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    assert "nothing to remove" in machine.install("--uninstall").stdout


def test_help_lists_every_option(machine: Machine) -> None:
    result = machine.install("--help")
    assert result.returncode == 0
    options = re.findall(r"^        (--[a-z0-9-]+)(?: \| \S+)*\)", INSTALLER.read_text("utf-8"), re.MULTILINE)
    assert len(options) > 5
    for option in options:
        assert f"  {option} " in result.stdout


def test_scripts_pass_shellcheck(need: Callable[..., str]) -> None:
    command = [need("shellcheck", "shellcheck"), *map(str, DEVICE.rglob("*.sh"))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def calls(machine: Machine) -> Path:
    """Return the file in which the calls of Python and pip are recorded."""
    path = machine.root / "pip.log"
    machine.script(machine.root / "usr/bin/python3", f'echo "$*" >>"{path}"\n{PYTHON}')
    return path


def test_the_installer_requires_the_hashes_of_the_locked_versions(machine: Machine, calls: Path) -> None:
    machine.installed("1", "--no-picamera2")
    locked = next(line for line in calls.read_text().splitlines() if "--require-hashes" in line)
    path = Path(locked.split(" -r ")[1])
    names = re.findall(r"^([a-z0-9-]+)==.*\\\n +--hash=sha256:[0-9a-f]{64}", path.read_text(), re.MULTILINE)
    assert {"numpy", "pillow", "uvicorn", "ai-edge-litert"} <= set(names)
    # One of the two builds of OpenCV, which would overwrite each other.
    assert len({"opencv-python", "opencv-python-headless"} & set(names)) == 1
    assert re.search(r"install --no-index .*requirements\.txt", calls.read_text())


def test_with_debians_numpy_the_other_versions_are_fixed(machine: Machine, calls: Path) -> None:
    machine.command("dpkg-query", "echo install ok installed")
    machine.installed("1", "--picamera2")
    fixed = next(Path(line.split(" -c ")[1]) for line in calls.read_text().splitlines() if " -c " in line)
    lines = fixed.read_text().splitlines()
    # What the stand-in for Python answers when it is asked for NumPy's version.
    assert lines[-1] == "numpy==3.11"
    assert [line for line in lines if line.startswith(("numpy", "opencv"))] == lines[-1:]
    assert any(line.startswith("pillow==") for line in lines)
    assert "--hash" not in fixed.read_text()


def test_the_locked_versions_are_those_that_the_package_requires() -> None:
    """The file is made by a command, and may be older than pyproject.toml."""
    locked: dict[str, list[str]] = {}
    for name, pinned in re.findall(r"^([a-z0-9-]+)==([^ ]+)", (DEVICE / "constraints.txt").read_text(), re.MULTILINE):
        locked.setdefault(name, []).append(pinned)
    project = tomllib.loads((DEVICE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert not re.search(r"https?://|index-url", (DEVICE / "constraints.txt").read_text())
    for requirement in map(Requirement, [*project["dependencies"], *extras["web"], *extras["mqtt"]]):
        if requirement.marker is None or "!= 'armv7l'" in str(requirement.marker).replace('"', "'"):
            assert locked.get(requirement.name), requirement
            assert all(requirement.specifier.contains(pinned) for pinned in locked[requirement.name]), requirement


def test_the_bill_of_materials_lists_what_is_installed() -> None:
    printed = subprocess.run([sys.executable, str(DEVICE / "sbom.py")], capture_output=True, text=True, check=True)
    bill = json.loads(printed.stdout)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "edge-fmnist")
    listed = {each["bom-ref"] for each in bill["components"]}
    assert f"pkg:pypi/numpy@{metadata.version('numpy')}" in listed
    requires = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert f"pkg:pypi/numpy@{metadata.version('numpy')}" in requires[bill["metadata"]["component"]["bom-ref"]]
    assert set().union(*requires.values()) <= listed | {bill["metadata"]["component"]["bom-ref"]}


@pytest.mark.parametrize("option", ["--wheel", "--rollback", "--uninstall"])
def test_two_runs_at_once(machine: Machine, option: str) -> None:
    for version in ("1", "2"):
        machine.installed(version)
    prefix = os.open(machine.prefix, os.O_RDONLY)
    fcntl.flock(prefix, fcntl.LOCK_EX)
    result = machine.install(option, *([machine.wheel("3")] if option == "--wheel" else []))
    os.close(prefix)
    assert (result.returncode, "another run of install.sh" in result.stderr) == (1, True)
    assert machine.version() == "2"
