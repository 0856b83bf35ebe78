"""Files of the browser page, and the parts that pages share."""

from __future__ import annotations

from importlib.resources import files


def static_file(name: str) -> bytes:
    """Return a file of ``static/``."""
    return files("edge_fmnist.sinks.web").joinpath("static", name).read_bytes()


def with_part(page: bytes, name: str) -> bytes:
    """Return a page with ``static/NAME.html`` in the place of its comment ``<!-- NAME -->``."""
    return page.replace(f"<!-- {name} -->\n".encode(), static_file(f"{name}.html"))
