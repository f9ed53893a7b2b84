"""Streamlink as a platform: which addresses it takes, what its reports lead to, and that it is optional."""

from __future__ import annotations

import sys

import pytest

from livectl.live.platforms import streamlink
from livectl.live.platforms.base import CacheGet, CacheSet, Call, CheckContext, NotAStreamer
from livectl.models import State

SITE = "https://picarto.tv/somebody"
LIVE = streamlink.PluginReport(
    streams=True, metadata={"id": "77", "title": "A &amp; B", "author": "Some", "category": None}
)
SILENT = streamlink.PluginReport(streams=False, metadata={})


def _observe(report: streamlink.PluginReport | None, cache: dict[str, str]) -> tuple[State, str, str]:
    """State, session and problem after one check, when the plugin reports this."""
    check = streamlink.PLATFORM.check([SITE], CheckContext(0.0, {}))
    effect = next(check)
    sent_value: object = None
    try:
        while True:
            match effect:
                case Call():
                    assert effect.args == (SITE,)
                    assert 0 < effect.seconds < 60
                    sent_value = report
                case CacheGet():
                    sent_value = cache.get(effect.key)
                case CacheSet():
                    cache[effect.key] = effect.value
                    sent_value = None
            effect = check.send(sent_value)
    except StopIteration as stop:
        (observation,) = stop.value
        return observation.state, observation.session, observation.problem


def test_streams_are_live_with_the_plugins_own_id() -> None:
    assert _observe(LIVE, {}) == (State.LIVE, "77", "")


def test_no_streams_is_believed_when_said_twice_in_a_row() -> None:
    cache: dict[str, str] = {}
    assert [_observe(report, cache)[0] for report in (SILENT, SILENT, SILENT, LIVE, SILENT, SILENT)] == [
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
def test_a_plugins_error_has_a_state_by_its_text(error: str, state: State) -> None:
    assert _observe(streamlink.PluginReport(streams=False, metadata={}, error=error), {}) == (state, "", error)


def test_silence_is_the_network() -> None:
    assert _observe(None, {})[0] is State.NETWORK


def test_what_a_plugin_raises_is_reported() -> None:
    pytest.importorskip("streamlink")
    report = streamlink.ask_plugin("https://nowhere.invalid/somebody")
    assert not report.streams
    assert report.error.startswith("NoPluginError")


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
    assert "pip install 'streamlink" in refused.value.hint
    assert "not installed" in streamlink.ask_plugin(SITE).error
