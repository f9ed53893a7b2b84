"""The targets: for each kind the sender that tells it an alert, and what is wrong with one before it is ever told."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from livectl.errors import FileError, Mistake, SettingsError
from livectl.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.live.alerts.message import Alert, DeliveryOutcome
    from livectl.live.network.fetcher import Fetcher
    from livectl.settings import Settings, Target

    AlertSender: TypeAlias = Callable[[Alert], DeliveryOutcome]

MIN_SCHEME_SIMILARITY = 0.4  # of difflib's measure: a hint is wanted even where little is alike
ADDRESS_HINT = "A target is any address that Apprise knows: https://github.com/caronc/apprise/wiki."


def build_senders(settings: Settings, fetcher: Fetcher) -> dict[str, AlertSender]:
    """Of every target. FileError when one cannot be right, with its line."""
    check_targets(settings)
    return {name: _build_sender(name, target, fetcher, settings) for name, target in settings.alerts.items()}


def target_kind(target: Target) -> str:
    if target.command:
        return "command"
    return "webhook" if target.webhook else "apprise"


def check_targets(settings: Settings) -> None:
    """Every address that no sender understands, at its line."""
    mistakes = []
    for name, target in settings.alerts.items():
        for key, problem in _problems(target):
            mistakes.append(_locate_mistake(settings, f"alerts.{name}.{key}", problem))
    if mistakes:
        raise FileError(mistakes)


def _problems(target: Target) -> list[tuple[str, SettingsError]]:
    if target.command:
        return [("command", SettingsError("a command gets no digest", "Leave digest out."))] if target.digest else []
    if target.webhook:
        address = target.webhook.reveal()
        if address.startswith(("http://", "https://")):
            return []
        return [
            (
                "webhook",
                SettingsError(_scheme_problem(address), f"do you mean {_nearest_scheme(address, ('https', 'http'))}?"),
            )
        ]
    if target.url is None:
        return []
    from livectl.live.alerts import apprise_target

    address = target.url.reveal()
    if apprise_target.is_valid_url(address):
        return []
    schemes = apprise_target.known_schemes()
    scheme = address.partition(":")[0].lower()
    if "://" in address and scheme in schemes:
        return [("url", SettingsError(f"this is no whole {scheme}:// address", ADDRESS_HINT))]
    return [("url", SettingsError(_scheme_problem(address), f"do you mean {_nearest_scheme(address, schemes)}?"))]


def _scheme_problem(address: str) -> str:
    scheme, separator, _ = address.partition("://")
    return f"no target has the scheme {scheme[:20]}://" if separator else "an address begins with a scheme"


def _nearest_scheme(address: str, schemes: tuple[str, ...]) -> str:
    return f"{nearest(address.partition(':')[0], schemes, cutoff=MIN_SCHEME_SIMILARITY) or 'https'}://"


def _locate_mistake(settings: Settings, route: str, problem: SettingsError) -> Mistake:
    """At the line that the settings remember; the column is that of the line's first letter."""
    file, _, line = settings.sources.get(route, "").rpartition(":")
    name = file or (settings.file.name if settings.file else "livectl.yaml")
    return Mistake(name, int(line) if line.isdigit() else 1, 1, f"{route}: {problem.message}", problem.hint)


def _build_sender(name: str, target: Target, fetcher: Fetcher, settings: Settings) -> AlertSender:
    if target.webhook:
        from livectl.live.alerts.webhook_target import WebhookSender

        return WebhookSender(target, fetcher).send
    if target.command:
        from livectl.live.alerts.command_target import CommandSender

        return CommandSender(name, target, settings.timezone).send
    from livectl.live.alerts.apprise_target import AppriseSender

    return AppriseSender(target).send
