"""Who may use the browser page: host names, the token, and requests that other pages send."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edge_fmnist.cli.reports import JournalReport, Report
from edge_fmnist.errors import UsageError
from edge_fmnist.sinks.web import Access, WebPage

TOKEN = "a-token-of-this-run"


@pytest.fixture(autouse=True)
def no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_FMNIST_TOKEN", raising=False)


@pytest.fixture(scope="module")
def page(page_class: Any) -> Iterator[Any]:
    """One page for other machines, with a token."""
    environment = pytest.MonkeyPatch()
    environment.setenv("EDGE_FMNIST_TOKEN", TOKEN)
    access = Access.of("0.0.0.0", "camera.example.org, 203.0.113.9")
    environment.undo()
    with closing(page_class("0.0.0.0", 0, access=access)) as page:
        yield page


OWN = socket.gethostname()


@pytest.mark.parametrize(
    "host",
    [
        "192.168.1.5:8000",
        "[fe80::1]",
        OWN,
        f"{OWN.partition('.')[0].upper()}.local.:80",
        "camera.example.org",
        "localhost",
    ],
)
def test_addresses_and_known_names_are_answered(page: Any, host: str) -> None:
    assert page.ask("/icon.svg", Host=host).status == 200


def test_a_name_with_the_dot_of_the_root() -> None:
    access = Access.of("camera.lan.")
    assert [access.answers_to(host) for host in ("camera.lan", "camera.lan.", "other.lan")] == [True, True, False]


@pytest.mark.parametrize(
    "host", ["attacker.example", f"{OWN}.attacker.example", "1.2.3.4.attacker.example", "", "0x7f.1"]
)
def test_other_names_are_refused_with_what_to_do(page: Any, host: str) -> None:
    answer = page.ask("/healthz", Host=host)
    assert answer.status == 400
    assert (f"--allow-host {host}" if host else "send a Host header") in answer.text()


def test_a_local_page_behind_a_proxy_asks_for_a_token() -> None:
    access = Access.of("127.0.0.1", "camera.example.org")
    assert access.answers_to("camera.example.org")
    assert not access.answers_to("192.168.1.5")
    assert access.generated
    assert not Access.of("127.0.0.1").token


@pytest.mark.parametrize("name", ["http://camera", "camera:80", "*", "a b", "x\x1b[31m"])
def test_names_that_cannot_be_allowed(name: str) -> None:
    with pytest.raises(UsageError, match="allow_host: expected host names such as"):
        Access.of("0.0.0.0", name)


def test_each_run_has_a_token_of_its_own() -> None:
    tokens = {Access.of("0.0.0.0").token for _ in range(3)}
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 22
    assert not Access.of("0.0.0.0", token=False).token


@pytest.mark.parametrize("token", ["short", "with spaces and more", "x" * 300, "tökentökentökentöken"])
def test_tokens_that_cannot_be_used(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_FMNIST_TOKEN", token)
    with pytest.raises(UsageError, match="EDGE_FMNIST_TOKEN: expected 16 to 256 characters") as refused:
        Access.of("127.0.0.1")
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "path", ["/", "/frame.jpg", "/stream.mjpg", "/events", "/seen.png", "/result.json", "/metrics"]
)
@pytest.mark.parametrize("given", ["", "?token=", "?token=wrong", "?token=%FF", f"?token={TOKEN}x"])
def test_nothing_is_shown_without_the_token(page: Any, path: str, given: str) -> None:
    answer = page.ask(path + given)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text()


def test_the_health_of_a_page_needs_no_token_and_shows_no_result(page: Any) -> None:
    answer = page.ask("/healthz")
    # 503: ten seconds after the start of the page.
    assert answer.status in (200, 503)
    assert set(re.findall('"([a-z_]+)":', answer.text())) == {"state", "age", "viewers", "viewers_limit"}


def test_the_link_sets_a_cookie_that_opens_everything(page: Any) -> None:
    assert page.login_url == f"{page.url}?token={TOKEN}"
    answer = page.ask(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["Location"]) == (303, "./")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=lax", f"Max-Age={30 * 24 * 60 * 60}"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Path" not in cookie
    given = cookie.partition(";")[0]
    assert given.startswith(f"edge_fmnist_{urlsplit(page.url).port}=")
    assert page.ask("/", Cookie=given).status == 200
    assert page.ask("/metrics", Cookie=given).status == 200
    assert page.ask("/metrics", Cookie=given + "x").status == 401
    assert page.ask("/metrics", Cookie=f"\xff=\xff; {given[:-1]}").status == 401


def test_behind_a_proxy_with_tls_the_cookie_is_secure(page: Any) -> None:
    headers = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "203.0.113.5", "Host": "camera.example.org"}
    cookie = page.ask(f"/?token={TOKEN}", **headers).headers["Set-Cookie"]
    assert "Secure" in cookie
    # Browsers do not let the page replace it without TLS: that one has another name.
    given, plain = (text.partition(";")[0] for text in (cookie, page.ask(f"/?token={TOKEN}").headers["Set-Cookie"]))
    assert given.partition("=")[0] == plain.partition("=")[0] + "_tls"
    assert page.ask("/metrics", Cookie=given).status == 200
    assert page.ask("/metrics", Cookie=f"{plain}x; {given}").status == 200


def test_the_cookie_of_another_page_of_the_host_does_not_hide_that_of_this_one(page: Any) -> None:
    name = f"edge_fmnist_{urlsplit(page.url).port}"
    # Browsers send the one with the longest path first.
    own, other = f"{name}={TOKEN}", f"{name}=a-token-of-another-page"
    assert page.ask("/metrics", Cookie=f"{own}; {other}").status == 200
    assert page.ask("/metrics", Cookie=f"{other};{own}").status == 200
    assert page.ask("/metrics", Cookie=f"{other}; {name}; x{own}").status == 401


def test_programs_give_the_token_in_a_header_or_the_url(page: Any) -> None:
    assert page.ask("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert page.ask("/metrics", Authorization=f"bearer  {TOKEN}").status == 200
    assert page.ask(f"/metrics?token={TOKEN}").status == 200
    # Copied with a space.
    assert page.ask(f"/metrics?token={TOKEN}%20").status == 200
    for wrong in (TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer \xe4"):
        assert page.ask("/metrics", Authorization=wrong).status == 401


def test_the_form_says_when_a_token_is_wrong(page: Any) -> None:
    assert 'id="wrong" hidden' in page.ask("/").text()
    wrong = page.ask("/?token=wrong")
    assert 'id="wrong" role' in wrong.text()
    assert "form-action 'self'" in wrong.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_other_sites_cannot_change_anything(page_class: Any, headers: dict[str, str]) -> None:
    with closing(page_class(port=0)) as local:
        assert local.ask("/metrics", "POST", **headers).status == 403
        own = f"http://localhost:{urlsplit(local.url).port}"
        # 405: no such thing to change, but a page of its own may try.
        assert local.ask("/metrics", "POST", Origin=own, Host=own[7:]).status == 405
        assert local.ask("/metrics", "POST").status == 405


Live = Callable[..., Any]


def test_options_need_a_page(run_cli: Live) -> None:
    result = run_cli("live", "--source", "demo", "--allow-host", "camera", "--frames", 1, code=2)
    assert "--allow-host: needs --serve" in result.stderr
    result = run_cli("live", "--source", "demo", "--no-token", "--frames", 1, code=2)
    assert "--no-token: needs --serve" in result.stderr


def test_an_unreadable_key_is_named(run_cli: Live, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    key = tmp_path / "key.pem"
    arguments = ("--serve", "--tls-cert", tmp_path / "cert.pem", "--tls-key", key)
    result = run_cli("live", "--source", "demo", *arguments, code=2)
    assert f"{key}: cannot be read (No such file or directory)" in result.stderr


@pytest.mark.parametrize("report", [Report, JournalReport])
def test_a_generated_token_is_shown_even_if_quiet(report: type[Report], capsys: pytest.CaptureFixture[str]) -> None:
    with closing(WebPage("0.0.0.0", 0)) as page:
        report(quiet=True).serving(page)
        assert page.login_url in capsys.readouterr().err


@pytest.mark.parametrize("report", [Report, JournalReport])
def test_a_token_of_the_environment_is_kept_out_of_the_log(
    page: Any, report: type[Report], capsys: pytest.CaptureFixture[str]
) -> None:
    report().serving(page)
    shown = capsys.readouterr().err
    assert page.url in shown
    assert TOKEN not in shown


def test_a_terminal_shows_the_token_and_a_qr_code(
    page: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Report().serving(page)
    url, *drawn = capsys.readouterr().err.splitlines()
    assert url == f"Watch at {page.login_url}"
    assert len(drawn) > 15
    assert set("".join(drawn)) == set(" ▀▄█")


def test_a_page_without_token_is_warned_about(run_cli: Live) -> None:
    arguments = ("live", "--source", "demo", "--frames", 1, "--model", "edge", "--no-token", "--serve", "0.0.0.0:0")
    assert "Warning: the page asks for no token" in run_cli(*arguments).stderr
