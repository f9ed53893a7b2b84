"""A RabbitMQ as far as a login, a queue and one message need it, to be made to say what a real one says seldom."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from amqp.serialization import dumps

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

HEADER_BYTES = 8  # of the greeting of a client
METHOD_FRAME = 1
FRAME_END = b"\xce"
CAPABILITIES = {"publisher_confirms": True, "connection.blocked": True, "authentication_failure_close": True}


def frame(channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", METHOD_FRAME, channel, len(payload)) + payload + FRAME_END


def method(class_id: int, number: int, arguments: bytes = b"") -> bytes:
    return struct.pack(">HH", class_id, number) + arguments


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


START = method(10, 10, dumps("ooFSS", (0, 9, {"capabilities": CAPABILITIES}, "PLAIN", "en_US")))
BLOCKED = method(10, 60, short("low on memory"))

# Method of the client -> answer of the server, each with class and number.
ANSWERS: dict[tuple[int, int], bytes] = {
    (10, 11): method(10, 30, struct.pack(">HIH", 100, 131_072, 0)),  # start-ok: tune
    (10, 40): method(10, 41, short("")),  # open
    (10, 50): method(10, 51),  # close
    (20, 10): method(20, 11, struct.pack(">I", 0)),  # channel.open
    (50, 10): method(50, 11, short("amq.gen-1") + struct.pack(">II", 0, 0)),  # queue.declare
    (60, 40): method(60, 80, struct.pack(">QB", 1, 0)),  # basic.publish: ack
    (85, 10): method(85, 11),  # confirm.select
}


def answer_calls(call: socket.socket, answers: Mapping[tuple[int, int], bytes] = ANSWERS, start: bytes = START) -> None:
    """Answers a client until it hangs up. What comes for the connection itself is on its channel 0."""
    reader = call.makefile("rb")
    reader.read(HEADER_BYTES)
    call.sendall(frame(0, start))
    while len(head := reader.read(7)) == 7:
        kind, channel, size = struct.unpack(">BHI", head)
        payload = reader.read(size + 1)
        answer = answers.get(struct.unpack(">HH", payload[:4])) if kind == METHOD_FRAME else None
        if answer is not None:
            call.sendall(frame(0 if answer.startswith(b"\x00\x0a") else channel, answer))
