"""Computes the metrics for Prometheus out of the store, whenever they are asked for."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from livectl.errors import LivectlError, ServerError
from livectl.live.store import Store
from livectl.live.store_pages import Tally
from livectl.models import JobState, State
from livectl.ops.jobs import history
from livectl.ops.jobs.numbers import read_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import Metric

    from livectl.ops.limits.slots import LimitState
    from livectl.web.data import PageData
    from livectl.web.streamer_list import StreamerList

# from a go-live until it was noticed: from the fastest look to well past the slowest
DELAY_BUCKETS_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
MAX_CHANGES_PER_READ = 1000
OUTBOX_START = "0"
# Of these each platform has a count, and be it 0: what is absent raises no alarm.
LAST_STATES = (State.LIVE, State.OFFLINE, State.REPLAY, State.UNKNOWN)


JOB_OUTCOMES = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.RETRYING: "retried",
    JobState.REVOKED: "revoked",
    history.DEAD: "dead",
}


class Metrics:
    """All metrics, in a registry of their own: the registry of an app that mounts the page stays as it is."""

    def __init__(self, page_data: PageData) -> None:
        self._registry = CollectorRegistry()
        self._delays = DetectionDelays(page_data, self._registry)
        self._registry.register(StateCollector(page_data))

    def render(self, accept_header: str) -> tuple[bytes, str]:
        self._delays.count_new_changes()
        encode, content_type = choose_encoder(accept_header)
        return encode(self._registry), content_type


MAX_LIMITS_TOLD = 200


def _limit_metrics(states: Sequence[LimitState]) -> Iterator[Metric]:
    """By the name of the entry alone: there may be any number of partitions."""
    running = GaugeMetricFamily("livectl_limit_running", "Jobs that have a slot, by limit", labels=["limit"])
    waiting = GaugeMetricFamily("livectl_limit_waiting", "Jobs that wait for a slot, by limit", labels=["limit"])
    for name in sorted({state.limit for state in states})[:MAX_LIMITS_TOLD]:
        running.add_metric([name], sum(state.running for state in states if state.limit == name))
        waiting.add_metric([name], sum(state.waiting for state in states if state.limit == name))
    yield running
    yield waiting


class DetectionDelays:
    """Counts how late go-lives were noticed. This process counts each change of the outbox once."""

    def __init__(self, page_data: PageData, registry: CollectorRegistry) -> None:
        self._page_data = page_data
        self._lock = threading.Lock()
        self._after = OUTBOX_START
        self._seconds = Histogram(
            "livectl_detection_seconds",
            "Seconds from a go-live to its detection",
            ["platform"],
            buckets=DELAY_BUCKETS_S,
            registry=registry,
        )

    def count_new_changes(self) -> None:
        try:
            with self._lock:
                while self._count_batch() == MAX_CHANGES_PER_READ:
                    pass
        except ServerError:
            return  # livectl_store_up says so

    def _count_batch(self) -> int:
        changes = self._page_data.source.read(lambda client: Store(client).changes(self._after, MAX_CHANGES_PER_READ))
        for change in changes:
            if change.kind == "began" and not change.earlier and not change.quiet and change.started_at is not None:
                self._seconds.labels(change.platform).observe(max(0.0, change.at - change.started_at))
            self._after = change.number
        return len(changes)


class StateCollector:
    """Measures the state of the store at each scrape."""

    def __init__(self, page_data: PageData) -> None:
        self._page_data = page_data

    def collect(self) -> Iterator[Metric]:
        try:
            streamers = self._page_data.streamers.get()
        except ServerError:
            yield GaugeMetricFamily("livectl_store_up", "Whether the store answers", 0)
            return
        yield GaugeMetricFamily("livectl_store_up", "Whether the store answers", 1)
        yield from _streamer_metrics(self._page_data.tally.get() if streamers.is_part else tally_of(streamers))
        yield from self._platforms(streamers)
        yield from self._outbox()
        yield from self._alerts()
        yield from self._jobs()
        yield from self._numbers()
        yield from self._beats()

    def _platforms(self, streamers: StreamerList) -> Iterator[Metric]:
        now = self._page_data.clock()
        checks = CounterMetricFamily("livectl_checks", "Answers by what they said", labels=["platform", "outcome"])
        gauges = {
            "livectl_due": "Streamers whose time to be asked about has come",
            "livectl_claimed": "Streamers being asked about",
            "livectl_budget_left": "Requests that the platform bears right now",
            "livectl_circuit_open": "Whether the platform is left alone because it blocks",
            "livectl_circuit_step": "How many blocks in a row opened the circuit",
            "livectl_asked_to_wait": "Whether the platform asked to be left alone",
            "livectl_keys_refused": "Whether the platform refuses its keys",
            "livectl_unreached": "Whether no request reaches the platform",
            "livectl_parser_broken": "Whether most answers have an unknown shape",
        }
        families = {
            name: GaugeMetricFamily(name, documentation, labels=["platform"]) for name, documentation in gauges.items()
        }
        for health in streamers.health:
            for outcome, count in sorted(health.answers.items()):
                checks.add_metric([health.platform, outcome], count)
            values = {
                "livectl_due": health.due,
                "livectl_claimed": health.claimed,
                "livectl_budget_left": health.tokens,
                "livectl_circuit_open": any(way.step > 0 for way in health.ways),
                "livectl_circuit_step": max(way.step for way in health.ways),
                "livectl_asked_to_wait": any((way.wait_until or 0.0) > now for way in health.ways),
                "livectl_keys_refused": any(way.auth_since is not None for way in health.ways),
                "livectl_unreached": any(way.unreached is not None for way in health.ways),
                "livectl_parser_broken": any(way.parser_broken is not None for way in health.ways),
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric([health.platform], float(value))
        yield checks
        yield from families.values()

    def _outbox(self) -> Iterator[Metric]:
        size, first_at = self._page_data.source.read(lambda client: Store(client).outbox_size())
        yield GaugeMetricFamily("livectl_outbox_changes", "Changes kept in the outbox", size)
        age = max(0.0, self._page_data.clock() - first_at) if first_at is not None else 0.0
        yield GaugeMetricFamily("livectl_outbox_oldest_seconds", "Age of the first change in the outbox", age)

    def _alerts(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("livectl_alerts_waiting", "Changes that a target was not told", labels=["target"])
        failing = GaugeMetricFamily("livectl_alerts_failing", "Whether a target takes nothing", labels=["target"])
        for status in self._page_data.targets.get():
            waiting.add_metric([status.name], status.backlog)
            failing.add_metric([status.name], float(status.state.troubled_since is not None))
        yield waiting
        yield failing

    def _jobs(self) -> Iterator[Metric]:
        """What cannot be known has no metric, rather than one of zero."""
        snapshot = self._page_data.jobs.get()
        if workers := snapshot.workers.value:
            yield GaugeMetricFamily("livectl_workers", "Workers that answer", len(workers.found))
            yield GaugeMetricFamily("livectl_workers_silent", "Workers that heard and did not answer", workers.silent)
            up = GaugeMetricFamily("livectl_worker_up", "Workers that answer, by name", labels=["worker"])
            for worker in workers.found:
                up.add_metric([worker.name], 1)
            yield up
        if queue_depths := snapshot.queues.value:
            depth = GaugeMetricFamily("livectl_queue_depth", "Messages by queue", labels=["queue", "kind"])
            oldest = GaugeMetricFamily("livectl_queue_oldest_seconds", "Age of the next message", labels=["queue"])
            for queue in queue_depths.queues:
                for kind, count in (("ready", queue.ready), ("unacked", queue.unacked), ("eta", queue.eta)):
                    if count is not None:
                        depth.add_metric([queue.name, kind], count)
                age = queue.oldest if queue.ready else 0.0  # of an empty queue there is no age to wait for
                if age is not None:
                    oldest.add_metric([queue.name], age)
            yield depth
            yield oldest
            yield from _limit_metrics(queue_depths.limits)
        if snapshot.dead.value is not None:
            dead_letters = len(snapshot.dead.value) + snapshot.dead.left_out
            yield GaugeMetricFamily("livectl_dead_letters", "Dead letters", dead_letters)

    def _numbers(self) -> Iterator[Metric]:
        """What workers and beats have counted in the store, for the app of this page."""
        try:
            series = self._page_data.source.read_deployment(
                lambda deployment, _: read_series(deployment, deployment.app_name)
            )
        except LivectlError:
            return  # a store of the app that is away: the rest is told
        labels = ["task", "queue"]
        started = CounterMetricFamily("livectl_jobs_started", "Jobs that began, each try", labels=labels)
        ended = CounterMetricFamily("livectl_jobs_ended", "Tries that ended, by outcome", labels=[*labels, "outcome"])
        wait = HistogramMetricFamily("livectl_job_wait_seconds", "Seconds in a queue, after any ETA", labels=labels)
        ran = HistogramMetricFamily("livectl_job_run_seconds", "Seconds that a try took", labels=labels)
        for one in series["job"]:
            names = [one.first, one.second]
            started.add_metric(names, one.fields.get("started", 0))
            for state, outcome in JOB_OUTCOMES.items():
                ended.add_metric([*names, outcome], one.fields.get(state, 0))
            wait.add_metric(names, one.buckets("wait"), one.seconds("wait"))
            ran.add_metric(names, one.buckets("ran"), one.seconds("ran"))
        yield from (started, ended, wait, ran)
        late = HistogramMetricFamily("livectl_schedule_late_seconds", "Seconds from due to sent", labels=["schedule"])
        missed = CounterMetricFamily("livectl_schedule_missed", "Runs that no beat sent", labels=["schedule"])
        for one in series["run"]:
            late.add_metric([one.first], one.buckets("late"), one.seconds("late"))
            missed.add_metric([one.first], one.fields.get("missed", 0))
        yield from (late, missed)

    def _beats(self) -> Iterator[Metric]:
        beat_schedule = self._page_data.beat_schedule.get()
        yield GaugeMetricFamily("livectl_beats", "Beats that looked in within the last minute", beat_schedule.beats)
        if beat_schedule.heartbeat_at is not None:
            lag = max(0.0, self._page_data.clock() - beat_schedule.heartbeat_at)
            yield GaugeMetricFamily("livectl_beat_lag_seconds", "Seconds since a beat last looked in", lag)


def tally_of(streamers: StreamerList) -> Tally:
    """What the store counts of many."""
    everyone = (*streamers.live, *streamers.others)
    states = Counter((record.platform, record.state) for record in everyone)
    troubles = Counter((record.platform, record.trouble) for record in everyone if record.trouble)
    return Tally(states, troubles, sum(record.unresolved for record in everyone))


def _streamer_metrics(tally: Tally) -> Iterator[Metric]:
    states = {(platform, str(state)): 0 for platform, _ in tally.states for state in LAST_STATES}
    for (platform, state), count in tally.states.items():
        key = platform, str(state or State.UNKNOWN)
        states[key] = states.get(key, 0) + count
    troubles = {(platform, str(trouble)): count for (platform, trouble), count in tally.troubles.items()}
    yield _gauge_by_platform("livectl_streamers", "Streamers by last state", "state", states)
    yield _gauge_by_platform("livectl_streamers_troubled", "Streamers that could not be read", "trouble", troubles)
    yield GaugeMetricFamily("livectl_streamers_unresolved", "Lines of the follow list that lead to nobody", tally.lines)


def _gauge_by_platform(name: str, documentation: str, label: str, counts: dict[tuple[str, str], int]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=["platform", label])
    for labels, count in sorted(counts.items()):
        family.add_metric(list(labels), count)
    return family
