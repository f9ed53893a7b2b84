"""Alerts: each target is told once, in order, whatever ends a worker and whatever the target does."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from livectl.live.alerts.outbox import Outbox
from livectl.models import Streamer
from livectl.secret import Secret
from livectl.settings import Target
from livectl.units import Window, parse_rate
from tests.support.alerts import DAY, HOUR, MINUTE, NOON, Receiver, World, client, hook, receiver, titles, world
from tests.support.processes import answer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["client", "receiver", "world"]  # fixtures

STEPS = ("taken", "read", "held", "sent", "settled")


class KilledError(BaseException):
    """What ends a worker at a step: nothing in the product catches it."""


def test_a_go_live_is_told_once(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", title="Hello", name="Ada", session="s1", url="https://example.org/ada")
    assert world.drain() == 1
    assert world.drain() == 0
    (said,) = receiver.taken
    assert (said["kind"], said["title"], said["target"]) == ("live", "Ada is live", "hook")
    assert said["changes"][0]["session"] == "s1"
    assert receiver.headers[0]["idempotency-key"] == said["key"]


def test_what_is_sent_is_signed(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, secret=Secret("s3cret"))}
    world.follow("ada")
    world.see("live", "ada")
    world.drain()
    stamp, _, signed = receiver.headers[0]["livectl-signature"].partition(",")
    message = stamp.removeprefix("t=").encode() + b"." + receiver.bodies[0]
    assert signed == "v1=" + hmac.new(b"s3cret", message, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_hundred_go_lives_through_kills_and_a_receiver_in_all_moods(
    world: World, receiver: Receiver, seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"s{number:03}" for number in range(200)]
    world.targets = {"hook": hook(receiver, timeout=0.3, max_age=DAY)}
    world.follow(*names)
    for name in names:
        world.see("live", name, session=f"of {name}")
    moods = iter(chance.choices(["take", "take slowly", "busy", "down"], [90, 2, 4, 4], k=2000))
    down = range(60, 75)  # of the requests: it is away for a while
    receiver.mood = lambda: "down" if receiver.asked in down else next(moods)
    kills: Counter[str] = Counter()

    def kill(step: str) -> None:
        if chance.random() < 0.05:
            kills[step] += 1
            raise KilledError(step)

    world.step = kill
    for _ in range(2000):
        try:
            world.drain()
        except KilledError:
            world.now += 40  # until its lease is over
        world.now += 31
        if world.store.changes(str(world.client.hget("livectl:target:hook", "cursor") or "0"), 1) == []:
            break
    keys: dict[str, set[str]] = {}
    for said in receiver.taken:
        keys.setdefault(said["changes"][0]["id"], set()).add(said["key"])
    assert set(kills) == set(STEPS)
    assert sorted(keys) == names, "somebody's go-live was never told"
    assert all(len(found) == 1 for found in keys.values()), "one alert with two keys"
    assert [name for name, _ in itertools.groupby(said["changes"][0]["id"] for said in receiver.taken)] == names
    assert world.buried == []


def test_of_two_workers_one_sends(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    names = [f"s{number}" for number in range(40)]
    world.follow(*names)
    for name in names:
        world.see("live", name)
    couriers = [world.courier for _ in range(4)]
    threads = [threading.Thread(target=one.deliver_to, args=("hook",)) for one in couriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said["changes"][0]["id"] for said in receiver.taken] == names


def test_who_lost_the_lease_changes_nothing(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada")
    slow, other = Outbox(world.client, "slow"), Outbox(world.client, "other")
    assert slow.lease("hook", world.now, 10, "0-0")
    assert other.lease("hook", world.now + 5, 10, "0-0") is None
    assert other.lease("hook", world.now + 11, 10, "0-0")
    assert not slow.skip("hook", "9-0", world.now + 12)
    stand = other.lease("hook", world.now + 12, 10, "0-0")
    assert stand
    assert stand.cursor == "0-0"


def test_a_busy_target_is_left_alone_for_as_long_as_it_says(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada")
    receiver.mood = lambda: "busy"
    world.drain()
    world.now += 29
    world.drain()
    assert receiver.asked == 1
    world.now += 2
    receiver.mood = lambda: "take"
    assert world.drain() == 1
    assert len(receiver.taken) == 1


def test_after_a_day_of_trying_it_is_a_dead_letter_and_the_next_one_goes_on(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, max_age=3 * DAY)}
    world.follow("ada", "bob")
    world.see("live", "ada", name="Ada")
    world.see("live", "bob", name="Bob")
    receiver.mood = lambda: "down"
    for _ in range(200):
        world.drain()
        world.now += 15 * MINUTE
        if world.buried:
            break
    assert world.buried == [("Ada is live", "answered 503")]
    assert world.client.hlen("livectl:dead") == 1
    receiver.mood = lambda: "take"
    world.now += HOUR
    world.drain()
    assert titles(receiver) == ["Bob is live"]


def test_what_will_never_be_taken_holds_nothing_up(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada", "bob")
    world.see("live", "ada", name="Ada")
    world.see("live", "bob", name="Bob")
    receiver.mood = lambda: "never" if receiver.asked == 1 else "take"
    world.drain()
    assert titles(receiver) == ["Bob is live"]
    assert world.buried == [("Ada is live", "answered 422")]


def test_a_dead_letter_can_be_told_after_all(world: World, receiver: Receiver, store_url: str, tmp_path: Path) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    receiver.mood = lambda: "never"
    world.drain()
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
    world.drain()
    assert receiver.asked == 1
    assert "leads elsewhere" in str(world.client.hget("livectl:target:hook", "problem"))


def test_a_private_address_is_refused_unless_it_is_allowed(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": Target(webhook=Secret(receiver.url))}
    world.follow("ada")
    world.see("live", "ada")
    world.drain()
    assert receiver.asked == 0
    assert "not a public address" in str(world.client.hget("livectl:target:hook", "problem"))


def test_a_failing_target_does_not_hold_up_another(world: World, receiver: Receiver) -> None:
    world.targets = {
        "broken": Target(webhook=Secret("http://127.0.0.1:1/"), allow_private=True),
        "hook": hook(receiver),
    }
    world.follow("ada")
    world.see("live", "ada")
    world.courier.deliver()
    assert len(receiver.taken) == 1


def test_who_has_ended_meanwhile_is_not_told_unless_ends_are(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver), "all": hook(receiver, on=("live", "end"))}
    world.follow("ada")
    world.see("live", "ada", name="Ada")
    world.end("ada")
    world.drain("hook")
    assert receiver.taken == []
    world.drain("all")
    assert titles(receiver) == ["Ada is live", "Ada was live for 0 min"]


def test_late_ones_become_one_line(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow(*[f"s{number}" for number in range(9)])
    for number in range(8):
        world.see("live", f"s{number}", name=f"S{number}")
    world.now += HOUR
    world.see("live", "s8", name="S8")
    world.client.hset("livectl:target:hook", "cursor", "0-0")  # it was told before
    world.drain()
    assert titles(receiver) == ["8 late alerts: S0, S1, S2, S3, S4 and 3 more", "S8 is live"]


def test_hundreds_of_late_ones_are_one_line_still(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    names = [f"s{number}" for number in range(500)]
    world.follow(*names)
    world.see("live", *names)
    world.now += HOUR
    world.client.hset("livectl:target:hook", "cursor", "0-0")  # it was told before
    world.drain()
    assert titles(receiver) == ["500 late alerts: demo/s0, demo/s1, demo/s2, demo/s3, demo/s4 and 495 more"]


def test_what_may_have_arrived_is_never_told_again_as_late(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, timeout=0.3)}
    world.follow("ada", "bob")
    world.see("live", "ada")
    receiver.mood = lambda: "take slowly"
    world.drain()
    world.see("live", "bob")
    world.now += HOUR
    world.targets = {"hook": hook(receiver)}
    receiver.mood = lambda: "take"
    world.drain()
    first, again, late = receiver.taken
    assert first["key"] == again["key"]
    assert [change["id"] for change in late["changes"]] == ["bob"]


LISTENING = [
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


@pytest.mark.parametrize(("target", "streamer", "told"), LISTENING)
def test_who_listens_to_whom(
    world: World, receiver: Receiver, target: dict[str, Any], streamer: dict[str, Any], told: bool
) -> None:
    world.targets = {"hook": hook(receiver, **target)}
    world.follow(Streamer(platform="demo", id="ada", **streamer))
    world.see("live", "ada")
    world.drain()
    assert len(receiver.taken) == told


def test_a_stream_that_began_before_it_was_first_seen_is_not_told(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.store.set_followed([Streamer(platform="demo", id="ada")], world.now)
    world.see("live", "ada", started_at=world.now - 2 * HOUR)
    world.drain()
    assert receiver.taken == []


def test_titles_and_categories_are_told_to_those_who_want_them(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, on=("title", "category"))}
    world.follow("ada")
    world.see("live", "ada", name="Ada", title="One", category="Art")
    world.see("live", "ada", name="Ada", title="Two", category="Art")
    world.see("live", "ada", name="Ada", title="Two", category="Music")
    world.drain()
    assert titles(receiver) == ["Ada has a new title", "Ada moved to Music"]


def test_quiet_hours_hold_everything_back(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, quiet=Window(11 * 60, 12 * 60 + 10))}
    world.timezone = "UTC"
    world.follow("ada")
    world.see("live", "ada")
    world.drain()
    assert receiver.taken == []
    world.now = NOON + 11 * MINUTE
    world.drain()
    assert len(receiver.taken) == 1


def test_no_more_than_its_limit(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, limit=parse_rate("3/m"))}
    world.follow(*[f"s{number}" for number in range(8)])
    for number in range(8):
        world.see("live", f"s{number}")
    began, taken = world.now, []
    for second in range(0, 181, 5):
        world.now = began + second
        world.drain()
        taken.append(len(receiver.taken))
    assert (taken[0], taken[11], taken[12], taken[-1]) == (3, 3, 6, 8)
