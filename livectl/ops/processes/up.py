"""What `up` runs: the children, and where everything is."""

from __future__ import annotations

import socket
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import msgspec

from livectl import config
from livectl.errors import ServerError, UsageError
from livectl.ops import launch
from livectl.ops.broker import Server, addresses
from livectl.ops.cluster import deployment, health
from livectl.ops.launch import WorkerWords
from livectl.ops.processes import lock, statedir
from livectl.ops.processes.child import Child, spawn
from livectl.ops.processes.signs import Signs
from livectl.ops.processes.stopping import IF_KILLED, QUITTING, argv_for_quitting
from livectl.ops.schedules import schedulefile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from livectl.address import Address
    from livectl.config import Settings
    from livectl.ops.launch import Pool

# Seconds to end in. Both take milliseconds, unless a broker or a disk hangs.
BEAT_SECONDS = 5.0
PAGE_SECONDS = 2.0
BROKER_SECONDS = 10.0
PAGE_ANSWERS_WITHIN = 5.0


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of `up` on the command line."""

    app: str | None
    config: str | None
    pool: Pool
    concurrency: int | None
    queues: str | None
    name: str
    loglevel: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where it runs."""

    environ: Mapping[str, str]
    cwd: Path
    host: str
    processors: int


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is; addresses without their passwords."""

    pid: int
    home: str
    broker: str
    store: str
    data: str | None  # of the embedded broker
    log: str | None
    schedules: str | None
    page: str | None
    worker: str
    pool: Pool


def default_pool(app: str | None) -> Pool:
    """livectl's own jobs wait for answers, which threads do in one small process; of others nothing is known."""
    return "threads" if app is None else "prefork"


def node(up: Up, place: Place) -> str:
    return up.name if "@" in up.name else f"{up.name}@{place.host}"


def command(up: Up) -> list[str]:
    """The command line of an `up` like this one."""
    options = {
        "-A": up.app,
        "--config": up.config,
        "-P": up.pool,
        "-c": up.concurrency,
        "-Q": up.queues,
        "-n": up.name,
        "-l": up.loglevel,
    }
    said = [word for option, value in options.items() if value is not None for word in (option, str(value))]
    return [sys.executable, "-m", "livectl", "up", *said]


def claim(home: Path) -> int:
    """The one `up` of this home: its descriptor says so for as long as it lives."""
    statedir.make(home)
    path = home / "run" / "up.lock"
    held = lock.hold(path)
    if held is None:
        raise ServerError(
            f"`livectl up` runs already for {home} (pid {lock.holder(path)})",
            "Use that one, stop it first, or give this one a folder of its own with LIVECTL_HOME.",
        )
    return held


def embedded(up: Up, settings: Settings) -> Server | None:
    """The broker that comes along, if one is needed: somebody's own app names its broker itself."""
    return Server(settings.home) if up.app is None and settings.broker is None else None


def page_port(up: Up, settings: Settings) -> int | None:
    """Where the page will be: a port that was chosen has to be free; otherwise any free one will do."""
    if up.app is not None:  # the page shows streamers, and those are livectl's own app's
        return None
    web = settings.web
    if _is_free(web.host, web.port):
        return web.port or _any_free(web.host)
    if settings.sources["web.port"] != config.DEFAULT:
        raise UsageError(f"port {web.port} on {web.host} is in use", "Choose another with `web: {port: …}`.")
    return _any_free(web.host)


def _is_free(host: str, port: int) -> bool:
    with _listener(host) as probe:
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return False
    return True


def _any_free(host: str) -> int:
    with _listener(host) as probe:
        probe.bind((host.strip("[]"), 0))
        return int(probe.getsockname()[1])


def _listener(host: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener


def whereabouts(
    up: Up, place: Place, settings: Settings, server: Server | None, *, page: int | None, pid: int
) -> Whereabouts:
    """Raises what would only come up once all is running: no store, a server that is away, a mistake in a file."""
    if settings.sources["schedules"] != config.DEFAULT or settings.schedules.exists():
        schedulefile.load(settings.schedules, name=_short(settings.schedules, place.cwd))
    broker, store = _servers(up, settings, server)
    return Whereabouts(
        pid=pid,
        home=str(settings.home),
        broker=broker,
        store=store,
        data=str(server.home / "data") if server else None,
        log=str(server.log) if server else None,
        schedules=str(settings.schedules) if settings.schedules.exists() else None,
        page=f"http://{settings.web.host}:{page}/" if page else None,
        worker=node(up, place),
        pool=up.pool,
    )


def _servers(up: Up, settings: Settings, server: Server | None) -> tuple[str, str]:
    """Broker and store, as people may see them. One that is set and away is said now, not line after line."""
    if settings.store:
        _reach("store", settings.store)
    if server or up.app:
        broker = f"unix://{server.socket}?db=0" if server else f"as {up.app} names it"
        return broker, settings.store.masked if settings.store else broker
    named = addresses(settings)
    _reach("broker", named.broker)
    return named.broker.masked, named.store.masked


def _reach(part: str, address: Address) -> None:
    found = health.server(part, address)
    if not found.healthy:
        raise ServerError(found.reason, f"Start it, or mend `{part}:`; without `broker:` livectl brings one along.")


def children(
    up: Up,
    place: Place,
    settings: Settings,
    server: Server | None,
    complain: Callable[[str], None],
    *,
    page: int | None,
) -> list[Child]:
    """In the order in which they start."""
    signs = Signs(lambda: deployment.find(up.app, settings, place.cwd), place.host, complain)
    first = [_broker(server)] if server else []
    shown = [_page(up, place, settings.web.host, page)] if page else []
    return [*first, *shown, _worker(up, place, signs), _beat(up, place, signs)]


def _broker(server: Server) -> Child:
    return Child(
        name="broker",
        start=server.launch,
        ready=server.ready,
        pulse=lambda _: server.answers(),
        mend=server.mend,
        grace=BROKER_SECONDS,
    )


def _worker(up: Up, place: Place, signs: Signs) -> Child:
    words = WorkerWords(
        app=up.app,
        pool=up.pool,
        concurrency=up.concurrency,
        queues=up.queues,
        name=node(up, place),
        loglevel=up.loglevel,
    )
    argv = argv_for_quitting(launch.worker_command(words, processors=place.processors, process=0))
    environ = launch.environment(place.environ, up.config)
    return Child(
        name="worker",
        start=lambda: spawn(argv, environ),
        pulse=None if up.pool == "solo" else lambda _: signs.worker(node(up, place)),  # solo is deaf while it works
        quits=up.pool in QUITTING,
        if_killed=IF_KILLED,
    )


def _beat(up: Up, place: Place, signs: Signs) -> Child:
    argv = launch.beat_command(up.app, loglevel=up.loglevel, schedule=None)
    environ = launch.environment(place.environ, up.config)
    return Child(name="beat", start=lambda: spawn(argv, environ), pulse=signs.beat, grace=BEAT_SECONDS)


def _page(up: Up, place: Place, host: str, port: int) -> Child:
    argv = [sys.executable, "-m", "livectl", "--quiet", "web", "--port", str(port)]
    environ = launch.environment(place.environ, up.config)

    def answers(_: int) -> bool:
        with closing(HTTPConnection(host.strip("[]"), port, timeout=PAGE_ANSWERS_WITHIN)) as visit:
            try:
                visit.request("GET", "/healthz")
                visit.getresponse()  # whatever it says: one that tells of a store in trouble works
            except (OSError, HTTPException):
                return False
        return True

    return Child(name="page", start=lambda: spawn(argv, environ), pulse=answers, grace=PAGE_SECONDS)


def _short(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
