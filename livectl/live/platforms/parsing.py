"""Parses pasted addresses, and what sites answer: JSON, pages, texts, numbers, times."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote_plus, unquote, urlsplit

import msgspec

from livectl.live.platforms.base import CheckFailed
from livectl.models import Response, State

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")
Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]  # a time in JSON that says its zone
LocalTime: TypeAlias = Annotated[datetime, msgspec.Meta(tz=False)]  # ... and one that does not

# Several sites refuse what is no browser.
BROWSER_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
KOREAN_TIME = timezone(timedelta(hours=9))

MAX_ADDRESS_CHARS = 2_000  # browsers stop there too
MAX_PLAIN_CHARS = 200
MAX_ID_DIGITS = 20  # of a 64-bit number
MAX_TEXT_CHARS = 300  # of a title or a name: the longest any of these sites allows, and some
MAX_LINK_CHARS = 1_000  # of a cover's address; signed ones are long
MAX_MARKER_GAP_CHARS = 20  # between a marker in a page and the JSON it announces
MAX_RETRY_WAIT_S = 86_400.0  # a platform that asks for more than a day is asked again after one
MAX_TIMESTAMP = 32_503_680_000.0  # the year 3000: an instant beyond it is a number of something else

_LINK = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"\s*(?!https?:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_PLAIN_ADDRESS = re.compile(r"(https://|http://)?([A-Za-z0-9-][A-Za-z0-9.-]*)((?:/[A-Za-z0-9_-]+)+)")
_BLOCKED_STATUSES = {403, 412, 451}
_BAD_BATCH_STATUSES = {400, 500}  # how sites answer a batch with one bad id in it
_CAPTCHA_PAGE = re.compile(rb"captcha|verify|access denied|security policy|\xe9\xaa\x8c\xe8\xaf\x81", re.IGNORECASE)
_COUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*([kmw万亿만])?")
_COUNT_SUFFIXES = {"k": 1_000, "m": 1_000_000, "w": 10_000, "万": 10_000, "亿": 100_000_000, "만": 10_000}


class PageAddress(NamedTuple):
    """Where an address points. A streamer written `twitch/ada` has the platform's name for a host."""

    host: str  # lower case, without port
    parts: tuple[str, ...]  # of the path, decoded, none of them empty
    query: dict[str, str]
    url: str  # with its scheme


@lru_cache(maxsize=1)  # the registry parses an address to find its platform, which parses it again
def parse_page_address(text: str) -> PageAddress | None:
    """The page that `text` names: with a scheme or without, alone or amid what an app's share button wraps round it."""
    if (plain := _PLAIN_ADDRESS.fullmatch(text)) and len(text) <= MAX_PLAIN_CHARS:  # nearly all of a long list
        scheme, host, path = plain.groups()
        return PageAddress(
            host.lower().rstrip("."), tuple(path[1:].split("/")), {}, f"{scheme or 'https://'}{host}{path}"
        )
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
    """Whether a site could have given this as an id: ASCII digits, no more than a 64-bit number has."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS


def browser_headers(referer: str = "", cookie: str | None = "") -> dict[str, str]:
    """The headers of a browser on the page `referer`, with the user's own cookie if there is one."""
    headers = {"User-Agent": BROWSER_USER_AGENT}
    if referer:
        headers["Referer"] = referer
    if cookie:
        headers["Cookie"] = cookie
    return headers


def encode_query(parameters: Iterable[tuple[str, str]]) -> str:
    """As urlencode has it, but sooner where there are many: nearly all ids are words or numbers, and stand as such."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in parameters)


def _quoted(text: str) -> str:
    return text if text.isascii() and (text.isalnum() or text.isidentifier()) else quote_plus(text)


def read_json(response: Response, decoder: msgspec.json.Decoder[T], now: float) -> T:
    """The decoded body. CheckFailed when there is none, or when its shape is another: the problem names the path."""
    body = read_body(response, now)
    if body.lstrip()[:1] == b"<":
        if _CAPTCHA_PAGE.search(body):
            raise CheckFailed(State.BLOCKED, "a page that wants proof of a human")
        raise CheckFailed(State.PARSE_ERROR, "a page where JSON was expected")
    return decode_json(body, decoder)


def has_json(response: Response) -> bool:
    """Whether the body is a JSON object. An API's own "not found" is one; a page says that the address is gone."""
    return response.body.lstrip()[:1] == b"{"


def read_body(response: Response, now: float) -> bytes:
    """The body of a response with HTTP status 200. CheckFailed for any other, which says nothing of the streamer."""
    status = response.status
    if status == 0:
        raise CheckFailed(State.NETWORK, response.error or "no answer")
    if status == 401:
        raise CheckFailed(State.AUTH, "the key or cookie was refused (HTTP 401)")
    if status == 429:
        raise CheckFailed(State.RATE_LIMITED, "asked too often (HTTP 429)", read_retry_at(response, now))
    if status in _BLOCKED_STATUSES:
        raise CheckFailed(State.BLOCKED, f"refused to answer (HTTP {status})", read_retry_at(response, now))
    if status >= 500:
        problem = f"the site has trouble (HTTP {status})"
        raise CheckFailed(State.NETWORK, problem, read_retry_at(response, now), divisible=status in _BAD_BATCH_STATUSES)
    if 300 <= status < 400:
        problem = f"sent elsewhere (HTTP {status}): {response.headers.get('location', '')}"
        raise CheckFailed(State.BLOCKED, problem[:200])
    if status != 200:
        raise CheckFailed(State.PARSE_ERROR, f"unexpected HTTP {status}", divisible=status in _BAD_BATCH_STATUSES)
    if not response.body.strip():
        raise CheckFailed(State.BLOCKED, "an empty answer")
    return response.body


def read_retry_at(response: Response, now: float) -> float | None:
    """When the site wants to be asked again, from Retry-After or Ratelimit-Reset."""
    retry_after = response.headers.get("retry-after", "").strip()
    reset = response.headers.get("ratelimit-reset", response.headers.get("x-ratelimit-reset", "")).strip()
    if retry_after.isdecimal():
        return now + min(float(retry_after), MAX_RETRY_WAIT_S)
    if retry_after:
        return _parse_http_date(retry_after, now)
    if not reset.isdecimal():
        return None
    timestamp = float(reset) if float(reset) > now / 2 else now + float(reset)  # an epoch, or seconds from now
    return min(max(timestamp, now), now + MAX_RETRY_WAIT_S)


def _parse_http_date(text: str, now: float) -> float | None:
    try:
        timestamp = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(timestamp, now), now + MAX_RETRY_WAIT_S)


def decode_json(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The decoded JSON. CheckFailed when its shape is another."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckFailed(State.PARSE_ERROR, f"unexpected shape: {error}") from error


def find_embedded_json(text: str, marker: str, shape: type[T]) -> T | None:
    """The first JSON object behind `marker` in a page; None when the page has no such marker."""
    position = text.find(marker)
    end = position + len(marker)
    start = text.find("{", end, end + MAX_MARKER_GAP_CHARS) if position >= 0 else -1
    if start < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
        return msgspec.convert(value, shape, strict=False)
    except (ValueError, RecursionError) as error:
        raise CheckFailed(State.PARSE_ERROR, f"unexpected shape behind {marker}: {error}") from error


def unknown_value(path: str, value: object) -> CheckFailed:
    """The failure for a value that is no known state, so that it is shown, and never taken for offline."""
    return CheckFailed(State.PARSE_ERROR, f"unknown value {str(value)[:40]!r} - at `{path}`")


def somebody_else(path: str, name: object) -> CheckFailed:
    """The failure for an answer about somebody who was not asked for."""
    return CheckFailed(State.PARSE_ERROR, f"an answer about somebody else, {str(name)[:40]!r} - at `{path}`")


def plain_text(text: str | None) -> str:
    """Text for a line: entities decoded, spaces and control characters folded, cut to a bearable length."""
    if not text:
        return ""
    plain = html.unescape(html.unescape(text)) if "&" in text else text
    if not plain.isprintable():  # which few are not, of the thousands that a worker reads in a second
        plain = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(plain.split())[:MAX_TEXT_CHARS]


def image_url(text: str | None) -> str:
    """The address of a picture; empty when the text is none."""
    if not text:
        return ""
    address = f"https:{text}" if text.startswith("//") else text
    is_web = address.startswith(("https://", "http://")) and address.isprintable()
    return address if is_web and len(address) <= MAX_LINK_CHARS else ""


def find_image_url(value: object) -> str:
    """The address of a picture in whichever shape a site gives it, such as a list of addresses or one for each size.

    Empty where there is none: what a picture looks like in an answer must never make the rest unreadable.
    """
    if isinstance(value, str):
        return image_url(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        if address := find_image_url(part):
            return address
    return ""


def parse_count(value: float | str | None) -> int | None:
    """A number, or how a site writes one: 1.2万, 3k, 10,000+."""
    if isinstance(value, str):
        match = _COUNT.match(value.replace(",", "").strip().lower())
        return int(float(match[1]) * _COUNT_SUFFIXES.get(match[2] or "", 1)) if match else None
    return int(value) if value is not None and 0 <= value < MAX_TIMESTAMP else None


def valid_timestamp(seconds: float | None) -> float | None:
    """Seconds since the epoch; None when there are none, or when they cannot be an instant."""
    return float(seconds) if seconds is not None and 0 < seconds < MAX_TIMESTAMP else None


def instant_timestamp(instant: datetime | None) -> float | None:
    """Seconds since the epoch of a time with a zone. Servers write the year 1 for "never": None."""
    return valid_timestamp(instant.timestamp()) if instant else None


def local_time(text: str | None) -> datetime | None:
    """The time without a zone that a text has; None where it has none."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=None)
    except ValueError:
        return None


def korean_timestamp(local_time: datetime | None) -> float | None:
    """Seconds since the epoch of a time without a zone, as the clocks in Korea show it."""
    return instant_timestamp(local_time.replace(tzinfo=KOREAN_TIME)) if local_time else None
