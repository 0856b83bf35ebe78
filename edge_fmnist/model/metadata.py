"""What a model file states about itself: ``metadata.json`` and ``labels.txt`` in a zip at its end.

TensorFlow Lite Metadata keeps associated files the same way: the flatbuffer comes first and ignores what follows, a
zip is read from its end. https://ai.google.dev/edge/litert/models/metadata
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from edge_fmnist.data.labels import LABELS, check_labels, parse_labels
from edge_fmnist.errors import DataError, ModelError, ModelHashError

FORMAT = "edge-fmnist-model/1"
METADATA_NAME = "metadata.json"
LABELS_NAME = "labels.txt"
# Hexadecimal digits that identify a photograph.
HASH_DIGITS = 8
HASH_KEY = "flatbuffer_sha256"
# Far above any real metadata, all of its files together; stops a malicious zip from filling memory.
MAX_BYTES = 1 << 20
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# Far beyond what calibration finds; further out, float32 scores would all be equal, or not be numbers.
TEMPERATURES = 0.001, 1000.0
# Of the local header, which the entry's name follows.
ZIP_MAGIC, ZIP_HEADER_SIZE = b"PK\x03\x04", 30

# What zipfile, zlib and json raise on damaged input; RuntimeError includes NotImplementedError and RecursionError.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, OSError, EOFError, RuntimeError)

OutputKind = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Calibration:
    """How scores are calibrated, and the score from which on a label is given.

    Attributes:
        temperature: logits are divided by it before the softmax (Guo et al. 2017, arXiv:1706.04599).
        threshold: minimum score of a known class, 0 to 1; below it the answer is "unknown".
    """

    temperature: float = 1.0
    threshold: float = 0.0


@dataclass(frozen=True)
class Metadata:
    """A model's labels and settings.

    Attributes:
        labels: the classes, in the order of the output.
        output: whether the output tensor holds logits or probabilities.
        calibration: temperature and threshold of the scores.
        flip_tta: flip test-time augmentation: average the outputs of an image and its mirror image.
        settings: all of ``metadata.json``: name, preprocessing, tensors, accuracy, recipe, data hash.
    """

    labels: tuple[str, ...]
    output: OutputKind
    settings: dict[str, Any]
    calibration: Calibration = Calibration()
    flip_tta: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.settings.get("name", "unnamed"))

    @property
    def mirrored(self) -> bool:
        """The former name of :attr:`flip_tta`."""
        return self.flip_tta

    @property
    def training_data(self) -> Any:
        """The hashes of the data set that the model was trained on; None if the file does not state them."""
        training = self.settings.get("training")
        return training.get("data_sha256") if isinstance(training, dict) else None

    @property
    def own_classes(self) -> bool:
        """Whether the classes are a user's own, without those of Fashion-MNIST."""
        if "taught" in self.settings:
            return self.labels[: len(LABELS)] != LABELS
        training = self.settings.get("training")
        return isinstance(training, dict) and "photos_sha256" in training and "data_sha256" not in training

    @property
    def taught_from(self) -> tuple[str, ...]:
        """The first digits of the hash of each photograph that the model, or one before it, was taught from."""
        taught = self.settings.get("taught")
        digits = str(taught.get("photographs_sha256", "")) if isinstance(taught, dict) else ""
        return tuple(digits[start : start + HASH_DIGITS] for start in range(0, len(digits), HASH_DIGITS))

    @property
    def pixel_scale(self) -> float | None:
        """What a pixel value of 0 to 255 is multiplied by; None if the file does not state it."""
        stated = _stated_scale(self.settings)
        return None if stated is None else _number(stated)


def embed(flatbuffer: bytes, settings: dict[str, Any], labels: tuple[str, ...]) -> bytes:
    """Return model bytes with labels, settings and the flatbuffer's SHA-256 appended.

    The same arguments give the same bytes: no time stamp is stored.

    Args:
        flatbuffer: the bytes of a model without appended metadata.
        settings: stored in ``metadata.json``; a key ``output`` must be ``"logits"`` or ``"probabilities"``.
        labels: stored in ``labels.txt``, one on a line.
    """
    stream = io.BytesIO()
    stream.write(flatbuffer)
    whole = {**settings, "format": FORMAT, HASH_KEY: hashlib.sha256(flatbuffer).hexdigest()}
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        text = json.dumps(whole, separators=(",", ":"), sort_keys=True)
        for name, content in ((METADATA_NAME, text), (LABELS_NAME, "\n".join(labels) + "\n")):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return stream.getvalue()


def extract(content: bytes, source: str) -> Metadata | None:
    """Return this project's metadata at the end of a model's bytes, or None if there is none.

    Raises:
        ModelError: there is metadata, but damaged or of another format.
        ModelHashError: the flatbuffer is not the one that the metadata was written for.
    """
    if content.startswith(ZIP_MAGIC):
        # A zip as a whole, such as Keras' format, has no model before it: check_model names its format.
        return None
    stream = io.BytesIO(content)
    start = content.find(METADATA_NAME.encode()) - ZIP_HEADER_SIZE
    expected = start >= 0 and content.startswith(ZIP_MAGIC, start)
    if not zipfile.is_zipfile(stream):
        # A zip is found from its end; one that starts here and has no end was cut off.
        if expected:
            raise ModelError(f"{source}: its embedded metadata is cut off, so the file is truncated")
        return None
    try:
        with zipfile.ZipFile(stream) as archive:
            if METADATA_NAME not in archive.namelist() and not expected:
                return None
            settings = json.loads(_read(archive, METADATA_NAME))
            labels = parse_labels(_read(archive, LABELS_NAME).decode())
            flatbuffer = content[: _start(archive)]
    except DAMAGE as error:
        raise ModelError(f"{source}: its embedded metadata is damaged ({error})") from error
    return _checked(settings, labels, flatbuffer, source)


def without_metadata(content: bytes) -> bytes:
    """Return the flatbuffer of a model's bytes, without what is appended to it.

    Args:
        content: the bytes of a model file whose metadata :func:`extract` has accepted.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: _start(archive)]


def associated_labels(content: bytes, classes: int, source: str) -> tuple[str, ...] | None:
    """Return the labels that TensorFlow Lite Metadata associates with an output of this many classes; None without any.

    Raises:
        ModelError: there is a file of labels, but none that fits.
    """
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        return None
    try:
        with zipfile.ZipFile(stream) as archive:
            texts, left = dict[str, bytes](), MAX_BYTES
            for name in archive.namelist():
                if name.lower().endswith(".txt"):
                    texts[name] = _read(archive, name, left)
                    left -= len(texts[name])
        found = {name: parse_labels(text.decode("utf-8-sig")) for name, text in texts.items()}
    except DAMAGE as error:
        raise ModelError(f"{source}: the labels in its TensorFlow Lite Metadata are damaged ({error})") from error
    fitting = {name: labels for name, labels in found.items() if len(labels) == classes}
    if not fitting:
        if not found:
            return None
        sizes = ", ".join(f"{name} has {len(labels)}" for name, labels in found.items())
        raise ModelError(f"{source}: expected {classes} labels in its TensorFlow Lite Metadata; {sizes}")
    # Beside the labels there may be translations, named after them.
    name = min(fitting, key=lambda name: ("label" not in name.lower(), len(name), name))
    return _checked_labels(fitting[name], f"{source}: {name}")


def _start(archive: zipfile.ZipFile) -> int:
    """Return where the zip begins, which is where the flatbuffer ends."""
    return min((entry.header_offset for entry in archive.infolist()), default=archive.start_dir)


def _read(archive: zipfile.ZipFile, name: str, most: int = MAX_BYTES) -> bytes:
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by another method than deflate")
    # Not archive.read: it would unpack all that the entry holds, whatever size it claims.
    with archive.open(name) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        together = "" if most == MAX_BYTES else ", together with the files before it"
        raise ValueError(f"{name} is larger than {MAX_BYTES >> 20} MiB{together}")
    return content


def _checked(settings: Any, labels: tuple[str, ...], flatbuffer: bytes, source: str) -> Metadata:
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        found = settings.get("format") if isinstance(settings, dict) else type(settings).__name__
        raise ModelError(f"{source}: expected metadata of format {FORMAT!r}, got {found!r}")
    expected, sha256 = settings.get(HASH_KEY), hashlib.sha256(flatbuffer).hexdigest()
    if expected is not None and expected != sha256:
        raise ModelHashError(
            f"{source}: expected a model with SHA-256 {str(expected)[:16]}…, as its metadata states, "
            f"got {sha256[:16]}…; the file was changed or damaged: export or copy it again"
        )
    output = settings.get("output")
    if output not in ("logits", "probabilities"):
        raise ModelError(f"{source}: expected metadata with output 'logits' or 'probabilities', got {output!r}")
    calibration = _calibration(settings.get("calibration"), source)
    if output == "probabilities" and calibration.temperature != 1:
        raise ModelError(
            f"{source}: expected temperature 1 with output 'probabilities', which are not divided by it; "
            f"got {calibration.temperature:g}"
        )
    flip_tta = settings.get("flip_tta", settings.get("mirrored", False))
    if not isinstance(flip_tta, bool):
        raise ModelError(f"{source}: expected flip_tta (formerly mirrored) to be true or false, got {flip_tta!r}")
    scale = _stated_scale(settings)
    if scale is not None and not 0 < _number(scale) < math.inf:
        raise ModelError(f"{source}: expected a pixel_scale above 0 in its metadata, got {scale!r}")
    return Metadata(_checked_labels(labels, f"{source}: {LABELS_NAME}"), output, settings, calibration, flip_tta)


def _checked_labels(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    try:
        check_labels(labels, where)
    except DataError as error:
        raise ModelError(str(error)) from error
    return labels


def _stated_scale(settings: dict[str, Any]) -> Any:
    preprocessing = settings.get("preprocessing")
    return preprocessing.get("pixel_scale") if isinstance(preprocessing, dict) else None


def _number(value: Any) -> float:
    """Return a number of JSON; NaN for anything else, such as true or "1.5"."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _calibration(given: Any, source: str) -> Calibration:
    if given is None:
        return Calibration()
    low, high = TEMPERATURES
    temperature, threshold = (
        _number(given.get(name) if isinstance(given, dict) else None) for name in ("temperature", "threshold")
    )
    # NaN is in no range.
    if not (low <= temperature <= high and 0 <= threshold <= 1):
        raise ModelError(
            f"{source}: expected a calibration with a temperature from {low:g} to {high:g} "
            f"and a threshold from 0 to 1, got {given!r}"
        )
    return Calibration(temperature, threshold)
