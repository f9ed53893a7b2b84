"""Probes a worker, a beat, the broker or the store for systemd, Docker and Kubernetes, and for `up` itself.

It imports neither the app nor Celery nor redis-py: a probe runs every few seconds, beside every worker.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl import redis_client, server_check
from livectl.errors import LivectlError, ServerError
from livectl.ops import deployment as deployments
from livectl.ops.beat import heartbeats
from livectl.ops.cluster import broadcast
from livectl.ops.deployment import Deployment
from livectl.ops.processes.launch import full_node_name
from livectl.ops.protocol import remote_control
from livectl.ops.protocol.remote_control import REPLY_TIMEOUT_S, ControlCommand
from livectl.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from livectl.address import Address
    from livectl.ops.protocol.keys import KeyLayout
    from livectl.ops.protocol.remote_control import ControlReplies
    from livectl.redis_client import RedisConnection


HEALTHY, UNHEALTHY, CANNOT_TELL = 0, 1, 2

STUCK_AFTER_S = 1.0  # an idle worker takes a message within milliseconds: after so long it does not
MAX_BEAT_LAG_S = 30.0  # a beat looks in each second; a restart may take some
WORKER_REPLY_SECONDS = 5.0  # for a worker on a busy machine to answer
BEAT_SILENCE_SECONDS = 5.0  # a beat looks in each second; `up` waits some time more before it restarts it
NO_REMOTE_CONTROL = "its app sets worker_enable_remote_control to False"


class ProbeResult(msgspec.Struct, frozen=True):
    """The answer of a probe. `healthy` is None where the probe cannot tell."""

    what: str
    healthy: bool | None
    reason: str

    @property
    def label(self) -> str:
        return "cannot tell" if self.healthy is None else "healthy" if self.healthy else "not healthy"

    @property
    def exit_code(self) -> int:
        return CANNOT_TELL if self.healthy is None else HEALTHY if self.healthy else UNHEALTHY


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What to probe, and how strictly."""

    part: Literal["worker", "beat", "broker", "store"]
    host: str
    name: str | None = None
    timeout: float = REPLY_TIMEOUT_S
    max_lag: float = MAX_BEAT_LAG_S
    broker_down: Literal["ok", "fail"] | None = None
    task_prefix: str = ""  # of the app's tasks: on a shared broker, workers of other apps answer too
    job_targets: tuple[str, ...] = ()  # of alerts, which hear of runs from beats alone


def run_probe(probe: Probe, broker: Address | None, store: Address | None, layout: KeyLayout) -> ProbeResult:
    """Runs the probe. Whatever is broken, this returns an answer and does not raise."""
    if probe.part in {"broker", "store"}:
        return probe_server(probe.part, broker if probe.part == "broker" else store)
    address = broker if probe.part == "worker" else store
    if address is None:
        return _cannot_tell(probe.part, "the address is not one that livectl can ask at")
    try:
        if probe.part == "beat":
            return _probe_beat(address, probe)
        return _probe_worker(Deployment(broker=address, results=None, store=None, layout=layout), probe)
    except ServerError as error:
        return unreachable(probe, str(error))


def probe_worker_through_celery(probe: Probe, loaded: Deployment) -> ProbeResult:
    """Asks a worker by the app itself, where livectl cannot ask the broker: behind Sentinel, for one."""
    try:
        return _probe_worker(loaded, probe)
    except ServerError as error:
        return unreachable(probe, str(error))


def probe_silent_worker(probe: Probe, asked: Deployment, loaded: Deployment) -> ProbeResult | None:
    """Looks again at a worker that did not answer, now that its app is loaded. None when that tells nothing new."""
    if not loaded.remote_control:
        return _cannot_tell(probe.part, NO_REMOTE_CONTROL)
    is_same = (asked.layout.takes_json, asked.layout.serializer) == (loaded.layout.takes_json, loaded.layout.serializer)
    return None if is_same else run_probe(probe, asked.broker, asked.store, loaded.layout)


def unreachable(probe: Probe, reason: str) -> ProbeResult:
    """The answer when nobody can be asked. With `broker_down="ok"` a worker is healthy while its broker is away."""
    if probe.part in {"broker", "store"}:
        return _unhealthy(probe.part, reason)
    return ProbeResult(
        probe.part, {"ok": True, "fail": False, None: None}[probe.broker_down], f"cannot be asked: {reason}"
    )


def probe_server(part: str, address: Address | None, timeout_s: float = redis_client.SERVER_TIMEOUT_S) -> ProbeResult:
    """Whether a broker or store lets livectl in and accepts writes."""
    if address is None:
        return _cannot_tell(part, "its address is not one that livectl can probe")
    try:
        server_check.check_server(address, timeout_s)
    except ServerError as error:
        return _unhealthy(part, error.message)
    return _healthy(part, f"{address.masked} answers and takes what is written")


def _probe_worker(deployment: Deployment, probe: Probe) -> ProbeResult:
    """Whether a worker answers, and takes messages if there are some. Without a name, the workers of this host."""
    host, seconds = probe.host, probe.timeout
    destination = (full_node_name(probe.name, host),) if probe.name else None
    layout = deployment.layout
    with broadcast.connect(deployment, seconds + redis_client.SERVER_TIMEOUT_S) as connection:
        query = _WorkerQuery(deployment, connection, destination)
        replies = query.ask("active_queues", seconds)
        queues_by_worker = {
            node: remote_control.queue_names(reply)
            for node, reply in replies.by_worker.items()
            if destination or node.endswith(f"@{host}")
        }
        if not destination:
            queues_by_worker = _leave_out_strangers(queues_by_worker, query, layout, probe)
        if not queues_by_worker:
            return _no_reply(replies, destination, host)
        if unread := [node for node, queues in queues_by_worker.items() if not queues]:
            return _unhealthy("worker", f"{unread[0]} answers and reads no queue")
        if connection is None:  # looking into the queues of another broker takes too long for a probe
            return _healthy("worker", _answering(queues_by_worker))
        return _probe_consuming(connection, layout, query, queues_by_worker)


def _leave_out_strangers(
    queues_by_worker: dict[str, tuple[str, ...]], query: _WorkerQuery, layout: KeyLayout, probe: Probe
) -> dict[str, tuple[str, ...]]:
    """Without workers that neither read a queue of the app nor have a task of it, where the app's tasks are known."""
    others = [node for node, queues in queues_by_worker.items() if not set(queues) & set(layout.queues)]
    if not probe.task_prefix or not others:
        return queues_by_worker
    replies = query.ask("registered", probe.timeout).by_worker
    strangers = {
        node
        for node in others
        if not any(task.startswith(probe.task_prefix) for task in remote_control.task_names(replies.get(node)))
    }
    return {node: queues for node, queues in queues_by_worker.items() if node not in strangers}


def _probe_beat(address: Address, probe: Probe) -> ProbeResult:
    """Whether a beat looked in lately, and sends what it claims. Without a name, the beats of this host."""
    from livectl.ops.beat import heartbeats

    name, host = probe.name, probe.host
    with redis_client.connect(address) as connection:
        activity = heartbeats.read_activity(connection)
    ages = {
        beat: activity.age_s(heartbeat)
        for beat, heartbeat in activity.heartbeats.items()
        if name == beat or (not name and heartbeat.host == host)
    }
    if not ages:
        hosts = ", ".join(sorted({heartbeat.host for heartbeat in activity.heartbeats.values()}))
        unwatched = f"; nobody watches for alerts: {', '.join(probe.job_targets)}" if probe.job_targets else ""
        elsewhere = f"; there is one on {hosts}" if hosts else unwatched
        return _unhealthy("beat", f"no beat {name or f'on {host}'} has looked in{elsewhere}")
    beat, age = min(ages.items(), key=lambda item: item[1])
    if age > probe.max_lag:
        return _unhealthy("beat", f"{beat} looked in {age:.0f} s ago for the last time")
    if claim := activity.unsent_claim:
        return _unhealthy("beat", f"a run is due and has not been sent: {claim.member}")
    return _healthy("beat", f"{beat} looked in {max(0.0, age):.0f} s ago")


class _WorkerQuery:
    """Asks the same workers several things, one after the other."""

    def __init__(
        self, deployment: Deployment, connection: RedisConnection | None, destination: tuple[str, ...] | None
    ) -> None:
        self._deployment, self._connection, self._destination = deployment, connection, destination

    def ask(self, method: str, seconds: float) -> ControlReplies:
        command = ControlCommand(method=method, destination=self._destination)
        return broadcast.ask(self._deployment, self._connection, command, seconds)


def _no_reply(replies: ControlReplies, destination: tuple[str, ...] | None, host: str) -> ProbeResult:
    subject = destination[0] if destination else f"no worker on {host}"
    others_text = f"; {', '.join(sorted(replies.by_worker))} did" if replies.by_worker and not destination else ""
    silent_text = f"; {replies.silent} heard the question and did not" if replies.silent and not destination else ""
    return _unhealthy(
        "worker", f"{subject} {'did not answer' if destination else 'answered'}{others_text}{silent_text}"
    )


def _answering(workers: Collection[str], besides: str = "") -> str:
    """That they answer, and what they do besides: a verb that takes an s where it is one worker."""
    ending = "s" if len(workers) == 1 else ""
    more = f" and {besides.replace(' ', f'{ending} ', 1)}" if besides else ""
    return f"{', '.join(sorted(workers))} answer{ending}{more}"


def _probe_consuming(
    connection: RedisConnection, layout: KeyLayout, query: _WorkerQuery, queues_by_worker: Mapping[str, Sequence[str]]
) -> ProbeResult:
    """Whether messages move: a worker that answers and has nothing to do takes a message that waits."""
    keys = [key for queues in queues_by_worker.values() for queue in queues for key in layout.list_keys(queue)]
    before = _next_messages(connection, keys)
    if not any(before) or _is_busy(query, queues_by_worker):
        return _healthy("worker", _answering(queues_by_worker))
    time.sleep(STUCK_AFTER_S)
    after = _next_messages(connection, keys)
    stuck = [key for key, earlier, later in zip(keys, before, after, strict=True) if earlier and earlier == later]
    if not stuck or len(stuck) < sum(map(bool, before)) or _is_busy(query, queues_by_worker):
        return _healthy("worker", _answering(queues_by_worker, "take messages"))
    queue = layout.queue_of_list(stuck[0])
    return _unhealthy("worker", f"{_answering(queues_by_worker, f'take nothing from {queue}')}, with nothing to do")


def _next_messages(connection: RedisConnection, keys: Sequence[str]) -> list[Any]:
    """The next message of each list, to see whether it stays the same."""
    return [
        last if isinstance(last, bytes) else None
        for last in connection.execute_all([("LINDEX", key, -1) for key in keys])
    ]


def _is_busy(query: _WorkerQuery, queues_by_worker: Mapping[str, Sequence[str]]) -> bool:
    """Whether one of the workers runs a job or has reserved one."""
    for method in ("active", "reserved"):
        replies = query.ask(method, REPLY_TIMEOUT_S).by_worker
        if any(replies.get(node) for node in queues_by_worker):
            return True
    return False


def _healthy(part: str, reason: str) -> ProbeResult:
    return ProbeResult(part, healthy=True, reason=reason)


def _unhealthy(part: str, reason: str) -> ProbeResult:
    return ProbeResult(part, healthy=False, reason=reason)


def _cannot_tell(part: str, reason: str) -> ProbeResult:
    return ProbeResult(part, healthy=None, reason=reason)


class LivenessProbe:
    """Checks a worker and a beat. It finds the deployment on first need, because that may load the user's app.

    `problem` says why the last check could not tell.
    """

    def __init__(self, find_deployment: Callable[[], Deployment], host: str, warn: Callable[[str], None]) -> None:
        self._find_deployment = find_deployment
        self._host = host
        self._warn = warn
        self.problem = ""
        self._deployment: Deployment | None = None
        self._load_failed = False
        self._lock = threading.Lock()

    def can_ask_workers(self) -> bool:
        """Whether workers answer at all; an app that cannot be looked at yet counts as usual."""
        target = self._load_deployment()
        return target is None or target.remote_control

    def is_worker_alive(self, node: str) -> bool | None:
        """Whether the worker of this name answers; None where nobody can tell."""
        target = self._load_deployment()
        if target is None:
            return None
        if not target.remote_control:
            self.problem = NO_REMOTE_CONTROL
            return None
        try:
            return node in self._ask_worker(target, node).by_worker
        except Exception as error:  # kombu lets through whatever its transports raise
            self.problem = redact_text(str(error))
            return None

    def _ask_worker(self, target: Deployment, node: str) -> ControlReplies:
        ping = ControlCommand(method="ping", destination=(node,))
        with broadcast.connect(target, WORKER_REPLY_SECONDS + redis_client.SERVER_TIMEOUT_S) as connection:
            return broadcast.ask(target, connection, ping, WORKER_REPLY_SECONDS)

    def is_beat_alive(self, leader: int) -> bool | None:
        """Whether a beat in the session of this leader looked in lately; None where nobody can tell."""
        target = self._load_deployment()
        if target is None or target.store is None:
            return None
        try:
            # A full disk keeps a beat from writing that it looked in.
            with redis_client.connect(target.store, reads_suffice=False) as connection:
                activity = heartbeats.read_activity(connection)
        except ServerError as error:
            self.problem = error.message
            return None
        return any(
            activity.age_s(heartbeat) < BEAT_SILENCE_SECONDS
            and heartbeat.host == self._host
            and _session_leader(heartbeat.pid) == leader
            for heartbeat in activity.heartbeats.values()
        )

    def _load_deployment(self) -> Deployment | None:
        with self._lock:
            if self._deployment is None and not self._load_failed:
                try:
                    self._deployment = deployments.keep_client(self._find_deployment())
                except ServerError as error:  # not started yet, or away
                    self.problem = error.message
                    return None
                except LivectlError as error:
                    self._load_failed, self.problem = True, error.message
                    self._warn(f"whether worker and beat work cannot be seen, only that they run: {error.message}")
            return self._deployment


def _session_leader(pid: int) -> int | None:
    """The process that leads the session: the child that `up` started, however many processes lie between."""
    try:
        return os.getsid(pid)
    except OSError:
        return None
