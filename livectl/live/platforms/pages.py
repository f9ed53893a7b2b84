"""A pasted address, taken apart."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_ADDRESS_CHARS = 2_000  # characters of an address; browsers stop there too
MAX_ID_DIGITS = 20
_LINK = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"\s*(?!https?:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?:)?//", re.IGNORECASE)


class PageAddress(NamedTuple):
    """Where an address points. A streamer written `twitch/ada` has the platform's name for a host."""

    host: str  # lower case, without port
    parts: tuple[str, ...]  # of the path, decoded, none of them empty
    query: dict[str, str]
    url: str  # with its scheme


@lru_cache(maxsize=1)  # one address is offered to every platform in turn
def page(text: str) -> PageAddress | None:
    """The page that `text` names: with a scheme or without, alone or amid what an app's share button wraps round it."""
    if _OTHER_SCHEME.match(text):
        return None
    match = _LINK.search(text)
    address = match.group() if match else text.strip()
    if not address or len(address) > MAX_ADDRESS_CHARS or re.search(r"\s", address):
        return None
    url = address if match else f"https://{_SCHEME.sub('', address, count=1)}"
    try:
        split = urlsplit(url)
        host = (split.hostname or "").rstrip(".")
    except ValueError:
        return None
    if not host:
        return None
    parts = tuple(unquote(part) for part in split.path.split("/") if part)
    return PageAddress(host, parts, dict(parse_qsl(split.query)), url)


def is_number(text: str) -> bool:
    """Whether a site could have given this as an id: the digits of ASCII, and no more than a 64-bit number has."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS
