"""Each line of the follow list is to be seen wherever streamers are shown, with its own state."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from livectl import cli, settings
from livectl.address import Address
from livectl.context import CommandContext
from livectl.live.checker import Checker
from livectl.live.follows.sync import FollowSync
from livectl.live.polling import LimitsByPlatform
from livectl.live.store import Store
from livectl.ops.deployment import Deployment
from livectl.ops.protocol.keys import layout_from_settings
from livectl.web import server
from tests.support.fake_platforms import Fakes
from tests.support.patience import servers_are_waited_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

__all__ = ["servers_are_waited_for"]

FILE = """\
follows:
  - demo/ada                                 # nobody has asked yet
  - {url: douyu/nobody, name: Lost}          # nobody has this name
  - gone/eve                                 # the package of this platform is missing
  - https://example.com/x                        # an address of nothing
  - {url: demo/bob, weight: -1}              # a field that is wrong
  - kick/foo                                 # its key is not set
"""
# line -> (state, part of the problem), before any worker has read the file and after
BEFORE = {
    "demo/ada": ("unknown", "not asked yet"),
    "douyu/nobody": ("unknown", "not asked yet"),
    "gone/eve": ("unknown", "follows.yaml:4: there is no platform gone"),
    "https://example.com/x": ("unknown", "follows.yaml:5: neither livectl nor streamlink knows"),
    "demo/bob": ("unknown", "follows.yaml:6: a weight is a number"),
    "kick/@foo": ("unknown", "not asked yet"),
}
AFTER = {
    **BEFORE,
    "douyu/nobody": ("not_found", "not found: "),
    "kick/@foo": ("auth", "no valid key: platforms.kick.client_id: the environment variable NO_SUCH_ID is not set"),
}


class Folder:
    """A folder with settings and a follow list, and what is said there."""

    def __init__(self, path: Path, url: str, fakes: Fakes) -> None:
        self.path, self.url = path, url
        (path / "follows.yaml").write_text(FILE)
        network = f"network: {{connect_to: {json.dumps(fakes.connect_to)}}}\n"
        (path / "livectl.yaml").write_text(
            f"platforms: {{kick: {{client_id: env:NO_SUCH_ID, client_secret: x}}}}\n{network}"
        )
        self.environ = {"HOME": str(path), "LIVECTL_HOME": str(path / "home"), "LIVECTL_BROKER": url}
        self.settings = settings.load(self.environ, path)

    def sweep(self) -> None:
        store = Store(redis.Redis.from_url(self.url, decode_responses=True))
        store.prepare()
        fetcher = Checker(self.settings, store).fetcher
        FollowSync(self.settings, store, fetcher, LimitsByPlatform(self.settings)).refresh(time.time() + 10)
        fetcher.close()

    def run(self, *argv: str) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        cli.main(argv, CommandContext(self.environ, self.path, out, err))
        return out.getvalue(), err.getvalue()

    def page(self) -> FlaskClient:
        address = Address.parse(self.url)
        deployment = Deployment(broker=address, results=address, store=address, layout=layout_from_settings({}))
        return server.create_app(lambda: deployment, lambda: self.settings).test_client()


@pytest.fixture
def folder(tmp_path: Path, store_url: str) -> Any:
    with Fakes() as fakes:
        yield Folder(tmp_path, store_url, fakes)


def states(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {
        f"{row['platform']}/{row['id']}" if row["platform"] else row["id"]: (row["state"], row["problem"])
        for row in rows
    }


# each way to see the lines, for programs
SHOWN: dict[str, Callable[[Folder], dict[str, tuple[str, str]]]] = {
    "live --all --json": lambda folder: states(json.loads(folder.run("live", "--all", "--json")[0])),
    "follow list --json": lambda folder: states(json.loads(folder.run("follow", "list", "--json")[0])),
    "/api/live": lambda folder: states(folder.page().get("/api/live?all=1").get_json()["live"]),
}


@pytest.mark.parametrize("where", SHOWN)
@pytest.mark.parametrize("swept", [False, True], ids=["before the first sweep", "after it"])
def test_programs_see_each_line(folder: Folder, where: str, swept: bool) -> None:
    if swept:
        folder.sweep()
    shown, expected = SHOWN[where](folder), AFTER if swept else BEFORE
    assert shown.keys() == expected.keys()
    for line, (state, problem) in expected.items():
        assert shown[line][0] == state, line
        assert problem in shown[line][1]


@pytest.mark.parametrize("argv", [("live", "--all"), ("follow", "list")], ids=" ".join)
def test_people_see_each_line(folder: Folder, argv: tuple[str, ...]) -> None:
    folder.sweep()
    out, err = folder.run(*argv)
    for line in AFTER:
        assert line in out
    assert "there is no platform gone" in " ".join((out + err).split())


@pytest.mark.parametrize("swept", [False, True], ids=["before the first sweep", "after it"])
def test_the_page_has_each_line(folder: Folder, swept: bool) -> None:
    if swept:
        folder.sweep()
    page = folder.page()
    html = page.get("/").text
    assert "0 live of 6 followed" in html
    assert "Nobody is known to be live" in html
    for line in AFTER:
        platform, _, name = line.rpartition("/") if "://" not in line else ("", "", line)
        assert f'id="s-{platform}-{name}"' in html
        if platform:
            assert page.get(f"/streamers/{platform}/{name}").status_code == 200
    assert "not asked yet" in html
    assert ("not found for 0 min; never read so far" in html) is swept


@pytest.mark.parametrize("swept", [False, True], ids=["before the first sweep", "after it"])
def test_metrics_count_each_line(folder: Folder, swept: bool) -> None:
    if swept:
        folder.sweep()
    samples = [
        sample
        for family in text_string_to_metric_families(folder.page().get("/metrics").text)
        for sample in family.samples
    ]
    assert sum(sample.value for sample in samples if sample.name == "livectl_streamers") == len(AFTER)
    troubles = {
        (sample.labels["platform"], sample.labels["trouble"])
        for sample in samples
        if sample.name == "livectl_streamers_troubled"
    }
    found = {("douyu", "not_found"), ("kick", "auth")} if swept else set()
    assert troubles == {("gone", "unknown"), ("", "unknown"), ("demo", "unknown")} | found
    assert [sample.value for sample in samples if sample.name == "livectl_streamers_unresolved"] == [5 if swept else 3]


def test_doctor_names_each_line_that_leads_nowhere(folder: Folder) -> None:
    folder.sweep()
    found = {finding["id"]: finding for finding in json.loads(folder.run("doctor", "--json")[0])}
    unresolved = found["follow-unresolved"]
    assert (unresolved["level"], unresolved["title"]) == ("bad", "5 lines of the follow list lead to nobody")
    lines = unresolved["evidence"].splitlines()
    assert {line.partition(": ")[0] for line in lines} == AFTER.keys() - {"demo/ada"}
    assert all("since 20" in line for line in lines)
    assert "follows-waiting" not in found


def test_a_list_that_cannot_be_read_is_said_on_the_page(folder: Folder) -> None:
    (folder.path / "follows.yaml").write_text("follows: 5\n")
    html = folder.page().get("/").text
    assert "The follow list cannot be read, the last one stays in force: follows.yaml:1:10" in html
    assert "You follow nobody yet" not in html
