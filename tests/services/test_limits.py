"""Slots and lines of a limit in a real store: never too many, first come first served, nothing lost with a worker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl import redis_client
from livectl.address import Address
from livectl.ops.limits import slots
from livectl.ops.limits.duplicates import UniqueClaim
from livectl.ops.limits.slots import Limit, LimitKeys, LimitStore, MessageNote, Woken
from livectl.ops.protocol import delayed
from livectl.ops.transport.delays import BrokerPlace
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = LimitKeys("{shop}:", "shop")
MAIL = Limit(name="mail", most=3)
PRIORITY_MARK = "\x06\x16"


@pytest.fixture
def server(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield client


def worker(server: redis.Redis, name: str, *, wakes: bool = True) -> LimitStore:
    return LimitStore(server, KEYS, name, wakes=wakes)


def end_leases(server: redis.Redis, limit: Limit) -> None:
    held = KEYS.of(limit.name, limit.partition)[0]
    for member in server.zrange(held, 0, -1):
        server.zadd(held, {str(member): 1})


def test_so_many_begin_and_the_others_are_called_in_order(server: redis.Redis) -> None:
    first, second = worker(server, "w1"), worker(server, "w2")
    assert [first.enter(MAIL, f"j{number}", "q") for number in range(5)] == [None, None, None, 0, 1]
    assert second.enter(MAIL, "j5", "r") == 2
    assert first.leave(MAIL, "j1") == [Woken("j3", "q")]
    assert second.enter(MAIL, "j6", "q") == 2, "the slot is kept for the one that was called"
    assert second.enter(MAIL, "j3", "q") is None
    assert first.leave(MAIL, "j0", "j2") == [Woken("j4", "q"), Woken("j5", "r")]


def place_of(*queues: str) -> BrokerPlace:
    held = ("unacked", "unacked_index", "unacked_leases")
    return BrokerPlace(held, delayed.delayed_keys("unacked"), "", PRIORITY_MARK, queues)


def let_wait(
    server: redis.Redis, store: LimitStore, limit: Limit, job: str, queue: str = "q"
) -> tuple[int | None, bool]:
    """Asks for a slot for a job whose message its worker holds."""
    server.hset("unacked", f"tag {job}", f'[{{"of":"{job}"}},"","{queue}"]')
    note = MessageNote(place_of(queue), queue, f"tag {job}", delayed.head_of(queue, job), queue)
    return store.enter_or_wait(limit, job, note, (60.0, 1.0))


def test_a_job_without_a_slot_waits_in_the_step_in_which_it_gets_none(server: redis.Redis) -> None:
    one, limit = worker(server, "w1"), Limit(name="one", most=1)
    assert [let_wait(server, one, limit, job) for job in "abc"] == [(None, False), (0, True), (1, True)]
    assert server.hkeys("unacked") == ["tag a"], "what begins stays with its worker"
    due = [server.zscore("unacked_delayed", f"tag {job}") or 0.0 for job in "bc"]
    assert due[1] - due[0] > 0.9, "who waits behind others comes by later"
    server.hset("unacked", "odd", "[1,2]")
    note = MessageNote(place_of("q"), "q", "odd", delayed.head_of("q", "d"), "q")
    assert one.enter_or_wait(limit, "d", note, (60.0, 1.0)) == (2, False), "what cannot be moved stays"


def test_the_worker_that_ends_a_job_has_the_next_one_in_the_same_step(server: redis.Redis) -> None:
    one, other, limit = worker(server, "w1"), worker(server, "w2"), Limit(name="one", most=1)
    for job, queue in (("a", "q"), ("b", "q"), ("c", "elsewhere"), ("d", "q")):
        let_wait(server, other, limit, job, queue)
    other.leave(limit, "a")  # b is called, and its worker dies: it waits again
    server.zadd(KEYS.of("one", "")[2], {"b": 1})
    given, called = one.give_to_next(limit, "none", place_of("p", "q"))
    assert given is not None
    assert (given.id, given.list, given.text, called) == ("b", "q", '{"of":"b"}', [])
    assert server.hget("unacked", given.tag) == '[{"of":"b"},"","q"]'
    assert (server.zscore("unacked_leases", given.tag) or 0) > server.time()[0]
    assert one.enter(limit, "b") is None, "it has its slot by then"
    assert one.give_to_next(limit, "b", place_of("p", "q")) == (None, [Woken("c", "elsewhere")]), "not taken from there"
    assert one.missed(limit, ["c"]) == [Woken("d", "q")]
    server.delete("unacked_delayed_messages")
    assert one.give_to_next(limit, "b", place_of("q")) == (None, []), "a slot is kept for who was called"
    assert one.missed(limit, ["d"]) == []


def test_what_does_not_wait_with_the_broker_is_called(server: redis.Redis) -> None:
    one, limit = worker(server, "w1"), Limit(name="one", most=1)
    for job in "ab":
        let_wait(server, one, limit, job)
    server.delete("unacked_delayed_messages")
    assert one.give_to_next(limit, "a", place_of("q")) == (None, [Woken("b", "q")])


def test_nobody_who_comes_later_is_let_in_before_who_waits(server: redis.Redis) -> None:
    one, limit = worker(server, "w1"), Limit(name="one", most=1)
    assert (one.enter(limit, "a"), one.enter(limit, "b", "q")) == (None, 0)
    end_leases(server, limit)
    assert one.enter(limit, "c") == 1
    assert one.enter(limit, "b") is None


def test_a_slot_of_a_dead_worker_is_free_when_its_lease_is_over(server: redis.Redis) -> None:
    dead, other = worker(server, "w1"), worker(server, "w2")
    for number in range(3):
        dead.enter(MAIL, f"j{number}")
    assert other.enter(MAIL, "next", "q") == 0
    assert other.enter(MAIL, "j0", "q") == 1, "its own job comes back before that, and waits like others"
    end_leases(server, MAIL)
    server.zadd(KEYS.all, {MAIL.member: 1})
    assert other.look()[1] == [("mail", "")]
    assert other.pump(MAIL)[0] == [Woken("next", "q"), Woken("j0", "q")]
    assert slots.LEASE_S + 1 < 10


def test_leases_that_are_renewed_go_on(server: redis.Redis) -> None:
    alive = worker(server, "w1")
    alive.enter(MAIL, "j")
    end_leases(server, MAIL)
    alive.renew([(MAIL, ["j", "that has ended meanwhile"])])
    assert server.zcard(KEYS.of("mail", "")[0]) == 1
    assert float(server.zscore(KEYS.of("mail", "")[0], "j w1") or 0) > float(server.time()[0])


def test_who_was_called_and_did_not_come_waits_on_in_its_place(server: redis.Redis) -> None:
    one, limit = worker(server, "w1"), Limit(name="one", most=1)
    for job in "abc":
        one.enter(limit, job, "q")
    assert one.leave(limit, "a") == [Woken("b", "q")]
    server.zadd(KEYS.of("one", "")[2], {"b": 1})
    assert one.pump(limit)[0] == [Woken("b", "q")], "it is called again"
    assert one.missed(limit, ["b"]) == [Woken("c", "q")], "it does not lie where it waited: the next"
    assert one.enter(limit, "c") is None
    assert one.enter(limit, "b", "q") == 0
    assert one.leave(limit, "c") == [Woken("b", "q")]


def test_so_many_begin_within_a_time(server: redis.Redis) -> None:
    one, limit = worker(server, "w1"), Limit(name="rate", amount=2, window=0.2)
    assert [one.enter(limit, job, "q") for job in "abc"] == [None, None, 0]
    assert one.leave(limit, "a", "b") == [], "they ended, and the time is not over"
    wait_for(lambda: one.pump(limit)[0] == [Woken("c", "q")], what="the time to be over")


def test_partitions_do_not_touch_each_other(server: redis.Redis) -> None:
    one = worker(server, "w1")
    limits = [Limit(name="mail", partition=partition, most=1) for partition in ("ada", "bob", "x" * 500)]
    assert [one.enter(limit, f"j{limit.partition[:1]}") for limit in limits] == [None] * 3
    assert [one.enter(limit, f"k{limit.partition[:1]}") for limit in limits] == [0] * 3


def test_nothing_is_left_when_all_have_ended(server: redis.Redis) -> None:
    one = worker(server, "w1")
    for number in range(6):
        one.enter(MAIL, f"j{number}", "q")
    for number in range(6):
        one.leave(MAIL, f"j{number}")
    assert [*server.scan_iter("*")] == []


def test_who_cannot_be_called_comes_by_and_is_forgotten_if_not(server: redis.Redis) -> None:
    one, limit = worker(server, "w1", wakes=False), Limit(name="one", most=1)
    assert [one.enter(limit, job) for job in "abc"] == [None, 0, 1]
    assert one.leave(limit, "a") == []
    assert one.enter(limit, "c") is None, "the slot does not wait for the very first"
    one.leave(limit, "c")
    server.zadd(KEYS.of("one", "")[2], {"b": 1})
    one.pump(limit)
    assert [*server.scan_iter("*")] == []


def test_a_person_is_told_who_waits(store_url: str, server: redis.Redis) -> None:
    one, limit = worker(server, "w1"), Limit(name="mail", partition="ada", most=1)
    for job in "abc":
        one.enter(limit, job, "q")
    with redis_client.connect(Address.parse(store_url)) as connection:
        states = slots.read_states(connection, KEYS)
        assert slots.describe_waiting(states) == ["2 wait for a slot of mail for ada, 1 runs"]
        waiting = slots.find_waiting(connection, KEYS, ["a", "c"])
    assert {job: found.text for job, found in waiting.items()} == {
        "c": "waiting for a slot of mail for ada, 1 before it"
    }


def test_random_workers_and_deaths_never_exceed_a_limit(server: redis.Redis) -> None:
    """Held as the store's own log has it: jobs of dead workers count until their leases are over."""
    chance = random.Random(7)
    limit, queue, done = Limit(name="many", most=3), [f"j{n}" for n in range(150)], set[str]()
    running: dict[str, LimitStore] = {}
    workers: list[LimitStore] = [worker(server, f"w{number}") for number in range(4)]

    def let_in(woken: list[Woken]) -> None:
        queue[:0] = [job.id for job in woken]

    for step in range(3_000):
        if not queue and not running:
            break
        if queue and chance.random() < 0.6:
            job, by = queue.pop(0), chance.choice(workers)
            if by.enter(limit, job, "q") is None:
                running[job] = by
        elif running and chance.random() < 0.9:
            job = chance.choice([*running])
            let_in(running.pop(job).leave(limit, job))
            done.add(job)
        elif running:
            number = chance.randrange(len(workers))
            lost = [job for job, by in running.items() if by is workers[number]]
            workers[number] = worker(server, f"again{step}")
            for job in lost:
                running.pop(job)
            end_of_dead(server, limit, lost)
            let_in(workers[number].pump(limit)[0])
            queue += lost
        assert len(running) <= server.zcard(KEYS.of("many", "")[0]) <= limit.most
    assert done == {f"j{n}" for n in range(150)}


def end_of_dead(server: redis.Redis, limit: Limit, jobs: list[str]) -> None:
    held = KEYS.of(limit.name, limit.partition)[0]
    for member in server.zrange(held, 0, -1):
        if str(member).split(" ")[0] in jobs:
            server.zadd(held, {str(member): 1})


def claim(mode: str, *, until_end: bool = False, seconds: float = 60) -> UniqueClaim:
    return UniqueClaim("proj.sync", "[1]", mode, seconds, until_end)


@pytest.mark.parametrize(
    ("mode", "answers"),
    [
        ("drop", [["go"], ["go"], ["gone", "a"]]),
        ("replace", [["go"], ["go"], ["go"]]),
        ("join", [["go"], ["go"], ["join", "a", "new"]]),
    ],
)
def test_a_job_that_is_the_same_gives_way(mode: str, answers: Any, server: redis.Redis) -> None:
    one = worker(server, "w1")
    assert [one.claim(claim(mode), job, "q") for job in "aab"] == answers


def test_what_was_replaced_does_not_begin_and_what_has_begun_is_not_replaced(server: redis.Redis) -> None:
    one, unique = worker(server, "w1"), claim("replace")
    assert [one.claim(unique, job) for job in "ab"] == [["go"], ["go"]]
    assert one.mark(unique, "a", "begun", 20)[0] is False
    assert one.claim(unique, "a") == ["gone", "b"]
    assert one.mark(unique, "b", "begun", 20)[0] is True
    assert one.claim(unique, "c") == ["gone", "b"]
    assert one.claim(unique, "b") == ["go"], "it comes again when its worker has died"


def test_who_joined_is_called_at_the_end_and_the_time_goes_on_or_not(server: redis.Redis) -> None:
    one = worker(server, "w1")
    for until_end, later in ((False, ["join", "a", "ended"]), (True, ["go"])):
        unique = claim("join", until_end=until_end)
        assert one.claim(unique, "a") == ["go"]
        one.mark(unique, "a", "begun", 20)
        one.claim(unique, "b", "q")
        assert one.mark(unique, "a", "ended", 0) == (True, [Woken("b", "q")])
        assert one.claim(unique, "c") == later
        server.flushdb()


def test_of_jobs_that_come_close_the_last_is_done(server: redis.Redis) -> None:
    one, close = worker(server, "w1"), claim("debounce", seconds=0.2)
    assert [one.claim(close, job)[0] for job in "abb"] == ["wait", "wait", "wait"]
    assert one.claim(close, "a") == ["gone", "b"]
    wait_for(lambda: one.claim(close, "b") == ["go"], what="its time")
    assert one.mark(close, "b", "begun", 20)[0]
    assert one.claim(close, "c")[0] == "wait", "the next begins anew"
    assert one.claim(close, "b") == ["go"], "it comes again when its worker has died"
