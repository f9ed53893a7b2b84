"""Streamers are asked after from several addresses and by proxies, and what befalls one exit costs no other."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from livectl.address import Exit
from livectl.cli import main
from livectl.doctor.checks_streamers import check_blocked_platforms, check_overdue_streamers, check_unreached_platforms
from livectl.doctor.facts import Facts, PlatformFacts
from livectl.errors import SecretUnsetError
from livectl.live import platforms
from livectl.live.checker import Sweeper
from livectl.live.network.check_cache import InMemoryCache
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.live.platforms.base import CheckContext
from livectl.live.polling import LimitsByPlatform
from livectl.live.pulse import find_problems
from livectl.live.store import Store
from livectl.models import State, Streamer
from livectl.secret import Secret
from livectl.settings import Network, PlatformSettings, Polling, Settings
from livectl.units import parse_rate
from tests.support.fake_platforms import Fakes
from tests.support.sites.plan import SiteResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from livectl.models import PlatformHealth
    from tests.support.sites.plan import SiteRequest

CHECKS = (check_blocked_platforms, check_unreached_platforms, check_overdue_streamers)
HERE, THERE, NOWHERE = "127.0.0.2", "127.0.0.3", "192.0.2.1"  # the last is no address of this machine
ADA = "9999"
STREAMERS = 60
START = 1_790_000_000.0
SETTLED_SECONDS = 10.0  # after so long a file is taken as written to its end


class SmallProxy(ThreadingHTTPServer):
    """A proxy for http. It leaves by an address of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str = "127.0.0.4") -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.address, self.passed = address, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class ProxyHandler(BaseHTTPRequestHandler):
    server: SmallProxy

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        assert parts.hostname
        connection = HTTPConnection(parts.hostname, parts.port or 80, source_address=(self.server.address, 0))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = parts._replace(scheme="", netloc="").geturl()
        connection.request(self.command, target, body, dict(self.headers.items()))
        answer = connection.getresponse()
        payload = answer.read()
        self.server.passed += 1
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)
        connection.close()

    do_POST = do_GET  # noqa: N815 - the name that the base class calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Tests are quiet."""


@pytest.fixture
def proxy() -> Iterator[SmallProxy]:
    with SmallProxy() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with Fakes() as server:
        server.plan.show("douyu", ADA, "live", started=1_790_000_000)
        yield server


def read_nothing() -> str:
    raise SecretUnsetError("env:NONE is not set")


def by_proxy(url: str) -> Exit:
    return Exit(proxy=Secret(url, lambda: url))


def ask(fakes: Fakes, exit_name: str, **exits: Exit) -> tuple[State, str, list[str]]:
    """The state of a streamer who is asked after by this exit, what was wrong, and from where the site was asked."""
    network = Network(connect_to=fakes.connect_to, exits=exits)
    fetcher = Fetcher(Routes.from_settings(network), InMemoryCache())
    context = CheckContext(1_790_000_100.0, {})
    (seen,) = fetcher.check(platforms.get("douyu"), [ADA], context, exit_name).observations
    fetcher.close()
    return seen.state, seen.problem, [request.client for request in fakes.log]


@pytest.mark.parametrize("address", [HERE, THERE])
def test_requests_leave_by_the_address_of_their_exit(fakes: Fakes, address: str) -> None:
    assert ask(fakes, "home", home=Exit(address)) == (State.LIVE, "", [address])


def test_requests_leave_by_the_proxy_of_their_exit(fakes: Fakes, proxy: SmallProxy) -> None:
    assert ask(fakes, "rented", rented=by_proxy(proxy.url)) == (State.LIVE, "", [proxy.address])
    assert proxy.passed == 1


def test_an_exit_that_is_dead_or_unset_reaches_nobody_and_says_why(fakes: Fakes) -> None:
    exits = {
        "gone": Exit(NOWHERE),
        "dead": by_proxy("http://127.0.0.1:1"),
        "unset": Exit(proxy=Secret("env:NONE", read_nothing)),
        "home": Exit(HERE),
    }
    for name, why in (("gone", NOWHERE), ("dead", "127.0.0.1"), ("unset", "network.exits.unset: env:NONE is not set")):
        state, problem, clients = ask(fakes, name, **exits)
        assert (state, clients) == (State.NETWORK, [])
        assert why in problem
    assert ask(fakes, "home", **exits)[0] is State.LIVE


def test_names_are_looked_up_by_the_first_exit_that_reaches_the_site(
    fakes: Fakes, client: redis.Redis, tmp_path: Path
) -> None:
    """As are rooms that are asked by their number; whoever is found is asked by the exit that serves them."""
    fakes.plan.show("douyu", ADA, "live", alias="ada")
    fakes.plan.show("bilibili", "2001", "live", alias="20010")
    (tmp_path / "follows.txt").write_text("douyu/ada\n")
    settings = Settings(
        home=tmp_path,
        folder=tmp_path,
        follows=tmp_path / "follows.txt",
        network=Network(connect_to=fakes.connect_to, exits={"gone": Exit(NOWHERE), "home": Exit(HERE)}),
    )
    store = Store(client)
    store.prepare()
    sweeper = Sweeper(settings, store)
    now = time.time() + SETTLED_SECONDS
    sweeper.refresh_follows(now)
    assert [record.id for record in store.all_streamers()] == [ADA]
    (seen,) = sweeper.checker.check_now("bilibili", ["room:20010"], now)
    assert (seen.id, seen.state) == ("2001", State.LIVE)
    assert {request.client for request in fakes.log} == {HERE}


class Played:
    """A site that is asked by three exits, and who of those that are followed came to it from where."""

    def __init__(self, fakes: Fakes, client: redis.Redis, exits: dict[str, Exit], **platform: Any) -> None:
        self.fakes = fakes
        self.store = Store(client)
        self.store.prepare()
        settings = Settings(
            home=Path("/nowhere"),
            folder=Path("/nowhere"),
            network=Network(connect_to=fakes.connect_to, exits=exits),
            platforms={"douyu": PlatformSettings(budget=parse_rate("60/m"), **platform)},
            polling=Polling(mode="uniform", fastest=5.0, slowest=5.0),
        )
        self.sweeper = Sweeper(settings, self.store)
        self.refused: set[str] = set()
        fakes.plan.played["www.douyu.com"] = self._refuse
        self.ids = [str(1000 + number) for number in range(STREAMERS)]
        for each in self.ids:
            fakes.plan.show("douyu", each, "offline")
        self.store.set_followed([Streamer(platform="douyu", id=each) for each in self.ids], START)

    def _refuse(self, request: SiteRequest) -> SiteResponse | None:
        return SiteResponse(status=403) if request.client in self.refused else None

    def sweep(self, start: float, seconds: int) -> dict[str, set[str]]:
        """From which addresses each streamer was asked after."""
        self.fakes.log.clear()
        for now in range(int(start), int(start) + seconds, 5):
            for batches in self.sweeper.claim(float(now)):
                for batch in batches:
                    self.sweeper.checker.check(batch.platform, batch.ids, float(now))
        came: dict[str, set[str]] = {}
        for request in self.fakes.log:
            came.setdefault(request.path.rpartition("/")[2], set()).add(request.client)
        return came

    def health(self, now: float) -> dict[str, PlatformHealth]:
        (health,) = self.store.health(now)
        return {each.exit: each for each in health.exits}


def test_each_streamer_keeps_to_one_exit_and_each_exit_has_a_budget(
    fakes: Fakes, client: redis.Redis, proxy: SmallProxy
) -> None:
    site = Played(fakes, client, {"home": Exit(HERE), "office": Exit(THERE), "rented": by_proxy(proxy.url)})
    came = site.sweep(START, 30)
    assert set(came) == set(site.ids)
    assert all(len(clients) == 1 for clients in came.values())
    assert {client for clients in came.values() for client in clients} == {HERE, THERE, proxy.address}
    assert len(fakes.log) > 60, "three exits bear three times as much"
    assert site.sweep(START + 60, 30) == came
    assert {each.name for each in site.health(START + 90).values()} == {
        "douyu (exit home)", "douyu (exit office)", "douyu (exit rented)"
    }  # fmt: skip


def shown_exits(
    store_url: str, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """What `livectl platforms` says of them."""
    patch.chdir(folder)
    patch.setenv("LIVECTL_HOME", str(folder))
    patch.setenv("LIVECTL_BROKER", store_url)
    patch.setattr("time.time", lambda: START + 150)
    assert main(["platforms", "--json"]) == 0
    exits: dict[str, str] = next(
        row["exits"] for row in json.loads(capsys.readouterr().out) if row["platform"] == "douyu"
    )
    return exits


def test_an_exit_that_is_blocked_costs_its_own_and_is_named(
    fakes: Fakes,
    client: redis.Redis,
    store_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = Played(fakes, client, {"home": Exit(HERE), "office": Exit(THERE), "gone": Exit(NOWHERE)})
    before = site.sweep(START, 30)
    own = {each for each, clients in before.items() if clients == {HERE}}
    site.refused.add(HERE)
    site.sweep(START + 60, 10)
    later = site.sweep(START + 90, 60)
    assert own.isdisjoint(later), "nobody else asks after them, and the blocked exit is left alone"
    assert set(later) == set(before) - own
    exits = site.health(START + 150)
    (whole,) = site.store.health(START + 150)
    assert set(whole.answers) == {"offline", "blocked", "network"}, "of all exits together"
    assert [exits[name].step for name in ("home", "office", "gone")] == [1, 0, 0]
    assert [bool(exits[name].unreached) for name in ("home", "office", "gone")] == [False, False, True]
    facts = Facts(now=START + 150, platforms=PlatformFacts(health=tuple(site.store.health(START + 150))))
    titles = {finding.title for check in CHECKS for finding in check(facts) if "exit" in finding.title}
    assert titles == {"douyu (exit home) blocks us", "douyu (exit gone) is not reached"}
    problems = find_problems(site.store.pulse("0", 1, 1), site.store.health(START + 150), START + 150)
    assert {"douyu (exit gone) is not reached", "douyu (exit home) refuses us, and is left alone for a while"} == set(
        problems
    )
    assert shown_exits(store_url, tmp_path, monkeypatch, capsys) == {
        "home": "is blocked", "office": "ok", "gone": "reaches nobody"
    }  # fmt: skip
    site.refused.clear()
    again = site.sweep(START + 60 + 300 + 60, 60)
    assert {each for each, clients in again.items() if clients == {HERE}} == own, "it comes back by itself"


def test_a_platform_that_opens_its_own_connections_has_its_budget_once(client: redis.Redis) -> None:
    settings = Settings(
        home=Path("/nowhere"),
        folder=Path("/nowhere"),
        network=Network(exits={"home": Exit(HERE), "gone": Exit(NOWHERE)}),
    )
    limits = LimitsByPlatform(settings, Store(client))
    assert [each.exit for each in limits.by_exits("streamlink", START)] == [""]
    assert [each.exit for each in limits.by_exits("douyu", START)] == ["home", "gone"]


def test_a_budget_that_belongs_to_a_key_is_shared_by_the_exits(fakes: Fakes, client: redis.Redis) -> None:
    key = Secret("a key", lambda: "a key")
    exits = {"home": Exit(HERE), "office": Exit(THERE)}
    site = Played(fakes, client, exits, client_id=key, client_secret=key)
    site.sweep(START, 30)
    assert len(fakes.log) <= 30 + 2 * 10, "what was saved up, and one a second"
