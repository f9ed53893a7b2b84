"""The targets, shown: where each stands, and what each says to a sample."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from livectl import render
from livectl.errors import UsageError
from livectl.live.alerts import targets, wording
from livectl.live.alerts.alert import Alert
from livectl.live.checking import Notebook
from livectl.live.network.fetch import Fetcher
from livectl.live.network.route import Routes
from livectl.model import Change
from livectl.render import View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from livectl.config import Settings, Target
    from livectl.live.alerts.alert import Outcome
    from livectl.live.alerts.outbox import Stand
    from livectl.live.alerts.targets import Sender

NONE = "No alerts yet: write a target under `alerts:` in livectl.yaml, see docs/alerts.md."
HIDDEN = "***"
MINUTE = 60.0  # seconds


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


def everyone(settings: Settings, stands: Mapping[str, Stand], backlogs: Mapping[str, int], now: float) -> View:
    data = [_shown(name, target, stands[name], backlogs[name]) for name, target in settings.alerts.items()]
    rows = [
        (
            name,
            address(target),
            " ".join(target.on),
            _ago(stands[name].sent_at, now),
            str(backlogs[name]),
            _state(stands[name]),
        )
        for name, target in settings.alerts.items()
    ]
    drawn = render.table(("target", "address", "on", "last told", "waiting", "state"), rows, data, empty=NONE)
    return View(data, lambda: _with_problems(drawn, settings, stands))


def _with_problems(drawn: View, settings: Settings, stands: Mapping[str, Stand]) -> RenderableType:
    """The table, and below it what was said by those that did not take something."""
    refused = {name: stand for name, stand in stands.items() if stand.problem}
    lines = [f"{name}: {stand.problem}{_next_try(stand, settings.timezone)}" for name, stand in refused.items()]
    if not lines:
        return drawn.people()
    from rich.console import Group

    return Group(drawn.people(), "", *lines)


def _next_try(stand: Stand, zone: str) -> str:
    if stand.retry_at is None:
        return ""
    return f"; try {stand.tries + 1} at {wording.clock(stand.retry_at, zone).partition(' ')[2]}"


def _ago(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return f"{wording.length(now - at)} ago" if now - at >= MINUTE else "just now"


def address(target: Target) -> str:
    """Enough to know it again, and nothing that is secret."""
    if target.command:
        return target.command[0]
    parts = urlsplit(target.webhook.reveal() if target.webhook else target.url.reveal() if target.url else "")
    return f"{parts.scheme}://{parts.hostname if target.webhook else HIDDEN}"


def _state(stand: Stand) -> str:
    if stand.retry_at is not None:
        return "failing"
    return "gave one up" if stand.problem else "well"


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
