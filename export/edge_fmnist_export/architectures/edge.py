"""``edge``: the default, a small residual network of plain 3x3 convolutions."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures import residual

NETWORK = residual.parse("resnet:32;40/2,40,60/2")


def edge(keras: Any) -> Any:
    """Build the default network: 114,946 parameters, 13,965,992 MACs.

    A stem of 32 filters at full resolution, residual blocks of 40, 40 and 60 filters at 14, 14 and 7 pixels, global
    average pooling and one Dense layer. With XNNPACK, plain convolutions are faster than depthwise-separable ones at
    equal accuracy; and many channels at few pixels are faster than few channels at many, since processors with tiles
    of 64 channels need as long for 16. Alternatives: export/RESULTS.md.
    """
    return residual.build(NETWORK, keras, name="edge")
