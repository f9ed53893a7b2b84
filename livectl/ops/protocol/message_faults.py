"""Finds what is wrong with a task message before Celery reads it: Celery ends its worker over many of these faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from livectl.errors import shorten
from livectl.ops.protocol.message import PROTOCOL_2_BODY_PARTS

TEXT_HEADERS = ("root_id", "parent_id", "group", "shadow")
TIME_HEADERS = ("eta", "expires")
TIME_LIMITS = 2  # the hard and the soft one


def envelope_fault(envelope: Any) -> str:
    """What is wrong with a message as it lies in Redis: what kombu itself needs of it. Empty if nothing is."""
    if not isinstance(envelope, dict):
        return f"the message is {_kind(envelope)}, not an object"
    properties = envelope.get("properties")
    if not isinstance(properties, dict):
        return "the message has no properties"
    if not _is_text(properties.get("delivery_tag")):
        return "the message has no delivery tag"
    delivery_info = properties.get("delivery_info")
    if not isinstance(delivery_info, dict) or not {"exchange", "routing_key"} <= delivery_info.keys():
        return "the message has no exchange and routing key"
    if not all(isinstance(delivery_info[key], str | None) for key in ("exchange", "routing_key")):
        return "exchange and routing key are no text"
    if not isinstance(envelope.get("headers"), dict | None):
        return f"the headers are {_kind(envelope['headers'])}, not an object"
    if not isinstance(envelope.get("body"), str | None):
        return f"the body is {_kind(envelope['body'])}, not text"
    return _type_fault(envelope, ("content-type", "content-encoding")) or _type_fault(properties, ("body_encoding",))


def headers_fault(headers: Any) -> str:
    """What is wrong with the headers of a job, where they name its task. Empty if nothing is."""
    if not _is_text(headers.get("id")):
        return "the job has no id" if headers.get("id") is None else f"its id is {_kind(headers['id'])}, not text"
    if not isinstance(headers.get("task"), str):
        return f"the task is {_kind(headers.get('task'))}, not text"
    return (
        _type_fault(headers, TEXT_HEADERS)
        or _type_fault(headers, TIME_HEADERS, (str, datetime))
        or _limits_fault(headers.get("timelimit"))
        or _retries_fault(headers.get("retries"))
        or _stamps_fault(headers)
    )


def body_fault(body: Any) -> str:
    """What is wrong with the decoded body of a job: [args, kwargs, embed], or the mapping of the first protocol."""
    if isinstance(body, Mapping):
        args, kwargs, embed = body.get("args") or (), body.get("kwargs") or {}, None
    elif isinstance(body, list | tuple) and len(body) == PROTOCOL_2_BODY_PARTS:
        args, kwargs, embed = body
    else:
        return f"the body is {_kind(body)}, not [args, kwargs, embed]"
    if not isinstance(args, list | tuple):
        return f"the arguments are {_kind(args)}, not a list"
    if not isinstance(kwargs, Mapping):
        return f"the keyword arguments are {_kind(kwargs)}, not an object"
    if not isinstance(embed, Mapping | None):
        return f"the third part of the body is {_kind(embed)}, not an object"
    return ""


def _limits_fault(limits: Any) -> str:
    if not limits and not isinstance(limits, Mapping):
        return ""
    if isinstance(limits, list | tuple) and len(limits) == TIME_LIMITS and all(map(_is_number_or_none, limits)):
        return ""
    return f"the time limit {_quote(limits)} is not two numbers"


def _retries_fault(retries: Any) -> str:
    is_count = retries is None or (isinstance(retries, int) and not isinstance(retries, bool))
    return "" if is_count else f"retries are {_quote(retries)}, not a number"


def _stamps_fault(headers: Mapping[str, Any]) -> str:
    if not isinstance(headers.get("stamped_headers"), list | tuple | None):
        return "stamped_headers are no list"
    return "" if isinstance(headers.get("stamps"), Mapping | None) else "stamps are no object"


def _type_fault(values: Mapping[str, Any], names: Sequence[str], types: tuple[type, ...] = (str,)) -> str:
    """Names the first value that is there and of another type."""
    for name in names:
        if values.get(name) is not None and not isinstance(values[name], types):
            return f"{name} is {_quote(values[name])}, not text"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _quote(value: Any) -> str:
    return shorten(repr(value))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str() | bytes():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"
