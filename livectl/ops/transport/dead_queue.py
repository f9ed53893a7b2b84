"""Dead letters on RabbitMQ itself, in the queue `livectl.dead`: for an app that has no store.

RabbitMQ refuses more letters than there may be, and a letter is forgotten after the longest time that it can count.
How often a job was started that killed its worker is the length of a queue of its own.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import ServerError
from livectl.ops.protocol import dead_letter
from livectl.ops.protocol.dead_letter import MAX_REASON_CHARS
from livectl.ops.transport import rabbitmq
from livectl.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.ops.protocol.dead_letter import DeadLetter
    from livectl.ops.transport.rabbitmq import Line

QUEUE = "livectl.dead"
MAX_LETTERS = 2_000  # RabbitMQ gives no more of a quorum queue out at once, and so nobody could see more
MAX_TOTAL_BYTES = 256_000_000
MAX_AGE_S = 49 * 86_400
STARTS_ARGUMENTS = {"x-expires": 86_400_000}  # then a job that is started again counts as new
CONTENT_TYPE = "application/json"
READER_PAUSE_S, MAX_READER_WAIT_S = 0.1, 5.0  # until another reader has ended
QUIET_S = 2.0  # without a letter, after which the rest of what was counted is with somebody else

ARGUMENTS: dict[str, Any] = {
    "x-max-length": MAX_LETTERS,
    "x-max-length-bytes": MAX_TOTAL_BYTES,
    "x-overflow": "reject-publish",
    "x-message-ttl": MAX_AGE_S * 1_000,
    "x-single-active-consumer": True,  # two readers at once would each see a part
}


class BrokerKeeper:
    """Keeps what a worker sets aside on RabbitMQ, and counts there how often jobs were started.

    All raise OSError or AMQPError while it does not answer.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    def add(self, letter: DeadLetter) -> bool:
        """Sets a dead letter aside. False when there are too many already."""
        from amqp.exceptions import MessageNacked

        reason = redact_text(letter.reason, MAX_REASON_CHARS)
        body = dead_letter.encode(msgspec.structs.replace(letter, id=dead_letter.utf8(letter.id), reason=reason))

        def send(channel: Any) -> bool:
            rabbitmq.declare(channel, QUEUE, ARGUMENTS)
            try:
                rabbitmq.publish(channel, body, routing_key=QUEUE, content_type=CONTENT_TYPE)
            except MessageNacked:
                return False
            return True

        return self._line.ask(send)

    def starts(self, job_id: str) -> int:
        return self._line.ask(lambda channel: _length(channel, starts_queue(job_id)))

    def note_start(self, job_id: str, *, is_repeat: bool) -> int:
        """Counts one more start of a job that comes again, which had one before. First starts are not worth a queue."""
        if not is_repeat:
            return 0
        queue = starts_queue(job_id)

        def count(channel: Any) -> int:
            earlier = _length(channel, queue)
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=STARTS_ARGUMENTS)
            starts = max(earlier, 1) + 1
            for _ in range(starts - earlier):
                rabbitmq.publish(channel, b"", routing_key=queue)
            return starts

        return self._line.ask(count)

    def note_end(self, job_id: str) -> None:
        self._line.ask(lambda channel: channel.queue_delete(starts_queue(job_id)))


def starts_queue(job_id: str) -> str:
    """The queue that holds one message for each start of a job that killed its worker."""
    return f"livectl.starts.{sha256(job_id.encode(errors='replace')).hexdigest()[:32]}"


def _length(channel: Any, queue: str) -> int:
    if not rabbitmq.exists(channel, queue):
        return 0
    _, count, _ = channel.queue_declare(queue, passive=True)
    return int(count)


class OpenLetter:
    """A letter of the queue while its reader has it: goes back when the reader ends, unless it was forgotten."""

    def __init__(self, letter: DeadLetter, message: Any) -> None:
        self.letter = letter
        self._message = message

    def forget(self) -> None:
        self._message.channel.basic_ack(self._message.delivery_tag)


@contextmanager
def reading(channel: Any) -> Iterator[list[OpenLetter]]:
    """All letters of the queue, which nobody else reads meanwhile. Empty where there is no such queue."""
    if not rabbitmq.exists(channel, QUEUE):
        yield []
        return
    count = _wait_for_turn(channel)
    with channel.connection.channel() as reader:  # what it does not acknowledge is back when it closes
        messages: list[Any] = []
        if count:
            reader.basic_consume(QUEUE, callback=messages.append)
            _receive(channel.connection, messages, min(count, MAX_LETTERS))
        yield [
            OpenLetter(letter, message)
            for message in messages
            if (letter := dead_letter.decode(_bytes(message.body))) is not None
        ]


def move_all(line: Line, keep: Callable[[DeadLetter], bool]) -> int:
    """Moves letters of the queue to a keeper that says which it kept; the others stay. Returns how many it moved."""

    def move(channel: Any) -> int:
        with reading(channel) as letters:
            kept = [each for each in letters if keep(each.letter)]
            for each in kept:
                each.forget()
        return len(kept)

    return line.ask(move)


def _wait_for_turn(channel: Any) -> int:
    """How many letters there are, once nobody else holds some."""
    deadline = time.monotonic() + MAX_READER_WAIT_S
    while True:
        _, count, readers = channel.queue_declare(QUEUE, passive=True)
        if not readers:
            return int(count)
        if time.monotonic() > deadline:
            raise ServerError("somebody else reads the dead letters", "Try again in a moment.")
        time.sleep(READER_PAUSE_S)


def _receive(connection: Any, messages: list[Any], count: int) -> None:
    while len(messages) < count:
        try:
            connection.drain_events(timeout=QUIET_S)
        except TimeoutError:
            return


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)
