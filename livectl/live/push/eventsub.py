"""Reads what Twitch sends over an EventSub WebSocket: a session, told by its messages. No I/O in here.

A session begins with a welcome, which has its id and says how long it may be silent. Twitch may ask us to go on at
another address, and the old connection counts until the new one is welcomed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.twitch import NAME
from livectl.live.push.inbox import PushEvent

SOCKET_URL = "wss://eventsub.wss.twitch.tv/ws"
SOCKET_HOST = "eventsub.wss.twitch.tv"
KEEPALIVE_SECONDS = 10  # of silence at most that we ask for, the least that Twitch grants
GRACE_SECONDS = 2.0  # of the network, beyond what was promised
WELCOME_SECONDS = 10.0  # until the welcome
MAX_SEEN = 10_000  # ids of messages, by which one that comes twice is known
ONLINE, OFFLINE = "stream.online", "stream.offline"
KINDS = {ONLINE: "online", OFFLINE: "offline"}


class Metadata(msgspec.Struct):
    message_id: str
    message_type: str
    message_timestamp: parsing.Instant


class SessionFields(msgspec.Struct):
    id: str
    keepalive_timeout_seconds: float | None = None
    reconnect_url: str | None = None


class Condition(msgspec.Struct, frozen=True):
    broadcaster_user_id: str = ""


class SubscriptionFields(msgspec.Struct):
    """A subscription as Twitch has it."""

    id: str
    status: str
    type: str
    condition: Condition = Condition()
    cost: int = 1

    @property
    def key(self) -> tuple[str, str]:
        return self.type, self.condition.broadcaster_user_id


class StreamEvent(msgspec.Struct):
    broadcaster_user_id: str
    broadcaster_user_login: str = ""
    broadcaster_user_name: str = ""
    id: str = ""
    type: str = ""
    started_at: parsing.Instant | None = None


class MessagePayload(msgspec.Struct):
    session: SessionFields | None = None
    subscription: SubscriptionFields | None = None
    event: StreamEvent | None = None


class EventSubMessage(msgspec.Struct):
    metadata: Metadata
    payload: MessagePayload


MESSAGE = msgspec.json.Decoder(EventSubMessage)


class Welcomed(msgspec.Struct, frozen=True):
    """The session has begun; its id is to be given to a shard within ten seconds."""

    session_id: str


class Notified(msgspec.Struct, frozen=True):
    """Something has happened to a streamer."""

    event: PushEvent


class Moved(msgspec.Struct, frozen=True):
    """The session goes on at this address; the connection ends half a minute from now."""

    url: str


class Revoked(msgspec.Struct, frozen=True):
    """Twitch has ended a subscription by itself, and why."""

    kind: str
    streamer_id: str
    reason: str


Told: TypeAlias = "Welcomed | Notified | Moved | Revoked | None"


class SeenMessages:
    """Knows the messages of late, whichever connection they came by."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def is_new(self, message_id: str) -> bool:
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > MAX_SEEN:
            self._ids.popitem(last=False)
        return True


class EventSubSession:
    """One connection. `now` is any clock that does not jump."""

    def __init__(self, now: float, seen: SeenMessages) -> None:
        self.id = ""
        self.unread = 0  # messages that have a shape we do not know
        self._seen = seen
        self._patience = WELCOME_SECONDS
        self._heard_at = now

    @property
    def silent_at(self) -> float:
        """When it has been silent for longer than it promised, unless something comes before."""
        return self._heard_at + self._patience

    def is_heard(self, now: float) -> bool:
        return bool(self.id) and now < self.silent_at

    def receive(self, text: str | bytes, now: float) -> Told:
        """What a message says; None for one that only says that the connection stands, or says nothing to us."""
        try:
            message = MESSAGE.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.unread += 1
            return None
        self._heard_at = now
        session, subscription = message.payload.session, message.payload.subscription
        match message.metadata.message_type:
            case "session_welcome" if session:
                self.id = session.id
                self._patience = (session.keepalive_timeout_seconds or KEEPALIVE_SECONDS) + GRACE_SECONDS
                return Welcomed(session.id)
            case "session_reconnect" if session and is_socket_url(session.reconnect_url or ""):
                return Moved(session.reconnect_url or "")
            case "revocation" if subscription:
                return Revoked(*subscription.key, subscription.status)
            case "notification" if self._seen.is_new(message.metadata.message_id):
                event = _read_event(message)
                return Notified(event) if event else None
        return None


def is_socket_url(url: str) -> bool:
    """Whether an address is one of Twitch's own: no message sends us elsewhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "wss" and parts.netloc.lower() == SOCKET_HOST


def _read_event(message: EventSubMessage) -> PushEvent | None:
    subscription, event = message.payload.subscription, message.payload.event
    kind = KINDS.get(subscription.type) if subscription else None
    told_at = parsing.instant_timestamp(message.metadata.message_timestamp)
    if kind is None or event is None or told_at is None or not parsing.is_number(event.broadcaster_user_id):
        return None
    started_at = parsing.instant_timestamp(event.started_at)
    if kind == "online" and (event.type != "live" or not event.id):  # a rerun, a playlist, a watch party
        kind = "news"
    login = event.broadcaster_user_login
    return PushEvent(
        platform=NAME,
        id=event.broadcaster_user_id,
        kind=kind,  # type: ignore[arg-type]
        at=told_at,
        session=event.id,
        started_at=started_at,
        name=parsing.plain_text(event.broadcaster_user_name or login),
        url=f"https://www.twitch.tv/{login}" if login else "",
        needs_details=kind == "online",
    )
