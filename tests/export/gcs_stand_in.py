"""Serve a folder by the part of Google Cloud Storage's JSON API that pyarrow uses, and print the port.

Run it as a subprocess: pyarrow holds the GIL while it waits for some responses.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

FOLDER = Path(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    """Objects are files of the folder; any bucket will do."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def parse_request(self) -> bool:
        """Take the name of the object and the query from the path."""
        parsed = super().parse_request()
        path = urlsplit(self.path)
        self.query = dict(parse_qsl(path.query))
        self.name = unquote(path.path.rpartition("/o/")[2])
        self.file = FOLDER / self.name
        return parsed

    def answer(self, status: int, body: object = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def describe(self, file: Path) -> dict[str, str]:
        name = str(file.relative_to(FOLDER))
        return {"name": name, "bucket": "shop", "size": str(file.stat().st_size), "generation": "1"}

    def do_GET(self) -> None:
        if "prefix" in self.query:
            files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
            found = [self.describe(path) for path in files]
            self.answer(200, {"items": [each for each in found if each["name"].startswith(self.query["prefix"])]})
        elif not self.file.is_file():
            self.answer(404)
        elif self.query.get("alt") != "media":
            self.answer(200, self.describe(self.file))
        else:
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            self.answer(206, self.file.read_bytes()[int(first) : int(last) + 1 if last else None])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        source, copied, _ = self.path.partition("/rewriteTo/")
        if copied:
            self.file.write_bytes((FOLDER / unquote(source.rpartition("/o/")[2])).read_bytes())
            self.answer(200, {"done": True, "resource": self.describe(self.file)})
            return
        # A resumable upload, even of small objects.
        self.answer(200, Location=f"http://{self.headers['Host']}/upload/o/{quote(self.query['name'], safe='')}")

    def do_PUT(self) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, self.describe(self.file))

    def do_DELETE(self) -> None:
        self.file.unlink()
        self.answer(204)


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
