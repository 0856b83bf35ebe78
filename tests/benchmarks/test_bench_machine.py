from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.model import processor
from edge_fmnist.model.measure import peak_memory_bytes
from edge_fmnist_bench import machine, protocol, validity

LIMITS = protocol.Validity(load=0.5, steal=0.02, spread=1.5, slowdown=0.9)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a command on the path that prints a text."""

    def make(name: str, prints: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{prints}\n", "utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


def test_this_machine_is_described() -> None:
    found = machine.describe()
    assert found["cpu"]
    assert found["usable_cores"] >= 1
    assert found["state"]["before"]["load"] >= 0
    assert {"python", "numpy", "edge-fmnist"} <= set(machine.versions())


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        ("throttled=0x0", []),
        (
            "throttled=0x50005",
            ["under-voltage now", "throttled now", "under-voltage since boot", "throttled since boot"],
        ),
        ("error", None),
    ],
)
def test_throttling_of_a_raspberry_pi(tool: Any, answer: str, flags: list[str] | None) -> None:
    tool("vcgencmd", f"echo {answer}")
    assert machine.throttled() == flags


def test_missing_and_failing_tools(tool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool("vcgencmd", "echo throttled=0x1; exit 1")
    assert machine.throttled() is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert machine.throttled() is None
    assert machine.commit() is None


def test_the_commit_says_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    source = tmp_path / "machine.py"
    source.write_text("one", "utf-8")
    monkeypatch.setattr(machine, "__file__", str(source))
    git("init", "--quiet")
    assert machine.commit() is None
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    revision = git("rev-parse", "HEAD")
    assert machine.commit() == revision
    source.write_text("two", "utf-8")
    assert machine.commit() == f"{revision}-dirty"


@pytest.mark.parametrize(
    ("line", "best"),
    [
        ("flags\t\t: fpu avx avx2 avx512f avx512_vnni", "avx512_vnni"),
        ("flags\t\t: fpu avx avx2", "avx2"),
        ("Features\t: fp asimd evtstrm asimddp", "asimddp"),
        ("Features\t: half thumb neon", "neon"),
        ("model name\t: something", None),
    ],
)
def test_the_best_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, best: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n", "utf-8")
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    assert machine.feature() == best


def result(**changes: Any) -> dict[str, Any]:
    """Return the part of a result that the validity checks read; all pass."""
    state = {"load": 0.1, "megahertz": 2000.0, "throttled": [], "ticks": {"all": 1000, "stolen": 5}}
    after = {**state, "ticks": {"all": 2000, "stolen": 6}}
    single = {"p50_us": 100.0, "p90_us": 120.0, **changes.pop("single", {})}
    return {
        "machine": {
            "usable_cores": 4,
            "state": {"before": {**state, **changes.pop("before", {})}, "after": {**after, **changes.pop("after", {})}},
        },
        "reference": "a",
        "variants": [{"name": "a", "single_stream": single}, {"name": "b", "single_stream": None}],
    }


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"before": {"load": 2.5}}, "busy machine: the load average was 2.5 on 4 usable cores"),
        ({"after": {"megahertz": 1500.0}}, "the clock fell from 2000 to 1500 MHz"),
        ({"after": {"throttled": ["throttled now"]}}, "throttled processor: throttled now"),
        ({"after": {"ticks": {"all": 2000, "stolen": 105}}}, "took 10% of its time"),
        ({"single": {"p90_us": 180.0}}, "p90 of a is 1.80 times its p50"),
    ],
)
def test_failed_validity_checks(changes: dict[str, Any], mark: str) -> None:
    (found,) = validity.marks(result(**changes), LIMITS)
    assert mark in found


def test_a_quiet_or_unknown_machine_passes_all_checks() -> None:
    unknown = {"load": None, "megahertz": None, "throttled": None, "ticks": None}
    assert validity.marks(result(), LIMITS) == []
    assert validity.marks(result(before=unknown, after=unknown, single={"p90_us": None}), LIMITS) == []


def test_peak_memory_is_in_bytes() -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak_memory_bytes() == pytest.approx(peak, rel=0.01)
