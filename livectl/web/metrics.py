"""Numbers for Prometheus, reckoned from the store when they are asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from livectl.errors import ServerError
from livectl.live.store import Store
from livectl.model import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric
    from redis import Redis

    from livectl.web.site import Site
    from livectl.web.wall import Wall

# seconds from a go-live until it was noticed: from the fastest look to well past the slowest
DELAYS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
CHANGES = 1000  # read in one call
FIRST = "0"
MILLISECONDS = 1000


class Measures:
    """All metrics of one page, in a registry of their own: an app that mounts the page keeps its own clean."""

    def __init__(self, site: Site) -> None:
        self._registry = CollectorRegistry()
        self._delays = Delays(site, self._registry)
        self._registry.register(Collector(site))

    def written(self, accepted: str) -> tuple[bytes, str]:
        self._delays.catch_up()
        encode, kind = choose_encoder(accepted)
        return encode(self._registry), kind


class Delays:
    """The histogram of how late go-lives were noticed: each change in the outbox is counted once by this process."""

    def __init__(self, site: Site, registry: CollectorRegistry) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._after = FIRST
        self._seconds = Histogram(
            "livectl_detection_seconds",
            "Seconds from a go-live to its detection",
            ["platform"],
            buckets=DELAYS,
            registry=registry,
        )

    def catch_up(self) -> None:
        try:
            with self._lock:
                while self._count_some() == CHANGES:
                    pass
        except ServerError:
            return  # livectl_store_up says so

    def _count_some(self) -> int:
        changes = self._site.source.read(lambda client: Store(client).changes(self._after, CHANGES))
        for one in changes:
            if one.kind == "began" and not one.quiet and one.started_at is not None:
                self._seconds.labels(one.platform).observe(max(0.0, one.at - one.started_at))
            self._after = one.number
        return len(changes)


class Collector:
    """Everything that is true now, however often it is asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterator[Metric]:
        try:
            wall = self._site.wall.get()
        except ServerError:
            yield GaugeMetricFamily("livectl_store_up", "Whether the store answers", 0)
            return
        yield GaugeMetricFamily("livectl_store_up", "Whether the store answers", 1)
        yield from _streamers(wall)
        yield from self._platforms(wall)
        yield from self._outbox()
        yield from self._alerts()
        yield from self._jobs()
        yield from self._beats()

    def _platforms(self, wall: Wall) -> Iterator[Metric]:
        now = self._site.clock()
        checks = CounterMetricFamily("livectl_checks", "Answers by what they said", labels=["platform", "outcome"])
        gauges = {
            "livectl_due": "Streamers whose time to be asked about has come",
            "livectl_claimed": "Streamers being asked about",
            "livectl_budget_left": "Requests that the platform bears right now",
            "livectl_circuit_open": "Whether the platform is left alone because it blocks",
            "livectl_circuit_step": "How many blocks in a row opened the circuit",
            "livectl_asked_to_wait": "Whether the platform asked to be left alone",
            "livectl_keys_refused": "Whether the platform refuses its keys",
            "livectl_parser_broken": "Whether most answers have an unknown shape",
        }
        made = {name: GaugeMetricFamily(name, said, labels=["platform"]) for name, said in gauges.items()}
        for one in wall.health:
            for outcome, count in sorted(one.answers.items()):
                checks.add_metric([one.platform, outcome], count)
            values = {
                "livectl_due": one.due,
                "livectl_claimed": one.claimed,
                "livectl_budget_left": one.tokens,
                "livectl_circuit_open": one.step > 0,
                "livectl_circuit_step": one.step,
                "livectl_asked_to_wait": one.wait_until is not None and one.wait_until > now,
                "livectl_keys_refused": one.auth_since is not None,
                "livectl_parser_broken": one.parser_broken is not None,
            }
            for name, value in values.items():
                if value is not None:
                    made[name].add_metric([one.platform], float(value))
        yield checks
        yield from made.values()

    def _outbox(self) -> Iterator[Metric]:
        """Only the first is read, not all: its number is the time it joined, in milliseconds."""
        size, first = self._site.source.read(_outbox)
        yield GaugeMetricFamily("livectl_outbox_changes", "Changes kept in the outbox", size)
        age = max(0.0, self._site.clock() - first) if first is not None else 0.0
        yield GaugeMetricFamily("livectl_outbox_oldest_seconds", "Age of the first change in the outbox", age)

    def _alerts(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("livectl_alerts_waiting", "Changes that a target was not told", labels=["target"])
        failing = GaugeMetricFamily("livectl_alerts_failing", "Whether a target takes nothing", labels=["target"])
        for one in self._site.alerts.get():
            waiting.add_metric([one["name"]], one["backlog"])
            failing.add_metric([one["name"]], float(one["failing_since"] is not None))
        yield waiting
        yield failing

    def _jobs(self) -> Iterator[Metric]:
        """What is not known is not there, rather than nought."""
        found = self._site.jobs.get()
        if crew := found.workers.found:
            yield GaugeMetricFamily("livectl_workers", "Workers that answer", len(crew.found))
            yield GaugeMetricFamily("livectl_workers_silent", "Workers that heard and did not answer", crew.silent)
            up = GaugeMetricFamily("livectl_worker_up", "Workers that answer, by name", labels=["worker"])
            for worker in crew.found:
                up.add_metric([worker.name], 1)
            yield up
        if depths := found.queues.found:
            depth = GaugeMetricFamily("livectl_queue_depth", "Messages by queue", labels=["queue", "kind"])
            oldest = GaugeMetricFamily("livectl_queue_oldest_seconds", "Age of the next message", labels=["queue"])
            for queue in depths.queues:
                for kind, count in (("ready", queue.ready), ("unacked", queue.unacked), ("eta", queue.eta)):
                    if count is not None:
                        depth.add_metric([queue.name, kind], count)
                if queue.oldest is not None:
                    oldest.add_metric([queue.name], queue.oldest)
            yield depth
            yield oldest
        if found.dead.found is not None:
            yield GaugeMetricFamily("livectl_dead_letters", "Dead letters", len(found.dead.found))

    def _beats(self) -> Iterator[Metric]:
        found = self._site.timetable.get()
        yield GaugeMetricFamily("livectl_beats", "Beats that looked in within the last minute", found.beats)
        if found.looked_in is not None:
            lag = max(0.0, self._site.clock() - found.looked_in)
            yield GaugeMetricFamily("livectl_beat_lag_seconds", "Seconds since a beat last looked in", lag)


def _outbox(client: Redis) -> tuple[int, float | None]:
    size: Any = client.xlen("livectl:outbox")
    first = Store(client).changes(most=1)
    return size, int(first[0].number.partition("-")[0]) / MILLISECONDS if first else None


def _streamers(wall: Wall) -> Iterator[Metric]:
    everyone = (*wall.live, *wall.others)
    states: dict[tuple[str, str], int] = {}
    troubles: dict[tuple[str, str], int] = {}
    for one in everyone:
        state = one.platform, str(one.state or State.UNKNOWN)
        states[state] = states.get(state, 0) + 1
        if one.trouble:
            trouble = one.platform, str(one.trouble)
            troubles[trouble] = troubles.get(trouble, 0) + 1
    yield _counted("livectl_streamers", "Streamers by last state", "state", states)
    yield _counted("livectl_streamers_troubled", "Streamers that could not be read", "trouble", troubles)


def _counted(name: str, said: str, label: str, counts: dict[tuple[str, str], int]) -> Metric:
    family = GaugeMetricFamily(name, said, labels=["platform", label])
    for labels, count in sorted(counts.items()):
        family.add_metric(list(labels), count)
    return family
