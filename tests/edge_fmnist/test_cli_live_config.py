"""``edge-fmnist live --config FILE``: what it takes, what has precedence, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.web import Access, Address

RunLive = Callable[..., Any]
DEMO = 'source = "demo"\nframes = 2\n'


@pytest.fixture
def live(run_cli: Callable[..., Any], tmp_path: Path) -> RunLive:
    """Return a function that writes settings and runs ``live`` with them."""

    def run(settings: str | bytes, *arguments: object, **options: Any) -> Any:
        path = tmp_path / "settings.toml"
        path.write_bytes(settings if isinstance(settings, bytes) else settings.encode())
        return run_cli("live", "--config", path, "--model", "edge", *arguments, **options)

    return run


def sizes(text: str) -> list[list[int]]:
    return [json.loads(line)["size"] for line in text.splitlines()]


def test_options_come_from_the_file_and_the_command_line_has_precedence(live: RunLive, tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    live(f'{DEMO}width = 64\nheight = 48\nfps = 15\nmirror = true\nrotate = 90\njsonl = "{target}"\nmax_failures = 3')
    assert sizes(target.read_text()) == [[48, 64]] * 2
    result = live(f"{DEMO}width = 64\nheight = 48", "--frames", 1, "--width", 80, "--jsonl", "-")
    assert sizes(result.stdout) == [[80, 48]]


@pytest.mark.parametrize("content", [b"# nothing\n", b"\xef\xbb\xbfframes = 1\n"])
def test_an_empty_file_and_a_byte_order_mark(live: RunLive, content: bytes) -> None:
    assert "1 results" in live(content, "--source", "demo", "--frames", 1).stderr


@pytest.mark.parametrize(
    ("setting", "arguments", "served"),
    [
        ("serve = true", [], ("127.0.0.1", 8000)),
        ("serve = false", [], None),
        ('serve = "0.0.0.0:8001"', [], ("0.0.0.0", 8001)),
        # A page is asked for; its address is in the file.
        ('serve = "0.0.0.0:8001"', ["--serve"], ("0.0.0.0", 8001)),
        ('serve = "0.0.0.0:8001"', ["--serve", "localhost:9000"], ("localhost", 9000)),
        ("serve = false", ["--serve"], ("127.0.0.1", 8000)),
        ("", ["--serve", "--quiet"], ("127.0.0.1", 8000)),
        ("", ["--quiet", "--serve"], ("127.0.0.1", 8000)),
        ("", ["--serve=:0"], ("127.0.0.1", 0)),
    ],
)
def test_serving(
    live: RunLive, monkeypatch: pytest.MonkeyPatch, setting: str, arguments: list[str], served: Address | None
) -> None:
    pages: list[Any] = []

    class Page(Sink):
        url = "http://page/"

        def __init__(self, *address: Any, access: Access, **_: Any) -> None:
            pages.append(address)
            self.access = access
            self.login_url = f"{self.url}?token={access.token}"

        def write(self, result: object) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr("edge_fmnist.sinks.web.WebPage", Page)
    result = live(DEMO + setting, *arguments)
    assert pages == ([] if served is None else [served])
    # A page for other machines has a token, which is shown even where little is.
    assert (f"{Page.url}?token=" in result.stderr) == (served is not None and served[0] == "0.0.0.0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # Keys.
        ("widht = 640", "widht: no such setting; did you mean width?"),
        ("max-fps = 5", "max-fps: no such setting; did you mean max_fps?"),
        ("[live]\nwidth = 640", "live: no such setting; expected a long option of the command, with _ for -"),
        ('config = "other.toml"', "config: no such setting"),
        ("smoothing = true", "smoothing: no such setting"),
        # Types.
        ('width = "640"', "width: expected a whole number, got '640'"),
        ("width = true", "width: expected a whole number, got True"),
        ("fps = []", "fps: expected a number, got []"),
        ("source = 0", 'source: expected text in quotes, such as "0", got 0'),
        ('mirror = "yes"', "mirror: expected true or false, got 'yes'"),
        ("save = {a = 1}", 'save: expected text in quotes, such as "0", got {'),
        ("model = 2026-01-31", 'model: expected text in quotes, such as "0", got 2026-01-31'),
        # Values.
        ('log = "loud"', "log: 'loud' is not one of 'text', 'journal'"),
        ("seconds = nan", "seconds: expected a number above zero, got nan"),
        ('source = "http://"', "source: this URL cannot be used"),
        ('serve = "a b"', "serve: --serve a b: expected HOST:PORT"),
        ('save = "x.txt"', "save: x.txt: expected a video file"),
        ('jsonl = "."', "jsonl: .: expected a file for JSON Lines, got a folder"),
        # The file itself.
        ("width = ", "not valid TOML: Invalid value (at "),
        ("frames = 3", "not valid TOML: "),
        (b'source = "\xff"', "expected text in UTF-8, got the byte 0xff"),
        (b"#" * (2 << 20), "expected settings in TOML, got a file of more than 1 MiB"),
        (b"width = " + b"[" * 1000, "not valid settings: nested too deeply"),
        (b"width = " + b"9" * 5000, "not valid settings: an integer with too many digits"),
    ],
)
def test_invalid_settings(live: RunLive, tmp_path: Path, settings: str | bytes, message: str) -> None:
    is_source = isinstance(settings, bytes) or settings.startswith("source")
    content = settings if isinstance(settings, bytes) else ("" if is_source else DEMO) + settings
    result = live(content, code=2)
    assert result.stderr.startswith(f"Error: {tmp_path / 'settings.toml'}: {message}"), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [('model = "nothing"', "model: nothing: neither a file"), ('source = "absent.mp4"', "source: absent.mp4: no such")],
)
def test_a_missing_source_or_model(run_cli: Callable[..., Any], tmp_path: Path, setting: str, message: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(setting, "utf-8")
    result = run_cli("live", "--config", path, *(() if "source" in setting else ("--source", "demo")), code=3)
    assert result.stderr.startswith(f"Error: {path}: {message}")


def test_a_mistake_on_the_command_line_does_not_blame_the_file(live: RunLive) -> None:
    result = live(f"{DEMO}rotate = 90", "--rotate", 45, code=2)
    assert result.stderr.startswith("Error: --rotate: expected 0, 90, 180 or 270 degrees, got 45")


@pytest.mark.parametrize(("name", "reason"), [("absent.toml", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read(run_cli: Callable[..., Any], tmp_path: Path, name: str, reason: str) -> None:
    result = run_cli("live", "--config", tmp_path / name, code=2)
    assert result.stderr == f"Error: {tmp_path / name}: the settings cannot be read ({reason})\n"
