"""Reads what Kick sends to an address of ours, and asks it to do so. No I/O in here.

Kick signs `ID.TIMESTAMP.BODY` with a key of its own, whose public half it publishes.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.errors import LivectlError
from livectl.live.platforms import oauth, parsing
from livectl.live.platforms.base import CheckFailed, ask
from livectl.live.platforms.kick import NAME, OAUTH_URL
from livectl.live.push.inbox import PushEvent
from livectl.live.push.planning import Subscribed
from livectl.models import Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from livectl.live.platforms.base import CheckContext, Effect

SUBSCRIPTIONS_URL = "https://api.kick.com/public/v1/events/subscriptions"
KEY_URL = "https://api.kick.com/public/v1/public-key"
EVENT, EVENT_VERSION = "livestream.status.updated", 1
MAX_COST = 1_000  # subscriptions of an application that Kick has not verified
MAX_SKEW_SECONDS = 300.0  # between Kick's clock and ours, the way included; older ones may be replayed
MAX_ID_CHARS = 100
HTTP_OK, HTTP_ACCEPTED, HTTP_NO_CONTENT = 200, 202, 204
REFUSED_STATUSES = {400, 403, 404}


class Forged(LivectlError):  # noqa: N818
    """A message that is not from whom it says it is, or not of now."""


class Broadcaster(msgspec.Struct):
    user_id: int
    username: str | None = ""
    channel_slug: str | None = ""


class StatusEvent(msgspec.Struct):
    broadcaster: Broadcaster
    is_live: bool
    title: str | None = ""
    started_at: parsing.Instant | None = None
    ended_at: parsing.Instant | None = None


class KickSubscription(msgspec.Struct):
    id: str
    broadcaster_user_id: int
    event: str
    method: str = "webhook"


class SubscriptionRows(msgspec.Struct):
    data: list[KickSubscription]


class MadeRow(msgspec.Struct):
    subscription_id: str = ""
    error: str | None = ""


class MadeRows(msgspec.Struct):
    data: list[MadeRow]


class PublicKey(msgspec.Struct):
    public_key: str


class PublicKeyAnswer(msgspec.Struct):
    data: PublicKey


STATUS_EVENT = msgspec.json.Decoder(StatusEvent)
SUBSCRIPTION_ROWS = msgspec.json.Decoder(SubscriptionRows)
MADE_ROWS = msgspec.json.Decoder(MadeRows)
PUBLIC_KEY = msgspec.json.Decoder(PublicKeyAnswer)


class KickMessage(msgspec.Struct, frozen=True):
    """A message whose signature fits: its id, by which one that comes twice is known, and what it tells."""

    id: str
    event: PushEvent | None


def read_message(headers: Mapping[str, str], body: bytes, public_key: str, now: float) -> KickMessage:
    """What a message tells. Forged where it is not Kick's, or is too old to be believed."""
    headers = {name.lower(): value for name, value in headers.items()}
    message_id = headers.get("kick-event-message-id", "")
    timestamp = headers.get("kick-event-message-timestamp", "")
    sent_at = _parse_time(timestamp)
    if not (message_id and len(message_id) <= MAX_ID_CHARS and message_id.isprintable()) or sent_at is None:
        raise Forged("it names no id, or no time")
    if not _is_signed(f"{message_id}.{timestamp}.".encode() + body, headers, public_key):
        raise Forged("its signature is not Kick's")
    if abs(now - sent_at) > MAX_SKEW_SECONDS:
        raise Forged(f"it is of {timestamp}")
    is_status = headers.get("kick-event-type") == EVENT
    return KickMessage(message_id, _read_event(body, sent_at) if is_status else None)


def _parse_time(text: str) -> float | None:
    try:
        return parsing.instant_timestamp(msgspec.convert(text, parsing.Instant))
    except msgspec.MsgspecError:
        return None


def _is_signed(signed: bytes, headers: Mapping[str, str], public_key: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        key = serialization.load_pem_public_key(public_key.encode())
        signature = base64.b64decode(headers.get("kick-event-signature", ""), validate=True)
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _read_event(body: bytes, sent_at: float) -> PushEvent | None:
    """None for a shape that we do not know: Kick has signed it, and so it is no forgery."""
    try:
        status = STATUS_EVENT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    started_at = parsing.instant_timestamp(status.started_at)
    ended_at = parsing.instant_timestamp(status.ended_at)
    slug = status.broadcaster.channel_slug or ""
    return PushEvent(
        platform=NAME,
        id=str(status.broadcaster.user_id),
        kind="online" if status.is_live and started_at else "news" if status.is_live else "offline",
        at=max(started_at or 0.0, ended_at or 0.0) or sent_at,
        told_at=sent_at if status.is_live else 0.0,
        session=f"{started_at:.0f}" if started_at else "",
        started_at=started_at,
        title=parsing.plain_text(status.title),
        name=parsing.plain_text(slug or status.broadcaster.username),
        url=f"https://kick.com/{slug}" if slug else "",
    )


def read_subscriptions(context: CheckContext) -> Generator[Effect, Any, dict[tuple[str, str], Subscribed]]:
    """The subscriptions of the application to what we are told of."""
    response = yield from _ask("GET", SUBSCRIPTIONS_URL, None, context)
    rows = parsing.read_json(response, SUBSCRIPTION_ROWS, context.now).data
    return {
        (EVENT, str(row.broadcaster_user_id)): Subscribed(row.id, 1)
        for row in rows
        if row.event == EVENT and row.method == "webhook"
    }


def subscribe(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Subscribed | None]:
    """The subscription that was made; None where Kick will not tell of this streamer."""
    body = {
        "broadcaster_user_id": int(streamer_id),
        "events": [{"name": EVENT, "version": EVENT_VERSION}],
        "method": "webhook",
    }
    response = yield from _ask("POST", SUBSCRIPTIONS_URL, body, context)
    if response.status in REFUSED_STATUSES:
        return None
    rows = parsing.read_json(response, MADE_ROWS, context.now).data
    made = rows[0] if rows else MadeRow()
    if made.error and "limit" in made.error.lower():
        raise CheckFailed(State.RATE_LIMITED, parsing.plain_text(made.error))
    return Subscribed(made.subscription_id, 1) if made.subscription_id and not made.error else None


def unsubscribe(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, None]:
    query = urlencode([("id", each) for each in ids])
    response = yield from _ask("DELETE", f"{SUBSCRIPTIONS_URL}?{query}", None, context)
    if response.status not in {HTTP_OK, HTTP_NO_CONTENT, 404}:
        parsing.read_body(response, context.now)


def read_public_key(context: CheckContext) -> Generator[Effect, Any, str]:
    """The key that Kick signs with, as it publishes it."""
    response = yield from ask(Request(url=KEY_URL))
    return parsing.read_json(response, PUBLIC_KEY, context.now).data.public_key


def _ask(method: Any, url: str, body: object, context: CheckContext) -> Generator[Effect, Any, Any]:
    def build_request(token: str) -> Request:
        headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if body else {})
        return Request(url=url, method=method, headers=headers, body=msgspec.json.encode(body) if body else b"")

    return (yield from oauth.ask_with_token(OAUTH_URL, context, build_request))
