"""Notifications for a service manager: the datagrams, and when the watchdog is fed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.pipeline.observer import State
from edge_fmnist.pipeline.systemd import RECONNECT_SECONDS, Notifier, Watchdog, watchdog_seconds


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Return the socket of a manager, and its name as the environment has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-fmnist-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if name[0] == "@" else name)
        listener.settimeout(5)
        yield listener, name


def test_each_message_is_a_datagram(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.alive()
    notifier.status("Coat 93 %\nREADY=0")
    notifier.stopping()
    received = [listener.recv(1000).decode() for _ in range(4)]
    # A line break in a status must not become a message of its own.
    assert received == ["READY=1", "WATCHDOG=1", "STATUS=Coat 93 % READY=0", "STOPPING=1"]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "a/b"}])
def test_without_a_manager_nothing_is_sent(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("sent"))
    Notifier.from_environment(environment).ready()


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "gone")).ready()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_time(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds


Turns = Callable[..., list[float]]


@pytest.fixture
def turns(clock: Any) -> Turns:
    """Return a function that runs a watchdog of 10 seconds in one state, and returns when it was fed."""
    started, fed = clock.now, list[float]()
    watchdog = Watchdog(10, lambda: fed.append(clock.now - started), clock)

    def run(state: State, until: float, step: float = 0.1) -> list[float]:
        while clock.now - started < until - step / 2:
            clock.now += step
            watchdog.turn(state)
        return fed

    return run


@pytest.mark.parametrize("state", [State.RUNNING, State.IDLE])
def test_frames_feed_it_at_half_of_its_time(turns: Turns, state: State) -> None:
    assert turns(state, 21) == pytest.approx([5, 10, 15, 20], abs=0.5)


def test_silence_does_not_feed_it(turns: Turns) -> None:
    turns(State.RUNNING, 7)
    assert len(turns(State.WAITING, 60)) == 1
    assert len(turns(State.RUNNING, 61)) == 2


def test_a_loop_that_hangs_does_not_feed_it(turns: Turns) -> None:
    assert turns(State.RUNNING, 4) == []


def test_reconnecting_feeds_it_for_a_while(turns: Turns) -> None:
    fed = turns(State.LOST, 5 * RECONNECT_SECONDS)
    assert 5 <= fed[0] <= 5.2
    assert RECONNECT_SECONDS - 5.2 <= fed[-1] <= RECONNECT_SECONDS + 0.2


def test_a_source_that_comes_back_may_be_lost_again(turns: Turns) -> None:
    turns(State.LOST, 0.9 * RECONNECT_SECONDS)
    turns(State.RUNNING, RECONNECT_SECONDS)
    assert turns(State.LOST, 1.8 * RECONNECT_SECONDS)[-1] > 1.5 * RECONNECT_SECONDS


def test_without_a_watchdog_nothing_is_fed(clock: Any) -> None:
    fed: list[int] = []
    watchdog = Watchdog(None, lambda: fed.append(1), clock)
    clock.now += 1000
    watchdog.turn(State.RUNNING)
    assert fed == []
