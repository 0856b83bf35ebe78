"""The interface between the timing code and the ways to run a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_fmnist.errors import EdgeFmnistError

# From uint8 images, shape (batch, 28, 28), to float32 scores or logits, shape (batch, classes). All conversions are
# inside the timed call. A model that takes other inputs ignores the images and runs on generated inputs.
Runner = Callable[[np.ndarray], np.ndarray]


class VariantError(EdgeFmnistError):
    """A variant cannot run here; its row shows the reason, and the others continue."""


class BenchmarkVariant(ABC):
    """One way to run a network.

    Attributes:
        name: key in results, without spaces: ``"litert-int8"``.
        title: for tables: ``"LiteRT 2.3, int8"``.
        device: ``"CPU"``, or the name of the GPU.
        file: the model file; None for a model in memory.
    """

    name: str
    title: str
    device: str
    file: Path | None

    @abstractmethod
    def open(self, *, threads: int, batch: int) -> Runner:
        """Return the call to time, with at most ``threads`` threads and ``batch`` images, each at least 1.

        Raises:
            VariantError: it cannot run here, or not with these settings.
        """
