"""Entries that live in the store: every running beat takes them up, without a restart, and none twice."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from livectl import schedules
from livectl.errors import FileError, LivectlError, SettingsError, UsageError
from livectl.ops.beat import pauses, run_store, store_entries
from livectl.ops.beat.store_entries import EntryReader
from tests.support.beats import World, end_job, entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERY_MINUTE = {"task": "t.note", "every": "60s"}


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    world.write(filed={"every": "60s"})
    yield world
    world.close()


def words(name: str, **keys: Any) -> dict[str, Any]:
    return {**EVERY_MINUTE, "args": [name], **keys}


def test_beats_take_up_what_is_added_changed_and_removed_without_a_restart(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.beat()
    world.beat()
    assert set(entries(world.run(61))) == {"filed"}
    store_entries.add(world.store, "new", words("new"))
    assert Counter(entries(world.run(120))) == {"filed": 2, "new": 2}, "one of the two beats sends each run"
    store_entries.change(world.store, "new", lambda old: {**old, "every": "20s"})
    assert Counter(entries(world.run(60)))["new"] == 3
    assert store_entries.remove(world.store, ["new", "nobody"]) == [True, False]
    world.run(1)
    assert ("From the store taken up: new" in caplog.text, "From the store dropped: new" in caplog.text) == (True, True)
    assert set(entries(world.run(120))) == {"filed"}
    store_entries.add(world.store, "new", words("new"))
    assert Counter(entries(world.run(59)))["new"] <= 1, "added again it counts from now on: nothing is caught up with"


def test_a_change_touches_nothing_but_its_entry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = world.beat()
    dict(store_entries.add_all(world.store, {f"e{n}": words(f"e{n}") for n in range(300)}))
    world.tick()
    timetable = beat._timetable
    registered: list[list[str]] = []
    register = run_store.RunStore.register

    def note(self: run_store.RunStore, timings: dict[str, str], last_claimed: dict[str, int]) -> dict[str, int]:
        registered.append([*timings])
        return register(self, timings, last_claimed)

    monkeypatch.setattr(run_store.RunStore, "register", note)
    store_entries.change(world.store, "e7", lambda old: {**old, "every": "30s"})
    store_entries.remove(world.store, ["e8"])
    sent = Counter(entries(world.run(61)))
    assert (sent["e7"], sent["e8"], sent["e9"], sent["e299"]) == (2, 0, 1, 1)
    assert beat._timetable is timetable
    assert registered == [["e7"]]


def test_a_reader_gets_everything_once_and_then_what_has_changed(world: World) -> None:
    reader, late = EntryReader(), EntryReader()
    assert reader.read(world.store).entries == {}
    dict(store_entries.add_all(world.store, {f"e{n}": words(f"e{n}") for n in range(2_500)}))
    assert len(reader.read(world.store).entries) == 2_500
    assert reader.read(world.store).entries == {}
    store_entries.remove(world.store, ["e1"])
    store_entries.add(world.store, "more", words("more"))
    gone = {name: text is None for name, text in reader.read(world.store).entries.items()}
    assert gone == {"e1": True, "more": False}
    assert sum(text is not None for text in late.read(world.store).entries.values()) == 2_500
    store_entries.remove(world.store, [f"e{n}" for n in range(2, 2_500)])
    world.store.hset(store_entries.STATE_KEY, "pruned", world.store.hget(store_entries.STATE_KEY, "version") or "")
    changes = reader.read(world.store)
    assert (changes.anew, set(changes.entries)) == (True, {"e0", "more"}), (
        "of what is no longer remembered it asks anew"
    )


def test_a_store_that_lost_everything_is_read_anew(world: World) -> None:
    world.beat()
    store_entries.add(world.store, "lost", words("lost"))
    assert Counter(entries(world.run(60)))["lost"] == 1
    world.store.flushdb()
    world.run(2)
    assert set(entries(world.run(60))) == {"filed"}
    store_entries.add(world.store, "found", words("found"))
    assert Counter(entries(world.run(61)))["found"] == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"every": "0s"}, 'x: every: "0s" must be more than zero (such as 30s, 5m or 1h30m)'),
        ({"evry": 1}, 'x: unknown key "evry" (did you mean every?)'),
        ({"except": ["holidays"]}, "an entry of the store has no calendars"),
        ({"end": "2020-01-01", "start": "2021-01-01"}, "is before the start"),
        ({"args": "x"}, 'x: args: "x" is no list (say ["x"])'),
        ({"kwargs": {"a": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}}, "nested deeper than 16 levels"),
    ],
)
def test_the_checks_are_those_of_a_file(world: World, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError) as caught:
        store_entries.add(world.store, "x", words("x", **keys))
    assert message in caught.value.message
    assert not world.store.exists(run_store.ENTRIES_KEY)


@pytest.mark.parametrize(
    ("name", "after", "message"),
    [
        ("new", "firts", 'new: after: "firts" is no entry of the store, nor of a running beat\'s file'),
        ("new", {"entry": "nobody", "when": "ended"}, "add that one first"),
        ("new", "new", "new, after new: none would ever begin"),
        ("first", "third", "first, after third, after second, after first: none would ever begin"),
        ("second", "nobody", '"nobody" is no entry of the store'),
    ],
)
def test_what_an_entry_runs_after_is_there_and_never_itself(world: World, name: str, after: Any, message: str) -> None:
    world.beat()
    world.tick()
    chain: dict[str, dict[str, Any]] = {
        "first": {"every": "60s"},
        "second": {"after": "first"},
        "third": {"after": {"entry": "second"}},
    }
    added = {**{each: {"task": "t.note", **timing} for each, timing in chain.items()}, "last": words("last")}
    assert not [
        each for each in dict(store_entries.add_all(world.store, added)).values() if isinstance(each, Exception)
    ]
    before = world.store.hgetall(run_store.ENTRIES_KEY)
    entry = {"task": "t.note", "after": after}
    make = (
        partial(store_entries.add, words=entry)
        if name == "new"
        else partial(store_entries.change, edit=lambda _: entry)
    )
    with pytest.raises(FileError) as caught:
        make(world.store, name)
    assert message in f"{caught.value.message} {caught.value.hint}"
    assert world.store.hgetall(run_store.ENTRIES_KEY) == before
    store_entries.add(world.store, "filed-next", {"task": "t.note", "after": "filed"})


def test_of_entries_added_together_those_are_left_out_whose_leader_is(world: World) -> None:
    follow = {name: {"task": "t.note", "after": leader} for name, leader in ("ab", "ba", "ca", "dc", "ef", "ge")}
    outcomes = dict(store_entries.add_all(world.store, {**follow, "f": words("f")}))
    assert {name for name, each in outcomes.items() if not isinstance(each, LivectlError)} == {"e", "f", "g"}
    assert set(store_entries.read_all_words(world.store)) == {"e", "f", "g"}


def test_entries_of_the_store_follow_others_and_pause_themselves(world: World) -> None:
    world.write(filed={"cron": "* * * * *", "count": 3})
    world.beat()
    world.beat()
    world.tick()
    for name, keys in (
        ("stored", {"after": "filed", "pause_on_failure": 2}),
        ("next", {"after": {"entry": "stored", "when": "failed"}}),
    ):
        store_entries.add(world.store, name, {"task": "t.note", "args": [name], **keys})
    for _ in range(50):
        for message in world.tick():
            end_job(world, message.task_id, "SUCCESS" if message.entry == "filed" else "FAILURE")
        world.clock.wait(5)
    assert Counter(entries(world.sent)) == {"filed": 3, "stored": 2, "next": 2}
    assert pauses.read_pauses(world.store)["stored"].reason == "2 failed in a row (pause_on_failure)"


def test_names_are_checked_against_the_store_and_the_files_of_running_beats(world: World) -> None:
    world.beat()
    world.tick()
    with pytest.raises(SettingsError, match="filed is an entry of the schedule file"):
        store_entries.add(world.store, "filed", words("filed"))
    store_entries.add(world.store, "twice", words("twice"))
    with pytest.raises(SettingsError, match="twice is in the store already"):
        store_entries.add(world.store, "twice", words("twice"))
    with pytest.raises(UsageError, match="no entry called twise") as caught:
        store_entries.change(world.store, "twise", dict)
    assert caught.value.hint == "did you mean twice?"
    for name in ("", " ", "a\nb", "x" * 201):
        with pytest.raises(LivectlError):
            store_entries.add(world.store, name, words("x"))


def test_a_name_that_comes_into_the_file_is_the_files_from_then_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.beat()
    store_entries.add(world.store, "both", words("stored"))
    assert "stored" in entries(world.run(61))
    world.write(both={"every": "60s"})
    assert set(entries(world.run(61))) == {"both"}
    assert "Not sent as the store has them, since file or app have them too: both" in caplog.text
    world.write(other={"every": "60s"})
    assert set(entries(world.run(61))) == {"other", "stored"}


def test_what_this_app_or_version_cannot_run_is_left_out_and_the_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    store_entries.add(world.store, "task", {"task": "t.nothing", "every": "60s"})
    store_entries.add(world.store, "off", words("off", enabled=False))
    world.store.hset(run_store.ENTRIES_KEY, "new-words", '{"task": "t.note", "when": "soon"}')
    world.store.zadd(
        store_entries.CHANGED_KEY, {"new-words": world.store.hincrby(store_entries.STATE_KEY, "version", 1)}
    )
    beat = world.beat()
    assert set(entries(world.run(61))) == {"filed"}
    assert set(beat._reloading_schedule.left_out) == {"task"}
    assert "The store's entry 'new-words' cannot be read and is left out: new-words: unknown key" in caplog.text


def test_a_pause_and_a_count_of_a_removed_entry_go_with_it(world: World) -> None:
    world.beat()
    store_entries.add(world.store, "few", words("few", count=1))
    assert Counter(entries(world.run(180)))["few"] == 1
    pauses.pause(world.store, "few", "")
    store_entries.remove(world.store, ["few"])
    store_entries.add(world.store, "few", words("few", count=1))
    assert Counter(entries(world.run(180)))["few"] == 1


# --- the functions for programs


def names(where: Any) -> dict[str, str]:
    return {entry.name: entry.source for entry in schedules.list(where)}


def test_a_program_makes_schedules_at_run_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECTL_STORE", world.store_url)
    monkeypatch.chdir(world.folder)
    world.beat()
    world.tick()
    for where in (world.app, world.store_url):
        start = datetime(2026, 6, 1, tzinfo=UTC)
        keys: dict[str, Any] = {
            "args": ("c42",),
            "start": start,
            "except_": {"2026-07-14"},
            "options": {"expires": timedelta(minutes=5)},
        }
        schedules.add(where, "c42", task="t.note", every=timedelta(minutes=1), **keys)
        assert names(where) == {"c42": "store", "filed": "file"}
        (entry, _) = schedules.list(where)
        assert entry.words == {
            "task": "t.note",
            "every": 60.0,
            "args": ["c42"],
            "start": "2026-06-01T00:00:00+00:00",
            "except": ["2026-07-14"],
            "options": {"expires": 300.0},
        }
        assert Counter(entries(world.run(120)))["c42"] == 2
        schedules.change(where, "c42", cron="0 * * * *", start=None)
        (entry, _) = schedules.list(where)
        assert (entry.schedule, entry.last is not None, "start" in entry.words) == ("0 * * * *", True, False)
        schedules.pause(where, "c42", "moves")
        assert "c42" not in entries(world.run(3700, step=60))
        (entry, _) = schedules.list(where)
        assert (entry.paused, entry.reason, entry.next) == (True, "moves", None)
        assert (schedules.resume(where, "c42"), schedules.resume(where, "c42")) == (True, False)
        assert (schedules.remove(where, "c42", "no"), names(where)) == (1, {"filed": "file"})
        with pytest.raises(SettingsError):
            schedules.add(where, "filed", task="t.note", every=60)
        wrongs: tuple[dict[str, Any], ...] = ({"wen": 1}, {"kwargs": {"at": object()}}, {"every": "soon"})
        for wrong in wrongs:
            with pytest.raises(LivectlError):
                schedules.add(where, "a", **{"task": "t.note", "every": 60, **wrong})
        for change in (schedules.pause, schedules.change):
            with pytest.raises(UsageError, match="called a"):
                change(where, "a")
    with pytest.raises(FileError, match="the app has no task"):
        schedules.add(world.app, "a", task="t.not", every=60)
    schedules.add(world.app, "a", task="t.not", every=60, checked=False)
