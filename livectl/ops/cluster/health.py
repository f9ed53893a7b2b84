"""Probes for systemd, Docker and Kubernetes: whether a worker, a beat, the broker or the store does its work.

Nothing of the app, of Celery or of redis-py is imported here: a probe runs every few seconds, beside every worker.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl import connect, resp
from livectl.errors import ServerError
from livectl.ops.cluster import pidbox
from livectl.ops.cluster.pidbox import Question
from livectl.resp import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address
    from livectl.ops.cluster.layout import Layout
    from livectl.resp import Wire

HEALTHY, UNHEALTHY, CANNOT_TELL = 0, 1, 2

STILL_SECONDS = 1.0  # an idle worker takes a message within milliseconds: what lies still for so long is not taken
MAX_LAG = 30.0  # seconds; a beat looks in each second, and one that starts anew may take some
LATE_CLAIM = 10.0  # seconds; another beat takes over an unsent run after 3.5
PROBE_KEY = "livectl:probe"
PROBE_MILLISECONDS = 1000


class Health(msgspec.Struct, frozen=True):
    """The answer of a probe. `healthy` is None where it cannot be told."""

    what: str
    healthy: bool | None
    reason: str

    @property
    def word(self) -> str:
        return "cannot tell" if self.healthy is None else "healthy" if self.healthy else "not healthy"

    @property
    def code(self) -> int:
        return CANNOT_TELL if self.healthy is None else HEALTHY if self.healthy else UNHEALTHY


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be looked at, and how strictly."""

    part: Literal["worker", "beat", "broker", "store"]
    host: str
    name: str | None = None
    timeout: float = pidbox.ANSWER_SECONDS
    max_lag: float = MAX_LAG
    broker_down: Literal["ok", "fail"] | None = None


def examine(probe: Probe, broker: Address | None, store: Address | None, layout: Layout) -> Health:
    """The answer, whatever is broken: a probe does not fail, it tells."""
    if probe.part in {"broker", "store"}:
        return server(probe.part, broker if probe.part == "broker" else store)
    address = broker if probe.part == "worker" else store
    if address is None:
        return unclear(probe.part, "the address is not one that livectl can ask at")
    try:
        if probe.part == "beat":
            return beat(address, probe.name, probe.host, probe.max_lag)
        return worker(address, layout, probe.name, probe.host, probe.timeout)
    except ServerError as error:
        return away(probe, str(error))


def away(probe: Probe, why: str) -> Health:
    """What is said when nobody can be asked: a broker's fault is none of its workers, if one wants it so."""
    if probe.part in {"broker", "store"}:
        return ill(probe.part, why)
    return Health(probe.part, {"ok": True, "fail": False, None: None}[probe.broker_down], f"cannot be asked: {why}")


def well(what: str, reason: str) -> Health:
    return Health(what, healthy=True, reason=reason)


def ill(what: str, reason: str) -> Health:
    return Health(what, healthy=False, reason=reason)


def unclear(what: str, reason: str) -> Health:
    return Health(what, healthy=None, reason=reason)


def server(what: str, address: Address | None) -> Health:
    """Whether a broker or store lets us in and takes what is written."""
    if address is None:
        return unclear(what, "its address is not one that livectl can probe")
    try:
        if not address.is_redis:
            connect.reach(address)
            return well(what, f"{address.masked} answers")
        with resp.dial(address) as wire:
            wire.ask("SET", PROBE_KEY, "1", "PX", PROBE_MILLISECONDS)
    except Refused as refusal:
        return ill(what, f"it takes nothing: {refusal}")
    except ServerError as error:
        return ill(what, error.message)
    return well(what, f"{address.masked} answers and takes what is written")


def worker(address: Address, layout: Layout, name: str | None, host: str, seconds: float) -> Health:
    """Whether a worker answers, and takes messages when there are some. Without a name: the workers of this host."""
    wanted = (name if "@" in name else f"{name}@{host}",) if name else None
    if not address.is_redis:
        return _through_kombu(address, wanted, host, seconds)
    with resp.dial(address, seconds + resp.PATIENCE) as wire:
        ask = _Asking(wire, layout, address.database, wanted)
        answers = ask("active_queues", seconds)
        mine = _of_host(answers, wanted, host)
        if not mine:
            return _nobody(answers, wanted, host)
        return _consuming(wire, layout, ask, {who: _names(said) for who, said in mine.items()})


def beat(address: Address, name: str | None, host: str, max_lag: float) -> Health:
    """Whether a beat looked in lately, and sends what it claims. Without a name: the beats of this host."""
    from livectl.ops.beat import runs

    with resp.dial(address) as wire:
        (seconds, _), flat, late = wire.ask_all(
            [("TIME",), ("HGETALL", runs.SEEN), ("ZRANGE", runs.PENDING, 0, 0, "WITHSCORES")]
        )
    now = int(seconds)
    seen = {who.decode(): msgspec.json.decode(said) for who, said in zip(flat[::2], flat[1::2], strict=True)}
    mine = {who: said["at"] / 1000 for who, said in seen.items() if name == who or (not name and said["host"] == host)}
    if not mine:
        elsewhere = f"; there is one on {', '.join(sorted({said['host'] for said in seen.values()}))}" if seen else ""
        return ill("beat", f"no beat {name or f'on {host}'} has looked in{elsewhere}")
    who, at = max(mine.items(), key=lambda one: one[1])
    if now - at > max_lag:
        return ill("beat", f"{who} looked in {now - at:.0f} s ago for the last time")
    if late and now - float(late[1]) / 1000 > LATE_CLAIM and float(late[1]) > 1:
        return ill("beat", f"a run is due and has not been sent: {late[0].decode()}")
    return well("beat", f"{who} looked in {max(0.0, now - at):.0f} s ago")


class _Asking:
    """Questions to the same workers, one after the other."""

    def __init__(self, wire: Wire, layout: Layout, database: int, destination: tuple[str, ...] | None) -> None:
        self._wire, self._layout, self._database, self._destination = wire, layout, database, destination

    def __call__(self, method: str, seconds: float) -> pidbox.Answers:
        question = Question(method=method, destination=self._destination)
        return pidbox.ask(self._wire, self._layout, self._database, question, seconds)


def _of_host(answers: pidbox.Answers, wanted: tuple[str, ...] | None, host: str) -> dict[str, Any]:
    return {who: said for who, said in answers.said.items() if wanted or who.endswith(f"@{host}")}


def _through_kombu(address: Address, wanted: tuple[str, ...] | None, host: str, seconds: float) -> Health:
    """RabbitMQ speaks no protocol that is quickly spoken: here the probe costs what `celery inspect` costs."""
    from celery import Celery

    connect.reach(address)
    control = Celery("livectl", broker=address.kombu, set_as_current=False).control
    said = control.broadcast("active_queues", destination=list(wanted) if wanted else None, reply=True, timeout=seconds)
    answers = pidbox.Answers({who: answer for one in said or [] for who, answer in one.items()})
    mine = _of_host(answers, wanted, host)
    if not mine:
        return _nobody(answers, wanted, host)
    unread = [who for who, queues in mine.items() if not queues]
    return (
        ill("worker", f"{unread[0]} answers and reads no queue")
        if unread
        else well("worker", f"{', '.join(mine)} answers")
    )


def _nobody(answers: pidbox.Answers, wanted: tuple[str, ...] | None, host: str) -> Health:
    who = wanted[0] if wanted else f"no worker on {host}"
    others = f"; {', '.join(sorted(answers.said))} did" if answers.said and not wanted else ""
    silent = f"; {answers.silent} heard the question and did not" if answers.silent and not wanted else ""
    return ill("worker", f"{who} {'did not answer' if wanted else 'answered'}{others}{silent}")


def _consuming(wire: Wire, layout: Layout, ask: _Asking, reads: dict[str, Sequence[str]]) -> Health:
    """Connected is not enough: where messages lie and a worker has nothing to do, they have to move."""
    if unread := [who for who, queues in reads.items() if not queues]:
        return ill("worker", f"{unread[0]} answers and reads no queue")
    keys = [key for queues in reads.values() for queue in queues for key in layout.keys(queue)]
    before = _next_messages(wire, keys)
    if not any(before) or _busy(ask, reads):
        return well("worker", f"{', '.join(sorted(reads))} answers")
    time.sleep(STILL_SECONDS)
    after = _next_messages(wire, keys)
    stuck = [key for key, was, now in zip(keys, before, after, strict=True) if was and was == now]
    if not stuck or len(stuck) < sum(map(bool, before)) or _busy(ask, reads):
        return well("worker", f"{', '.join(sorted(reads))} answers and takes messages")
    queue = stuck[0].removeprefix(layout.prefix).split(layout.separator)[0]
    return ill("worker", f"{', '.join(sorted(reads))} answers, has nothing to do and takes nothing from {queue}")


def _next_messages(wire: Wire, keys: Sequence[str]) -> list[Any]:
    """The message that is taken next from each list, to see whether it is still the same."""
    return [last if isinstance(last, bytes) else None for last in wire.ask_all([("LINDEX", key, -1) for key in keys])]


def _busy(ask: _Asking, reads: dict[str, Sequence[str]]) -> bool:
    """Whether one of them runs a job or has one at hand."""
    for method in ("active", "reserved"):
        said = ask(method, pidbox.ANSWER_SECONDS).said
        if any(said.get(who) for who in reads):
            return True
    return False


def _names(said: Any) -> list[str]:
    return [queue["name"] for queue in said] if isinstance(said, list) else []
