"""How far the clocks of workers are from the broker's.

No answer of a worker's has a time in it. The heartbeat that it sends when asked to has, if it sends events at all: it
was made between our question and its arrival, so that the figure is right to within that time, some milliseconds.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.errors import ServerError
from livectl.ops.cluster.pidbox import Mailbox, Question
from livectl.ops.jobs import message

if TYPE_CHECKING:
    from collections.abc import Collection

    from livectl.address import Address
    from livectl.ops.cluster.layout import Layout
    from livectl.resp import Wire

LISTEN_SECONDS = 0.5  # a heartbeat that was asked for comes within milliseconds
EVENTS = "celeryev"  # Celery's exchange of events, with the routing key of heartbeats
HEARTBEAT = "worker.heartbeat"
DIGITS = 2  # of seconds; journeys of messages are finer than that, and so are not told


def measure(wire: Wire, broker: Address, layout: Layout, names: Collection[str]) -> dict[str, float]:
    """Seconds that a worker's clock is ahead of the broker's, by its name. Who sends no heartbeats is left out."""
    channel = f"{layout.prefix}{layout.fanout.format(db=broker.database)}{EVENTS}"
    with suppress(ServerError), resp.dial(broker, LISTEN_SECONDS) as ear:
        ear.ask_all([("SUBSCRIBE", f"{channel}/{HEARTBEAT}"), ("SUBSCRIBE", channel)])
        asked = _clock(wire)
        mailbox = Mailbox(layout, broker.database)
        wire.ask("PUBLISH", mailbox.channel, mailbox.spell(Question(method="heartbeat", destination=tuple(names))))
        return _collect(ear, wire, set(names), asked)
    return {}


def _collect(ear: Wire, wire: Wire, names: set[str], asked: float) -> dict[str, float]:
    found: dict[str, float] = {}
    with suppress(ServerError):  # its time is over
        while names - found.keys():
            said = _beat(ear.hear())
            if said.get("hostname") in names and isinstance(said.get("timestamp"), int | float):
                found.setdefault(said["hostname"], _apart(said["timestamp"], asked, _clock(wire)))
    return found


def _apart(told: float, asked: float, heard: float) -> float:
    """Nothing, when it may have been made in between."""
    return round(told - min(max(told, asked), heard), DIGITS)


def _beat(pushed: Any) -> dict[str, Any]:
    """An event, or a list of them, as they are published. Nothing, for what is none."""
    raw = pushed[-1] if isinstance(pushed, list) and pushed else b""
    said = message.body_of(message.decode(raw)) if isinstance(raw, bytes) else None
    return said if isinstance(said, dict) else {}


def _clock(wire: Wire) -> float:
    seconds, microseconds = wire.ask("TIME")
    return int(seconds) + int(microseconds) / 1_000_000
