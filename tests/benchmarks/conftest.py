"""Fixtures for the benchmarks' tests: variants that need no model, a result, a quick protocol, altered models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.model.metadata import embed, extract
from edge_fmnist.model.registry import read_model
from edge_fmnist_bench import protocol
from edge_fmnist_bench.images import Images
from edge_fmnist_bench.protocol import Protocol
from edge_fmnist_bench.suite import Plan
from edge_fmnist_bench.variants.base import Runner, Variant

FACTS = {
    "name": "edge",
    "described": True,
    "file": "edge.tflite",
    "sha256": "0" * 64,
    "bytes": 145_585,
    "float_top1": 0.9437,
    "macs": 14_000_000,
    "parameters": 123_322,
    "operators": ["ADD", "CONV_2D"],
    "dtypes": {"input": "UINT8", "output": "UINT8", "layers": ["INT32", "INT8"]},
}


class FakeVariant(Variant):
    """A variant that answers at once; ``error`` is raised when it is opened, ``late_error`` when it runs."""

    device = "CPU"
    file = None

    def __init__(
        self,
        name: str,
        *,
        run: Callable[[np.ndarray], np.ndarray] | None = None,
        error: Exception | None = None,
        late_error: BaseException | None = None,
        good_calls: int = 0,
    ) -> None:
        self.name, self.title = name, name.replace("-", " ")
        self.run, self.error, self.late_error, self.good_calls = run, error, late_error, good_calls
        self.opened: list[tuple[int, int]] = []

    def open(self, *, threads: int, batch: int) -> Runner:
        self.opened.append((threads, batch))
        if self.error is not None:
            raise self.error
        left = self.good_calls

        def answer(images: np.ndarray) -> np.ndarray:
            nonlocal left
            left -= 1
            if self.late_error is not None and left < 0:
                raise self.late_error
            return self.run(images) if self.run else np.zeros((len(images), 10), np.float32)

        return answer


@pytest.fixture
def fake() -> type[FakeVariant]:
    return FakeVariant


@pytest.fixture(scope="session")
def quick() -> Protocol:
    """Return a protocol that is over in a moment."""
    whole = protocol.load()
    return dataclasses.replace(
        whole,
        single_stream=protocol.SingleStream(1, 1, 3, 6, 0.0, 0.05),
        paced=protocol.Paced(1, 500.0, 4, 2),
        offline=protocol.Offline((1, 4), (1, 64), 2, 0.001),
        frame=protocol.FrameToLabel((160, 120), 2, 8),
        process=protocol.Process(1, 1.0),
        bootstrap=protocol.Bootstrap(200, 0.95),
    )


@pytest.fixture
def plan(quick: Protocol) -> Callable[..., Plan]:
    """Return a function that plans to measure variants, without a data set and with no frame or process."""

    def make(*variants: Variant, **settings: Any) -> Plan:
        images = Images(np.zeros((7, 28, 28), np.uint8), None)
        fields: dict[str, Any] = {
            "model": "edge",
            "facts": FACTS,
            "variants": variants,
            "reference": variants[0].name,
            "images": images,
            "protocol": quick,
            "scenarios": ("single-stream", "paced", "offline"),
        }
        return Plan(**{**fields, **settings})

    return make


@pytest.fixture(scope="session")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes the shipped model with other bytes, but the same word for itself."""
    whole = read_model("edge").content
    metadata = extract(whole, "edge")
    assert metadata is not None

    # The metadata's zip follows the model itself.
    bare = whole[: whole.index(b"PK\x03\x04")]

    def write(flatbuffer: bytes = bare, **settings: Any) -> Path:
        path = tmp_path_factory.mktemp("altered") / "altered.tflite"
        path.write_bytes(embed(flatbuffer, {**metadata.settings, **settings}, metadata.labels))
        return path

    return write
