"""What the store makes of observations: sessions, ends, doubts, and who is asked when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import redis

from livectl.errors import ServerError
from livectl.live.store import Store
from livectl.models import Change, Observation, PollingLimits, State, Streamer
from tests.support.web_pages import follow, go_live, make_streamer, prepared_store

START = 1_800_000_000.0
LIMITS = PollingLimits(platform="demo", batch=50, rate=10.0, keys="mine")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.fixture
def store(client: redis.Redis) -> Store:
    made = Store(client)
    made.prepare()
    made.set_followed([Streamer(platform="demo", id=name) for name in ("ada", "bob")], START)
    return made


def observe(state: str, after: float, name: str = "ada", **more: Any) -> Observation:
    return Observation(platform="demo", id=name, state=State(state), at=START + after, **more)


def record_kinds(store: Store, *observations: Observation, limits: PollingLimits = LIMITS) -> list[str]:
    """The kinds of changes that come of the observations, recorded one after another."""
    return [_describe(change) for observation in observations for change in store.record(limits, [observation])]


def _describe(change: Change) -> str:
    return f"{change.kind} {change.session}{' quietly' if change.quiet else ''}"


BEFORE = observe("offline", 1)
LIVE = observe("live", 10, session="s1", started_at=START + 5, title="Hello")

SESSIONS = {
    "a go-live is told once": ([BEFORE, LIVE, LIVE, observe("live", 90, session="s1", title="Hello")], ["began s1"]),
    "without a session key the first sight names it": ([BEFORE, observe("live", 10)], ["began at:1800000010"]),
    "a first sight of an old session is noted": (
        [observe("live", 0, session="s1", started_at=START - 16 * MINUTE)],
        ["began s1 quietly"],
    ),
    "a first sight of a young session is told": (
        [observe("live", 0, session="s1", started_at=START - MINUTE)],
        ["began s1"],
    ),
    "a first sight of a session of unknown age is noted": ([observe("live", 0, session="s1")], ["began s1 quietly"]),
    "trouble before the first sight leaves it the first": (
        [observe("network", 0), observe("live", 10, session="s1")],
        ["began s1 quietly"],
    ),
    "another title is told": (
        [BEFORE, LIVE, observe("live", 70, session="s1", title="Bye")],
        ["began s1", "retitled s1"],
    ),
    "no title is not another title": ([BEFORE, LIVE, observe("live", 70, session="s1")], ["began s1"]),
    "the next session is told, though it began just after the first look in a long while": (
        [
            BEFORE,
            LIVE,
            observe("offline", 10 + 30 * MINUTE),
            observe("live", 12 + 30 * MINUTE, session="s2", started_at=START + 11 + 30 * MINUTE),
        ],
        ["began s1", "ended s1", "began s2"],
    ),
    "one look that finds nobody ends nothing": ([BEFORE, LIVE, observe("offline", 70)], ["began s1"]),
    "a second look too soon ends nothing": (
        [BEFORE, LIVE, observe("offline", 70), observe("offline", 129)],
        ["began s1"],
    ),
    "a second look ends it": (
        [BEFORE, LIVE, observe("offline", 70), observe("offline", 130)],
        ["began s1", "ended s1"],
    ),
    "a replay ends it too": ([BEFORE, LIVE, observe("replay", 70), observe("replay", 140)], ["began s1", "ended s1"]),
    "live between the looks: it never ended": (
        [BEFORE, LIVE, observe("offline", 70), observe("live", 80, session="s1"), observe("offline", 140)],
        ["began s1"],
    ),
    "errors end nothing": (
        [
            BEFORE,
            LIVE,
            *(
                observe(state, 70 + 100 * n)
                for n, state in enumerate(
                    [
                        "blocked",
                        "rate_limited",
                        "auth",
                        "parse_error",
                        "network",
                        "unknown",
                        "not_found",
                        "banned",
                        "upcoming",
                    ]
                )
            ),
        ],
        ["began s1"],
    ),
    "the same session again after its end": (
        [BEFORE, LIVE, observe("offline", 70), observe("offline", 140), observe("live", HOUR, session="s1")],
        ["began s1", "ended s1"],
    ),
    "a new session within the merge window is the same": (
        [
            BEFORE,
            LIVE,
            observe("offline", 70),
            observe("offline", 140),
            observe("live", 650, session="s2", started_at=START + 640),
        ],
        ["began s1", "ended s1"],
    ),
    "a new session after the merge window is new": (
        [
            BEFORE,
            LIVE,
            observe("offline", 70),
            observe("offline", 140),
            observe("live", 900, session="s2", started_at=START + 890),
        ],
        ["began s1", "ended s1", "began s2"],
    ),
    "another key while live is a reconnect": (
        [BEFORE, LIVE, observe("live", 90, session="s2", started_at=START + 80), observe("live", 180, session="s1")],
        ["began s1"],
    ),
    "another key long after the last look is another session": (
        [BEFORE, LIVE, observe("live", DAY, session="s2", started_at=START + DAY - HOUR)],
        ["began s1", "ended s1", "began s2"],
    ),
    "restricted with a session is live": ([BEFORE, observe("restricted", 10, session="s1")], ["began s1"]),
    "restricted without proof is nothing": ([BEFORE, observe("restricted", 10)], []),
    "what was seen earlier changes nothing later": (
        [BEFORE, LIVE, observe("offline", 5), observe("offline", 9)],
        ["began s1"],
    ),
}


@pytest.mark.parametrize("case", SESSIONS)
def test_sessions(store: Store, case: str) -> None:
    observations, changes = SESSIONS[case]
    assert record_kinds(store, *observations) == changes
    assert [_describe(change) for change in store.changes()] == changes


def write_as_json(client: redis.Redis, *names: str) -> None:
    """Writes the rows and sessions of these as older stores had them: as JSON, with the names of all fields."""
    for kind, convert in (("now", _as_json), ("recent", _with_names)):
        for key in client.keys(f"livectl:*}}:{kind}"):
            for name in names:
                if text := client.hget(key, name):
                    client.hset(key, name, convert(str(text)))


def _with_names(recent: str) -> str:
    fields = ("started_at", "ended_at", "title", "category", "session")
    kept = msgspec.json.decode(recent)
    return msgspec.json.encode(
        [dict(zip(fields, each, strict=True)) if isinstance(each, list) else each for each in kept]
    ).decode()


def _as_json(row: str) -> str:
    states = {"o": "offline", "r": "replay", "l": "live"}
    if row[0] not in states:
        return row
    known = {"state": states[row[0]], "seen": float(row[1:15])}
    if row[0] == "l":
        known |= {"count_at": int(row[24:34])} | ({"viewers": int(row[15:24])} if int(row[15:24]) >= 0 else {})
    return msgspec.json.encode(known | msgspec.json.decode(row[34 if row[0] == "l" else 15 :])).decode()


@pytest.mark.parametrize("case", SESSIONS)
def test_sessions_go_on_from_rows_of_an_older_layout(store: Store, client: redis.Redis, case: str) -> None:
    observations, changes = SESSIONS[case]
    made = []
    for observation in observations:
        made += record_kinds(store, observation)
        before = store.find_streamers("demo", ["ada"]), store.sessions("demo", ["ada"])
        write_as_json(client, "ada")
        assert (store.find_streamers("demo", ["ada"]), store.sessions("demo", ["ada"])) == before
    assert made == changes


def test_who_goes_on_is_noted_alike_by_the_short_way_and_from_an_older_layout(
    store: Store, client: redis.Redis
) -> None:
    looks = [(after, after // 7 % 1000) for after in range(10, 40 * 60, 45)]
    for after, viewers in [*looks, (3 * 3600, None), (3 * 3600 + 60, 2_000_000_000), (4 * 3600, 5)]:
        write_as_json(client, "bob")
        more: dict[str, Any] = {"session": "s/1", "title": "Hello", "viewers": viewers}
        store.record(LIMITS, [observe("live", after + 0.125, name, **more) for name in ("ada", "bob")])
        ada, bob = store.find_streamers("demo", ["ada", "bob"])
        assert msgspec.structs.replace(bob, id="ada", streamer=ada.streamer) == ada
    curves, cells = store.viewer_curves("demo", ["ada", "bob"]), store.cells
    assert curves["ada"] == curves["bob"]
    assert len(curves["ada"].counts) > 20
    dues = {client.zscore(cells.key("due", "demo", name), name) for name in ("ada", "bob")}
    assert len(dues) == 1
    assert str(client.hget(cells.key("now", "demo", "ada"), "ada")).startswith("l")


def test_a_batch_recorded_twice_changes_nothing_more(store: Store, client: redis.Redis) -> None:
    batch = [LIVE, observe("offline", 10, "bob")]
    assert [change.number for change in store.record(LIMITS, batch)] == [""]
    before = {key: client.dump(key) for key in client.keys("livectl:*}:now")}
    assert store.record(LIMITS, batch) == []
    assert {key: client.dump(key) for key in client.keys("livectl:*}:now")} == before


def test_many_workers_at_once_make_one_change(store: Store, store_url: str) -> None:
    store.record(LIMITS, [BEFORE])

    def record(worker: int) -> list[Change]:
        with redis.Redis.from_url(store_url, decode_responses=True) as own:
            return Store(own).record(LIMITS, [observe("live", 10 + worker / 1000, session="s1", started_at=START + 5)])

    with ThreadPoolExecutor(8) as workers:
        changes = [change for made in workers.map(record, range(8)) for change in made]
    assert [change.session for change in changes] == ["s1"]
    assert len(store.changes()) == 1


def test_the_last_good_answer_and_the_trouble_since_stand_side_by_side(store: Store) -> None:
    record_kinds(
        store, BEFORE, LIVE, observe("network", 100, problem="timed out"), observe("network", 200, problem="timed out")
    )
    known = store.find_streamer("demo", "ada")
    assert (known.state, known.title, known.seen) == (State.LIVE, "Hello", START + 10)
    assert (known.trouble, known.troubled_since, known.problem) == (State.NETWORK, START + 100, "timed out")
    record_kinds(store, observe("live", 300, session="s1"))
    assert store.find_streamer("demo", "ada").trouble is None


def test_not_found_is_shown_after_three_times_in_an_hour(store: Store) -> None:
    shown = []
    for after in (0.0, 30 * MINUTE, 59 * MINUTE, 61 * MINUTE):
        record_kinds(store, observe("not_found", after))
        shown.append(store.find_streamer("demo", "ada").trouble)
    assert shown == [State.UNKNOWN, State.UNKNOWN, State.UNKNOWN, State.NOT_FOUND]


def test_who_is_not_followed_has_no_state(store: Store) -> None:
    assert record_kinds(store, observe("live", 1, "eve", session="s1")) == []
    assert store.find_streamer("demo", "eve").state is None


def test_live_lists_who_is_live_latest_first(store: Store) -> None:
    record_kinds(store, observe("live", 1, started_at=START - 50), observe("live", 1, "bob", started_at=START - 20))
    assert [known.id for known in store.live_streamers()] == ["bob", "ada"]
    record_kinds(store, observe("offline", 70), observe("offline", 200))
    assert [known.id for known in store.live_streamers()] == ["bob"]
    assert {known.id for known in store.all_streamers()} == {"ada", "bob"}


def test_history_keeps_every_start_and_the_last_titles(store: Store) -> None:
    for day in range(20):
        at = day * DAY
        record_kinds(
            store, observe("offline", at + 1), observe("live", at + 600, session=f"s{day}", title=f"Day {day}")
        )
        record_kinds(store, observe("offline", at + 1000), observe("offline", at + 1100))
    record_kinds(store, observe("live", 20 * DAY, session="now"))
    sessions = store.sessions("demo", ["ada", "bob"])["ada"]
    assert [round((session.started_at - START) / DAY, 2) for session in sessions[:20]] == [
        round(n + 600 / DAY, 2) for n in range(20)
    ]
    assert [session.title for session in sessions[11:14]] == ["", "Day 12", "Day 13"]
    assert (sessions[-1].session, sessions[-1].ended_at) == ("now", None)
    assert store.sessions("demo", ["bob"])["bob"] == []


def test_a_session_that_came_back_is_one_in_the_history(store: Store) -> None:
    record_kinds(
        store, BEFORE, LIVE, observe("offline", 70), observe("offline", 140), observe("live", 200, session="s1")
    )
    assert [session.session for session in store.sessions("demo", ["ada"])["ada"]] == ["s1"]
    record_kinds(store, observe("live", 500, session="s1"), observe("offline", 900), observe("offline", 1000))
    assert [session.ended_at for session in store.sessions("demo", ["ada"])["ada"]] == [START + 900]


def test_the_end_nobody_saw_is_the_last_sight(store: Store) -> None:
    record_kinds(store, BEFORE, LIVE, observe("offline", 2 * DAY), observe("offline", 2 * DAY + 120))
    assert store.find_streamer("demo", "ada").ended_at == START + 10


def test_a_session_that_is_on_has_the_title_of_the_last_answer(store: Store) -> None:
    record_kinds(store, BEFORE, observe("live", 60, session="s1", title="Hello", category="Chess"))
    (session,) = store.sessions("demo", ["ada"])["ada"]
    assert (session.ended_at, session.title, session.category) == (None, "Hello", "Chess")


def test_history_forgets_what_is_older_than_400_days(store: Store) -> None:
    for day in (0, 1, 410):
        record_kinds(store, observe("live", day * DAY + 1, session=f"s{day}"))
        record_kinds(store, observe("offline", day * DAY + 100), observe("offline", day * DAY + 300))
    log = store.sessions("demo", ["ada"])["ada"]
    assert log[0].started_at >= START


def test_a_crowd_that_leaves_at_once_is_a_broken_parser(store: Store) -> None:
    names = [f"n{number}" for number in range(10)]
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)
    store.record(LIMITS, [observe("live", 1, name, session="s") for name in names])
    for after in (100, 200, 300, 4000):
        assert store.record(LIMITS, [observe("offline", after, name) for name in names]) == []
    assert len(store.live_streamers()) == 10
    assert store.health(START)[0].all_gone == START + 200
    # One is live after all: the parser can read it, so the others are believed.
    store.record(LIMITS, [observe("live", 4100, "n0", session="s")])
    ended = store.record(LIMITS, [observe("offline", 4200, name) for name in names])
    assert (len(ended), {change.ended_at for change in ended}) == (9, {START + 100})
    assert store.health(START)[0].all_gone is None


def test_most_of_a_crowd_may_leave(store: Store) -> None:
    names = [f"n{number}" for number in range(10)]
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)
    store.record(LIMITS, [observe("live", 1, name, session="s") for name in names])
    store.record(LIMITS, [observe("offline", 100, name) for name in names[:7]])
    assert len(store.record(LIMITS, [observe("offline", 200, name) for name in names[:7]])) == 7


def test_a_cut_title_is_whole_characters(store: Store) -> None:
    record_kinds(
        store, observe("live", 1, session="s", title="直播" * 500), observe("offline", 100), observe("offline", 300)
    )
    assert store.find_streamer("demo", "ada").title == "直播" * 100
    assert set(store.sessions("demo", ["ada"])["ada"][0].title) == {"直", "播"}


def test_half_a_character_does_no_harm(store: Store) -> None:
    record_kinds(store, BEFORE, observe("live", 10, session="s", title="Hi \ud83d there"))
    assert store.find_streamer("demo", "ada").title == "Hi  there"


def test_unfollowing_keeps_history_for_400_days(store: Store) -> None:
    record_kinds(store, BEFORE, LIVE, observe("offline", 70), observe("offline", 140))
    assert store.set_followed([], START + 200) == (0, 2)
    assert store.claim([LIMITS], START + 300, 60) == []
    assert store.prune(START + 399 * DAY, START) == 0
    assert len(store.sessions("demo", ["ada"])["ada"]) == 1
    assert store.prune(START + 401 * DAY, START) == 1
    assert store.sessions("demo", ["ada"])["ada"] == []


def test_of_many_those_are_forgotten_who_are_not_followed_and_were_not_asked_since(store: Store) -> None:
    names = [f"n{number:05}" for number in range(6_000)]
    store.set_followed([Streamer(platform="demo", id=name) for name in names], START)
    for state, some, at in ((State.OFFLINE, names, 1.0), (State.UNKNOWN, names[::3], 2 * DAY)):
        store.record(LIMITS, [Observation(platform="demo", id=name, state=state, at=START + at) for name in some])
    store.set_followed([Streamer(platform="demo", id=name) for name in names[:3_000]], START + 3 * DAY)
    forgotten = [name for number, name in enumerate(names) if number >= 3_000 and number % 3]
    assert store.prune(START + 401 * DAY, START) == len(forgotten)
    known = {record.id for record in store.find_streamers("demo", names) if record.state}
    assert known == set(names) - set(forgotten)


def test_following_again_finds_the_session_still_on(store: Store) -> None:
    record_kinds(store, BEFORE, LIVE)
    store.set_followed([], START + 20)
    assert store.live_streamers() == []
    store.set_followed([Streamer(platform="demo", id="ada")], START + 30)
    assert [known.id for known in store.live_streamers()] == ["ada"]
    assert record_kinds(store, observe("live", 60, session="s1")) == []


def test_the_outbox_is_read_in_order_and_from_anywhere(store: Store) -> None:
    record_kinds(
        store, BEFORE, LIVE, observe("live", 90, session="s1", title="2"), observe("live", 180, session="s1", title="3")
    )
    changes = store.changes()
    assert [change.kind for change in changes] == ["began", "retitled", "retitled"]
    assert store.changes(changes[0].number, 1) == [changes[1]]
    assert (changes[2].before, changes[2].title) == ("2", "3")


def test_a_store_of_a_newer_livectl_is_refused(client: redis.Redis) -> None:
    client.set("livectl:version", 99)
    with pytest.raises(ServerError, match="version 99, this one knows 4"):
        Store(client).prepare()


def test_what_a_platform_keeps_lapses(store: Store, client: redis.Redis) -> None:
    store.cache_set("demo", "token", "secret", 3600)
    assert store.cache_get("demo", ["token", "other"]) == ["secret", None]
    assert 0 < int(str(client.ttl("livectl:{demo}:kept:token"))) <= 3600


def test_an_image_is_kept_whole_or_not_at_all(store_url: str) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"), make_streamer("bob"))
    go_live(store, "ada", cover="https://x.test/c", avatar="https://x.test/" + "a" * 485)
    go_live(store, "bob", cover="https://x.test/" + "c" * 486, avatar="https://x.test/a")
    ada, bob = store.find_streamers("demo", ["ada", "bob"])
    assert (ada.cover, len(ada.avatar)) == ("https://x.test/c", 500)
    assert (bob.cover, bob.avatar) == ("", "https://x.test/a")
    assert store.changes()[0].avatar == ada.avatar


def test_viewers_are_noted_over_a_session_and_thinned_out_when_they_are_many(store_url: str) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    limits, begun = PollingLimits(platform="demo", batch=10, rate=10.0), 1_790_000_040.0

    def watched(at: float, viewers: int | None, session: str = "one", state: State = State.LIVE) -> None:
        seen = Observation(platform="demo", id="ada", state=state, at=at, session=session, viewers=viewers)
        store.record(limits, [seen])

    def counts() -> tuple[float, tuple[int | None, ...]]:
        curve = store.viewer_curves("demo", ["ada", "bob"])["ada"]
        return curve.step, curve.counts

    assert store.viewer_curves("demo", ["ada"]) == {}
    for second in range(0, 600, 30):  # asked more often than counts are kept
        watched(begun + second, second)
    assert counts() == (120, (0, 120, 240, 360, 480))
    watched(begun + 660, None)  # nobody tells, and then nobody looks for a while
    watched(begun + 1200, 16_777_216)
    assert counts() == (120, (0, 120, 240, 360, 480, None, None, None, None, None, 16_777_215))
    for minute in range(22, 240, 2):
        watched(begun + minute * 60, minute)
    step, kept = counts()
    assert (step, len(kept), kept[:6], kept[-1]) == (240, 60, (0, 240, 480, None, None, 16_777_215), 236)
    assert store.viewer_curves("demo", ["ada"])["ada"].started_at == begun
    watched(begun + 30 * 86_400, 5)
    assert len(counts()[1]) <= 60
    watched(begun + 31 * 86_400, 7, session="two")
    assert counts() == (120, (7,))


def test_when_a_stream_is_announced_for_is_kept_until_it_begins(store_url: str) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    limits = PollingLimits(platform="demo", batch=10, rate=10.0)
    store.record(limits, [observe("upcoming", 10, started_at=2e9)])
    assert store.find_streamer("demo", "ada").announced_at == 2e9
    store.record(limits, [observe("network", 40)])
    assert store.find_streamer("demo", "ada").announced_at == 2e9
    store.record(limits, [observe("offline", 70)])
    assert store.find_streamer("demo", "ada").announced_at is None
