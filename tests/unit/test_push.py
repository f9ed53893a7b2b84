"""What platforms tell by themselves, without I/O: sessions, plans, signatures, leases."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from livectl.live.push import planning, websub
from livectl.live.push.eventsub import (
    OFFLINE,
    ONLINE,
    WELCOME_SECONDS,
    EventSubSession,
    Moved,
    Notified,
    Revoked,
    SeenMessages,
    Welcomed,
)
from livectl.live.push.kick_webhook import Forged, read_message
from livectl.live.push.planning import Subscribed
from tests.support.played_webhooks import PlayedKick, signing_key
from tests.support.sites.plan import Plan

NOW = 1_800_000_000.0
TOLD_AT = "2027-01-15T08:00:00Z"
SUBSCRIPTION = {"id": "e1", "status": "enabled", "type": ONLINE, "condition": {"broadcaster_user_id": "7"}, "cost": 1}
EVENT = {
    "id": "41",
    "broadcaster_user_id": "7",
    "broadcaster_user_login": "ada",
    "broadcaster_user_name": "Ada",
    "type": "live",
    "started_at": "2027-01-15T07:59:58Z",
}


def message(kind: str, payload: Any = None, message_id: str = "m1") -> str:
    metadata = {"message_id": message_id, "message_type": kind, "message_timestamp": TOLD_AT}
    return json.dumps({"metadata": metadata, "payload": payload or {}})


def welcome(keepalive: float = 10) -> str:
    return message("session_welcome", {"session": {"id": "s1", "keepalive_timeout_seconds": keepalive}})


@pytest.fixture
def session() -> EventSubSession:
    made = EventSubSession(0.0, SeenMessages())
    assert made.receive(welcome(), 1.0) == Welcomed("s1")
    return made


def test_a_session_is_heard_for_as_long_as_it_promised(session: EventSubSession) -> None:
    assert session.silent_at == 1.0 + 10 + 2
    assert session.receive(message("session_keepalive"), 9.0) is None
    assert session.is_heard(20.9)
    assert not session.is_heard(21.0)


def test_a_connection_without_a_welcome_is_not_heard() -> None:
    made = EventSubSession(0.0, SeenMessages())
    assert not made.is_heard(1.0)
    assert made.silent_at == WELCOME_SECONDS


def test_a_go_live_has_the_session_and_the_time_at_which_it_was_told(session: EventSubSession) -> None:
    told = session.receive(message("notification", {"subscription": SUBSCRIPTION, "event": EVENT}), 2.0)
    assert isinstance(told, Notified)
    event = told.event
    assert (event.kind, event.id, event.session, event.at, event.started_at) == ("online", "7", "41", NOW, NOW - 2)
    assert (event.name, event.url, event.needs_details) == ("Ada", "https://www.twitch.tv/ada", True)


def test_a_message_counts_once_whichever_connection_it_comes_by(session: EventSubSession) -> None:
    seen = SeenMessages()
    first, second = EventSubSession(0.0, seen), EventSubSession(0.0, seen)
    text = message("notification", {"subscription": SUBSCRIPTION, "event": EVENT})
    assert first.receive(text, 1.0)
    assert second.receive(text, 1.0) is None


@pytest.mark.parametrize(
    ("changed", "kind"),
    [({"type": "rerun"}, "news"), ({"type": "live", "id": ""}, "news"), ({}, "online")],
)
def test_what_is_no_broadcast_is_asked(session: EventSubSession, changed: dict[str, str], kind: str) -> None:
    told = session.receive(message("notification", {"subscription": SUBSCRIPTION, "event": EVENT | changed}), 2.0)
    assert isinstance(told, Notified)
    assert told.event.kind == kind


def test_the_end_of_a_subscription_is_told(session: EventSubSession) -> None:
    revoked = SUBSCRIPTION | {"status": "user_removed", "type": OFFLINE}
    assert session.receive(message("revocation", {"subscription": revoked}), 2.0) == Revoked(
        OFFLINE, "7", "user_removed"
    )


@pytest.mark.parametrize(
    ("url", "follows"),
    [
        ("wss://eventsub.wss.twitch.tv/ws?id=1", True),
        ("wss://eventsub.wss.twitch.tv.example.org/ws", False),
        ("ws://eventsub.wss.twitch.tv/ws", False),
        ("wss://me@eventsub.wss.twitch.tv/ws", False),
        ("wss://[/ws", False),
        ("", False),
    ],
)
def test_no_message_leads_to_another_host(session: EventSubSession, url: str, follows: bool) -> None:
    told = session.receive(message("session_reconnect", {"session": {"id": "s1", "reconnect_url": url}}), 2.0)
    assert told == (Moved(url) if follows else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"metadata": 1}',
        "\ud800",
        "[" * 5000,
        message("notification"),
        message("notification", {"subscription": SUBSCRIPTION}),
        message("notification", {"subscription": SUBSCRIPTION | {"type": "channel.raid"}, "event": EVENT}),
        message("notification", {"subscription": SUBSCRIPTION, "event": EVENT | {"broadcaster_user_id": "../x"}}),
        message("session_welcome"),
        message("something_new", {"session": {"id": "s9"}}),
        message("notification", {"subscription": SUBSCRIPTION, "event": EVENT | {"started_at": 5}}),
    ],
)
def test_what_says_nothing_changes_nothing(session: EventSubSession, text: str) -> None:
    assert session.receive(text.encode("utf-8", "surrogatepass") if text == "\ud800" else text, 2.0) is None
    assert session.id == "s1"


def subscribed(*keys: tuple[str, str], cost: int = 1) -> dict[tuple[str, str], Subscribed]:
    return {key: Subscribed("/".join(key), cost) for key in keys}


def test_everybody_is_told_of_going_live_before_anybody_of_ending() -> None:
    plan = planning.plan({"a": 1.0, "b": 3.0, "c": 2.0}, ("on", "off"), {}, max_cost=5)
    assert plan.add == [("on", "b"), ("on", "c"), ("on", "a"), ("off", "b"), ("off", "c")]
    assert plan.wanted == 3


def test_who_is_wanted_more_takes_a_place_and_who_is_wanted_alike_takes_none() -> None:
    existing = subscribed(("on", "a"), ("on", "b"))
    assert planning.plan({"a": 1.0, "b": 1.0, "c": 1.1}, ("on",), existing, 2) == ([], [], 3)
    assert planning.plan({"a": 1.0, "b": 1.2, "c": 2.0}, ("on",), existing, 2) == (["on/a"], [("on", "c")], 3)


def test_who_is_not_followed_or_not_told_of_is_left_out() -> None:
    existing = subscribed(("on", "gone"))
    plan = planning.plan({"a": 1.0, "b": 1.0}, ("on",), existing, 9, refused=[("on", "b")])
    assert plan == (["on/gone"], [("on", "a")], 2)


def test_what_costs_nothing_leaves_its_place_to_others() -> None:
    existing = subscribed(("on", "a"), ("on", "b"), cost=0)
    assert planning.plan({"a": 1.0, "b": 1.0, "c": 1.0}, ("on",), existing, 1).add == [("on", "c")]


def test_the_weights_that_were_learned_say_who_is_wanted() -> None:
    assert planning.want(1.0, "z" * 168) > planning.want(1.0, "a" * 168) > planning.want(1.0, "0" * 168)
    assert planning.want(4.0, "") == pytest.approx(2 * planning.want(1.0, ""))


KICK = PlayedKick(Plan())


@pytest.mark.parametrize(
    ("headers", "body", "key"),
    [
        ({"Kick-Event-Signature": "AAAA"}, None, KICK.public_key),
        ({"Kick-Event-Signature": "no base64"}, None, KICK.public_key),
        ({"Kick-Event-Message-Id": "another"}, None, KICK.public_key),
        ({"Kick-Event-Message-Id": ""}, None, KICK.public_key),
        ({"Kick-Event-Message-Id": "x" * 200}, None, KICK.public_key),
        ({"Kick-Event-Message-Timestamp": "yesterday"}, None, KICK.public_key),
        ({"Kick-Event-Message-Timestamp": "2027-01-15T08:00:01Z"}, None, KICK.public_key),
        ({}, b'{"broadcaster": {"user_id": 8}, "is_live": true}', KICK.public_key),
        ({}, None, "no key at all"),
    ],
)
def test_what_kick_has_not_signed_is_refused(headers: dict[str, str], body: bytes | None, key: str) -> None:
    signed = KICK.status("7", int(NOW) - 1, at=NOW)
    with pytest.raises(Forged):
        read_message(signed.headers | headers, body or signed.body, key, NOW)


@pytest.mark.parametrize("skew", [-301.0, 301.0])
def test_what_is_of_another_time_is_refused(skew: float) -> None:
    signed = KICK.status("7", int(NOW) - 1, at=NOW)
    with pytest.raises(Forged):
        read_message(signed.headers, signed.body, KICK.public_key, NOW + skew)


def test_an_end_is_of_the_time_at_which_the_stream_ended() -> None:
    signed = KICK.status("7", int(NOW) - 900, ended=int(NOW) - 5, at=NOW)
    event = read_message(signed.headers, signed.body, KICK.public_key, NOW).event
    assert event is not None
    assert (event.kind, event.at, event.session) == ("offline", NOW - 5, str(int(NOW) - 900))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"is_live": true}', b"\xff"])
def test_what_kick_signs_and_nobody_knows_says_nothing(body: bytes) -> None:
    signed = KICK.sign(body, NOW)
    assert read_message(signed.headers, body, KICK.public_key, NOW).event is None


def test_a_stranger_who_signs_is_no_kick() -> None:
    signed = KICK.status("7", int(NOW) - 1, at=NOW, key=signing_key(1))
    with pytest.raises(Forged, match="its signature is not Kick's"):
        read_message(signed.headers, signed.body, KICK.public_key, NOW)


CHANNELS = [f"UC{letter * 22}" for letter in "abc"]


def test_leases_are_renewed_before_they_end_the_most_wanted_first() -> None:
    wanted = dict(zip(CHANNELS, (1.0, 3.0, 2.0), strict=True))
    leases = {CHANNELS[0]: NOW + 400_000, CHANNELS[1]: NOW + 50_000, "UCgone": NOW + 10}
    assert websub.plan(wanted, leases, {}, NOW) == ([CHANNELS[1], CHANNELS[2]], ["UCgone"])
    assert websub.plan(wanted, leases, {CHANNELS[1]: NOW - 5}, NOW).subscribe == [CHANNELS[2]]
    assert websub.plan(wanted, leases, {CHANNELS[1]: NOW - 700}, NOW).subscribe == [CHANNELS[1], CHANNELS[2]]


@pytest.mark.parametrize(
    ("lease", "seconds"), [("864000", 864_000), ("1", 300), ("9" * 30, 432_000), ("-5", 432_000), ("", 432_000)]
)
def test_a_lease_is_within_reason(lease: str, seconds: float) -> None:
    assert websub.HubQuestion.of({"hub.lease_seconds": lease}).lease == seconds


@pytest.mark.parametrize("header", ["", "sha1", "sha1=", "md5=0", "sha1=é", "sha256=" + "0" * 64])
def test_a_hub_without_the_secret_is_not_believed(header: str) -> None:
    assert not websub.is_signed(b"body", header, "secret")


def test_each_channel_has_a_secret_of_its_own_by_which_the_hub_signs() -> None:
    import hashlib
    import hmac

    secret = websub.channel_secret("ours", CHANNELS[0])
    assert secret != websub.channel_secret("ours", CHANNELS[1])
    digest = hmac.new(secret.encode(), b"body", hashlib.sha256).hexdigest().upper()
    assert websub.is_signed(b"body", f"sha256={digest}", secret)


def test_a_feed_is_news_of_its_own_channel_alone() -> None:
    body = f"<feed><yt:channelId>{CHANNELS[0]}</yt:channelId></feed>".encode()
    assert [event.kind for event in websub.read_events(body, CHANNELS[0], time.time())] == ["news"]
    assert websub.read_events(body, CHANNELS[1], NOW) == []
