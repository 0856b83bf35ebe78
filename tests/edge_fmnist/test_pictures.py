"""Finding and decoding picture files."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.vision import read_image as pictures
from edge_fmnist.vision.read_image import SUFFIXES, decode_picture, find_pictures, read_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)


def encoded(suffix: str = ".png", picture: np.ndarray = PICTURE) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1].tobytes())


def jpeg_with_orientation(orientation: int) -> bytes:
    """Return a JPEG whose Exif header says how to turn it, as telephones write it."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    content = encoded(".jpg")
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "c.txt", "d[1].png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "e.png").write_bytes(b"x")
    return tmp_path


def found(*arguments: str | Path) -> list[str]:
    return [picture for argument in arguments for picture in find_pictures(str(argument))]


def test_files_stay_in_their_order(folder: Path) -> None:
    files = [str(folder / name) for name in ("c.txt", "b.png", "a.JPG", "b.png")]
    assert found(*files) == files


def test_folder_gives_its_pictures_sorted_and_not_those_below(folder: Path) -> None:
    assert found(folder) == [str(folder / name) for name in ("a.JPG", "b.png", "d[1].png")]


def test_glob(folder: Path) -> None:
    assert found(f"{folder}/?.*") == [str(folder / name) for name in ("a.JPG", "b.png", "c.txt")]
    assert found(f"{folder}/**/e.png") == [str(folder / "sub.png" / "e.png")]


def test_glob_passes_over_folders(folder: Path) -> None:
    assert found(f"{folder}/*.png") == [str(folder / name) for name in ("b.png", "d[1].png")]


def test_file_whose_name_looks_like_a_glob(folder: Path) -> None:
    assert found(folder / "d[1].png") == [str(folder / "d[1].png")]


def test_missing_file_and_stdin_are_passed_on(folder: Path) -> None:
    assert found(folder / "absent.png", "-", folder / "b.png") == [
        str(folder / "absent.png"),
        "-",
        str(folder / "b.png"),
    ]


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match=rf"{tmp_path.name}: no pictures in this folder \(looked for \.bmp, "):
        found(tmp_path)


def test_glob_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\*\.png: no file matches this pattern"):
        found(tmp_path / "*.png")


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".jpeg", ".jpg", ".pgm", ".webp"}))
def test_lossless_formats_decode_to_the_same_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(encoded(suffix))
    assert np.array_equal(read_picture(str(path)), PICTURE)


@pytest.mark.parametrize("suffix", [".jpeg", ".jpg", ".webp"])
def test_lossy_formats_decode(suffix: str) -> None:
    picture = decode_picture(encoded(suffix, np.full((30, 20, 3), (10, 100, 200), np.uint8)), "x")
    assert picture.shape == (30, 20, 3)
    assert np.abs(picture.astype(int) - (10, 100, 200)).max() < 12


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(PICTURE[..., 0], id="grey"),
        pytest.param(np.dstack([PICTURE, PICTURE[..., :1]]), id="alpha"),
        pytest.param(PICTURE.astype(np.uint16) * 257, id="16 bits"),
    ],
)
def test_depth_and_channels_are_kept(picture: np.ndarray) -> None:
    decoded = decode_picture(encoded(".png", picture), "x")
    assert decoded.dtype == picture.dtype
    assert np.array_equal(decoded, picture)


@pytest.mark.parametrize("orientation", [6, 8])
def test_photographs_are_turned_upright(orientation: int) -> None:
    assert decode_picture(jpeg_with_orientation(orientation), "x").shape == (20, 30, 3)


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encoded())))
    assert np.array_equal(read_picture("-"), PICTURE)


def test_empty_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(ImageError, match=r"^-: empty, expected a picture"):
        read_picture("-")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.png: no such file"):
        read_picture(str(tmp_path / "absent.png"))


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot be read .Is a directory"):
        read_picture(str(tmp_path))


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"empty\.png: empty, expected a picture"):
        read_picture(str(tmp_path / "empty.png"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<svg/>", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="signature only"),
        pytest.param(encoded(".png")[:-400], id="truncated PNG"),
        pytest.param(encoded(".bmp")[:-100], id="truncated BMP"),
        pytest.param(encoded(".tif")[:100], id="truncated TIFF"),
    ],
)
def test_corrupt_file(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "corrupt.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"corrupt\.png: (not a picture|cannot be decoded)"):
        read_picture(str(path))
    assert capfd.readouterr().err == ""


def test_file_larger_than_any_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1 << 20)
    (tmp_path / "large.png").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ImageError, match=r"large\.png: larger than 1 MiB"):
        read_picture(str(tmp_path / "large.png"))
