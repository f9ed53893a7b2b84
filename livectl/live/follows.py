"""The follow list: whom livectl follows, as people write it down.

A list with an address that cannot be read is refused as a whole: to leave somebody out would be to unfollow them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from livectl.errors import FileError, LivectlError, Mistake
from livectl.live import platforms
from livectl.model import Streamer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

MOST_MISTAKES = 20  # told at once; nobody mends more in one go


class Entry(NamedTuple):
    """A line of a list, not yet understood, and where it stands."""

    address: str
    line: int
    column: int = 1
    name: str = ""
    tags: tuple[str, ...] = ()
    alerts: tuple[str, ...] | None = None
    weight: float = 1.0


class Follow(NamedTuple):
    """Somebody on the list, and the entry that first names them."""

    streamer: Streamer
    entry: Entry


class FollowList(NamedTuple):
    """A list understood. Its mistakes are what could not be, and warnings about the rest."""

    follows: tuple[Follow, ...]
    mistakes: tuple[Mistake, ...] = ()

    @property
    def streamers(self) -> list[Streamer]:
        return [follow.streamer for follow in self.follows]

    @property
    def refused(self) -> list[Mistake]:
        return [mistake for mistake in self.mistakes if not mistake.warning]


def load(path: Path, name: str = "", targets: Collection[str] | None = None) -> FollowList:
    """The list in a file; FileError with every mistake in it. `targets` are the alerts that there are."""
    found = understand(_entries(path, name or str(path)), name or str(path), targets)
    if refused := found.refused:
        more = len(refused) - MOST_MISTAKES
        hint = f"These are the first {MOST_MISTAKES}: there are {more} more." if more > 0 else ""
        raise FileError(refused[:MOST_MISTAKES], hint)
    return found


def address(text: str) -> Streamer:
    """Whom a pasted address names; Refused, with the reason, when it is no streamer's."""
    platform, one = platforms.read(text)
    pasted = text.strip() if text.strip().startswith(("http://", "https://")) else ""
    return Streamer(platform=platform, id=one, url=platforms.get(platform).url(one) or pasted)


def understand(entries: Iterable[Entry], name: str, targets: Collection[str] | None = None) -> FollowList:
    """Streamers for entries, in their order. The same one twice is merged, and that is said."""
    found: dict[tuple[str, str], Follow] = {}
    mistakes: list[Mistake] = []
    for entry in entries:
        try:
            streamer = _streamer(entry)
        except LivectlError as refused:
            mistakes.append(Mistake(name, entry.line, entry.column, refused.message, refused.hint))
            continue
        key = (streamer.platform, streamer.id)
        if first := found.get(key):
            text = f"{'/'.join(key)} again: it is already in line {first.entry.line}"
            mistakes.append(Mistake(name, entry.line, entry.column, text, "the two are taken as one", warning=True))
            streamer = merged(first.streamer, streamer)
        found[key] = Follow(streamer, first.entry if first else entry)
        if targets is not None:
            mistakes += _unheard(entry, name, targets)
    return FollowList(tuple(found.values()), tuple(mistakes))


def merged(first: Streamer, second: Streamer) -> Streamer:
    """One for both: what either says, and where both do, the first."""
    alerts = first.alerts if second.alerts is None else (*(first.alerts or ()), *second.alerts)
    return Streamer(
        platform=first.platform,
        id=first.id,
        name=first.name or second.name,
        url=first.url or second.url,
        tags=tuple(dict.fromkeys(first.tags + second.tags)),
        alerts=None if alerts is None else tuple(dict.fromkeys(alerts)),
        weight=max(first.weight, second.weight),
    )


def _entries(path: Path, name: str) -> Iterable[Entry]:
    if path.suffix.lower() in {".yaml", ".yml"}:
        from livectl.live import followfile

        return followfile.entries(path, name)
    from livectl.live import lists

    return lists.read(path, name)


def _streamer(entry: Entry) -> Streamer:
    found = address(entry.address)
    return Streamer(
        platform=found.platform,
        id=found.id,
        name=entry.name,
        url=found.url,
        tags=entry.tags,
        alerts=entry.alerts,
        weight=entry.weight,
    )


def _unheard(entry: Entry, name: str, targets: Collection[str]) -> list[Mistake]:
    """Alerts that no setting describes: nobody would hear of them."""
    hint = f"the settings have {', '.join(sorted(targets))}" if targets else "the settings have none"
    return [
        Mistake(name, entry.line, entry.column, f"no alert is called {target}", hint, warning=True)
        for target in entry.alerts or ()
        if target not in targets
    ]
