"""The outbox as each target sees it: how far it was told, who is telling it now, what went wrong.

    livectl:target:NAME  cursor in the outbox, lease, tries, what it said last
    livectl:told:NAME    keys of the alerts it took in the last 30 days
    livectl:pace:NAME    when it was last sent something, for its limit
    livectl:troubles     what a person must mend, by name: since when, or that it was told
    livectl:dead         dead letters, which ops reads

Every step is one Lua call, and fenced: who lost the lease changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live import rows
from livectl.live.scripts import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from livectl.live.alerts.alert import Alert
    from livectl.model import Change
    from livectl.quantity import Rate


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """Where a target stands. Times are None where there is nothing to tell."""

    cursor: str = ""  # the last change that it needs not be told any more
    begun: str = ""  # the first and the last change of what may be on its way
    through: str = ""
    tries: int = 0  # of what comes next
    failing_since: float | None = None
    retry_at: float | None = None
    problem: str = ""  # what it said when it last refused something
    failed_at: float | None = None
    sent_at: float | None = None
    sent: int = 0
    failures: int = 0
    dead: int = 0


class Grave(msgspec.Struct, frozen=True):
    """A dead letter as the store keeps it."""

    id: str
    text: str


class Outbox:
    """One worker's hands on the targets. `token` tells them from everybody else's."""

    def __init__(self, client: Redis, token: str) -> None:
        self._client: Any = client
        self._token = token

    def take(self, name: str, now: float, lease: float, start: str) -> Stand | None:
        """The target, for this worker alone; None while another one has it. A new target begins at `start`."""
        flat = script(self._client, "take")(name, self._token, now, lease, start)
        return stand(dict(zip(flat[::2], flat[1::2], strict=True))) if flat else None

    def hold(self, alert: Alert, now: float, lease: float, limit: Rate | None) -> str:
        """Before it is sent: `go`, `told` already, `lost` to another worker, or the seconds that its limit asks for."""
        most, window = (max(1, int(limit.amount)), limit.seconds) if limit else (0, 0)
        held = script(self._client, "hold")
        said = held(alert.target, self._token, now, lease, alert.key, alert.first, alert.last, most, window)
        return str(said)

    def sent(self, alert: Alert, now: float) -> bool:
        return self._settle(alert.target, now, "sent", alert.last, alert.key)

    def passed(self, name: str, number: str, now: float) -> bool:
        """Everything up to this one needs not be told."""
        return self._settle(name, now, "passed", number)

    def failed(self, alert: Alert, now: float, problem: str, retry_at: float) -> bool:
        return self._settle(alert.target, now, "failed", alert.last, alert.key, problem, retry_at)

    def bury(self, alert: Alert, now: float, problem: str, grave: Grave) -> bool:
        return self._settle(alert.target, now, "dead", alert.last, alert.key, problem, 0, grave.id, grave.text)

    def release(self, name: str) -> None:
        script(self._client, "release")(name, self._token)

    def stands(self, names: Sequence[str]) -> dict[str, Stand]:
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(f"livectl:target:{name}")
        return {name: stand(said) for name, said in zip(names, pipe.execute(), strict=True)}

    def trouble(self, named: Sequence[tuple[str, float, Change]], now: float) -> int:
        """Puts these into the outbox, each once while it lasts, and once it has lasted its seconds."""
        rows_ = [(name, lasting, _written(change)) for name, lasting, change in named]
        return int(script(self._client, "trouble")(now, rows.text(rows_)))

    def _settle(self, name: str, now: float, outcome: str, number: str, *rest: str | float) -> bool:
        more = [*rest, *[""] * (5 - len(rest))]
        return bool(script(self._client, "settle")(name, self._token, now, outcome, number, *more))


def stand(said: dict[str, str]) -> Stand:
    return msgspec.convert({name: value for name, value in said.items() if value}, Stand, strict=False)


def _written(change: Change) -> str:
    said = msgspec.to_builtins(change)
    return rows.text({name: value for name, value in said.items() if value not in (None, False)})
