"""The invented streamers keep their promises at every moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livectl.live.platforms import demo
from livectl.live.platforms.base import CheckContext
from livectl.models import Response, State
from tests.support.check_driver import drive

DAY = 1_790_000_000
MOMENTS = st.floats(0, 4_000_000_000)


@given(MOMENTS)
def test_one_of_them_goes_live_within_a_minute_of_any_moment(now: float) -> None:
    starts = [demo.last_start(name, now + 60) for name in demo.ROSTER]
    assert any(now < start <= now + 60 for start in starts)


@given(MOMENTS)
def test_one_of_the_first_three_is_live_at_any_moment(now: float) -> None:
    assert State.LIVE in {demo.observe(name, now).state for name in ("ada", "grace", "linus")}


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=40), MOMENTS)
def test_any_id_broadcasts_for_half_of_each_cycle(streamer_id: str, now: float) -> None:
    states = [demo.observe(streamer_id, now + minute * 60).state for minute in range(30)]
    special = {"nobody": State.NOT_FOUND, "nonstop": State.LIVE}
    if streamer_id in special:
        assert set(states) == {special[streamer_id]}
    else:
        assert states.count(State.OFFLINE) in {14, 15, 16}


@given(MOMENTS)
def test_nonstop_is_live_at_any_moment(now: float) -> None:
    seen = demo.observe("nonstop", now)
    assert (seen.state, seen.session) == (State.LIVE, str(int(seen.started_at or 0)))
    assert 0 <= now - (seen.started_at or 0) < demo.NONSTOP_CYCLE_SECONDS


def test_a_broadcast_is_one_session_that_is_retitled() -> None:
    start = demo.last_start("ada", DAY)
    observations = [demo.observe("ada", start + second) for second in range(0, demo.BROADCAST_SECONDS, 10)]
    assert {each.session for each in observations} == {str(start)}
    assert {each.started_at for each in observations} == {float(start)}
    assert len({each.title for each in observations}) == 2
    after = demo.observe("ada", start + demo.CYCLE_SECONDS)
    assert after.session != str(start)


def test_a_check_yields_nothing() -> None:
    def refuse(request: object) -> Response:
        raise AssertionError(request)

    observations = drive(
        demo.PLATFORM.check(["ada", "rerun", "nobody"], CheckContext(float(demo.last_start("rerun", DAY)), {})), refuse
    )
    assert [each.id for each in observations] == ["ada", "rerun", "nobody"]
    assert [each.state for each in observations[1:]] == [State.REPLAY, State.NOT_FOUND]
