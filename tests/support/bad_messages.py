"""Messages that no worker can take for a job: as they may lie in a list of Redis, each by what is wrong with it."""

from __future__ import annotations

import base64
import json
import random
from copy import deepcopy
from typing import Any
from uuid import uuid4

DROP = object()  # in the place of a value: leave the key out


def envelope(body: Any = ([1, 2], {}, {}), **headers: Any) -> dict[str, Any]:
    """A message as Celery sends it."""
    job, raw = str(uuid4()), body if isinstance(body, bytes) else json.dumps(body).encode()
    own = {
        "lang": "py",
        "task": "proj.add",
        "id": job,
        "root_id": job,
        "timelimit": [None, None],
        "retries": 0,
    } | headers
    return {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _without_dropped(own),
        "properties": {
            "correlation_id": job,
            "reply_to": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def _without_dropped(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not DROP}


def changed(**changes: Any) -> bytes:
    """A message with other fields at its top; those of `properties__x` below."""
    message = envelope()
    for key, value in changes.items():
        outer, _, inner = key.partition("__")
        place, name = (message[outer], inner) if inner else (message, outer.replace("_", "-"))
        place[name] = value
        if value is DROP:
            del place[name]
    return json.dumps(message).encode()


def headers(**values: Any) -> bytes:
    return json.dumps(envelope(**values)).encode()


def body(value: Any, **changes: Any) -> bytes:
    return json.dumps(envelope(body=value) | {key.replace("_", "-"): text for key, text in changes.items()}).encode()


NO_MESSAGES = {
    "no JSON": b"hello",
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"123",
    "text": b'"hello"',
    "not UTF-8": b'{"body": "\xff\xfe"}',
    "nested too deep": b"[" * 100_000,
    "an empty object": b"{}",
    "no properties": changed(properties=DROP),
    "properties are null": changed(properties=None),
    "no delivery tag": changed(properties__delivery_tag=DROP),
    "a delivery tag of objects": changed(properties__delivery_tag={"a": 1}),
    "no delivery info": changed(properties__delivery_info=DROP),
    "empty delivery info": changed(properties__delivery_info={}),
    "a list for a routing key": changed(properties__delivery_info={"exchange": "", "routing_key": []}),
    "a body that is no base64": changed(body="hello!"),
    "a body of an unknown encoding": changed(properties__body_encoding="rot13"),
    "an encoding of numbers": changed(properties__body_encoding=5),
    "a body of numbers": changed(body=5),
    "headers are a list": changed(headers=[1]),
    "a type in the headers that cannot be read": headers(eta={"__type__": "datetime", "__value__": "hello"}),
}
NO_JOBS = {
    "headers are null": changed(headers=None),
    "no headers": changed(headers=DROP),
    "no task": changed(headers={"id": "1"}),
    "a task of numbers": headers(task=5),
    "no id": headers(id=DROP),
    "an id of null": headers(id=None),
    "an id of objects": headers(id={"a": 1}),
    "an id of numbers": headers(id=5),
    "an unknown task": headers(task="proj.nothing"),
    "pickle": body(b"\x80\x04K\x01.", content_type="application/x-python-serialize", content_encoding="binary"),
    "an unknown content type": body(b"hello", content_type="application/x-hello"),
    "a body that is no JSON": body(b"hello"),
    "a body nested too deep": body(b"[" * 100_000),
    "a type in the body that cannot be read": body(
        [[{"__type__": "datetime", "__value__": "hello"}], {}, {}],
    ),
    "an unknown compression": headers(compression="application/x-hello"),
    "a body of two": body([[], {}]),
    "a body of null": body(None),
    "arguments are a number": body([5, {}, {}]),
    "keyword arguments are a list": body([[], [1], {}]),
    "the third part is text": body([[], {}, "hello"]),
    "a time limit in words": headers(timelimit="soon"),
    "two time limits in words": headers(timelimit=["soon", "later"]),
    "an ETA in words": headers(eta="soon"),
    "an ETA of numbers": headers(eta=5),
    "expires in words": headers(expires="soon"),
    "retries in words": headers(retries="many"),
    "a shadow of objects": headers(shadow={"a": 1}),
    "a group of lists": headers(group=[1]),
    "stamps of numbers": headers(stamped_headers=5),
    "a body of two megabytes": body([["x" * 2_000_000], {}, {}]),
}
MESSAGES = {**NO_MESSAGES, **NO_JOBS}

VALUES = [None, True, 0, -1, 1e308, "", "x", "soon", [], [1, 2, 3], {}, {"a": {}}, DROP, "\udc80", "9" * 400]


def fuzzed(seed: int, number: int) -> list[bytes]:
    """Messages of which a few fields, at any depth, hold something else; or a few bytes do."""
    rng = random.Random(seed)
    return [_fuzz_bytes(rng) if rng.random() < 0.2 else _fuzz_fields(rng) for _ in range(number)]


def _fuzz_fields(rng: random.Random) -> bytes:
    message = envelope()
    for _ in range(rng.randint(1, 3)):
        place = rng.choice([message, message["headers"], message["properties"]])
        if isinstance(place, dict) and place:
            key, value = rng.choice(list(place)), rng.choice(VALUES)
            place[key] = deepcopy(value)  # the next field may be put into it
            if value is DROP:
                del place[key]
        if not all(isinstance(message.get(key), dict) for key in ("headers", "properties")):
            break
    return json.dumps(message).encode()


def _fuzz_bytes(rng: random.Random) -> bytes:
    raw = bytearray(json.dumps(envelope()).encode())
    for _ in range(rng.randint(1, 4)):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)
