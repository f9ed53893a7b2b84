"""`livectl check`, `live`, `history` and `submit`: arguments in, exit code, answer and remarks out."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl import cli
from livectl.context import CommandContext
from livectl.live import platforms, polling, sorted_spool, store_reader
from livectl.live.follows import follow_list
from livectl.live.store import Store
from livectl.live.store_reader import ReadOnlyRedis
from livectl.models import Observation, State, Streamer
from livectl.settings import Settings
from tests.support.fake_platforms import Fakes
from tests.support.processes import answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.live.follows.follow_list import FollowLine
    from livectl.render import View

FIELDS = [
    "platform", "id", "state", "name", "title", "category", "viewers", "started_at", "url", "cover", "session",
    "checked_at", "problem",
]  # fmt: skip
START = 1_790_000_000.0
LIMITS = polling.polling_limits(Settings(home=Path("/nowhere"), folder=Path("/nowhere")), platforms.get("douyu"))


def run(folder: Path, url: str, *argv: str, named: str = "LIVECTL_BROKER") -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    environ = {"HOME": str(folder)} | ({named: url} if url else {})
    code = cli.main(argv, CommandContext(environ, folder, out, err))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield Store(client)


def observation(streamer_id: str, state: State, at: float, **fields: Any) -> Observation:
    return Observation(platform="douyu", id=streamer_id, state=state, at=at, **fields)


@pytest.fixture
def recorded(store: Store) -> None:
    """Five streamers: two live, one offline, one blocked, one never checked."""
    store.set_followed(
        [Streamer(platform="douyu", id=str(number), name=f"Somebody {number}") for number in range(1, 6)], START
    )
    live = {"title": "A [title] with 一起 in it", "category": "Chess", "viewers": 123_456, "url": "https://x.test/1"}
    store.record(LIMITS, [observation(str(number), State.OFFLINE, START) for number in range(1, 5)])
    for number in (1, 2):
        began = START + 100 * number
        store.record(
            LIMITS, [observation(str(number), State.LIVE, began, session=str(number), started_at=began, **live)]
        )
    store.record(LIMITS, [observation("4", State.BLOCKED, START + 300, problem="captcha")])


@pytest.mark.usefixtures("recorded")
class TestLive:
    def test_shows_who_is_live_the_newest_first(self, tmp_path: Path, store_url: str) -> None:
        code, out, err = run(tmp_path, store_url, "live")
        assert (code, err) == (0, "")
        assert re.findall(r"douyu/\d", out) == ["douyu/2", "douyu/1"]
        assert "123.5 k" in out
        assert "A [title]" in out
        assert max(map(len, out.splitlines())) <= 80

    @pytest.mark.parametrize("words", [(), ("--all",), ("--all", "--sort", "name"), ("--all", "--platform", "douyu")])
    def test_many_come_in_pages_as_few_do_at_once(
        self, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
    ) -> None:
        (tmp_path / "follows.yaml").write_text("- douyu/1\n- douyu/7\n")
        at_once = run(tmp_path, store_url, "live", *words, "--json")
        monkeypatch.setattr(store_reader, "MANY", 2)
        monkeypatch.setattr(store_reader, "PAGE_SIZE", 2)
        monkeypatch.setattr(sorted_spool, "MAX_HELD", 2)
        monkeypatch.setattr(sorted_spool, "BLOCK", 1)
        pages: list[int] = []
        show = CommandContext.show_pages

        def note(context: CommandContext, found: Iterable[View]) -> None:
            listed = list(found)
            pages.extend(len(page.data) for page in listed)
            show(context, listed)

        monkeypatch.setattr(CommandContext, "show_pages", note)
        assert run(tmp_path, store_url, "live", *words, "--json") == at_once
        assert len(json.loads(at_once[1])) == sum(pages) > 0
        assert max(pages) <= 2

    def test_of_many_a_tag_that_nobody_has_is_a_mistake_as_well(
        self, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_reader, "MANY", 2)
        code, out, _ = run(tmp_path, store_url, "live", "--all", "--tag", "nosuch", "--json")
        assert (code, "nobody has the tag nosuch" in json.loads(out)["error"]["message"]) == (2, True)

    def test_says_of_whom_it_does_not_know_whether_they_still_are(
        self, tmp_path: Path, store_url: str, store: Store
    ) -> None:
        store.record(LIMITS, [observation("2", State.NETWORK, START + 900, problem="no route")])
        out = " ".join(run(tmp_path, store_url, "live")[1].split())
        assert re.search(r"\[not read for \d+ d\] A \[title\]", out)
        assert out.count("not read for") == 1
        assert out.endswith("douyu/2: not reached: no route")

    def test_gives_programs_the_fields_of_the_promise(self, tmp_path: Path, store_url: str) -> None:
        newest, oldest = json.loads(run(tmp_path, store_url, "live", "--json")[1])
        assert list(oldest) == FIELDS
        assert (oldest["state"], oldest["started_at"], oldest["viewers"]) == ("live", "2026-09-21T14:15:00Z", 123_456)
        assert (newest["session"], newest["problem"], newest["cover"]) == ("2", None, None)

    def test_shows_the_others_too_and_what_is_in_the_way(self, tmp_path: Path, store_url: str) -> None:
        streamers = json.loads(run(tmp_path, store_url, "live", "--all", "--json")[1])
        assert {row["id"]: (row["state"], row["problem"]) for row in streamers} == {
            "1": ("live", None),
            "2": ("live", None),
            "3": ("offline", None),
            "4": ("offline", "blocked: captcha"),
            "5": ("unknown", "not asked yet"),
        }
        assert "blocked: captcha" in run(tmp_path, store_url, "live", "--all")[1]

    def test_imports_neither_celery_nor_redis(self, tmp_path: Path, store_url: str) -> None:
        code = (
            "import sys\nfrom livectl.cli import main\n"
            "for words in (['live'], ['live', '--all', '--json'], ['history', 'douyu/1']): main(words)\n"
            "print(sorted({'celery', 'kombu', 'redis', 'asyncio'} & set(sys.modules)))"
        )
        environ = {**os.environ, "LIVECTL_BROKER": store_url, "HOME": str(tmp_path)}
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
        assert ran.stdout.endswith("[]\n")

    def test_is_watched_by_programs_a_line_a_change(self, tmp_path: Path, store_url: str, store: Store) -> None:
        environ = {"LIVECTL_BROKER": store_url, "HOME": str(tmp_path)}
        with livectl("live", "--watch", "--json", cwd=tmp_path, environ=environ) as watched:
            wait_for(lambda: len(watched.lines) == 1)
            began = START + 500
            store.record(LIMITS, [observation("3", State.LIVE, began, session="3", started_at=began)])
            wait_for(lambda: len(watched.lines) == 2)
            watched.send(signal.SIGINT)
            assert watched.wait() == 130
        assert [len(json.loads(line)) for line in watched.lines[:2]] == [2, 3]

    def test_is_watched_by_people_until_q(self, tmp_path: Path, store_url: str) -> None:
        """What the window has no room for is counted."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 7, 80, 0, 0))
        environ = {**os.environ, "LIVECTL_BROKER": store_url, "HOME": str(tmp_path), "TERM": "xterm"}
        environ = {name: value for name, value in environ.items() if name not in {"LINES", "COLUMNS"}}
        argv = [sys.executable, "-m", "livectl", "live", "--all", "--watch"]
        with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=tmp_path) as watched:
            page = b""

            def drawn() -> bool:
                nonlocal page
                page += os.read(ours, 9999) if select.select([ours], [], [], 0.1)[0] else b""
                return b"q quit" in page and b"more" in page

            try:
                wait_for(drawn)
                os.write(ours, b"q")
                wait_for(lambda: drawn() and b"\x1b[?1049l" in page)
                assert watched.wait(HANG_SECONDS) == 0
            finally:
                watched.kill()
        assert b"douyu/2" in page
        assert b"2 more" in page
        assert page.count(b"\x1b[?1049h") == page.count(b"\x1b[?1049l") == 1
        os.close(ours)
        os.close(theirs)


def test_nobody_is_live(tmp_path: Path, store_url: str) -> None:
    assert run(tmp_path, store_url, "live") == (1, "Nobody is live.\n", "")
    assert run(tmp_path, store_url, "live", "--all")[1].startswith("Nobody is followed yet")


class TestBeforeTheFirstSweep:
    """Somebody is on the list, and no worker has read it."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "follows.yaml").write_text("follows: [demo/ada, gone/eve]\n")
        return tmp_path

    def test_everybody_is_there_and_not_asked_yet(self, folder: Path, store_url: str) -> None:
        rows = json.loads(run(folder, store_url, "live", "--all", "--json")[1])
        assert [(row["platform"], row["id"], row["state"], row["problem"]) for row in rows] == [
            ("demo", "ada", "unknown", "not asked yet"),
            ("gone", "eve", "unknown", "follows.yaml:1: there is no platform gone"),
        ]
        out = run(folder, store_url, "live", "--all")[1]
        assert "not asked yet" in out
        assert max(map(len, out.splitlines())) <= 80

    def test_nobody_is_known_to_be_live(self, folder: Path, store_url: str) -> None:
        code, out, err = run(folder, store_url, "live")
        assert (code, out.splitlines()[0], err) == (1, "Nobody is known to be live: 2 of 2 are not read so far.", "")

    def test_the_list_in_force_is_newer_than_an_old_file(self, folder: Path, store_url: str, store: Store) -> None:
        """A copy of the file that some worker has read is not read again."""
        applied = json.dumps({"put": (folder / "follows.yaml").stat().st_ctime, "digest": ""})
        store.cache_set(follow_list.CACHE_PLATFORM, follow_list.CACHE_KEY, applied, 9.0)
        assert run(folder, store_url, "live", "--all")[1].startswith("Nobody is followed yet")

    def test_a_file_that_cannot_be_read_is_said(self, folder: Path, store_url: str) -> None:
        (folder / "follows.yaml").write_text("follows: 5\n")
        code, out, err = run(folder, store_url, "live", "--all")
        assert (code, out) == (1, "Nobody is asked: the follow list cannot be read.\n")
        assert err.startswith("follows.yaml:1:10: follows is a list")


def test_without_a_store_it_says_what_to_start(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "", "live")
    assert (code, out, "livectl up" in err) == (4, "", True)


class TestHistory:
    def test_shows_sessions_and_hours(self, tmp_path: Path, store_url: str, store: Store) -> None:
        store.set_followed([Streamer(platform="douyu", id="1")], START)
        for day in range(3):
            began = START + day * 86_400
            live = {"session": str(day), "started_at": began, "title": f"Day {day}"}
            store.record(
                LIMITS, [observation("1", State.LIVE, began + 5, **live), observation("2", State.OFFLINE, began)]
            )
            if day < 2:
                store.record(LIMITS, [observation("1", State.LIVE, began + 3_500, **live)])
                for at in (began + 3_600, began + 3_730):
                    store.record(LIMITS, [observation("1", State.OFFLINE, at)])
        code, out, err = run(tmp_path, store_url, "history", "https://www.douyu.com/1", "--tz", "Asia/Shanghai")
        assert (code, err) == (0, "")
        assert "3 sessions; times in Asia/Shanghai" in out
        assert re.findall(r"Day \d", out) == ["Day 2", "Day 1", "Day 0"]
        assert "2026-09-21 22:13" in out
        assert max(map(len, out.splitlines())) <= 80
        data = json.loads(run(tmp_path, store_url, "history", "douyu/1", "--json")[1])
        assert [row["length"] for row in data["sessions"]] == [3_600, 3_600, None]
        assert [len(day) for day in data["hours"]] == [24] * 7

    def test_of_nobody_is_no(self, tmp_path: Path, store_url: str) -> None:
        assert run(tmp_path, store_url, "history", "demo/x") == (1, "demo/x: no sessions noted yet\n", "")


CHECKS = [
    # addresses, exit code
    (("demo/nobody",), 1),
    (("demo/ada", "demo/linus", "demo/grace"), 0),  # one of the three is always live
    (("foo",), 2),
    (("https://clips.twitch.tv/x",), 2),
    ((), 2),
]


@pytest.mark.parametrize(("argv", "code"), CHECKS)
def test_check_from_here(tmp_path: Path, argv: tuple[str, ...], code: int) -> None:
    assert run(tmp_path, "", "check", *argv)[0] == code


def test_check_says_from_where_and_that_nothing_is_recorded(tmp_path: Path, store_url: str, store: Store) -> None:
    _, _, err = run(tmp_path, "", "check", "demo/ada")
    assert "asking from here" in err
    assert "nothing is recorded" in err
    store.set_followed([Streamer(platform="demo", id="ada")], time.time())
    _, out, err = run(tmp_path, store_url, "check", "demo/ada", "--json")
    assert err == "no worker runs: asking from here\n"
    (streamer,) = json.loads(out)
    assert list(streamer) == FIELDS
    assert store.find_streamer("demo", "ada").seen is not None


def test_check_that_cannot_ask_is_no_no(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text("network: {connect_to: {www.douyu.com: http://127.0.0.1:9}}\n")
    code, out, _ = run(tmp_path, "", "check", "--json", "douyu/1", "demo/nobody")
    assert code == 5
    assert [row["state"] for row in json.loads(out)] == ["network", "not_found"]


def test_nothing_is_sent_where_nobody_works(tmp_path: Path, store_url: str) -> None:
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    assert run(tmp_path, store_url, "check", "--no-wait", "demo/ada")[0] == 2
    code, _, err = run(tmp_path, store_url, "submit")
    assert (code, "nobody reads the queue livectl" in err, "--force" in err) == (2, True, False)


def test_a_file_that_takes_long_to_read_is_no_server_that_is_slow(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pass_time(*_: object) -> Iterator[FollowLine]:
        for connection in connections:
            connection.deadline = 0.0
        yield from read(tmp_path / "follows.yaml", "follows.yaml")

    (tmp_path / "follows.yaml").write_text("- demo/ada\n")
    connections: list[Any] = []
    read, make = follow_list.read_lines, ReadOnlyRedis.__init__

    def note(client: ReadOnlyRedis, connection: Any) -> None:
        connections.append(connection)
        make(client, connection)

    monkeypatch.setattr(ReadOnlyRedis, "__init__", note)
    monkeypatch.setattr(follow_list, "read_lines", pass_time)
    assert [row["id"] for row in json.loads(run(tmp_path, store_url, "live", "--all", "--json")[1])] == ["ada"]


def test_an_empty_list_is_not_sent(tmp_path: Path, store_url: str) -> None:
    code, _, err = run(tmp_path, store_url, "submit")
    assert (code, "nobody is on the list" in err) == (2, True)


@pytest.mark.acceptance
def test_through_a_worker(tmp_path: Path, store_url: str) -> None:
    (tmp_path / "follows.yaml").write_text("follows:\n" + "".join(f"  - demo/s{number}\n" for number in range(2_500)))
    environ = {"LIVECTL_BROKER": store_url, "HOME": str(tmp_path), "LIVECTL_HOME": str(tmp_path / "home")}

    def call(*argv: str) -> subprocess.CompletedProcess[str]:
        return answer(*argv, cwd=tmp_path, environ=environ)

    with livectl("worker", "-P", "threads", "-c", "2", cwd=tmp_path, environ=environ) as worker:
        worker.wait_for("ready")
        checked = call("check", "demo/ada", "demo/linus", "demo/grace", "--json")
        assert (checked.returncode, checked.stderr) == (0, "asking through the workers\n")
        assert [row["id"] for row in json.loads(checked.stdout)] == ["ada", "linus", "grace"]
        job = call("check", "--no-wait", "demo/nobody").stdout.strip()
        assert call("status", "--wait", "--timeout", "20", job).returncode == 0
        summed = json.loads(call("submit", "--json").stdout)
        assert summed["total"] == summed["live"] + summed["not_live"] == 2_500
        assert [row["id"] for row in summed["streamers"]] == [f"s{number}" for number in range(2_500)]
        lines = (tmp_path / "follows.yaml").read_text()
        (tmp_path / "long.yaml").write_text(f"# {'x' * 70}\n" * 15_000 + lines + "  - nosuch/x\n  - demo/s7\n")
        many = call("submit", "long.yaml", "--json")
        summed = json.loads(many.stdout)
        assert summed["total"] == summed["live"] + summed["not_live"] == 2_500
        assert sorted(row["id"] for row in summed["streamers"]) == sorted(f"s{number}" for number in range(2_500))
        assert "long.yaml:17502:5: there is no platform nosuch" in many.stderr
        assert "warning: demo/s7 is followed by line 15009 already" in many.stderr
        assert "2500  in all" in call("submit", "long.yaml").stdout
        group = call("submit", "--no-wait").stdout.strip()
        assert "a group of 2" in call("status", "--wait", "--timeout", "20", group).stdout
        with livectl("submit", "--in", "20s", cwd=tmp_path, environ=environ) as waiting:
            wait_for(lambda: any(row["eta"] for row in json.loads(call("queues", "--json").stdout)))
            waiting.send(signal.SIGINT)
            assert waiting.wait() == 130
        assert "livectl status --wait" in waiting.text
        late = call("submit", "--json", "--in", "2s", "--expires", "1s")
        assert late.returncode == 5
        assert json.loads(late.stdout)["could_not_ask"] == 2_500


@pytest.mark.acceptance
def test_a_list_beyond_the_budget_waits_for_it(tmp_path: Path, store_url: str) -> None:
    """310 requests at a site that bears 200 at once and 20 a second: the last come more than five seconds later."""
    with Fakes() as fakes:
        hosts = ", ".join(f"{host}: {url}" for host, url in fakes.connect_to.items())
        settings = f"platforms: {{douyu: {{budget: 1200/m}}}}\nnetwork: {{connect_to: {{{hosts}}}}}\n"
        (tmp_path / "livectl.yaml").write_text(settings)
        (tmp_path / "many.txt").write_text("".join(f"douyu/{number}\n" for number in range(1, 311)))
        for number in range(1, 311):
            fakes.plan.show("douyu", str(number), "offline")
        environ = {"LIVECTL_BROKER": store_url, "HOME": str(tmp_path), "LIVECTL_HOME": str(tmp_path / "home")}
        with livectl("worker", "-P", "threads", "-c", "2", cwd=tmp_path, environ=environ) as worker:
            worker.wait_for("ready")
            summed = json.loads(answer("submit", "many.txt", "--json", cwd=tmp_path, environ=environ).stdout)
        assert (summed["not_live"], fakes.requests_to("douyu")) == (310, 310)
        assert summed["seconds"] > 5
