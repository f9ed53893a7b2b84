"""Reads from an address which streamers a visitor wants to see, in which order and view; and writes such addresses."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.models import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from livectl.models import StreamerRecord
    from livectl.web.streamer_list import StreamerList


MAX_SEARCH_CHARS = 100
STATES = ("live", "offline", "trouble")
VIEWS = ("cards", "list")
SORTS = ("recent", "viewers", "name", "platform")
GROUPS = ("state", "platform", "tag")


class StreamerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which streamers a visitor wants to see. An empty field lets everybody through."""

    platform: str = ""
    tag: str = ""
    state: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.platform or self.tag or self.state or self.text)

    def matches(self, record: StreamerRecord) -> bool:
        if self.platform and record.platform != self.platform:
            return False
        if self.tag and self.tag not in tags_of(record):
            return False
        if self.state and not _is_in_state(record, self.state):
            return False
        search = self.text.casefold()
        return not search or any(
            search in text.casefold() for text in (record.name, record.id, record.title, record.category)
        )

    def apply(self, streamers: StreamerList) -> StreamerList:
        if not self:
            return streamers
        live, others = (tuple(filter(self.matches, records)) for records in (streamers.live, streamers.others))
        return msgspec.structs.replace(streamers, live=live, others=others)


class Arrangement(msgspec.Struct, frozen=True, kw_only=True):
    """How a visitor wants to see them."""

    view: str = VIEWS[0]
    sort: str = SORTS[0]
    group: str = GROUPS[0]
    everybody: bool = False  # however many they are

    def arrange(self, streamers: StreamerList) -> list[StreamerGroup]:
        """The groups in their order, each with its streamers in theirs."""
        live, others = self._sorted(streamers.live), self._sorted(streamers.others)
        if self.group == "state":
            return [StreamerGroup("", live, others)]
        names: dict[str, tuple[list[StreamerRecord], list[StreamerRecord]]] = defaultdict(lambda: ([], []))
        for records, part in ((live, 0), (others, 1)):
            for record in records:
                for name in [record.platform] if self.group == "platform" else tags_of(record) or [""]:
                    names[name][part].append(record)
        order = sorted(names, key=lambda name: (not name, not names[name][0], name.casefold()))
        return [StreamerGroup(name, *names[name]) for name in order]

    def _sorted(self, records: Iterable[StreamerRecord]) -> Sequence[StreamerRecord]:
        key = sort_key(self.sort)
        return sorted(records, key=key) if key else tuple(records)


class StreamerGroup(msgspec.Struct, frozen=True):
    """Some streamers under one heading: a platform, a tag, or none."""

    name: str
    live: Sequence[StreamerRecord]
    others: Sequence[StreamerRecord]


def parse_filter(query: Mapping[str, str]) -> StreamerFilter:
    """Reads a filter from the query of a page's address."""
    values = {name: query.get(name, "").strip()[:MAX_SEARCH_CHARS] for name in ("platform", "tag", "q")}
    state = query.get("state", "")
    return StreamerFilter(
        platform=values["platform"], tag=values["tag"], state=state if state in STATES else "", text=values["q"]
    )


def parse_arrangement(query: Mapping[str, str]) -> Arrangement:
    """Reads an arrangement from the query; what is not offered is what it would be without."""
    chosen = {
        name: value
        for name, offered in (("view", VIEWS), ("sort", SORTS), ("group", GROUPS))
        if (value := query.get(name, "")) in offered
    }
    return Arrangement(**chosen, everybody=query.get("all", "") == "1")


def write_query(streamer_filter: StreamerFilter, arrangement: Arrangement, **changes: str) -> str:
    """The query that says the same, with some values changed; empty where nothing is chosen."""
    values = {
        "platform": streamer_filter.platform,
        "tag": streamer_filter.tag,
        "state": streamer_filter.state,
        "q": streamer_filter.text,
        "view": arrangement.view.removeprefix(VIEWS[0]),
        "sort": arrangement.sort.removeprefix(SORTS[0]),
        "group": arrangement.group.removeprefix(GROUPS[0]),
        "all": "1" if arrangement.everybody else "",
        **changes,
    }
    words = urlencode({name: value for name, value in values.items() if value})
    return f"?{words}" if words else ""


def tags_of(record: StreamerRecord) -> Sequence[str]:
    return record.streamer.tags if record.streamer else ()


def sort_key(sort: str) -> Callable[[StreamerRecord], Any] | None:
    """By what to sort; None for the usual order."""
    return _SORT_KEYS.get(sort)


def _is_in_state(record: StreamerRecord, state: str) -> bool:
    if state == "trouble":
        return record.trouble is not None
    return (record.state is State.LIVE) == (state == "live")


def _name_key(record: StreamerRecord) -> tuple[str, str]:
    return (record.name or record.id).casefold(), record.id


def _viewers_key(record: StreamerRecord) -> float:
    return -(record.viewers if record.viewers is not None else -1)


def _platform_key(record: StreamerRecord) -> tuple[str, str, str]:
    return record.platform, *_name_key(record)


_SORT_KEYS: dict[str, Callable[[StreamerRecord], float | tuple[str, ...]]] = {
    "viewers": _viewers_key,
    "name": _name_key,
    "platform": _platform_key,
}
