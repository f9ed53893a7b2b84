"""Checks Kick (kick.com) through its public API with the user's key, 20 streamers at once.

Without a key there is no way that Kick allows. Big batches have said "offline" of streamers who were live, so a
streamer who was live a moment ago is asked about again, alone, before the broadcast counts as ended.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import oauth, parsing
from livectl.live.platforms.base import (
    CheckFailed,
    NameLookup,
    NotAStreamer,
    Platform,
    cache_get,
    cache_set,
    failed_observation,
    in_batches,
    resolve_alone,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.errors import LivectlError
    from livectl.live.platforms.base import CheckContext, Effect, Resolve, ResolveNames

NAME = "kick"
HOSTS = {NAME, "kick.com", "www.kick.com", "m.kick.com", "player.kick.com"}
# fmt: off
NON_CHANNEL_PATHS = {
    "video", "videos", "clips", "category", "categories", "browse", "following", "settings", "dashboard", "search",
    "about", "terms-of-service", "privacy-policy", "community-guidelines",
}
# fmt: on
HINT = "Give the channel: https://kick.com/NAME"
BATCH = 20  # 50 are allowed, but then half of the answers were wrong
CHANNELS_URL = "https://api.kick.com/public/v1/channels"
OAUTH_URL = "https://id.kick.com/oauth/token"
RECENTLY_LIVE_SECONDS = 900.0  # for so long after "live", a batch's "offline" must be confirmed
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


class KickOwner(msgspec.Struct):
    broadcaster_user_id: int
    slug: str = ""


class KickRows(msgspec.Struct):
    data: list[msgspec.Raw]


ROWS = msgspec.json.Decoder(KickRows)
CHANNEL = msgspec.json.Decoder(KickChannel)
OWNER = msgspec.json.Decoder(KickOwner)


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
    """The numbers of slugs, many in one call. What it leaves out is asked alone: one bad slug may spoil the call."""
    slugs = [name for name in names if not is_number(name)]
    numbers = yield from _find_numbers(slugs, context)
    for name in slugs if len(slugs) > 1 else ():
        if name not in numbers:
            numbers |= yield from _find_numbers([name], context)
    answers: dict[str, str | LivectlError] = {name: name for name in names}
    for name in slugs:
        answers[name] = numbers.get(name) or NotAStreamer(f"Kick knows no channel {name.removeprefix('@')!r}", HINT)
    return answers


def _find_numbers(slugs: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, str]]:
    if not slugs:
        return {}
    rows = yield from _fetch_channels("slug", [slug.removeprefix("@") for slug in slugs], context)
    owners = [parsing.decode_json(row, OWNER) for row in rows]
    numbers = {f"@{owner.slug}": str(owner.broadcaster_user_id) for owner in owners}
    return {slug: numbers[slug] for slug in slugs if slug in numbers}


def check_batch(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, Observation]]:
    """Asks by number. A slug that is not resolved yet is asked alone, for one request takes numbers or slugs."""
    numbers = [streamer_id for streamer_id in ids if is_number(streamer_id)]
    observations = yield from _check_by("broadcaster_user_id", numbers, context)
    for slug in [streamer_id for streamer_id in ids if not is_number(streamer_id)]:
        observations |= yield from _check_by("slug", [slug], context)
    for streamer_id, observation in list(observations.items()):
        if observation.state is State.LIVE:
            yield from cache_set(f"live/{streamer_id}", "1", RECENTLY_LIVE_SECONDS)
        elif observation.state is State.OFFLINE and len(ids) > 1 and (yield from cache_get(f"live/{streamer_id}")):
            observations[streamer_id] = yield from _confirm_offline(streamer_id, context)
    return observations


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
    rows = yield from _fetch_channels(key, [streamer_id.removeprefix("@") for streamer_id in ids], context)
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
        observations[ids[0]] = Observation(platform=NAME, id=ids[0], state=State.NOT_FOUND, at=context.now)
    return observations


def _fetch_channels(
    key: str, values: Sequence[str], context: CheckContext
) -> Generator[Effect, Any, list[msgspec.Raw]]:
    if not oauth.has_client_keys(context):
        raise CheckFailed(State.AUTH, NO_KEY)

    def build_request(token: str) -> Request:
        query = urlencode([(key, value) for value in values])
        return Request(url=f"{CHANNELS_URL}?{query}", headers={"Authorization": f"Bearer {token}"})

    response = yield from oauth.ask_with_token(OAUTH_URL, context, build_request)
    if key == "slug" and response.status in {400, 404}:
        return []  # how some of Kick's servers say "unknown"; others send an empty list
    return parsing.read_json(response, ROWS, context.now).data


def _build_observation(streamer_id: str, row: msgspec.Raw, context: CheckContext) -> Observation:
    try:
        channel = parsing.decode_json(row, CHANNEL)
        stream = _running_stream(channel)
    except CheckFailed as failure:
        return failed_observation(NAME, streamer_id, failure, context)
    if stream is None:
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now, name=channel.slug)
    started_at = parsing.instant_timestamp(stream.start_time)
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE,
        at=context.now,
        session=f"{started_at:.0f}" if started_at else "",
        title=parsing.plain_text(channel.stream_title),
        category=parsing.plain_text(channel.category.name if channel.category else ""),
        name=parsing.plain_text(channel.slug),
        url=f"https://kick.com/{channel.slug}",
        cover=parsing.image_url(stream.thumbnail),
        viewers=parsing.parse_count(stream.viewer_count),
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


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.kick.com", "id.kick.com"}),
    batch=BATCH,
    budget="20/m",  # no limit is published; Kick's staff spoke of 20 a minute, then of 100
    key_names=("client_id", "client_secret"),
    key_needed=True,
    address=address,
    url=url,
    check=in_batches(NAME, BATCH, check_batch),
    resolve=resolve,
    names=NameLookup(BATCH, resolve_batch),
)
