"""A service that Apprise knows, told through it. Imported only where there is such a target: it is heavy."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import apprise
from apprise.manager_plugins import NotificationManager

from livectl.live.alerts import patience
from livectl.live.alerts.alert import Alert, Outcome
from livectl.live.network.calls import call_all
from livectl.live.platforms.base import Call

if TYPE_CHECKING:
    from livectl.config import Target

SHORTEST_SECRET = 6  # characters: what is shorter is a word such as "json", and is no secret
HIDDEN = "***"
MOST_SAID = 300  # characters

HEARING: ContextVar[logging.Handler | None] = ContextVar("hearing", default=None)  # Apprise hands contexts on


class Service:
    """One Apprise address."""

    def __init__(self, target: Target) -> None:
        self._url = target.url.reveal() if target.url else ""
        self._seconds = patience.seconds(target)

    def send(self, alert: Alert) -> Outcome:
        answer = call_all([Call(self._notify, (alert,), self._seconds)])[0]
        if answer is None:
            return Outcome(sent=False, said=f"took longer than {self._seconds:.0f} s")
        took, said = answer
        if took:
            return Outcome(sent=True, said="the service took it")
        return Outcome(sent=False, said=hide(said, self._url) or "the service refused it, and did not say why")

    def _notify(self, alert: Alert) -> tuple[bool, str]:
        heard = _Heard()
        logger = logging.getLogger("apprise")
        logger.addHandler(heard)
        try:
            service = apprise.Apprise(asset=_asset())
            service.add(self._url)
            took = service.notify(
                title=alert.title, body=alert.body or alert.title, body_format=apprise.NotifyFormat.TEXT
            )
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            logger.removeHandler(heard)
        return bool(took), heard.last


class _Heard(logging.Handler):
    """What Apprise says on our behalf, in whichever of its threads: it answers only yes or no."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        HEARING.set(self)

    def emit(self, record: logging.LogRecord) -> None:
        if HEARING.get() is self:
            self.last = record.getMessage()


def understands(url: str) -> bool:
    return apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True) is not None


def schemes() -> tuple[str, ...]:
    known: list[str] = NotificationManager().schemas()  # type: ignore[no-untyped-call]
    return tuple(sorted(known))


def hide(said: str, url: str) -> str:
    """What was said, without any part of the address that may be a secret."""
    parts = urlsplit(url)
    secrets = {parts.netloc, *parts.netloc.replace("@", ":").split(":"), *parts.path.split("/"), url}
    secrets |= {value for _, value in parse_qsl(parts.query)}
    for secret in sorted(secrets | {unquote(one) for one in secrets}, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            said = said.replace(secret, HIDDEN)
    return said[:MOST_SAID]


@cache
def _asset() -> Any:
    """Quiet: nothing on disk, one thing at a time; its log lines may hold addresses, and go nowhere but to us."""
    logging.getLogger("apprise").propagate = False
    return apprise.AppriseAsset(
        app_id="livectl", app_desc="livectl", async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY
    )
