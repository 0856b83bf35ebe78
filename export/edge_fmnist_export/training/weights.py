"""Weights and training state as NumPy archives, without pickle."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.data.files import moved_into_place
from edge_fmnist.errors import RunError

Arrays = list[np.ndarray]

# What NumPy, zipfile and zlib raise on damaged archives.
DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)


@dataclass
class Checkpoint:
    """The state of a training phase after a whole epoch.

    Attributes:
        epoch: how many epochs of the phase are done.
        state: all variables of the model and its optimizer.
        best: the model's weights at the best epoch so far; empty before the first.
        best_accuracy: validation accuracy of ``best``, 0 to 1; -1 before the first epoch.
        best_epoch: the epoch of ``best``, counted from 1; 0 before the first.
        average: the moving average of the model's weights; empty where there is none.
    """

    phase: str
    epoch: int = 0
    state: Arrays = field(default_factory=list)
    best: Arrays = field(default_factory=list)
    best_accuracy: float = -1.0
    best_epoch: int = 0
    average: Arrays = field(default_factory=list)


def save_arrays(path: Path, arrays: Sequence[np.ndarray], *, half: bool = False) -> None:
    """Write arrays to an ``.npz`` file, in order.

    With ``half``, float32 is stored as float16, in about half the bytes; :func:`load_arrays` returns float32.

    Raises:
        RunError: a value is beyond the range of float16.
    """
    if half:
        arrays = [array.astype(np.float16) if array.dtype == np.float32 else array for array in arrays]
        if not all(np.isfinite(array).all() for array in arrays):
            raise RunError(f"{path}: a weight does not fit into float16; store it as float32")
    with moved_into_place(path) as temporary:
        named: dict[str, Any] = {f"{index:04}": array for index, array in enumerate(arrays)}
        np.savez_compressed(temporary, **named)


def load_arrays(path: Path) -> Arrays:
    """Read the arrays of an ``.npz`` file in the order they were written; float16 becomes float32.

    Raises:
        RunError: the file is missing, damaged, or not an archive of plain arrays.
    """
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array, expected an archive")
            with archive:
                arrays = [archive[name] for name in sorted(archive.files)]
    except DAMAGE as error:
        raise RunError(f"{path}: not a readable archive of weights ({error})") from error
    return [array.astype(np.float32) if array.dtype == np.float16 else array for array in arrays]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to one file, replaced when the new one is complete."""
    header = {
        "phase": checkpoint.phase,
        "epoch": checkpoint.epoch,
        "best_accuracy": checkpoint.best_accuracy,
        "best_epoch": checkpoint.best_epoch,
        "state": len(checkpoint.state),
        "best": len(checkpoint.best),
    }
    encoded = np.frombuffer(json.dumps(header).encode(), np.uint8)
    save_arrays(path, [encoded, *checkpoint.state, *checkpoint.best, *checkpoint.average])


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint written by :func:`save_checkpoint`.

    Raises:
        RunError: the file is missing or damaged.
    """
    loaded = load_arrays(path)
    try:
        encoded, *arrays = loaded
        header = json.loads(encoded.tobytes())
        state, best = header.pop("state"), header.pop("best")
        ends = (state, state + best)
        return Checkpoint(**header, state=arrays[: ends[0]], best=arrays[ends[0] : ends[1]], average=arrays[ends[1] :])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a checkpoint ({error})") from error


@interrupted_later()
def read_variables(variables: Sequence[Any]) -> Arrays:
    """Return the values of Keras or TensorFlow variables as NumPy arrays."""
    return [np.array(variable.numpy()) for variable in variables]


@interrupted_later()
def assign_variables(variables: Sequence[Any], arrays: Sequence[np.ndarray], what: str) -> None:
    """Assign arrays to Keras or TensorFlow variables; ``what`` names the arrays in messages.

    Raises:
        RunError: the number of arrays or a shape does not fit.
    """
    ours, theirs = [tuple(variable.shape) for variable in variables], [array.shape for array in arrays]
    if ours != theirs:
        raise RunError(
            f"{what} does not fit this network: expected {len(ours)} arrays, got {len(theirs)}, "
            "or other shapes; it belongs to another architecture or version"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
