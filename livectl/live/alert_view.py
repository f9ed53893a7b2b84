"""The targets, shown: where each stands, and what each says to a sample."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from livectl import render
from livectl.errors import UsageError
from livectl.live import targets, wording
from livectl.live.alert import Alert
from livectl.live.checking import Notebook
from livectl.live.fetch import Fetcher
from livectl.live.route import Routes
from livectl.model import Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.config import Settings, Target
    from livectl.live.alert import Outcome
    from livectl.live.outbox import Stand
    from livectl.live.targets import Sender
    from livectl.render import View

NONE = "No alerts yet: write a target under `alerts:` in livectl.yaml, see docs/alerts.md."
HIDDEN = "***"


def chosen(settings: Settings, wanted: str | None) -> list[str]:
    """The target of this name, or all."""
    names = list(settings.alerts)
    if not names:
        raise UsageError("there is no target to tell", "Write one under `alerts:` in livectl.yaml: docs/alerts.md.")
    if wanted is None:
        return names
    if wanted not in names:
        near = get_close_matches(wanted, names, 1)
        hint = f"Do you mean {near[0]}?" if near else f"There is {', '.join(names)}."
        raise UsageError(f"no target is called {wanted}", hint)
    return [wanted]


def try_out(names: Sequence[str], settings: Settings, now: float) -> dict[str, Outcome]:
    """What each says to a sample."""
    sample = Change(
        kind="began",
        platform="demo",
        id="ada",
        session="sample",
        at=now,
        number=f"{now:.3f}",
        started_at=now,
        name="Ada",
        title="A sample, sent by livectl alerts test",
        category="Testing",
        url="https://example.org/ada",
    )
    told = {name: wording.tell(name, settings.alerts[name], sample, settings.timezone) for name in names}
    senders = open_senders(settings)
    return {name: senders[name](msgspec.structs.replace(alert, kind="test")) for name, alert in told.items()}


def tell_again(said: Any, settings: Settings) -> dict[str, Outcome]:
    """What its target says to an alert that was set aside: the same one, with the same key."""
    alert = msgspec.convert(said, Alert)
    chosen(settings, alert.target)
    return {alert.target: open_senders(settings)[alert.target](alert)}


def open_senders(settings: Settings) -> dict[str, Sender]:
    """The targets' senders, for one call."""
    return targets.senders(settings, Fetcher(Routes.of(settings.network), Notebook()))


def tried(outcomes: Mapping[str, Outcome]) -> View:
    data = [{"target": name, "sent": one.sent, "said": one.said} for name, one in outcomes.items()]
    rows = [(name, "yes" if one.sent else "NO", one.said) for name, one in outcomes.items()]
    return render.table(("target", "taken", "answer"), rows, data, empty=NONE)


def everyone(settings: Settings, stands: Mapping[str, Stand], backlogs: Mapping[str, int]) -> View:
    data = [_shown(name, target, stands[name], backlogs[name]) for name, target in settings.alerts.items()]
    rows = [
        (
            str(one["name"]),
            str(one["address"]),
            " ".join(one["on"]),
            wording.clock(stands[one["name"]].sent_at, settings.timezone) or "never",
            str(one["backlog"]),
            _state(stands[one["name"]], settings.timezone),
        )
        for one in data
    ]
    return render.table(("target", "address", "on", "last told", "waiting", "state"), rows, data, empty=NONE)


def address(target: Target) -> str:
    """Enough to know it again, and nothing that is secret."""
    if target.command:
        return target.command[0]
    parts = urlsplit(target.webhook.reveal() if target.webhook else target.url.reveal() if target.url else "")
    host = parts.hostname if target.webhook else None
    return f"{parts.scheme}://{host or ''}{'/' if host else ''}{HIDDEN}"


def _state(stand: Stand, zone: str) -> str:
    if stand.retry_at is not None:
        return f"failing ({stand.tries}), again {wording.clock(stand.retry_at, zone)[-5:]}: {stand.problem}"
    return f"gave up {stand.dead}: {stand.problem}" if stand.problem else "well"


def _shown(name: str, target: Target, stand: Stand, backlog: int) -> dict[str, Any]:
    return {
        "name": name,
        "kind": targets.kind(target),
        "address": address(target),
        "on": target.on,
        "sent": stand.sent,
        "sent_at": _instant(stand.sent_at),
        "backlog": backlog,
        "failures": stand.failures,
        "tries": stand.tries,
        "failing_since": _instant(stand.failing_since),
        "retry_at": _instant(stand.retry_at),
        "dead": stand.dead,
        "problem": stand.problem or None,
    }


def _instant(at: float | None) -> str | None:
    return None if at is None else wording.instant(at)
