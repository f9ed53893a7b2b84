"""Reads the store without redis-py, which takes 150 ms to import: `live` and `history` answer in less."""

from __future__ import annotations

import heapq
from collections import Counter
from contextlib import contextmanager
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl import redis_client
from livectl.errors import UsageError
from livectl.live import platforms, views
from livectl.live.follows import follow_list
from livectl.live.store import Store, newest_key
from livectl.live.store_order import OrderPlace
from livectl.models import State
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.live.store import NewestStreamers
    from livectl.live.views import StreamerView
    from livectl.models import Session, Streamer, StreamerRecord
    from livectl.redis_client import RedisConnection


SORT_AT_HAND = "newest"  # the order that the store keeps
MAX_FIRST_PAGE = 1000  # a few milliseconds of the server's time
PAGE_SIZE = 1000
MANY = 20_000


class StreamerHistory(NamedTuple):
    """A streamer and their sessions, the oldest first."""

    record: StreamerRecord
    sessions: list[Session]


class Everybody(NamedTuple):
    """Each line of the follow list as it was last seen, and why its file cannot be used, if it cannot."""

    streamers: list[StreamerView]
    list_problem: str = ""
    left_out: int = 0  # who come after these, where only the first were asked for
    live: int = 0  # of all
    unknown: Mapping[str, int] = MappingProxyType({})  # of all, why it is not known whether they are live: how many


class Selection(NamedTuple):
    """Which streamers to show: with one of the tags, on one of the platforms; and in which order."""

    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    sort: str = "newest"
    strict: bool = True  # whether a tag that nobody has is a mistake

    @property
    def is_all(self) -> bool:
        return not self.tags and not self.platforms

    @property
    def is_at_hand(self) -> bool:
        """Whether the store has them in this order."""
        return self.is_all and self.sort == SORT_AT_HAND

    def pick(self, pages: Iterable[Iterable[StreamerRecord]], limit: int | None) -> Everybody:
        """The first who fit, of however many; those who are live come first, whatever the order.

        UsageError for a tag or a platform that nobody has.
        """
        tags, names, unknown = set[str](), {*platforms.names()}, Counter[str]()
        total = live = 0

        def fitting() -> Iterator[StreamerRecord]:
            nonlocal total, live
            for record in chain.from_iterable(pages):
                tags.update(_tags(record))
                names.add(record.platform)
                if self._fits(record):
                    total += 1
                    live += record.state is State.LIVE
                    if record.state is None or record.state not in views.NOT_LIVE:
                        _note_unknown(unknown, record)
                    yield record

        key = SORT_KEYS[self.sort]
        first = heapq.nsmallest(limit, fitting(), key) if limit else sorted(fitting(), key=key)
        self._check(tags, names)
        return Everybody([views.from_record(record) for record in first], "", total - len(first), live, unknown)

    def in_order(self, pages: Iterable[Iterable[StreamerRecord]]) -> Iterator[StreamerRecord]:
        """All who fit, of however many, once all of them were looked at. UsageError as `pick` raises it."""
        from livectl.live import sorted_spool

        tags, names = set[str](), {*platforms.names()}

        def fitting() -> Iterator[StreamerRecord]:
            for record in chain.from_iterable(pages):
                tags.update(_tags(record))
                names.add(record.platform)
                if self._fits(record):
                    yield record
            self._check(tags, names)

        return sorted_spool.in_order(fitting(), SORT_KEYS[self.sort])

    def _check(self, tags: set[str], names: set[str]) -> None:
        if not self.strict:
            return
        for words, known, problem in (
            (self.tags, tags, "nobody has the tag"),
            (self.platforms, names, "there is no platform"),
        ):
            for word in words:
                if word not in known:
                    listed = f"There are: {', '.join(sorted(known))}." if known else "There are none yet."
                    raise UsageError(f"{problem} {word}", f"{did_you_mean(word, known)} {listed}".strip())

    def _fits(self, record: StreamerRecord) -> bool:
        has_tag = not self.tags or not set(self.tags).isdisjoint(_tags(record))
        return has_tag and (not self.platforms or record.platform in self.platforms)


def _note_unknown(unknown: Counter[str], record: StreamerRecord) -> None:
    view = views.from_record(record)
    if view.live is None:
        unknown[view.problem or ""] += 1


def _tags(record: StreamerRecord) -> tuple[str, ...]:
    return record.streamer.tags if record.streamer else ()


def list_live(address: Address, selection: Selection, limit: int | None = None) -> Everybody:
    """The streamers who are live, the newest session first: the first `limit` of them."""
    with read_only_store(address) as store:
        newest = _read_newest(store, selection, limit, live_only=True)
        if newest and limit and newest.live >= min(limit, MAX_FIRST_PAGE):
            shown = [views.from_record(record) for record in newest.streamers[: newest.live]]
            return Everybody(shown, "", newest.live - len(shown), newest.live)
        unchecked = selection._replace(strict=False)
        return unchecked.pick([store.live_streamers()], limit)


def list_everybody(
    address: Address,
    follows: Path,
    selection: Selection,
    name: str = "",
    limit: int | None = None,
    *,
    counted: bool = False,
) -> Everybody:
    """The streamers who are live, the newest session first; then the others by their last one: the first `limit` of
    them, of however many. With `counted` it is known of how many the state is unknown.

    Those whom the file has and no worker has read yet are among them.
    """
    with read_only_store(address) as store:
        if (
            not counted
            and not follow_list.is_newer(store, follows)
            and (newest := _read_newest(store, selection, limit))
        ):
            shown = [views.from_record(record) for record in newest.streamers]
            return Everybody(shown, "", newest.total - len(shown), newest.live)
        waiting = follow_list.find_waiting(store, follows, name)
        return selection.pick(chain(store.pages(), [waiting.streamers]), limit)._replace(list_problem=waiting.problem)


def list_in_pages(
    address: Address, follows: Path, selection: Selection, *, live_only: bool
) -> Iterator[list[StreamerView]]:
    """Everybody, or who is live, of however many, in pages: the first at once where the store keeps the order."""
    with read_only_store(address) as store:
        waiting = () if live_only else follow_list.find_waiting(store, follows).streamers
        records: Iterator[StreamerRecord]
        if selection.is_at_hand and store.newest(1):
            records = chain(_ordered(store, live_only=live_only), waiting)
        else:
            pages = chain([_ordered(store, live_only=True)] if live_only else store.pages(), [waiting])
            records = selection._replace(strict=not live_only).in_order(pages)
        while some := list(islice(records, PAGE_SIZE)):
            yield [views.from_record(record) for record in some]


def are_many(address: Address) -> bool:
    """Whether more are followed than are best shown at once."""
    with read_only_store(address) as store:
        newest = store.newest(1)
        return newest is None or newest.total > MANY


def _ordered(store: Store, *, live_only: bool) -> Iterator[StreamerRecord]:
    """All in the order that the store keeps."""
    place: OrderPlace | None = OrderPlace()
    while place:
        page = store.page_after(place, PAGE_SIZE, live_only=live_only)
        yield from page.streamers
        place = page.next


def _read_newest(
    store: Store, selection: Selection, limit: int | None, *, live_only: bool = False
) -> NewestStreamers | None:
    """The first of all, or at least those of them who are live, where the store has them in this order."""
    if not limit or not selection.is_at_hand:
        return None
    newest = store.newest(min(limit, MAX_FIRST_PAGE))
    if newest is None or limit <= MAX_FIRST_PAGE or newest.total <= MAX_FIRST_PAGE:
        return newest
    return newest._replace(streamers=list(islice(_ordered(store, live_only=live_only), limit)))


def read_states(address: Address, streamers: Iterable[Streamer]) -> dict[tuple[str, str], StreamerView]:
    """How each of these was last seen, by platform and name as the follow list has it."""
    seen = {}
    with read_only_store(address) as store:
        for platform, pairs in follow_list.ids_by_platform(store, streamers).items():
            records = store.find_streamers(platform, [streamer_id for _, streamer_id in pairs])
            for (streamer, _), record in zip(pairs, records, strict=True):
                seen[streamer.key] = views.from_record(record)
    return seen


def read_history(address: Address, streamer: Streamer) -> StreamerHistory:
    with read_only_store(address) as store:
        streamer_id = store.aliases(streamer.platform, [streamer.id]).get(streamer.id, streamer.id)
        return find_history(store, streamer.platform, streamer_id)


def find_history(store: Store, platform: str, streamer_id: str) -> StreamerHistory:
    """The record and the sessions of this id; no alias is followed."""
    sessions = store.sessions(platform, [streamer_id])
    return StreamerHistory(store.find_streamer(platform, streamer_id), sessions[streamer_id])


@contextmanager
def read_only_store(address: Address) -> Iterator[Store]:
    """The store at this address, for reading only. ServerError if it does not answer in time."""
    with read_only_client(address) as client:
        yield Store(client)


@contextmanager
def read_only_client(address: Address) -> Iterator[Any]:
    """The same, for whoever keeps something of their own in the store."""
    with redis_client.connect(address) as connection:
        yield ReadOnlyRedis(connection)


class ReadOnlyRedis:
    """The methods of a Redis client that reading the store needs. Each answer has its time anew: what is done between
    two of them, such as reading a file, is not the server's.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def evalsha(self, digest: str, *words: str | float) -> Any:
        return self._run("EVALSHA", digest, *words)

    def eval(self, text: str, *words: str | float) -> Any:
        return self._run("EVAL", text, *words)

    def _run(self, *command: str | float) -> Any:
        self._connection.extend()
        return _decode(self._connection.execute(*command))

    def get(self, name: str) -> Any:
        return self._run("GET", name)

    def hmget(self, name: str, keys: Sequence[str]) -> Any:
        return self._run("HMGET", name, *keys)

    def hgetall(self, name: str) -> dict[str, str]:
        return _pairs(self._run("HGETALL", name))

    def hlen(self, name: str) -> int:
        return int(self._run("HLEN", name))

    def hscan(self, name: str, cursor: int, *, count: int) -> tuple[int, dict[str, str]]:
        reached, flat = self._run("HSCAN", name, cursor, "COUNT", count)
        return int(reached), _pairs(flat)

    def mget(self, keys: Sequence[str]) -> Any:
        return self._run("MGET", *keys)

    def pipeline(self, *, transaction: bool) -> ReadOnlyPipeline:
        return ReadOnlyPipeline(self._connection)


class ReadOnlyPipeline:
    """Commands that are sent together."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._commands: list[tuple[str | float, ...]] = []

    def get(self, name: str) -> None:
        self._commands.append(("GET", name))

    def hgetall(self, name: str) -> None:
        self._commands.append(("HGETALL", name))

    def hlen(self, name: str) -> None:
        self._commands.append(("HLEN", name))

    def zcard(self, name: str) -> None:
        self._commands.append(("ZCARD", name))

    def hmget(self, name: str, keys: Sequence[str]) -> None:
        self._commands.append(("HMGET", name, *keys))

    def evalsha(self, digest: str, *words: str | float) -> None:
        self._commands.append(("EVALSHA", digest, *words))

    def execute(self, *, raise_on_error: bool = True) -> Any:
        send = self._connection.execute_all if raise_on_error else self._connection.call_all
        self._connection.extend()
        replies = _decode(send(self._commands))
        return [
            _pairs(reply) if command[0] == "HGETALL" else reply
            for command, reply in zip(self._commands, replies, strict=True)
        ]


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _decode(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode()
    return [_decode(item) for item in reply] if isinstance(reply, list) else reply


def _name_key(record: StreamerRecord) -> tuple[bool, str, str]:
    return record.state is not State.LIVE, (record.name or record.id).casefold(), record.platform


SORT_KEYS: dict[str, Callable[[StreamerRecord], Any]] = {
    "newest": newest_key,
    "viewers": lambda record: (record.state is not State.LIVE, -(record.viewers or 0), newest_key(record)),
    "name": _name_key,
    "platform": lambda record: (record.state is not State.LIVE, record.platform, _name_key(record)),
}
