"""Asks for each job of a task with an entry under `tasks:` whether it may begin, and has it wait where it may not.

What waits lies with the broker, and holds no place of a worker. A job that ends gives its slot to the one that has
waited longest, and calls it: its message is back in front of its queue. Slots have leases, which their worker renews.
"""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from functools import partial
from inspect import Signature
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4
from weakref import ref

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import WorkerLostError
from celery.exceptions import Retry
from celery.utils.log import get_logger
from redis.exceptions import RedisError, ResponseError

from livectl import redis_client
from livectl.errors import LivectlError
from livectl.ops.limits import duplicates, partitions
from livectl.ops.limits.slots import RENEW_INTERVAL_S, Limit, LimitKeys, LimitStore, MessageNote, Woken, limit_of
from livectl.ops.transport import delays
from livectl.task_settings import NO_RULE, TaskRule, TaskSettings, rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from weakref import ReferenceType

    from livectl.ops.deployment import Deployment

logger = get_logger(__name__)

STORE_ERRORS = (RedisError, OSError)
AWAY_PAUSE_S = 2.0  # for which a job waits while nobody can count
CALLED_S, CALLED_STEP_S = 60.0, 0.05  # after which who was not called comes by itself, longer for each one before it
POLL_S, MAX_POLL_S = 1.0, 30.0  # the same, where nobody is called
JOBS_A_SLOT_IN_POLL = 5  # that are thought to end at a slot within that second
LOOK_S, MIN_LOOK_S = 0.25, 0.005  # between two looks at limits, where some are in use
JOIN_POLL_S = 5.0  # the same, for the end of a job that it is the same as
LEASE_OF_CLAIM_S = 20.0  # for which the first of jobs that are the same is known after its worker died
GIVEN_S = 4.0  # of the lease of a slot, in which a job that was given it has to begin
KILL_GRACE_S = 10.0  # for a job that goes on after its time is over
NO_STORE_NOTE = (
    "limits of `tasks:` (%s) are not kept, since there is no store to count in: set `store:` in livectl.yaml"
)
NO_WAIT_NOTE = "limits of `tasks:` (%s) are not kept, since jobs cannot wait on this broker: %s"


class Kind(NamedTuple):
    """What the gate knows of a task."""

    rule: TaskRule
    signature: Signature | None


class Held(NamedTuple):
    """A slot that a job of this worker has."""

    limit: Limit
    request: ReferenceType[Any]


class Gate:
    """The limits of one worker, and the other entries under `tasks:`. `current` reads its settings as they are now."""

    def __init__(
        self, consumer: Any, current: Callable[[], Mapping[str, TaskSettings]], deployment: Deployment
    ) -> None:
        self._consumer = consumer
        self._current = current
        self.tasks = current()
        self._kinds: dict[str, Kind | None] = {}
        self._held: dict[str, Held] = {}
        self._unique: dict[str, tuple[duplicates.UniqueClaim, ReferenceType[Any]]] = {}
        self._renewed_at = 0.0
        self._is_in_use = True  # until a look has found nothing
        self._is_away = False
        self._keys = LimitKeys.of_deployment(deployment)
        self._store, self._owner = deployment.store, uuid4().hex
        self._client: Any = None
        self._slots = self._open_store()
        self._given: dict[str, float] = {}  # jobs that have a slot before they are taken, and since when
        self._asked_channel: Any = None
        self._one_database = False
        self._watch: LimitStore | None = None  # of the thread that looks: green threads share no connection with it

    def _open_store(self) -> LimitStore | None:
        if self._store is None:
            return None
        client = redis_client.store_client(self._store)
        self._client = self._client or client
        return LimitStore(client, self._keys, self._owner, wakes=self._consumer.can_wake)

    def say_what_is_not_kept(self) -> None:
        """Logs once, at the start, why limits do not count here."""
        names = ", ".join(name for name, entry in self.tasks.items() if entry.is_held)
        if names and self._slots is None:
            logger.warning(NO_STORE_NOTE, names)
        elif names and not self._consumer.can_let_wait:
            logger.warning(NO_WAIT_NOTE, names, "it is no Redis with livectl's transport, and no RabbitMQ")

    @property
    def _counts(self) -> bool:
        return self._slots is not None and bool(self._consumer.can_let_wait)

    def rule(self, name: str) -> TaskRule:
        return kind.rule if (kind := self.kind(name)) else NO_RULE

    def kind(self, name: str) -> Kind | None:
        """What is known of a task that an entry fits; None for others."""
        if name not in self._kinds:
            if name not in self._consumer.app.tasks:
                return None
            rule = rule_for(self.tasks, name)
            self._kinds[name] = None if rule is NO_RULE else Kind(rule, _signature(self._consumer.app, name))
        return self._kinds[name]

    def look_at_settings(self) -> bool:
        """Whether other settings count from now on."""
        tasks = self._current()
        if tasks == self.tasks:
            return False
        self.tasks = tasks
        self._kinds.clear()
        self._is_in_use = True
        self.say_what_is_not_kept()
        return True

    # -- a message that comes

    def fault(self, name: str, args: Any, kwargs: Any) -> str:
        """Why a job cannot be counted; empty where it can."""
        kind = self.kind(name)
        if kind is None or not self._counts:
            return ""
        try:
            self._limit(kind, name, args, kwargs)
            duplicates.claim_of(kind.rule, kind.signature, name, args, kwargs)
        except partitions.MissingArgumentError as error:
            return error.message
        return ""

    def turn_away(self, message: Any, headers: Mapping[str, Any], args: Any, kwargs: Any) -> bool:
        """Whether a job is done with, or waits: since it is the same as another one."""
        name, job_id = headers["task"], headers["id"]
        kind = self.kind(name)
        claim = duplicates.claim_of(kind.rule, kind.signature, name, args, kwargs) if kind and self._counts else None
        if kind is None or claim is None or not self._is_turned_away(claim, message, job_id):
            return False
        if self._given.pop(job_id, None) is not None and (limit := self._limit(kind, name, args, kwargs)):
            with suppress(*STORE_ERRORS):  # its lease runs out
                self._leave(limit, job_id)
        return True

    def _is_turned_away(self, claim: duplicates.UniqueClaim, message: Any, job_id: str) -> bool:
        if self._slots is None:
            return False
        try:
            list_key = getattr(message, "taken_from", "")
            answer, *facts = self._slots.claim(claim, job_id, list_key)
        except STORE_ERRORS as error:
            self._note_away(error)
            return bool(self._consumer.let_wait(message, AWAY_PAUSE_S))
        match answer:
            case "wait":
                return bool(self._consumer.let_wait(message, float(facts[0])))
            case "gone":
                duplicates.end_as_revoked(self._consumer.app, message, facts[0])
            case "join":
                if not duplicates.end_as_first(self._consumer.app, message, facts[0]):
                    if facts[1] != "ended":
                        return bool(self._consumer.let_wait(message, JOIN_POLL_S))
                    duplicates.end_as_revoked(self._consumer.app, message, facts[0])
            case _:
                return False
        message.ack_log_error(logger, self._consumer.connection_errors)
        return True

    # -- a job that is to begin

    def prepare(self, request: Any) -> bool:
        """Sets the time that a job has. Whether it has to be asked for when it begins."""
        kind = self.kind(request.task.name)
        if kind is None:
            return False
        if (seconds := kind.rule.settings.timeout) is not None and not any(request.time_limits):
            request.time_limits = (seconds + KILL_GRACE_S, seconds)
        if not (self._counts and kind.rule.limit):
            return False
        for name in ("on_success", "on_failure", "on_timeout"):  # which the pool is given with it
            setattr(request, name, partial(self._end, request, getattr(request, name)))
        return True

    def may_begin(self, request: Any, *, in_loop: bool = False) -> bool:
        """Takes a slot for a job that would begin now. Without one it waits, and is this worker's no more."""
        kind, job_id = self.kind(request.task.name), request.id
        if kind is None or self._slots is None:
            return True
        try:
            limit = self._limit(kind, request.task.name, request.args, request.kwargs)
            claim = duplicates.claim_of(kind.rule, kind.signature, request.task.name, request.args, request.kwargs)
            before, waits = self._enter(limit, request, in_loop=in_loop) if limit else (None, False)
            if before is None and claim and not self._slots.mark(claim, job_id, "begun", LEASE_OF_CLAIM_S)[0]:
                self._call(limit, self._slots.leave(limit, job_id) if limit else [])
                self._in_loop(self._drop, request)
                return False
        except STORE_ERRORS as error:
            self._note_away(error)
            self._in_loop(self._let_wait, request, None, AWAY_PAUSE_S)
            return False
        self._is_away, self._is_in_use = False, True
        if waits:
            delays.forget(request.message)
            self._consumer.let_go(request)
            return False
        if before is not None:
            self._in_loop(self._let_wait, request, limit, self._pause(limit, before))
            return False
        if limit:
            self._held[job_id] = Held(limit, ref(request))
        if claim:
            self._unique[job_id] = claim, ref(request)
        return True

    def _enter(self, limit: Limit, request: Any, *, in_loop: bool) -> tuple[int | None, bool]:
        """How many wait before a job; None where it has a slot. And whether it waits with the broker by now."""
        job_id, slots, message = request.id, self._slots, request.message
        if slots is None or time.monotonic() - self._given.pop(job_id, -inf) < GIVEN_S:
            return None, False
        facts = delays.facts_of(message, job_id) if in_loop and self._is_one_database() else None
        if facts is not None:
            held = MessageNote(delays.BrokerPlace.of_channel(message.channel), *facts)
            try:
                return slots.enter_or_wait(limit, job_id, held, (CALLED_S, CALLED_STEP_S))
            except ResponseError as error:
                self._note_refusal(error)
        return slots.enter(limit, job_id, _list_of(request)), False

    def _is_one_database(self) -> bool:
        """Whether messages are where limits are counted, so that one step may change both."""
        if not self._consumer.can_wake or self._client is None:
            return False
        channel = self._consumer.task_consumer.channel
        if self._asked_channel is not channel:
            self._one_database = delays.is_in_database(channel, self._client)
            self._asked_channel = channel
        return self._one_database

    def _note_refusal(self, error: ResponseError) -> None:
        """From now on limits and messages change one after the other: the user of one may not touch the other."""
        logger.info("limits and messages are changed in two steps: %s", error)
        self._one_database = False

    def _limit(self, kind: Kind, name: str, args: Any, kwargs: Any) -> Limit | None:
        if not kind.rule.has_limit:
            return None
        partition = partitions.partition_of(kind.rule.settings, name, args, kwargs, kind.signature)
        return limit_of(kind.rule.limit, kind.rule.settings, partition)

    def _pause(self, limit: Limit | None, before: int) -> float:
        if self._slots is not None and self._slots.wakes:
            return CALLED_S + CALLED_STEP_S * before
        return min(MAX_POLL_S, POLL_S * (1 + before // (JOBS_A_SLOT_IN_POLL * max(1, limit.most if limit else 1))))

    def _in_loop(self, call: Callable[..., None], *args: Any) -> None:
        """A thread of the pool leaves the channel to the loop."""
        if type(self._consumer.pool).__module__.endswith(".thread"):
            self._consumer.call_soon(call, *args)
        else:
            call(*args)

    def _let_wait(self, request: Any, limit: Limit | None, seconds: float) -> None:
        if not self._consumer.let_wait(request.message, seconds):  # it was fanned out, for one
            self._consumer.timer.call_after(POLL_S, self._consumer.on_task_request, (request,))
            return
        self._consumer.let_go(request)
        if limit is not None and self._slots is not None and self._slots.wakes:
            with suppress(*STORE_ERRORS):
                if not self._slots.is_waiting(limit, request.id):  # it was called before it lay there
                    self._wake([Woken(request.id, _list_of(request))])

    def _drop(self, request: Any) -> None:
        """Another job took its place since it came."""
        self._consumer.let_go(request)
        duplicates.end_as_revoked(self._consumer.app, request.message, "")
        request.message.ack_log_error(logger, self._consumer.connection_errors)

    # -- a job that has ended

    def _end(self, request: Any, told: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return told(*args, **options)
        finally:
            is_soft = bool(args) and args[0] is True  # the soft limit of its time: it goes on
            if not is_soft and (request.id in self._held or request.id in self._unique):
                self.forget(request, has_ended=not isinstance(_error_in(args), Retry | WorkerLostError))

    def forget(self, request: Any, *, has_ended: bool = True) -> None:
        """Gives back whatever a job has or waits for. One that has not ended is done again, under its id."""
        kind = self.kind(request.task.name)
        if kind is None or self._slots is None or not kind.rule.limit:
            return
        held, (claim, _) = self._held.pop(request.id, None), self._unique.pop(request.id, (None, None))
        try:
            limit = held.limit if held else self._limit(kind, request.task.name, request.args, request.kwargs)
            if limit is not None:
                self._leave(limit, request.id)
            if claim is not None:
                _, joined = self._slots.mark(claim, request.id, "ended" if has_ended else "", LEASE_OF_CLAIM_S)
                self._wake(joined)
        except (*STORE_ERRORS, LivectlError) as error:  # its lease runs out
            logger.debug("a slot was not given back: %s", error)

    def _leave(self, limit: Limit, job_id: str) -> None:
        """Gives a slot back. The next job is this worker's, which has a place free, if it can have it in the same step:
        to be called, and taken from its queue by another one, would take as long as some jobs do."""
        if self._slots is not None and not self._give_to_next(self._slots, limit, job_id):
            self._call(limit, self._slots.leave(limit, job_id))

    def _give_to_next(self, slots: LimitStore, limit: Limit, job_id: str) -> bool:
        place = self._consumer.place_for_another() if self._is_one_database() else None
        if place is None:
            return False
        try:
            given, woken = slots.give_to_next(limit, job_id, place)
        except ResponseError as error:
            self._note_refusal(error)
            return False
        if given is not None:
            now = time.monotonic()
            self._given = {known: at for known, at in [*self._given.items()] if now - at < GIVEN_S} | {given.id: now}
            self._consumer.deliver(given.list, given.text, given.tag)
        self._call(limit, woken)
        return True

    # -- who waits

    def _call(self, limit: Limit | None, woken: Sequence[Woken], client: Any = None, channel: Any = None) -> None:
        """Calls those for whom a slot is kept; where one does not wait, the next."""
        slots = self._watch if client else self._slots
        while woken and limit is not None and slots is not None:
            missed = self._wake(woken, client, channel)
            woken = slots.missed(limit, missed) if missed else []

    def _wake(self, woken: Sequence[Woken], client: Any = None, channel: Any = None) -> list[str]:
        """The ids of those that could not be called, since they do not wait with the broker."""
        if not woken or not self._consumer.can_wake:
            return []
        try:
            channel = channel or self._consumer.task_consumer.channel
            there = [job for job in woken if job.list]
            missed = delays.wake(client or channel.qos._client, channel, there) if there else []
        except (*self._consumer.connection_errors, RedisError, AttributeError) as error:
            logger.debug("who waits was not called, and is in some seconds: %s", error)
            return []
        return missed + [job.id for job in woken if not job.list]

    def look(self, client: Any = None, channel: Any = None) -> float:
        """Renews the slots of this worker, and gives away what is free. Returns for how many seconds there is no more
        to do. A thread that is no job's calls it again and again."""
        slots = self._watch = self._watch or self._open_store()
        if slots is None or not self._is_in_use:
            return inf
        try:
            self._renew(slots, client, channel)
            next_look, names = slots.look()
            for name, partition in names:
                limit = limit_of(name, self.tasks.get(name, NO_RULE.settings), partition)
                woken, _ = slots.pump(limit)
                self._call(limit, woken, client, channel)
        except (*STORE_ERRORS, ValueError) as error:
            logger.debug("limits were not looked at: %s", error)
            return LOOK_S
        except RuntimeError:  # a dict that changed while it was read: once more
            return MIN_LOOK_S
        if next_look is None and not self._held and not any(entry.is_held for entry in self.tasks.values()):
            self._is_in_use = False
        return min(LOOK_S, max(MIN_LOOK_S, next_look if next_look is not None and not names else LOOK_S))

    def _renew(self, slots: LimitStore, client: Any, channel: Any) -> None:
        now = time.monotonic()
        if now - self._renewed_at < RENEW_INTERVAL_S:
            return
        by_limit: dict[Limit, list[str]] = {}
        for job_id, held in list(self._held.items()):
            if held.request() is None:  # it was handed to no child, and forgotten when the broker was lost
                self._held.pop(job_id, None)
                self._call(held.limit, slots.leave(held.limit, job_id), client, channel)
            else:
                by_limit.setdefault(held.limit, []).append(job_id)
        slots.renew(by_limit.items())
        for job_id, (claim, request) in list(self._unique.items()):
            if request() is None:
                self._unique.pop(job_id, None)
            else:
                slots.mark(claim, job_id, "", LEASE_OF_CLAIM_S)
        self._renewed_at = now

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("jobs with limits wait, since the store does not answer: %s", error)
        self._is_away = True


def _error_in(args: Sequence[Any]) -> BaseException | None:
    """Why a job ended, where it was no success."""
    error = getattr(args[0] if args else None, "exception", None)
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _list_of(request: Any) -> str:
    return getattr(request.message, "taken_from", "") or ""


def _signature(app: Any, name: str) -> Signature | None:
    try:
        return inspect.signature(app.tasks[name].run)
    except (LookupError, TypeError, ValueError):
        return None
