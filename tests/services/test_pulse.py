"""What the board reads: from a real store, the changes, targets and jobs that came since."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis

from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.live.alerts.outbox import outbox_fields, reported_change
from livectl.live.cells import target_place
from livectl.live.follows import follow_list
from livectl.live.pulse import LivePulse, ReportPulse, describe_follows, read_pulse
from livectl.live.push.push_store import MIN_FIRST_S, PushStore
from livectl.live.store import OUTBOX_KEY, Store
from livectl.models import BoardEvent, Observation, PollingLimits, State, Streamer
from livectl.ops import deployment
from livectl.ops.jobs.job_recorder import JobEventRecorder
from livectl.ops.services import pulse as job_pulse
from livectl.ops.services.pulse import JobPulse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from livectl.models import BoardReading

NOW = 1_800_000_000.0
MINUTE = 60.0
LIMITS = PollingLimits(platform="demo", batch=50, rate=100.0)


class World:
    """A store, and a board that reads it."""

    def __init__(self, client: redis.Redis, store_url: str, folder: Path) -> None:
        self.client = client
        self.store = Store(client)
        self.now = time.time()  # the outbox numbers its changes by the server's clock
        self.follows = folder / "follows.yaml"
        self.pulse = LivePulse(lambda: Address.parse(store_url), lambda: self.follows, self.now - 1)

    def follow(self, *names: str) -> None:
        self.store.set_followed([Streamer(platform="demo", id=name) for name in names], self.now)

    def see(self, state: State, *names: str, title: str = "tea") -> None:
        self.now += 1
        session = "" if state is State.OFFLINE else "one"
        seen = [
            Observation(
                platform="demo", id=name, state=state, at=self.now, name=name.title(), title=title, session=session
            )
            for name in names
        ]
        self.store.record(LIMITS, seen)

    def read(self) -> BoardReading:
        return self.pulse.read(self.now)


@pytest.fixture
def world(store_url: str, tmp_path: Path) -> Iterator[World]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield World(client, store_url, tmp_path)


def told(events: Sequence[BoardEvent]) -> list[tuple[str, str]]:
    return [(event.event, event.text) for event in events]


def words(reading: BoardReading) -> list[str]:
    return [part.words[0] for part in reading.parts]


def test_with_nobody_it_says_so(world: World) -> None:
    reading = world.read()
    assert (told(reading.events), words(reading), reading.problems) == ([], ["nobody asked yet"], ())


def test_go_lives_and_ends_are_told_once(world: World) -> None:
    world.follow("ada", "bob")
    assert words(world.read())[0] == "nobody of 2 live"
    world.see(State.LIVE, "ada")
    reading = world.read()
    assert (told(reading.events), words(reading)[0]) == ([("live", "Ada: tea")], "1 of 2 live: Ada")
    assert reading.events[0].details["platform"] == "demo"
    assert told(world.read().events) == []
    for _ in range(2):
        world.now += 2 * MINUTE
        world.see(State.OFFLINE, "ada")
    assert [event for event, _ in told(world.read().events)] == ["ended"]


def test_who_is_live_already_is_told_in_one_line(world: World, store_url: str) -> None:
    names = [f"s{number}" for number in range(20)]
    world.follow(*names)
    world.see(State.LIVE, *names)
    ((event, text),) = told(world.read().events)
    assert (event, text.startswith("20 went live: ")) == ("live", True)
    late = LivePulse(lambda: Address.parse(store_url), lambda: world.follows, world.now + MINUTE)
    ((event, text),) = told(late.read(world.now).events)
    assert (event, text.startswith("20 of 20 are live: "), text.endswith(" and 17 more")) == ("live", True, True)


def test_of_a_platform_that_does_not_tell_the_board_says_so_with_the_cure(world: World, store_url: str) -> None:
    push, began = PushStore(world.client), world.now
    pushed = LivePulse(lambda: Address.parse(store_url), lambda: world.follows, began, lambda: ["twitch", "kick"])

    def problems(after: float) -> list[str]:
        world.now = began + after
        return [problem for problem in pushed.read(world.now).problems if "twitch" in problem or "kick" in problem]

    assert problems(1) == []
    nobody = "Nobody listens to what {0} tells (`push` names {0}, and no livectl push is at work; all are asked): "
    cure = "livectl push, or livectl up, which has one."
    assert problems(MIN_FIRST_S) == [nobody.format(platform) + cure for platform in ("twitch", "kick")]
    push.note("kick", until=began + 500)
    push.note_problem("twitch", "keys are missing", "Set the keys.", world.now)
    assert problems(MIN_FIRST_S + 1) == []
    (told,) = problems(MIN_FIRST_S + 20)
    assert told == "twitch does not tell of go-lives (keys are missing): Set the keys."
    assert told in read_pulse(Address.parse(store_url), world.now, ["twitch"]).problems


def test_of_an_app_without_streamers_the_board_tells_what_the_watch_reports(world: World, store_url: str) -> None:
    pulse = ReportPulse(lambda: Address.parse(store_url), world.now - MINUTE)
    assert ReportPulse(lambda: None, world.now).read(world.now).events == ()
    world.follow("ada")
    world.see(State.LIVE, "ada")
    for number in range(9):
        change = reported_change(f"e{number}", "failed", f"e{number} failed", "ValueError: no\nlivectl runs", world.now)
        world.client.xadd(OUTBOX_KEY, dict(zip(*[iter(outbox_fields(change))] * 2, strict=True)))
        if number == 0:
            assert told(pulse.read(world.now).events) == [("job", "e0 failed · ValueError: no · livectl runs")]
    world.client.xadd(OUTBOX_KEY, dict(zip(*[iter(outbox_fields(change))] * 2, strict=True)))
    ((event, text),) = told(pulse.read(world.now).events)
    assert (event, text.startswith("9 reports: ")) == ("job", True)
    assert pulse.read(world.now).events == ()


def test_targets_that_were_told_or_take_alerts_ill_are_named(world: World) -> None:
    world.follow("ada")
    world.client.hset("livectl:{-}:targets", mapping={"phone": "", "mail": "", "\n": ""})
    world.read()
    world.see(State.LIVE, "ada")
    number = world.store.changes()[-1].number
    for target in ("phone", "mail"):
        world.client.hset(f"{target_place(target)}state", mapping={"sent": "1", "last_told": number})
    events = told(world.read().events)
    assert events[0] == ("live", "Ada: tea")
    assert events[1][0] == "told"
    assert sorted(events[1][1].partition(":")[0].split(", ")) == ["mail", "phone"]
    assert events[1][1].endswith(": Ada is live")
    world.client.hset("livectl:{target:phone}:state", mapping={"failing_since": "1", "problem": "answered 500:\n"})
    assert world.read().problems == ("phone takes no alerts: answered 500",)


def test_a_follow_list_that_changes_is_told(world: World) -> None:
    world.follows.write_text("follows: [demo/ada]\n")
    assert told(world.read().events) == []
    world.follows.write_text("follows: [demo/ada, demo/eve]\n")
    assert told(_read_when_settled(world)) == [("file", "follows.yaml read again: added demo/eve")]
    world.follows.write_text("follows: 5\n")
    ((_, text),) = told(_read_when_settled(world))
    assert text.startswith("follows.yaml cannot be used, what it said before goes on: ")
    world.follows.unlink()
    assert told(world.read().events) == [("file", "follows.yaml is gone, what it said before goes on")]


def test_of_a_long_follow_list_it_is_told_that_it_has_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_list, "LONG_BYTES", 30)
    world.follows.write_text("follows: [demo/ada, demo/eve]\n" * 2)
    assert told(world.read().events) == []
    assert describe_follows(world.follows, "follows.yaml") == "the long list of follows.yaml: livectl live"
    world.follows.unlink()
    assert describe_follows(world.follows, "f.yaml") == "nobody yet, there is no f.yaml: livectl follow add ADDRESS"
    world.follows.write_text("follows: [demo/ada]\n")
    again = [("file", "follows.yaml read again: too long to say what changed")]
    assert told(_read_when_settled(world)) == again
    world.follows.write_text("follows: [demo/ada, demo/bob, demo/eve]\n")
    assert told(_read_when_settled(world)) == again


def _read_when_settled(world: World) -> tuple[BoardEvent, ...]:
    """A file counts as being written for a moment."""
    deadline = time.monotonic() + 30
    while not (events := world.read().events) and time.monotonic() < deadline:
        time.sleep(0.05)
    return events


class Jobs:
    """Jobs as the signals of a worker of livectl's own app tell them, and a board that reads of them."""

    def __init__(self, store_url: str, folder: Path) -> None:
        settings = livectl_settings.load({"HOME": str(folder), "LIVECTL_BROKER": store_url}, folder)
        self.app = SimpleNamespace(main="livectl", conf=SimpleNamespace(result_expires=60))
        self.recorder = JobEventRecorder(Address.parse(store_url), "livectl")
        self.schedules = folder / "schedules.yaml"
        self.pulse = JobPulse(lambda: deployment.own_deployment(settings), lambda: self.schedules, time.time() - 1)

    def end(self, task: str, error: Exception | None = None) -> None:
        sender = SimpleNamespace(name=task, app=self.app, ignore_result=True)
        if error:
            self.recorder.record_failure(sender, str(uuid4()), error, (), {})
        else:
            self.recorder.record_end(sender, str(uuid4()), "SUCCESS")
        self.recorder.flush()


@pytest.fixture
def jobs(store_url: str, tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(store_url, tmp_path)
    yield made
    made.recorder._notes.open_store().close()


def test_jobs_that_fail_are_told_and_the_same_again_is_counted(jobs: Jobs) -> None:
    assert told(jobs.pulse.read(NOW).events) == []
    jobs.end("proj.add", ValueError("no such row"))
    jobs.end("proj.sub", ValueError("at redis://:hush@h/0"))
    reading = jobs.pulse.read(NOW + 2)
    assert told(reading.events) == [
        ("failed", "proj.add: ValueError: no such row"),
        ("failed", "proj.sub: ValueError: at redis://:***@h/0"),
    ]
    assert reading.events[0].details["task"] == "proj.add"
    jobs.end("proj.add", ValueError("another row"))
    assert told(jobs.pulse.read(NOW + 4).events) == []
    assert told(jobs.pulse.read(NOW + 2 + job_pulse.REPEAT_S).events) == [
        ("failed", "proj.add: ValueError, 1 time more within a minute")
    ]


def test_queues_and_rates_are_counted(jobs: Jobs, store_url: str) -> None:
    jobs.pulse.read(NOW)
    for _ in range(30):
        jobs.end("proj.add")
    with redis.Redis.from_url(store_url) as client:
        client.rpush("livectl", "a", "b")
    assert words(jobs.pulse.read(NOW + 30)) == ["2 queued", "60 jobs a minute"]
    assert words(jobs.pulse.read(NOW + 120)) == ["2 queued", "0 jobs a minute"]


def test_jobs_of_another_app_are_none_of_ours(jobs: Jobs, store_url: str) -> None:
    jobs.pulse.read(NOW)
    other = JobEventRecorder(Address.parse(store_url), "other")
    app = SimpleNamespace(main="other", conf=SimpleNamespace(result_expires=60))
    sender = SimpleNamespace(name="other.add", app=app, ignore_result=True)
    other.record_failure(sender, str(uuid4()), ValueError("no"), (), {})
    other.flush()
    other._notes.open_store().close()
    assert told(jobs.pulse.read(NOW + 2).events) == []
