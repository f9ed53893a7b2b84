"""Builds the senders of the targets in the settings, and checks each target's address before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from livectl import extras
from livectl.errors import FileError, Mistake, SettingsError, UsageError, shorten
from livectl.live import platforms
from livectl.live.alerts import message
from livectl.live.alerts.message import Alert
from livectl.models import Change
from livectl.redaction import redact_text
from livectl.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from livectl.live.alerts.message import DeliveryOutcome
    from livectl.live.network.fetcher import Fetcher
    from livectl.settings import Settings, Target

    AlertSender: TypeAlias = Callable[[Alert], DeliveryOutcome]

MIN_SCHEME_SIMILARITY = 0.4  # of difflib's measure: a hint is wanted even where little is alike
MAX_SCHEME_CHARS = 20
MAX_DETAIL_CHARS = 300  # of what a target answered
ADDRESS_HINT = "A target is any address that Apprise knows: https://github.com/caronc/apprise/wiki."
WEBHOOK_SCHEMES = ("https", "http")


def build_senders(settings: Settings, fetcher: Fetcher) -> dict[str, AlertSender]:
    """The sender of each target. FileError, with its line, for a target that cannot be right."""
    check_targets(settings)
    return {name: _build_sender(name, target, fetcher, settings) for name, target in settings.alerts.items()}


def check_targets(settings: Settings) -> None:
    """FileError with the line of every address that no sender understands; an unset one is its target's own trouble."""
    mistakes = []
    for name, target in settings.alerts.items():
        address_problems = () if missing(target) else _address_problems(target)
        for key, problem in (*_rule_problems(target), *address_problems):
            mistakes.append(_locate_mistake(settings, f"alerts.{name}.{key}", problem))
    if mistakes:
        raise FileError(mistakes)


def unset_secret(target: Target) -> str:
    """Why the target can be told nothing from here; empty when its secrets are all there."""
    for secret in (target.url, target.webhook, target.secret):
        if secret is not None and (problem := secret.problem):
            return problem
    return ""


def missing(target: Target) -> str:
    """What the target lacks here: a secret, or Apprise, which is an extra. Empty when it has all that it needs."""
    if (problem := unset_secret(target)) or target.url is None or extras.is_installed("alerts"):
        return problem
    return f"its address is one of Apprise, which is not installed: {extras.install_command('alerts')}"


def describe_missing(settings: Settings) -> list[str]:
    """A line for each target that lacks Apprise; unset secrets are told with those of other settings."""
    return [
        f"alerts.{name}: {missing(target)}"
        for name, target in settings.alerts.items()
        if not unset_secret(target) and missing(target)
    ]


def target_kind(target: Target) -> str:
    if target.command:
        return "command"
    return "webhook" if target.webhook else "apprise"


def select_targets(settings: Settings, wanted: str | None) -> list[str]:
    """The name of this target, or of all."""
    names = list(settings.alerts)
    if not names:
        raise UsageError(
            "there is no target to tell", "Write one under `alerts:` in livectl.yaml: `livectl docs alerts`."
        )
    if wanted is None:
        return names
    if wanted not in names:
        meant = nearest(wanted, names)
        hint = f"Do you mean {meant}?" if meant else f"There is {', '.join(names)}."
        raise UsageError(f"no target is called {wanted}", hint)
    return [wanted]


def send_samples(names: Sequence[str], settings: Settings, now: float) -> dict[str, DeliveryOutcome]:
    """Sends a sample to each of these targets."""
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
    alerts = {name: message.build_alert(name, settings.alerts[name], sample, settings.timezone) for name in names}
    senders = _build_own_senders(settings)
    return {name: senders[name](msgspec.structs.replace(alert, kind="test")) for name, alert in alerts.items()}


def resend_alert(payload: Any, settings: Settings) -> dict[str, DeliveryOutcome]:
    """Sends the alert of a dead letter again, with the same key."""
    alert = msgspec.convert(payload, Alert)
    select_targets(settings, alert.target)
    return {alert.target: _build_own_senders(settings)[alert.target](alert)}


def _build_own_senders(settings: Settings) -> dict[str, AlertSender]:
    """Senders with a fetcher of their own, for a command that sends once."""
    from livectl.live.network.check_cache import InMemoryCache
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.network.routes import Routes

    return build_senders(settings, Fetcher(Routes.from_settings(settings.network), InMemoryCache()))


def _build_sender(name: str, target: Target, fetcher: Fetcher, settings: Settings) -> AlertSender:
    """Makes the real sender when there is something to send: its secrets are read where they are used."""

    def send(alert: Alert) -> DeliveryOutcome:
        if problem := missing(target):
            return message.DeliveryOutcome(sent=False, detail=problem)
        outcome = _build_sender_of_kind(name, target, fetcher, settings)(alert)
        return outcome._replace(detail=redact_text(outcome.detail, MAX_DETAIL_CHARS))

    return send


def _build_sender_of_kind(name: str, target: Target, fetcher: Fetcher, settings: Settings) -> AlertSender:
    if target.webhook:
        from livectl.live.alerts.webhook_target import WebhookSender

        return WebhookSender(target, fetcher).send
    if target.command:
        from livectl.live.alerts.command_target import CommandSender

        return CommandSender(name, target, settings.timezone).send
    from livectl.live.alerts.apprise_target import AppriseSender

    return AppriseSender(target, settings.network.allow).send


def _rule_problems(target: Target) -> list[tuple[str, SettingsError]]:
    """What is wrong with whom it wants to be told of, by the key of the settings."""
    known = platforms.names() if target.platforms else ()
    unknown = next((name for name in target.platforms if name not in known), None)
    if unknown is None:
        return []
    meant = nearest(unknown, known)
    hint = f"do you mean {meant}?" if meant else f"there are {', '.join(known)}"
    return [("platforms", SettingsError(f"no platform is called {shorten(unknown, MAX_SCHEME_CHARS)}", hint))]


def _address_problems(target: Target) -> list[tuple[str, SettingsError]]:
    """What is wrong with where it is, by the key of the settings."""
    if target.command:
        return [("command", SettingsError("a command gets no digest", "Leave digest out."))] if target.digest else []
    if target.webhook:
        address = target.webhook.reveal()
        if address.startswith(("http://", "https://")):
            return []
        return [("webhook", _unknown_scheme(address, WEBHOOK_SCHEMES))]
    return _apprise_problems(target.url.reveal()) if target.url else []


def _apprise_problems(address: str) -> list[tuple[str, SettingsError]]:
    from livectl.live.alerts import apprise_target

    if apprise_target.is_valid_url(address):
        return []
    schemes = apprise_target.known_schemes()
    scheme = address.partition(":")[0].lower()
    if "://" in address and scheme in schemes:
        return [("url", SettingsError(f"this is no whole {scheme}:// address", ADDRESS_HINT))]
    return [("url", _unknown_scheme(address, schemes))]


def _unknown_scheme(address: str, schemes: Iterable[str]) -> SettingsError:
    scheme, separator, _ = address.partition("://")
    text = (
        f"no target has the scheme {scheme[:MAX_SCHEME_CHARS]}://" if separator else "an address begins with a scheme"
    )
    meant = nearest(address.partition(":")[0], schemes, cutoff=MIN_SCHEME_SIMILARITY)
    return SettingsError(text, f"do you mean {meant or 'https'}://?")


def _locate_mistake(settings: Settings, route: str, problem: SettingsError) -> Mistake:
    """The mistake at the line that the settings remember for it, in the first column."""
    file, _, line = settings.sources.get(route, "").rpartition(":")
    name = file or (settings.file.name if settings.file else "livectl.yaml")
    return Mistake(name, int(line) if line.isdigit() else 1, 1, f"{route}: {problem.message}", problem.hint)
