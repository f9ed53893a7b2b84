"""Sends requests to sites, and drives the checks of platforms.

All that livectl itself asks of sites and web hooks goes through a Fetcher. Libraries that run in a Call (streamlink,
Apprise) open connections of their own.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import defaultdict, deque
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import msgspec

from livectl.live.network.curl import CurlPool, Transfer
from livectl.live.platforms.base import (
    CacheGet,
    CacheGetAll,
    CacheSet,
    Call,
    CheckFailed,
    failed_observation,
    same_observations,
)
from livectl.models import Observation, Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Sequence

    from livectl.live.network.check_cache import CheckCache
    from livectl.live.network.routes import Routes
    from livectl.live.platforms.base import CheckContext, ListingPage, Platform

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 8  # that run calls at once: whatever needs a thread is heavy

log = logging.getLogger(__name__)


class Fetcher:
    """Checks platforms and sends requests. It keeps its connections from one call to the next.

    Any number of threads or greenlets may use it. `exit_name` names one of network.exits; without it, requests take the
    usual way.
    """

    def __init__(self, routes: Routes, cache: CheckCache) -> None:
        self._routes = routes
        self._cache = cache
        self._pools: defaultdict[str, list[CurlPool]] = defaultdict(list)  # by exit: connections are not shared
        self._pid = os.getpid()

    def check(self, platform: Platform, ids: Sequence[str], context: CheckContext, exit_name: str = "") -> CheckReport:
        """Observes each of these streamers, in as many batches as the platform needs, all at once."""
        known, requests = self._recheck(platform, ids, context, exit_name)
        batches = _split([each for each in ids if each not in known], platform.rate_limit(context.keys).batch)
        driver = self._run_checks(platform, [platform.check(batch, context) for batch in batches], exit_name)
        for batch, generator in zip(batches, driver.generators, strict=True):
            for observation in _complete_observations(platform.name, batch, generator, context):
                known[observation.id] = observation
        return CheckReport([known[streamer_id] for streamer_id in ids], requests + driver.requests)

    def observe_names(
        self, platform: Platform, names: Sequence[str], context: CheckContext, exits: Sequence[str] = ("",)
    ) -> NamedReport:
        """Observes streamers by names that are not resolved yet, where the platform takes those, too: by the first of
        these exits that reaches it.

        Names may be missing from the report; others are only known to be offline if they exist (`NameLookup`).
        """
        lookup = platform.names
        if lookup is None or lookup.observe is None:
            return NamedReport({}, 0)
        batches = _split([name for name in names if lookup.takes(name)], lookup.size)
        observations: dict[str, Observation] = {}
        requests = 0
        for exit_name in exits:
            driver = self._run_checks(platform, [lookup.observe(batch, context) for batch in batches], exit_name)
            for batch, generator in zip(batches, driver.generators, strict=True):
                observations |= _named_observations(platform.name, batch, generator, context)
            requests += driver.requests
            if not observations or any(each.state is not State.NETWORK for each in observations.values()):
                break
        return NamedReport(observations, requests)

    def resolve(
        self, platform: Platform, ids: Sequence[str], context: CheckContext, exits: Sequence[str] = ("",)
    ) -> ResolvedIds:
        """Leads each id to the one that is followed, by the first of these exits that reaches the platform: many in one
        request, where it takes them so.
        """
        if platform.resolve is None:
            return ResolvedIds(list(ids), 0)
        resolved, requests = ResolvedIds(list(ids), 0), 0
        for exit_name in exits:
            resolved = self._resolve_by(platform, ids, context, exit_name)
            requests += resolved.requests
            if not all(_is_unreached(each) for each in resolved.ids_or_errors):
                break
        return resolved._replace(requests=requests)

    def _resolve_by(self, platform: Platform, ids: Sequence[str], context: CheckContext, exit_name: str) -> ResolvedIds:
        assert platform.resolve is not None  # noqa: S101 - looked at before
        answers, requests = self._resolve_together(platform, ids, context, exit_name)
        alone = [each for each in ids if each not in answers]
        driver = self._run_checks(platform, [platform.resolve(each, context) for each in alone], exit_name)
        for each, generator in zip(alone, driver.generators, strict=True):
            answers[each] = generator.error or str(generator.result)
        return ResolvedIds([answers[each] for each in ids], requests + driver.requests)

    def _resolve_together(
        self, platform: Platform, ids: Sequence[str], context: CheckContext, exit_name: str
    ) -> tuple[dict[str, str | Exception], int]:
        """What look-ups of many names at once tell. They may leave names out."""
        lookup = platform.names
        if lookup is None:
            return {}, 0
        batches = _split([each for each in ids if lookup.takes(each)], lookup.size)
        driver = self._run_checks(platform, [lookup.resolve(batch, context) for batch in batches], exit_name)
        answers: dict[str, str | Exception] = {}
        for batch, generator in zip(batches, driver.generators, strict=True):
            answers |= dict.fromkeys(batch, generator.error) if generator.error else generator.result
        return answers, driver.requests

    def _recheck(
        self, platform: Platform, ids: Sequence[str], context: CheckContext, exit_name: str
    ) -> tuple[dict[str, Observation], int]:
        """Who is still live, of those who were, where the platform tells that of many at once."""
        if platform.recheck is None:
            return {}, 0
        driver = self._run_checks(platform, [platform.recheck(ids, context)], exit_name)
        (generator,) = driver.generators
        if generator.error is not None:
            log.error("platform %s stumbled: %r", platform.name, generator.error, exc_info=generator.error)
        return dict(generator.result or {}), driver.requests

    def list_page(self, platform: Platform, cursor: str, context: CheckContext, exit_name: str = "") -> PageReport:
        """A page of the platform's list of who is live. A bug there is a page that cannot be read."""
        if platform.listing is None:
            return PageReport(CheckFailed(State.UNKNOWN, "there is no list"), 0)
        driver = self._run_checks(platform, [platform.listing.page(cursor, context)], exit_name)
        (generator,) = driver.generators
        if generator.error is None:
            return PageReport(generator.result, driver.requests)
        if isinstance(generator.error, CheckFailed):
            return PageReport(generator.error, driver.requests)
        log.error("the list of %s stumbled: %r", platform.name, generator.error, exc_info=generator.error)
        stumbled = CheckFailed(State.PARSE_ERROR, f"the list stumbled: {type(generator.error).__name__}")
        return PageReport(stumbled, driver.requests)

    def ask(
        self, requests: Iterable[Request], hosts: Collection[str] | None = None, exit_name: str = ""
    ) -> list[Response]:
        """The responses, in order. Only `hosts` may be asked; without them, any host whose address is public."""
        transfers = [Transfer(request, hosts, self._routes, exit_name) for request in requests]
        pool = self._borrow_pool(exit_name)
        for transfer in transfers:
            pool.send(transfer)
        while pool.busy:
            run_in_real_thread(pool.receive)
        self._pools[exit_name].append(pool)
        return [_response(transfer) for transfer in transfers]

    def run(self, platform: Platform, steps: Generator[Any, Any, T], exit_name: str = "") -> T:
        """What these steps return, which yield effects as a check does. Raises what they raise."""
        (outcome,) = self.run_all(platform, [steps], exit_name)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run_all(
        self, platform: Platform, steps: Sequence[Generator[Any, Any, T]], exit_name: str = ""
    ) -> list[T | Exception]:
        """What each of these returns or raises, all at once."""
        return [each.error or each.result for each in self._run_checks(platform, steps, exit_name).generators]

    def close(self) -> None:
        for pools in self._pools.values():
            while pools:
                pools.pop().close()

    def _run_checks(
        self, platform: Platform, checks: Sequence[Generator[Any, Any, Any]], exit_name: str = ""
    ) -> _CheckDriver:
        pool, generators = self._borrow_pool(exit_name), [_CheckGenerator(check) for check in checks]
        driver = _CheckDriver(platform, generators, pool, self._routes, self._cache, exit_name)
        driver.run()
        self._pools[exit_name].append(pool)  # not after an error, which may have left transfers on it
        return driver

    def _borrow_pool(self, exit_name: str) -> CurlPool:
        if self._pid != os.getpid():  # a fork must not use the connections of its parent
            self._pid, self._pools = os.getpid(), defaultdict(list)
        try:
            return self._pools[exit_name].pop()
        except IndexError:
            return CurlPool()


def _split(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


class NamedReport(NamedTuple):
    """Observations by the name that was asked for, and how many requests they took."""

    observations: dict[str, Observation]
    requests: int


class PageReport(NamedTuple):
    """A page of a list, or why there is none, and how many requests it took."""

    page: ListingPage | CheckFailed
    requests: int


class CheckReport(NamedTuple):
    """What a check found, an observation for each id, and how many requests it took."""

    observations: list[Observation]
    requests: int


class ResolvedIds(NamedTuple):
    """For each id the one that is followed, or why there is none; and how many requests it took."""

    ids_or_errors: list[str | Exception]
    requests: int


class _CheckGenerator:
    """One check or resolve under way, and its result or error once it has ended."""

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self._generator = generator
        self.result: Any = None
        self.error: Exception | None = None

    def resume(self, value: Any) -> Any:
        """The effect that it yields next; None once it has ended."""
        try:
            return self._generator.send(value)
        except StopIteration as stop:
            self.result = stop.value
        except Exception as error:
            self.error = error
        return None


class _CheckDriver:
    """Runs generators side by side: carries out each effect, and sends back what came of it."""

    def __init__(
        self,
        platform: Platform,
        generators: list[_CheckGenerator],
        pool: CurlPool,
        routes: Routes,
        cache: CheckCache,
        exit_name: str,
    ) -> None:
        self.generators = generators
        self.requests = 0
        self._platform = platform
        self._pool = pool
        self._routes = routes
        self._cache = cache
        self._exit_name = exit_name
        self._ready: deque[tuple[_CheckGenerator, Any]] = deque((generator, None) for generator in generators)
        self._waiting_for_response: dict[Transfer, list[_CheckGenerator]] = {}
        self._in_flight: dict[bytes, Transfer] = {}  # equal requests are sent once
        self._waiting_for_cache: list[tuple[_CheckGenerator, CacheGet | CacheGetAll]] = []
        self._waiting_for_call: list[tuple[_CheckGenerator, Call]] = []

    def run(self) -> None:
        while self._ready or self._waiting_for_cache or self._waiting_for_response or self._waiting_for_call:
            while self._ready:
                generator, value = self._ready.popleft()
                self._perform(generator, generator.resume(value))
            if self._waiting_for_cache:
                self._read_cache()
            elif self._waiting_for_response:
                self._receive_responses()
            elif self._waiting_for_call:
                self._run_calls()

    def _perform(self, generator: _CheckGenerator, effect: Any) -> None:
        if isinstance(effect, Request):
            self._send_request(generator, effect)
        elif isinstance(effect, CacheGet | CacheGetAll):
            self._waiting_for_cache.append((generator, effect))
        elif isinstance(effect, CacheSet):
            key = self._kept_as(effect.key)
            self._cache.cache_set(self._platform.name, key, effect.value, effect.seconds)
            self._ready.append((generator, None))
        elif isinstance(effect, Call):
            self._waiting_for_call.append((generator, effect))

    def _kept_as(self, key: str) -> str:
        """What a site gave to one exit, such as a visitor's cookie, is not shown to it by another."""
        return f"{self._exit_name}/{key}" if self._exit_name else key

    def _send_request(self, generator: _CheckGenerator, request: Request) -> None:
        key = msgspec.msgpack.encode(request)
        transfer = self._in_flight.get(key)
        if transfer is None:
            transfer = Transfer(request, self._platform.hosts, self._routes, self._exit_name)
            transfer.key = key
            self._in_flight[key] = transfer
            self._waiting_for_response[transfer] = []
            self._pool.send(transfer)
            self.requests += 1
        self._waiting_for_response[transfer].append(generator)

    def _receive_responses(self) -> None:
        for transfer in run_in_real_thread(self._pool.receive):
            del self._in_flight[transfer.key]
            response = _response(transfer)
            self._ready.extend((generator, response) for generator in self._waiting_for_response.pop(transfer))

    def _read_cache(self) -> None:
        """Reads what all of them want in one go."""
        waiting, self._waiting_for_cache = self._waiting_for_cache, []
        wanted = [(effect.key,) if isinstance(effect, CacheGet) else effect.keys for _, effect in waiting]
        keys = list(dict.fromkeys(chain.from_iterable(wanted)))
        texts = self._cache.cache_get(self._platform.name, [self._kept_as(key) for key in keys])
        kept = dict(zip(keys, texts, strict=True))
        for generator, effect in waiting:
            value = kept[effect.key] if isinstance(effect, CacheGet) else [kept[key] for key in effect.keys]
            self._ready.append((generator, value))

    def _run_calls(self) -> None:
        waiting, self._waiting_for_call = self._waiting_for_call, []
        self.requests += len(waiting)
        results = call_all([call for _, call in waiting])
        self._ready.extend((generator, result) for (generator, _), result in zip(waiting, results, strict=True))


def _complete_observations(
    platform: str, ids: Sequence[str], generator: _CheckGenerator, context: CheckContext
) -> list[Observation]:
    """An observation for each id, even when the check raised an error or left ids out: a bug there is no crash here."""
    if generator.error is not None:
        log.error("platform %s stumbled: %r", platform, generator.error, exc_info=generator.error)
        problem = f"the check stumbled: {type(generator.error).__name__}"
        return same_observations(platform, ids, State.PARSE_ERROR, context, problem)
    if [observation.id for observation in generator.result] == ids:
        return list(generator.result)
    by_id = {observation.id: observation for observation in generator.result}
    missing_ids = [streamer_id for streamer_id in ids if streamer_id not in by_id]
    observations = [by_id[streamer_id] for streamer_id in ids if streamer_id in by_id]
    return observations + same_observations(platform, missing_ids, State.UNKNOWN, context, "left out of the answer")


def _named_observations(
    platform: str, names: Sequence[str], generator: _CheckGenerator, context: CheckContext
) -> dict[str, Observation]:
    """What was found; a failure stands for every name of its batch."""
    if isinstance(generator.error, CheckFailed):
        return {name: failed_observation(platform, name, generator.error, context) for name in names}
    if generator.error is not None:
        return dict(zip(names, _complete_observations(platform, names, generator, context), strict=True))
    return {name: generator.result[name] for name in names if name in generator.result}


def _is_unreached(answer: str | Exception) -> bool:
    return isinstance(answer, CheckFailed) and answer.state is State.NETWORK


def _response(transfer: Transfer) -> Response:
    return transfer.response or Response(status=0, url=transfer.request.url, error="given up")


def call_all(calls: Sequence[Call]) -> list[Any]:
    """What each call returned, or None when its seconds went by first. Threads that are late are left behind."""
    results: list[Any] = []
    for start in range(0, len(calls), MAX_THREADS):
        results += _call_batch(calls[start : start + MAX_THREADS])
    return results


def _call_batch(calls: Sequence[Call]) -> list[Any]:
    started = time.monotonic()
    results: list[Any] = [None] * len(calls)

    def run(number: int, call: Call) -> None:
        results[number] = call.function(*call.args)

    threads = [threading.Thread(target=run, args=(number, call), daemon=True) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread, call in zip(threads, calls, strict=True):
        thread.join(max(0.0, started + call.seconds - time.monotonic()))
    return list(results)


def run_in_real_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function that blocks. In a green pool, a real thread runs it, and other greenlets go on meanwhile."""
    if "gevent" in sys.modules:
        from gevent.monkey import is_module_patched

        if is_module_patched("threading"):
            from gevent import get_hub

            result: T = get_hub().threadpool.apply(function, args, kwargs)
            return result
    if "eventlet" in sys.modules:
        from eventlet.patcher import is_monkey_patched

        if is_monkey_patched("thread"):
            from eventlet import tpool

            return tpool.execute(function, *args, **kwargs)  # type: ignore[no-any-return]
    return function(*args, **kwargs)
