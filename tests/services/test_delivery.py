"""Alerts: each target is told once, in order, whatever ends a worker and whatever the target does."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from livectl.live import collecting
from livectl.live.alerts import delivery, digests
from livectl.live.alerts.outbox import Outbox, read_targets
from livectl.models import Streamer
from livectl.secret import Secret
from livectl.settings import Target, Template
from livectl.units import Window, parse_rate
from tests.support.alerts import DAY, HOUR, MINUTE, NOON, Receiver, World, client, hook, receiver, titles, world
from tests.support.processes import answer
from tests.support.waiting import LOOK_SECONDS, wait_for

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["client", "receiver", "world"]  # fixtures

PAUSE_LIMIT = 5  # seconds that an alert may hold up those of other streamers
STEPS = ("taken", "read", "held", "sent", "settled")


class KilledError(BaseException):
    """What ends a worker at a step: nothing in the product catches it."""


def test_a_go_live_is_told_once(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", title="Hello", name="Ada", session="s1", url="https://example.org/ada")
    assert world.deliver() == 1
    assert world.deliver() == 0
    (payload,) = receiver.taken
    assert (payload["kind"], payload["title"], payload["target"]) == ("live", "Ada is live", "hook")
    assert payload["changes"][0]["session"] == "s1"
    assert receiver.headers[0]["idempotency-key"] == payload["key"]


def test_what_is_sent_is_signed(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, secret=Secret("s3cret"))}
    world.follow("ada")
    world.see("live", "ada")
    world.deliver()
    stamp, _, signed = receiver.headers[0]["livectl-signature"].partition(",")
    message = stamp.removeprefix("t=").encode() + b"." + receiver.bodies[0]
    assert signed == "v1=" + hmac.new(b"s3cret", message, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_go_lives_through_kills_and_a_receiver_in_all_moods(
    world: World, receiver: Receiver, seed: int
) -> None:
    dice = random.Random(seed)
    names = [f"s{number:03}" for number in range(200)]
    world.targets = {"hook": hook(receiver, timeout=0.3, max_age=DAY, on=("live", "title"))}
    world.follow(*names)
    for name in names:
        world.see("live", name, session=f"of {name}", title="one")
    for name in names[::4]:
        world.see("live", name, session=f"of {name}", title="other")
    moods = iter(dice.choices(["take", "take slowly", "busy", "down", "ill"], [86, 2, 4, 4, 4], k=2000))
    down = range(60, 75)  # of the requests: it is away for a while
    receiver.mood = lambda: "down" if receiver.asked in down else next(moods)
    kills: Counter[str] = Counter()

    def kill(step: str) -> None:
        if dice.random() < 0.05:
            kills[step] += 1
            raise KilledError(step)

    world.step = kill
    for _ in range(2000):
        try:
            world.deliver()
        except KilledError:
            world.now += 40  # until its lease is over
        world.now += 31
        is_at_end = not world.store.changes(str(world.client.hget("livectl:{target:hook}:state", "cursor") or "0"), 1)
        if is_at_end and not world.client.exists("livectl:{target:hook}:lanes"):
            break
    keys: dict[tuple[str, str], set[str]] = {}
    for payload in receiver.taken:
        keys.setdefault((payload["changes"][0]["id"], payload["kind"]), set()).add(payload["key"])
    assert set(kills) == set(STEPS)
    expected = {(name, "live") for name in names} | {(name, "title") for name in names[::4]}
    assert set(keys) == expected, "somebody's go-live or title was never told"
    assert all(len(keys_of_one) == 1 for keys_of_one in keys.values()), "one alert with two keys"
    for name in names[::4]:
        kinds = [payload["kind"] for payload in receiver.taken if payload["changes"][0]["id"] == name]
        assert kinds == sorted(kinds), "a title was told before the go-live"
    assert world.dead_letters == []


def test_an_alert_that_is_given_up_has_one_letter_whoever_ends_on_the_way(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    receiver.mood = lambda: "never"

    def kill(step: str) -> None:
        if step == "lettered":
            raise KilledError(step)

    world.step = kill
    with pytest.raises(KilledError):
        world.deliver()
    (before,) = world.client.hkeys("livectl:dead")
    world.step = lambda name: None
    world.now += MINUTE
    world.deliver()
    assert world.client.hkeys("livectl:dead") == [before]
    assert world.client.hget("livectl:{target:hook}:state", "dead") == "1"
    assert world.deliver() == 0


def test_what_was_sent_is_noted_though_the_store_is_away_for_a_moment(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its answer is lost, and once the call."""
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    monkeypatch.setattr(delivery, "SETTLE_PAUSE_SECONDS", 0.0)
    real, turns = Outbox.mark_sent, iter(["call", "answer", "none"])

    def mark_sent(self: Outbox, *args: Any) -> bool:
        lost = next(turns)
        result = lost == "call" or real(self, *args)
        if lost != "none":
            raise RedisConnectionError(lost)
        return result

    monkeypatch.setattr(Outbox, "mark_sent", mark_sent)
    assert world.deliver() == 1
    assert world.client.hget("livectl:{target:hook}:state", "sent") == "1"
    world.now += HOUR
    assert (world.deliver(), len(receiver.taken)) == (0, 1)


def test_a_delivery_that_the_store_kept_from_its_end_is_gone_on_with_at_once(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same worker: others wait until the lease is over."""
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    dispatcher = world.dispatcher
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "changes", Mock(side_effect=RedisConnectionError("away")))
        with pytest.raises(RedisConnectionError):
            dispatcher.deliver_to("hook")
    assert world.deliver() == 0
    assert dispatcher.deliver_to("hook") == 1


def test_a_go_live_is_told_whose_recorder_was_killed_before_it_collected(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    with monkeypatch.context() as patch:
        patch.setattr(collecting, "collect", Mock(side_effect=KilledError))
        with pytest.raises(KilledError):
            world.see("live", "ada", name="Ada")
    world.dispatcher.deliver()
    assert titles(receiver) == ["Ada is live"]


def _told_ids(receiver: Receiver) -> list[str]:
    return [payload["changes"][0]["id"] for payload in receiver.taken]


def test_an_alert_that_fails_holds_up_those_of_its_streamer_alone(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, on=("live", "title"))}
    world.follow("ada", "bob", "cat")
    world.see("live", "ada", name="Ada", session="s", title="one")
    world.see("live", "bob", "cat")
    world.see("live", "ada", name="Ada", session="s", title="other")
    receiver.mood = lambda: "ill" if receiver.body_of_now["changes"][0]["id"] == "ada" else "take"
    world.deliver()
    assert _told_ids(receiver) == []
    world.now += PAUSE_LIMIT
    world.deliver()
    assert sorted(_told_ids(receiver)) == ["bob", "cat"]  # they lie in two cells: no order is theirs
    (status,) = read_targets(world.settings, world.client, world.now)
    assert (status.backlog, status.state.problem, status.state.troubled_since) == (2, "answered 500", None)
    receiver.mood = lambda: "take"
    world.now += MINUTE
    world.deliver()
    assert [(payload["changes"][0]["id"], payload["kind"]) for payload in receiver.taken[2:]] == [
        ("ada", "live"),
        ("ada", "title"),
    ]
    assert world.client.hget("livectl:{target:hook}:state", "last_told") == world.store.changes()[-1].number
    assert not world.client.exists("livectl:{target:hook}:lanes")
    assert receiver.taken[2]["key"] == receiver.refused_keys[0]


def test_each_alert_that_fails_waits_longer_each_time_and_a_day_at_most(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada", "bob")
    world.see("live", "ada", name="Ada")
    receiver.mood = lambda: "ill" if receiver.body_of_now["changes"][0]["id"] == "ada" else "take"
    began, asked = world.now, []
    while not world.dead_letters:
        before = receiver.asked
        world.deliver()
        asked += [world.now - began] * (receiver.asked - before)
        world.now += 2 if world.now - began < 2 * MINUTE else 5 * MINUTE
    assert [round(at) // 5 * 5 for at in asked[:5]] == [0, 5, 15, 35, 75]
    assert DAY <= world.now - began < DAY + HOUR
    world.see("live", "bob")
    world.deliver()
    assert _told_ids(receiver) == ["bob"]


@pytest.mark.parametrize(("mood", "others_wait"), [("busy", True), ("down", True), ("ill", False), ("gone", False)])
def test_others_wait_only_for_a_target_that_is_down_as_a_whole(
    world: World, receiver: Receiver, mood: str, others_wait: bool
) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada", "bob")
    world.see("live", "ada")
    world.see("live", "bob")
    moods = iter([mood, "down"])
    receiver.mood = lambda: next(moods, "take")
    world.deliver()
    world.now += PAUSE_LIMIT + 1
    world.deliver()
    assert ("bob" in receiver.asked_ids[:2]) is not others_wait


def test_where_no_connection_can_be_made_the_pauses_grow(world: World) -> None:
    world.targets = {"hook": Target(webhook=Secret("http://127.0.0.1:1/"), allow_private=True)}
    world.follow("ada", "bob")
    world.see("live", "ada", "bob")
    world.deliver()
    assert not world.client.exists("livectl:{target:hook}:lanes")
    assert (
        float(world.client.hget("livectl:{target:hook}:state", "retry_at") or 0)
        == world.now + delivery.FIRST_RETRY_SECONDS
    )


def test_a_target_that_takes_everything_ill_is_down_as_a_whole(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, max_age=DAY)}
    names = [f"s{number:02}" for number in range(30)]
    world.follow(*names)
    for name in names:
        world.see("live", name)
    receiver.mood = lambda: "ill"
    for _ in range(200):
        world.deliver()
        world.now += 4
    assert len(set(receiver.asked_ids)) == delivery.MAX_LANES + 1
    (status,) = read_targets(world.settings, world.client, world.now)
    assert status.backlog == 30
    assert status.state.troubled_since
    receiver.mood = lambda: "take"
    for _ in range(400):
        world.deliver()
        world.now += 4
    assert sorted(_told_ids(receiver)) == names


def test_of_two_workers_one_sends(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    names = [f"s{number}" for number in range(40)]
    world.follow(*names)
    for name in names:
        world.see("live", name)
    dispatchers = [world.dispatcher for _ in range(4)]
    threads = [threading.Thread(target=dispatcher.deliver_to, args=("hook",)) for dispatcher in dispatchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [payload["changes"][0]["id"] for payload in receiver.taken] == names


def test_who_lost_the_lease_changes_nothing(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada")
    slow, other = Outbox(world.client, "slow"), Outbox(world.client, "other")
    assert slow.lease("hook", world.now, 10, "0-0")
    assert other.lease("hook", world.now + 5, 10, "0-0") is None
    assert other.lease("hook", world.now + 11, 10, "0-0")
    assert not slow.skip("hook", "9-0", world.now + 12)
    state = other.lease("hook", world.now + 12, 10, "0-0")
    assert state
    assert state.cursor == "0-0"


def test_what_a_dead_worker_held_is_told_within_seconds_however_long_its_target_may_take(
    world: World, receiver: Receiver
) -> None:
    world.targets = {"hook": hook(receiver, timeout=30.0)}
    world.follow("ada")
    world.see("live", "ada")
    for step in ("held", "sent"):
        world.step = partial(_killed_at, step)
        with pytest.raises(KilledError):
            world.deliver()
        world.now += 11
    world.step = lambda name: None
    assert world.deliver() == 1
    assert len({payload["key"] for payload in receiver.taken}) == 1


def _killed_at(step: str, name: str) -> None:
    if name == step:
        raise KilledError(step)


def test_who_sends_to_a_slow_target_keeps_it(world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "RENEW_SECONDS", LOOK_SECONDS)
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada")
    others: list[int] = []

    def held_until() -> float:
        return float(world.client.hget("livectl:{target:hook}:state", "held_until") or 0)

    def take_half_a_minute() -> str:
        for _ in range(5):
            world.now += 6
            wait_for(lambda: held_until() > world.now + 9)
            others.append(world.dispatcher.deliver_to("hook"))
        return "take"

    receiver.mood = take_half_a_minute
    assert world.deliver() == 1
    assert (others, len(receiver.taken)) == ([0] * 5, 1)
    assert held_until() == 0


def test_a_busy_target_is_left_alone_for_as_long_as_it_says(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada")
    receiver.mood = lambda: "busy"
    world.deliver()
    world.now += 29
    world.deliver()
    assert receiver.asked == 1
    world.now += 2
    receiver.mood = lambda: "take"
    assert world.deliver() == 1
    assert len(receiver.taken) == 1


def test_after_a_day_of_trying_it_is_a_dead_letter_and_the_next_one_goes_on(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, max_age=3 * DAY)}
    world.follow("ada", "bob")
    world.see("live", "ada", name="Ada")
    world.see("live", "bob", name="Bob")
    receiver.mood = lambda: "down"
    for _ in range(200):
        world.deliver()
        world.now += 15 * MINUTE
        if world.dead_letters:
            break
    assert world.dead_letters == [("Ada is live", "answered 503")]
    assert world.client.hlen("livectl:dead") == 1
    receiver.mood = lambda: "take"
    world.now += HOUR
    world.deliver()
    assert titles(receiver) == ["Bob is live"]


def test_what_will_never_be_taken_holds_nothing_up(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada", "bob")
    world.see("live", "ada", name="Ada")
    world.see("live", "bob", name="Bob")
    receiver.mood = lambda: "never" if receiver.asked == 1 else "take"
    world.deliver()
    assert titles(receiver) == ["Bob is live"]
    assert world.dead_letters == [("Ada is live", "answered 422")]


def test_a_dead_letter_can_be_told_after_all(world: World, receiver: Receiver, store_url: str, tmp_path: Path) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    receiver.mood = lambda: "never"
    world.deliver()
    (tmp_path / "livectl.yaml").write_text(f"alerts: {{hook: {{webhook: '{receiver.url}', allow_private: true}}}}")
    environ = {"LIVECTL_BROKER": store_url, "LIVECTL_HOME": str(tmp_path)}
    (letter,) = msgspec.json.decode(answer("dead", "--json", cwd=tmp_path, environ=environ).stdout)
    assert (letter["kind"], letter["reason"]) == ("alert", "hook: answered 422")
    assert answer("dead", "retry", letter["id"], cwd=tmp_path, environ=environ).returncode == 1
    receiver.mood = lambda: "take"
    assert answer("dead", "retry", letter["id"], cwd=tmp_path, environ=environ).returncode == 0
    assert receiver.taken[0]["key"] == letter["id"]
    assert world.client.hlen("livectl:dead") == 0


def test_a_redirect_is_not_followed(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada")
    receiver.mood = lambda: "moved"
    world.deliver()
    assert receiver.asked == 1
    assert "leads elsewhere" in str(world.client.hget("livectl:{target:hook}:state", "problem"))


def test_a_private_address_is_refused_unless_it_is_allowed(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": Target(webhook=Secret(receiver.url))}
    world.follow("ada")
    world.see("live", "ada")
    world.deliver()
    assert receiver.asked == 0
    assert "not a public address" in str(world.client.hget("livectl:{target:hook}:state", "problem"))


def test_a_failing_target_does_not_hold_up_another(world: World, receiver: Receiver) -> None:
    world.targets = {
        "broken": Target(webhook=Secret("http://127.0.0.1:1/"), allow_private=True),
        "hook": hook(receiver),
    }
    world.follow("ada")
    world.see("live", "ada")
    world.dispatcher.deliver()
    assert len(receiver.taken) == 1


def test_who_has_ended_meanwhile_is_not_told_unless_ends_are(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver), "all": hook(receiver, on=("live", "end"))}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    world.end("ada")
    world.deliver("hook")
    assert receiver.taken == []
    world.deliver("all")
    assert titles(receiver) == ["Ada is live", "Ada was live for 0 min"]


def test_late_ones_become_one_line(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow(*[f"s{number}" for number in range(9)])
    for number in range(8):
        world.see("live", f"s{number}", name=f"S{number}")
    world.now += HOUR
    world.see("live", "s8", name="S8")
    world.client.hset("livectl:{target:hook}:state", "cursor", "0-0")  # it was told before
    world.deliver()
    assert titles(receiver) == ["8 late alerts: S0, S1, S2, S3, S4 and 3 more", "S8 is live"]


def test_hundreds_of_late_ones_are_one_line_still(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    names = [f"s{number}" for number in range(500)]
    world.follow(*names)
    world.see("live", *names)
    world.now += HOUR
    world.client.hset("livectl:{target:hook}:state", "cursor", "0-0")  # it was told before
    world.deliver()
    (title,) = titles(receiver)
    assert re.fullmatch(r"500 late alerts: (demo/s\d+,? ){5}and 495 more", title)


def test_what_may_have_arrived_is_never_told_again_as_late(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, timeout=0.3)}
    world.follow("ada", "bob")
    world.see("live", "ada")
    receiver.mood = lambda: "take slowly"
    world.deliver()
    world.see("live", "bob")
    world.now += HOUR
    world.targets = {"hook": hook(receiver)}
    receiver.mood = lambda: "take"
    world.deliver()
    first, late, again = receiver.taken
    assert first["key"] == again["key"]
    assert [change["id"] for change in late["changes"]] == ["bob"]


LISTENERS = [
    ({}, {}, True),
    ({"tags": ("games",)}, {"tags": ("games", "art")}, True),
    ({"tags": ("games",)}, {}, False),
    ({"streamers": ("demo/ada",)}, {}, True),
    ({"streamers": ("demo/bob",)}, {}, False),
    ({"on": ("end",)}, {}, False),
    ({}, {"alerts": ()}, False),
    ({}, {"alerts": ("phone",)}, False),
    ({}, {"alerts": ("phone", "hook")}, True),
]


@pytest.mark.parametrize(("target", "streamer", "alerted"), LISTENERS)
def test_who_listens_to_whom(
    world: World, receiver: Receiver, target: dict[str, Any], streamer: dict[str, Any], alerted: bool
) -> None:
    world.targets = {"hook": hook(receiver, **target)}
    world.follow(Streamer(platform="demo", id="ada", **streamer))
    world.see("live", "ada")
    world.deliver()
    assert len(receiver.taken) == alerted


def test_a_stream_that_began_before_it_was_first_seen_is_not_told(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.store.set_followed([Streamer(platform="demo", id="ada")], world.now)
    world.see("live", "ada", started_at=world.now - 2 * HOUR)
    world.deliver()
    assert receiver.taken == []


def test_titles_and_categories_are_told_to_those_who_want_them(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, on=("title", "category"))}
    world.follow("ada")
    world.see("live", "ada", name="Ada", title="One", category="Art")
    world.see("live", "ada", name="Ada", title="Two", category="Art")
    world.see("live", "ada", name="Ada", title="Two", category="Music")
    world.deliver()
    assert titles(receiver) == ["Ada has a new title", "Ada moved to Music"]


def test_quiet_hours_hold_everything_back(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, quiet=Window(11 * 60, 12 * 60 + 10))}
    world.timezone = "UTC"
    world.follow("ada")
    world.see("live", "ada")
    world.deliver()
    assert receiver.taken == []
    world.now = NOON + 11 * MINUTE
    world.deliver()
    assert len(receiver.taken) == 1


def test_no_more_than_its_limit(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, limit=parse_rate("3/m"))}
    world.follow(*[f"s{number}" for number in range(8)])
    for number in range(8):
        world.see("live", f"s{number}")
    began, taken = world.now, []
    for second in range(0, 181, 5):
        world.now = began + second
        world.deliver()
        taken.append(len(receiver.taken))
    assert (taken[0], taken[11], taken[12], taken[-1]) == (3, 3, 6, 8)


def test_a_template_is_filled_and_what_fills_it_is_not(world: World, receiver: Receiver) -> None:
    words = Template(title="{name} on {platform}", body="{title} {{url}} {url}")
    world.targets = {"hook": hook(receiver, template=words)}
    world.follow("ada")
    world.see("live", "ada", name="A{id}", title="<b>{url}\n", url="https://example.org")
    world.deliver()
    assert (receiver.taken[0]["title"], receiver.taken[0]["body"]) == (
        "A{id} on demo",
        "<b>{url} {url} https://example.org",
    )


def test_trouble_is_told_once_while_it_lasts(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, on=("trouble",))}
    world.follow("ada")
    world.see("auth", "ada")
    for _ in range(3):
        world.dispatcher.deliver()
    assert titles(receiver) == ["demo: its keys are refused, or not set"]


def test_a_block_is_told_when_it_has_lasted_an_hour(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, on=("trouble",))}
    world.follow("ada")
    world.see("blocked", "ada")
    counts = []
    for _ in range(8):
        world.dispatcher.deliver()
        counts.append(len(receiver.taken))
        world.now += 600
    assert counts == [0, 0, 0, 0, 0, 0, 1, 1]


def test_the_digest_tells_what_was(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, digest=13 * 60)}
    world.follow("ada", "bob", "eve")
    world.dispatcher.deliver_digests()
    world.see("live", "ada", name="Ada", title="Painting")
    world.now += HOUR / 2
    world.see("live", "ada", name="Ada", title="Painting")
    world.end("ada")
    world.see("live", "bob", name="Bob", title="Chess")
    world.see("network", "eve", problem="no route")
    world.dispatcher.deliver_digests()
    assert receiver.taken == []
    world.now = NOON + HOUR + 5
    world.dispatcher.deliver_digests()
    world.dispatcher.deliver_digests()
    (payload,) = receiver.taken
    assert payload["kind"] == "digest"
    assert payload["title"].startswith("2 streamed since ")
    assert payload["title"].endswith(", 1 live now")
    first, second, third = payload["body"].splitlines()
    assert (first, third) == ("Ada: 30 min (Painting)", "Could not be asked: 1 of demo (not reached)")
    assert second.startswith("Bob: ")
    assert second.endswith("min, live now (Chess)")
    world.now += DAY
    world.dispatcher.deliver_digests()
    assert len(receiver.taken) == 2


def test_of_many_who_streamed_the_digest_names_the_longest_and_counts_the_others(
    world: World, receiver: Receiver
) -> None:
    world.targets = {"hook": hook(receiver, digest=13 * 60)}
    names = [f"n{number:02}" for number in range(13)]
    world.follow(*names)
    world.dispatcher.deliver_digests()
    for name in names:
        world.see("live", name, name=name)
        world.now += 60
    world.now = NOON + HOUR + 5
    world.dispatcher.deliver_digests()
    (payload,) = receiver.taken
    *lines, last = payload["body"].splitlines()
    assert payload["title"].startswith("13 streamed since ")
    assert [line.partition(":")[0] for line in lines] == names[:5]
    assert last == "Also n05, n06, n07, n08, n09 and 3 more."


def test_when_a_digest_was_due_last() -> None:
    paris = "Europe/Paris"
    autumn = 1_792_890_000.0  # 2026-10-25 01:00 UTC: clocks go back an hour right then
    assert digests.last_due_time(9 * 60, autumn, paris) == 1_792_825_200.0  # the day before, at 9 of summer
    assert digests.last_due_time(9 * 60, autumn + 8 * HOUR, paris) == 1_792_915_200.0  # at 9 of winter
