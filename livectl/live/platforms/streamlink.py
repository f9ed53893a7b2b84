"""Checks any site that a plugin of streamlink reads, where livectl has no platform of its own.

An optional extra. A plugin does its own I/O, so it runs in a thread with a time limit. A streamer is followed by
address. Streams mean live. No streams may mean offline, or an error that streamlink only logs, so offline takes two
such answers in a row. Browsers, local files, bare playlists and recordings are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from livectl import extras
from livectl.live.platforms import WEB_HOSTS, parsing
from livectl.live.platforms.base import Call, CheckFailed, NotAStreamer, Platform, cache_get, cache_set, one_by_one
from livectl.live.platforms.parsing import parse_page_address
from livectl.models import Observation, State
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Generator

    from streamlink import Streamlink
    from streamlink.plugin import Plugin

    from livectl.live.platforms.base import CheckContext, Effect

NAME = "streamlink"
REQUEST_TIMEOUT_S = 15  # of one request of a plugin; a check makes 2 to 5
CHECK_TIMEOUT_S = 45.0
MIN_HOST_SIMILARITY = 0.8  # of difflib's measure: two letters wrong in www.twitch.tv
NO_STREAMS_CACHE_SECONDS = 3_600.0  # an older "no streams" is not the first of two in a row
PLAYLIST_PLUGINS = {"hls", "dash", "http"}  # they play any file of any host, and are no sites
RECORDING_MATCHER = re.compile(r"vod|video|clip|episode|series|movie|search|share")  # names of plugins' matchers
BLOCKED_ERROR = re.compile(r"\b(403|451)\b|forbidden|captcha|geo.?(block|restrict)", re.IGNORECASE)
RATE_LIMITED_ERROR = re.compile(r"\b429\b|too many requests", re.IGNORECASE)
NETWORK_ERROR = re.compile(r"timed? ?out|resolve|connection|unable to open url|\b5\d\d\b", re.IGNORECASE)
SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class PluginReport(NamedTuple):
    """Whether a plugin finds streams, and what it calls them; or what went wrong."""

    streams: bool
    metadata: dict[str, str | None]
    error: str = ""


def address(text: str) -> str | None:
    """The address itself, if a plugin knows the site."""
    text = text.strip().removeprefix(f"{NAME}/")
    scheme = SCHEME.match(text)
    if scheme and scheme[1].lower() not in {"http", "https"}:
        raise NotAStreamer(f"{scheme[1]}:// is no address of a site", "Give the http or https address of the channel.")
    page = parse_page_address(text)
    if page is None or "." not in page.host:
        return None
    split = urlsplit(page.url)
    if "@" in split.netloc:
        raise NotAStreamer(f"an address of {page.host} with a password in it", "Give the address of the channel alone.")
    canonical = urlunsplit((split.scheme.lower(), split.netloc.lower(), split.path, split.query, ""))
    _refuse_recordings(_find_plugin(canonical, page.host), canonical)
    return canonical


def _find_plugin(address: str, host: str) -> type[Plugin]:
    try:
        from streamlink.exceptions import NoPluginError
    except ImportError as error:
        raise NotAStreamer(
            f"livectl does not know {host} by itself; streamlink may", f"Install it: {extras.install_command(NAME)}"
        ) from error
    try:
        name, plugin_class, _ = _new_session().resolve_url_no_redirect(address)
    except NoPluginError as error:
        hosts = [known_host for hosts in WEB_HOSTS.values() for known_host in hosts]
        question = did_you_mean(host, hosts, cutoff=MIN_HOST_SIMILARITY).capitalize()
        hint = f"{question} `livectl docs platforms` lists the sites.".strip()
        raise NotAStreamer(f"neither livectl nor streamlink knows {host}", hint) from error
    if name in PLAYLIST_PLUGINS:
        raise NotAStreamer("a file or playlist is no streamer", "Give the address of the channel's page.")
    plugin: type[Plugin] = plugin_class
    return plugin


def _refuse_recordings(plugin: type[Plugin], address: str) -> None:
    first_match = next((matcher for matcher in plugin.matchers if matcher.pattern.match(address)), None)
    if first_match and first_match.name and RECORDING_MATCHER.search(first_match.name):
        raise NotAStreamer(f"a recording or clip is no streamer: {address}", "Give the address of the channel.")


def _new_session() -> Streamlink:
    """A session for one check, since streamlink does not promise that threads may share one."""
    from streamlink import Streamlink

    session = Streamlink()
    session.set_option("webbrowser", False)  # noqa: FBT003 - its interface
    session.set_option("http-timeout", REQUEST_TIMEOUT_S)
    return session


def url(streamer_id: str) -> str:
    return streamer_id


def ask_plugin(streamer_id: str) -> PluginReport:
    """Runs the plugin of an address, in the calling thread. Raises nothing: the report has the error."""
    try:
        session = _new_session()
        _, plugin, resolved = session.resolve_url_no_redirect(streamer_id)
        site = plugin(session, resolved)
        return PluginReport(streams=bool(site.streams()), metadata=dict(site.get_metadata()))
    except ImportError:
        return PluginReport(
            streams=False, metadata={}, error=f"streamlink is not installed: {extras.install_command(NAME)}"
        )
    except Exception as error:
        return PluginReport(streams=False, metadata={}, error=f"{type(error).__name__}: {error}")


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    report: PluginReport | None = yield Call(ask_plugin, (streamer_id,), CHECK_TIMEOUT_S)
    if report is None:
        raise CheckFailed(State.NETWORK, f"no answer within {CHECK_TIMEOUT_S:.0f} s")
    if report.error:
        raise CheckFailed(_error_state(report.error), parsing.plain_text(report.error))
    key = f"silent/{streamer_id}"
    was_silent = yield from cache_get(key)
    if not report.streams and not was_silent:
        yield from cache_set(key, "1", NO_STREAMS_CACHE_SECONDS)
        raise CheckFailed(State.UNKNOWN, "no streams: offline, or an error it did not tell; to be asked once more")
    if not report.streams:
        yield from cache_set(key, "1", NO_STREAMS_CACHE_SECONDS)
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now, url=streamer_id)
    if was_silent:
        yield from cache_set(key, "", NO_STREAMS_CACHE_SECONDS)
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE,
        at=context.now,
        session=report.metadata.get("id") or "",
        title=parsing.plain_text(report.metadata.get("title")),
        category=parsing.plain_text(report.metadata.get("category")),
        name=parsing.plain_text(report.metadata.get("author")),
        url=streamer_id,
    )


def _error_state(error: str) -> State:
    if RATE_LIMITED_ERROR.search(error):
        return State.RATE_LIMITED
    if BLOCKED_ERROR.search(error):
        return State.BLOCKED
    return State.NETWORK if NETWORK_ERROR.search(error) else State.PARSE_ERROR


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset(),  # its requests are streamlink's own
    batch=1,
    budget="20/m",  # checks, of 2 to 5 requests each, to sites that never asked for them
    address=address,
    url=url,
    check=one_by_one(NAME, check_streamer),
)
