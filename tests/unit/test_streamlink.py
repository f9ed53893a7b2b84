"""Streamlink as a platform: what it may be asked, what its answers come to, and that it is optional."""

from __future__ import annotations

import sys

import pytest

from livectl.live.platforms import streamlink
from livectl.live.platforms.base import Call, CheckContext, NotAStreamer
from livectl.models import CacheGet, CacheSet, State

SITE = "https://picarto.tv/somebody"
LIVE = streamlink.PluginReport(
    streams=True, metadata={"id": "77", "title": "A &amp; B", "author": "Some", "category": None}
)
SILENT = streamlink.PluginReport(streams=False, metadata={})


def _said(told: streamlink.PluginReport | None, memory: dict[str, str]) -> tuple[State, str, str]:
    """State, session and problem after one check that is told this."""
    check = streamlink.PLATFORM.check([SITE], CheckContext(0.0, {}))
    effect = next(check)
    answer: object = None
    try:
        while True:
            match effect:
                case Call():
                    assert effect.args == (SITE,)
                    assert 0 < effect.seconds < 60
                    answer = told
                case CacheGet():
                    answer = memory.get(effect.key)
                case CacheSet():
                    memory[effect.key] = effect.value
                    answer = None
            effect = check.send(answer)
    except StopIteration as stop:
        (seen,) = stop.value
        return seen.state, seen.session, seen.problem


def test_streams_are_live_with_the_plugins_own_id() -> None:
    assert _said(LIVE, {}) == (State.LIVE, "77", "")


def test_no_streams_is_believed_when_said_twice_in_a_row() -> None:
    memory: dict[str, str] = {}
    assert [_said(told, memory)[0] for told in (SILENT, SILENT, SILENT, LIVE, SILENT, SILENT)] == [
        State.UNKNOWN,
        State.OFFLINE,
        State.OFFLINE,
        State.LIVE,
        State.UNKNOWN,
        State.OFFLINE,
    ]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ("PluginError: Unable to open URL: https://x (403 Client Error: Forbidden)", State.BLOCKED),
        ("PluginError: 429 Client Error: Too Many Requests", State.RATE_LIMITED),
        ("PluginError: Unable to open URL: https://x (Read timed out)", State.NETWORK),
        ("PluginError: Unable to validate response text: missing key", State.PARSE_ERROR),
    ],
)
def test_a_plugins_error_is_told_by_its_text(error: str, state: State) -> None:
    assert _said(streamlink.PluginReport(streams=False, metadata={}, error=error), {}) == (state, "", error)


def test_silence_is_the_network() -> None:
    assert _said(None, {})[0] is State.NETWORK


def test_what_a_plugin_raises_is_told() -> None:
    pytest.importorskip("streamlink")
    told = streamlink.ask_plugin("https://nowhere.invalid/somebody")
    assert not told.streams
    assert told.error.startswith("NoPluginError")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (SITE, SITE),
        ("picarto.tv/somebody", SITE),
        (f"streamlink/{SITE}#chat", SITE),
        ("HTTPS://PICARTO.TV/somebody", SITE),
        ("demo/ada", None),
        ("somebody", None),
    ],
)
def test_an_address_is_the_id(text: str, read: str | None) -> None:
    pytest.importorskip("streamlink")
    assert streamlink.address(text) == read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://picarto.tv/somebody/videos/123", "recording"),
        ("https://example.com/list.m3u8", "file or playlist"),
        ("https://example.com/somebody", "neither livectl nor streamlink"),
        ("hls://https://example.com/x", "hls://"),
        ("file:///etc/passwd", "file://"),
        ("https://me:secret@picarto.tv/somebody", "password"),
    ],
)
def test_what_is_no_streamer_is_refused(text: str, reason: str) -> None:
    pytest.importorskip("streamlink")
    with pytest.raises(NotAStreamer, match=reason) as refused:
        streamlink.address(text)
    assert "secret" not in f"{refused.value.message}{refused.value.hint}"


def test_no_browser_is_started() -> None:
    pytest.importorskip("streamlink")
    assert streamlink._new_session().get_option("webbrowser") is False


def test_without_the_extra_an_address_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamlink", None)
    monkeypatch.setitem(sys.modules, "streamlink.exceptions", None)
    with pytest.raises(NotAStreamer, match=r"does not know picarto\.tv") as refused:
        streamlink.address(SITE)
    assert "livectl[streamlink]" in refused.value.hint
    assert "not installed" in streamlink.ask_plugin(SITE).error
