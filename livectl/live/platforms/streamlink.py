"""Everything else: whatever site a plugin of streamlink reads. It does its own I/O, in a thread with a time limit.

An optional extra. A streamer is followed by address. Streams mean live; no streams may mean offline or one of the
errors streamlink only logs, so that is believed when it is said twice in a row. Browsers, local files, bare playlists
and recordings are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from livectl.live.platforms import answers
from livectl.live.platforms.base import Call, Platform, Refused, Unanswered, keep, recall
from livectl.live.platforms.batches import one_by_one
from livectl.live.platforms.pages import page
from livectl.model import Observation, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from streamlink import Streamlink
    from streamlink.plugin import Plugin

    from livectl.live.platforms.base import Effect, Means

NAME = "streamlink"
EXTRA = "pip install 'livectl[streamlink]'"
HTTP_SECONDS = 15  # for one request of a plugin; a check makes 2 to 5
CHECK_SECONDS = 45.0  # for a whole check
AGAIN_SECONDS = 3_600.0  # "no streams" said longer ago than this is not the first of two in a row
PLAYLISTS = {"hls", "dash", "http"}  # plugins that play any file, of any host: not sites
RECORDED = re.compile(r"vod|video|clip|episode|series|movie|search|share")  # in the name of a plugin's matcher
BLOCKED = re.compile(r"\b(403|451)\b|forbidden|captcha|geo.?(block|restrict)", re.IGNORECASE)
RATE_LIMITED = re.compile(r"\b429\b|too many requests", re.IGNORECASE)
NETWORK = re.compile(r"timed? ?out|resolve|connection|unable to open url|\b5\d\d\b", re.IGNORECASE)
SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class Told(NamedTuple):
    """What a plugin told: whether there are streams, what it calls them, or what went wrong."""

    streams: bool
    metadata: dict[str, str | None]
    error: str = ""


def address(text: str) -> str | None:
    """The address itself, if a plugin knows the site."""
    text = text.strip().removeprefix(f"{NAME}/")
    scheme = SCHEME.match(text)
    if scheme and scheme[1].lower() not in {"http", "https"}:
        raise Refused(f"{scheme[1]}:// is no address of a site", "Give the http or https address of the channel.")
    where = page(text)
    if where is None or "." not in where.host:
        return None
    split = urlsplit(where.url)
    if "@" in split.netloc:
        raise Refused(f"an address of {where.host} with a password in it", "Give the address of the channel alone.")
    canonical = urlunsplit((split.scheme.lower(), split.netloc.lower(), split.path, split.query, ""))
    _refuse_recordings(_plugin(canonical, where.host), canonical)
    return canonical


def _plugin(address: str, host: str) -> type[Plugin]:
    try:
        from streamlink.exceptions import NoPluginError
    except ImportError as error:
        raise Refused(f"livectl does not know {host} by itself; streamlink may", f"Install it: {EXTRA}") from error
    try:
        name, found, _ = _session().resolve_url_no_redirect(address)
    except NoPluginError as error:
        raise Refused(f"neither livectl nor streamlink knows {host}", "docs/platforms.md lists the sites.") from error
    if name in PLAYLISTS:
        raise Refused("a file or playlist is no streamer", "Give the address of the channel's page.")
    plugin: type[Plugin] = found
    return plugin


def _refuse_recordings(plugin: type[Plugin], address: str) -> None:
    matching = next((matcher for matcher in plugin.matchers if matcher.pattern.match(address)), None)
    if matching and matching.name and RECORDED.search(matching.name):
        raise Refused(f"a recording or clip is no streamer: {address}", "Give the address of the channel.")


def _session() -> Streamlink:
    """A new one for each check: sessions are not said to be safe between threads."""
    from streamlink import Streamlink

    session = Streamlink()
    session.set_option("webbrowser", False)  # noqa: FBT003 - its interface
    session.set_option("http-timeout", HTTP_SECONDS)
    return session


def url(one: str) -> str:
    return one


def told(one: str) -> Told:
    """Asks, in the thread that runs this. Raises nothing: what went wrong is told."""
    try:
        session = _session()
        _, plugin, resolved = session.resolve_url_no_redirect(one)
        site = plugin(session, resolved)
        return Told(streams=bool(site.streams()), metadata=dict(site.get_metadata()))
    except ImportError:
        return Told(streams=False, metadata={}, error=f"streamlink is not installed: {EXTRA}")
    except Exception as error:
        return Told(streams=False, metadata={}, error=f"{type(error).__name__}: {error}")


def look(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    said: Told | None = yield Call(told, (one,), CHECK_SECONDS)
    if said is None:
        raise Unanswered(State.NETWORK, f"no answer within {CHECK_SECONDS:.0f} s")
    if said.error:
        raise Unanswered(_blame(said.error), answers.plain(said.error))
    key = f"silent/{one}"
    silent = yield from recall(key)
    if not said.streams and not silent:
        yield from keep(key, "1", AGAIN_SECONDS)
        raise Unanswered(State.UNKNOWN, "no streams: offline, or an error it did not tell; to be asked once more")
    if not said.streams:
        yield from keep(key, "1", AGAIN_SECONDS)
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now, url=one)
    if silent:
        yield from keep(key, "", AGAIN_SECONDS)
    return Observation(
        platform=NAME,
        id=one,
        state=State.LIVE,
        at=means.now,
        session=said.metadata.get("id") or "",
        title=answers.plain(said.metadata.get("title")),
        category=answers.plain(said.metadata.get("category")),
        name=answers.plain(said.metadata.get("author")),
        url=one,
    )


def _blame(error: str) -> State:
    if RATE_LIMITED.search(error):
        return State.RATE_LIMITED
    if BLOCKED.search(error):
        return State.BLOCKED
    return State.NETWORK if NETWORK.search(error) else State.PARSE_ERROR


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset(),  # its requests are streamlink's own
    batch=1,
    budget="20/m",  # checks, of 2 to 5 requests each, to sites that never asked for them
    address=address,
    url=url,
    check=one_by_one(NAME, look),
)
