from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_fmnist_export.quantize import ship
from edge_fmnist_export.training.run import open_run


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that checkpoints are now shipped to."""
    monkeypatch.setattr(ship, "CHECKPOINTS", tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_checkpoint_holds_the_run(checkpoints: Path, tiny_run: Path) -> None:
    ship._copy_checkpoint(open_run(tiny_run))
    copied = {path.name: path.read_bytes() for path in (checkpoints / "tiny").iterdir()}
    assert copied == {path.name: path.read_bytes() for path in tiny_run.iterdir()}


def test_nothing_of_an_earlier_checkpoint_stays(checkpoints: Path, tiny_run: Path, tmp_path: Path) -> None:
    ship._copy_checkpoint(open_run(tiny_run))
    later = Path(shutil.copytree(tiny_run, tmp_path / "later"))
    (later / "calibration.json").unlink()
    (later / "checkpoint.npz").write_bytes(b"unfinished")
    ship._copy_checkpoint(open_run(later))
    names = {path.name for path in (checkpoints / "tiny").iterdir()}
    assert names == {path.name for path in tiny_run.iterdir()} - {"calibration.json"}
