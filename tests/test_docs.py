"""Every code block of the README and the pages is run.

The word after the language says how. ``sh``: each line runs to its end with exit code 0. ``sh long``: what needs a
camera, a broker, photographs or minutes is started as written, once for all pages; it ends with a documented exit code
and a message, or works until it is interrupted after its first output. ``sh setup``: what changes the system runs
against stand-ins for apt, pip, make and systemctl, which check that the packages, extras, targets and scripts exist;
edge-fmnist itself is started.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist_export.training.recipe import shipped_recipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "export" / "RESULTS.md"]
BLOCK = re.compile(r"^```(\w*)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Pages whose commands take TensorFlow or measure for a while.
SLOW = {"baselines", "benchmark", "explain", "export", "microcontroller", "report", "RESULTS", "search", "train"}
# The recipe in a command that trains it. That each recipe exists and loads is tested elsewhere.
SHIPPED = re.compile(rf"(?<=edge-fmnist train )({'|'.join(shipped_recipes())})$")
STAND_IN = """#!/bin/sh
case "$(basename "$0")" in
sudo|env) case "$1" in *.sh) test -x "$1" || test -x "$EDGE_FMNIST_ROOT/${1#edge-fmnist/}" ;; *) exec "$@" ;; esac ;;
make) grep -q "^$1:" "$EDGE_FMNIST_ROOT/Makefile" ;;
pip) for word in "$@"; do case "$word" in .*'['*']') for extra in $(echo "$word" | tr -d '.[]' | tr ',' ' '); do
  grep -q "^$extra = " "$EDGE_FMNIST_ROOT/pyproject.toml" || exit 1; done ;; esac; done ;;
esac
"""
STAND_INS = (
    "apt apt-get chmod cp curl docker git journalctl ln make mosquitto_sub nano npm pip python3 sudo sudoedit systemctl"
    " tee"
)


def blocks(page: Path, language: str, mark: str | None) -> list[str]:
    """Return the code blocks of a page with this language and mark."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [body for kind, marked, body in found if kind == language and (marked or None) == mark]


def pages_with(language: str, mark: str | None) -> list[object]:
    """Return the pages that have such blocks, as parameters of a test."""
    found = [page for page in PAGES if blocks(page, language, mark)]
    return [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in found]


def lines_of(page: Path, mark: str | None) -> list[str]:
    """Return the lines of a page's shell blocks; a line that ends with a backslash goes on in the next."""
    text = "\n".join(blocks(page, "sh", mark)).replace("\\\n", "")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def long_lines() -> list[str]:
    """Return the lines of long blocks; of those that differ only in the shipped recipe to train, the first."""
    lines = [line for page in PAGES for line in lines_of(page, "long")]
    return list({SHIPPED.sub("", line): line for line in reversed(lines)}.values())


def environment(path: str = "") -> dict[str, str]:
    """Return the environment of a user's shell, with the environment under test, and ``path``, first on its path."""
    places = [*([path] if path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {**os.environ, "PATH": os.pathsep.join(places), "EDGE_FMNIST_ROOT": str(ROOT)}


def run(line: str, folder: Path, seconds: float, path: str = "") -> None:
    """Run a line as a user's shell would, to its end."""
    command = ["timeout", str(seconds), "bash", "-c", line]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.data
@pytest.mark.parametrize("page", pages_with("sh", None))
def test_commands_run(page: Path, part_of_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem != "data":
        monkeypatch.setenv("EDGE_FMNIST_DATA", str(part_of_data))
    for line in lines_of(page, None):
        run(line, tmp_path, 600)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("line", long_lines())
def test_long_command_starts(
    line: str, start: Callable[..., Any], part_of_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a part of the images, the shipped teachers are refused: they were trained on all of them.
    if "edge-fmnist train " not in line and ".ablation " not in line:
        monkeypatch.setenv("EDGE_FMNIST_DATA", str(part_of_data))
    check_started(start(line, tmp_path, environment()))


def check_started(ended: subprocess.CompletedProcess[str]) -> None:
    """Check how a command ended that was interrupted after its first output."""
    assert "Traceback" not in ended.stderr
    # One that has not reached its handler yet, or is about to exit, dies of the signal.
    assert ended.returncode in (*range(5), 130, -signal.SIGINT), ended.stderr
    # A command that fails says why.
    assert ended.returncode in (0, -signal.SIGINT) or ended.stderr
    # The one recipe that a page names and only an earlier search would have written.
    assert ended.returncode != 2 or "neither a file nor a shipped recipe" in ended.stderr, ended.stderr


@pytest.mark.parametrize("page", pages_with("sh", "setup"))
def test_setup_names_what_exists(page: Path, start: Callable[..., Any], tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in STAND_INS.split():
        (bin_folder / name).write_text(STAND_IN, "utf-8")
        (bin_folder / name).chmod(0o755)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    for line in lines_of(page, "setup"):
        if line == "source .venv/bin/activate":
            # `make demo` makes it, and the tests may run in another environment.
            continue
        # The reader's .venv/bin/pip is the stand-in here, and .venv/bin/edge-fmnist the program under test.
        line = re.sub(r"\.venv/bin/(pip|edge-fmnist)", r"\1", line)
        if line.startswith("edge-fmnist "):
            check_started(start(line, tmp_path, environment()))
        else:
            run(line, ROOT, 60, str(bin_folder))


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
