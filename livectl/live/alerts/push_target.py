"""Tells browsers in which no page is open: Web Push, encrypted by RFC 8291, signed by RFC 8292 (VAPID).

    livectl:{target:web-push}:subscriptions  browsers that want to be told, by id: a PushSubscription as JSON
    livectl:{target:web-push}:took:KEY       ids that took the alert of this key, for as long as it may be repeated

All browsers are one target of the dispatcher, so that each go-live is told once; whom of them a go-live concerns is
decided by the rules of targets. Their push services are strangers: only public addresses are asked, over HTTPS.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from livectl import atomic_write, extras
from livectl.errors import UsageError
from livectl.live.alerts import message, rules
from livectl.live.alerts.message import DeliveryOutcome
from livectl.live.alerts.webhook_target import read_outcome
from livectl.live.cells import target_place
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import NOT_PUBLIC, Routes
from livectl.models import Request
from livectl.settings import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from redis import Redis

    from livectl.live.alerts.message import Alert
    from livectl.live.network.check_cache import CheckCache
    from livectl.live.store import Store
    from livectl.models import Change, Response, Streamer
    from livectl.settings import Network, Settings

NAME = "web-push"  # of the target, as the follow list may name it
# As a command, it is run for a go-live each, soon or not at all.
TARGET = Target(command=(NAME,))
KEY_FILE = "push-key.pem"  # in the state directory
SUBSCRIPTIONS_KEY, TOLD_PREFIX = f"{target_place(NAME)}subscriptions", f"{target_place(NAME)}took:"
MAX_SUBSCRIPTIONS = 200
ID_CHARS = 32
MAX_ENDPOINT_CHARS, MAX_SAYS_CHARS, MAX_WORDS_CHARS = 1_000, 80, 200
AUTH_BYTES, SALT_BYTES, MATERIAL_BYTES, KEY_BYTES, NONCE_BYTES = 16, 16, 32, 16, 12  # as RFC 8291 has them
RECORD_BYTES = 4_096
TTL_SECONDS = 1_800  # what a browser did not get by then is no news
TOKEN_SECONDS = 12 * 3_600  # a day at most, says RFC 8292
SEND_SECONDS = 10.0
GONE_STATUSES = {404, 410}
BUSY_STATUSES = {0, 408, 425, 429}
MAX_REPLY_BYTES = 65_536
CONTACT = "https://github.com/livectl/livectl"
WHY_EXTRA = "notifications without an open page need the package cryptography"

log = logging.getLogger(__name__)


class PushSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that wants to be told: where, encrypted for whom, and of which streamers."""

    endpoint: str
    p256dh: str  # the browser's public key
    auth: str
    key: str  # ours, by which its push service knows us
    says: str  # the visitor's words for a go-live: {name} is live
    since: float  # what began before is not told
    platform: str = ""  # only streamers of it
    tag: str = ""  # only streamers who have it
    token: str = ""  # the mark of the token by which it came in

    @property
    def id(self) -> str:
        return subscription_id(self.endpoint)

    def wants(self, streamer: Streamer) -> bool:
        filters = {"platforms": (self.platform,) if self.platform else (), "tags": (self.tag,) if self.tag else ()}
        return rules.accepts_streamer(NAME, msgspec.structs.replace(TARGET, **filters), streamer)


def subscription_id(endpoint: str) -> str:
    return hashlib.sha256(endpoint.encode(errors="replace")).hexdigest()[:ID_CHARS]


def check_subscription(subscription: PushSubscription) -> None:
    """UsageError for what no browser gives."""
    url = urlsplit(subscription.endpoint)
    is_plain = url.scheme == "https" and url.hostname and "@" not in url.netloc
    if not is_plain or len(subscription.endpoint) > MAX_ENDPOINT_CHARS:
        raise UsageError("the push service of a browser has an https address", "Try another browser.")
    try:
        if len(_decode(subscription.auth)) != AUTH_BYTES:
            raise ValueError
        encrypt(b"", _decode(subscription.p256dh), _decode(subscription.auth))
    except ValueError:
        raise UsageError("these are no keys of a browser", "Try another browser.") from None


class Subscribers:
    """The browsers in the store."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client

    def add(self, subscription: PushSubscription) -> None:
        """Adds a browser, or takes over what it wants now. UsageError when there are too many."""
        check_subscription(subscription)
        known = self._client.hget(SUBSCRIPTIONS_KEY, subscription.id)
        if known is None and self.count() >= MAX_SUBSCRIPTIONS:
            hint = "Let an alert tell you: `livectl docs alerts`."
            raise UsageError(f"{MAX_SUBSCRIPTIONS} browsers are told already", hint)
        if known is not None:
            since = msgspec.json.decode(known, type=PushSubscription).since
            subscription = msgspec.structs.replace(subscription, since=since)
        self._client.hset(SUBSCRIPTIONS_KEY, subscription.id, msgspec.json.encode(subscription).decode())

    def forget(self, ids: Iterable[str]) -> None:
        if some := list(ids):
            self._client.hdel(SUBSCRIPTIONS_KEY, *some)

    def forget_strangers(self, tokens: Iterable[str]) -> None:
        """Forgets those who came in by a token that lets nobody in any more."""
        marks = set(tokens)
        self.forget(each.id for each in self.all() if each.token not in marks)

    def count(self) -> int:
        return int(self._client.hlen(SUBSCRIPTIONS_KEY))

    def all(self) -> list[PushSubscription]:
        return [msgspec.json.decode(text, type=PushSubscription) for text in self._client.hvals(SUBSCRIPTIONS_KEY)]

    def told(self, key: str) -> set[str]:
        members = self._client.smembers(TOLD_PREFIX + key)
        return {each if isinstance(each, str) else each.decode() for each in members}

    def note_told(self, key: str, ids: Sequence[str]) -> None:
        if ids:
            self._client.sadd(TOLD_PREFIX + key, *ids)
            self._client.expire(TOLD_PREFIX + key, 2 * TTL_SECONDS)


def with_browsers(settings: Settings) -> Settings:
    """The settings with the browsers as one more target; those of a settings file that has the name already stand."""
    return msgspec.structs.replace(settings, alerts={NAME: TARGET, **settings.alerts})


def build_fetcher(network: Network, cache: CheckCache) -> Fetcher:
    """Asks public addresses alone: the addresses come from visitors, and `network.allow` was not written for them."""
    return Fetcher(Routes.from_settings(msgspec.structs.replace(network, allow=())), cache)


class PushSender:
    """Tells all browsers that a go-live concerns; those that could not be told now are told at the next try."""

    def __init__(
        self, store: Store, client: Redis, fetcher: Fetcher, home: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._subscribers = Subscribers(client)
        self._fetcher = fetcher
        self._home = home
        self._clock = clock

    def send(self, alert: Alert) -> DeliveryOutcome:
        change = alert.changes[0]
        wanted = [] if self._clock() - change.at > TTL_SECONDS else self._find_wanted(alert, change)
        if not wanted:
            return DeliveryOutcome(sent=True, detail="no browser wants it")
        if not extras.is_installed("push"):
            problem = f"{WHY_EXTRA}: {extras.install_command('push')}"
            return DeliveryOutcome(sent=False, detail=problem, target_down=True)
        key = VapidKey.read(self._home / KEY_FILE)
        ours = [each for each in wanted if key is not None and each.key == key.public]
        if key is None or not ours:
            problem = f"{KEY_FILE} in {self._home} is not that of the page: copy it from the page's machine"
            return DeliveryOutcome(sent=False, detail=problem, target_down=True)
        requests = [_build_request(each, alert, change, key, self._clock()) for each in ours]
        return self._read_answers(alert, ours, self._fetcher.ask(requests))

    def _find_wanted(self, alert: Alert, change: Change) -> list[PushSubscription]:
        record = next(iter(self._store.find_streamers(change.platform, [change.id])), None)
        streamer = record.streamer if record else None
        if streamer is None:
            return []
        told = self._subscribers.told(alert.key)
        everybody = self._subscribers.all()
        return [each for each in everybody if each.since <= change.at and each.id not in told and each.wants(streamer)]

    def _read_answers(
        self, alert: Alert, asked: Sequence[PushSubscription], answers: Sequence[Response]
    ) -> DeliveryOutcome:
        pairs = list(zip(asked, answers, strict=True))
        gone = [each.id for each, answer in pairs if _is_gone(answer)]
        waiting = [(each, answer) for each, answer in pairs if each.id not in gone and _is_busy(answer)]
        done = {each.id for each, _ in pairs} - {each.id for each, _ in waiting}
        self._subscribers.forget(gone)
        self._subscribers.note_told(alert.key, sorted(done))
        for each, answer in pairs:
            if each.id in done and answer.status // 100 != 2:
                log.info("%s does not take it: %s", urlsplit(each.endpoint).hostname, answer.error or answer.status)
        if not waiting:
            return DeliveryOutcome(sent=True, detail=f"{len(done)} told")
        worst = max((read_outcome(answer, self._clock()) for _, answer in waiting), key=lambda each: each.retry_after_s)
        return worst._replace(sent=False, detail=f"{len(waiting)} of {len(pairs)}: {worst.detail}", permanent=False)


def _is_gone(answer: Response) -> bool:
    return answer.status in GONE_STATUSES or answer.error.endswith(NOT_PUBLIC)


def _is_busy(answer: Response) -> bool:
    return answer.status in BUSY_STATUSES or answer.status >= 500


def _build_request(subscription: PushSubscription, alert: Alert, change: Change, key: VapidKey, now: float) -> Request:
    told = {
        "title": _cut(subscription.says.replace("{name}", message.display_name(change))),
        "body": _cut(change.title),
        "url": change.url,
        "tag": f"{change.platform}/{change.id}/{change.session}",
    }
    body = encrypt(msgspec.json.encode(told), _decode(subscription.p256dh), _decode(subscription.auth))
    headers = {
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(TTL_SECONDS),
        "Urgency": "high",
        "Topic": alert.key,  # takes the place of an earlier try that still waits
        "Authorization": key.authorization(subscription.endpoint, now),
    }
    return Request(
        url=subscription.endpoint,
        method="POST",
        headers=headers,
        body=body,
        limit=MAX_REPLY_BYTES,
        seconds=SEND_SECONDS,
        follow=False,
    )


def _cut(text: str) -> str:
    return message.single_line(text)[:MAX_WORDS_CHARS]


class VapidKey(NamedTuple):
    """Our key, by which push services know who may tell a browser."""

    private: Any  # an EllipticCurvePrivateKey

    @classmethod
    def read(cls, path: Path) -> VapidKey | None:
        """The key of the file; None where there is none."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            return cls(load_pem_private_key(path.read_bytes(), None))
        except (OSError, ValueError):
            return None

    @classmethod
    def read_or_make(cls, path: Path) -> VapidKey:
        """The key of the file, which is made where there is none, for its user alone."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write.locked(path):
            if key := cls.read(path):
                return key
            private = ec.generate_private_key(ec.SECP256R1())
            pem = private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            atomic_write.write_file(path, pem, mode=0o600)
        return cls(private)

    @property
    def public(self) -> str:
        """As a browser wants it, and as push services do."""
        return _encode(_point(self.private))

    def authorization(self, endpoint: str, now: float) -> str:
        """The header of RFC 8292: that we sent it, to this service, not long ago."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        url = urlsplit(endpoint)
        claims = {"aud": f"{url.scheme}://{url.netloc}", "exp": int(now + TOKEN_SECONDS), "sub": CONTACT}
        parts = ({"typ": "JWT", "alg": "ES256"}, claims)
        signed = ".".join(_encode(msgspec.json.encode(part)) for part in parts)
        halves = decode_dss_signature(self.private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b"".join(half.to_bytes(32, "big") for half in halves)
        return f"vapid t={signed}.{_encode(signature)}, k={self.public}"


def encrypt(text: bytes, browser_key: bytes, auth: bytes, salt: bytes = b"", private: Any = None) -> bytes:
    """The body for one browser, as RFC 8291 has it. Salt and key are made anew for each; an example brings its own."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, private = salt or os.urandom(SALT_BYTES), private or ec.generate_private_key(ec.SECP256R1())
    browser = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), browser_key)
    own_point = _point(private)
    shared = private.exchange(ec.ECDH(), browser)
    material = _derive(auth, shared, b"WebPush: info\0" + browser_key + own_point, MATERIAL_BYTES)
    content_key = _derive(salt, material, b"Content-Encoding: aes128gcm\0", KEY_BYTES)
    nonce = _derive(salt, material, b"Content-Encoding: nonce\0", NONCE_BYTES)
    head = salt + RECORD_BYTES.to_bytes(4, "big") + bytes([len(own_point)]) + own_point
    return head + AESGCM(content_key).encrypt(nonce, text + b"\x02", None)  # the mark of the last record


def _derive(salt: bytes, secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF of RFC 5869 with SHA-256, for a single block."""
    inner = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(inner, info + b"\x01", hashlib.sha256).digest()[:size]


def _point(private: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    point: bytes = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return point


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """What is no base64 is nothing."""
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
