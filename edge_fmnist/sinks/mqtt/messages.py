"""The topics below the prefix, and what is published there. ``docs/mqtt.md`` describes each."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Literal

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.mqtt.buffer import Message

ONLINE, OFFLINE = "online", "offline"

Health = Literal["starting", "running", "stalled"]


class Topics:
    """Makes the messages for one prefix; ``time`` is always in seconds of Unix time."""

    def __init__(self, prefix: str) -> None:
        self.availability = f"{prefix}/availability"
        self.state = f"{prefix}/state"
        self.scores = f"{prefix}/scores"
        self.frame_rate = f"{prefix}/frame_rate"
        self.health = f"{prefix}/health"

    def available(self, online: bool) -> Message:
        """Return what tells whether this program is connected."""
        return Message(self.availability, (ONLINE if online else OFFLINE).encode(), retain=True)

    def change(self, result: LiveResult, time: float) -> Message:
        """Return a change of the label."""
        facts = {"label": result.label, "score": round(result.score, 4), "frame": result.frame.index}
        return Message(self.state, _json(time, facts), retain=True)

    def rate(self, result: LiveResult) -> Message:
        """Return the results a second."""
        return Message(self.frame_rate, f"{result.fps:.2f}".encode(), expendable=True)

    def all_scores(self, result: LiveResult, time: float) -> Message:
        """Return the scores of all classes."""
        names = ("label", "score", "scores", "frame")
        facts = result.as_dict()
        return Message(self.scores, _json(time, {name: facts[name] for name in names}), expendable=True)

    def condition(self, health: Health, newest: LiveResult | None, results: int, dropped: int, time: float) -> Message:
        """Return how it goes: the health, frames so far, and messages that found no room."""
        facts = {
            "state": health,
            "frames": newest.seen if newest else 0,
            "frames_dropped": newest.dropped if newest else 0,
            "results": results,
            "messages_dropped": dropped,
        }
        return Message(self.health, _json(time, facts), retain=True)


def _json(time: float, facts: dict[str, Any]) -> bytes:
    moment = datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": moment, **facts}).encode()
