"""The screen of `livectl top`, by Textual's pilot on a played deployment: what is shown, and what each key does."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from livectl import cli
from livectl.commands import top as top_command
from livectl.context import CommandContext
from livectl.errors import ServerError
from livectl.models import Job, JobState
from livectl.top import panels
from livectl.top.panels import CommandOutcome
from livectl.top.played import PlayedSource
from livectl.top.reading import CPU_SHARE, OTHERS_S, Turns, read_rows
from livectl.top.screen import TopApp
from tests.support.waiting import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from textual.pilot import Pilot

SIZE = (80, 24)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """The screen with what its keys have called."""

    def __init__(self, source: Any = None) -> None:
        self.clock = Clock()
        self.source = source or PlayedSource(clock=self.clock)
        self.clock.now += 60
        self.called: list[tuple[str, ...]] = []
        self.app = TopApp("livectl top", self.source, panels.ALL_PANELS, self._run_command)

    def _run_command(self, argv: Sequence[str], width: int) -> CommandOutcome:
        self.called.append(tuple(argv))
        return CommandOutcome(1 if "revoke" in argv else 0, f"said by {argv[0]}, {width} wide")

    def play(self, scene: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = SIZE) -> None:
        async def run() -> None:
            async with self.app.run_test(size=size) as pilot:
                await self.until(pilot, lambda: all(box.rows.summary != "…" for box in self.app._boxes))
                await scene(pilot)

        asyncio.run(run())

    async def until(self, pilot: Pilot[None], is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not is_so():
                await pilot.pause(0.02)

    @property
    def text(self) -> str:
        """What stands on the screen, line by line."""
        width, height = self.app.size
        lines = ["".join(segment.text for segment in strip) for strip in self.app.screen._compositor.render_strips()]
        return "\n".join(line[:width].rstrip() for line in lines[:height])


def test_each_panel_says_in_its_title_how_things_stand() -> None:
    stage = Stage()

    async def scene(_: Pilot[None]) -> None:
        text = stage.text
        assert all(panel.name in text for panel in panels.ALL_PANELS)
        assert "3 queues" in text
        assert "4 workers" in text
        assert "of 4 live" in text
        assert "reports" in text  # a row of the panel that is open
        assert "q leave" in text

    stage.play(scene)


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
def test_no_line_is_wider_than_the_terminal_and_none_is_missing(size: tuple[int, int]) -> None:
    stage = Stage()

    async def scene(pilot: Pilot[None]) -> None:
        for number in range(1, len(panels.ALL_PANELS) + 1):
            await pilot.press(str(number))
            lines = stage.text.split("\n")
            assert len(lines) == size[1]
            assert f"▾ {number}" in stage.text
            assert "? keys   q leave" in lines[-1]
            assert sum(f"▸ {other} " in stage.text for other in range(1, 7)) == len(panels.ALL_PANELS) - 1

    stage.play(scene, size)


def test_a_tall_terminal_shows_rows_of_the_other_panels_too() -> None:
    stage = Stage()

    async def scene(_: Pilot[None]) -> None:
        assert "images@two" in stage.text
        assert "demo/ada" in stage.text

    stage.play(scene, (120, 60))


# keys -> the command that they call, with {} for what names the row
KEYS = {
    "1 enter": "queues peek mail -n 50",
    "2 down enter": "workers show reports@one",
    "3 enter": "status {job} --full",
    "3 r": "retry {job}",
    "3 x": "revoke {job}",
    "4 p": "schedules pause heartbeat",
    "4 j j p": "schedules resume cleanup",
    "4 n": "schedules run heartbeat",
    "5 enter": "dead show {letter}",
    "5 r": "dead retry {letter}",
    "5 d y": "dead drop {letter}",
    "1 P y": "queues purge mail --yes",
    "tab tab tab tab tab enter": "history demo/ada",
    "shift+tab k enter": "history demo/linus",
    "6 enter escape 1 enter": "history demo/ada, queues peek mail -n 50",
    "1 P n": "",
    "1 P escape": "",
    "5 d enter": "",
    "2 r x p d": "",
}


def test_each_key_calls_the_command_of_that_name() -> None:
    stage = Stage()

    async def scene(pilot: Pilot[None]) -> None:
        job, letter = stage.source.jobs()[0].id, stage.source.dead_letters()[0].id
        called = {}
        for keys in KEYS:
            stage.called.clear()
            stage.app.action_open(1)
            for box in stage.app._boxes:
                box.table.highlighted = 0
            for key in keys.split():
                await pilot.press(key)
                await pilot.app.workers.wait_for_complete()
                await pilot.pause()
            called[keys] = ", ".join(" ".join(argv) for argv in stage.called)
            if len(stage.app.screen_stack) > 1:
                await pilot.press("escape")
        assert called == {keys: words.format(job=job, letter=letter) for keys, words in KEYS.items()}

    stage.play(scene)


def test_what_a_command_said_is_shown_and_a_failure_too() -> None:
    stage = Stage()

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("3", "x")
        await stage.until(pilot, lambda: "said by revoke" in stage.text)
        await pilot.press("enter")
        await stage.until(pilot, lambda: "said by status" in stage.text)
        assert "Queues" not in stage.text
        await pilot.press("q")
        await stage.until(pilot, lambda: "Queues" in stage.text)

    stage.play(scene)


def test_words_choose_rows_in_one_panel_and_escape_brings_all_back() -> None:
    stage = Stage()

    def tasks() -> set[str | None]:
        return {job.task for job in stage.app.box._items.values()}

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("3", "slash", *"INVOICE")
        await stage.until(pilot, lambda: tasks() == {"shop.mail.invoice"})
        assert "only: INVOICE" in stage.text
        await pilot.press("enter", "r")
        await pilot.app.workers.wait_for_complete()
        chosen = next(job.id for job in stage.source.jobs() if job.task == "shop.mail.invoice")
        assert stage.called == [("retry", chosen)]
        await pilot.press("slash", "x", "y")
        await stage.until(pilot, lambda: "Nothing here has these words." in stage.text)
        await pilot.press("escape", "escape")
        await stage.until(pilot, lambda: len(tasks()) > 1)

    stage.play(scene)


def test_the_chosen_job_stays_chosen_while_others_come() -> None:
    stage = Stage()

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("3", "down", "down")
        chosen = stage.app.box.chosen.id
        first = stage.source.jobs()[0].id
        stage.clock.now += 5
        await stage.until(pilot, lambda: stage.app.box.rows.items[0].id != first)
        await pilot.pause()
        assert stage.app.box.chosen.id == chosen

    stage.play(scene)


def test_a_panel_that_cannot_be_read_says_why_and_hides_no_other() -> None:
    class Broken(PlayedSource):
        def workers(self) -> Any:
            raise ServerError("the broker at redis://:secret@host does not answer", "Start it.")

    stage = Stage(Broken())

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await stage.until(pilot, lambda: "does not answer" in stage.text)
        assert "Start it." in stage.text
        assert "secret" not in stage.text
        assert "3 queues" in stage.text

    stage.play(scene)


def test_what_nobody_foresaw_does_not_end_the_reading() -> None:
    class Odd(PlayedSource):
        def jobs(self) -> Any:
            raise ZeroDivisionError("by zero")

    rows = read_rows(panels.JOBS, Odd())
    assert rows.problem == "ZeroDivisionError: by zero"


def test_words_of_others_move_no_cursor_and_paint_nothing() -> None:
    class Hostile(PlayedSource):
        def jobs(self) -> Any:
            return [Job(id="x[bold]", state=JobState.FAILED, task="[red]\x1b[2J", error="\x1b]0;hello\x07")]

    stage = Stage(Hostile())

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await stage.until(pilot, lambda: "x[bold]" in stage.text)
        assert "[red]" in stage.text
        assert "\x1b" not in stage.text

    stage.play(scene)


def test_question_mark_names_every_key() -> None:
    stage = Stage()

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await stage.until(pilot, lambda: "open another panel" in stage.text)
        for panel in panels.ALL_PANELS:
            for action in panel.actions:
                assert f"{panel.name}: {action.name}" in stage.text

    stage.play(scene)


def test_without_rows_keys_do_nothing() -> None:
    class Empty(PlayedSource):
        def jobs(self) -> Any:
            return []

    stage = Stage(Empty())

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("3", "r", "x", "enter", "down", "j")
        assert stage.called == []
        assert "Nothing." in stage.text

    stage.play(scene)


def test_the_panel_with_the_keys_is_read_first_and_often() -> None:
    turns = Turns(panels.ALL_PANELS, 0.0)
    assert turns.next() == (panels.QUEUES, 0.0)
    for panel in (None, *panels.ALL_PANELS):
        turns.read(panel, 0.0)
    assert turns.next() == (panels.QUEUES, 1.0)
    turns.focus(panels.JOBS, 0.5)
    assert turns.next() == (panels.JOBS, 0.5)
    turns.read(panels.JOBS, 0.5)
    turns.read(panels.QUEUES, 1.0)
    assert turns.next()[0] is panels.JOBS
    assert turns.next()[1] == 1.5
    turns.read(panels.JOBS, OTHERS_S)
    turns.read(None, OTHERS_S)
    assert turns.next()[0] in {panels.WORKERS, panels.SCHEDULES, panels.DEAD_LETTERS, panels.STREAMERS}
    assert CPU_SHARE < 0.05


def test_without_a_terminal_all_panels_are_written_once() -> None:
    out = io.StringIO()
    assert cli.main(["top", "--demo"], CommandContext({}, Path.cwd(), out, io.StringIO())) == 0
    assert [line.partition(":")[0] for line in out.getvalue().splitlines() if ": " in line][:2] == ["Queues", "Workers"]
    out = io.StringIO()
    assert cli.main(["top", "--demo", "--json"], CommandContext({}, Path.cwd(), out, io.StringIO())) == 0
    data = json.loads(out.getvalue())
    assert list(data) == sorted(panel.name.lower().replace(" ", "_") for panel in panels.ALL_PANELS)
    assert data["queues"][0]["name"] == "mail"


def test_a_command_runs_as_if_it_had_been_typed(tmp_path: Path) -> None:
    context = CommandContext({"LIVECTL_HOME": str(tmp_path)}, tmp_path, io.StringIO(), io.StringIO())
    outcome = top_command._run_command(context, ("dead", "show", "nobody"), 60)
    assert outcome.code
    assert "livectl" in outcome.text


def test_a_demo_names_the_command_that_would_be_called() -> None:
    assert "livectl retry X" in top_command._play_command(("retry", "X"), 80).text
