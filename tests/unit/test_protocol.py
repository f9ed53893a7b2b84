"""Celery's formats where they are malformed, and where no server is needed to make them."""

from __future__ import annotations

import json

import pytest

from livectl.ops.protocol import message, remote_control, result
from livectl.ops.protocol.message import JobMessage


@pytest.mark.parametrize(("said", "size"), [("56.5MB", 59_244_544), ("512.00KB", 524_288), (None, None), ("?", None)])
def test_a_size_is_read_as_workers_with_psutil_spell_it(said: str | None, size: int | None) -> None:
    assert remote_control.memory_size(said) == size


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"{}", b"\xff", b'{"headers": 5}', b'{"headers": {"eta": "x", "retries": "y", "id": 5}}',
     b'{"body": "!", "content-type": "application/json", "properties": {"body_encoding": "base64"}}',
     b"[" * 5000],
)  # fmt: skip
def test_a_malformed_message_is_read_as_far_as_it_goes(raw: bytes) -> None:
    assert message.read(raw) == JobMessage()


@pytest.mark.parametrize("raw", [b"", b"[]", b"5", b'{"status": 1}', b'{"task_id": "x"}', b"\x80\x04\x95", b"[" * 5000])
def test_a_malformed_result_is_none(raw: bytes) -> None:
    assert result.parse(raw) is None


def test_a_message_of_the_first_protocol_is_read_too() -> None:
    body = json.dumps({"task": "t", "id": "j", "args": [1], "kwargs": {}})
    raw = json.dumps({"body": body, "content-type": "application/json"}).encode()
    assert message.read(raw) == JobMessage(id="j", task="t", args=[1], kwargs={})
