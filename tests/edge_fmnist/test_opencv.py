"""Versions of OpenCV that lack what the newest has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_fmnist.sources.capture import open_camera, open_ffmpeg
from edge_fmnist.vision.opencv import SILENT, silence

PICTURE = np.full((24, 32, 3), 100, np.uint8)


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what OpenCV before 4.13 lacks."""
    monkeypatch.delattr(cv2.utils, "logging", raising=False)


@pytest.fixture
def levels() -> list[int]:
    return []


def test_newer_is_silenced(monkeypatch: pytest.MonkeyPatch, levels: list[int]) -> None:
    monkeypatch.setattr(cv2.utils, "logging", SimpleNamespace(setLogLevel=levels.append), raising=False)
    silence()
    assert levels == [SILENT]


def test_older_is_silenced(monkeypatch: pytest.MonkeyPatch, levels: list[int], older: None) -> None:
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    silence()
    assert levels == [SILENT]


def test_older_opens_captures(older: None, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
    writer.write(PICTURE)
    writer.release()
    capture = open_ffmpeg(str(path), timeout=5)
    delivered, frame = capture.read()
    capture.release()
    assert delivered
    assert frame.shape == PICTURE.shape
    assert not open_camera(str(tmp_path / "no camera")).isOpened()
