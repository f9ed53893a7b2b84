"""Rules a target, what is told after quiet hours, and what `alerts why` and `alerts test --dry-run` say of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from livectl.live.alerts import reasons, views
from livectl.models import Streamer
from livectl.render import as_text
from livectl.settings import Target, Template
from livectl.units import Window
from tests.support.alerts import DAY, HOUR, MINUTE, NOON, Receiver, World, client, hook, receiver, titles, world
from tests.support.processes import answer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["client", "receiver", "world"]  # fixtures

WEEKDAY = f"{datetime.fromtimestamp(NOON, UTC):%a}".lower()
YESTERDAY = f"{datetime.fromtimestamp(NOON - DAY, UTC):%a}".lower()
OTHER_DAYS = tuple({"mon", "tue", "wed", "thu", "fri", "sat", "sun"} - {WEEKDAY})

# What a target wants, what is seen, and the rule that holds it back, if any.
RULES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"tags": ("games",)}, {}, "tags"),
    ({"streamers": ("demo/bob",)}, {}, "streamers"),
    ({"platforms": ("demo", "twitch")}, {}, ""),
    ({"platforms": ("twitch",)}, {}, "platforms"),
    ({"titles": ("RANKED",)}, {"title": "a ranked run"}, ""),
    ({"titles": ("ranked", "speed*")}, {"title": "my speedrun"}, "titles"),
    ({"titles": ("[EN]*",)}, {"title": "[en] hello"}, ""),
    ({"titles": ("!rerun",)}, {"title": "A Rerun"}, "titles"),
    ({"titles": ("!rerun",)}, {"title": "new"}, ""),
    ({"titles": ("*a" * 40,)}, {"title": "a" * 150 + "b"}, "titles"),
    ({"categories": ("Art",)}, {"category": "Chess"}, "categories"),
    ({"categories": ("art",)}, {"category": "Art"}, ""),
    ({"viewers": 100}, {"viewers": 99}, "viewers"),
    ({"viewers": 100}, {"viewers": 100}, ""),
    ({"viewers": 100}, {}, "viewers"),
    ({"days": (WEEKDAY,)}, {}, ""),
    ({"days": OTHER_DAYS}, {}, "days"),
    ({"hours": Window(12 * 60, 13 * 60)}, {}, ""),
    ({"hours": Window(18 * 60, 23 * 60)}, {}, "hours"),
    ({"hours": Window(20 * 60, 13 * 60), "days": (YESTERDAY,)}, {}, ""),  # they begin the evening before
    ({"hours": Window(20 * 60, 13 * 60), "days": (WEEKDAY,)}, {}, "days"),
]


@pytest.mark.parametrize(("target", "seen", "rule"), RULES)
def test_each_rule_holds_back_what_does_not_fit_and_why_names_it(
    world: World, receiver: Receiver, target: dict[str, Any], seen: dict[str, Any], rule: str
) -> None:
    world.targets = {"hook": hook(receiver, **target)}
    world.follow("ada")
    world.see("live", "ada", **seen)
    world.deliver()
    (reason,) = _reasons(world)
    assert (len(receiver.taken), reason.told) == (int(not rule), not rule)
    assert reason.rule == (rule or "told")


def test_the_first_stream_in_a_week_is_told_and_those_that_follow_are_not(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, first_in=7 * DAY, max_age=DAY, on=("live", "end"))}
    world.follow("ada")
    for wait in (0, 2 * DAY, 8 * DAY):
        world.now += wait
        world.see("live", "ada")
        world.deliver()
        world.now += 10 * MINUTE
        world.see("live", "ada")
        world.end("ada")
        world.deliver()
    kinds = [(payload["kind"], payload["changes"][0]["session"]) for payload in receiver.taken]
    assert [kind for kind, _ in kinds] == ["live", "end"] * 2
    assert len({session for _, session in kinds}) == 2


def test_an_end_counts_the_most_who_watched(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, on=("end",), viewers=100)}
    world.follow("ada", "bob")
    world.see("live", "ada", viewers=150)
    world.see("live", "bob", viewers=50)
    world.now += 10 * MINUTE
    world.see("live", "ada", "bob", viewers=3)
    world.end("ada", "bob")
    world.deliver()
    assert [payload["changes"][0]["id"] for payload in receiver.taken] == ["ada"]


NIGHT = Window(12 * 60, 14 * 60)


def _a_night(world: World) -> None:
    world.follow("ada", "bob")
    world.see("live", "ada", name="Ada", title="Painting", session="s1")
    world.now = NOON + 30 * MINUTE
    world.see("live", "ada", name="Ada", title="Painting", session="s1")
    world.end("ada")
    world.now = NOON + HOUR + 45 * MINUTE
    world.see("live", "bob", name="Bob", title="Chess", url="https://example.org/bob")
    world.deliver()


def test_after_quiet_hours_one_message_tells_what_was_missed(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, quiet=NIGHT)}
    _a_night(world)
    assert receiver.taken == []
    assert [reason.rule for reason in _reasons(world)] == ["quiet", "on"]
    world.now = NOON + 3 * HOUR
    world.deliver()
    world.see("live", "eve")
    world.deliver()
    (payload,) = receiver.taken
    assert (payload["kind"], payload["title"]) == ("missed", "While it was quiet: Bob, Ada")
    assert payload["body"].splitlines() == [
        "Bob: live since 13:45 (Chess) https://example.org/bob",
        "Ada: 12:00 to 12:30 (Painting)",
    ]
    assert [change["id"] for change in payload["changes"]] == ["ada", "bob"]
    reason, _ = _reasons(world)
    assert reason.told
    assert reason.words.endswith(", with what else came in quiet hours")


@pytest.mark.parametrize("step", ["held", "sent"])
def test_it_is_the_same_message_when_its_worker_dies(world: World, receiver: Receiver, step: str) -> None:
    class KilledError(BaseException):
        pass

    def kill(name: str) -> None:
        if name == step:
            raise KilledError

    world.targets = {"hook": hook(receiver, quiet=NIGHT)}
    _a_night(world)
    world.now = NOON + 3 * HOUR
    world.step = kill
    with pytest.raises(KilledError):
        world.deliver()
    world.step = lambda name: None
    world.now += MINUTE
    world.see("live", "bob", name="Bob", title="Chess")
    world.end("bob")
    assert world.deliver() == 1
    assert world.deliver() == 0
    assert {payload["kind"] for payload in receiver.taken} == {"missed"}
    assert len({payload["key"] for payload in receiver.taken}) == 1
    assert len({payload["body"] for payload in receiver.taken}) == 1


def test_it_is_the_same_message_when_its_target_takes_it_ill_and_others_go_on(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, quiet=NIGHT)}
    _a_night(world)
    world.now = NOON + 3 * HOUR
    world.follow("ada", "bob", "eve")
    world.see("live", "eve", name="Eve")
    receiver.mood = lambda: "ill" if receiver.body_of_now["kind"] == "missed" else "take"
    world.deliver()
    world.now += 6
    world.deliver()
    assert titles(receiver) == ["Eve is live"]
    receiver.mood = lambda: "take"
    world.now += MINUTE
    world.deliver()
    assert titles(receiver) == ["Eve is live", "While it was quiet: Bob, Ada"]
    assert {receiver.taken[1]["key"]} == set(receiver.refused_keys)
    assert receiver.taken[1]["body"].splitlines()[1] == "Ada: 12:00 to 12:30 (Painting)"


def test_a_night_of_hundreds_is_one_message(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, quiet=NIGHT)}
    names = [f"s{number}" for number in range(300)]
    world.follow(*names)
    world.see("live", *names)
    world.now = NOON + 3 * HOUR
    world.see("live", *names)
    world.deliver()
    (payload,) = receiver.taken
    assert payload["body"].splitlines()[-1] == "and 280 more"


def test_what_comes_after_the_quiet_hours_is_told_by_itself(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, quiet=NIGHT)}
    _a_night(world)
    world.now = NOON + 3 * HOUR
    world.follow("ada", "bob", "eve")
    world.see("live", "eve", name="Eve")
    world.deliver()
    assert titles(receiver) == ["While it was quiet: Bob, Ada", "Eve is live"]


# Why


def _reasons(world: World, name: str = "ada") -> list[reasons.Reason]:
    return reasons.read_last_session(world.settings, world.client, "demo", name, world.now).reasons


def _why(world: World, name: str = "ada") -> str:
    last_session = reasons.read_last_session(world.settings, world.client, "demo", name, world.now)
    return as_text(views.why_view(last_session, "UTC", world.now), colour=False, width=80)


def test_why_tells_of_each_target_and_change(world: World, receiver: Receiver) -> None:
    world.targets = {
        "hook": hook(receiver, on=("live", "end")),
        "games": hook(receiver, tags=("games",)),
        "quiet": hook(receiver, quiet=Window(11 * 60, 16 * 60)),
        "mornings": hook(receiver, digest=540),
        "down": Target(webhook=hook(receiver).webhook, on=("end",)),
    }
    world.follow("ada")
    world.see("live", "ada", name="Ada", title="one")
    world.deliver()
    world.now += HOUR
    world.see("live", "ada", name="Ada", title="two")
    world.end("ada")
    world.deliver("games")
    world.deliver("down")
    lines = _why(world).splitlines()
    today = f"{datetime.fromtimestamp(NOON, UTC):%Y-%m-%d}"
    assert lines[0] == f"Ada (demo/ada): the last session began {today} 12:00 and lasted 1 h 00 min."
    assert "hook      live   told " + today + " 12:00" in lines
    assert "          end    waits: until a worker tells it" in lines
    assert "          title  not told: listens to live, end" in lines
    assert "games     live   not told: has none of the tags games" in lines
    assert any("waits: quiet hours until 16:00, then in one message with" in line for line in lines)
    assert any(line.startswith("mornings         waits: told in its digest, at 09:00") for line in lines)
    assert any("waits: not asked: 127.0.0.1 is not a public address" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_why_tells_of_a_break_and_of_what_was_given_up(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.follow("ada")
    world.see("live", "ada", session="s1")
    receiver.mood = lambda: "never"
    world.deliver()
    world.end("ada")
    world.now += 2 * MINUTE
    world.see("live", "ada", session="s2")
    said = _why(world)
    assert "after a break: that is the same session" in said
    assert "given up" in said
    assert "answered 422" in said


def test_why_of_somebody_who_was_live_long_before(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver)}
    world.store.set_followed([Streamer(platform="demo", id="ada")], world.now)
    assert "has not been seen live yet" in _why(world)
    world.see("live", "ada", started_at=world.now - 2 * HOUR)
    world.deliver()
    assert "had been live for more than 15 minutes when first seen" in _why(world)


def test_notes_are_of_one_session_and_go_with_their_target(world: World, receiver: Receiver) -> None:
    world.targets = {"hook": hook(receiver, titles=("never",))}
    world.follow("ada")
    for _ in range(3):
        world.see("live", "ada", title="x" * 200)
        world.deliver()
        world.end("ada")
        world.deliver()
        world.now += HOUR
    (noted,) = world.client.hvals("livectl:{target:hook}:notes")
    assert len(noted) < 300
    from livectl.live.alerts import delivery

    delivery.note_targets(world.settings, None, world.store, world.client, "here", world.now)
    world.targets = {}
    delivery.note_targets(world.settings, None, world.store, world.client, "here", world.now)
    assert not world.client.exists("livectl:{target:hook}:notes")


# Templates


def test_templates_know_cover_viewers_usual_hours_and_the_recording(world: World, receiver: Receiver) -> None:
    words = "{cover} {avatar} {viewers} {usual}|{recording}"
    world.targets = {"hook": hook(receiver, template=Template(body=words), on=("live", "end"), max_age=30 * DAY)}
    world.follow("ada")
    world.see("live", "ada")
    world.now += HOUR
    world.see("live", "ada")
    world.end("ada")
    world.now += HOUR
    world.deliver()
    world.see("live", "ada", cover="//img.example/c.jpg", avatar="javascript:x", viewers=12)
    world.deliver()
    usual = f"{WEEKDAY.title()} 12:00"
    assert receiver.taken[-1]["body"] == f"https://img.example/c.jpg  12 {usual}|"


# The command line


def test_a_dry_run_says_who_would_be_told_and_sends_nothing(
    tmp_path: Path, store_url: str, world: World, receiver: Receiver
) -> None:
    (tmp_path / "livectl.yaml").write_text(
        f"alerts:\n  hook: {{webhook: '{receiver.url}', allow_private: true, on: [live, end]}}\n"
        f"  games: {{webhook: '{receiver.url}', tags: [games]}}\n"
    )
    environ = {"LIVECTL_BROKER": store_url, "LIVECTL_HOME": str(tmp_path)}
    world.follow(Streamer(platform="demo", id="ada", tags=("games",)))
    world.see("live", "ada", name="Ada", title="Painting")
    sample = answer("alerts", "test", "--dry-run", "live", cwd=tmp_path, environ=environ)
    assert sample.returncode == 0, sample.stderr
    assert "hook   would be told now\n         Ada is live\n" in sample.stdout
    assert "games  would not be told: has none of the tags games" in sample.stdout
    words = ("alerts", "test", "--dry-run", "live", "--streamer", "demo/ada", "--json")
    rows = msgspec.json.decode(answer(*words, cwd=tmp_path, environ=environ).stdout)
    assert [(row["target"], row["told"]) for row in rows] == [("hook", True), ("games", True)]
    assert rows[0]["body"].startswith("Painting")
    asked = answer("alerts", "why", "demo/ada", "--json", cwd=tmp_path, environ=environ)
    assert [row["rule"] for row in msgspec.json.decode(asked.stdout)["targets"]] == ["waiting", "waiting"]
    bare = answer("alerts", "test", "games", "--dry-run", cwd=tmp_path, environ=environ)
    assert bare.stdout.startswith("games  would not be told")
    assert answer("alerts", "test", "hook", "live", cwd=tmp_path, environ=environ).returncode == 2
    assert answer("alerts", "why", "demo/nobody", cwd=tmp_path, environ=environ).returncode == 1
    assert receiver.taken == []
