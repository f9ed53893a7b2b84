"""The fetcher: drives the checks of a platform, many at once, and is the one place that opens HTTP connections."""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from livectl.live.network.aside import aside
from livectl.live.network.calls import call_all
from livectl.live.network.transfer import Transfer
from livectl.live.network.wire import Wire
from livectl.live.platforms.base import Call, all_alike
from livectl.model import Keep, Observation, Recall, Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Sequence

    from livectl.live.network.route import Routes
    from livectl.live.platforms.base import Means, Platform

log = logging.getLogger(__name__)


class Memory(Protocol):
    """Where platforms keep tokens and aliases between checks."""

    def recall(self, platform: str, names: Sequence[str]) -> list[str | None]: ...

    def keep(self, platform: str, name: str, value: str, seconds: float) -> None: ...


class Report(NamedTuple):
    """What a check came to, an observation for each id, and how many requests it took."""

    observations: list[Observation]
    requests: int


class Resolved(NamedTuple):
    """What ids were led to, and how many requests it took."""

    answers: list[str | Exception]
    requests: int


class Fetcher:
    """Keeps its connections from one check to the next. Any number of threads or greenlets may use it."""

    def __init__(self, routes: Routes, memory: Memory) -> None:
        self._routes = routes
        self._memory = memory
        self._wires: list[Wire] = []
        self._process = os.getpid()

    def check(self, platform: Platform, ids: Sequence[str], means: Means) -> Report:
        """Asks after all of these, in as many batches as the platform needs, at once."""
        most = platform.pace(means.keys).batch
        batches = [ids[start : start + most] for start in range(0, len(ids), most)]
        round_ = self._drive(platform, [platform.check(batch, means) for batch in batches])
        observations: list[Observation] = []
        for batch, talk in zip(batches, round_.talks, strict=True):
            observations += _complete(platform.name, batch, talk, means)
        return Report(observations, round_.requests)

    def resolve(self, platform: Platform, ids: Sequence[str], means: Means) -> Resolved:
        """Of each the id that is followed, or why there is none."""
        if platform.resolve is None:
            return Resolved(list(ids), 0)
        round_ = self._drive(platform, [platform.resolve(one, means) for one in ids])
        return Resolved([talk.error or str(talk.answer) for talk in round_.talks], round_.requests)

    def ask(self, requests: Iterable[Request], hosts: Collection[str] | None = None) -> list[Response]:
        """The answers, in order. Without `hosts` any host may be asked whose address is public."""
        transfers = [Transfer(request, hosts, self._routes) for request in requests]
        wire = self._borrow()
        for transfer in transfers:
            wire.send(transfer)
        while wire.busy:
            aside(wire.receive)
        self._wires.append(wire)
        return [_response(transfer) for transfer in transfers]

    def close(self) -> None:
        while self._wires:
            self._wires.pop().close()

    def _drive(self, platform: Platform, checks: Sequence[Generator[Any, Any, Any]]) -> _Round:
        wire = self._borrow()
        round_ = _Round(platform, [_Talk(check) for check in checks], wire, self._routes, self._memory)
        round_.run()
        self._wires.append(wire)  # not after an error: who knows what is still on it
        return round_

    def _borrow(self) -> Wire:
        if self._process != os.getpid():  # connections of the parent are not ours to use
            self._process, self._wires = os.getpid(), []
        return self._wires.pop() if self._wires else Wire()


class _Talk:
    """One generator, what it is told next and what it came to."""

    def __init__(self, check: Generator[Any, Any, Any]) -> None:
        self._check = check
        self.answer: Any = None
        self.error: Exception | None = None

    def go_on(self, told: Any) -> Any:
        """What it wants next; None once it has come to an end."""
        try:
            return self._check.send(told)
        except StopIteration as ended:
            self.answer = ended.value
        except Exception as error:
            self.error = error
        return None


class _Round:
    """All the talks of one check: each effect is carried out, and answered."""

    def __init__(self, platform: Platform, talks: list[_Talk], wire: Wire, routes: Routes, memory: Memory) -> None:
        self.talks = talks
        self.requests = 0
        self._platform = platform
        self._wire = wire
        self._routes = routes
        self._memory = memory
        self._ready: deque[tuple[_Talk, Any]] = deque((talk, None) for talk in talks)
        self._listening: dict[Transfer, list[_Talk]] = {}
        self._asked: dict[bytes, Transfer] = {}  # what is on its way: asked once, however many want to know
        self._recalling: list[tuple[_Talk, str]] = []
        self._calling: list[tuple[_Talk, Call]] = []

    def run(self) -> None:
        while self._ready or self._recalling or self._listening or self._calling:
            while self._ready:
                talk, told = self._ready.popleft()
                self._carry_out(talk, talk.go_on(told))
            if self._recalling:
                self._recall()
            elif self._listening:
                self._listen()
            elif self._calling:
                self._call()

    def _carry_out(self, talk: _Talk, effect: Any) -> None:
        if isinstance(effect, Request):
            self._ask(talk, effect)
        elif isinstance(effect, Recall):
            self._recalling.append((talk, effect.key))
        elif isinstance(effect, Keep):
            self._memory.keep(self._platform.name, effect.key, effect.value, effect.seconds)
            self._ready.append((talk, None))
        elif isinstance(effect, Call):
            self._calling.append((talk, effect))

    def _ask(self, talk: _Talk, request: Request) -> None:
        key = msgspec.msgpack.encode(request)
        transfer = self._asked.get(key)
        if transfer is None:
            transfer = Transfer(request, self._platform.hosts, self._routes)
            transfer.key = key
            self._asked[key] = transfer
            self._listening[transfer] = []
            self._wire.send(transfer)
            self.requests += 1
        self._listening[transfer].append(talk)

    def _listen(self) -> None:
        for transfer in aside(self._wire.receive):
            del self._asked[transfer.key]
            response = _response(transfer)
            self._ready.extend((talk, response) for talk in self._listening.pop(transfer))

    def _recall(self) -> None:
        recalling, self._recalling = self._recalling, []
        names = list({name: None for _, name in recalling})
        found = dict(zip(names, self._memory.recall(self._platform.name, names), strict=True))
        self._ready.extend((talk, found[name]) for talk, name in recalling)

    def _call(self) -> None:
        calling, self._calling = self._calling, []
        self.requests += len(calling)
        answers = call_all([call for _, call in calling])
        self._ready.extend((talk, answer) for (talk, _), answer in zip(calling, answers, strict=True))


def _response(transfer: Transfer) -> Response:
    return transfer.response or Response(status=0, url=transfer.request.url, error="given up")


def _complete(platform: str, ids: Sequence[str], talk: _Talk, means: Means) -> list[Observation]:
    """An observation of each id, whatever the check did: a platform with a bug is not a crash."""
    if talk.error is not None:
        log.error("platform %s stumbled: %r", platform, talk.error, exc_info=talk.error)
        problem = f"the check stumbled: {type(talk.error).__name__}"
        return all_alike(platform, ids, State.PARSE_ERROR, means, problem)
    seen = {one.id: one for one in talk.answer}
    missing = [one for one in ids if one not in seen]
    wanted = [seen[one] for one in ids if one in seen]
    return wanted + all_alike(platform, missing, State.UNKNOWN, means, "left out of the answer")
