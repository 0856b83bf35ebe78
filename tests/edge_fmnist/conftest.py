"""Fixtures for the runtime's tests: small models made once a session, and a registry to ship them in."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist import registry
from edge_fmnist.labels import LABELS
from edge_fmnist.metadata import embed


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from the name of a model in make_models.py to its file."""
    if find_spec("tensorflow") is None:
        pytest.skip("making small models needs TensorFlow")
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("make_models.py")
    made = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return lambda name: folder / f"{name}.tflite"


@pytest.fixture
def describe_model(model_path: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a copy of a small model with metadata, and returns its path."""

    def describe(model: str = "logits_uint8", /, *, labels: tuple[str, ...] = LABELS, **settings: Any) -> Path:
        path = tmp_path / f"described_{model}.tflite"
        path.write_bytes(embed(model_path(model).read_bytes(), {"output": "logits", **settings}, labels))
        return path

    return describe


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Return 300 seeded images of noise, brighter in some quarters than in others: the small models tell them apart."""
    generator = np.random.default_rng(11)
    brightness = generator.random((300, 2, 2)).repeat(14, 1).repeat(14, 2)
    return (brightness * generator.random((300, 28, 28)) * 255).astype(np.uint8)


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Return a function that makes a registry of the given model files by name, and returns its folder."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(registry, "FOLDER", folder)
    monkeypatch.setattr(registry, "REGISTRY", folder / "registry.json")
    registry.shipped_models.cache_clear()

    def make(**models: Path) -> Path:
        entries = {}
        for name, path in models.items():
            content = path.read_bytes()
            (folder / f"{name}.tflite").write_bytes(content)
            entries[name] = {
                "file": f"{name}.tflite",
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "top1": 0.9512,
                "float_top1": 0.9523,
                "description": f"the small model {name}",
            }
        (folder / "registry.json").write_text(json.dumps({"models": entries}), "utf-8")
        registry.shipped_models.cache_clear()
        return folder

    yield make
    registry.shipped_models.cache_clear()


@pytest.fixture
def run_cli(cli: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs ``edge-fmnist``, checks the exit code and that no exception got out."""

    def run(*arguments: object, code: int = 0, stdin: bytes | None = None) -> Any:
        result = cli(*arguments, stdin=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes pixels as a picture file, and returns its path."""

    def write(name: str, pixels: np.ndarray) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
        return path

    return write
