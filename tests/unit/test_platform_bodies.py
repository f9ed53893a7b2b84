"""Bodies in, observations out: each platform's states, field by field, and what garbage leads to."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext
from livectl.models import Observation, Request, Response, State
from tests.support.check_driver import drive, plan_responder
from tests.support.sites.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED = 1_790_000_000
NOW = STARTED + 3_600.0
BODIES = Path(__file__).parents[1] / "data" / "platforms"
CLIENT = {"client_id": "id", "client_secret": "secret"}
KEYS = {"twitch": CLIENT, "kick": CLIENT}
EVERY_KEY = CLIENT | {"api_key": "key"}
IDS = {
    "twitch": "1001",
    "bilibili": "2001",
    "youtube": "UC" + "a" * 22,
    "kick": "3001",
    "douyu": "9999",
    "huya": "660000",
    "douyin": "745964462470",
    "chzzk": "0123456789abcdef" * 2,
    "soop": "somebody",
    "tiktok": "some.body",
}
# The one request of a check that a body answers; the others (tokens, cookies, names) are answered by the fakes.
MAIN_URL_PARTS = {
    "twitch": "/helix/streams",
    "bilibili": "get_status_info_by_uids",
    "youtube": "/live",
    "kick": "/public/v1/channels",
    "douyu": "/betard/",
    "huya": "cache.php",
    "douyin": "/room/web/enter",
    "chzzk": "live-status",
    "soop": "player_live_api",
    "tiktok": "api-live",
}
BODY_FILES = sorted(BODIES.glob("*/*"))
WITHOUT_REPLAY = {"youtube", "kick", "douyin", "chzzk", "soop", "tiktok"}  # sites that have none, or tell none


SECOND_ROUTES = {
    "twitch": "/gql",
    "bilibili": "getRoomBaseInfo",
    "tiktok": "www.tiktok.com/@",
    "soop": "/station",
    "huya": "www.huya.com",
    "chzzk": "/service/v1/",
}


def observe(platform: str, body: bytes, status: int = 200, *, exists: bool = True, alone: bool = False) -> Observation:
    """The observation that a check reads in one body; `alone`, while the second route is down."""
    plan = Plan()
    if exists:
        plan.show(platform, IDS[platform], "offline")
    respond_as_planned = plan_responder(plan)

    def respond(request: Request) -> Response:
        if MAIN_URL_PARTS[platform] in request.url:
            return Response(status=status, url=request.url, body=body)
        if alone and SECOND_ROUTES.get(platform, "none") in request.url:
            return Response(status=503, url=request.url)
        return respond_as_planned(request)

    context = CheckContext(NOW, KEYS.get(platform, {}))
    (observation,) = drive(platforms.get(platform).check([IDS[platform]], context), respond)
    return observation


@pytest.mark.parametrize("file", BODY_FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_body_says_what_its_name_says(file: Path) -> None:
    """A body is called <state>[-<what>][-<HTTP status>]."""
    state = file.stem.split("-")[0]
    status = re.search(r"-(\d{3})$", file.stem)
    observation = observe(
        file.parent.name,
        file.read_bytes(),
        int(status[1]) if status else 200,
        exists=state != "not_found",
        alone=state in {"parse_error", "blocked"},
    )
    assert (observation.state, observation.id, observation.at) == (State(state), IDS[file.parent.name], NOW), (
        observation.problem
    )
    assert observation.problem or observation.state not in {
        State.PARSE_ERROR,
        State.BLOCKED,
        State.NETWORK,
        State.UNKNOWN,
    }


@pytest.mark.parametrize("platform", IDS)
def test_live_is_told_in_full(platform: str) -> None:
    (body,) = (BODIES / platform).glob("live.*")
    observation = observe(platform, body.read_bytes())
    assert observation.state is State.LIVE
    assert observation.session == (f"v{STARTED}" if platform == "youtube" else str(STARTED))
    assert observation.title == "A title"
    assert observation.started_at == (None if platform == "douyin" else STARTED)
    assert observation.viewers == (None if platform in {"youtube", "soop"} else 7)
    assert observation.url.startswith("https://")
    assert observation.name


@pytest.mark.parametrize("platform", IDS)
def test_every_platform_has_bodies_of_its_states(platform: str) -> None:
    states = {file.stem.split("-")[0] for file in (BODIES / platform).iterdir()}
    assert {"live", "offline", "blocked"} <= states
    assert states & {"replay", "not_found", "unknown"}
    assert platform in WITHOUT_REPLAY or "replay" in states
    assert platform in {*WITHOUT_REPLAY} or {"parse_error"} <= states


@pytest.mark.parametrize(
    ("platform", "body", "path"),
    [
        ("twitch", "parse_error-no-start", "started_at"),
        ("bilibili", "parse_error-no-status", "live_status"),
        ("kick", "parse_error-no-stream", "stream"),
        ("douyu", "parse_error-no-loop", "videoLoop` - at `$.room"),
        ("huya", "parse_error-status", "PAUSED' - at `$.data.liveStatus"),
        ("chzzk", "parse_error-no-status", "status"),
        ("soop", "parse_error-no-result", "RESULT` - at `$.CHANNEL"),
        ("tiktok", "parse_error-no-room", "liveRoom` - at `$.data"),
    ],
)
def test_an_unexpected_shape_names_the_path(platform: str, body: str, path: str) -> None:
    assert path in observe(platform, (BODIES / platform / f"{body}.json").read_bytes(), alone=True).problem


TROUBLES = {
    "auth": {State.AUTH},
    "rate_limited": {State.RATE_LIMITED},
    "blocked": {State.BLOCKED, State.AUTH},  # AUTH where it is the token that is refused
    "down": {State.NETWORK},
    "broken": {State.PARSE_ERROR, State.BLOCKED},
    "html": {State.PARSE_ERROR, State.BLOCKED},
    "empty": {State.BLOCKED},
    "oversized": {State.BLOCKED, State.PARSE_ERROR},  # cut at the limit, as the fetcher may also refuse it
}


@pytest.mark.parametrize("keys", [{}, EVERY_KEY], ids=["keyless", "keyed"])
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("platform", IDS)
def test_a_site_in_trouble_says_nothing_of_the_streamer(platform: str, trouble: Any, keys: dict[str, str]) -> None:
    plan = Plan(trouble={platform: trouble})
    plan.show(platform, IDS[platform], "live")
    (observation,) = drive(
        platforms.get(platform).check([IDS[platform]], CheckContext(NOW, keys)), plan_responder(plan)
    )
    assert observation.problem
    assert observation.state in ({State.AUTH} if platform == "kick" and not keys else TROUBLES[trouble])
    assert (observation.retry_at is not None) <= (observation.state is State.RATE_LIMITED)


# Garbage: a live body, cut, bitten or with a value of another type, is never "offline", whatever else it is.

NEST = b"[" * 100_000
HOSTILE = (
    NEST,
    b'{"a":' * 100_000,
    b'{"data":' + NEST + b"]" * 100_000 + b"}",
    b"<html>" + b"<div>" * 100_000,
    b"<script>var ytInitialPlayerResponse = " + b'{"a":' * 100_000,
    b'<?xml version="1.0"?><feed>' + b"<a>" * 100_000,
    b"9" * 1_000_000,
    b"\0" * 1_000_000,
)


@pytest.mark.parametrize("keys", [{}, EVERY_KEY], ids=["keyless", "keyed"])
@pytest.mark.parametrize("platform", IDS)
def test_a_site_that_answers_everything_with_a_hostile_page_says_nothing(platform: str, keys: dict[str, str]) -> None:
    """Whatever route is asked: such as megabytes that are nested without end."""
    for number, body in enumerate(HOSTILE):

        def respond(request: Request, body: bytes = body) -> Response:
            token = b'{"access_token": "t", "expires_in": 5000}'
            return Response(status=200, url=request.url, body=token if "oauth" in request.url else body)

        (seen,) = drive(platforms.get(platform).check([IDS[platform]], CheckContext(NOW, keys)), respond)
        assert seen.state not in {State.LIVE, State.OFFLINE, State.REPLAY}, number


ODD_VALUES = st.sampled_from([None, True, 3.5, -1, "garbage", [], ["x"], {}, {"odd": 1}, 10**30])
# Values whose absence or emptiness is how the site says offline, and the ids that tell whose row it is.
OFFLINE_KEYS = {
    "/gql": {"stream"},
    "/helix/streams": {"data", "user_id"},
    "/public/v1/channels": {"stream", "data"},
    "/videos?": {"items", "id"},
    "/room/web/enter": {"data", "prompts"},
    "live-status": {"content"},
    "api-live": {"roomId"},
    "/station": {"broad"},
}
SPOILABLE = [(name, CLIENT, part, "") for name, part in MAIN_URL_PARTS.items() if name != "youtube"]
SPOILABLE += [("twitch", {}, "/gql", ""), ("youtube", EVERY_KEY, "/videos?", "")]
# ... and second routes, while the first one's answer cannot be read.
SPOILABLE += [
    ("twitch", CLIENT, "/gql", "/helix/streams"),
    ("bilibili", {}, "getRoomBaseInfo", "by_uids"),
    ("soop", {}, "/station", "player_live_api"),
]


def _spoilable_items(value: Any, skip: set[str]) -> list[tuple[Any, Any]]:
    """Each value of a body that may be spoilt, as its container and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    spoilable = [(value, key) for key, _ in items if key not in skip]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        spoilable += _spoilable_items(inner, skip)
    return spoilable


@given(data=st.data(), spoilable=st.sampled_from(SPOILABLE))
def test_a_spoilt_value_is_never_offline(data: st.DataObject, spoilable: tuple[str, dict[str, str], str, str]) -> None:
    platform, keys, part, unreadable = spoilable
    plan = Plan()
    plan.show(platform, IDS[platform], "live", started=STARTED)
    respond_intact = plan_responder(plan)

    def respond_spoilt(request: Request) -> Response:
        response = respond_intact(request)
        if unreadable and unreadable in request.url:
            return Response(status=200, url=request.url, body=b"[]")
        if part not in request.url:
            return response
        body = json.loads(response.body)
        for _ in range(data.draw(st.integers(1, 3))):
            _spoil(body, OFFLINE_KEYS.get(part, set()), data)
        return Response(status=200, url=request.url, body=json.dumps(body).encode())

    (observation,) = drive(platforms.get(platform).check([IDS[platform]], CheckContext(NOW, keys)), respond_spoilt)
    assert observation.id == IDS[platform]
    assert observation.state is not State.OFFLINE


def _spoil(body: Any, skip: set[str], data: st.DataObject) -> None:
    """One value of a body gone, or of another kind."""
    spoilable_items = _spoilable_items(body, skip)
    if not spoilable_items:
        return
    container, key = data.draw(st.sampled_from(spoilable_items))
    if isinstance(container, dict) and data.draw(st.booleans()):
        del container[key]
    else:
        container[key] = deepcopy(data.draw(ODD_VALUES))


@given(data=st.data(), platform=st.sampled_from(sorted(IDS)))
def test_bitten_bodies_are_never_offline(data: st.DataObject, platform: str) -> None:
    (file,) = (BODIES / platform).glob("live.*")
    body = bytearray(file.read_bytes())
    cut = data.draw(st.integers(0, len(body)))
    if data.draw(st.booleans()):
        assert observe(platform, bytes(body[:cut]), alone=True).state is not State.OFFLINE or cut == len(body)
        return
    body[cut:cut] = data.draw(st.binary(min_size=1, max_size=8))
    observe(platform, bytes(body))


@given(
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=8),
    status=st.sampled_from([0, 200, 204, 301, 400, 401, 403, 404, 412, 429, 500, 503]),
    platform=st.sampled_from(sorted(IDS)),
    keys=st.sampled_from([{}, EVERY_KEY]),
    count=st.integers(1, 5),
)
def test_noise_is_answered_for_every_id_and_never_offline(
    bodies: list[bytes], status: int, platform: str, keys: dict[str, str], count: int
) -> None:
    turn = iter(bodies * 200)

    def respond(request: Request) -> Response:
        return Response(status=status, url=request.url, body=next(turn))

    ids = [IDS[platform][:-1] + str(number) for number in range(count)] + [IDS[platform][:-1] + "0"]
    observations = drive(platforms.get(platform).check(ids, CheckContext(NOW, keys)), respond)
    assert [each.id for each in observations] == ids
    assert not {State.OFFLINE, State.LIVE} & {each.state for each in observations}


def test_what_is_cached_may_be_garbage_too() -> None:
    check: Callable[..., Any] = platforms.get("youtube").check
    channel = IDS["youtube"]
    cache = {f"videos/{channel}": "garbage", f"quiet/{channel}": "x", f"live/{channel}": "y"}
    plan = Plan()
    plan.show("youtube", channel, "live")
    for keys in ({}, {"api_key": "key"}):
        (observation,) = drive(check([channel], CheckContext(NOW, keys)), plan_responder(plan), dict(cache))
        assert observation.state is State.LIVE


AVATAR = "https://static.example/face.jpg"
# Where each site has the picture: the path in the body of a live streamer, and its shape there.
AVATARS: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "bilibili": (("data", IDS["bilibili"], "face"), AVATAR),
    "douyin": (("data", "user", "avatar_thumb"), {"uri": "a/b", "url_list": ["", AVATAR]}),
    "douyu": (("room", "avatar"), {"big": AVATAR, "small": "https://static.example/small.jpg"}),
    "huya": (("data", "profileInfo", "avatar180"), AVATAR.removeprefix("https:")),
    "tiktok": (("data", "user", "avatarLarger"), AVATAR),
}


@pytest.mark.parametrize("platform", AVATARS)
def test_an_avatar_is_told_and_an_odd_one_costs_nothing(platform: str) -> None:
    path, shape = AVATARS[platform]
    (body,) = (BODIES / platform).glob("live.*")
    for value, avatar in ((shape, AVATAR), (None, ""), (7, ""), ([], ""), ({"a": [[7]]}, ""), ("javascript:x", "")):
        answer = json.loads(body.read_text())
        place = answer
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        observation = observe(platform, json.dumps(answer).encode())
        assert (observation.state, observation.avatar) == (State.LIVE, avatar)
