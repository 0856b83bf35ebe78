"""What a service manager wants to know: that the service is ready, what it does, that it is alive.

The protocol of sd_notify(3) and sd_watchdog_enabled(3): datagrams of
``KEY=value`` lines to the Unix socket that the environment names. Where it
names none, nobody asked, and nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from edge_fmnist.pipeline.observer import State

# Seconds for which a lost source may be opened again and again before the service counts as hung: a camera in the
# network is back by then after a restart of its own, and a driver that hangs is freed by one of this process only.
RECONNECT_SECONDS = 60.0
# Seconds that a manager which does not read may hold up the loop.
SEND_TIMEOUT = 1.0


class Notifier:
    """Tells a service manager about this process."""

    def __init__(self, address: str | None) -> None:
        """Remember where to send; None sends nothing.

        Args:
            address: an absolute path, or ``@`` and a name in the abstract namespace, as in ``NOTIFY_SOCKET``.
        """
        self._address = address if address and len(address) > 1 and address[0] in "/@" else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Return a notifier for the manager that started this process, if one did and asked for it."""
        return cls(environment.get("NOTIFY_SOCKET"))

    @property
    def active(self) -> bool:
        """Whether a manager listens."""
        return self._address is not None

    def ready(self) -> None:
        """Tell that the service has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line what the service does, for ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split()))

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        # The kernel tells an abstract name by the NUL in front of it.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        # A manager that is gone or busy is no reason to stop naming garments.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_TIMEOUT)
            sender.sendto(message.encode(), address)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return within how many seconds this process must show that it is alive; None where nobody waits for it."""
    pid = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if pid and pid != str(os.getpid()):
        return None
    if not (microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
        return None
    return int(microseconds) / 1e6


class Watchdog:
    """Feeds a watchdog from the turns of a loop, while there is progress.

    Progress is a frame that was processed, by the sinks too. A source that was
    lost and is being opened again counts as well, for
    :data:`RECONNECT_SECONDS`: the loop waits for it on purpose, but what does
    not come back by then may be held by this very process. A camera that hangs,
    a model, or a sink that does not return, feeds nothing.
    """

    def __init__(
        self, seconds: float | None, feed: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start fed.

        Args:
            seconds: within which the watchdog must be fed; None where there is none.
            feed: feeds it.
            clock: seconds, as from :func:`time.monotonic`.
        """
        self._pause = None if seconds is None else seconds / 2
        self._feed = feed
        self._clock = clock
        self._fed_at = clock()
        self._lost_at: float | None = None

    def turn(self, state: State) -> None:
        """Feed the watchdog, if there is progress and half of its time has passed."""
        now = self._clock()
        if state is not State.LOST:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = now
        patient = self._lost_at is None or now - self._lost_at < RECONNECT_SECONDS
        if self._pause is not None and now - self._fed_at >= self._pause and state is not State.WAITING and patient:
            self._fed_at = now
            self._feed()
