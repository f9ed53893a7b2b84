"""Notes in the store who changed what, when, from where, and how that went: by the page, its JSON or the terminal.

`livectl:audit` is a stream of at most 10,000 changes of the last 90 days, each as JSON. No secret is in it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import msgspec

from livectl import redis_client
from livectl.redaction import redact_text
from livectl.render import Column, View, table, with_lines
from livectl.units import format_instant, format_local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address

AUDIT_KEY = "livectl:audit"
MAX_CHANGES = 10_000  # some 3 MB
MAX_AGE_S = 90 * 86_400.0
MAX_WORDS_CHARS = 300  # of what was changed, and of what came of it
MAX_ADDRESS_CHARS = 64
MS_PER_SECOND = 1000
ENTRY_FIELDS = ("change", "subject", "outcome", "said", "role", "token", "address", "by")

AUDIT_COLUMNS = (
    Column("who", rank=2),
    Column("change"),
    Column("what", rank=1),
    Column("outcome", "state"),
    Column("said", rank=3),
)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change: who made it, of what, and what came of it."""

    change: str  # follow, unfollow, tags, test, retry, revoke, resend, drop, pause, resume, run, add, set, remove
    subject: str
    outcome: Literal["done", "nothing", "failed"]
    said: str = ""  # what whoever made it was told
    role: str = ""
    token: str = ""  # its name; empty where there is none
    address: str = ""  # from which it came
    by: Literal["page", "api", "terminal"] = "page"
    at: float = 0.0  # seconds since the epoch, as the store says

    @property
    def who(self) -> str:
        """The name of the token, or where somebody without one is."""
        return " ".join(filter(None, (self.token or self.by, self.address)))


def note(store: Address, entry: AuditEntry) -> None:
    """Adds a change to the log, and drops what is too old or too much. ServerError where the store takes nothing."""
    shown = msgspec.structs.replace(
        entry,
        subject=redact_text(entry.subject, MAX_WORDS_CHARS),
        said=redact_text(entry.said, MAX_WORDS_CHARS),
        address=entry.address[:MAX_ADDRESS_CHARS],
    )
    with redis_client.connect(store) as connection:
        number = connection.execute("XADD", AUDIT_KEY, "MAXLEN", MAX_CHANGES, "*", "entry", msgspec.json.encode(shown))
        oldest = int((_at(number) - MAX_AGE_S) * MS_PER_SECOND)  # by the clock of the store, as the numbers are
        connection.call_all([("XTRIM", AUDIT_KEY, "MINID", max(0, oldest))])  # a Redis before 6.2 knows no MINID


def check(store: Address) -> None:
    """ServerError where nothing can be noted, so that nothing is changed either."""
    redis_client.connect(store).close()


def read(store: Address, limit: int, since: float = 0.0, offset: int = 0) -> list[AuditEntry]:
    """The latest changes, the newest first, of those that happened after `since`."""
    first = int(max(since, time.time() - MAX_AGE_S) * MS_PER_SECOND)
    with redis_client.connect(store, trial_write=False) as connection:
        rows = connection.execute("XREVRANGE", AUDIT_KEY, "+", first, "COUNT", offset + limit)
    entries = [(number, msgspec.json.decode(flat[1], type=AuditEntry)) for number, flat in rows[offset:]]
    return [msgspec.structs.replace(entry, at=_at(number)) for number, entry in entries]


def _at(number: bytes) -> float:
    """When an entry of a stream was added."""
    return int(number.partition(b"-")[0]) / MS_PER_SECOND


def entry_json(entry: AuditEntry) -> dict[str, object]:
    at = format_instant(entry.at)
    return {"at": at, "who": entry.who, **{name: getattr(entry, name) for name in ENTRY_FIELDS}}


def changes_view(entries: Sequence[AuditEntry], zone: str, more: str = "") -> View:
    rows = [
        (format_local_time(entry.at, zone), entry.who, entry.change, entry.subject, entry.outcome, entry.said)
        for entry in entries
    ]
    columns = (Column(f"at, {zone}", "whole"), *AUDIT_COLUMNS)
    shown = table(columns, rows, [entry_json(entry) for entry in entries], empty="Nobody has changed anything yet.")
    return with_lines(shown, [more] if more else [])
