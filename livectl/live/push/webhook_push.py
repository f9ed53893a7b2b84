"""Lets Kick and YouTube tell of go-lives at the page's public address: asks them to, and looks whether they could.

One process at a time does so for each. What they send, the page receives (`receiving`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from abc import abstractmethod
from typing import Any

from livectl import extras
from livectl.live import platforms
from livectl.live.platforms import kick, oauth, youtube
from livectl.live.platforms.base import CheckFailed
from livectl.live.platforms.parsing import is_number
from livectl.live.polling import left_alone, unset_key
from livectl.live.push import kick_webhook, planning, websub
from livectl.live.push.conduit import PushProblem
from livectl.live.push.planning import Subscribed
from livectl.live.push.source import PushSource
from livectl.models import Request, State

PROBE_SECONDS = 30.0  # between two looks whether the public address leads to our page
BELIEVED_SECONDS = 75.0  # after such a look: two may fail, as a web server that starts anew lets them
PLAN_SECONDS = 60.0  # between two looks at the follow list
READ_SECONDS = 1800.0
KEY_SECONDS = 86_400.0  # Kick's public key is read once a day
NEW_KEY_SECONDS = 300.0  # ... and so soon when something does not fit it
RETRY_SECONDS = 30.0
REFUSED_SECONDS = 86_400.0
COVER_SECONDS = 5.0
KEY_NAME = "push-public-key"
WHY_EXTRA = "what Kick signs is verified with the package cryptography, which is not installed"
NO_ADDRESS = "it tells only an address that the world reaches, and web.public_url names none"
ADDRESS_CURE = (
    "Set web.public_url in livectl.yaml to where the world reaches the page, such as https://live.example.org."
)


def probe_answer(secret: str, nonce: str) -> str:
    """What the page answers at /pushed/probe: only the page of this store can."""
    return hmac.new(secret.encode(), f"probe {nonce}".encode(errors="replace"), hashlib.sha256).hexdigest()


class WebhookPush(PushSource):
    """What both have in common: who does it, and whether the address leads to our page."""

    max_changes = 10
    budget_share = 0.25

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._probed_at, self._next_probe, self._since = 0.0, 0.0, 0.0
        self._next_try = self._next_plan = 0.0

    def step(self, now: float) -> None:
        self._hold_upkeep()
        if not self._is_keeper:
            self._probed_at = 0.0
            return
        url = self._settings.web.public_url
        if not url:
            raise PushProblem(NO_ADDRESS, ADDRESS_CURE)
        if now >= self._next_probe:
            self._next_probe = now + PROBE_SECONDS
            self._probe(url, now)
        if now >= self._next_try:
            self._next_try = now + RETRY_SECONDS  # where what follows fails
            self.keep_up(url, now)
            self._next_try = now
        self.cover(now)

    @abstractmethod
    def keep_up(self, url: str, now: float) -> None:
        """Asks the platform for what is wanted and not there yet."""

    def cover(self, now: float) -> None:
        """Notes that it is heard."""
        if now < self._probed_at + BELIEVED_SECONDS:
            self._push_store.note(self.platform, until=self._probed_at + BELIEVED_SECONDS, since=self._since)

    def _probe(self, url: str, now: float) -> None:
        """Asks our own page by its public address. PushProblem when somebody else answers, or nobody."""
        nonce = secrets.token_urlsafe(16)
        request = Request(url=f"{url}/pushed/probe?nonce={nonce}", seconds=8.0, limit=1000, follow=False)
        (answer,) = self._fetcher.ask([request])
        wanted = probe_answer(self._push_store.secret(), nonce)
        if answer.status != 200 or not hmac.compare_digest(answer.body.strip(), wanted.encode()):
            says = answer.error or (f"HTTP {answer.status}" if answer.status != 200 else "another page")
            cure = f"Let {url}/pushed/ lead to the page (livectl web), with the same store."
            raise PushProblem(f"web.public_url does not lead to this page: {says}", cure)
        if now >= self._probed_at + BELIEVED_SECONDS:
            self._since = now
        self._probed_at = now


class KickPush(WebhookPush):
    """Keeps the subscriptions at Kick equal to the follow list, the most wanted first."""

    platform = kick.NAME

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._enabled: dict[tuple[str, str], Subscribed] | None = None
        self._refused: dict[tuple[str, str], float] = {}
        self._waiting: list[tuple[str, str]] = []
        self._removing: list[str] = []
        self._limit = kick_webhook.MAX_COST
        self._next_read = self._next_key = self._next_cover = self._key_at = 0.0
        self._refused_messages = 0
        self._wanted = 0

    def is_id(self, streamer_id: str) -> bool:
        return is_number(streamer_id)

    def keep_up(self, url: str, now: float) -> None:
        if problem := unset_key(self._settings, self.platform):
            raise PushProblem(problem, "Set it, or take kick out of `push`.")
        if not extras.is_installed("push"):
            raise PushProblem(WHY_EXTRA, f"Install it: {extras.install_command('push')}")
        if not oauth.has_client_keys(self._context(now)):
            cure = "Set client_id and client_secret under platforms.kick in livectl.yaml."
            raise PushProblem("it tells only an application of yours", cure)
        if now >= self._next_key or (now >= self._key_at + NEW_KEY_SECONDS and self._has_refused_more()):
            self._read_key(now)
        if self._enabled is None or now >= self._next_read:
            self._enabled = self._run(kick_webhook.read_subscriptions(self._context(now)), now)
            self._next_read, self._next_plan = now + READ_SECONDS, now
        if now >= self._next_plan:
            self._plan(self._enabled, now)
        if (self._waiting or self._removing) and not left_alone(self._store, self.platform, now):
            self._change(self._enabled, now)

    def _read_key(self, now: float) -> None:
        self._next_key, self._key_at = now + KEY_SECONDS, now
        key = self._run(kick_webhook.read_public_key(self._context(now)), now)
        self._store.cache_set(self.platform, KEY_NAME, key, 2 * KEY_SECONDS)

    def _has_refused_more(self) -> bool:
        """Whether something came since that is not signed with Kick's key: perhaps it has another by now."""
        before, self._refused_messages = self._refused_messages, self._push_store.health(self.platform).refused
        return self._refused_messages > before

    def cover(self, now: float) -> None:
        super().cover(now)
        if now >= self._next_cover and now < self._probed_at + BELIEVED_SECONDS:
            self._next_cover = now + COVER_SECONDS
            self._push_store.put_off(self._limits[self.platform], now, 2 * COVER_SECONDS, self._since)

    def _plan(self, enabled: dict[tuple[str, str], Subscribed], now: float) -> None:
        self._next_plan = now + PLAN_SECONDS
        self._refused = {key: until for key, until in self._refused.items() if until > now}
        plan = planning.plan(self._wants(), (kick_webhook.EVENT,), enabled, self._limit, self._refused)
        self._waiting, self._removing, self._wanted = plan.add, plan.remove, plan.wanted
        self._note_covered(enabled, now)

    def _change(self, enabled: dict[tuple[str, str], Subscribed], now: float) -> None:
        count = self._allowed_changes(now)
        if count < 1:
            return
        removing, self._removing = self._removing[:count], self._removing[count:]
        if removing:
            self._run(kick_webhook.unsubscribe(removing, self._context(now)), now)
            for key in [key for key, subscribed in enabled.items() if subscribed.id in removing]:
                del enabled[key]
        adding, self._waiting = self._waiting[:count], self._waiting[count:]
        self._store.spend(self._way(now), bool(removing) + len(adding), now)
        steps = [kick_webhook.subscribe(streamer_id, self._context(now)) for _, streamer_id in adding]
        outcomes = self._fetcher.run_all(platforms.get(self.platform), steps, self._way(now).exit)
        failures = [self._take(enabled, key, made, now) for key, made in planning.made_first(adding, outcomes)]
        self._note_covered(enabled, now)
        for failure in filter(None, failures):
            raise failure

    def _take(
        self,
        enabled: dict[tuple[str, str], Subscribed],
        key: tuple[str, str],
        made: Subscribed | Exception | None,
        now: float,
    ) -> Exception | None:
        """Takes what came of a subscription. Returns what is in the way of more."""
        if isinstance(made, Subscribed):
            enabled[key] = made
            return None
        if made is None:
            self._refused[key] = now + REFUSED_SECONDS
            return None
        if not isinstance(made, CheckFailed) or made.state is not State.RATE_LIMITED:
            return made
        self._limit, self._next_plan = max(1, len(enabled)), now
        cure = "The most wanted are told of, the others are asked; a verified application gets more."
        return PushProblem(f"Kick takes no more than {len(enabled)} subscriptions now", cure)

    def _note_covered(self, enabled: dict[tuple[str, str], Subscribed], now: float) -> None:
        self._push_store.set_covered(self.platform, {streamer_id for _, streamer_id in enabled}, now)
        self._push_store.note(self.platform, covered=len(enabled), wanted=self._wanted)


class WebSubPush(WebhookPush):
    """Keeps the leases at YouTube's hub. It is often late: nobody is asked less often because of it."""

    platform = youtube.NAME

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._asked: dict[str, float] = {}
        self._work = websub.HubWork([], [])

    def is_id(self, streamer_id: str) -> bool:
        return websub.is_channel(streamer_id)

    def keep_up(self, url: str, now: float) -> None:
        if now >= self._next_plan:
            self._next_plan = now + PLAN_SECONDS
            wants, leases = self._wants(), self._push_store.websub_leases()
            self._asked = {channel: at for channel, at in self._asked.items() if channel in wants}
            self._work = websub.plan(wants, leases, self._asked, now)
            told = sum(leases.get(channel, 0.0) > now for channel in wants)
            self._push_store.note(self.platform, covered=told, wanted=len(wants))
        most, work = self.max_changes, self._work
        ending = [("unsubscribe", work.unsubscribe.pop()) for _ in work.unsubscribe[:most]]
        asking = [("subscribe", work.subscribe.pop(0)) for _ in work.subscribe[: most - len(ending)]]
        if ending or asking:
            self._ask_hub([*ending, *asking], url, now)

    def _ask_hub(self, pairs: list[tuple[str, str]], url: str, now: float) -> None:
        leases = self._push_store.websub_leases()
        for mode, channel in pairs:  # before the hub asks back, which it may do at once
            self._asked[channel] = now
            until = leases.get(channel, 0.0) if mode == "subscribe" else None
            self._push_store.set_websub_lease(channel, until)
        secret = self._push_store.secret()
        requests = [websub.build_request(mode, channel, url, secret) for mode, channel in pairs]
        answers = self._fetcher.ask(requests, {websub.HUB_HOST}, self._way(now).exit)
        refused = [answer for answer in answers if answer.status // 100 != 2]
        if refused:
            says = refused[0].error or f"HTTP {refused[0].status}"
            raise PushProblem(f"YouTube's hub takes no subscription: {says}", "It is tried again by itself.")
