"""Schedules are exported to Python, to django-celery-beat and to crontab(5)."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livectl.cli import main
from livectl.context import CommandContext
from livectl.models import Cron, Interval, Schedule, Solar
from livectl.ops.schedules import cron, due_times, exporting, import_python, importing, schedule_file

if TYPE_CHECKING:
    from pathlib import Path


def run_livectl(folder: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main([*words], CommandContext({"HOME": str(folder)}, folder, out, err))
    return code, out.getvalue(), err.getvalue()


EXAMPLE = """
timezone: Europe/Paris
schedules:
  minute:  {task: t, every: 1m}
  quarter: {task: t, every: 6h, args: [1, "a b", {x: 1}], kwargs: {p: "50%"}}
  seven:   {task: t, every: 7m}
  night:   {task: t, cron: "0 3 * * mon-fri", options: {queue: slow, expires: 30s}}
  zoned:   {task: t, cron: "@daily", timezone: Asia/Shanghai}
  either:  {task: t, cron: "0 0 13 * fri"}
  both:    {task: t, crontab: {minute: 0, hour: 0, day_of_month: 13, day_of_week: fri}}
  off:     {task: t, every: 1m, enabled: false}
  late:    {task: t, cron: "0 4 * * *", deadline: 10m, overlap: skip}
  limited: {task: t, cron: "0 5 * * *", options: {time_limit: 10}}
"""


@pytest.fixture
def example(tmp_path: Path) -> tuple[Schedule, ...]:
    path = tmp_path / "schedules.yaml"
    path.write_text(EXAMPLE)
    return schedule_file.load(path).schedules


def test_to_python_goes_what_celery_can_say(example: tuple[Schedule, ...]) -> None:
    exported = exporting.to_python(example, "schedules.yaml")
    assert [note.name for note in exported.left] == ["zoned", "either", "off"]
    assert [(note.name, note.why) for note in exported.notes] == [("late", "said without deadline, overlap")]
    module: dict[str, Any] = {}
    exec(compile(exported.text, "celeryconfig.py", "exec"), module)
    assert module["timezone"] == "Europe/Paris"
    assert module["beat_schedule"]["night"]["schedule"].day_of_week == {1, 2, 3, 4, 5}
    assert module["beat_schedule"]["both"]["schedule"].day_of_month == {13}


def test_to_crontab_goes_what_cron_can_say(example: tuple[Schedule, ...]) -> None:
    exported = exporting.to_crontab(example, "schedules.yaml", "proj")
    assert exported.text.splitlines() == [
        "# From schedules.yaml, by livectl schedules export --crontab.",
        "* * * * * livectl -A proj call t",
        r"""0 */6 * * * livectl -A proj call t 1 '"a b"' '{"x": 1}' --kwargs '{"p": "50\%"}'""",
        "CRON_TZ=Asia/Shanghai",
        "0 0 * * * livectl -A proj call t",
        "CRON_TZ=Europe/Paris",
        "0 3 * * 1,2,3,4,5 livectl -A proj call t --queue slow --expires 30s",
        "0 0 13 * 5 livectl -A proj call t",
        "0 4 * * * livectl -A proj call t",
    ]
    assert [note.name for note in exported.left] == ["seven", "both", "off", "limited"]


def test_to_django_goes_what_its_tables_can_hold(example: tuple[Schedule, ...]) -> None:
    exported = exporting.to_django(example, "2026-01-01T00:00:00+00:00")
    rows = json.loads(exported.text)
    tasks = {row["fields"]["name"]: row["fields"] for row in rows if row["model"] == "django_celery_beat.periodictask"}
    tables = {(row["model"].removeprefix("django_celery_beat."), row["pk"]): row["fields"] for row in rows}
    assert [note.name for note in exported.left] == ["either", "limited"]
    assert not tasks["off"]["enabled"]
    assert tasks["minute"]["interval"] == tasks["off"]["interval"]
    assert tables["intervalschedule", tasks["quarter"]["interval"]] == {"every": 6, "period": "hours"}
    assert tables["crontabschedule", tasks["zoned"]["crontab"]]["timezone"] == "Asia/Shanghai"
    assert json.loads(tasks["quarter"]["args"]) == [1, "a b", {"x": 1}]
    assert (tasks["night"]["queue"], tasks["night"]["expire_seconds"]) == ("slow", 30)


def test_export_says_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "schedules.yaml").write_text(EXAMPLE)
    code, out, err = run_livectl(tmp_path, "schedules", "export", "--crontab")
    assert code == 1
    assert out.startswith("# From schedules.yaml")
    assert "left out: seven: cron has no line for its interval\n" in err
    code, out, _ = run_livectl(tmp_path, "--json", "schedules", "export", "--django")
    assert {row["name"] for row in json.loads(out)["left"]} == {"either", "limited"}


def test_export_without_a_schedule_file_is_refused(tmp_path: Path) -> None:
    assert run_livectl(tmp_path, "schedules", "export")[0] == 3


def test_an_interval_with_an_option_that_livectl_call_lacks_is_left_out_of_a_crontab() -> None:
    schedule = Schedule(name="x", task="t", timing=Interval(60.0), options={"time_limit": 10})
    [note] = exporting.to_crontab([schedule], "schedules.yaml", None).left
    assert note.why == "livectl call has no option for time_limit"


# To Python and back

field_words = {
    field: st.sampled_from([f"{field.low}", f"{field.high}", "*", "*/2", f"{field.low}-{field.high - 1}"])
    for field in cron.FIELDS
}
names = st.text(min_size=1, max_size=8).filter(lambda name: name.strip() and yaml_can_hold(name))
yaml_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(max_size=5).filter(lambda text: yaml_can_hold(text)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


def yaml_can_hold(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" or letter < " " or letter in "\ufffe\uffff" for letter in text)


@st.composite
def cron_lines(draw: Any) -> Cron:
    words = [draw(field_words[field]) for field in cron.FIELDS]
    if words[2] != "*":
        words[4] = "*"
    return cron.build(" ".join(words), words, either_day=False)


timings = (
    st.integers(1, 10**6).map(lambda seconds: Interval(float(seconds)))
    | st.sampled_from([Interval(0.25), Interval(86400.0), Solar("sunset", 1.5, -2.0)])
    | cron_lines()
)


@st.composite
def schedule_lists(draw: Any) -> list[Schedule]:
    drawn_names = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    return [
        Schedule(
            name=name,
            task=draw(st.sampled_from(["proj.tasks.add", "t"])),
            timing=draw(timings),
            timezone="Europe/Paris",
            args=tuple(draw(st.lists(yaml_values, max_size=2))),
            kwargs=draw(st.dictionaries(st.sampled_from(["a", "b"]), yaml_values, max_size=2)),
            options=draw(st.sampled_from([{}, {"queue": "slow"}, {"priority": 5, "expires": 30}])),
        )
        for name in drawn_names
    ]


def comparable(schedule: Schedule) -> Any:
    """All that Celery can say of a schedule."""
    timing = schedule.timing
    sent = (schedule.name, schedule.task, schedule.args, schedule.kwargs, schedule.options)
    if isinstance(timing, Cron):
        return (*sent, timing.minute, timing.hour, timing.day, timing.month, timing.weekday, schedule.timezone)
    return (*sent, timing)


@settings(suppress_health_check=list(HealthCheck))
@given(schedule_lists())
def test_to_python_and_back_is_the_same_schedule(
    tmp_path_factory: pytest.TempPathFactory, schedules: list[Schedule]
) -> None:
    folder = tmp_path_factory.mktemp("porting")
    exported = exporting.to_python(schedules, "schedules.yaml")
    assert (exported.left, exported.notes) == ([], [])
    (folder / "celeryconfig.py").write_text(exported.text, encoding="utf-8")
    imported = importing.to_yaml(import_python.read(folder / "celeryconfig.py", "celeryconfig.py"))
    assert imported.left == []
    (folder / "schedules.yaml").write_text(imported.text, encoding="utf-8")
    loaded = schedule_file.load(folder / "schedules.yaml").schedules
    assert list(map(comparable, loaded)) == list(map(comparable, schedules))


# Celery runs what is exported when livectl's beat runs it.


def celery_next(exported: str, zone: str, moment: datetime) -> datetime:
    """When Celery's beat would send the exported entry next."""
    module: dict[str, Any] = {}
    exec(compile(exported, "celeryconfig.py", "exec"), module)
    celery_schedule = module["beat_schedule"]["x"]["schedule"]
    celery_schedule.app = Celery(set_as_current=False)
    celery_schedule.app.conf.timezone = zone
    celery_schedule.nowfun = lambda: moment
    wait: timedelta = celery_schedule.remaining_estimate(moment)
    return moment + wait


def livectl_next(schedule: Schedule, moment: datetime) -> datetime:
    due = due_times.next_due(schedule, round(moment.timestamp() * 1000))
    assert due is not None
    return datetime.fromtimestamp(due / 1000, UTC)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    some = st.sets(st.integers(low, high), min_size=1, max_size=3)
    return st.just("*") | some.map(lambda numbers: ",".join(map(str, sorted(numbers))))


def is_cron_line(text: str) -> bool:
    try:
        cron.parse(text)
    except cron.CronError:
        return False
    return True


LINES = (
    st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join).filter(is_cron_line)
)


@given(LINES, st.sampled_from(["UTC", "Asia/Shanghai", "America/Bogota"]), st.integers(0, 1_000_000))
def test_celery_runs_an_exported_line_when_livectl_does(text: str, zone: str, minute: int) -> None:
    words = text.split()
    line = cron.parse(text) if "*" in (words[2], words[4]) else cron.build(text, words, either_day=False)
    schedule = Schedule(name="x", task="proj.add", timing=line, timezone=zone)
    exported = exporting.to_python([schedule], "schedules.yaml")
    assert exported.left == []
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    for _ in range(3):
        due = livectl_next(schedule, moment)
        assert celery_next(exported.text, zone, moment) == due
        moment = due
