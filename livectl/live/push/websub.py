"""Reads what YouTube's hub sends to an address of ours, and asks it to do so: WebSub. No I/O in here.

The hub tells of new videos of a channel, not of go-lives: whoever it names is asked after. It asks back before it takes
a subscription, signs what it sends with a secret that we give it, and forgets us when the lease is over.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from livectl.live.platforms.youtube import NAME
from livectl.live.push.inbox import PushEvent
from livectl.models import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB_HOST = "pubsubhubbub.appspot.com"
HUB_URL = f"https://{HUB_HOST}/subscribe"
TOPIC = "https://www.youtube.com/xml/feeds/videos.xml?channel_id="
LEASE_SECONDS = 432_000.0  # five days, the usual and the longest that the hub grants
MIN_LEASE_SECONDS, MAX_LEASE_SECONDS = 300.0, 30 * 86_400.0
KEY_CHARS = 32
RENEW_SHARE = 0.8  # of a lease is over when it is renewed
ANSWER_SECONDS = 600.0  # until a hub that did not ask back is asked again
CHANNEL = re.compile(r"UC[\w-]{22}", re.ASCII)
SIGNATURES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_TOLD_CHANNEL = re.compile(rb"<yt:channelId>\s*(UC[\w-]{22})\s*</yt:channelId>")


class HubQuestion(NamedTuple):
    """What the hub asks back before it begins or ends to tell of a channel."""

    mode: str
    topic: str
    challenge: str
    lease: float

    @classmethod
    def of(cls, query: Mapping[str, str]) -> HubQuestion:
        lease = query.get("hub.lease_seconds", "")
        seconds = float(lease) if lease.isascii() and lease.isdecimal() and len(lease) < 12 else LEASE_SECONDS
        return cls(
            query.get("hub.mode", ""),
            query.get("hub.topic", ""),
            query.get("hub.challenge", ""),
            min(max(seconds, MIN_LEASE_SECONDS), MAX_LEASE_SECONDS),
        )


class HubWork(NamedTuple):
    """The channels that the hub is to be asked to tell of, again or for the first time, and those no more."""

    subscribe: list[str]
    unsubscribe: list[str]


def is_channel(text: str) -> bool:
    return bool(CHANNEL.fullmatch(text))


def plan(wanted: Mapping[str, float], leases: Mapping[str, float], asked: Mapping[str, float], now: float) -> HubWork:
    """What the hub is to be asked, the most wanted first. `leases` are until when it tells of each channel; `asked`,
    when it was asked last."""

    def is_due(channel: str) -> bool:
        if now - asked.get(channel, -ANSWER_SECONDS) < ANSWER_SECONDS:
            return False
        return leases.get(channel, 0.0) - now < LEASE_SECONDS * (1 - RENEW_SHARE)

    due = [channel for channel in sorted(wanted, key=lambda each: (-wanted[each], each)) if is_due(channel)]
    return HubWork(due, [channel for channel in leases if channel not in wanted])


def build_request(mode: str, channel: str, public_url: str, secret: str) -> Request:
    """Asks the hub to begin (`subscribe`) or end (`unsubscribe`) telling of a channel."""
    form = {
        "hub.callback": f"{public_url.rstrip('/')}/pushed/youtube/{channel}/{callback_key(secret, channel)}",
        "hub.topic": f"{TOPIC}{channel}",
        "hub.mode": mode,
        "hub.verify": "async",
        "hub.secret": channel_secret(secret, channel),
        "hub.lease_seconds": f"{LEASE_SECONDS:.0f}",
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request(url=HUB_URL, method="POST", headers=headers, body=urlencode(form).encode())


def channel_secret(secret: str, channel: str) -> str:
    """What the hub signs with what it tells of a channel: another for each."""
    return hmac.new(secret.encode(), f"websub {channel}".encode(), hashlib.sha256).hexdigest()


def callback_key(secret: str, channel: str) -> str:
    """Ends the address that the hub is given for a channel: nobody else answers for it there."""
    return hmac.new(secret.encode(), f"callback {channel}".encode(), hashlib.sha256).hexdigest()[:KEY_CHARS]


def is_signed(body: bytes, header: str, secret: str) -> bool:
    """Whether X-Hub-Signature fits the body."""
    method, _, digest = header.partition("=")
    if method not in SIGNATURES:
        return False
    wanted = hmac.new(secret.encode(), body, SIGNATURES[method]).hexdigest()
    return hmac.compare_digest(wanted.encode(), digest.strip().lower().encode(errors="replace"))


def read_events(body: bytes, channel: str, now: float) -> list[PushEvent]:
    """That the channel has news, if the feed is about it."""
    told = {match.decode() for match in _TOLD_CHANNEL.findall(body)}
    return [PushEvent(platform=NAME, id=channel, kind="news", at=now)] if channel in told else []
