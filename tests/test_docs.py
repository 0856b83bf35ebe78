"""Every code block of the README and the pages is run.

The word after the language says how. ``sh``: each line runs to its end with exit code 0. ``sh long``: what needs a
camera, a broker, photographs or hours is started as written; it ends with a documented exit code and a message, or is
still at work after some seconds and ends on Ctrl-C. ``sh setup``: what changes the system runs against stand-ins for
apt, pip, make and systemctl, which check that the packages, extras, targets and scripts exist.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "export" / "RESULTS.md"]
BLOCK = re.compile(r"^```(\w*)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Pages whose commands take TensorFlow or measure for a while.
SLOW = {"baselines", "benchmark", "explain", "export", "microcontroller", "report", "RESULTS", "search", "train"}
STARTED_SECONDS, END_SECONDS = 8, 40
STAND_IN = """#!/bin/sh
case "$(basename "$0")" in
sudo|env) case "$1" in *.sh) test -x "$1" || test -x "$EDGE_FMNIST_ROOT/${1#edge-fmnist/}" ;; *) exec "$@" ;; esac ;;
make) grep -q "^$1:" "$EDGE_FMNIST_ROOT/Makefile" ;;
pip) for word in "$@"; do case "$word" in .*'['*']') for extra in $(echo "$word" | tr -d '.[]' | tr ',' ' '); do
  grep -q "^$extra = " "$EDGE_FMNIST_ROOT/pyproject.toml" || exit 1; done ;; esac; done ;;
esac
"""
STAND_INS = (
    "apt apt-get curl docker git journalctl make nano pip python3 sudo sudoedit systemctl mosquitto_sub tee npm cp ln"
)


def blocks(page: Path, language: str, mark: str | None) -> list[str]:
    """Return the code blocks of a page with this language and mark."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [body for kind, marked, body in found if kind == language and (marked or None) == mark]


def pages_with(language: str, mark: str | None) -> list[object]:
    """Return the pages that have such blocks, as parameters of a test."""
    found = [page for page in PAGES if blocks(page, language, mark)]
    slow = [page.stem in SLOW or mark == "long" for page in found]
    return [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * is_slow)
        for page, is_slow in zip(found, slow, strict=True)
    ]


def lines_of(page: Path, mark: str | None) -> list[str]:
    """Return the lines of a page's shell blocks; a line that ends with a backslash goes on in the next."""
    text = "\n".join(blocks(page, "sh", mark)).replace("\\\n", "")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def shell(line: str, folder: Path, path: str = "") -> subprocess.Popen[str]:
    """Start a line as a user's shell would, with the environment under test first on the path."""
    places = [*([path] if path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join(places), "EDGE_FMNIST_ROOT": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(running: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """Return standard output and error of a process; end its group where it takes longer.

    Raises:
        TimeoutExpired: it took longer.
    """
    try:
        return running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        raise


@pytest.mark.data
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("page", pages_with("sh", None))
def test_commands_run(page: Path, tmp_path: Path) -> None:
    for line in lines_of(page, None):
        running = shell(line, tmp_path)
        out, err = ended(running, 600)
        assert running.returncode == 0, f"{line}\n{out}{err}"


@pytest.mark.data
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("page", pages_with("sh", "long"))
def test_long_commands_start(page: Path, tmp_path: Path) -> None:
    for number, line in enumerate(lines_of(page, "long")):
        # Each in a folder of its own: an interrupted run would stop the next one.
        folder = tmp_path / str(number)
        folder.mkdir()
        running = shell(line, folder)
        try:
            out, err = running.communicate(timeout=STARTED_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGINT)
            out, err = ended(running, END_SECONDS)
            # A process that has not reached its handler yet dies of the signal.
            assert running.returncode in (0, 130, -signal.SIGINT), f"{line}\n{out}{err}"
        else:
            assert running.returncode in range(5), f"{line}\n{out}{err}"
            # A command that fails says why.
            assert running.returncode == 0 or err, line
        if running.returncode != -signal.SIGINT:
            assert "Traceback" not in err, f"{line}\n{err}"
        # The one recipe that a page names and only an earlier search would have written.
        assert running.returncode != 2 or "neither a file nor a shipped recipe" in err, f"{line}\n{err}"


@pytest.mark.parametrize("page", pages_with("sh", "setup"))
def test_setup_names_what_exists(page: Path, tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in STAND_INS.split():
        (bin_folder / name).write_text(STAND_IN, "utf-8")
        (bin_folder / name).chmod(0o755)
    for line in lines_of(page, "setup"):
        # The reader's .venv/bin/pip is the stand-in here, and .venv/bin/edge-fmnist the program under test.
        running = shell(re.sub(r"\.venv/bin/(pip|edge-fmnist)", r"\1", line), ROOT, str(bin_folder))
        out, err = ended(running, 60)
        assert running.returncode == 0, f"{line}\n{out}{err}"


@pytest.mark.parametrize("page", pages_with("python", None))
def test_python_runs(page: Path, tmp_path: Path) -> None:
    for body in blocks(page, "python", None):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", body], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()


def test_json_and_toml_are_valid() -> None:
    texts = [body for page in PAGES for body in blocks(page, "json", None)]
    assert texts
    for body in texts:
        for line in body.splitlines() if body.count("\n{") else [body]:
            json.loads(line)
    for body in [body for page in PAGES for body in blocks(page, "toml", None)]:
        tomllib.loads(body)


def test_links_between_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
