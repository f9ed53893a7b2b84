"""How many requests a person's check needs for so many streamers: the first time, and once their names are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livectl.live.checker import Checker
from livectl.models import State
from livectl.secret import Secret
from livectl.settings import Network, PlatformSettings, Settings
from tests.support.fake_platforms import Fakes

if TYPE_CHECKING:
    from tests.support.sites.plan import Kind

NOW = 1_790_003_600.0
EVERY_KEY = PlatformSettings(client_id=Secret("id"), client_secret=Secret("secret"), api_key=Secret("key"))
IDS = {"youtube": "UC{:022d}", "chzzk": "{:032x}"}  # others are numbers
# How a streamer is named in each way, by a number; and the alias that the site knows for it.
NAMES = {
    "id": ("", ""),
    "login": ("name{}", "name{}"),
    "slug": ("@name{}", "name{}"),
    "room": ("room:{}5", "{}5"),
    "handle": ("@h{}", "@h{}"),
    "alias": ("name{}", "name{}"),
    "reflow": ("reflow/{}7", "{}7"),
}


def check_twice(platform: str, way: str, count: int, kind: Kind, *, keyed: bool) -> tuple[int, int]:
    """The requests of two checks of so many streamers."""
    name, alias = NAMES[way]
    with Fakes() as fakes:
        ids = [IDS.get(platform, "{}").format(1_000 + number) for number in range(count)]
        for number, streamer_id in enumerate(ids, 1_000):
            fakes.plan.show(platform, streamer_id, kind, alias=alias.format(number))
        settings = Settings(
            home=Path("/nowhere"),
            folder=Path("/nowhere"),
            network=Network(connect_to=fakes.connect_to),
            platforms={platform: EVERY_KEY} if keyed else {},
        )
        checker = Checker(settings, None)
        names = [name.format(number) for number in range(1_000, 1_000 + count)] if name else ids
        requests = []
        for at in (NOW, NOW + 60):
            before = fakes.requests_to(platform)
            seen = checker.check_now(platform, names, at)
            assert {each.state for each in seen} == {State(kind)}, seen[0].problem
            requests.append(fakes.requests_to(platform) - before)
    return requests[0], requests[1]


@pytest.mark.parametrize(
    ("platform", "way", "count", "keyed", "live", "offline"),
    [
        # A token, and a hundred logins in a request; of who is not live, whether there is such a one.
        ("twitch", "login", 130, True, (3, 2), (5, 2)),
        ("twitch", "id", 130, True, (3, 2), (3, 2)),
        ("twitch", "login", 60, False, (2, 2), (2, 2)),
        # A token, and twenty slugs in a request; then the list, which has a hundred numbers.
        ("kick", "slug", 24, True, (3, 1), (3, 1)),
        ("kick", "id", 20, True, (2, 1), (2, 1)),
        ("kick", "id", 100, True, (2, 1), (7, 1)),
        ("bilibili", "room", 60, False, (2, 2), (2, 2)),
        ("bilibili", "id", 60, False, (2, 2), (2, 2)),
        ("douyu", "id", 5, False, (5, 5), (5, 5)),
        ("douyu", "alias", 5, False, (10, 5), (10, 5)),
        ("huya", "id", 5, False, (5, 5), (5, 5)),
        ("huya", "alias", 5, False, (5, 5), (5, 5)),
        # A visitor's cookie; who a room is of.
        ("douyin", "id", 5, False, (6, 5), (6, 5)),
        ("douyin", "reflow", 5, False, (5, 6), (11, 5)),
        # The name of a channel, when it is live for the first time; once, whether a streamer exists.
        ("chzzk", "id", 5, False, (10, 5), (5, 5)),
        ("soop", "id", 5, False, (5, 5), (10, 5)),
        # Those who were live are asked about at once.
        ("tiktok", "id", 5, False, (5, 1), (5, 5)),
        # A feed each, and ten channels in a call; one call for broadcasts that run.
        # Without a key a feed or a page, or both where neither is known to do.
        ("youtube", "id", 10, True, (11, 1), (11, 10)),
        ("youtube", "handle", 10, True, (21, 1), (21, 10)),
        ("youtube", "id", 5, False, (10, 5), (10, 5)),
        ("youtube", "handle", 5, False, (5, 5), (5, 10)),
    ],
)
def test_a_check_needs_so_many_requests(
    platform: str,
    way: str,
    count: int,
    keyed: bool,
    live: tuple[int, int],
    offline: tuple[int, int],
) -> None:
    assert check_twice(platform, way, count, "live", keyed=keyed) == live
    assert check_twice(platform, way, count, "offline", keyed=keyed) == offline
