"""Asks workers over a Redis broker, in Celery's own remote-control words, without Celery or kombu.

A question is published to all workers at once; the server says how many heard it, so that nobody waits for answers
that cannot come, nor takes the silence of a busy worker for its absence. A ping follows each question: who answers that
alone is a beat with remote control, which hears everything and knows nothing else.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl.ops.jobs import message

if TYPE_CHECKING:
    from livectl.ops.cluster.layout import Layout
    from livectl.resp import Wire

ANSWER_SECONDS = 1.0  # what `celery inspect` waits; a worker that is not stuck answers in a few milliseconds
LEAVE_SECONDS = 0.3  # kept back for taking the mailbox down again
BINDING_MILLISECONDS = 10_000  # kombu sweeps the reply table of a caller who died in between


class Answers(msgspec.Struct, frozen=True):
    """What the workers said, by their names, and how many were asked."""

    said: dict[str, Any] = {}
    heard: int = 0  # workers that the question reached

    @property
    def silent(self) -> int:
        return max(0, self.heard - len(self.said))


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One command with its arguments, for all workers or those named."""

    method: str
    arguments: dict[str, Any] = {}
    destination: tuple[str, ...] | None = None


def ask(wire: Wire, layout: Layout, database: int, question: Question, seconds: float = ANSWER_SECONDS) -> Answers:
    """Publishes, and collects until all that heard it have answered or the time is over."""
    mailbox = Mailbox(layout, database)
    mailbox.open(wire)
    try:
        last = Question(method="ping", destination=question.destination)
        heard, _ = (
            wire.ask("PUBLISH", mailbox.channel, mailbox.spell(one, ticket))
            for one, ticket in ((question, mailbox.ticket), (last, mailbox.last_ticket))
        )
        wanted = min(heard, len(question.destination)) if question.destination else heard
        return mailbox.collect(wire, wanted, seconds)
    finally:
        mailbox.close(wire)


class Mailbox:
    """Where answers come in: a queue of our own, bound to the exchange that workers answer to."""

    def __init__(self, layout: Layout, database: int) -> None:
        self.name, self.ticket, self.last_ticket = (str(uuid4()) for _ in range(3))
        self.channel = layout.control_channel(database)
        self._questions, self._exchange = f"{layout.control}.pidbox", layout.reply_exchange
        queue = f"{self.name}.{self._exchange}"
        self.queue = layout.key(queue, 0)
        self._table, self._deadlines = layout.bindings(self._exchange), layout.deadlines
        self._row = layout.separator.join((self.name, "", queue))

    def open(self, wire: Wire) -> None:
        gone = int(time.time() * 1000) + BINDING_MILLISECONDS
        bind = ("SADD", self._table, self._row)
        wire.ask_all([bind, ("ZADD", self._deadlines, "GT", gone, self._exchange)])

    def close(self, wire: Wire) -> None:
        wire.ask_all([("SREM", self._table, self._row), ("DEL", self.queue)])

    def collect(self, wire: Wire, wanted: int, seconds: float) -> Answers:
        """Until so many have answered the ping, and with it all that they ever will, or the time is over."""
        until = min(time.monotonic() + seconds, wire.until - LEAVE_SECONDS)
        answers: dict[str, Any] = {}
        done: set[str] = set()
        while len(done) < wanted and (left := until - time.monotonic()) > 0:
            popped = wire.ask("BRPOP", self.queue, f"{left:.3f}")
            envelope = message.decode(popped[1]) if popped else {}
            said = message.body_of(envelope)
            if not isinstance(said, dict):
                continue
            if envelope.get("headers", {}).get("ticket") == self.last_ticket:
                done |= said.keys()
            else:
                answers |= said
        return Answers(answers, wanted - len(done - answers.keys()))

    def spell(self, question: Question, ticket: str | None = None) -> bytes:
        """The question as kombu would have published it."""
        said = {
            "method": question.method,
            "arguments": question.arguments,
            "destination": question.destination,
            "pattern": None,
            "matcher": None,
            "ticket": ticket or self.ticket,
            "reply_to": {"exchange": self._exchange, "routing_key": self.name},
        }
        properties = {
            "delivery_mode": 1,
            "delivery_info": {"exchange": self._questions, "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        }
        body = base64.b64encode(msgspec.json.encode(said)).decode()
        envelope = {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": message.JSON,
            "headers": {"clock": 1, "expires": 0},
            "properties": properties,
        }
        return msgspec.json.encode(envelope)
