"""The reader of still pictures: formats by content, orientation, transparency, memory, damage."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_fmnist.errors import ImageError, MissingExtraError, SourceError
from edge_fmnist.model.inputs import read_pixels
from edge_fmnist.vision import read_image as module
from edge_fmnist.vision.picture_files import find_pictures, is_picture
from edge_fmnist.vision.preprocess import preprocess, to_8_bits
from edge_fmnist.vision.read_image import decode_picture, decode_still, read_image

CASES = Path(__file__).with_name("cases")
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
# Pictures that a lossy format changes little.
SMOOTH = cv2.resize(PICTURE[:4, :3], (90, 120), interpolation=cv2.INTER_CUBIC)


def encoded(kind: str, picture: np.ndarray = PICTURE, **options: Any) -> bytes:
    """Return a BGR, BGRA or grey picture as a file of a format that Pillow writes."""
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, order[picture.shape[2]])
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize("kind", ["BMP", "PNG", "PPM", "TIFF", "JPEG2000"])
def test_lossless_formats(kind: str) -> None:
    assert np.array_equal(read_image(encoded(kind)), PICTURE)


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "JPEG", "WEBP"])
def test_lossy_formats(kind: str) -> None:
    picture = read_image(encoded(kind, SMOOTH))
    assert picture.shape == SMOOTH.shape
    assert np.abs(picture.astype(int) - SMOOTH).mean() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_every_mode_becomes_bgr(mode: str) -> None:
    grey = np.full((40, 30), 255, np.uint8)
    grey[10:30, 10:20] = 0
    stream = io.BytesIO()
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(stream, "TIFF" if mode == "CMYK" else "PNG")
    assert np.array_equal(read_image(stream.getvalue()), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def test_16_bit_jpeg_2000() -> None:
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    content = cv2.imencode(".jp2", SMOOTH.astype(np.uint16) * 257, options)[1].tobytes()
    assert np.abs(read_image(content).astype(int) - SMOOTH).max() <= 1
    white = cv2.imencode(".jp2", np.full((40, 40, 3), 65535, np.uint16))[1].tobytes()
    assert read_image(white).min() == 255


def test_floating_point_pictures_are_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(stream, "TIFF")
    with pytest.raises(ImageError, match="expected an image of uint8 or uint16, got float32"):
        read_image(stream.getvalue())


@pytest.mark.parametrize("value", [-1, 1 << 16])
def test_values_beyond_16_bits_are_refused(value: int) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.int32)).save(stream, "TIFF")
    with pytest.raises(ImageError, match="expected an image of uint8 or uint16, got int32"):
        read_image(stream.getvalue())


@pytest.mark.parametrize("number", [1, 6])
def test_the_size_of_a_still_picture_is_that_of_the_file_upright(number: int) -> None:
    still = decode_still(encoded("PNG", np.zeros((900, 1200, 3), np.uint8), exif=orientation(number)), "picture")
    assert (still.width, still.height) == ((1200, 900) if number == 1 else (900, 1200))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_are_turned_upright(kind: str, number: int) -> None:
    stored = np.zeros((60, 90, 3), np.uint8)
    stored[:30, :30] = 255
    # Where the bright corner of the stored picture belongs: EXIF counts rows and columns from its own corners.
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[number]
    picture = read_image(encoded(kind, stored, exif=orientation(number)))
    assert picture.shape[:2] == ((60, 90) if number < 5 else (90, 60))
    bright = {place for place in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if picture[place].mean() > 128}
    assert bright == {corner}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_transparent_pictures_are_turned_and_keep_their_alpha(kind: str) -> None:
    cut_out = np.dstack([np.full((60, 90, 3), 200, np.uint8), np.zeros((60, 90), np.uint8)])
    cut_out[:30, :45, 3] = 255
    picture = read_image(encoded(kind, cut_out, exif=orientation(6)))
    assert picture.shape == (90, 60, 4)
    assert (picture[:40, 35:, 3] > 250).all()
    assert (picture[50:, :, 3] < 5).all()


def test_an_opaque_alpha_channel_is_dropped() -> None:
    opaque = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    assert np.array_equal(read_image(encoded("PNG", opaque)), PICTURE)


@pytest.mark.parametrize("name", ["heic-turned-trousers.heic", "avif-turned-trousers.avif", "exif6-trousers.jpg"])
def test_photographs_of_telephones(name: str) -> None:
    if name.endswith("heic"):
        pytest.importorskip("pillow_heif")
    picture = read_image(CASES / name)
    assert picture.shape == (180, 240, 3)
    assert preprocess(picture).found


def test_heic_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"edge-fmnist\[heif\]"):
        read_image(CASES / "heic-turned-trousers.heic")


def test_the_alpha_channel_is_the_mask() -> None:
    picture = read_image(CASES / "white-cutout.png")
    garment = preprocess(picture)
    assert garment.found
    assert garment.confidence == 1
    assert garment.image[14, 14] > 90


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_black_in_a_28x28_image(kind: str) -> None:
    image = np.zeros((28, 28, 4), np.uint8)
    image[..., :3] = 255
    image[8:20, 8:20, 3] = 255
    read = read_image(encoded(kind, image, lossless=True))
    assert read.shape == (28, 28)
    assert np.array_equal(read > 0, image[..., 3] > 0)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("factor", [np.uint16(1), np.uint16(257)], ids=["0..255", "0..65535"])
def test_16_bit_images(suffix: str, channels: int, factor: np.uint16) -> None:
    image = np.asarray(cv2.imread(str(CASES / "28x28-boot.png"), cv2.IMREAD_GRAYSCALE))
    deep = image.astype(np.uint16) * factor
    picture = np.dstack([deep] * channels)
    # The last of four channels is alpha.
    picture[..., 3:] = 65535
    content = cv2.imencode(suffix, picture)[1].tobytes()
    assert np.array_equal(read_image(content), image)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_fewer_than_16_bits(suffix: str, channels: int, bits: int) -> None:
    deep = np.dstack([PICTURE[..., 0].astype(np.uint16) << (bits - 8)] * channels)
    read = read_image(cv2.imencode(".pgm" if (suffix, channels) == (".ppm", 1) else suffix, deep)[1].tobytes())
    # Pillow rounds in PNM.
    assert np.abs(read[..., 0].astype(int) - PICTURE[..., 0]).max() <= (suffix == ".ppm" and bits == 16)
    assert np.array_equal(to_8_bits(deep)[..., 0], PICTURE[..., 0])


def test_dark_pictures_whose_depth_the_file_states() -> None:
    dark = np.full((30, 40, 3), 40, np.uint8)
    for kind, maximum in ((b"P6", 1023), (b"P5", 1023), (b"P6", 4095)):
        values = np.full((30, 40, 3 if kind == b"P6" else 1), 40 * (maximum + 1) // 256, ">u2")
        content = b"%s # white\r\n40 30\n%d\n%s" % (kind, maximum, values.tobytes())
        assert np.abs(read_image(content).astype(int) - dark).max() <= 1
    bits = b"P4\n40 30\n" + bytes(5 * 30)
    assert read_image(bits).min() == 255


@pytest.mark.parametrize("factor", [1, 257])
def test_the_alpha_channel_of_16_bits_has_its_own_range(factor: int) -> None:
    cut = np.dstack([PICTURE, np.where(PICTURE[..., 0] > 99, 255, 0).astype(np.uint8)])
    deep = cut.astype(np.uint16)
    deep[..., 3] *= factor
    assert np.array_equal(read_image(cv2.imencode(".png", deep)[1].tobytes()), cut)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_the_transparent_value_of_a_grey_png(bits: int) -> None:
    values = np.random.default_rng(1).integers(0, 1 << bits, (30, 40))
    rows = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(30, 40, 2), axis=2)[..., -bits:]
    lines = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 40, 30, bits, 0, 0, 0, 0)
    value = int(values[3, 5])
    content = png(IHDR=header, tRNS=struct.pack(">H", value), IDAT=zlib.compress(lines))
    assert np.array_equal(read_image(content)[..., 3] == 0, values == value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_large_16_bit_photographs_are_those_of_8_bits(kind: str, dtype: str) -> None:
    grey = cv2.resize(PICTURE[..., 0], (901, 1200), interpolation=cv2.INTER_CUBIC)
    stream = io.BytesIO()
    Image.fromarray((grey.astype(np.uint16) * 257).astype(dtype)).save(stream, kind)
    assert np.array_equal(read_image(stream.getvalue()), read_image(encoded("PNG", grey)))


@pytest.mark.parametrize("edge", [200, 384, 700, 1000, 1600, 3200])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_pictures_are_reduced(kind: str, edge: int) -> None:
    picture = read_image(encoded(kind, np.full((edge, edge // 2, 3), 100, np.uint8)))
    factor = max(1, edge // 384)
    # JPEG by 2, 4 or 8 only.
    assert picture.shape[0] == -(-edge // (factor if kind == "PNG" else 1 << min(3, factor.bit_length() - 1)))
    assert np.abs(picture.astype(int) - 100).max() < 4


def test_frames_of_a_camera_keep_their_size() -> None:
    assert decode_picture(encoded("JPEG", np.zeros((1200, 1600, 3), np.uint8)), "camera").shape == (1200, 1600, 3)


def png_header(width: int, height: int, colour: int = 2) -> bytes:
    """Return a PNG that announces a size and has no pixels of it."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return png(IHDR=header, IDAT=zlib.compress(bytes(100)))


def png(**chunks: bytes) -> bytes:
    """Return a PNG of these chunks and the last one."""
    named = [(name.encode(), data) for name, data in {**chunks, "IEND": b""}.items()]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in named
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2**30)])
def test_pictures_that_would_take_too_much_memory(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"^picture: \d+ x \d+ pixels would take [\d,]+ MB to decode, more than 96"):
        read_image(png_header(*size))


def test_a_camera_that_announces_a_huge_jpeg() -> None:
    content = bytearray(encoded("JPEG", SMOOTH))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(ImageError, match="65000 x 65000 pixels would take"):
        decode_picture(bytes(content), "camera")


def test_a_progressive_jpeg_takes_memory_at_its_full_size() -> None:
    content = bytearray(encoded("JPEG", SMOOTH, progressive=True))
    place = content.index(b"\xff\xc2")
    content[place + 5 : place + 9] = struct.pack(">HH", 9000, 12_000)
    with pytest.raises(ImageError, match=r"12000 x 9000 pixels would take 3\d\d MB .*baseline JPEG"):
        read_image(bytes(content))


PEAK = (
    "import sys; from edge_fmnist.model.measure import peak_memory_bytes\n"
    "from edge_fmnist.vision.read_image import read_image\n"
    "from edge_fmnist.vision.preprocess import preprocess\n"
    "picture = read_image(sys.argv[1]); preprocess(picture)\n"
    "print(peak_memory_bytes() // 1_000_000, *picture.shape)"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("phone.jpg", "RGB", (12_000, 9_000)),
        ("photo.webp", "RGB", (4000, 3000)),
        ("photo.jp2", "RGB", (4000, 3000)),
        ("photo.avif", "RGB", (4000, 3000)),
        ("panorama.png", "P", (31_000, 3_000)),
        ("scan.png", "I;16", (6_900, 6_900)),
    ],
)
def test_large_photographs_take_little_memory(tmp_path: Path, name: str, mode: str, size: tuple[int, int]) -> None:
    path = tmp_path / name
    Image.new(mode, size, (90, 120, 150) if mode == "RGB" else 0).save(path)
    run = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    peak, height, width, _ = map(int, run.stdout.split())
    assert height == pytest.approx(width * size[1] / size[0], abs=1)
    assert peak <= 200


def test_a_large_black_picture_of_16_bits_a_channel_is_refused() -> None:
    black = np.zeros((3300, 3300, 3), np.uint16)
    with pytest.raises(ImageError, match="3300 x 3300 pixels would take"):
        read_image(cv2.imencode(".png", black)[1].tobytes())


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}]
)
def test_jpeg_without_its_end_marker_or_with_more_after_it(options: dict[str, Any]) -> None:
    content = encoded("JPEG", SMOOTH, quality=90, **options)
    whole = read_image(content)
    assert np.array_equal(read_image(content[:-2]), whole)
    assert np.array_equal(read_image(content + bytes(5000)), whole)
    # Fill bytes may precede any marker.
    assert np.array_equal(read_image(content[:-2] + b"\xff\xff\xff\xd9"), whole)


def test_the_jpeg_whose_second_half_is_zeros() -> None:
    with pytest.raises(ImageError, match=r"jpeg-half-zeroed\.jpg: damaged JPEG picture"):
        read_image(CASES / "jpeg-half-zeroed.jpg")


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("ground", [0, 128, 255])
def test_a_plain_ground_in_a_progressive_jpeg_is_not_damage(ground: int, subsampling: int) -> None:
    pixels = np.full((1600, 1200, 3), ground, np.uint8)
    pixels[400:1200, 450:750] = np.random.default_rng(0).integers(60, 120, (800, 300, 3), dtype=np.uint8)
    content = encoded("JPEG", pixels, quality=85, subsampling=subsampling, progressive=True)
    # Of its first scan; it is what this test is about.
    assert bytes(512) in content
    assert np.array_equal(read_image(content), read_image(encoded("JPEG", pixels, quality=85, subsampling=subsampling)))
    with pytest.raises(ImageError, match="damaged JPEG picture"):
        read_image(content[: len(content) // 4] + bytes(len(content) - len(content) // 4))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("damage", ["zeros", "cut"])
def test_damaged_jpegs(options: dict[str, Any], damage: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (160, 120, 3), dtype=np.uint8)
    content = encoded("JPEG", noise, quality=90, **options)
    # A progressive JPEG that ends in its last scan only lacks detail.
    middle = len(content) // (8 if options.get("progressive") else 2)
    damaged = content[:middle] if damage == "cut" else content[:middle] + bytes(len(content) - middle - 2) + b"\xff\xd9"
    with pytest.raises(ImageError, match="damaged JPEG picture"):
        read_image(damaged)


def test_a_jpeg_without_the_scans_of_all_colours_is_damaged() -> None:
    content = encoded("JPEG", SMOOTH[..., 0])
    start = content.index(b"\xff\xc0")
    # The header announces two more components.
    announced = b"\xff\xc0\0\x11" + content[start + 4 : start + 9] + b"\3" + content[start + 10 : start + 13]
    announced += b"\2\x11\0" + b"\3\x11\0"
    with pytest.raises(ImageError, match="the data ends early"):
        read_image(content[:start] + announced + content[start + 13 :])


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "WEBP"])
def test_zeros_in_the_data_are_damage(kind: str) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    noise = np.random.default_rng(1).integers(0, 256, (160, 120, 3), dtype=np.uint8)
    content = encoded(kind, noise, quality=90)
    half = len(content) // 2
    with pytest.raises(ImageError, match="a part of its data is zeros"):
        read_image(content[:half] + bytes(half - 8) + content[-8:])
    plain = encoded(kind, np.full((1600, 1200, 3), 255, np.uint8))
    assert read_image(plain).min() >= 250
    exif = Image.Exif()
    exif[0x010E] = "\0" * 6000
    assert read_image(encoded(kind, SMOOTH, quality=50, exif=exif)).shape == SMOOTH.shape
    if kind == "WEBP":
        assert read_image(encoded(kind, np.full((900, 900, 3), 255, np.uint8), lossless=True, method=0)).min() == 255
        # Behind the picture, zeros are no damage.
        assert np.array_equal(read_image(content + bytes(half)), read_image(content))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "AVIF", "PPM"])
@pytest.mark.parametrize("keep", [0.2, 0.6])
def test_truncated_files(tmp_path: Path, kind: str, keep: float, capfd: pytest.CaptureFixture[str]) -> None:
    content = encoded(kind, cv2.resize(PICTURE, (300, 400)))
    (tmp_path / "cut").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ImageError, match=r"cut: damaged \S+ picture"):
        read_image(tmp_path / "cut")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, expected a picture"),
        (b"GIF89a", r"damaged GIF picture \(it ends too early\)"),
        (b"no picture", "not a picture; expected AVIF, BMP"),
        (b"<svg/>", "SVG or XML, not a still picture"),
        (b"%PDF-1.7", "PDF, not a still picture"),
        (b"\0\0\0\x18ftypisom", "MP4 video, not a still picture .*live --source FILE"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "macOS resource fork"),
        (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    ],
)
def test_other_files_are_named_for_what_they_are(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(content)


def test_paths_bytes_and_file_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("PNG")
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with (tmp_path / "a").open("rb") as stream:
        for source in (tmp_path / "a", str(tmp_path / "a"), content, io.BytesIO(content), stream, "-"):
            assert np.array_equal(read_image(source), PICTURE)

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(7, size or 7))

    assert np.array_equal(read_image(Pipe(content)), PICTURE)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("absent.png", SourceError, "absent.png: no such file"),
        ("", ImageError, "cannot be read .Is a directory"),
        ("a" * 300, ImageError, "cannot be read .File name too long"),
        ("nul\0", ImageError, "cannot be read .embedded null byte"),
    ],
)
def test_paths_that_cannot_be_read(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_image(f"{tmp_path}/{name}")


def test_files_larger_than_any_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    (tmp_path / "large.png").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ImageError, match=r"large\.png: larger than 1 MiB"):
        read_image(tmp_path / "large.png")
    # Nor is there a size to ask for before a stream is read.
    with pytest.raises(ImageError, match="picture: larger than 1 MiB"):
        read_image(io.BytesIO(bytes((1 << 20) + 1)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {
        "b.png": encoded("PNG"),
        "a": encoded("JPEG"),
        "c.txt": b"text",
        "d[1].jfif": encoded("JPEG"),
        "e.jpg": b"damaged",
        "f.mp4": (CASES / "av1.mp4").read_bytes(),
        "g.csv": b"1,2",
        "h.txt": b"text",
        "._b.png": b"\0\x05\x16\x07",
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "e.png").write_bytes(encoded("PNG"))
    return tmp_path


def found(argument: object) -> tuple[list[str], list[str]]:
    warnings: list[str] = []
    return [Path(path).name for path in find_pictures(str(argument), warnings.append)], warnings


def test_a_folder_gives_its_pictures_by_content_and_counts_the_rest(folder: Path) -> None:
    names, warnings = found(folder)
    assert names == ["a", "b.png", "d[1].jfif", "e.jpg"]
    assert warnings == [f"{folder}: 4 files skipped: 2 .txt, 1 MP4 video, 1 .csv"]
    assert is_picture(folder / "a")
    assert not is_picture(folder / "f.mp4")


def test_heic_in_a_folder_without_its_extra_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "z.jpg").write_bytes((CASES / "heic-turned-trousers.heic").read_bytes())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    names, warnings = found(folder)
    assert "z.jpg" not in names
    assert "1 HEIC (needs the extra edge-fmnist[heif])" in warnings[0]


def test_a_glob_follows_no_links_to_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "coats/b.jpg", "coats/long/c.jpg", ".hidden/d.jpg"):
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_bytes(b"\xff\xd8\xff")
    for place in (".", "coats"):
        (tmp_path / "shop" / place / "loop").symlink_to(tmp_path / "shop")
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    everything = ["a.jpg", "coats/b.jpg", "coats/long/c.jpg"]
    monkeypatch.chdir(tmp_path)
    for start in ("shop", "link", str(tmp_path / "shop")):
        for end in ("**", "**/*.jpg", "**/**/*"):
            assert list(find_pictures(f"{start}/{end}")) == [f"{start}/{name}" for name in everything]
    assert list(find_pictures("**/coats/**/*.jpg")) == ["shop/coats/b.jpg", "shop/coats/long/c.jpg"]
    assert list(find_pictures("shop/*.jpg")) == ["shop/a.jpg"]
    with pytest.raises(SourceError, match="no file matches"):
        list(find_pictures("shop/**/"))


def test_files_and_globs(folder: Path) -> None:
    assert found(folder / "d[1].jfif")[0] == ["d[1].jfif"]
    assert found(f"{folder}/[a-b]*")[0] == ["a", "b.png"]
    assert found(f"{folder}/**/e.png")[0] == ["e.png"]
    assert [found(name)[0] for name in ("-", "absent.png", "a" * 300)] == [["-"], ["absent.png"], ["a" * 300]]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures in this folder"):
        found(tmp_path)
    with pytest.raises(SourceError, match=r"\*\.png: no file matches this pattern"):
        found(tmp_path / "*.png")


def test_a_text_that_begins_like_a_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "todo").write_text("P1 meeting: bring the coats", "utf-8")
    (tmp_path / "image").write_text("P1\n# comment\n1 1\n0\n", "utf-8")
    assert (is_picture(tmp_path / "todo"), is_picture(tmp_path / "image")) == (False, True)


def test_a_long_jpeg_is_read() -> None:
    assert read_image(cv2.imencode(".jpg", np.zeros((3, 2000, 3), np.uint8))[1].tobytes()).shape[0] >= 1


def deep_tiff(pixels: np.ndarray, tag: int, value: int) -> bytes:
    """Return a TIFF of 16 bits by OpenCV, with another value of a tag."""
    content = bytearray(cv2.imencode(".tif", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())
    entry = content.index(struct.pack("<HHI", tag, 3, 1))
    content[entry + 8 : entry + 10] = struct.pack("<H", value)
    return bytes(content)


@pytest.mark.parametrize(("top", "shift"), [(65535, 8), (255, 0)])
def test_a_tiff_of_16_bits_may_count_from_white(top: int, shift: int) -> None:
    grey = np.linspace(0, top, 1200).astype(np.uint16).reshape(40, 30)
    content = deep_tiff(grey, 262, 0)
    assert np.array_equal(read_image(content)[..., 0], 255 - (grey >> shift))
    assert np.array_equal(read_pixels(Image.open(io.BytesIO(content))), top - grey)


def test_a_tiff_of_16_bits_with_separate_planes_is_refused() -> None:
    content = deep_tiff(PICTURE.astype(np.uint16) << 8, 284, 2)
    for picture in (content, Image.open(io.BytesIO(content))):
        with pytest.raises(ImageError, match="separate colour planes"):
            read_pixels(picture)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_damaged_exif_does_not_matter(kind: str) -> None:
    assert read_image(encoded(kind, SMOOTH, exif=b"Exif\0\0damaged")).shape == SMOOTH.shape


def test_a_jpeg_that_ends_in_erased_flash_is_damaged_at_once() -> None:
    content = encoded("JPEG")
    started = time.process_time()
    with pytest.raises(ImageError, match="damaged JPEG"):
        read_image(content[: len(content) // 2] + b"\xff" * 100_000)
    # Quadratic time was 25 s.
    assert time.process_time() - started < 5


def test_a_tile_larger_than_the_picture_counts() -> None:
    tags = {256: 40, 257: 30, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16_000, 323: 16_000, 324: 8, 325: 1}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    with pytest.raises(ImageError, match="would take 256 MB to decode"):
        read_image(struct.pack("<4sIH", b"II*\0", 8, len(tags)) + directory + bytes(4))


def test_threads_that_read_pictures_leave_the_filters_of_warnings() -> None:
    content, before = encoded("JPEG", exif=b"Exif\0\0damaged"), list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_image, [content] * 200))
    assert warnings.filters == before
