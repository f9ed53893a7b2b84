"""Sends alerts through Apprise. Imported only where a target needs it: Apprise is heavy."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import apprise
from apprise.manager_plugins import NotificationManager

from livectl.live.alerts import message
from livectl.live.alerts.message import Alert, DeliveryOutcome
from livectl.live.network.fetcher import call_all
from livectl.live.platforms.base import Call
from livectl.redaction import MASK

if TYPE_CHECKING:
    from livectl.settings import Target


MIN_SECRET_CHARS = 6  # a shorter part of an address is a word such as "json"
MAX_DETAIL_CHARS = 300

# Apprise sends in threads of its own, and hands the context on to them.
ACTIVE_HANDLER: ContextVar[logging.Handler | None] = ContextVar("active_handler", default=None)


class AppriseSender:
    """One Apprise address."""

    def __init__(self, target: Target) -> None:
        self._url = target.url.reveal() if target.url else ""
        self._timeout_s = message.send_timeout(target)

    def send(self, alert: Alert) -> DeliveryOutcome:
        result = call_all([Call(self._notify, (alert,), self._timeout_s)])[0]
        if result is None:
            return DeliveryOutcome(sent=False, detail=f"took longer than {self._timeout_s:.0f} s")
        accepted, detail = result
        if accepted:
            return DeliveryOutcome(sent=True, detail="the service took it")
        return DeliveryOutcome(
            sent=False, detail=hide_secrets(detail, self._url) or "the service refused it, and did not say why"
        )

    def _notify(self, alert: Alert) -> tuple[bool, str]:
        handler = _AppriseLogHandler()
        logger = logging.getLogger("apprise")
        logger.addHandler(handler)
        try:
            notifier = apprise.Apprise(asset=_apprise_asset())
            notifier.add(self._url)
            accepted = notifier.notify(
                title=alert.title, body=alert.body or alert.title, body_format=apprise.NotifyFormat.TEXT
            )
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            logger.removeHandler(handler)
        return bool(accepted), handler.last_message


class _AppriseLogHandler(logging.Handler):
    """Keeps what Apprise logs about our alert, in any of its threads: its answer is only yes or no."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last_message = ""
        ACTIVE_HANDLER.set(self)

    def emit(self, record: logging.LogRecord) -> None:
        if ACTIVE_HANDLER.get() is self:
            self.last_message = record.getMessage()


def is_valid_url(url: str) -> bool:
    return apprise.Apprise.instantiate(url, asset=_apprise_asset(), suppress_exceptions=True) is not None


def known_schemes() -> tuple[str, ...]:
    names: list[str] = NotificationManager().schemas()  # type: ignore[no-untyped-call]
    return tuple(sorted(names))


def hide_secrets(text: str, url: str) -> str:
    """The text without any part of the address that may be a secret."""
    parts = urlsplit(url)
    secrets = {parts.netloc, *parts.netloc.replace("@", ":").split(":"), *parts.path.split("/"), url}
    secrets |= {value for _, value in parse_qsl(parts.query)}
    for secret in sorted(secrets | {unquote(part) for part in secrets}, key=len, reverse=True):
        if len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, MASK)
    return text[:MAX_DETAIL_CHARS]


@cache
def _apprise_asset() -> Any:
    """Keeps nothing on disk, sends one alert at a time, and logs to our handler only: a line may hold an address."""
    logging.getLogger("apprise").propagate = False
    return apprise.AppriseAsset(
        app_id="livectl", app_desc="livectl", async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY
    )
