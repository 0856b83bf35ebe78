"""What a model file says of itself: ``metadata.json`` and ``labels.txt`` in a zip at its end.

TensorFlow Lite Metadata keeps associated files the same way: the flatbuffer
comes first and ignores what follows, a zip is read from its end.
https://ai.google.dev/edge/litert/models/metadata
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from edge_fmnist.errors import ModelError

FORMAT = "edge-fmnist-model/1"
METADATA_NAME = "metadata.json"
LABELS_NAME = "labels.txt"
# Far above any real metadata; stops a hostile zip from filling memory.
MAX_BYTES = 1 << 20
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# Far beyond what calibration finds; further out, float32 scores would all be equal, or not be numbers.
TEMPERATURES = 0.001, 1000.0
# Of the local header, which the entry's name follows.
ZIP_MAGIC, ZIP_HEADER_SIZE = b"PK\x03\x04", 30

# What zipfile, zlib and json raise on damaged input; RuntimeError holds NotImplementedError and RecursionError.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, OSError, EOFError, RuntimeError)

OutputKind = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Calibration:
    """How scores are made honest, and from which one on an answer is given.

    Attributes:
        temperature: logits are divided by it before the softmax (Guo et al. 2017, arXiv:1706.04599).
        threshold: the least score that counts as knowing, 0 to 1; below it the answer is "unknown".
    """

    temperature: float = 1.0
    threshold: float = 0.0


@dataclass(frozen=True)
class Metadata:
    """A model's labels and settings.

    Attributes:
        labels: the classes, in the order of the output.
        output: whether the output tensor holds logits or probabilities.
        calibration: what the scores are calibrated with.
        mirrored: whether outputs are averaged over an image and its mirror image.
        settings: all of ``metadata.json``: name, preprocessing, tensors, accuracy, recipe, data hash.
    """

    labels: tuple[str, ...]
    output: OutputKind
    settings: dict[str, Any]
    calibration: Calibration = Calibration()
    mirrored: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.settings.get("name", "unnamed"))


def embed(flatbuffer: bytes, settings: dict[str, Any], labels: tuple[str, ...]) -> bytes:
    """Return model bytes with labels and settings appended.

    The same arguments give the same bytes: no time stamp goes in.

    Args:
        flatbuffer: the bytes of a model without appended metadata.
        settings: goes into ``metadata.json``; a key ``output`` must be ``"logits"`` or ``"probabilities"``.
        labels: goes into ``labels.txt``, one on a line.
    """
    stream = io.BytesIO()
    stream.write(flatbuffer)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        text = json.dumps({"format": FORMAT, **settings}, indent=1, sort_keys=True)
        for name, content in ((METADATA_NAME, text), (LABELS_NAME, "\n".join(labels) + "\n")):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return stream.getvalue()


def extract(content: bytes, source: str) -> Metadata | None:
    """Return the metadata at the end of a model's bytes, or None when there is none.

    Args:
        content: the bytes of the model file.
        source: what messages call the model.

    Raises:
        ModelError: there is metadata, but damaged or of another format.
    """
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        # A zip is found from its end; one that starts here and has no end was cut off.
        start = content.find(METADATA_NAME.encode()) - ZIP_HEADER_SIZE
        if start >= 0 and content.startswith(ZIP_MAGIC, start):
            raise ModelError(f"{source}: its embedded metadata is cut off, so the file is truncated")
        return None
    try:
        with zipfile.ZipFile(stream) as archive:
            if METADATA_NAME not in archive.namelist():
                return None
            settings = json.loads(_read(archive, METADATA_NAME))
            labels = tuple(_read(archive, LABELS_NAME).decode().split("\n")[:-1])
    except DAMAGE as error:
        raise ModelError(f"{source}: its embedded metadata is damaged ({error})") from error
    return _checked(settings, labels, source)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    # Not archive.read: it would unpack all that the entry holds, whatever size it claims.
    with archive.open(name) as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{name} is larger than {MAX_BYTES >> 20} MiB")
    return content


def _checked(settings: Any, labels: tuple[str, ...], source: str) -> Metadata:
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        found = settings.get("format") if isinstance(settings, dict) else type(settings).__name__
        raise ModelError(f"{source}: expected metadata of format {FORMAT!r}, got {found!r}")
    output = settings.get("output")
    if output not in ("logits", "probabilities"):
        raise ModelError(f"{source}: expected metadata with output 'logits' or 'probabilities', got {output!r}")
    calibration = _calibration(settings.get("calibration"), source)
    if output == "probabilities" and calibration.temperature != 1:
        raise ModelError(
            f"{source}: expected temperature 1 with output 'probabilities', which are not divided by it; "
            f"got {calibration.temperature:g}"
        )
    mirrored = settings.get("mirrored", False)
    if not isinstance(mirrored, bool):
        raise ModelError(f"{source}: expected mirrored to be true or false, got {mirrored!r}")
    return Metadata(labels, output, settings, calibration, mirrored)


def _calibration(given: Any, source: str) -> Calibration:
    if given is None:
        return Calibration()
    try:
        temperature, threshold = float(given["temperature"]), float(given["threshold"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{source}: expected a calibration with temperature and threshold, got {given!r}") from error
    low, high = TEMPERATURES
    # NaN is in no range.
    if not (low <= temperature <= high and 0 <= threshold <= 1):
        raise ModelError(
            f"{source}: expected a calibration with a temperature from {low:g} to {high:g} "
            f"and a threshold from 0 to 1, got {given!r}"
        )
    return Calibration(temperature, threshold)
