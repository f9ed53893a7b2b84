"""Twitch: Helix with the user's key, 100 at once; the site's own GraphQL without, 30 at once.

A streamer is followed by number where a key can tell it, for logins may be renamed; without a key, by login.
Helix says "offline" by leaving a streamer out; everywhere else a missing row says nothing.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import answers, tokens
from livectl.live.platforms.base import Pace, Platform, Refused, Unanswered, ask, unanswered
from livectl.live.platforms.batches import in_batches
from livectl.live.platforms.pages import is_number, page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import Check, Effect, Means, Resolve
    from livectl.model import Response

NAME = "twitch"
PAGES = {NAME, "twitch.tv", "www.twitch.tv", "m.twitch.tv", "go.twitch.tv"}
NOT_STREAMERS = {"directory", "settings", "downloads", "jobs", "p", "search", "subscriptions", "wallet", "turbo"}
HINT = "Give the channel: https://www.twitch.tv/NAME"
BATCH = 100  # user_id parameters a call, and as many streams an answer, if asked for
COVER_SECONDS = 300  # a preview is drawn anew about as often; its address is not, so that caches need telling
GQL_BATCH = 30  # operations a call; 36 are refused
GRANTS = "https://id.twitch.tv/oauth2/token"
HELIX = "https://api.twitch.tv/helix"
GQL = "https://gql.twitch.tv/gql"
WEB_CLIENT = "kimne78kx3ncx6brgo4mv6wki5h1ko"  # what the site calls itself to everyone; names nobody
USER = "id login displayName stream{id type title viewersCount createdAt previewImageURL game{name}}"
BY_LOGIN = f"query($login:String!){{user(login:$login){{{USER}}}}}"
BY_NUMBER = f"query($id:ID!){{user(id:$id){{{USER}}}}}"

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Stream(msgspec.Struct):
    id: str
    user_id: str
    user_login: str
    type: str
    started_at: Instant
    user_name: str | None = ""
    title: str | None = ""
    game_name: str | None = ""
    viewer_count: int | None = None
    thumbnail_url: str | None = ""


class Rows(msgspec.Struct):
    data: list[msgspec.Raw]


class User(msgspec.Struct):
    id: str
    login: str


class Users(msgspec.Struct):
    data: list[User]


class Game(msgspec.Struct):
    name: str | None = ""


class GqlStream(msgspec.Struct, rename="camel"):
    id: str
    type: str
    created_at: Instant
    title: str | None = ""
    viewers_count: int | None = None
    preview_image_url: str | None = msgspec.field(name="previewImageURL", default="")
    game: Game | None = None


class GqlUser(msgspec.Struct, rename="camel"):
    stream: GqlStream | None  # no default: null says offline, no stream at all says nothing
    login: str | None = ""
    display_name: str | None = ""


class GqlData(msgspec.Struct):
    user: GqlUser | None


class GqlAnswer(msgspec.Struct):
    data: GqlData


class GqlRefusal(msgspec.Struct):
    error: str


STREAM = msgspec.json.Decoder(Stream)
ROWS = msgspec.json.Decoder(Rows)
USERS = msgspec.json.Decoder(Users)
GQL_ROWS = msgspec.json.Decoder(list[msgspec.Raw] | GqlRefusal)
GQL_ANSWER = msgspec.json.Decoder(GqlAnswer)


def address(text: str) -> str | None:
    where = page(text)
    if where is None:
        return None
    if where.host == "clips.twitch.tv":
        raise Refused("a Twitch clip is no streamer", HINT)
    if where.host == "player.twitch.tv":
        return _login(where.query.get("channel", ""), where.url)
    if where.host not in PAGES:
        return None
    match where.parts:
        case [number] if where.host == NAME and is_number(number):
            return number
        case ["popout" | "embed" | "moderator", name, *_]:
            return _login(name, where.url)
        case ["videos" | "clip" | "collections", *_] | [_, "clip" | "video" | "v", *_]:
            raise Refused("a Twitch clip or recording is no streamer", HINT)
        case [name, *_] if name.lower() not in NOT_STREAMERS:
            return _login(name, where.url)
    raise Refused(f"no Twitch channel in {where.url}", HINT)


def _login(name: str, where: str) -> str:
    """The login in lower case; one of digits alone is told from a number by an @."""
    login = name.removeprefix("@").lower()
    if not re.fullmatch(r"[a-z0-9_]{1,25}", login):
        raise Refused(f"no Twitch channel in {where}", "A channel is named by letters, digits and _, 25 at most.")
    return f"@{login}" if is_number(login) else login


def url(one: str) -> str:
    return "" if is_number(one) else f"https://www.twitch.tv/{one.removeprefix('@')}"


def resolve(one: str, means: Means) -> Resolve:
    if is_number(one) or not tokens.has_keys(means):
        return one
    login = one.removeprefix("@")
    response = yield from _helix("users", [("login", login)], means)
    users = answers.read(response, USERS, means.now).data
    number = next((user.id for user in users if user.login.lower() == login), None)
    if number is None:
        raise Refused(f"Twitch knows no channel {login!r}", "Perhaps it was renamed, or closed.")
    return number


def look(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    """Helix. A row that cannot be read might be anyone's: then nobody is said to be offline for lack of one."""
    asked = [("user_id", one) if is_number(one) else ("user_login", one.removeprefix("@")) for one in ids]
    response = yield from _helix("streams", [*asked, ("first", str(BATCH))], means)
    live: dict[str, Stream] = {}
    spoilt: Unanswered | None = None
    for row in answers.read(response, ROWS, means.now).data:
        try:
            stream = answers.decode(row, STREAM)
        except Unanswered as trouble:
            spoilt = trouble
        else:
            login = stream.user_login.lower()
            live |= {stream.user_id: stream, f"@{login}" if is_number(login) else login: stream}
    if len(ids) == 1 and not live and not spoilt and not (yield from _exists(asked[0], means)):
        return {ids[0]: Observation(platform=NAME, id=ids[0], state=State.NOT_FOUND, at=means.now)}
    return {one: _observed(one, live.get(one), means, spoilt) for one in ids}


def _exists(asked: tuple[str, str], means: Means) -> Generator[Effect, Any, bool]:
    """Whether the one who is absent is somebody at all: asked of a single streamer only, as it costs a call more."""
    response = yield from _helix("users", [(asked[0].removeprefix("user_"), asked[1])], means)
    return bool(answers.read(response, USERS, means.now).data)


def _observed(one: str, stream: Stream | None, means: Means, spoilt: Unanswered | None = None) -> Observation:
    if spoilt and not stream:
        return unanswered(NAME, one, spoilt, means)
    if stream is None:
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now)
    state = {"live": State.LIVE, "rerun": State.REPLAY}.get(stream.type)
    if state is None:
        return unanswered(NAME, one, answers.odd("$.data[].type", stream.type), means)
    cover = (stream.thumbnail_url or "").replace("{width}x{height}", "640x360")
    return Observation(
        platform=NAME,
        id=one,
        state=state,
        at=means.now,
        session=stream.id,
        title=answers.plain(stream.title),
        category=answers.plain(stream.game_name),
        name=answers.plain(stream.user_name or stream.user_login),
        url=f"https://www.twitch.tv/{stream.user_login}",
        cover=answers.link(f"{cover}?t={means.now // COVER_SECONDS:.0f}"),
        viewers=answers.count(stream.viewer_count),
        started_at=answers.instant(stream.started_at.timestamp()),
    )


def _helix(what: str, asked: Sequence[tuple[str, str]], means: Means) -> Generator[Effect, Any, Response]:
    def request(token: str) -> Request:
        headers = {"Client-Id": means.keys["client_id"], "Authorization": f"Bearer {token}"}
        return Request(url=f"{HELIX}/{what}?{urlencode(asked)}", headers=headers)

    return (yield from tokens.authorized(GRANTS, means, request))


def look_keyless(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    """The site's GraphQL: one question each, answered in the order asked."""
    body = msgspec.json.encode([_query(one) for one in ids])
    headers = {"Client-ID": WEB_CLIENT, "Content-Type": "application/json", "User-Agent": answers.BROWSER}
    response = yield from ask(Request(url=GQL, method="POST", headers=headers, body=body))
    rows = answers.read(response, GQL_ROWS, means.now)
    if isinstance(rows, GqlRefusal):
        raise Unanswered(State.BLOCKED, f"refused: {answers.plain(rows.error)}")
    if len(rows) != len(ids):
        raise Unanswered(State.PARSE_ERROR, f"{len(rows)} answers to {len(ids)} questions")
    return {one: _gql_observed(one, row, means) for one, row in zip(ids, rows, strict=True)}


def _query(one: str) -> dict[str, object]:
    if is_number(one):
        return {"query": BY_NUMBER, "variables": {"id": one}}
    return {"query": BY_LOGIN, "variables": {"login": one.removeprefix("@")}}


def _gql_observed(one: str, row: msgspec.Raw, means: Means) -> Observation:
    try:
        user = answers.decode(row, GQL_ANSWER).data.user
    except Unanswered as trouble:
        return unanswered(NAME, one, trouble, means)
    if user is None:
        return Observation(platform=NAME, id=one, state=State.NOT_FOUND, at=means.now)
    return _observed(one, _as_helix(one, user, user.stream) if user.stream else None, means)


def _as_helix(one: str, user: GqlUser, stream: GqlStream) -> Stream:
    return Stream(
        id=stream.id,
        user_id="",
        user_login=user.login or one.removeprefix("@"),
        type=stream.type,
        started_at=stream.created_at,
        user_name=user.display_name,
        title=stream.title,
        game_name=stream.game.name if stream.game else "",
        viewer_count=stream.viewers_count,
        thumbnail_url=stream.preview_image_url,
    )


KEYED = in_batches(NAME, BATCH, look)
KEYLESS = in_batches(NAME, GQL_BATCH, look_keyless)


def check(ids: Sequence[str], means: Means) -> Check:
    return KEYED(ids, means) if tokens.has_keys(means) else KEYLESS(ids, means)


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.twitch.tv", "id.twitch.tv", "gql.twitch.tv"}),
    batch=BATCH,
    budget="600/m",  # of 800 points a minute
    keyless=Pace(GQL_BATCH, "60/m"),  # no limit is published
    address=address,
    url=url,
    check=check,
    resolve=resolve,
)
