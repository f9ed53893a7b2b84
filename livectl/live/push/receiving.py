"""Answers what Kick and YouTube's hub send to the page's public address. Whoever else sends there, changes nothing."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from livectl import extras
from livectl.live.platforms import kick, youtube
from livectl.live.push import kick_webhook, websub
from livectl.live.push.kick_webhook import Forged
from livectl.live.push.webhook_push import KEY_NAME, probe_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.live.push.inbox import Inbox
    from livectl.live.push.push_store import PushStore
    from livectl.live.store import Store

OK, ACCEPTED, UNAUTHORIZED, NOT_FOUND, UNAVAILABLE = 200, 202, 401, 404, 503
SEEN_SECONDS = 2 * kick_webhook.MAX_SKEW_SECONDS  # an older message is refused by its time

log = logging.getLogger(__name__)


class PushReceiver:
    """What is sent, by the HTTP status that answers it."""

    def __init__(self, store: Store, push_store: PushStore, inbox: Inbox) -> None:
        self._store, self._push_store, self._inbox = store, push_store, inbox

    def answer_probe(self, nonce: str) -> str:
        return probe_answer(self._push_store.secret(), nonce[:100])

    def receive_kick(self, headers: Mapping[str, str], body: bytes, now: float) -> int:
        (public_key,) = self._store.cache_get(kick.NAME, [KEY_NAME])
        if not (public_key and extras.is_installed("push")):
            return UNAVAILABLE  # Kick sends it again
        try:
            message = kick_webhook.read_message(headers, body, public_key, now)
        except Forged as error:
            self._refuse(kick.NAME, error.message)
            return UNAUTHORIZED
        if message.event and not self._push_store.was_seen(kick.NAME, message.id):
            self._inbox.receive([message.event], now)
            self._push_store.note_seen(kick.NAME, message.id, SEEN_SECONDS)
        return OK

    def answer_hub(self, channel: str, key: str, query: Mapping[str, str], now: float) -> str | None:
        """What the hub wants to hear before it begins or ends to tell of a channel; None where we asked for no such."""
        question, leases = websub.HubQuestion.of(query), self._push_store.websub_leases()
        if question.topic != f"{websub.TOPIC}{channel}" or not self._is_own(channel, key):
            return None
        if question.mode == "subscribe" and channel in leases:
            self._push_store.set_websub_lease(channel, now + question.lease)
            return question.challenge
        return question.challenge if question.mode == "unsubscribe" and channel not in leases else None

    def receive_youtube(self, channel: str, key: str, signature: str, body: bytes, now: float) -> int:
        if not self._is_own(channel, key) or channel not in self._push_store.websub_leases():
            return NOT_FOUND
        secret = websub.channel_secret(self._push_store.secret(), channel)
        if not websub.is_signed(body, signature, secret):
            self._refuse(youtube.NAME, "its signature is not that of the secret which the hub was given")
            return ACCEPTED  # as WebSub has it: whoever guesses learns nothing
        self._inbox.receive(websub.read_events(body, channel, now), now)
        return ACCEPTED

    def _is_own(self, channel: str, key: str) -> bool:
        """Whether this is an address that we gave to the hub."""
        wanted = websub.callback_key(self._push_store.secret(), channel)
        return websub.is_channel(channel) and hmac.compare_digest(wanted.encode(), key.encode(errors="replace"))

    def _refuse(self, platform: str, why: str) -> None:
        log.info("what came in the name of %s is not believed: %s", platform, why)
        self._push_store.count(platform, "refused")
