"""What a process knows of a broker of Redis for longer than it has a channel there."""

from __future__ import annotations

from collections import defaultdict
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

LEASE_S = 8.0
RENEW_INTERVAL_S = 1.5
LONGEST_SILENCE_S = LEASE_S - 2 * RENEW_INTERVAL_S  # of a broker in which no worker's lease runs out
MAX_RETURN_S = 10.0  # until a worker tries again that its broker was away from


class BrokerMemory:
    """What a process knows of a broker for longer than it has a channel there."""

    def __init__(self) -> None:
        # What it could not be told, since it was away.
        self.unsent_acks: set[str] = set()  # the messages of jobs that have ended
        self.unnoted: dict[str, tuple[Any, str, str]] = {}  # messages that were taken, and are nowhere else
        self._renewed_at = inf  # when leases were last renewed there
        self._sweeps_from = -inf

    def note_renewal(self, now: float) -> None:
        """Gives all workers the time to come back to a broker that was away: whose leases ran out may be alive."""
        away_s = now - self._renewed_at
        self._renewed_at = now
        if away_s > LONGEST_SILENCE_S:
            # Their pauses between two tries grow to about the root of that, and to ten seconds at most.
            self._sweeps_from = now + min(sqrt(away_s), MAX_RETURN_S) + RENEW_INTERVAL_S

    def may_sweep(self, now: float) -> bool:
        return self._sweeps_from <= now and now - self._renewed_at <= LONGEST_SILENCE_S


_memories: defaultdict[Hashable, BrokerMemory] = defaultdict(BrokerMemory)


def of(channel: Any, *keys: str) -> BrokerMemory:
    """The same for all channels to a broker that have the same keys there: they end, and others come after them."""
    client = channel.connection.client
    servers = tuple(sorted(client.alt)) or (client.hostname, client.port, client.virtual_host)
    return _memories[(servers, *keys)]
