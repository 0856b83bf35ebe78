"""What the published projects say of their networks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "published.toml"


@dataclass(frozen=True)
class Published:
    """A published network.

    Attributes:
        name: of its architecture and of its recipe.
        accuracy: top-1 on the test images as published, 0 to 1; None where none is given.
        source: where the network and the figure come from.
    """

    name: str
    accuracy: float | None
    source: str


def published() -> dict[str, Published]:
    """Return the published networks, by name."""
    values = tomllib.loads((files("edge_fmnist_export.search.zoo") / FILE).read_text("utf-8"))
    return {name: Published(name, entry.get("accuracy"), entry["source"]) for name, entry in values.items()}
