"""What the timing engine asks of a way to run a network.

Variants come from ``edge.edge_variants``, ``floats.float_variants`` and
``peers.peer_variants``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_fmnist.errors import EdgeFmnistError

# From uint8 images, shape (batch, 28, 28), to float32 scores or logits, shape (batch, classes).
# Everything between the two is inside the timed call.
Runner = Callable[[np.ndarray], np.ndarray]


class VariantError(EdgeFmnistError):
    """A variant that cannot run here; its row says why, and the others go on."""


class Variant(ABC):
    """One way to run a network.

    Attributes:
        name: a short name without spaces, the key in results: ``"litert-int8"``.
        title: for tables: ``"LiteRT 2.3, int8"``.
        device: ``"CPU"``, or the GPU's name.
        file: the model file; None for a model in memory.
    """

    name: str
    title: str
    device: str
    file: Path | None

    @abstractmethod
    def open(self, *, threads: int, batch: int) -> Runner:
        """Return the call that is timed.

        Args:
            threads: how many threads it may use, at least 1.
            batch: how many images each call will get, at least 1.

        Raises:
            VariantError: it cannot run here, or not so.
        """
