"""Sends alerts to a webhook: as signed JSON, to the address of the settings and to no other."""

from __future__ import annotations

import hashlib
import hmac
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from livectl.live.alerts import message
from livectl.live.alerts.message import Alert, DeliveryOutcome, alert_kind
from livectl.live.network.routes import NOT_PUBLIC
from livectl.models import Request, Response
from livectl.units import utc_datetime

if TYPE_CHECKING:
    from livectl.live.network.fetcher import Fetcher
    from livectl.models import Change
    from livectl.settings import Target


PAYLOAD_VERSION = 1
MAX_REPLY_BYTES = 65_536  # nothing in the reply is needed
SUCCESS_STATUSES = range(200, 300)
# The webhook will never take this alert; it may take the next.
PERMANENT_STATUSES = {400, 413, 414, 422}
# The webhook takes nothing for now, as when it names a time to wait.
DOWN_STATUSES = {429, 503}


class WebhookSender:
    """One webhook."""

    def __init__(self, target: Target, fetcher: Fetcher) -> None:
        self._target = target
        self._fetcher = fetcher

    def send(self, alert: Alert) -> DeliveryOutcome:
        url = self._target.webhook.reveal() if self._target.webhook else ""
        payload = encode_alert(alert)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": alert.key,
            **self._signature(payload, int(time.time())),
        }
        request = Request(
            url=url,
            method="POST",
            headers=headers,
            body=payload,
            limit=MAX_REPLY_BYTES,
            seconds=message.send_timeout(self._target),
            follow=False,
        )
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
        (response,) = self._fetcher.ask([request], {host} if self._target.allow_private else None)
        return read_outcome(response, time.time())

    def _signature(self, payload: bytes, now: int) -> dict[str, str]:
        if self._target.secret is None:
            return {}
        return {"Livectl-Signature": sign(self._target.secret.reveal(), payload, now)}


def sign(secret: str, payload: bytes, now: int) -> str:
    """Signs time and body together, so that neither can be changed."""
    digest = hmac.new(secret.encode(), f"{now}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def encode_alert(alert: Alert) -> bytes:
    """The body, the same bytes at every sending of an alert."""
    payload = {
        "version": PAYLOAD_VERSION,
        "key": alert.key,
        "target": alert.target,
        "kind": alert.kind,
        "title": alert.title,
        "body": alert.body,
        "changes": [_change_json(change) for change in alert.changes],
    }
    return msgspec.json.encode(payload)


def read_outcome(response: Response, now: float) -> DeliveryOutcome:
    status = response.status
    if status in SUCCESS_STATUSES:
        return DeliveryOutcome(sent=True, detail=f"answered {status}")
    if not status:
        hint = message.ALLOW_PRIVATE_HINT if response.error.endswith(NOT_PUBLIC) else ""
        return DeliveryOutcome(sent=False, detail=f"{response.error}{hint}", target_down=response.unreached)
    moved = ", which leads elsewhere: write that address" if 300 <= status < 400 else ""
    wait = _parse_retry_after(response.headers.get("retry-after", ""), now)
    return DeliveryOutcome(
        sent=False,
        detail=f"answered {status}{moved}",
        retry_after_s=wait,
        permanent=status in PERMANENT_STATUSES,
        target_down=status in DOWN_STATUSES or wait > 0,
    )


def _parse_retry_after(text: str, now: float) -> float:
    """The seconds of a Retry-After, which is a number of seconds or a date."""
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "kind": alert_kind(change),
        "at": utc_datetime(change.at),
        "platform": change.platform,
        "id": change.id,
        "session": change.session,
        "name": change.name,
        "title": change.title,
        "category": change.category,
        "before": change.before,
        "url": change.url,
        "cover": change.cover,
        "avatar": change.avatar,
        "viewers": change.viewers,
        "started_at": utc_datetime(change.started_at),
        "ended_at": utc_datetime(change.ended_at),
        "recording": message.recording_address(change) or None,
    }
