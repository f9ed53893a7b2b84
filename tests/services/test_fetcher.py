"""The fetcher drives checks: batches, tokens, errors, calls, and the pools they run in."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from livectl.live.platforms.base import (
    CacheGetAll,
    Call,
    CheckContext,
    CheckFailed,
    Platform,
    ask,
    cache_get,
    cache_set,
)
from livectl.models import Observation, Request, State
from tests.support.http_site import RecordingCache, Site, fetching, get, serving
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from livectl.live.network.fetcher import Fetcher


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


@pytest.fixture
def fetcher(site: Site) -> Iterator[Fetcher]:
    with fetching(site) as open_fetcher:
        yield open_fetcher


def platform(check: Callable[..., Any], batch: int = 2, resolve: Any = None) -> Platform:
    return Platform(
        name="made",
        hosts=frozenset({"site.test"}),
        batch=batch,
        budget="10/s",
        address=lambda text: text,
        url=lambda streamer_id: streamer_id,
        check=check,
        resolve=resolve,
    )


CONTEXT = CheckContext(now=1000.0, keys={})


def offline(streamer_id: str) -> Observation:
    return Observation(platform="made", id=streamer_id, state=State.OFFLINE, at=CONTEXT.now)


def test_a_check_asks_in_batches_all_at_once(fetcher: Fetcher, site: Site) -> None:
    def check(ids: Sequence[str], context: CheckContext) -> Generator[Any, Any, list[Observation]]:
        response = yield from ask(Request(url=f"https://site.test/json?ids={','.join(ids)}"))
        return [offline(streamer_id) for streamer_id in msgspec.json.decode(response.body)["ids"].split(",")]

    report = fetcher.check(platform(check), ["a", "b", "c", "d", "e"], CONTEXT)
    assert [each.id for each in report.observations] == ["a", "b", "c", "d", "e"]
    assert report.requests == 3
    assert sorted(site.hits) == ["/json?ids=a,b", "/json?ids=c,d", "/json?ids=e"]


def test_a_token_is_asked_for_once_and_kept(fetcher: Fetcher, site: Site) -> None:
    def check(ids: Sequence[str], context: CheckContext) -> Generator[Any, Any, list[Observation]]:
        token = yield from cache_get("token")
        if token is None:
            response = yield from ask(Request(url="https://site.test/json?token=t", method="POST"))
            token = msgspec.json.decode(response.body)["token"]
            yield from cache_set("token", token, 60)
        yield from ask(Request(url=f"https://site.test/json?with={token}&ids={ids[0]}"))
        return [offline(streamer_id) for streamer_id in ids]

    for _ in range(2):
        fetcher.check(platform(check), [str(number) for number in range(20)], CONTEXT)
    assert site.hits.count("/json?token=t") == 1
    assert len(site.hits) == 21
    assert cast(RecordingCache, fetcher._cache).lookups == [["token"], ["token"]]


def test_what_checks_have_kept_is_read_in_one_go(fetcher: Fetcher) -> None:
    cache = cast(RecordingCache, fetcher._cache)
    cache.values["made", "of/b"] = "kept"
    found: dict[str, Any] = {}

    def check(ids: Sequence[str], context: CheckContext) -> Generator[Any, Any, list[Observation]]:
        found[ids[0]] = yield CacheGetAll((f"of/{ids[0]}", "of/all"))
        found[f"{ids[0]}, alone"] = yield from cache_get(f"of/{ids[0]}")
        return [offline(streamer_id) for streamer_id in ids]

    fetcher.check(platform(check, batch=1), ["a", "b"], CONTEXT)
    assert cache.lookups == [["of/a", "of/all", "of/b"], ["of/a", "of/b"]]
    assert found == {"a": [None, None], "b": ["kept", None], "a, alone": None, "b, alone": "kept"}


def test_a_check_that_raises_harms_only_its_batch(fetcher: Fetcher, caplog: pytest.LogCaptureFixture) -> None:
    def check(ids: Sequence[str], context: CheckContext) -> Generator[Any, Any, list[Observation]]:
        yield from cache_get("nothing")
        if "bad" in ids:
            raise KeyError("surprise")
        return [offline(streamer_id) for streamer_id in ids if streamer_id != "silent"]

    report = fetcher.check(platform(check), ["a", "b", "bad", "c", "silent"], CONTEXT)
    states = {each.id: each.state for each in report.observations}
    assert states == {
        "a": State.OFFLINE,
        "b": State.OFFLINE,
        "bad": State.PARSE_ERROR,
        "c": State.PARSE_ERROR,
        "silent": State.UNKNOWN,
    }
    assert "surprise" in caplog.text


def test_ids_are_resolved_or_refused_each_by_itself(fetcher: Fetcher) -> None:
    def resolve(streamer_id: str, context: CheckContext) -> Generator[Any, Any, str]:
        response = yield from ask(Request(url=f"https://site.test/json?of={streamer_id}"))
        if streamer_id == "none":
            raise CheckFailed(State.NOT_FOUND, "no such streamer")
        return f"resolved-{msgspec.json.decode(response.body)['of']}"

    first, second = fetcher.resolve(
        platform(lambda ids, context: None, resolve=resolve), ["x", "none"], CONTEXT
    ).ids_or_errors
    assert first == "resolved-x"
    assert isinstance(second, CheckFailed)


def test_calls_have_their_time(fetcher: Fetcher, site: Site) -> None:
    def check(ids: Sequence[str], context: CheckContext) -> Generator[Any, Any, list[Observation]]:
        result = yield Call(site.closing.wait if ids[0] == "late" else str.upper, ({"late": 30}.get(ids[0], "x"),), 0.3)
        return [offline(streamer_id) for streamer_id in ids if result]

    report = fetcher.check(platform(check, batch=1), ["a", "late"], CONTEXT)
    assert [each.state for each in report.observations] == [State.OFFLINE, State.UNKNOWN]


GREEN = """
    import sys, urllib.request
    from importlib import import_module
    pool, port = sys.argv[1], int(sys.argv[2])
    if pool == "gevent":
        from gevent import monkey; monkey.patch_all()
        from gevent import spawn, sleep
    else:
        import eventlet; eventlet.monkey_patch()
        from eventlet import spawn, sleep
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.network.routes import Routes
    from livectl.models import Request
    ticks = []
    def tick():
        while len(ticks) < 20:
            ticks.append("tick")
            sleep(0.01)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/go").close()
    spawn(tick)
    fetcher = Fetcher(Routes({"site.test": f"http://127.0.0.1:{port}"}), None)
    def ask(): return fetcher.ask([Request(url="http://site.test/together", seconds=60)], {"site.test"})[0].body
    greenlets = [spawn(ask) for _ in range(3)]
    bodies = [greenlet.wait() if pool == "eventlet" else greenlet.get() for greenlet in greenlets]
    assert bodies == [b"at last"] * 3, bodies
    print(len(ticks))
"""


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_the_hub_goes_on_while_an_answer_is_awaited(site: Site, pool: str) -> None:
    """Three answers come when all three have been asked for, and the hub has gone on for a while."""
    argv = [sys.executable, "-c", textwrap.dedent(GREEN), pool, str(site.server_port)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 20


def test_threads_share_a_fetcher(fetcher: Fetcher) -> None:
    bodies: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: bodies.extend(get(fetcher, f"/json?n={n}").body for n in range(20)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 160
