from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist_bench import protocol

Edit = Callable[[str, str], Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """Return a function that writes the protocol with one text in place of another."""

    def write(old: str, new: str) -> Path:
        text = protocol.DEFAULT.read_text("utf-8")
        assert old in text
        path = tmp_path / "protocol.toml"
        path.write_text(text.replace(old, new, 1), "utf-8")
        return path

    return write


def test_the_protocol_beside_the_results_is_the_one_that_runs() -> None:
    assert (Path(__file__).parents[2] / "benchmarks" / "protocol.toml").resolve() == protocol.DEFAULT.resolve()


def test_shortened() -> None:
    short = protocol.load().shortened(7)
    single = short.single_stream
    assert (single.iterations, single.rounds, single.minimum_seconds) == (7, 7, 0)
    assert (short.paced.iterations, short.frame.iterations, short.process.repeats) == (7, 7, 1)


def test_a_setting_can_be_changed(edited: Edit) -> None:
    assert protocol.load(edited("hertz = 30.0", "hertz = 25")).paced.hertz == 25.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("edge-fmnist-protocol/1", "edge-fmnist-protocol/9", "expected a protocol of schema"),
        ("rounds = 24", "", "single_stream: expected the settings .*rounds"),
        ("rounds = 24", "rounds = 24\nturns = 3", "single_stream: expected the settings"),
        ("rounds = 24", "rounds = 0", "rounds: expected a number above zero, got 0"),
        ("rounds = 24", "rounds = 2.5", "rounds: expected a number of type int, got 2.5"),
        ("percentiles = [50, 90, 99]", "percentiles = []", "percentiles: expected a list"),
        ("percentiles = [50, 90, 99]", "percentiles = [90]", "expected 50 among them"),
        ("percentiles = [50, 90, 99]", "percentiles = [50, 101]", "none above 100"),
        ("[paced]", "[paced", "not valid TOML"),
        ("confidence = 0.95", "confidence = 95", "confidence: expected less than 1, got 95"),
        ("size = [640, 480]", "size = [640]", r"size: expected a width and a height, got \[640\]"),
        ("size = [640, 480]", "size = [640, 100000]", r"size: expected at most 4096 pixels, got \[640, 100000\]"),
        ("resamples = 2000", "resamples = 1000000000", "resamples: expected at most 100000, got 1000000000"),
        ("threads = 1\n", "threads = 100000\n", "at most 64 threads, got 100000"),
        ("threads = 1\nhertz", "threads = 2\nhertz", "paced.threads: expected 1, as single_stream.threads"),
        ("hertz = 30.0", "hertz = inf", "hertz: expected a number above zero, got inf"),
    ],
)
def test_a_protocol_that_cannot_work(edited: Edit, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        protocol.load(edited(old, new))


def test_no_protocol(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=re.escape(f"{tmp_path}: no such file")):
        protocol.load(tmp_path)
