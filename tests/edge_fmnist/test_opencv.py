"""Versions of OpenCV that lack what the newest has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_fmnist.sources.capture import SILENT, open_camera, open_ffmpeg, silence

PICTURE = np.full((24, 32, 3), 100, np.uint8)


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what OpenCV before 4.13 lacks."""
    monkeypatch.delattr(cv2.utils, "logging", raising=False)


@pytest.mark.parametrize("place", ["cv2.utils.logging", "cv2"])
def test_it_is_silenced_where_this_version_can(monkeypatch: pytest.MonkeyPatch, older: None, place: str) -> None:
    levels: list[int] = []
    if place == "cv2":
        monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    else:
        monkeypatch.setattr(cv2.utils, "logging", SimpleNamespace(setLogLevel=levels.append), raising=False)
    silence()
    assert levels == [SILENT]


def test_older_opens_captures(older: None, tmp_path: Path, write_video: Callable[..., Path]) -> None:
    capture = open_ffmpeg(str(write_video(tmp_path / "a.avi", [PICTURE])), timeout=5)
    delivered, frame = capture.read()
    capture.release()
    assert delivered
    assert frame.shape == PICTURE.shape
    assert not open_camera(str(tmp_path / "no camera")).isOpened()
