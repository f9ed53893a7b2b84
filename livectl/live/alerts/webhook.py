"""A webhook: an alert as JSON, signed, sent where it says and nowhere else."""

from __future__ import annotations

import hashlib
import hmac
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from livectl.live.alerts import patience, wording
from livectl.live.alerts.alert import Alert, Outcome, kind_of
from livectl.model import Request, Response

if TYPE_CHECKING:
    from livectl.config import Target
    from livectl.live.network.fetch import Fetcher
    from livectl.model import Change

VERSION = 1
ANSWER = 65_536  # bytes read of what it says; nothing in there is needed
DONE = range(200, 300)
# It understood, and will never take this one: the next may be fine.
HOPELESS = {400, 413, 414, 422}


class Webhook:
    """One address that is sent JSON."""

    def __init__(self, target: Target, fetcher: Fetcher) -> None:
        self._target = target
        self._fetcher = fetcher

    def send(self, alert: Alert) -> Outcome:
        url = self._target.webhook.reveal() if self._target.webhook else ""
        said = body(alert)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": alert.key,
            **self._signature(said, int(time.time())),
        }
        request = Request(
            url=url,
            method="POST",
            headers=headers,
            body=said,
            limit=ANSWER,
            seconds=patience.seconds(self._target),
            follow=False,
        )
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
        (answer,) = self._fetcher.ask([request], {host} if self._target.allow_private else None)
        return outcome(answer, time.time())

    def _signature(self, said: bytes, now: int) -> dict[str, str]:
        if self._target.secret is None:
            return {}
        return {"Livectl-Signature": sign(self._target.secret.reveal(), said, now)}


def sign(secret: str, said: bytes, now: int) -> str:
    """Of time and body together, so that neither can be changed."""
    made = hmac.new(secret.encode(), f"{now}.".encode() + said, hashlib.sha256).hexdigest()
    return f"t={now},v1={made}"


def body(alert: Alert) -> bytes:
    """The same bytes for every sending of an alert."""
    told = {
        "version": VERSION,
        "key": alert.key,
        "target": alert.target,
        "kind": alert.kind,
        "title": alert.title,
        "body": alert.body,
        "changes": [_shown(change) for change in alert.changes],
    }
    return msgspec.json.encode(told)


def outcome(answer: Response, now: float) -> Outcome:
    status = answer.status
    if status in DONE:
        return Outcome(sent=True, said=f"answered {status}")
    if not status:
        return Outcome(sent=False, said=answer.error)
    moved = ", which leads elsewhere: write that address" if 300 <= status < 400 else ""
    wait = _wait(answer.headers.get("retry-after", ""), now)
    return Outcome(sent=False, said=f"answered {status}{moved}", wait=wait, hopeless=status in HOPELESS)


def _wait(text: str, now: float) -> float:
    """Seconds, of a Retry-After in seconds or as a date."""
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0


def _shown(change: Change) -> dict[str, Any]:
    return {
        "kind": kind_of(change),
        "at": _instant(change.at),
        "platform": change.platform,
        "id": change.id,
        "session": change.session,
        "name": change.name,
        "title": change.title,
        "category": change.category,
        "before": change.before,
        "url": change.url,
        "cover": change.cover,
        "viewers": change.viewers,
        "started_at": _instant(change.started_at),
        "ended_at": _instant(change.ended_at),
    }


def _instant(at: float | None) -> str | None:
    return None if at is None else wording.instant(at)
