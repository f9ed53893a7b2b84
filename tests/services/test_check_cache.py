"""What is kept between two calls of `check --local`: in a file of one's own, for its time, and never a secret."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from livectl import cli
from livectl.context import CommandContext
from livectl.live.checker import Checker
from livectl.live.network.check_cache import MAX_KEPT_VALUES, FileCache
from livectl.models import State
from livectl.secret import Secret
from livectl.settings import Network, PlatformSettings, Settings
from tests.support.fake_platforms import Fakes

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.models import Observation

NOW = 1_790_003_600.0
SECRET = "nobody-may-read-this"


class Caller:
    """Calls a check as often as one likes, each time as a new process would, with the home between."""

    def __init__(self, home: Path, fakes: Fakes) -> None:
        self.path = home / "state" / "check-cache.json"
        self.now = NOW
        self._home = home
        self._fakes = fakes

    def check(self, platform: str, name: str, client_id: str = "mine") -> tuple[Observation, int]:
        """The observation, and how many requests it took."""
        keys = PlatformSettings(client_id=Secret(client_id), client_secret=Secret(SECRET))
        settings = Settings(
            home=self._home,
            folder=self._home,
            network=Network(connect_to=self._fakes.connect_to),
            platforms={platform: keys},
        )
        cache = FileCache(self.path, lambda: self.now)
        before = self._fakes.requests_to(platform)
        (seen,) = Checker(settings, None, cache=cache).check_now(platform, [name], self.now)
        cache.save()
        return seen, self._fakes.requests_to(platform) - before


@pytest.mark.parametrize(("platform", "name"), [("twitch", "ada"), ("kick", "@ada")])
def test_a_token_and_a_name_are_kept_between_calls(tmp_path: Path, platform: str, name: str) -> None:
    with Fakes() as fakes:
        fakes.plan.show(platform, "1001", "live", alias="ada")
        caller = Caller(tmp_path, fakes)
        requests = []
        for _ in range(2):
            seen, count = caller.check(platform, name)
            assert (seen.state, seen.id) == (State.LIVE, "1001")
            requests.append(count)
        assert requests == [2, 1], "a token is asked for once"
        assert caller.check(platform, name, "another client")[1] == 2, "each client has its own"
        caller.now += 60 * 86_400.0
        assert caller.check(platform, name)[1] == 2, "it has expired"


@pytest.mark.parametrize(("platform", "name"), [("twitch", "1001"), ("kick", "1001")])
def test_a_kept_token_that_is_refused_is_renewed_and_the_question_asked_again(
    tmp_path: Path, platform: str, name: str
) -> None:
    with Fakes() as fakes:
        fakes.plan.show(platform, "1001", "live")
        caller = Caller(tmp_path, fakes)
        caller.check(platform, name)
        caller.path.write_text(caller.path.read_text().replace("fake-token", "stale"))
        seen, count = caller.check(platform, name)
        assert (seen.state, count) == (State.LIVE, 3), "the question, a token, the question"
        assert caller.check(platform, name)[1] == 1, "the new one is kept"


def test_the_file_is_for_its_owner_alone_and_has_no_secret(tmp_path: Path) -> None:
    with Fakes() as fakes:
        fakes.plan.show("twitch", "1001", "live", alias="ada")
        caller = Caller(tmp_path, fakes)
        caller.path.parent.mkdir(mode=0o755)
        caller.path.write_text("[]")
        caller.path.chmod(0o644)
        caller.check("twitch", "ada")
    assert caller.path.stat().st_mode & 0o777 == 0o600
    assert "fake-token" in caller.path.read_text()
    assert SECRET not in caller.path.read_text()


@pytest.mark.parametrize("content", ["", "garbage", '{"a": 1}', '[["twitch"]]', "\udcff"])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    cache = FileCache(path)
    assert cache.cache_get("twitch", ["token/mine"]) == [None]
    cache.cache_set("twitch", "token/mine", "new", 60)
    cache.save()
    assert FileCache(path).cache_get("twitch", ["token/mine"]) == ["new"]


def test_a_folder_in_its_place_costs_nothing_but_requests(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    cache.cache_set("twitch", "token/mine", "new", 60)
    cache.save()
    assert cache.cache_get("twitch", ["token/mine"]) == ["new"]


def test_two_calls_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    one, other = FileCache(path), FileCache(path)
    one.cache_set("twitch", "token/mine", "t", 60)
    other.cache_set("kick", "token/mine", "k", 60)
    one.save()
    other.save()
    assert FileCache(path).cache_get("twitch", ["token/mine"]) == ["t"]
    assert FileCache(path).cache_get("kick", ["token/mine"]) == ["k"]


def test_what_has_run_out_leaves_the_file_which_stays_small(tmp_path: Path) -> None:
    path, now = tmp_path / "kept.json", [NOW]
    cache = FileCache(path, lambda: now[0])
    cache.cache_set("kick", "live/1", "1", 10)
    for number in range(MAX_KEPT_VALUES + 10):
        cache.cache_set("kick", f"offline/{number}", "1", 100 + number)
    cache.save()
    now[0] += 50
    cache.cache_set("kick", "live/2", "1", 10)
    cache.save()
    rows = json.loads(path.read_text())
    assert len(rows) <= MAX_KEPT_VALUES
    assert all(until > now[0] for *_, until in rows)


def test_check_here_keeps_its_token_in_the_state_directory(tmp_path: Path) -> None:
    """The command itself, without a store: the second call asks for no token, and looks no name up."""
    with Fakes() as fakes:
        fakes.plan.show("twitch", "1001", "live", alias="ada")
        hosts = "".join(f"    {host}: {url}\n" for host, url in fakes.connect_to.items() if "twitch" in host)
        settings = (
            f"platforms:\n  twitch: {{client_id: mine, client_secret: {SECRET}}}\nnetwork:\n  connect_to:\n{hosts}"
        )
        (tmp_path / "livectl.yaml").write_text(settings)
        requests = []
        for _ in range(2):
            before, out = fakes.requests_to("twitch"), io.StringIO()
            environ = {"HOME": str(tmp_path), "LIVECTL_HOME": str(tmp_path / "state")}
            context = CommandContext(environ, tmp_path, out, io.StringIO())
            assert cli.main(("check", "--local", "--json", "twitch/ada"), context) == 0
            assert json.loads(out.getvalue())[0]["id"] == "1001"
            requests.append(fakes.requests_to("twitch") - before)
    assert requests == [2, 1]
    kept = tmp_path / "state" / "check-cache.json"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
