"""Snapshots: image files saved when the label changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.snapshots import Snapshots

MakeResult = Callable[..., LiveResult]
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture
def snapshots(tmp_path: Path) -> Callable[..., Snapshots]:
    """Return a function that opens the sink on a folder, with a fixed clock."""
    return lambda **settings: Snapshots(tmp_path / "shots", clock=lambda: NOON, **settings)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def moments(folder: Path) -> list[str]:
    """Return the counter and label of each moment, in the order of the file names."""
    return [name.rsplit("-", 1)[0] for name in names(folder) if name.endswith(".json")]


def test_four_files(tmp_path: Path, make_result: MakeResult, snapshots: Callable[..., Snapshots]) -> None:
    result = make_result(7, "T-shirt/top")
    with snapshots() as sink:
        sink.write(result)
    stem = "000001-t-shirt-top-20260131T120000"
    folder = tmp_path / "shots"
    assert names(folder) == [f"{stem}-frame.jpg", f"{stem}-image.png", f"{stem}.jpg", f"{stem}.json"]
    assert json.loads((folder / f"{stem}.json").read_text()) == {
        "time": "2026-01-31T12:00:00.000+01:00",
        "files": {"annotated": f"{stem}.jpg", "frame": f"{stem}-frame.jpg", "image": f"{stem}-image.png"},
        **result.as_dict(),
    }
    image = cv2.imread(str(folder / f"{stem}-image.png"), cv2.IMREAD_UNCHANGED)
    assert (np.asarray(image) == result.garment.image).all()
    for name, picture in ((f"{stem}.jpg", annotate(result)), (f"{stem}-frame.jpg", result.frame.picture)):
        saved = np.asarray(cv2.imread(str(folder / name)))
        assert saved.shape == picture.shape
        # Seeded noise is the worst that a JPEG can be given.
        assert np.abs(saved.astype(int) - picture).mean() < 20


def test_each_change_of_the_label(tmp_path: Path, make_result: MakeResult, snapshots: Callable[..., Snapshots]) -> None:
    labels = [None, "Coat", "Coat", "unknown", "unknown", None, None, "unknown", "Coat", None, "Coat"]
    with snapshots() as sink:
        for index, label in enumerate(labels):
            sink.write(make_result(index, label, size=(64, 48)))
    assert moments(tmp_path / "shots") == [
        *("000001-coat", "000002-unknown", "000003-unknown", "000004-coat", "000005-coat")
    ]


def test_the_limit_removes_the_oldest_of_this_run(
    tmp_path: Path, make_result: MakeResult, snapshots: Callable[..., Snapshots]
) -> None:
    with snapshots() as sink:
        sink.write(make_result(0, "Bag", size=(64, 48)))
    (tmp_path / "shots" / "000000-notes.txt").write_text("mine")
    with snapshots(limit=2) as sink:
        for index, label in enumerate(("Coat", "Dress", "Shirt", "Sandal")):
            sink.write(make_result(index, label, size=(64, 48)))
    folder = tmp_path / "shots"
    assert moments(folder) == ["000001-bag", "000004-shirt", "000005-sandal"]
    assert len(names(folder)) == 3 * 4 + 1


def test_files_deleted_by_the_user(
    tmp_path: Path, make_result: MakeResult, snapshots: Callable[..., Snapshots]
) -> None:
    with snapshots(limit=1) as sink:
        sink.write(make_result(0, "Coat", size=(64, 48)))
        for path in (tmp_path / "shots").iterdir():
            path.unlink()
        sink.write(make_result(1, "Dress", size=(64, 48)))
    assert moments(tmp_path / "shots") == ["000002-dress"]


def test_full_disk_keeps_those_before(
    tmp_path: Path,
    make_result: MakeResult,
    snapshots: Callable[..., Snapshots],
    file_size_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    sink = snapshots()
    sink.write(make_result(0, "Coat", size=(64, 48)))
    # Less than a large picture.
    with (
        file_size_limit(8 << 10),
        pytest.raises(SinkError, match=r"shots: cannot save a snapshot \(.+\); earlier snapshots are complete"),
    ):
        sink.write(make_result(1, "Dress", size=(640, 480)))
    sink.close()
    assert moments(tmp_path / "shots") == ["000001-coat"]
    assert len(names(tmp_path / "shots")) == 4


def test_bad_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(UsageError, match="expected a folder for snapshots, got a file"):
        Snapshots(tmp_path / "file")
    with pytest.raises(SinkError, match="cannot be used for snapshots"):
        Snapshots(tmp_path / "file" / "shots")


@pytest.mark.parametrize(
    ("label", "slug"), [("Ankle boot", "ankle-boot"), ("../../etc", "etc"), ("上着", "label"), ("A" * 300, "a" * 40)]
)
def test_any_label_makes_a_file_name(tmp_path: Path, make_result: MakeResult, label: str, slug: str) -> None:
    with Snapshots(tmp_path / "new" / "shots") as sink:
        sink.write(make_result(label=label, size=(28, 28)))
    assert moments(tmp_path / "new" / "shots") == [f"000001-{slug}"]


def test_two_runs_share_a_folder(tmp_path: Path, make_result: MakeResult, snapshots: Callable[..., Snapshots]) -> None:
    with snapshots() as one, snapshots() as other:
        one.write(make_result(1, "Bag"))
        other.write(make_result(2, "Bag"))
        one.write(make_result(3, "Coat"))
    assert moments(tmp_path / "shots") == ["000001-bag", "000002-bag", "000003-coat"]


def test_temporary_files_of_a_killed_run_are_removed(tmp_path: Path, snapshots: Callable[..., Snapshots]) -> None:
    (tmp_path / "shots").mkdir()
    for name in (".000001-coat-20260131T120000-frame.jpg.abcd_123.jpg", ".notes.jpg", "photo.jpg"):
        (tmp_path / "shots" / name).touch()
    snapshots().close()
    assert names(tmp_path / "shots") == [".notes.jpg", "photo.jpg"]
