"""Sends alerts through Apprise. Imported only where a target needs it: Apprise is heavy."""

from __future__ import annotations

import errno
import html
import logging
import socket
import sys
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import apprise
from apprise.manager_plugins import NotificationManager

from livectl.live.alerts import message
from livectl.live.alerts.message import Alert, DeliveryOutcome
from livectl.live.network.fetcher import call_all
from livectl.live.network.routes import NOT_PUBLIC, is_public
from livectl.live.platforms.base import Call
from livectl.redaction import hide_parts_of_address

if TYPE_CHECKING:
    from collections.abc import Collection

    from livectl.settings import Target


CONNECTING_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
INTERNET_FAMILIES = {socket.AF_INET, socket.AF_INET6}
DNS_PORT = 53
FORMATS = {
    "text": apprise.NotifyFormat.TEXT,
    "markdown": apprise.NotifyFormat.MARKDOWN,
    "lark": apprise.NotifyFormat.MARKDOWN,
    "html": apprise.NotifyFormat.HTML,
}
UNREACHED_WORDS = (NOT_PUBLIC, "Connection error")  # of ours and of Apprise's: nothing can be sent there

# Apprise sends in threads of its own, and hands the context on to them.
ACTIVE_HANDLER: ContextVar[logging.Handler | None] = ContextVar("active_handler", default=None)
ACTIVE_LIMIT: ContextVar[ReachLimit | None] = ContextVar("active_limit", default=None)


class AppriseSender:
    """One Apprise address."""

    def __init__(self, target: Target, allowed_hosts: Collection[str] = ()) -> None:
        self._url = target.url.reveal() if target.url else ""
        self._timeout_s = message.send_timeout(target)
        host = (urlsplit(self._url).hostname or "").rstrip(".")
        self._public_only = not target.allow_private and host not in {name.lower() for name in allowed_hosts}

    def send(self, alert: Alert) -> DeliveryOutcome:
        result = call_all([Call(self._notify, (alert,), self._timeout_s)])[0]
        if result is None:
            return DeliveryOutcome(sent=False, detail=f"took longer than {self._timeout_s:.0f} s")
        accepted, detail = result
        if accepted:
            return DeliveryOutcome(sent=True, detail="the service took it")
        detail = detail or "the service refused it, and did not say why"
        return DeliveryOutcome(sent=False, detail=detail, target_down=any(words in detail for words in UNREACHED_WORDS))

    def _notify(self, alert: Alert) -> tuple[bool, str]:
        handler, reach_limit = _AppriseLogHandler(), ReachLimit()
        logger = logging.getLogger("apprise")
        logger.addHandler(handler)
        try:
            if self._public_only:
                reach_limit.watch()
            notifier = apprise.Apprise(asset=_apprise_asset())
            notifier.add(self._url)
            accepted = notifier.notify(
                title=_title_for(notifier[0], alert),
                body=alert.body or alert.title,
                body_format=FORMATS[alert.style],
            )
        except Exception as error:
            return False, reach_limit.refusal or self._without_address(f"{type(error).__name__}: {error}")
        finally:
            logger.removeHandler(handler)
        return bool(accepted), reach_limit.refusal or self._without_address(handler.last_message)

    def _without_address(self, text: str) -> str:
        return hide_parts_of_address(text, self._url)


def _title_for(service: Any, alert: Alert) -> str:
    """The title as the service wants it: where it has no place for one, the title becomes part of the body."""
    is_in_body = alert.style == "html" and service.title_maxlen <= 0
    return html.escape(alert.title) if is_in_body else alert.title


class ReachLimit:
    """Lets the connections of this context, and of the threads that inherit it, lead to public addresses alone.

    Python tells its audit hooks of each address that a socket is about to connect to, whichever library asks for it: a
    name has been resolved by then, and a redirect is one more connection.
    """

    def __init__(self) -> None:
        self.refusal = ""

    def watch(self) -> None:
        _install_audit_hook()
        ACTIVE_LIMIT.set(self)

    def check(self, connecting_socket: Any, address: Any) -> None:
        """PermissionError when nothing may be sent there."""
        if connecting_socket.family not in INTERNET_FAMILIES or not isinstance(address, tuple):
            return
        host, port = str(address[0]), address[1]
        is_name_lookup = connecting_socket.type == socket.SOCK_DGRAM and port == DNS_PORT  # as eventlet does it
        if not is_name_lookup and not all(map(is_public, _numeric_addresses(host, port))):
            self.refusal = f"not asked: {host} {NOT_PUBLIC}{message.ALLOW_PRIVATE_HINT}"
            raise PermissionError(errno.EACCES, self.refusal)


@cache
def _install_audit_hook() -> None:
    """Once a process, and for good: Python has no way to take one back."""

    def check_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CONNECTING_EVENTS and (reach_limit := ACTIVE_LIMIT.get()):
            reach_limit.check(*arguments)

    sys.addaudithook(check_event)


def _numeric_addresses(host: str, port: Any) -> list[str]:
    """The addresses of a name that a library left to the system to resolve; of a numeric one, itself."""
    return [str(socket_address[0]) for *_, socket_address in socket.getaddrinfo(host, port)]


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


@cache
def _apprise_asset() -> Any:
    """Keeps nothing on disk, sends one alert at a time, and logs to our handler only: a line may hold an address."""
    logging.getLogger("apprise").propagate = False
    return apprise.AppriseAsset(
        app_id="livectl", app_desc="livectl", async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY
    )
