"""What people paste: the address of a streamer, an alias that resolves to one, or neither, with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext, CheckFailed, NotAStreamer
from livectl.models import Request, Response, State
from tests.support.check_driver import drive, plan_responder
from tests.support.effort import calls
from tests.support.sites.plan import Plan

CHANNEL = "UC" + "a" * 22
HEX = "0123456789abcdef" * 2

ADDRESSES = [
    ("https://www.twitch.tv/Somebody", "twitch/somebody"),
    ("TWITCH.TV/SOMEBODY", "twitch/somebody"),
    ("https://m.twitch.tv/somebody?desktop-redirect=true", "twitch/somebody"),
    ("https://go.twitch.tv/somebody/", "twitch/somebody"),
    ("https://player.twitch.tv/?channel=somebody&parent=x", "twitch/somebody"),
    ("https://www.twitch.tv/popout/somebody/chat", "twitch/somebody"),
    ("https://www.twitch.tv/somebody/about", "twitch/somebody"),
    ("https://www.twitch.tv/12345", "twitch/@12345"),
    ("twitch/12345", "twitch/12345"),
    ("twitch/Somebody", "twitch/somebody"),
    ("https://live.bilibili.com/6?live_from=78001", "bilibili/room:6"),
    ("live.bilibili.com/h5/6", "bilibili/room:6"),
    ("https://live.bilibili.com/blanc/6", "bilibili/room:6"),
    ("https://live.bilibili.com/p/html/live-app-x/index.html?room_id=6", "bilibili/room:6"),
    ("https://space.bilibili.com/2001/dynamic", "bilibili/2001"),
    ("https://b23.tv/AbCdEf", "bilibili/b23.tv/AbCdEf"),
    ("【某某的直播间】 https://b23.tv/AbCdEf", "bilibili/b23.tv/AbCdEf"),
    ("bilibili/2001", "bilibili/2001"),
    ("bilibili/room:6", "bilibili/room:6"),
    (f"https://www.youtube.com/channel/{CHANNEL}", f"youtube/{CHANNEL}"),
    (f"https://m.youtube.com/channel/{CHANNEL}/live", f"youtube/{CHANNEL}"),
    ("https://www.youtube.com/@Some.Body/streams", "youtube/@some.body"),
    ("https://www.youtube.com/@%E6%9F%90%E6%9F%90", "youtube/@某某"),
    ("https://www.youtube.com/c/Somebody", "youtube/c/Somebody"),
    ("https://www.youtube.com/user/Somebody/live", "youtube/user/Somebody"),
    ("youtube.com/Somebody", "youtube/c/Somebody"),
    ("https://www.youtube.com/watch?app=desktop&v=abcdefghijk&t=1s", "youtube/video:abcdefghijk"),
    ("https://youtu.be/abcdefghijk?si=x", "youtube/video:abcdefghijk"),
    ("https://www.youtube.com/live/abcdefghijk?feature=share", "youtube/video:abcdefghijk"),
    (f"youtube/{CHANNEL}", f"youtube/{CHANNEL}"),
    ("https://kick.com/Some_Body", "kick/@some-body"),
    ("kick.com/somebody/about", "kick/@somebody"),
    ("kick/3001", "kick/3001"),
    ("https://www.douyu.com/9999?dyshid=0", "douyu/9999"),
    ("m.douyu.com/9999", "douyu/9999"),
    ("https://www.douyu.com/topic/KPL?rid=9999", "douyu/9999"),
    ("https://www.douyu.com/beta/9999", "douyu/9999"),
    ("https://www.douyu.com/lpl", "douyu/lpl"),
    ("https://www.huya.com/660000", "huya/660000"),
    ("m.huya.com/lpl?shareid=1", "huya/lpl"),
    ("https://live.douyin.com/745964462470?room_id=1", "douyin/745964462470"),
    ("https://www.douyin.com/follow/live/745964462470", "douyin/745964462470"),
    ("7.43 复制打开抖音 https://v.douyin.com/iAbCd-e/ 12/12 x@y", "douyin/v.douyin.com/iAbCd-e"),
    ("https://webcast.amemv.com/douyin/webcast/reflow/7123?u=1", "douyin/reflow/7123"),
    (f"https://chzzk.naver.com/live/{HEX.upper()}", f"chzzk/{HEX}"),
    (f"chzzk.naver.com/{HEX}", f"chzzk/{HEX}"),
    ("https://play.sooplive.co.kr/SomeBody/287654321", "soop/somebody"),
    ("https://play.sooplive.com/somebody", "soop/somebody"),
    ("http://bj.afreecatv.com/somebody", "soop/somebody"),
    ("https://ch.sooplive.co.kr/somebody", "soop/somebody"),
    ("https://www.tiktok.com/@Some.Body/live?lang=en", "tiktok/some.body"),
    ("tiktok.com/@some.body", "tiktok/some.body"),
    ("https://vm.tiktok.com/ZMabc123/", "tiktok/vm.tiktok.com/ZMabc123"),
    ("https://www.tiktok.com/t/ZTabc123/", "tiktok/vm.tiktok.com/ZTabc123"),
    ("tiktok/@some.body", "tiktok/some.body"),
    ("demo/Ada", "demo/ada"),
]

NO_ADDRESSES = [
    ("https://clips.twitch.tv/Abc", "clip"),
    ("https://www.twitch.tv/somebody/clip/Abc", "clip"),
    ("https://www.twitch.tv/videos/123", "recording"),
    ("https://www.twitch.tv/directory/game/Chess", "no Twitch channel"),
    ("https://www.twitch.tv/settings/profile", "no Twitch channel"),
    ("https://www.twitch.tv/", "no Twitch channel"),
    ("twitch/some body", "not the address"),
    ("https://www.bilibili.com/video/BV1xx411c7mD", "no Bilibili room"),
    ("https://live.bilibili.com/", "no Bilibili room"),
    ("https://www.youtube.com/shorts/abcdefghijk", "no YouTube channel"),
    ("https://www.youtube.com/playlist?list=PL1", "no YouTube channel"),
    ("https://www.youtube.com/watch?v=short", "no YouTube video"),
    ("https://kick.com/somebody/videos/abc", "recording"),
    ("https://kick.com/category/chess", "no Kick channel"),
    ("https://www.douyu.com/directory/all", "no Douyu room"),
    ("https://www.huya.com/g/lol", "no Huya room"),
    ("https://www.huya.com/video/play/1.html", "no Huya room"),
    ("https://www.douyin.com/user/MS4wLjABAAAA", "profile"),
    ("https://www.douyin.com/video/7123", "no Douyin"),
    ("https://chzzk.naver.com/video/1", "recording"),
    ("https://chzzk.naver.com/clips/abc", "clip"),
    ("https://vod.sooplive.co.kr/player/1", "recording"),
    ("https://www.tiktok.com/@some.body/video/7", "video"),
    ("https://www.tiktok.com/foryou", "no TikTok"),
    ("demo/ada/lovelace", "no demo"),
    ("nowhere/somebody", "no platform nowhere"),
    ("somebody", "not the address"),
    ("", "not the address"),
    ("http://[::1", "not the address"),
    ("file:///etc/passwd", "file://"),
    ("hls://https://www.twitch.tv/somebody", "hls://"),
    ("httpstream://http://127.0.0.1/x", "httpstream://"),
]


@pytest.mark.parametrize(("text", "streamer"), ADDRESSES)
def test_an_address_is_read(text: str, streamer: str) -> None:
    name, streamer_id = platforms.parse_address(text)
    assert f"{name}/{streamer_id}" == streamer


@pytest.mark.parametrize(("_", "streamer"), ADDRESSES)
def test_what_was_read_is_read_again_as_the_same(_: str, streamer: str) -> None:
    name, streamer_id = platforms.parse_address(streamer)
    assert f"{name}/{streamer_id}" == streamer


@pytest.mark.parametrize(("text", "reason"), NO_ADDRESSES)
def test_an_address_of_something_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(NotAStreamer, match=reason) as refused:
        platforms.parse_address(text)
    assert refused.value.hint


@given(st.one_of(st.text(max_size=80), st.from_regex(r"https?://(www\.)?(twitch\.tv|youtu\.be|b23\.tv)/\S{0,40}")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        name, streamer_id = platforms.parse_address(text)
    except NotAStreamer:
        return
    assert name in platforms.names()
    assert streamer_id.strip()


def test_an_address_is_read_at_little_effort() -> None:
    addresses = [f"https://www.douyu.com/{number}" for number in range(1_000)]
    platforms.parse_address(addresses[0])
    assert calls(lambda: [platforms.parse_address(address) for address in addresses]) < 120 * 1_000


EVERY_KEY = {"client_id": "id", "client_secret": "secret", "api_key": "key"}
ALIASES = [
    ("twitch", "somebody", EVERY_KEY, "1001"),
    ("twitch", "somebody", {}, "somebody"),
    ("twitch", "1001", EVERY_KEY, "1001"),
    ("bilibili", "room:6", {}, "1001"),
    ("bilibili", "b23.tv/6", {}, "1001"),
    ("youtube", "@somebody", {}, CHANNEL),
    ("youtube", "@somebody", EVERY_KEY, CHANNEL),
    ("kick", "@somebody", EVERY_KEY, "1001"),
    ("douyu", "somebody", {}, "1001"),
    ("huya", "somebody", {}, "1001"),
    ("douyin", "v.douyin.com/1001", {}, "1001"),
    ("douyin", "reflow/7123", {}, "1001"),
    ("tiktok", "vm.tiktok.com/somebody", {}, "somebody"),
]


def _resolve(platform: str, alias: str, keys: dict[str, str], plan: Plan) -> str:
    resolve = platforms.get(platform).resolve
    assert resolve is not None
    return drive(resolve(alias, CheckContext(1_790_000_000.0, keys)), plan_responder(plan))


@pytest.mark.parametrize(("platform", "alias", "keys", "streamer_id"), ALIASES)
def test_an_alias_leads_to_the_streamer(platform: str, alias: str, keys: dict[str, str], streamer_id: str) -> None:
    plan = Plan()
    shown_alias = {"bilibili": "6", "youtube": "@somebody", "douyin": "7123"}.get(platform, "somebody")
    plan.show(platform, CHANNEL if platform == "youtube" else "1001", "live", alias=shown_alias)
    assert _resolve(platform, alias, keys, plan) == streamer_id


@pytest.mark.parametrize("keys", [{}, EVERY_KEY])
def test_a_handle_in_any_script_is_asked_for(keys: dict[str, str]) -> None:
    with pytest.raises(NotAStreamer, match="knows no @某某"):
        _resolve("youtube", "@某某", keys, Plan())


@pytest.mark.parametrize(
    ("platform", "alias"),
    [
        ("twitch", "nobody"),
        ("bilibili", "room:7"),
        ("youtube", "@nobody"),
        ("kick", "@nobody"),
        ("douyu", "nobody"),
        ("huya", "nobody"),
    ],
)
def test_an_alias_of_nobody_is_refused(platform: str, alias: str) -> None:
    with pytest.raises(NotAStreamer, match=r"knows no|has no"):
        _resolve(platform, alias, EVERY_KEY, Plan())


PLATFORMS_WITH_ALIASES = ["twitch", "bilibili", "youtube", "kick", "douyu", "huya", "douyin", "tiktok"]


@given(
    st.sampled_from(PLATFORMS_WITH_ALIASES),
    st.sampled_from([{}, EVERY_KEY]),
    st.sampled_from([0, 200, 302, 400, 401, 403, 404, 429, 500]),
    st.lists(st.one_of(st.binary(max_size=40), st.just(b"{}"), st.just(b'{"data":[]}')), min_size=1),
)
def test_noise_leads_nowhere(platform: str, keys: dict[str, str], status: int, bodies: list[bytes]) -> None:
    alias = {"bilibili": "b23.tv/x", "douyin": "v.douyin.com/x", "tiktok": "vm.tiktok.com/x"}.get(platform, "@nobody")
    turn = iter(bodies * 20)
    resolve = platforms.get(platform).resolve
    assert resolve is not None

    def respond(request: Request) -> Response:
        return Response(status=status, url="https://elsewhere.example/", body=next(turn))

    if platform == "twitch" and not keys:
        assert drive(resolve(alias, CheckContext(0.0, keys)), respond) == alias
        return
    with pytest.raises((NotAStreamer, CheckFailed)):
        drive(resolve(alias, CheckContext(0.0, keys)), respond)


@pytest.mark.parametrize("platform", PLATFORMS_WITH_ALIASES)
def test_an_alias_that_could_not_be_asked_about_is_no_refusal(platform: str) -> None:
    alias = {"bilibili": "room:7", "douyin": "reflow/7", "tiktok": "vm.tiktok.com/x"}.get(platform, "@nobody")
    resolve = platforms.get(platform).resolve
    assert resolve is not None

    def time_out(request: Request) -> Response:
        return Response(status=0, error="timed out")

    with pytest.raises(CheckFailed, match="timed out") as trouble:
        drive(resolve(alias, CheckContext(0.0, EVERY_KEY)), time_out)
    assert trouble.value.state is State.NETWORK
