"""Notifications for a service manager: that the service is ready, what it does, that it is alive.

The protocol of sd_notify(3) and sd_watchdog_enabled(3): datagrams of
``KEY=value`` lines to the Unix socket named in the environment. Without one,
nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from edge_fmnist.pipeline.observer import State

# Seconds for which reconnecting counts as alive: a network camera is back by then after its own restart, and a driver
# that hangs is only released by a restart of this process.
RECONNECT_SECONDS = 60.0
# Seconds for which a manager that does not read may block the loop.
SEND_TIMEOUT = 1.0


class Notifier:
    """Sends notifications to a service manager."""

    def __init__(self, address: str | None) -> None:
        """Create a notifier; without an address it sends nothing.

        Args:
            address: an absolute path, or ``@`` and a name in the abstract namespace, as in ``NOTIFY_SOCKET``.
        """
        self._address = address if address and len(address) > 1 and address[0] in "/@" else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Return a notifier for the manager that started this process, if it asked for notifications."""
        return cls(environment.get("NOTIFY_SOCKET"))

    def ready(self) -> None:
        """Report that the service has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line shown by ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split()))

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        # An abstract name starts with NUL.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        # A manager that is gone or busy must not stop the loop.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_TIMEOUT)
            sender.sendto(message.encode(), address)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the watchdog timeout of this process in seconds; None if there is no watchdog."""
    pid = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if pid and pid != str(os.getpid()):
        return None
    if not (microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
        return None
    return int(microseconds) / 1e6


class Watchdog:
    """Feeds a watchdog from the iterations of a loop, while there is progress.

    Progress is a frame that was processed, by the sinks too. Reconnecting to a
    lost source counts as well, for :data:`RECONNECT_SECONDS`; a device that is
    not back by then may be blocked by this very process. A camera, model or
    sink that hangs feeds nothing.
    """

    def __init__(
        self, seconds: float | None, feed: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start fed.

        Args:
            seconds: timeout of the watchdog; None if there is none.
            feed: resets it.
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
