"""Browser page: live video, model input, scores and latency, for several viewers at a time.

Importing this is quick and needs no extra; :class:`WebPage` needs ``edge-fmnist[web]``.
"""

from edge_fmnist.sinks.web.access import Access
from edge_fmnist.sinks.web.address import Address, is_local, parse_address
from edge_fmnist.sinks.web.page import WebPage

__all__ = ["Access", "Address", "WebPage", "is_local", "parse_address"]
