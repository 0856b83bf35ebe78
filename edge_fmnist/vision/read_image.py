"""Read still pictures: the one reader for files, standard input, HTTP snapshots and camera JPEGs.

What decoding would take is known from the header and limited before anything is decoded. Exif and container orientation
are applied. Pillow decodes: it reads JPEGs at reduced size, reports truncated data, and needs a tenth of OpenCV's
memory for photographs of telephones.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from edge_fmnist.errors import ImageError, MissingExtraError, SourceError
from edge_fmnist.vision.integrity import is_zero_filled, prepare_jpeg
from edge_fmnist.vision.picture_files import PICTURE_FORMATS, STDIN, identify

if TYPE_CHECKING:
    from PIL import Image, ImageFile

MAX_BYTES = 256 << 20
# Of a local file, read first: a buffer for the most bytes would take longer to allocate than a photograph to read.
_FIRST_BYTES = 256 << 10
# Decoded pixels in memory. Beside the runtime itself, it keeps a process below 200 MB.
MAX_DECODED = 96_000_000
# What decoding takes where it is not the pixels alone, as measured. Telephones write HEIC of 48 megapixels, of which
# pillow-heif keeps three bytes a pixel. AVIF takes nine, so that one of 12 megapixels comes to 108 MB.
BYTES_PER_PIXEL = {"AVIF": 8, "HEIC": 2, "JPEG 2000": 20, "WebP": 8}
# Still pictures are reduced by a whole factor that keeps the longest edge at this many pixels or more: four times the
# edge that segmentation works on.
STILL_EDGE = 384
# Frames of a stream keep their size up to this edge.
FRAME_EDGE = 3840
IMAGE_SIZE = (28, 28)

# Plug-in of Pillow and its class for each format.
PLUG_INS = {
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "JPEG 2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "PNM": ("PpmImagePlugin", "PpmImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
}
# Bytes for each pixel of a picture of more than 8 bits a colour.
_DEEP_BYTES = 9
# Enough for the comments of a header.
_PNM_HEADER = 4096
# Pixels that are converted and averaged at a time.
_STRIP_PIXELS = 1 << 20
# Bytes of a baseline JPEG that are decoded at a time, and that may be left over.
_JPEG_BLOCK, _JPEG_LEFTOVER = 4096, 512


def read_image(source: str | os.PathLike[str] | bytes | BinaryIO) -> np.ndarray:
    """Read one still picture, upright, at a size that is enough to classify it.

    Large pictures are reduced by a whole factor, so that their longest edge has 384 pixels or more.

    Args:
        source: a path, ``-`` for standard input, the bytes of a picture file, or a binary file object.

    Returns:
        uint8; shape (H, W, 3) BGR, (H, W, 4) BGRA where the picture has transparency, or (28, 28) grey for a picture
        of 28x28, where transparent pixels are black.

    Raises:
        SourceError: the file does not exist.
        ImageError: it cannot be read, is not a picture, is damaged, or would take too much memory.
        MissingExtraError: HEIC without the package pillow-heif.
    """
    data, name = read_bytes(source)
    return decode_still(data, name).pixels


# The documented name of earlier versions.
read_picture = read_image


class Still(NamedTuple):
    """A decoded still picture.

    Attributes:
        pixels: as :func:`read_image` returns them, upright and reduced.
        width: of the picture as stored in the file, but upright, in pixels.
        height: the same.
    """

    pixels: np.ndarray
    width: int
    height: int


def decode_picture(data: bytes, source: str) -> np.ndarray:
    """Decode a frame of a stream from the bytes of a picture file; reduced if its longest edge exceeds 3840 pixels.

    Args:
        data: the content of the file.
        source: its name for messages.

    Returns:
        As :func:`read_image`.

    Raises:
        ImageError: not a picture, a damaged one, or one that would take too much memory.
        MissingExtraError: HEIC without the package pillow-heif.
    """
    return decode_still(data, source, FRAME_EDGE).pixels


class _NoWarnings:
    """Ignores warnings while any thread is in it; ``catch_warnings`` in each of them would restore others' filters."""

    def __init__(self) -> None:
        self._lock, self._threads, self._restore = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._restore.close()


# Pillow warns of damaged metadata, which does not matter here.
_NO_WARNINGS = _NoWarnings()


def decode_still(data: bytes, source: str, edge: int = STILL_EDGE) -> Still:
    """Decode the bytes of a picture file, and return the size that it has in the file, too.

    Args and errors are those of :func:`decode_picture`. The picture is reduced by a whole factor that keeps its longest
    edge at ``edge`` pixels or more.
    """
    if not data:
        raise ImageError(f"{source}: empty, expected a picture")
    kind = identify(data)
    if kind is None:
        raise ImageError(f"{source}: not a picture; expected {', '.join(sorted(PICTURE_FORMATS - {'HEIC'}))} or HEIC")
    if kind not in PICTURE_FORMATS:
        hint = "; use `edge-fmnist live --source FILE` for videos" if kind.endswith("video") else ""
        raise ImageError(f"{source}: {kind}, not a still picture that can be decoded{hint}")
    try:
        with _NO_WARNINGS:
            return _decode(data, source, kind, edge)
    except MissingExtraError:
        raise
    except ImageError as error:
        raise error if str(error).startswith(f"{source}: ") else ImageError(f"{source}: {error}") from error
    except Exception as error:  # Decoders raise almost anything for damaged files.
        if isinstance(error, SyntaxError) and "unknown pixel mode" in str(error):
            raise ImageError(f"{source}: {kind} pixels that cannot be decoded; save 8 bits a colour") from error
        reason = "it ends too early" if isinstance(error.__cause__ or error, struct.error) else error
        raise ImageError(f"{source}: damaged {kind} picture ({reason})") from error


def read_bytes(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[bytes, str]:
    """Return the content of a source, as :func:`read_image` takes it, and its name for messages.

    Raises:
        SourceError: the file does not exist.
        ImageError: it cannot be read, or is larger than 256 MiB.
    """
    if isinstance(source, bytes):
        return source, "picture"
    if not isinstance(source, (str, os.PathLike)):
        name = str(getattr(source, "name", "picture"))
        return read_limited(lambda: contextlib.nullcontext(source), name), name
    if source == STDIN:
        return read_limited(lambda: contextlib.nullcontext(sys.stdin.buffer), STDIN), STDIN
    name = os.fspath(source)
    with contextlib.suppress(OSError, ValueError):
        # Before memory is taken for it.
        if os.path.getsize(source) > MAX_BYTES:  # noqa: PTH202
            raise _too_large(name)
    return read_limited(lambda: open(source, "rb"), name), name  # noqa: PTH123 - closed by read_limited


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name}: larger than {MAX_BYTES >> 20} MiB; save the picture smaller")


def read_limited(
    opened: Callable[[], contextlib.AbstractContextManager[Any]], name: str, first: int = _FIRST_BYTES
) -> bytes:
    """Return the content of the binary file that a function opens, on any file system.

    ``first`` is the number of bytes of the first read; a second one reads the rest.

    Raises:
        SourceError: the file does not exist.
        ImageError: it cannot be read, is not binary, or is larger than 256 MiB.
    """
    try:
        with opened() as stream:
            data = part = stream.read(first)
            # A pipe without a buffer gives what has arrived.
            while isinstance(part, bytes) and part and len(data) <= MAX_BYTES:
                data += (part := stream.read(MAX_BYTES + 1 - len(data)))
    except FileNotFoundError as error:
        raise SourceError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: expected a file opened in binary mode, got {type(data).__name__}")
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return data


def _decode(data: bytes, source: str, kind: str, edge: int) -> Still:
    image: Any
    if kind == "JPEG":
        image, size = _load_jpeg(data, source, edge)
    else:
        image = _open_heif(data) if kind == "HEIC" else _open(data, kind)
        # Raises for separate planes.
        counts_from_white(image)
        size, reduction = image.size, 0
        if kind == "JPEG 2000":
            # Colours of more than 8 bits are decoded again, at full size.
            again = image.mode == "RGB" and _jpeg_2000_bits(data) > 8
            reduction = 0 if again else _jpeg_2000_reduction(data, max(size) // edge)
            image.reduce = reduction
        channels = {"1": 1, "L": 1, "P": 1, "I;16": 2}.get(image.mode[:4], 4)
        pixels = (size[0] >> reduction) * (size[1] >> reduction)
        _check_memory(source, size, max(pixels, _tile_pixels(image)) * BYTES_PER_PIXEL.get(kind, channels))
        if kind == "PNM":
            image.info["maximum"] = _pnm_maximum(data)
        if kind in ("AVIF", "HEIC", "WebP") and is_zero_filled(data, size[0] * size[1], image.info.get("exif")):
            raise ImageError(f"damaged {kind} picture (a part of its data is zeros)")
        if kind != "WebP":
            image.load()
        if kind == "PNG" and image.mode == "L" and isinstance(grey := image.info.get("transparency"), int):
            # Pillow scales the pixels to 8 bits, and not this value.
            image.info["transparency"] = grey * 255 // ((1 << data[24]) - 1)
    orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    if kind == "WebP":
        image = _load_webp(data)
    array = _to_array(image, edge, data)
    width, height = size[::-1] if orientation in _SIDEWAYS else size
    return Still(np.ascontiguousarray(turn(array) if turn else array), width, height)


def _orientation(image: Any) -> int:
    """Return the Exif orientation of a picture; 1, upright, if its metadata is damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises almost anything.
        return 1


def _jpeg_2000_bits(data: bytes) -> int:
    """Return the bits of a colour of a JPEG 2000 picture; T.800, annex A.5.1: Ssiz in the marker segment SIZ."""
    marker = data.find(b"\xff\x4f\xff\x51") + 2
    return (data[marker + 40] & 0x7F) + 1 if 2 <= marker < len(data) - 40 else 8


def _jpeg_2000_reduction(data: bytes, factor: int) -> int:
    """Return how many times a JPEG 2000 picture can be halved while decoding: not below 1 / ``factor`` of its size.

    Format: ITU-T T.800, annex A.6.1: the number of decomposition levels in the marker segment COD.
    """
    marker = data.find(b"\xff\x52", data.find(b"\xff\x4f\xff\x51"))
    levels = data[marker + 9] if 0 <= marker < len(data) - 9 else 0
    return min(levels, max(1, factor).bit_length() - 1)


def _load_webp(data: bytes) -> Image.Image:
    """Return a WebP picture, by OpenCV: Pillow's decoder, made for animations, takes twice as much memory."""
    import cv2
    import PIL.Image

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("it cannot be decoded")
    rgba = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGBA)
    return PIL.Image.frombuffer("RGBA", (rgba.shape[1], rgba.shape[0]), rgba, "raw", "RGBA", 0, 1)


# The Exif orientation: how stored pixels become upright. CIPA DC-008, section 4.6.4.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_SIDEWAYS = (5, 6, 7, 8)
# Tags of TIFF 6.0.
_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = 258, 259, 262, 284
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def _open(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Read the header. ``Image.open`` would import five plug-ins, and warn of large pictures that are reduced."""
    module, name = PLUG_INS[kind]
    image: ImageFile.ImageFile = getattr(importlib.import_module(f"PIL.{module}"), name)(io.BytesIO(data))
    return image


def counts_from_white(image: Any) -> bool:
    """Return whether in a TIFF of 16 bits, opened by Pillow, 0 is white, which Pillow leaves as it is.

    Raises:
        ImageError: its colours are in separate planes without compression, which Pillow mixes up.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (1,))
    if max(bits) <= 8:
        return False
    if len(bits) > 1 and tags.get(_PLANAR_CONFIGURATION) == 2 and tags.get(_COMPRESSION, 1) == 1:
        raise ImageError(
            "an uncompressed TIFF of 16 bits with separate colour planes cannot be decoded; save it interleaved"
        )
    return bool(tags.get(_PHOTOMETRIC_INTERPRETATION) == 0)


def _tile_pixels(image: Any) -> int:
    """Return the pixels of a tile of a TIFF, which may be larger than the picture; 0 without tiles."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))


def _open_heif(data: bytes) -> Any:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingExtraError("heif", "pillow-heif", "reading HEIC pictures") from error
    image: Any = HeifImageFile
    return image(io.BytesIO(data))


def _check_memory(source: str, size: tuple[int, int], decoded: int) -> None:
    if decoded > MAX_DECODED:
        raise ImageError(
            f"{source}: {size[0]} x {size[1]} pixels would take {decoded / 1e6:,.0f} MB to decode, more than "
            f"{MAX_DECODED / 1e6:.0f} MB; save the picture smaller, or as a baseline JPEG"
        )


def _load_jpeg(data: bytes, source: str, edge: int) -> tuple[ImageFile.ImageFile, tuple[int, int]]:
    """Return a JPEG, decoded at reduced size, and the size in its header.

    libjpeg fills up damaged data, and Pillow passes on no warning of it. So the end marker of a baseline JPEG is cut
    off: where the data is damaged, the decoder runs out of it (and Pillow says so) or leaves some over.
    """
    data, progressive = prepare_jpeg(data)
    image: Any = _open(data, "JPEG")
    longest, size = max(image.size), image.size
    if longest > edge:
        image.draft(None, tuple(max(1, length * edge // longest) for length in image.size))
    # A progressive JPEG keeps two bytes for each coefficient at full size.
    coefficients = sum(h * v for _, h, v, _ in image.layer) / max(h * v for _, h, v, _ in image.layer)
    whole = size[0] * size[1] * 2 * coefficients if progressive else 0
    _check_memory(source, size, round(image.width * image.height * (1 if image.mode == "L" else 4) + whole))
    image.decodermaxblock = _JPEG_BLOCK if not progressive else image.decodermaxblock
    stream = image.fp
    image.load()
    if not progressive and len(data) - stream.tell() > _JPEG_LEFTOVER:
        raise ImageError(f"{source}: damaged JPEG picture (data is left over)")
    return image, size


def _to_array(image: Image.Image, edge: int, data: bytes) -> np.ndarray:
    """Return the pixels as :func:`read_image` does, before they are turned upright."""
    import cv2

    mode, size = "RGBA" if image.has_transparency_data else "RGB", image.size
    array = _reduced_array(image, mode, edge)
    bits = _jpeg_2000_bits(data) if image.format == "JPEG2000" else 16
    # Pillow takes the high byte of 16-bit colours; here the values have 14 bits or fewer (rounded up in PNM).
    fewer = image.mode in ("LA", "RGB", "RGBA") and _has_16_bits(image, data) and array[..., :3].max() <= 64
    # In JPEG 2000, Pillow rounds white to 256, which becomes black.
    overflows = image.format == "JPEG2000" and bits > 8
    if fewer or (image.mode == "RGB" and overflows):
        image.close()
        deep = _load_deep(data, size, bits, mode)
        mode, array = deep.mode, _reduced_array(deep, deep.mode, edge)
    if size == IMAGE_SIZE:
        if mode == "RGBA":
            array = (array[..., :3] * (array[..., 3:] / 255)).round().astype(np.uint8)
        return np.asarray(cv2.cvtColor(array, cv2.COLOR_BGR2GRAY))
    return array[..., :3] if mode == "RGBA" and array[..., 3].min() == 255 else array


def _has_16_bits(image: Image.Image, data: bytes) -> bool:
    """Return whether a PNG, TIFF or binary PNM, opened by Pillow, has 16 bits a colour."""
    if image.format == "PPM":
        return bool(image.info["maximum"] == 0xFFFF) and data.startswith(b"P6")
    bits = (data[24],) if image.format == "PNG" else getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (1,))
    return min(bits) == 16


def _pnm_maximum(data: bytes) -> int:
    """Return the value of white in a PNM picture, which Pillow scales to 8 or 16 bits."""
    header = re.sub(rb"#[^\r\n]*", b"", data[:_PNM_HEADER]).split(maxsplit=4)
    return 1 if header[0] in (b"P1", b"P4") else int(header[3])


def _load_deep(data: bytes, size: tuple[int, int], bits: int, mode: str) -> Image.Image:
    """Return a picture of more than 8 bits a colour in 8 bits, by OpenCV, as RGB, or as RGBA if ``mode`` is that."""
    import cv2
    import PIL.Image

    from edge_fmnist.vision.preprocess import to_8_bits

    _check_memory("picture", size, size[0] * size[1] * (2 * _DEEP_BYTES if mode == "RGBA" else _DEEP_BYTES))
    colours = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    flags = cv2.IMREAD_UNCHANGED if mode == "RGBA" else colours
    pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    if bits < 16:
        # The file says how many bits it has.
        return PIL.Image.fromarray(np.ascontiguousarray((pixels >> (bits - 8)).astype(np.uint8)[..., ::-1]))
    deep = to_8_bits(pixels[..., 2::-1])
    if pixels.shape[2] == 4:
        # Alpha may have another range.
        deep = np.dstack([deep, to_8_bits(pixels[..., 3])])
    return PIL.Image.fromarray(np.ascontiguousarray(deep))


def _reduced_array(image: Image.Image, mode: str, edge: int) -> np.ndarray:
    """Return the pixels of an image, reduced, in OpenCV's order."""
    reduced = _reduced(image, mode, edge)
    # Copied, since an array of bytes cannot be written to.
    pixels = bytearray(reduced.tobytes("raw", f"BGR{mode[3:]}"))
    return np.frombuffer(pixels, np.uint8).reshape(reduced.height, reduced.width, len(mode))


def _reduced(image: Image.Image, mode: str, edge: int) -> Image.Image:
    """Return an image in a mode, reduced by the largest whole factor that keeps its longest edge at ``edge``."""
    if image.mode.startswith(("I", "F")):
        convert = _converter_of_deep(image, mode)
    else:
        convert = lambda strip: strip.convert(mode)  # noqa: E731
    factor = max(image.size) // edge
    if factor < 2:
        return image if image.mode == mode else convert(image)
    import PIL.Image

    result = PIL.Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top, strip in _strips(image, factor):
        result.paste(convert(strip).reduce(factor), (0, top // factor))
    return result


def _strips(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Yield strips of a multiple of ``factor`` rows, since each step on the whole image would take a copy of it."""
    rows = factor * max(1, min(8, _STRIP_PIXELS // (factor * image.width)))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _converter_of_deep(image: Image.Image, mode: str) -> Callable[[Image.Image], Image.Image]:
    """Return the function that converts strips of an image of 16-bit grey values, scaled unless all are in 0..255."""
    import PIL.Image

    from edge_fmnist.vision.preprocess import excess_bits

    extremes = [
        (values.min(), values.max(), values.dtype) for _, strip in _strips(image, 1) for values in [np.asarray(strip)]
    ]
    low, high = min(extreme[0] for extreme in extremes), max(extreme[1] for extreme in extremes)
    if image.mode == "F" or low < 0 or high > 0xFFFF:
        raise ImageError(f"expected an image of uint8 or uint16, got {extremes[0][2]}")
    inverted = counts_from_white(image)
    # Scaled by what the file says; otherwise a file of 16 bits may hold fewer.
    known = (inverted and high > 255) or image.info.get("maximum", 0xFFFF) != 0xFFFF
    shift, turned = 8 if known else excess_bits(int(high)), 255 * inverted
    transparent = image.info.get("transparency")

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip)
        converted = PIL.Image.fromarray((values >> shift).astype(np.uint8) ^ turned).convert(mode)
        if transparent is not None:
            converted.putalpha(PIL.Image.fromarray(values != transparent).convert("L"))
        return converted

    return convert
