"""Every command in the README and the pages runs as written.

Blocks marked ``sh`` are run, line by line, in a folder of their own; ``sh long``
are parsed only, since they train for an hour; ``sh setup`` (clone, install,
apt) is what the test's own environment stands for.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str, mark: str | None) -> list[str]:
    """Return the code blocks of a page with this language and mark."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [body for kind, marked, body in found if kind == language and (marked or None) == mark]


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line as a user's shell would, with the environment under test first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=600
    )


def with_commands(language: str, mark: str | None) -> list[Path]:
    """Return the pages that have such blocks."""
    return [page for page in PAGES if blocks(page, language, mark)]


@pytest.mark.data
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("page", with_commands("sh", None), ids=lambda page: page.stem)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    lines = [line for body in blocks(page, "sh", None) for line in body.splitlines() if line.strip()]
    for line in lines:
        result = shell(line, tmp_path)
        assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("page", with_commands("sh", "long"), ids=lambda page: page.stem)
def test_long_commands_parse(page: Path, tmp_path: Path) -> None:
    for line in [line for body in blocks(page, "sh", "long") for line in body.splitlines()]:
        result = shell(f"{line} --help", tmp_path)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
        assert f"Usage: {' '.join(shlex.split(line)[:2])}" in result.stdout


@pytest.mark.parametrize("page", with_commands("python", None), ids=lambda page: page.stem)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    for body in blocks(page, "python", None):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", body], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()


def test_links_between_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_makefile_offers_what_the_readme_promises() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    promised = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert promised
    assert promised <= targets
