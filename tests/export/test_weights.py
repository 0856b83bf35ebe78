from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.errors import RunError
from edge_fmnist_export.training.weights import (
    Checkpoint,
    assign_variables,
    load_arrays,
    load_checkpoint,
    save_arrays,
    save_checkpoint,
)


class Variable:
    """What Keras' and TensorFlow's variables have in common."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        self.value = value


@pytest.fixture
def arrays() -> list[np.ndarray]:
    """Return arrays of several types and shapes, more than ten so that an order by text would show."""
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=(index, 2)).astype(np.float32) for index in range(12)]
    return [*drawn, np.array(7, np.int64), np.array([1, 2], np.uint32)]


def assert_same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    for first, second in zip(one, two, strict=True):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)


def test_arrays_come_back_exactly_and_in_order(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    path = tmp_path / "weights.npz"
    save_arrays(path, arrays)
    assert_same(load_arrays(path), arrays)
    assert [child.name for child in tmp_path.iterdir()] == ["weights.npz"]


@pytest.mark.parametrize("best", [0, 3])
def test_checkpoint_comes_back(tmp_path: Path, arrays: list[np.ndarray], best: int) -> None:
    saved = Checkpoint("qat", 4, arrays, arrays[:best], 0.1 + 0.2, 3)
    save_checkpoint(tmp_path / "checkpoint.npz", saved)
    loaded = load_checkpoint(tmp_path / "checkpoint.npz")
    assert (loaded.phase, loaded.epoch, loaded.best_accuracy, loaded.best_epoch) == ("qat", 4, 0.1 + 0.2, 3)
    assert_same(loaded.state, saved.state)
    assert_same(loaded.best, saved.best)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunError, match="not a readable archive of weights"):
        load_arrays(path)


def test_truncated_file(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, Checkpoint("float", 1, arrays))
    content = path.read_bytes()
    for left in (0, 100, -20):
        path.write_bytes(content[:left])
        with pytest.raises(RunError, match=r"checkpoint\.npz: not a readable archive"):
            load_checkpoint(path)


@pytest.mark.parametrize("header", [b"no json", b'{"state": 0, "colour": 1}'])
def test_archive_that_is_no_checkpoint(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "checkpoint.npz"
    save_arrays(path, [np.frombuffer(header, np.uint8), np.zeros(3)])
    with pytest.raises(RunError, match="not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("shapes", [[(3,)], [(3,), (2, 2), (1,)], [(3,), (4,)], [(2, 2), (3,)]])
def test_weights_of_another_network_assign_nothing(shapes: list[tuple[int, ...]]) -> None:
    variables = [Variable(np.zeros(3)), Variable(np.zeros((2, 2)))]
    with pytest.raises(RunError, match="the weights does not fit this network: expected 2 arrays"):
        assign_variables(variables, [np.ones(shape) for shape in shapes], "the weights")
    assert all((variable.value == 0).all() for variable in variables)
