"""Reads a follow list: a file of addresses or entries in, streamers out.

An entry that cannot be followed is refused with its line; the others are followed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl import suggestions
from livectl.errors import FileError, LivectlError, Mistake, SettingsError
from livectl.file_stamp import read_stamp
from livectl.live import platforms
from livectl.models import State, Streamer, StreamerRecord, UnresolvedFollow
from livectl.validation import FileLocation, describe_error, describe_unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from livectl.live.store import Store
    from livectl.yamlfile import Document, KeyPath


YAML_SUFFIXES = {".yaml", ".yml"}
COMMENT = "#"
ENTRY_EXAMPLE = "write `- platform/id`, an address, or {url: …, name: …, tags: […], alerts: […], weight: 5}"
MAX_WEIGHT = 100.0  # checked ten times as often as others; with more, nobody else would be checked
MAX_NAME_CHARS = 100
MAX_LINE_CHARS = 300  # of a line that names nobody
NAMED_ADDRESS = re.compile(r"([\w-]{1,40})/(\S+)")  # platform/id, whether or not there is such a platform
LINES_AT_ONCE = 1000
LONG_BYTES = 1_000_000  # of a file: tens of thousands of lines
MAX_LINES_LOOKED_AT, MAX_WAITING = 20_000, 1000  # of a file that no worker has read: half a second
CACHE_PLATFORM, CACHE_KEY = "livectl", "follows"  # the applied list is kept where platforms keep their tokens


class FollowLine(NamedTuple):
    """An entry: its line and column, the streamer or the error, and what was written."""

    location: tuple[int, int]
    streamer: Streamer | LivectlError
    written: Any = ""


class FollowList(NamedTuple):
    """The streamers of a file, each once."""

    streamers: tuple[Streamer, ...]
    refused: tuple[Mistake, ...] = ()  # entries that are no streamer
    merged: tuple[Mistake, ...] = ()  # warnings: entries for a streamer of an earlier entry
    unread: tuple[UnresolvedFollow, ...] = ()  # the refused entries, as they are shown among the streamers


class AppliedList(msgspec.Struct, frozen=True):
    """The follow list that the store has."""

    put: float  # when its file was put in its place
    digest: str
    whole: bool = True  # every name on it was resolved to an id


class WaitingList(NamedTuple):
    """What the file has and the store has not yet, or why the file cannot be read."""

    streamers: tuple[StreamerRecord, ...] = ()
    problem: str = ""


def is_long(path: Path) -> bool:
    """Whether the file has so many lines that reading it takes a while: they are not held at once then."""
    stamp = read_stamp(path)
    return stamp is not None and stamp.size > LONG_BYTES


def read_applied(store: Store) -> AppliedList:
    (text,) = store.cache_get(CACHE_PLATFORM, [CACHE_KEY])
    return msgspec.json.decode(text, type=AppliedList) if text else AppliedList(0.0, "")


def is_newer(store: Store, path: Path) -> bool:
    """Whether the file has changed since the store took it over."""
    stamp = read_stamp(path)
    return stamp is not None and stamp.placed_at > read_applied(store).put


def find_waiting(store: Store, path: Path, name: str = "") -> WaitingList:
    """Who is on the list of this file and not among those the store knows: no worker has read it since it changed.

    The file is read only if it is newer than what the store has; and of a long one no more than the first lines, until
    some who wait are found.
    """
    if not is_newer(store, path):
        return WaitingList()
    name, waiting, looked_at = name or path.name, dict[tuple[str, str], StreamerRecord](), 0
    lines = read_lines(path, name)
    try:
        while some := list(islice(lines, LINES_AT_ONCE)):
            waiting |= {record.key: record for record in _unknown(store, merge_lines(some, name))}
            looked_at += len(some)
            if looked_at >= MAX_LINES_LOOKED_AT or len(waiting) >= MAX_WAITING:
                break
    except LivectlError as error:
        return WaitingList(problem=error.message)
    return WaitingList(tuple(waiting.values()))


def _unknown(store: Store, follows: FollowList) -> Iterator[StreamerRecord]:
    """Those whom the store does not have."""
    for platform, pairs in ids_by_platform(store, follows.streamers).items():
        records = store.find_streamers(platform, [streamer_id for _, streamer_id in pairs])
        for (streamer, streamer_id), known in zip(pairs, records, strict=True):
            if not known.streamer:
                yield StreamerRecord(platform=platform, id=streamer_id, name=streamer.name, streamer=streamer)
    for follow in follows.unread:
        if not store.find_streamer(*follow.streamer.key).streamer:
            yield follow.as_record()


def ids_by_platform(store: Store, streamers: Iterable[Streamer]) -> dict[str, list[tuple[Streamer, str]]]:
    """Each streamer of each platform, with the id that was found for their name earlier, or the name."""
    by_platform: dict[str, list[Streamer]] = {}
    for streamer in streamers:
        by_platform.setdefault(streamer.platform, []).append(streamer)
    pairs = {}
    for platform, same_platform in by_platform.items():
        ids = store.aliases(platform, [streamer.id for streamer in same_platform])
        pairs[platform] = [(streamer, ids.get(streamer.id, streamer.id)) for streamer in same_platform]
    return pairs


def load(path: Path, name: str = "") -> FollowList:
    """Reads the follow list of a file, which messages call `name`. FileError if it cannot be read at all."""
    name = name or str(path)
    return merge_lines(read_lines(path, name), name)


def load_only(path: Path, key: tuple[str, str]) -> Streamer | None:
    """The streamer with this platform and name, as the list has them."""
    lines = lines_about(path, str(path), [key])
    own = (line for line in lines if isinstance(line.streamer, Streamer) and line.streamer.key == key)
    return next(iter(merge_lines(own, str(path)).streamers), None)


def lines_about(path: Path, name: str, keys: Collection[tuple[str, str]]) -> Iterator[FollowLine]:
    """At least the lines for these, by platform and id, and the last one: of a long list not many more."""
    from livectl.live.follows import entries

    cut = entries.find_cut(path, name, path.suffix.lower())
    return cut.lines_about(keys) if cut else read_lines(path, name)


def read_content(path: Path, name: str) -> bytes:
    """The content of the file; empty if there is no file yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SettingsError(f"{name}: {(error.strerror or str(error)).lower()}", "Is this the right path?") from error


def read_lines(path: Path, name: str) -> Iterator[FollowLine]:
    """The lines of the file, one after the other; none if there is no file yet. FileError if it is no follow list."""
    from livectl.live.follows import lines

    try:
        yield from lines.read(path, path.suffix, name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"{name}: {(error.strerror or str(error)).lower()}", "Is this the right path?") from error


def parse_lines(content: bytes, suffix: str, name: str) -> Iterator[FollowLine]:
    """The same of a text."""
    from livectl.live.follows import lines

    return lines.read(content, suffix, name)


def decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError([Mistake(name, line, 1, "not UTF-8", "save the file as UTF-8")]) from None


def strip_comment(line: str) -> str:
    """The line without its comment. A `#` begins one at the start or after a blank; in an address it does not."""
    if COMMENT not in line:
        return line.strip()
    for at, letter in enumerate(line):
        if letter == COMMENT and (at == 0 or line[at - 1].isspace()):
            return line[:at].strip()
    return line.strip()


def merge_lines(follow_lines: Iterable[FollowLine], name: str) -> FollowList:
    """Merges the entries for one streamer, with a warning for each but the first."""
    from livectl.live.list_spool import merge_entries

    by_key: dict[tuple[str, str], tuple[Streamer, int]] = {}
    refused, merged, unread = [], [], []
    for (line, column), streamer, written in follow_lines:
        if isinstance(streamer, LivectlError):
            refused.append(Mistake(name, line, column, *describe_error(streamer)))
            unread.append(unread_follow(name, line, streamer, written))
        elif streamer.key not in by_key:
            by_key[streamer.key] = (streamer, line)
        else:
            earlier, earlier_line = by_key[streamer.key]
            by_key[streamer.key] = (merge_entries(earlier, streamer), earlier_line)
            merged.append(merged_mistake(name, (line, column), "/".join(streamer.key), earlier_line))
    streamers = tuple(streamer for streamer, _ in by_key.values())
    return FollowList(streamers, tuple(refused), tuple(merged), tuple(unread))


def merged_mistake(name: str, place: tuple[int, int], key: str, earlier_line: int) -> Mistake:
    """The warning that a line is for somebody whom an earlier one follows."""
    text = f"{key} is followed by line {earlier_line} already"
    return Mistake(name, *place, text, "the two are taken together", warning=True)


def unread_follow(name: str, line: int, error: LivectlError, written: Any) -> UnresolvedFollow:
    """A refused entry as it is shown among the streamers."""
    problem = f"{name}:{line}: {error.message}"
    return UnresolvedFollow(streamer=name_refused(written), state=State.UNKNOWN, problem=problem)


def name_refused(written: Any) -> Streamer:
    """The name that a refused entry was meant for, as far as can be told: by it the entry is shown and removed."""
    from livectl.yamlfile import format_value

    url = written.get("url") if isinstance(written, dict) else written
    address = url.strip() if isinstance(url, str) else format_value(written)
    try:
        return parse_streamer(address)
    except LivectlError:
        named = NAMED_ADDRESS.fullmatch(address)
        platform, streamer_id = (named[1].lower(), named[2]) if named else ("", address or "?")
        return Streamer(platform=platform, id=streamer_id[:MAX_LINE_CHARS])


def read_entry(value: Any) -> Streamer:
    """The streamer of a YAML entry. SettingsError or NotAStreamer if it is none."""
    if isinstance(value, str):
        return parse_streamer(value)
    if not isinstance(value, dict):
        raise SettingsError("this is no streamer", ENTRY_EXAMPLE)
    for key in value:
        if key not in FIELD_READERS and key != "url":
            raise SettingsError(*describe_unknown_key(key, [*FIELD_READERS, "url"], ENTRY_EXAMPLE))
    if not isinstance(value.get("url"), str):
        raise SettingsError("an entry needs a url", ENTRY_EXAMPLE)
    return parse_streamer(value["url"], {key: FIELD_READERS[key](raw) for key, raw in value.items() if key != "url"})


def parse_streamer(address: str, fields: Mapping[str, Any] | None = None) -> Streamer:
    """The streamer at a pasted address, or `platform/id`."""
    platform, streamer_id = platforms.parse_address(address)
    page_url = platforms.get(platform).url(streamer_id)
    return Streamer(platform=platform, id=streamer_id, url=page_url or address.strip(), **(fields or {}))


def parse_argument(text: str, path: Path) -> Streamer:
    """The streamer that a word of the command line names. One that names none may be near somebody of this list."""
    try:
        return parse_streamer(text)
    except LivectlError as error:
        addresses = {} if "/" in text else _addresses_by_word(path)
        if word := suggestions.nearest(text, addresses):
            error.hint = f"Did you mean {addresses[word]}? {error.hint}"
        raise


def parse_listed(text: str, path: Path) -> Streamer:
    """The streamer that a word names, or the refused entry of this list that is shown as it."""
    try:
        return parse_argument(text, path)
    except LivectlError:
        refused = name_refused(text)
        with suppress(LivectlError):
            lines = lines_about(path, str(path), [refused.key])
            others = (line for line in lines if not isinstance(line.streamer, Streamer))
            if any(name_refused(line.written).key == refused.key for line in others):
                return refused
        raise


def _addresses_by_word(path: Path) -> dict[str, str]:
    """`platform/id` of the list's streamers, by their ids and names; none where the list is long or cannot be read."""
    if is_long(path):
        return {}
    try:
        streamers = load(path).streamers
    except LivectlError:
        return {}
    return {
        word: f"{streamer.platform}/{streamer.id}"
        for streamer in streamers
        for word in (streamer.name, streamer.id)
        if word
    }


def streamer_or_error(read: Callable[..., Streamer], *args: Any) -> Streamer | LivectlError:
    """What `read` returns or raises."""
    try:
        return read(*args)
    except LivectlError as error:
        return error


def find_entries(document: Document) -> tuple[list[Any], KeyPath]:
    """The entries, and the keys that lead to them. A document is a list, or has a list under `follows`."""
    location, value = FileLocation(document), document.value
    if isinstance(value, dict):
        for key in value.keys() - {"follows"}:
            mistake = describe_unknown_key(key, (), "it can be follows")
            location.child(key, silent=True).add_mistake(*mistake, key=True)
        location, value = location.child("follows", silent=True), value.get("follows")
    if value is not None and not isinstance(value, list):
        location.add_mistake("follows is a list", ENTRY_EXAMPLE)
    location.raise_mistakes()
    return value or [], location.key_path


def _read_name(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise SettingsError("a name is text", "put it in quotes")
    return str(value)[:MAX_NAME_CHARS]


def _word_reader(key: str) -> Callable[[Any], tuple[str, ...]]:
    def read_words(value: Any) -> tuple[str, ...]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str | int) and str(word) for word in words):
            raise SettingsError(f"{key} is a list of words", f"write {key}: [one, other]")
        return tuple(dict.fromkeys(str(word) for word in words))

    return read_words


def _read_alerts(value: Any) -> tuple[str, ...] | None:
    return None if value is None else _word_reader("alerts")(value)


def _read_tags(value: Any) -> tuple[str, ...]:
    return () if value is None else _word_reader("tags")(value)


def _read_weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_WEIGHT:
        raise SettingsError(f"a weight is a number above 0, up to {MAX_WEIGHT:g}", "1 is the usual one")
    return float(value)


FIELD_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _read_name,
    "tags": _read_tags,
    "alerts": _read_alerts,
    "weight": _read_weight,
}
