"""Serve the files of a page."""

from __future__ import annotations

from http.server import SimpleHTTPRequestHandler
from typing import Any


class PageHandler(SimpleHTTPRequestHandler):
    """Serves a page from a folder, without a log."""

    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def handle_one_request(self) -> None:
        """Handle a request; a browser may leave before its end."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""
