"""The profile: layers, their times, and the machine's peak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_fmnist.errors import DataError, ModelError, ModelNotFoundError
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import read_structure
from edge_fmnist_bench import flatfile, peaks, profile
from edge_fmnist_bench.float32_reference import float_twin
from edge_fmnist_bench.layer_tables import brief_rows, markdown, notes, rows, show
from edge_fmnist_bench.layers import Layer, Profile, from_dict
from edge_fmnist_bench.peaks import Peak, copy_rate
from edge_fmnist_bench.profile import measure
from edge_fmnist_bench.protocol import Protocol

PEAK = Peak(1e12, "CONV_2D", 150_000, 50e9, 10e9)


@pytest.fixture(scope="module")
def measured(quick: Protocol) -> Profile:
    return measure("edge", settings=quick.single_stream)


def test_every_operator_has_a_time(measured: Profile) -> None:
    structure = read_structure(read_model("edge").content, "edge")
    assert [layer.operator for layer in measured.layers] == [operator.name for operator in structure.operators]
    assert sum(layer.macs for layer in measured.layers) == structure.macs
    assert all(layer.time_us is not None for layer in measured.layers)
    assert 0 < measured.empty_us < measured.whole_us


def test_operators_together_take_about_the_time_of_the_model(measured: Profile) -> None:
    # On a quiet machine they differ by a percent or two.
    assert 0.2 < measured.sum_us / measured.whole_us < 5


def test_bytes_of_a_convolution(measured: Profile) -> None:
    square = measured.layers[4]
    assert square.output == (14, 14, 40)
    assert square.weight_bytes == 40 * 40 * 9 + 40 * 4
    assert square.activation_bytes == 2 * 14 * 14 * 40
    assert square.intensity == pytest.approx(2_822_400 / (14_560 + 15_680))


def test_peak_was_measured(measured: Profile) -> None:
    assert measured.peak.macs_per_second > 1e8
    assert measured.peak.bytes_per_second > 1e7
    assert measured.peak.memory_bytes_per_second > 1e7
    assert 120_000 < measured.peak.copy_bytes < 200_000


def test_limits_follow_from_the_peak(measured: Profile) -> None:
    for layer in measured.layers:
        compute = layer.macs / measured.peak.macs_per_second * 1e6
        memory = (layer.weight_bytes + layer.activation_bytes) / measured.peak.bytes_per_second * 1e6
        assert layer.limit_us == pytest.approx(max(compute, memory))
        assert layer.bound == ("compute" if compute > memory else "memory")


def test_float_operators_have_no_limit(tmp_path: Path, quick: Protocol) -> None:
    path = tmp_path / "twin.tflite"
    path.write_bytes(float_twin(read_model("edge").content, "edge"))
    found = measure(str(path), settings=quick.single_stream)
    assert all(layer.limit_us is None and layer.of_limit is None for layer in found.layers)
    assert found.layers[0].activation_bytes == 4 * 28 * 28 * (1 + 32)
    assert any("floats have no limit" in note for note in notes(found))


def test_an_operator_that_does_not_run_alone_has_no_time(quick: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = flatfile.cut_operator
    monkeypatch.setattr(profile, "cut_operator", lambda content, index: b"x" if index == 3 else whole(content, index))
    found = measure("edge", settings=quick.single_stream)
    assert [layer.index for layer in found.layers if layer.time_us is None] == [3]
    assert rows(found)[3][7:9] == ("-", "-")


def test_plain_values_and_back(measured: Profile) -> None:
    plain = json.loads(json.dumps(measured.as_dict()))
    again = from_dict(plain)
    # Values are rounded once and then stay.
    assert from_dict(again.as_dict()) == again
    assert again.whole_us == pytest.approx(measured.whole_us, abs=0.01)
    assert [layer.operator for layer in again.layers] == [layer.operator for layer in measured.layers]
    assert plain["sum_us"] == pytest.approx(measured.sum_us, abs=0.01)
    assert "no time by operator" in plain["method"]


@pytest.mark.parametrize("missing", ["layers", "peak", "threads"])
def test_damaged_profile(measured: Profile, missing: str) -> None:
    values = measured.as_dict()
    del values[missing]
    with pytest.raises(DataError, match="not a profile"):
        from_dict(values)


def test_tables() -> None:
    layer = Layer(1, "CONV_2D", (28, 28, 16), 1_806_336, 2368, 25_088, 20.0, 2.0, "compute")
    made = Profile("edge", "litert 2", 2, (layer,), 21.0, 0.5, PEAK)
    assert rows(made) == [
        ("1", "CONV_2D", "28x28x16", "1,806,336", "2,368", "25,088", "65.8", "20.0", "100%", "2.00", "compute", "10%")
    ]
    assert brief_rows(made) == [("1 CONV_2D", "28x28x16", "1,806", "27.5", "65.8", "20.0", "2.00", "10")]
    assert "| 1 | CONV_2D | 28x28x16 |" in markdown(made)
    assert "1,000 billion int8 MACs a second (CONV_2D)" in markdown(made)


def test_table_fits_a_terminal(
    measured: Profile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show(measured)
    shown = capsys.readouterr().err
    assert "14 FULLY_CONNECTED" in shown
    assert "…" not in shown


def test_missing_and_damaged_models(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"absent\.tflite"):
        measure(str(tmp_path / "absent.tflite"))
    (tmp_path / "damaged.tflite").write_bytes(b"no model at all, but long enough")
    with pytest.raises(ModelError, match=r"damaged\.tflite"):
        measure(str(tmp_path / "damaged.tflite"))


def test_copy_rate_counts_what_is_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(call: Callable[[], None]) -> float:
        call()
        return 0.5

    monkeypatch.setattr(peaks, "_best_seconds", once)
    # Two copies of half a MiB, since one is over too soon.
    assert copy_rate(1 << 20) == 2 * (1 << 20) / 0.5
