"""Builds what sends alerts: the targets of the live wing, whose dead letters ops keeps. Workers have it, and beats."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from livectl.live.alerts import delivery, push_target, targets
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.ops.jobs import dead_letters
from livectl.ops.protocol.dead_letter import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from livectl.live.alerts.delivery import AlertDispatcher
    from livectl.live.alerts.message import Alert
    from livectl.live.store import Store
    from livectl.settings import Settings

DELIVER_TASK = "livectl.deliver"


def build_dispatcher(
    settings: Settings, store: Store, client: Redis, is_outdated: Callable[[], bool]
) -> AlertDispatcher:
    """What delivers the alerts of these settings; `is_outdated` tells whether others are in force by now."""
    browsers = push_target.Subscribers(client)
    fetcher = Fetcher(Routes.from_settings(settings.network), store)
    push = push_target.PushSender(store, client, push_target.build_fetcher(settings.network, store), settings.home)
    hooks = delivery.DispatchHooks(
        time.time,
        lambda alert, reason, now: keep_dead_letter(client, alert, reason, now),
        is_outdated=is_outdated,
        is_idle=lambda name: name == push_target.NAME and name not in settings.alerts and not browsers.count(),
    )
    senders = {push_target.NAME: push.send, **targets.build_senders(settings, fetcher)}
    return delivery.AlertDispatcher(push_target.with_browsers(settings), store, client, senders, hooks)


def keep_dead_letter(client: Redis, alert: Alert, reason: str, now: float) -> None:
    """Keeps the dead letter of an alert that could not be delivered; the same alert has one, however often."""
    dead_letter = DeadLetter(
        id=alert.key,
        kind="alert",
        reason=f"{alert.target}: {reason}",
        at=datetime.fromtimestamp(now, UTC),
        task=DELIVER_TASK,
        payload=msgspec.to_builtins(alert),
    )
    client.hset(dead_letters.DEAD_LETTERS_KEY, dead_letter.id, msgspec.json.encode(dead_letter).decode())
