"""The invented streamers: a function of the clock that keeps its promises at every moment."""

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
    beginnings = [demo.last_start(one, now + 60) for one in demo.ROSTER]
    assert any(now < began <= now + 60 for began in beginnings)


@given(MOMENTS)
def test_one_of_the_first_three_is_live_at_any_moment(now: float) -> None:
    assert State.LIVE in {demo.observe(one, now).state for one in ("ada", "grace", "linus")}


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=40), MOMENTS)
def test_any_id_broadcasts_for_half_of_each_cycle(one: str, now: float) -> None:
    states = [demo.observe(one, now + minute * 60).state for minute in range(30)]
    assert states.count(State.OFFLINE) in {14, 15, 16} if one != "nobody" else {State.NOT_FOUND} == set(states)


def test_a_broadcast_is_one_session_that_is_retitled() -> None:
    began = demo.last_start("ada", DAY)
    seen = [demo.observe("ada", began + second) for second in range(0, demo.BROADCAST_SECONDS, 10)]
    assert {one.session for one in seen} == {str(began)}
    assert {one.started_at for one in seen} == {float(began)}
    assert len({one.title for one in seen}) == 2
    after = demo.observe("ada", began + demo.CYCLE_SECONDS)
    assert after.session != str(began)


def test_a_check_yields_nothing() -> None:
    def never(request: object) -> Response:
        raise AssertionError(request)

    seen = drive(
        demo.PLATFORM.check(["ada", "rerun", "nobody"], CheckContext(float(demo.last_start("rerun", DAY)), {})), never
    )
    assert [one.id for one in seen] == ["ada", "rerun", "nobody"]
    assert [one.state for one in seen[1:]] == [State.REPLAY, State.NOT_FOUND]
