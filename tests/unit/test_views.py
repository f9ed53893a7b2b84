"""Streamers are shown: what the store knows, what a check answered, and how that becomes JSON."""

from __future__ import annotations

import msgspec
import pytest

from livectl.live import views
from livectl.models import Observation, State, StreamerRecord


def test_times_are_instants_in_json() -> None:
    observation = Observation(platform="p", id="i", state=State.LIVE, at=1_795_856_400.9, started_at=1_795_856_399.0)
    fields = msgspec.json.decode(msgspec.json.encode(views.from_observation(observation)))
    assert (fields["started_at"], fields["checked_at"]) == ("2026-11-28T08:59:59Z", "2026-11-28T09:00:00Z")


@pytest.mark.parametrize(
    ("record", "state", "problem"),
    [
        (StreamerRecord(platform="p", id="i"), "unknown", "not asked yet"),
        (StreamerRecord(platform="p", id="i", trouble=State.AUTH), "auth", "no valid key"),
        (
            StreamerRecord(platform="p", id="i", state=State.LIVE, trouble=State.PARSE_ERROR, problem="x"),
            "live",
            "not understood: x",
        ),
        (StreamerRecord(platform="p", id="i", state=State.OFFLINE, problem="a note"), "offline", "a note"),
    ],
)
def test_trouble_never_stands_for_a_state(record: StreamerRecord, state: str, problem: str | None) -> None:
    shown = views.from_record(record)
    assert (shown.state, shown.problem) == (state, problem)


@pytest.mark.parametrize(
    ("state", "session", "live"),
    [
        (State.LIVE, "", True),
        (State.RESTRICTED, "5", True),
        (State.RESTRICTED, "", None),
        (State.REPLAY, "", False),
        (State.UPCOMING, "", False),
        (State.BANNED, "", False),
        *((state, "", None) for state in (State.BLOCKED, State.NETWORK, State.UNKNOWN, State.AUTH, State.PARSE_ERROR)),
    ],
)
def test_could_not_ask_is_never_not_live(state: State, session: str, live: bool | None) -> None:
    assert views.from_observation(Observation(platform="p", id="i", state=state, at=0, session=session)).live is live
