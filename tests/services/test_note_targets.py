"""Targets that come, go and change while streamers are live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livectl.live import cells
from livectl.live.alerts import delivery, outbox
from livectl.live.lua_scripts import lua_script
from livectl.settings import Settings, Target
from tests.support.alerts import client, hook, receiver, titles, world

if TYPE_CHECKING:
    from tests.support.alerts import Receiver, World

__all__ = ["client", "receiver", "world"]  # fixtures


class Worker:
    """A worker whose settings change."""

    def __init__(self, world: World, place: str = "here livectl.yaml") -> None:
        self.world = world
        self.place = place
        self.settings: Settings | None = None

    def take_over(self, **targets: Target) -> None:
        self.world.targets = targets
        before, self.settings = self.settings, Settings(home=Path(), folder=Path(), alerts=targets)
        delivery.note_targets(self.settings, before, self.world.store, self.world.client, self.place, self.world.now)

    def restart(self, **targets: Target) -> None:
        self.settings = None
        self.take_over(**targets)

    def waiting(self, name: str) -> int:
        assert self.settings
        (status,) = [
            status
            for status in outbox.read_targets(self.settings, self.world.client, self.world.now)
            if status.name == name
        ]
        return status.backlog


@pytest.fixture
def worker(world: World) -> Worker:
    """One that has run for a while, without a target."""
    worker = Worker(world)
    worker.take_over()
    world.follow("ada", "grace")
    return worker


def test_a_new_target_is_told_of_what_happens_from_now_on(worker: Worker, world: World, receiver: Receiver) -> None:
    world.see("live", "ada")
    worker.take_over(hook=hook(receiver))
    assert worker.waiting("hook") == 0
    world.deliver()
    world.see("live", "grace")
    assert worker.waiting("hook") == 1
    world.deliver()
    assert titles(receiver) == ["demo/grace is live"]


def test_so_is_one_that_was_added_while_nothing_ran(worker: Worker, world: World, receiver: Receiver) -> None:
    world.see("live", "ada")
    worker.restart(hook=hook(receiver))
    world.deliver()
    assert titles(receiver) == []


def test_in_a_new_store_a_target_is_told_of_the_first_who_are_live(world: World, receiver: Receiver) -> None:
    world.follow("ada")
    world.see("live", "ada")
    Worker(world).take_over(hook=hook(receiver))
    world.deliver()
    assert titles(receiver) == ["demo/ada is live"]


def test_a_target_that_is_gone_is_told_nothing_and_what_waited_is_said(
    worker: Worker, world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada", "grace")
    worker.take_over()
    assert "hook is gone: it is not told of what waited for it: 2 changes" in caplog.messages
    worker.take_over(hook=hook(receiver))
    world.deliver()
    assert titles(receiver) == [], "it is new when it comes back"


def test_who_has_not_heard_that_a_target_is_gone_tells_it_nothing_from_before_it(
    worker: Worker, world: World, receiver: Receiver
) -> None:
    world.see("live", "ada")
    worker.take_over(hook=hook(receiver))
    worker.take_over()
    world.targets = {"hook": hook(receiver)}
    world.deliver()
    assert titles(receiver) == []
    world.see("live", "grace")
    world.deliver()
    assert titles(receiver) == ["demo/grace is live"]


def test_one_that_went_while_nothing_ran_is_said_as_well(
    worker: Worker, world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada")
    worker.restart()
    assert "hook is gone: it is not told of what waited for it: 1 change at most" in caplog.messages


def test_a_renamed_target_is_new(worker: Worker, world: World, receiver: Receiver) -> None:
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada")
    worker.take_over(other=hook(receiver))
    world.deliver("other")
    world.see("live", "grace")
    world.deliver("other")
    assert titles(receiver) == ["demo/grace is live"]


def test_the_targets_of_another_place_stay(worker: Worker, world: World, receiver: Receiver) -> None:
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada")
    Worker(world, "elsewhere livectl.yaml").take_over()
    world.targets = {"hook": hook(receiver)}
    world.deliver()
    assert titles(receiver) == ["demo/ada is live"]


def test_a_target_that_is_kept_is_told_what_waits_for_it(worker: Worker, world: World, receiver: Receiver) -> None:
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada")
    worker.take_over(hook=hook(receiver), other=hook(receiver))
    worker.restart(hook=hook(receiver), other=hook(receiver))
    world.deliver()
    assert titles(receiver) == ["demo/ada is live"]


def test_a_mended_target_is_tried_at_once(worker: Worker, world: World, receiver: Receiver) -> None:
    receiver.mood = lambda: "down"
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada")
    for _ in range(3):
        world.deliver()
        world.now += 10
    receiver.mood = lambda: "take"
    worker.take_over(hook=hook(receiver))
    world.deliver()
    assert titles(receiver) == [], "nothing of it has changed"
    worker.take_over(hook=hook(receiver, timeout=5.0))
    world.deliver()
    assert titles(receiver) == ["demo/ada is live"]


def test_a_new_digest_sums_up_what_is_to_come(worker: Worker, world: World, receiver: Receiver) -> None:
    world.see("live", "ada")
    worker.take_over(hook=hook(receiver, digest=9 * 60))
    world.deliver()
    assert titles(receiver) == []


def test_a_delivery_stops_when_other_settings_are_in_force(worker: Worker, world: World, receiver: Receiver) -> None:
    worker.take_over(hook=hook(receiver))
    world.see("live", "ada", "grace")
    world.is_outdated = lambda: len(receiver.taken) > 0
    assert world.deliver() == 1
    world.is_outdated = lambda: False
    assert world.deliver() == 1


def test_whoever_ends_before_a_target_is_told_what_becomes_of_it_leaves_that_to_the_next(
    worker: Worker, world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.see("live", "ada")
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "target_place", lambda name: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worker.take_over(hook=hook(receiver))
    other = Worker(world)
    other.take_over(hook=hook(receiver))
    world.see("live", "grace")
    world.deliver()
    assert [payload["changes"][0]["id"] for payload in receiver.taken] == ["grace"]
    assert world.client.xlen(outbox.RETARGETING_KEY) == 0


def test_a_step_that_comes_late_changes_nothing(world: World) -> None:
    retarget, place = lua_script(world.client, "retarget"), cells.target_place("hook")
    retarget(place, "5-0", "new", "7-0")
    world.client.hset(f"{place}state", "cursor", "9-0")
    for number, what in (("5-0", "new"), ("4-0", "gone")):
        assert retarget(place, number, what, "1-0") == ""
    assert world.client.hget(f"{place}state", "cursor") == "9-0"
    assert retarget(place, "6-0", "gone", "") == "9-0"
    assert world.client.hgetall(f"{place}state") == {"cursor": "9-0", "step": "6-0"}
    assert world.client.ttl(f"{place}state") > 0
