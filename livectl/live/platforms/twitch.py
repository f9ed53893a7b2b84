"""Checks Twitch: with the user's key through Helix, 100 at once; without, through the site's GraphQL, 30 at once.

With a key a streamer is followed by number, which outlasts a change of login; without, by login. Helix says "offline"
by leaving a streamer out; on every other platform a missing row says nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from livectl.live.platforms import oauth, parsing
from livectl.live.platforms.base import (
    CheckFailed,
    Listing,
    ListingPage,
    NameLookup,
    NotAStreamer,
    Platform,
    RateLimit,
    ask,
    failed_observation,
    in_batches,
    read_rows,
    resolve_alone,
    with_avatars,
    with_second_check,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.errors import LivectlError
    from livectl.live.platforms.base import Check, CheckContext, Effect, Observations, Resolve, ResolveNames
    from livectl.models import Response

NAME = "twitch"
HOSTS = {NAME, "twitch.tv", "www.twitch.tv", "m.twitch.tv", "go.twitch.tv"}
NON_CHANNEL_PATHS = {"directory", "settings", "downloads", "jobs", "p", "search", "subscriptions", "wallet", "turbo"}
HINT = "Give the channel: https://www.twitch.tv/NAME"
BATCH = 100  # ids a call, and streams an answer if `first` says so
COVER_REFRESH_SECONDS = 300  # Twitch redraws a preview about as often, at the same address, which caches would keep
GQL_BATCH = 30  # operations a call; 36 are refused
OAUTH_URL = "https://id.twitch.tv/oauth2/token"
HELIX_URL = "https://api.twitch.tv/helix"
GQL_URL = "https://gql.twitch.tv/gql"
WEB_CLIENT_ID = "kimne78kx3ncx6brgo4mv6wki5h1ko"  # of the site's own pages, the same for everyone
SITE_TROUBLE = re.compile(
    r"server error|service (error|timeout|unavailable)|timed? ?out", re.IGNORECASE
)  # in its errors
STREAM_FIELDS = "id type title viewersCount createdAt previewImageURL game{name}"
USER_FIELDS = f"id login displayName profileImageURL(width:150) stream{{{STREAM_FIELDS}}}"
QUERY_BY_LOGIN = f"query($login:String!){{user(login:$login){{{USER_FIELDS}}}}}"
QUERY_BY_NUMBER = f"query($id:ID!){{user(id:$id){{{USER_FIELDS}}}}}"


class HelixStream(msgspec.Struct):
    id: str
    user_id: str
    user_login: str
    type: str
    started_at: parsing.Instant
    user_name: str | None = ""
    title: str | None = ""
    game_name: str | None = ""
    viewer_count: int | None = None
    thumbnail_url: str | None = ""
    avatar: str | None = ""  # which GraphQL alone has beside it


class HelixPagination(msgspec.Struct):
    cursor: str | None = ""


class HelixRows(msgspec.Struct):
    data: list[msgspec.Raw]
    error: str | None = ""
    message: str | None = ""
    pagination: HelixPagination | None = None


class HelixUser(msgspec.Struct):
    id: str
    login: str
    profile_image_url: str | None = ""


class HelixUsers(msgspec.Struct):
    data: list[HelixUser]
    error: str | None = ""
    message: str | None = ""


class GqlGame(msgspec.Struct):
    name: str | None = ""


class GqlStream(msgspec.Struct, rename="camel"):
    id: str
    type: str
    created_at: parsing.Instant
    title: str | None = ""
    viewers_count: int | None = None
    preview_image_url: str | None = msgspec.field(name="previewImageURL", default="")
    game: GqlGame | None = None


class GqlUser(msgspec.Struct, rename="camel"):
    stream: GqlStream | None  # no default: null says offline, no stream at all says nothing
    id: str
    login: str
    display_name: str | None = ""
    profile_image_url: str | None = msgspec.field(name="profileImageURL", default="")


class GqlData(msgspec.Struct):
    user: GqlUser | None


class GqlProblem(msgspec.Struct):
    message: str | None = ""


class GqlResponse(msgspec.Struct):
    data: GqlData | None = None
    errors: list[GqlProblem] | None = None


class GqlError(msgspec.Struct):
    """What is answered in place of all rows."""

    error: str | None = ""
    message: str | None = ""
    status: int | None = None
    errors: list[GqlProblem] | None = None


T = TypeVar("T", HelixRows, HelixUsers)

STREAM = msgspec.json.Decoder(HelixStream)
ROWS = msgspec.json.Decoder(HelixRows)
USERS = msgspec.json.Decoder(HelixUsers)
GQL_ROWS = msgspec.json.Decoder(list[msgspec.Raw] | GqlError)
GQL_RESPONSE = msgspec.json.Decoder(GqlResponse)


def address(text: str) -> str | None:
    page = parse_page_address(text)
    if page is None:
        return None
    if page.host == "clips.twitch.tv":
        raise NotAStreamer("a Twitch clip is no streamer", HINT)
    if page.host == "player.twitch.tv":
        return _login(page.query.get("channel", ""), page.url)
    if page.host not in HOSTS:
        return None
    match page.parts:
        case [number] if page.host == NAME and is_number(number):
            return number
        case ["popout" | "embed" | "moderator", name, *_]:
            return _login(name, page.url)
        case ["videos" | "clip" | "collections", *_] | [_, "clip" | "video" | "v", *_]:
            raise NotAStreamer("a Twitch clip or recording is no streamer", HINT)
        case [name, *_] if name.lower() not in NON_CHANNEL_PATHS:
            return _login(name, page.url)
    raise NotAStreamer(f"no Twitch channel in {page.url}", HINT)


def _login(name: str, page_url: str) -> str:
    """The login in lower case. An @ in front tells a login of digits from a number."""
    login = name.removeprefix("@").lower()
    if not re.fullmatch(r"[a-z0-9_]{1,25}", login):
        hint = "A channel is named by letters, digits and _, 25 at most."
        raise NotAStreamer(f"no Twitch channel in {page_url}", hint)
    return f"@{login}" if is_number(login) else login


def url(streamer_id: str) -> str:
    return "" if is_number(streamer_id) else f"https://www.twitch.tv/{streamer_id.removeprefix('@')}"


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    return (yield from resolve_alone(resolve_batch, streamer_id, context))


def resolve_batch(names: Sequence[str], context: CheckContext) -> ResolveNames:
    """The numbers of logins, a hundred in one call."""
    answers: dict[str, str | LivectlError] = {name: name for name in names}
    logins = [name for name in names if not is_number(name)]
    if not logins or not oauth.has_client_keys(context):
        return answers
    users = yield from _find_users([("login", login.removeprefix("@")) for login in logins], context)
    numbers = {user.login.lower(): user.id for user in users}
    for name in logins:
        login = name.removeprefix("@")
        unknown = NotAStreamer(f"Twitch knows no channel {login!r}", "Perhaps it was renamed, or closed.")
        answers[name] = numbers.get(login) or unknown
    return answers


def check_batch(ids: Sequence[str], context: CheckContext) -> Observations:
    """Asks Helix. While a row cannot be read, a streamer without a row is not offline: the row may be theirs."""
    parameters = [
        ("user_id", streamer_id) if is_number(streamer_id) else ("user_login", streamer_id.removeprefix("@"))
        for streamer_id in ids
    ]
    response = yield from _ask_helix("streams", [*parameters, ("first", str(BATCH))], context)
    streams, row_failure = _decode_streams(_read_helix(response, ROWS, context).data, ids)
    if len(ids) == 1 and not streams and not row_failure and not (yield from _exists(parameters[0], context)):
        return {ids[0]: Observation(platform=NAME, id=ids[0], state=State.NOT_FOUND, at=context.now)}
    return {
        streamer_id: _build_observation(streamer_id, streams.get(streamer_id), context, row_failure)
        for streamer_id in ids
    }


def observe_names(names: Sequence[str], context: CheckContext) -> Observations:
    """The states of logins. Those who stream come with their numbers; the others are offline, or nobody."""
    if not oauth.has_client_keys(context):
        return {}
    logins = [("user_login", name.removeprefix("@")) for name in names]
    response = yield from _ask_helix("streams", [*logins, ("first", str(BATCH))], context)
    streams, row_failure = _decode_streams(_read_helix(response, ROWS, context).data, names)
    return {
        name: _build_observation(
            streams[name].user_id if name in streams else name, streams.get(name), context, row_failure
        )
        for name in names
    }


def _decode_streams(
    rows: Sequence[msgspec.Raw], ids: Sequence[str]
) -> tuple[dict[str, HelixStream], CheckFailed | None]:
    """The streams by the ids that were asked for, and the failure of a row that cannot be read or is not theirs."""
    streams: dict[str, HelixStream] = {}
    row_failure: CheckFailed | None = None
    asked = frozenset(ids)
    for row in rows:
        try:
            stream = parsing.decode_json(row, STREAM)
        except CheckFailed as failure:
            row_failure = failure
            continue
        login = stream.user_login.lower()
        names = {stream.user_id, f"@{login}" if is_number(login) else login} & asked
        if not names:
            row_failure = parsing.somebody_else("$.data[].user_login", login)
        streams |= dict.fromkeys(names, stream)
    return streams, row_failure


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """Everybody who is live, by viewers: by number and by login, since somebody may be followed by either."""
    response = yield from _ask_helix(
        "streams", [("first", str(BATCH)), *([("after", cursor)] if cursor else [])], context
    )
    body = _read_helix(response, ROWS, context)
    following = body.pagination.cursor if body.pagination and body.data else ""
    return ListingPage(read_rows(body.data, lambda row: _read_row(row, context)), following or "")


def _read_row(row: msgspec.Raw, context: CheckContext) -> list[Observation]:
    stream = parsing.decode_json(row, STREAM)
    login = stream.user_login.lower()
    seen = _build_observation(stream.user_id, stream, context)
    if seen.state not in {State.LIVE, State.REPLAY}:
        raise CheckFailed(seen.state, seen.problem)
    return [seen, msgspec.structs.replace(seen, id=f"@{login}" if is_number(login) else login)]


def find_avatars(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, str]]:
    users = yield from _find_users(
        [("id", each) if is_number(each) else ("login", each.removeprefix("@")) for each in ids], context
    )
    by_name = {
        name: parsing.image_url(user.profile_image_url) for user in users for name in (user.id, user.login.lower())
    }
    return {each: by_name.get(each.removeprefix("@"), "") for each in ids}


def _exists(parameter: tuple[str, str], context: CheckContext) -> Generator[Effect, Any, bool]:
    """Whether there is such a streamer. It costs one more call, so only a check of a single streamer asks."""
    key, value = parameter[0].removeprefix("user_"), parameter[1]
    users = yield from _find_users([(key, value)], context)
    return any(value == (user.id if key == "id" else user.login.lower()) for user in users)


def _find_users(
    parameters: Sequence[tuple[str, str]], context: CheckContext
) -> Generator[Effect, Any, list[HelixUser]]:
    response = yield from _ask_helix("users", parameters, context)
    return _read_helix(response, USERS, context).data


def _read_helix(response: Response, decoder: msgspec.json.Decoder[T], context: CheckContext) -> T:
    """The rows. An answer that names an error says nothing by what it leaves out."""
    rows = parsing.read_json(response, decoder, context.now)
    if rows.error or rows.message:
        raise CheckFailed(State.NETWORK, f"the site has trouble: {parsing.plain_text(rows.error or rows.message)}")
    return rows


def _build_observation(
    streamer_id: str, stream: HelixStream | None, context: CheckContext, row_failure: CheckFailed | None = None
) -> Observation:
    if row_failure and not stream:
        return failed_observation(NAME, streamer_id, row_failure, context)
    if stream is None:
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)
    state = {"live": State.LIVE, "rerun": State.REPLAY}.get(stream.type)
    if state is None:
        return failed_observation(NAME, streamer_id, parsing.unknown_value("$.data[].type", stream.type), context)
    cover = (stream.thumbnail_url or "").replace("{width}x{height}", "640x360")
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=stream.id,
        title=parsing.plain_text(stream.title),
        category=parsing.plain_text(stream.game_name),
        name=parsing.plain_text(stream.user_name or stream.user_login),
        url=f"https://www.twitch.tv/{stream.user_login}",
        cover=parsing.image_url(f"{cover}?t={context.now // COVER_REFRESH_SECONDS:.0f}"),
        avatar=parsing.image_url(stream.avatar),
        viewers=parsing.parse_count(stream.viewer_count),
        started_at=parsing.instant_timestamp(stream.started_at),
    )


def _ask_helix(
    endpoint: str, parameters: Sequence[tuple[str, str]], context: CheckContext
) -> Generator[Effect, Any, Response]:
    query = parsing.encode_query(parameters)

    def build_request(token: str) -> Request:
        headers = {"Client-Id": context.keys["client_id"], "Authorization": f"Bearer {token}"}
        return Request(url=f"{HELIX_URL}/{endpoint}?{query}", headers=headers)

    return (yield from oauth.ask_with_token(OAUTH_URL, context, build_request))


def check_batch_without_key(ids: Sequence[str], context: CheckContext) -> Observations:
    """Asks the site's GraphQL: one operation a streamer, answered in the same order."""
    body = msgspec.json.encode([_gql_query(streamer_id) for streamer_id in ids])
    headers = {"Client-ID": WEB_CLIENT_ID, "Content-Type": "application/json"} | parsing.browser_headers()
    response = yield from ask(Request(url=GQL_URL, method="POST", headers=headers, body=body))
    rows = parsing.read_json(response, GQL_ROWS, context.now)
    if isinstance(rows, GqlError):
        raise _gql_failure(rows.errors) if rows.errors else _gql_refusal(rows)
    if len(rows) != len(ids):
        raise CheckFailed(State.PARSE_ERROR, f"{len(rows)} answers to {len(ids)} questions")
    return {
        streamer_id: _build_gql_observation(streamer_id, row, context)
        for streamer_id, row in zip(ids, rows, strict=True)
    }


def _gql_query(streamer_id: str) -> dict[str, object]:
    if is_number(streamer_id):
        return {"query": QUERY_BY_NUMBER, "variables": {"id": streamer_id}}
    return {"query": QUERY_BY_LOGIN, "variables": {"login": streamer_id.removeprefix("@")}}


def _build_gql_observation(streamer_id: str, row: msgspec.Raw, context: CheckContext) -> Observation:
    try:
        user = _read_gql_user(streamer_id, parsing.decode_json(row, GQL_RESPONSE))
    except CheckFailed as failure:
        return failed_observation(NAME, streamer_id, failure, context)
    if user is None:
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    stream = _to_helix_stream(user, user.stream) if user.stream else None
    return _build_observation(streamer_id, stream, context)


def _read_gql_user(streamer_id: str, answer: GqlResponse) -> GqlUser | None:
    """The user who was asked for; None when there is none. A null beside an error says neither that nor offline."""
    user = answer.data.user if answer.data else None
    if answer.errors and (user is None or user.stream is None):
        raise _gql_failure(answer.errors)
    if answer.data is None:
        raise CheckFailed(State.PARSE_ERROR, "missing field `data` - at `$[]`")
    if user and streamer_id.removeprefix("@") != (user.id if is_number(streamer_id) else user.login.lower()):
        raise parsing.somebody_else("$[].data.user.login", user.login)
    return user


def _gql_refusal(answer: GqlError) -> CheckFailed:
    """The failure of an answer that names an error in place of rows: the site's trouble, a limit, or a refusal."""
    error = parsing.plain_text(answer.error) or parsing.plain_text(answer.message)
    if not error:
        return CheckFailed(State.PARSE_ERROR, "neither rows nor an error")
    if answer.status == 429 or "too many" in error.lower():
        return CheckFailed(State.RATE_LIMITED, f"asked too often: {error}")
    if (answer.status or 0) >= 500 or SITE_TROUBLE.search(error):
        return CheckFailed(State.NETWORK, f"the site has trouble: {error}")
    return CheckFailed(State.BLOCKED, f"refused: {error}")


def _gql_failure(problems: Sequence[GqlProblem]) -> CheckFailed:
    message = parsing.plain_text(problems[0].message) or "an error without words"
    state = State.BLOCKED if "integrity" in message.lower() else State.NETWORK
    return CheckFailed(state, f"the site has trouble: {message}")


def _to_helix_stream(user: GqlUser, stream: GqlStream) -> HelixStream:
    return HelixStream(
        id=stream.id,
        user_id=user.id,
        user_login=user.login,
        type=stream.type,
        started_at=stream.created_at,
        user_name=user.display_name,
        title=stream.title,
        game_name=stream.game.name if stream.game else "",
        viewer_count=stream.viewers_count,
        thumbnail_url=stream.preview_image_url,
        avatar=user.profile_image_url,
    )


CHECK_WITHOUT_KEY = in_batches(NAME, GQL_BATCH, check_batch_without_key)
CHECK_WITH_KEY = with_avatars(
    with_second_check(in_batches(NAME, BATCH, check_batch), CHECK_WITHOUT_KEY), find_avatars, BATCH
)


def check(ids: Sequence[str], context: CheckContext) -> Check:
    return CHECK_WITH_KEY(ids, context) if oauth.has_client_keys(context) else CHECK_WITHOUT_KEY(ids, context)


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.twitch.tv", "id.twitch.tv", "gql.twitch.tv"}),
    batch=BATCH,
    budget="600/m",  # of 800 points a minute
    keyless=RateLimit(GQL_BATCH, "60/m"),  # no limit is published
    key_names=("client_id", "client_secret"),
    address=address,
    url=url,
    listing=Listing(list_page, pages=1_000, key_needed=True),
    check=check,
    resolve=resolve,
    names=NameLookup(BATCH, resolve_batch, observe=observe_names),
)
