from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.errors import RunNotFoundError
from edge_fmnist_export.quantize.ship import store_checkpoint
from edge_fmnist_export.training import run_folder
from edge_fmnist_export.training.run_folder import open_run


def test_checkpoint_holds_the_run_and_nothing_of_an_earlier_one(tiny_run: Path, tmp_path: Path) -> None:
    target = store_checkpoint(open_run(tiny_run), tmp_path / "checkpoints")
    assert target == tmp_path / "checkpoints" / "tiny"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_run.iterdir()
    }
    later = Path(shutil.copytree(tiny_run, tmp_path / "later"))
    (later / "calibration.json").unlink()
    (later / "checkpoint.npz").write_bytes(b"unfinished")
    store_checkpoint(open_run(later), tmp_path / "checkpoints")
    assert {path.name for path in target.iterdir()} == {path.name for path in tiny_run.iterdir()} - {"calibration.json"}


def test_weights_stored_as_float16_load_as_float32(tiny_run: Path, tmp_path: Path) -> None:
    run = open_run(tiny_run)
    stored = open_run(store_checkpoint(run, tmp_path, half=True))
    assert stored.weights_path("float").stat().st_size < 0.6 * run.weights_path("float").stat().st_size
    for half, whole in zip(stored.weights("float"), run.weights("float"), strict=True):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, whole, rtol=1e-3, atol=1e-6)


def test_weights_that_the_package_leaves_out_say_where_they_are(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "CHECKPOINTS", tmp_path)
    store_checkpoint(open_run(tiny_run), tmp_path)
    (tmp_path / "tiny" / "float.npz").unlink()
    with pytest.raises(
        RunNotFoundError, match=r"not part of the installed package.*export/.*/checkpoints/tiny/float\.npz"
    ):
        open_run("tiny").weights("float")
