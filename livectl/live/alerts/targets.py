"""The targets: for each kind the sender that tells it an alert, and what is wrong with one before it is ever told."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

from livectl.errors import FileError, Mistake, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.config import Settings, Target
    from livectl.live.alerts.alert import Alert, Outcome
    from livectl.live.network.fetch import Fetcher

    Sender: TypeAlias = Callable[[Alert], Outcome]

HINT = "A target is any address that Apprise knows: https://github.com/caronc/apprise/wiki."


def senders(settings: Settings, fetcher: Fetcher) -> dict[str, Sender]:
    """Of every target. FileError when one cannot be right, with its line."""
    check(settings)
    return {name: _sender(name, target, fetcher, settings) for name, target in settings.alerts.items()}


def kind(target: Target) -> str:
    if target.command:
        return "command"
    return "webhook" if target.webhook else "apprise"


def check(settings: Settings) -> None:
    """Every address that no sender understands, at its line."""
    mistakes = []
    for name, target in settings.alerts.items():
        for key, problem in _problems(target):
            mistakes.append(_placed(settings, f"alerts.{name}.{key}", problem))
    if mistakes:
        raise FileError(mistakes)


def _problems(target: Target) -> list[tuple[str, SettingsError]]:
    if target.command:
        return [("command", SettingsError("a command gets no digest", "Leave digest out."))] if target.digest else []
    if target.webhook:
        address = target.webhook.reveal()
        if address.startswith(("http://", "https://")):
            return []
        return [("webhook", SettingsError(_no_scheme(address), f"do you mean {_nearest(address, ('https', 'http'))}?"))]
    if target.url is None:
        return []
    from livectl.live.alerts import apprising

    address = target.url.reveal()
    if apprising.understands(address):
        return []
    known = apprising.schemes()
    scheme = address.partition(":")[0].lower()
    if "://" in address and scheme in known:
        return [("url", SettingsError(f"this is no whole {scheme}:// address", HINT))]
    return [("url", SettingsError(_no_scheme(address), f"do you mean {_nearest(address, known)}?"))]


def _no_scheme(address: str) -> str:
    scheme, found, _ = address.partition("://")
    return f"no target has the scheme {scheme[:20]}://" if found else "an address begins with a scheme"


def _nearest(address: str, schemes: tuple[str, ...]) -> str:
    near = get_close_matches(address.partition(":")[0].lower(), schemes, 1, 0.4)
    return f"{near[0] if near else 'https'}://"


def _placed(settings: Settings, route: str, problem: SettingsError) -> Mistake:
    """At the line that the settings remember; the column is that of the line's first letter."""
    file, _, line = settings.sources.get(route, "").rpartition(":")
    name = file or (settings.file.name if settings.file else "livectl.yaml")
    return Mistake(name, int(line) if line.isdigit() else 1, 1, f"{route}: {problem.message}", problem.hint)


def _sender(name: str, target: Target, fetcher: Fetcher, settings: Settings) -> Sender:
    if target.webhook:
        from livectl.live.alerts.webhook import Webhook

        return Webhook(target, fetcher).send
    if target.command:
        from livectl.live.alerts.program import Program

        return Program(name, target, settings.timezone).send
    from livectl.live.alerts.apprising import Service

    return Service(target).send
