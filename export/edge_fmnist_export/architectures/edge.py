"""``edge``: the default, a small residual network of plain 3x3 convolutions."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures import residual
from edge_fmnist_export.architectures.registry import architecture

NETWORK = residual.parse("resnet:32;40/2,40,60/2")


@architecture("edge")
def edge(keras: Any) -> Any:
    """Build the default network.

    A stem of 32 filters at full resolution, residual blocks of 40, 40 and 60
    filters at 14, 14 and 7 pixels, global average pooling and one Dense layer.
    What else was tried stands in export/RESULTS.md.
    Plain convolutions, not depthwise-separable ones: with XNNPACK they are the
    faster ones at equal accuracy. Wide ones at few pixels, not narrow ones at
    many: where the processor multiplies in tiles of 64 channels, 16 channels
    cost as much as 64.

    | parameters | MACs |
    | --- | --- |
    | 114,946 | 13,965,992 |
    """
    return residual.build(NETWORK, keras, name="edge")
