"""Checks Kick (kick.com) through its public API with the user's key. Without a key there is no way that Kick allows.

Two addresses answer. The list of broadcasts takes a hundred streamers and names those who are live. The channels take
20, for big batches of them have said "offline" of streamers who were live; they say so of each, and who there is.
So the list is asked about many, and the channels about whom it leaves out: once in a while about those who were
offline, and alone about those who were live a moment ago, before the broadcast counts as ended.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.platforms import oauth, parsing
from livectl.live.platforms.base import (
    CheckFailed,
    Listing,
    ListingPage,
    NameLookup,
    NotAStreamer,
    Platform,
    cache_get,
    cache_set,
    failed_observation,
    in_batches,
    read_rows,
    resolve_alone,
    with_avatars,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.errors import LivectlError
    from livectl.live.platforms.base import Check, CheckContext, Effect, Observations, Resolve, ResolveNames
    from livectl.models import Response

NAME = "kick"
HOSTS = {NAME, "kick.com", "www.kick.com", "m.kick.com", "player.kick.com"}
# fmt: off
NON_CHANNEL_PATHS = {
    "video", "videos", "clips", "category", "categories", "browse", "following", "settings", "dashboard", "search",
    "about", "terms-of-service", "privacy-policy", "community-guidelines",
}
# fmt: on
HINT = "Give the channel: https://kick.com/NAME"
BATCH = 100  # of the list
CHANNEL_BATCH = 20  # 50 are allowed, but then half of the answers were wrong
USER_BATCH = 50
CHANNELS_URL = "https://api.kick.com/public/v1/channels"
LIST_URL = "https://api.kick.com/public/v1/users/livestreams"
EVERYBODY_URL = "https://api.kick.com/public/v2/livestreams"
EVERYBODY_SIZE = 1_000  # rows a page at most
EVERYBODY_BYTES = 4_000_000  # of such a page: a row takes about 800
USERS_URL = "https://api.kick.com/public/v1/users"
OAUTH_URL = "https://id.kick.com/oauth/token"
RECENTLY_LIVE_SECONDS = 900.0  # for so long after "live", a batch's "offline" must be confirmed
OFFLINE_SECONDS = 900.0  # for so long after a channel's "offline", not to be in the list says so, too
MAX_BODY_BYTES = 1_000_000  # of any other answer
NO_KEY = "Kick answers only with a key: set client_id and client_secret under platforms.kick"


class KickCategory(msgspec.Struct):
    name: str | None = ""


class KickStream(msgspec.Struct):
    is_live: bool | None = None
    start_time: parsing.Instant | None = None
    viewer_count: int | None = None
    thumbnail: str | None = ""


class KickChannel(msgspec.Struct):
    broadcaster_user_id: int
    slug: str
    stream: KickStream | None  # no default: null says offline, no stream at all says nothing
    stream_title: str | None = ""
    category: KickCategory | None = None


class KickBroadcaster(msgspec.Struct):
    id: int


class KickSlug(msgspec.Struct):
    slug: str = ""


class KickBroadcast(msgspec.Struct):
    """A row of the list, which has those who are live and no others."""

    broadcaster_user: KickBroadcaster
    channel: KickSlug
    started_at: parsing.Instant | None  # no default: a row without it is no broadcast
    title: str | None = ""
    category: KickCategory | None = None
    viewer_count: int | None = None
    thumbnail: str | None = ""


class KickOwner(msgspec.Struct):
    broadcaster_user_id: int
    slug: str = ""


class KickUser(msgspec.Struct):
    user_id: int
    profile_picture: str | None = ""


class KickPagination(msgspec.Struct):
    next_cursor: str | None = ""


class KickRows(msgspec.Struct):
    data: list[msgspec.Raw]
    message: str | None = ""
    pagination: KickPagination | None = None


ROWS = msgspec.json.Decoder(KickRows)
CHANNEL = msgspec.json.Decoder(KickChannel)
USER = msgspec.json.Decoder(KickUser)
OWNER = msgspec.json.Decoder(KickOwner)
BROADCAST = msgspec.json.Decoder(KickBroadcast)
SUCCESS_MESSAGES = {"", "ok", "success"}


def address(text: str) -> str | None:
    """A broadcaster's number, or `@slug`, which `resolve` leads to it."""
    page = parse_page_address(text)
    if page is None or page.host not in HOSTS:
        return None
    match page.parts:
        case [number] if page.host == NAME and is_number(number):
            return number
        case [_, "videos" | "clips" | "video" | "clip", _, *_]:
            raise NotAStreamer("a Kick recording or clip is no streamer", HINT)
        case ["popout", slug, *_] | [slug, *_] if slug.lower() not in NON_CHANNEL_PATHS:
            if re.fullmatch(r"@?[\w-]{1,60}", slug, re.ASCII):
                return f"@{slug.removeprefix('@').lower().replace('_', '-')}"
    raise NotAStreamer(f"no Kick channel in {page.url}", HINT)


def url(streamer_id: str) -> str:
    return f"https://kick.com/{streamer_id.removeprefix('@')}" if streamer_id.startswith("@") else ""


def resolve(streamer_id: str, context: CheckContext) -> Resolve:
    return (yield from resolve_alone(resolve_batch, streamer_id, context))


def resolve_batch(names: Sequence[str], context: CheckContext) -> ResolveNames:
    """The numbers of slugs, many in one call."""
    rows = yield from _find_rows([name for name in names if not is_number(name)], context)
    answers: dict[str, str | LivectlError] = {name: name for name in names if is_number(name)}
    for name in names:
        if name in rows:
            answers[name] = str(parsing.decode_json(rows[name], OWNER).broadcaster_user_id)
        elif name not in answers:
            answers[name] = NotAStreamer(f"Kick knows no channel {name.removeprefix('@')!r}", HINT)
    return answers


def _find_rows(slugs: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, msgspec.Raw]]:
    """The rows of slugs. One bad slug may spoil a call: then its halves are asked. Who is left out is asked alone."""
    if not slugs:
        return {}
    rows = yield from _fetch_channels("slug", [slug.removeprefix("@") for slug in slugs], context)
    all_rows = {f"@{parsing.decode_json(row, OWNER).slug}": row for row in rows or ()}
    rows_by_slug = {slug: all_rows[slug] for slug in slugs if slug in all_rows}
    missing = [slug for slug in slugs if slug not in rows_by_slug]
    middle = len(slugs) // 2
    parts = [slugs[:middle], slugs[middle:]] if rows is None else [[slug] for slug in missing]
    for part in parts if len(slugs) > 1 else ():
        rows_by_slug |= yield from _find_rows(part, context)
    return rows_by_slug


def observe_names(names: Sequence[str], context: CheckContext) -> Observations:
    """The states of slugs, whose rows have the numbers, too."""
    rows = yield from _find_rows(names, context)
    numbers = {name: str(parsing.decode_json(row, OWNER).broadcaster_user_id) for name, row in rows.items()}
    by_number = {numbers[name]: _build_observation(numbers[name], row, context) for name, row in rows.items()}
    by_number = yield from _remember(by_number, context, alone=len(names) == 1)
    return {name: by_number[numbers[name]] if name in rows else _not_found(name, context) for name in names}


def _not_found(streamer_id: str, context: CheckContext) -> Observation:
    return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)


def find_avatars(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, str]]:
    numbers = [streamer_id for streamer_id in ids if is_number(streamer_id)]
    if not numbers:
        return {}
    rows = _read_rows((yield from _ask_kick(USERS_URL, "id", numbers, context)), context)
    users = [parsing.decode_json(row, USER) for row in rows]
    return {str(user.user_id): parsing.image_url(user.profile_picture) for user in users}


def check_states(ids: Sequence[str], context: CheckContext) -> Check:
    """Asks the list about many at once, and the channels about whom the list leaves in doubt."""
    numbers = [streamer_id for streamer_id in ids if is_number(streamer_id)]
    observations: dict[str, Observation] = {}
    if len(numbers) > CHANNEL_BATCH:
        try:
            observations = yield from _check_list(numbers, context)
        except CheckFailed as failure:
            if failure.state is not State.PARSE_ERROR and not failure.divisible:
                return [failed_observation(NAME, streamer_id, failure, context) for streamer_id in ids]
    doubtful = [streamer_id for streamer_id in ids if streamer_id not in observations]
    observations |= {seen.id: seen for seen in (yield from CHECK_CHANNELS(doubtful, context))}
    return [observations[streamer_id] for streamer_id in ids]


def _check_list(numbers: Sequence[str], context: CheckContext) -> Observations:
    """Those who are in the list, and those whose channel has said a while ago that they are offline.

    A row that was not asked for, or cannot be read, may stand where another should: then nobody is offline by absence.
    """
    response = yield from _ask_kick(LIST_URL, "user_id", numbers, context)
    observations: dict[str, Observation] = {}
    is_whole = True
    for row in _read_rows(response, context):
        try:
            broadcast = parsing.decode_json(row, BROADCAST)
        except CheckFailed:
            is_whole = False
            continue
        streamer_id = str(broadcast.broadcaster_user.id)
        if streamer_id in numbers:
            observations[streamer_id] = _build_live_observation(streamer_id, broadcast, context)
            yield from _remember_live(streamer_id)
        else:
            is_whole = False
    for streamer_id in numbers if is_whole else ():
        if streamer_id not in observations and (yield from cache_get(f"offline/{streamer_id}")):
            offline = Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)
            observations[streamer_id] = offline
    return observations


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """Everybody who is live, the longest first."""
    query = [("limit", str(EVERYBODY_SIZE)), *([("cursor", cursor)] if cursor else [])]
    response = yield from _ask_with_query(EVERYBODY_URL, query, context, EVERYBODY_BYTES)
    answer = _read_answer(response, context)
    following = answer.pagination.next_cursor if answer.pagination and answer.data else ""
    return ListingPage(read_rows(answer.data, lambda row: [_read_broadcast(row, context)]), following or "")


def _read_broadcast(row: msgspec.Raw, context: CheckContext) -> Observation:
    broadcast = parsing.decode_json(row, BROADCAST)
    return _build_live_observation(str(broadcast.broadcaster_user.id), broadcast, context)


def check_batch(ids: Sequence[str], context: CheckContext) -> Observations:
    """Asks the channels by number. A slug that is not resolved yet is asked alone: a request takes either."""
    numbers = [streamer_id for streamer_id in ids if is_number(streamer_id)]
    observations = yield from _check_by("broadcaster_user_id", numbers, context)
    for slug in [streamer_id for streamer_id in ids if not is_number(streamer_id)]:
        observations |= yield from _check_by("slug", [slug], context)
    return (yield from _remember(observations, context, alone=len(ids) == 1))


def _remember(observations: dict[str, Observation], context: CheckContext, *, alone: bool) -> Observations:
    """The observations, those confirmed that end a broadcast among others; and what they say is kept."""
    for streamer_id, observation in list(observations.items()):
        if observation.state is State.LIVE:
            yield from _remember_live(streamer_id)
        if observation.state is not State.OFFLINE:
            continue
        if (yield from cache_get(f"offline/{streamer_id}")):
            continue
        if not alone and (yield from cache_get(f"live/{streamer_id}")):
            observations[streamer_id] = yield from _confirm_offline(streamer_id, context)
        if observations[streamer_id].state is State.OFFLINE:
            yield from cache_set(f"offline/{streamer_id}", "1", OFFLINE_SECONDS)
    return observations


def _remember_live(streamer_id: str) -> Generator[Effect, Any, None]:
    yield from cache_set(f"live/{streamer_id}", "1", RECENTLY_LIVE_SECONDS)
    if (yield from cache_get(f"offline/{streamer_id}")):
        yield from cache_set(f"offline/{streamer_id}", "", OFFLINE_SECONDS)


def _confirm_offline(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Asks about one streamer alone before a broadcast counts as ended. What is not confirmed is unknown."""
    key = "broadcaster_user_id" if is_number(streamer_id) else "slug"
    try:
        observations = yield from _check_by(key, [streamer_id], context)
    except CheckFailed as failure:
        return failed_observation(NAME, streamer_id, failure, context)
    missing = CheckFailed(State.UNKNOWN, "said to be offline among others, and not in the answer alone")
    return observations.get(streamer_id) or failed_observation(NAME, streamer_id, missing, context)


def _check_by(key: str, ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, Observation]]:
    if not ids:
        return {}
    rows = (yield from _fetch_channels(key, [streamer_id.removeprefix("@") for streamer_id in ids], context)) or []
    observations: dict[str, Observation] = {}
    row_failure: CheckFailed | None = None
    for row in rows:
        try:
            owner = parsing.decode_json(row, OWNER)
        except CheckFailed as failure:
            row_failure = failure
        else:
            streamer_id = f"@{owner.slug}" if key == "slug" else str(owner.broadcaster_user_id)
            observations |= {streamer_id: _build_observation(streamer_id, row, context)} if streamer_id in ids else {}
    if row_failure and not observations:
        raise row_failure
    if len(ids) == 1 and not rows:
        observations[ids[0]] = _not_found(ids[0], context)
    return observations


def _fetch_channels(
    key: str, values: Sequence[str], context: CheckContext
) -> Generator[Effect, Any, list[msgspec.Raw] | None]:
    """The rows; None when a slug is bad or unknown, as some of Kick's servers say it. Others leave it out."""
    response = yield from _ask_kick(CHANNELS_URL, key, values, context)
    if key == "slug" and response.status in {400, 404} and parsing.has_json(response):
        return None
    return _read_rows(response, context)


def _ask_kick(address: str, key: str, values: Sequence[str], context: CheckContext) -> Generator[Effect, Any, Response]:
    return (yield from _ask_with_query(address, [(key, value) for value in values], context))


def _ask_with_query(
    address: str, query: Sequence[tuple[str, str]], context: CheckContext, limit: int = MAX_BODY_BYTES
) -> Generator[Effect, Any, Response]:
    if not oauth.has_client_keys(context):
        raise CheckFailed(State.AUTH, NO_KEY)

    def build_request(token: str) -> Request:
        headers = {"Authorization": f"Bearer {token}"}
        return Request(url=f"{address}?{parsing.encode_query(query)}", headers=headers, limit=limit)

    return (yield from oauth.ask_with_token(OAUTH_URL, context, build_request))


def _read_rows(response: Response, context: CheckContext) -> list[msgspec.Raw]:
    return _read_answer(response, context).data


def _read_answer(response: Response, context: CheckContext) -> KickRows:
    """The answer with its rows. No rows beside an error say nothing of anybody."""
    answer = parsing.read_json(response, ROWS, context.now)
    if not answer.data and (answer.message or "").lower() not in SUCCESS_MESSAGES:
        raise CheckFailed(State.NETWORK, f"the site has trouble: {parsing.plain_text(answer.message)}")
    return answer


def _build_observation(streamer_id: str, row: msgspec.Raw, context: CheckContext) -> Observation:
    try:
        channel = parsing.decode_json(row, CHANNEL)
        stream = _running_stream(channel)
    except CheckFailed as failure:
        return failed_observation(NAME, streamer_id, failure, context)
    if stream is None:
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now, name=channel.slug)
    broadcast = KickBroadcast(
        broadcaster_user=KickBroadcaster(channel.broadcaster_user_id),
        channel=KickSlug(channel.slug),
        started_at=stream.start_time,
        title=channel.stream_title,
        category=channel.category,
        viewer_count=stream.viewer_count,
        thumbnail=stream.thumbnail,
    )
    return _build_live_observation(streamer_id, broadcast, context)


def _build_live_observation(streamer_id: str, broadcast: KickBroadcast, context: CheckContext) -> Observation:
    started_at = parsing.instant_timestamp(broadcast.started_at)
    slug = broadcast.channel.slug
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE,
        at=context.now,
        session=f"{started_at:.0f}" if started_at else "",
        title=parsing.plain_text(broadcast.title),
        category=parsing.plain_text(broadcast.category.name if broadcast.category else ""),
        name=parsing.plain_text(slug),
        url=f"https://kick.com/{slug}" if slug else "",
        cover=parsing.image_url(broadcast.thumbnail),
        viewers=parsing.parse_count(broadcast.viewer_count),
        started_at=started_at,
    )


def _running_stream(channel: KickChannel) -> KickStream | None:
    stream = channel.stream
    if stream is None or stream.is_live is False:
        return None
    if stream.is_live:
        return stream
    never_live = stream.start_time is not None and parsing.instant_timestamp(stream.start_time) is None
    if never_live or stream == KickStream():
        return None
    raise CheckFailed(State.PARSE_ERROR, "missing field `is_live` - at `$.data[].stream`")


CHECK_CHANNELS = in_batches(NAME, CHANNEL_BATCH, check_batch)

PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.kick.com", "id.kick.com"}),
    batch=BATCH,
    budget="20/m",  # no limit is published; Kick's staff spoke of 20 a minute, then of 100
    key_names=("client_id", "client_secret"),
    key_needed=True,
    address=address,
    url=url,
    listing=Listing(list_page, pages=12, key_needed=True),
    check=with_avatars(check_states, find_avatars, USER_BATCH),
    resolve=resolve,
    names=NameLookup(CHANNEL_BATCH, resolve_batch, observe=observe_names),
    offline_batch=CHANNEL_BATCH,
    offline_seconds=OFFLINE_SECONDS,
)
