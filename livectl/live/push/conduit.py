"""Asks Twitch for what EventSub needs: a conduit, its shards, its subscriptions. No I/O in here.

A conduit is what subscriptions lead into; each of its shards is a connection of ours. An app token is enough for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.errors import LivectlError
from livectl.live.platforms import oauth, parsing
from livectl.live.platforms.base import CheckFailed
from livectl.live.platforms.twitch import HELIX_URL, OAUTH_URL
from livectl.live.push.eventsub import SubscriptionFields
from livectl.live.push.planning import Subscribed
from livectl.models import Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from livectl.live.platforms.base import CheckContext, Effect
    from livectl.models import Response

CONDUITS, SHARDS, SUBSCRIPTIONS = "eventsub/conduits", "eventsub/conduits/shards", "eventsub/subscriptions"
DEFAULT_MAX_COST = 10_000  # until Twitch says how much it allows
MAX_PAGES = 500  # of a hundred subscriptions
ENABLED = "enabled"
HTTP_ACCEPTED, HTTP_CONFLICT, HTTP_TOO_MANY = 202, 409, 429
REFUSED_STATUSES = {400, 403, 404}  # of a subscription: Twitch does not tell us of this one
GONE_STATUSES = {204, 404}  # of one that is to go


class PushProblem(LivectlError):  # noqa: N818
    """Why a platform does not tell us, and what mends it."""


class Conduit(msgspec.Struct):
    id: str
    shard_count: int


class Conduits(msgspec.Struct):
    data: list[Conduit]


class ShardFailure(msgspec.Struct):
    id: str = ""
    message: str = ""


class ShardAnswer(msgspec.Struct):
    errors: list[ShardFailure] = []


class PageCursor(msgspec.Struct, frozen=True):
    cursor: str = ""


class TransportFields(msgspec.Struct, frozen=True):
    method: str = ""
    conduit_id: str = ""


class OwnSubscription(SubscriptionFields):
    transport: TransportFields = TransportFields()


class SubscriptionPage(msgspec.Struct):
    data: list[OwnSubscription]
    total_cost: int = 0
    max_total_cost: int = DEFAULT_MAX_COST
    pagination: PageCursor = PageCursor()


class Refusal(msgspec.Struct):
    message: str = ""


CONDUIT_LIST = msgspec.json.Decoder(Conduits)
SHARD_ANSWER = msgspec.json.Decoder(ShardAnswer)
SUBSCRIPTION_PAGE = msgspec.json.Decoder(SubscriptionPage)
REFUSAL = msgspec.json.Decoder(Refusal)


class Subscriptions(msgspec.Struct):
    """The subscriptions of a conduit that are in force, those that are not, and what all of them may cost."""

    enabled: dict[tuple[str, str], Subscribed]
    broken: list[str]  # ids
    max_cost: int  # of ours: what other conduits of the application cost is taken off


def find_or_make(known_id: str, shards: int, context: CheckContext) -> Generator[Effect, Any, str]:
    """Our conduit: the one of this id, with so many shards, or a new one where that is gone."""
    listed = parsing.read_json((yield from _helix("GET", CONDUITS, (), None, context)), CONDUIT_LIST, context.now).data
    ours = next((conduit for conduit in listed if conduit.id == known_id), None)
    if ours and ours.shard_count == shards:
        return ours.id
    if ours:
        body = {"id": ours.id, "shard_count": shards}
        parsing.read_json((yield from _helix("PATCH", CONDUITS, (), body, context)), CONDUIT_LIST, context.now)
        return ours.id
    response = yield from _helix("POST", CONDUITS, (), {"shard_count": shards}, context)
    if response.status in {400, HTTP_TOO_MANY} and listed:
        names = ", ".join(conduit.id for conduit in listed)
        raise PushProblem(
            f"Twitch allows the application no more conduits: it has {len(listed)} ({names})",
            "Delete one that nobody uses (twitch api delete eventsub/conduits -q id=ID), or give livectl an "
            "application of its own.",
        )
    made = parsing.read_json(response, CONDUIT_LIST, context.now).data
    if not made:
        raise CheckFailed(State.PARSE_ERROR, "no conduit in the answer - at `$.data`")
    return made[0].id


def assign(conduit: str, sessions: Mapping[int, str], context: CheckContext) -> Generator[Effect, Any, None]:
    """Gives shards their sessions. PushProblem when Twitch does not take them."""
    shards = [
        {"id": str(number), "transport": {"method": "websocket", "session_id": session}}
        for number, session in sessions.items()
    ]
    response = yield from _helix("PATCH", SHARDS, (), {"conduit_id": conduit, "shards": shards}, context)
    answer = parsing.read_json(_accepted(response), SHARD_ANSWER, context.now)
    if answer.errors:
        raise PushProblem(f"Twitch does not take shard {answer.errors[0].id}: {_words(answer.errors[0].message)}")


def read_subscriptions(conduit: str, context: CheckContext) -> Generator[Effect, Any, Subscriptions]:
    """All subscriptions that lead into the conduit."""
    enabled: dict[tuple[str, str], Subscribed] = {}
    broken: list[str] = []
    own_cost, total_cost, max_cost, cursor = 0, 0, DEFAULT_MAX_COST, ""
    for _ in range(MAX_PAGES):
        query = [("first", "100"), *([("after", cursor)] if cursor else [])]
        response = yield from _helix("GET", SUBSCRIPTIONS, query, None, context)
        page = parsing.read_json(response, SUBSCRIPTION_PAGE, context.now)
        for row in page.data:
            if row.transport.conduit_id != conduit:
                continue
            if row.status == ENABLED and row.key not in enabled:
                enabled[row.key] = Subscribed(row.id, row.cost)
                own_cost += row.cost
            else:
                broken.append(row.id)
        total_cost, max_cost, cursor = page.total_cost, page.max_total_cost, page.pagination.cursor
        if not cursor:
            break
    return Subscriptions(enabled, broken, max(0, max_cost - max(0, total_cost - own_cost)))


def subscribe(
    conduit: str, kind: str, streamer_id: str, context: CheckContext
) -> Generator[Effect, Any, Subscribed | None]:
    """The subscription that was made; None where Twitch will not tell of this streamer.

    CheckFailed with RATE_LIMITED where no more are allowed, or too many were made at once.
    """
    body = {
        "type": kind,
        "version": "1",
        "condition": {"broadcaster_user_id": streamer_id},
        "transport": {"method": "conduit", "conduit_id": conduit},
    }
    response = yield from _helix("POST", SUBSCRIPTIONS, (), body, context)
    if response.status in REFUSED_STATUSES:
        return None
    if response.status == HTTP_CONFLICT:
        raise PushProblem("Twitch has a subscription that it did not list")
    rows = parsing.read_json(_accepted(response), SUBSCRIPTION_PAGE, context.now).data
    if not rows or rows[0].key != (kind, streamer_id):
        raise CheckFailed(State.PARSE_ERROR, "another subscription than was asked for - at `$.data`")
    return Subscribed(rows[0].id, rows[0].cost) if rows[0].status == ENABLED else None


def unsubscribe(subscription: str, context: CheckContext) -> Generator[Effect, Any, None]:
    response = yield from _helix("DELETE", SUBSCRIPTIONS, [("id", subscription)], None, context)
    if response.status not in GONE_STATUSES:
        parsing.read_body(response, context.now)


def _helix(
    method: Any, path: str, query: Sequence[tuple[str, str]], body: object, context: CheckContext
) -> Generator[Effect, Any, Response]:
    def build_request(token: str) -> Request:
        headers = {"Client-Id": context.keys["client_id"], "Authorization": f"Bearer {token}"}
        headers |= {"Content-Type": "application/json"} if body else {}
        url = f"{HELIX_URL}/{path}{'?' if query else ''}{urlencode(query)}"
        return Request(url=url, method=method, headers=headers, body=msgspec.json.encode(body) if body else b"")

    return (yield from oauth.ask_with_token(OAUTH_URL, context, build_request))


def _accepted(response: Response) -> Response:
    return msgspec.structs.replace(response, status=200) if response.status == HTTP_ACCEPTED else response


def _words(text: str) -> str:
    return parsing.plain_text(text) or "it does not say why"
