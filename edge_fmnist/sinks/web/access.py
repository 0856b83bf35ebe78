"""Who may use the browser page: the host names that it answers to, and its token."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import socket
from dataclasses import dataclass

from edge_fmnist.errors import UsageError
from edge_fmnist.sinks.formatting import printable
from edge_fmnist.sinks.web.address import ip_of, is_local

TOKEN_VARIABLE = "EDGE_FMNIST_TOKEN"  # noqa: S105 - the name of a variable, not a token
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# Characters that need no quoting in a URL and in a cookie.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


@dataclass(frozen=True)
class Access:
    """Which requests the page answers.

    Attributes:
        names: accepted host names and addresses, in lower case.
        any_address: whether any IP address is accepted as host. A DNS rebinding attack needs a name.
        token: asked for; empty if none is.
        generated: whether the token was generated for this run.
        exposed: whether the page can be reached from other machines, directly or through a proxy.
    """

    names: frozenset[str]
    any_address: bool
    token: str
    generated: bool
    exposed: bool

    @classmethod
    def of(cls, host: str, allowed: str | None = None, *, token: bool = True) -> Access:
        """Return the access to a page.

        The token is that of the environment variable ``EDGE_FMNIST_TOKEN``; without one, it is generated if the page
        can be reached from other machines.

        Args:
            host: address or name that the page listens at.
            allowed: further host names that it answers to, separated by commas, for a proxy or a name in DNS.
            token: False asks for none.

        Raises:
            UsageError: a name or a token that cannot be used.
        """
        local = is_local(host)
        exposed = not local or bool(allowed)
        names = (
            LOCAL_NAMES
            | _allowed_names(allowed)
            | {host.lower().removesuffix(".")}
            | (set() if local else _own_names())
        )
        given = find_token() if token else ""
        generated = token and exposed and not given
        return cls(frozenset(names), not local, secrets.token_urlsafe(16) if generated else given, generated, exposed)

    def answers_to(self, host: str | None) -> bool:
        """Return whether requests for this host, the name or address without a port, are answered."""
        if not host:
            return False
        name = host.lower().removesuffix(".")
        return name in self.names or (self.any_address and ip_of(name) is not None)

    def admits(self, token: str) -> bool:
        """Return whether this is the token; takes the same time for every wrong one."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())


def find_token() -> str:
    """Return the token of the environment; empty if there is none.

    Raises:
        UsageError: it is too short, or has other characters than those of a URL.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{TOKEN_VARIABLE}: expected 16 to 256 characters of A-Z a-z 0-9 . _ ~ -, got {len(token)} characters; "
            "make one with: openssl rand -hex 16"
        )
    return token


def _allowed_names(text: str | None) -> set[str]:
    names = {name.strip().lower().removesuffix(".") for name in (text or "").split(",") if name.strip()}
    for name in names:
        if not (_NAME.fullmatch(name) or ip_of(name)):
            raise UsageError(
                f"expected host names such as camera.example.org, separated by commas, got {printable(name)!r}",
                setting="allow_host",
            )
    return names


def _own_names() -> set[str]:
    """Return the host name of this machine, as such and in multicast DNS."""
    name = socket.gethostname().lower()
    first = name.partition(".")[0]
    return {name, first, f"{first}.local"}
