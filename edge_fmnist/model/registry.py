"""The shipped models: their files, and the hashes that pin them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.errors import ModelError, ModelHashError, ModelNotFoundError

FOLDER = Path(__file__).parent
REGISTRY = FOLDER / "registry.json"
DEFAULT_MODEL = "edge"
# For frames and photographs; the default is for 28x28 images.
CAMERA_MODEL = "camera"
# Far above any model of this project; stops a wrong path from filling memory.
MAX_MODEL_BYTES = 256 << 20


@dataclass(frozen=True)
class ShippedModel:
    """One entry of the registry.

    Attributes:
        name: the name to load it by.
        file: its file name in the package.
        sha256: of the whole file, metadata included.
        bytes: its size.
        top1: accuracy of the file on Fashion-MNIST's 10,000 test images, 0 to 1.
        float_top1: the same for the float Keras model it was converted from.
        description: one line.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    top1: float
    float_top1: float
    description: str

    @property
    def path(self) -> Path:
        """The path of the file."""
        return FOLDER / self.file


@dataclass(frozen=True)
class ModelBytes:
    """The content of a model file, and how messages call it."""

    content: bytes
    source: str


@functools.cache
def shipped_models() -> dict[str, ShippedModel]:
    """Return the shipped models by name.

    Raises:
        ModelError: the registry file is missing or damaged.
    """
    try:
        entries: dict[str, dict[str, Any]] = json.loads(REGISTRY.read_text("utf-8"))["models"]
        return {name: ShippedModel(name=name, **entry) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{REGISTRY}: the registry of shipped models cannot be read ({error})") from error


def read_model(name_or_path: str | Path) -> ModelBytes:
    """Read a shipped model by name, checked against its hash, or any model file by path.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelHashError: a shipped model whose bytes have changed.
        ModelError: a file that cannot be read, or is too large to be a model.
    """
    shipped = shipped_models().get(str(name_or_path))
    path = shipped.path if shipped else Path(name_or_path)
    # Unlike the methods of Path, these are False where permission is missing; opening the file says why.
    if not os.path.isfile(path) and not _is_hidden(path):  # noqa: PTH113
        what = "the file of this shipped model is missing" if shipped else "neither a file nor a shipped model"
        if os.path.isfile(path / "saved_model.pb"):  # noqa: PTH113
            what = "a SavedModel folder, not a .tflite file; convert it with `edge-fmnist export FOLDER`"
        raise ModelNotFoundError(f"{name_or_path}: {what} (shipped: {', '.join(shipped_models())})")
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{path}: larger than {MAX_MODEL_BYTES >> 20} MiB, so not a model for this package")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if shipped and (sha256 := hashlib.sha256(content).hexdigest()) != shipped.sha256:
        raise ModelHashError(
            f"{path}: expected SHA-256 {shipped.sha256[:16]}… and {shipped.bytes} bytes, "
            f"got {sha256[:16]}… and {len(content)} bytes; the file was changed or damaged: reinstall edge-fmnist"
        )
    return ModelBytes(content, str(name_or_path))


def _is_hidden(path: Path) -> bool:
    """Return whether a path lies in a folder that may not be entered."""
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        pass
    return False
