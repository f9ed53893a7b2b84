"""Schedules brought in from Celery's Python, and sent out to it, to django-celery-beat and to crontab(5)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livectl.cli import main
from livectl.context import CommandContext
from livectl.models import Cron, Interval, Schedule, Solar
from livectl.ops.schedules import cron, exporting, import_python, importing, schedule_file
from tests.support.waiting import HANG_SECONDS

HEAD = (
    "from datetime import timedelta\nfrom celery.schedules import crontab, schedule, solar\n"
    "import celery.schedules\nfrom celery.schedules import crontab as line\nMINUTE = 60\n"
)


def livectl(folder: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main([*words], CommandContext({"PATH": os.environ["PATH"], "HOME": str(folder)}, folder, out, err))
    return code, out.getvalue(), err.getvalue()


def brought(folder: Path, text: str) -> tuple[str, list[tuple[str, str]]]:
    path = folder / "settings.py"
    path.write_text(text, encoding="utf-8")
    found = importing.to_yaml(import_python.read(path, "settings.py"))
    return found.text.split("\n", 1)[1], [(left.name, left.why) for left in found.left]


@pytest.mark.parametrize(
    ("entry", "yaml"),
    [
        ("'schedule': 30.0", "every: 30s"),
        ("'schedule': 0.25", "every: 0.25s"),
        ("'schedule': 90 * MINUTE", "every: 90m"),
        ("'schedule': timedelta(days=2)", "every: 2d"),
        ("'schedule': timedelta(minutes=1) * 3 + timedelta(seconds=2)", "every: 182s"),
        ("'schedule': schedule(run_every=10)", "every: 10s"),
        ("'schedule': schedule(timedelta(hours=3))", "every: 3h"),
        ("'schedule': timedelta(days=1), 'relative': True", 'cron: "0 0 * * *"'),
        ("'schedule': schedule(3600, relative=True)", 'cron: "0 * * * *"'),
        ("'schedule': crontab()", 'crontab: {minute: "*"}'),
        ("'schedule': crontab(minute=30, hour='7', day_of_week=1)", 'crontab: {minute: 30, hour: "7", day_of_week: 1}'),
        ("'schedule': line('*/15', '9-17')", 'crontab: {minute: "*/15", hour: "9-17"}'),
        ("'schedule': celery.schedules.crontab(0, {3, 1})", "crontab: {minute: 0, hour: [1, 3]}"),
        ("'schedule': crontab(hour=range(1, 4))", "crontab: {hour: [1, 2, 3]}"),
        ("'schedule': solar('sunset', -37.8, 144.9)", "solar: {event: sunset, lat: -37.8, lon: 144.9}"),
        ("'schedule': 1, 'args': (1, 'on', None)", "every: 1s\n    args: [1, on, null]"),
        ("'schedule': 1, 'args': ('1', 'true')", 'every: 1s\n    args: ["1", "true"]'),
        ("'schedule': 1, 'kwargs': {'a b': [{}]}", 'every: 1s\n    kwargs: {"a b": [{}]}'),
        ("'schedule': 1, 'kwargs': dict(x=1.5)", "every: 1s\n    kwargs: {x: 1.5}"),
        (
            "'schedule': 1, 'options': {'queue': 'q', 'expires': MINUTE}",
            "every: 1s\n    options: {queue: q, expires: 60}",
        ),
        ("'schedule': 1, 'args': (), 'kwargs': {}, 'options': {}", "every: 1s"),
    ],
)
def test_an_entry_in_our_words(entry: str, yaml: str, tmp_path: Path) -> None:
    text, left = brought(tmp_path, f"{HEAD}CELERYBEAT_SCHEDULE = {{'a': {{'task': 't', {entry}}}}}\n")
    assert left == []
    assert text == f"schedules:\n  a:\n    task: t\n    {yaml}\n"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("'schedule': MySchedule(3)", "MySchedule is not one of Celery's schedules, nor a plain value"),
        ("'schedule': os.environ['X']", "computed at run time: os.environ['X']"),
        ("'schedule': LATER", "computed at run time: LATER"),
        ("'schedule': timedelta(minutes=15), 'relative': True", "relative"),
        ("'schedule': crontab(hour=3, nowfun=f)", "computed at run time: f"),
        ("'schedule': crontab(hour=25)", "hour"),
        ("'schedule': crontab(minute=0, hour=0, day_of_month=31, month_of_year=2)", "never comes"),
        ("'schedule': solar('noon', 1, 2)", "is no event"),
        ("'schedule': 0", "must be more than zero"),
        ("'schedule': None", "its schedule is not seconds"),
        ("'schedule': 1, 'args': ({1},)", "YAML has no set"),
        ("'schedule': 1, 'args': (b'x',)", "YAML has no bytes"),
        ("'schedule': 1, 'args': (10 ** 3,)", "computed at run time: 10 ** 3"),
        ("'schedule': 1, 'args': (1e400,)", "reads back"),
        ("'schedule': 1, 'kwargs': {1: 2}", "YAML has no dict"),
        ("'schedule': 1, 'options': {'connection': 1}", "option 'connection' cannot be said in YAML"),
        ("'schedule': 1, 'args': ['\\ud800']", "half a letter"),
        ("'schedule': 1, 'colour': 1", "'colour' is no key of an entry"),
        ("'schedule': 1, **OTHER", "computed at run time: OTHER"),
    ],
)
def test_what_cannot_be_said_is_told_and_left_out(entry: str, why: str, tmp_path: Path) -> None:
    text, left = brought(
        tmp_path, f"{HEAD}beat_schedule = {{\n 'a': {{'task': 't', {entry}}},\n 'b': {{'task': 't', 'schedule': 1}}}}\n"
    )
    assert text.startswith('schedules:\n  b:\n    task: t\n    every: 1s\n# left out: "a" in line 7')
    [(name, said)] = left
    assert name == "a"
    assert why in said


@pytest.mark.parametrize(
    "text",
    [
        "CELERYBEAT_SCHEDULE = {'a': E}",
        "CELERY_BEAT_SCHEDULE = {'a': E}",
        "app.conf.beat_schedule = {'a': E}",
        "app.conf['CELERYBEAT_SCHEDULE'] = {'a': E}",
        "app.conf.update(timezone='UTC', beat_schedule={'a': E})",
        "app.conf.update({'beat_schedule': {'a': E}})",
        "class Config:\n  CELERYBEAT_SCHEDULE = dict(a=E)",
        "BASE = {'a': E}\nCELERYBEAT_SCHEDULE = {**BASE}",
        "BASE = {'a': E}\napp.conf.beat_schedule = BASE",
        "CELERYBEAT_SCHEDULE = {}\nCELERYBEAT_SCHEDULE['a'] = E",
        "CELERYBEAT_SCHEDULE = {'a': {}}\nCELERYBEAT_SCHEDULE.update({'a': E})",
        "def setup(app):\n  app.conf.beat_schedule['a'] = E",
    ],
)
def test_wherever_it_is_set(text: str, tmp_path: Path) -> None:
    found, left = brought(tmp_path, "E = {'task': 't', 'schedule': 1}\n" + text + "\n")
    assert (found, left) == ("schedules:\n  a:\n    task: t\n    every: 1s\n", [])


def test_comments_and_the_zone_come_along(tmp_path: Path) -> None:
    text, _ = brought(
        tmp_path,
        "CELERY_TIMEZONE = 'Europe/Paris'\nbeat_schedule = {\n"
        "  # first\n  # of two\n  'a': {\n    'task': 't',  # inside\n"
        "    'schedule': 1,\n  },\n  # second\n  'b': {'task': 't', 'schedule': 2},\n}\n",
    )
    assert text == (
        'timezone: "Europe/Paris"\nschedules:\n  # first\n  # of two\n  # inside\n  a:\n    task: t\n    every: 1s\n'
        "  # second\n  b:\n    task: t\n    every: 2s\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "sets no beat_schedule"),
        ("beat_schedule = {\n", "not Python"),
        ("beat_schedule = '\0'\n", "not Python"),
    ],
)
def test_a_source_that_has_none_or_is_none(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(text)
    code, _, err = livectl(tmp_path, "schedules", "import", "settings")
    assert code == 3
    assert said in err


def test_nothing_of_the_source_is_run(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("open('ran', 'w')\nbeat_schedule = {'a': {'task': 't', 'schedule': 1}}\n")
    assert livectl(tmp_path, "schedules", "import", "settings.py")[0] == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("words", "code"), [(["import"], 2), (["import", "nowhere"], 2), (["export"], 3)])
def test_exit_codes(words: list[str], code: int, tmp_path: Path) -> None:
    assert livectl(tmp_path, "schedules", *words)[0] == code


def test_an_app_says_more_than_its_source(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(
        "import os, datetime, celery\nfrom celery.schedules import crontab, schedule, solar, BaseSchedule\n"
        "app = celery.Celery('proj', set_as_current=False, broker='memory://')\n"
        "class Mine(schedule): pass\n"
        "app.conf.timezone = 'Europe/Paris'\n"
        "app.conf.beat_schedule = {os.sep: dict(task='t', schedule=datetime.timedelta(seconds=int('5'))),\n"
        " 'mine': {'task': 't', 'schedule': Mine(3)}, 'sun': {'task': 't', 'schedule': solar('sunset', 1, 2)}}\n"
        "@app.task\ndef add(x, y): pass\n"
        "@app.on_after_configure.connect\ndef setup(sender, **kwargs):\n"
        "    sender.add_periodic_task(crontab(hour=7, minute=30), add.s(1, 2), name='added', queue='slow')\n"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-B", "-m", "livectl", "-A", "proj", "schedules", "import"]
    done = subprocess.run(
        argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == "left out: mine: proj.Mine is a class of its own\n"
    assert done.stdout == (
        '# From proj, by livectl schedules import.\ntimezone: "Europe/Paris"\nschedules:\n'
        '  "/":\n    task: t\n    every: 5s\n'
        "  sun:\n    task: t\n    solar: {event: sunset, lat: 1, lon: 2}\n"
        "  added:\n    task: proj.add\n    crontab: {minute: 30, hour: 7}\n"
        "    args: [1, 2]\n    options: {queue: slow}\n"
        '# left out: "mine": proj.Mine is a class of its own\n'
    )


# There and back

numbers = {
    field: st.sampled_from([f"{field.low}", f"{field.high}", "*", "*/2", f"{field.low}-{field.high - 1}"])
    for field in cron.FIELDS
}
names = st.text(min_size=1, max_size=8).filter(lambda name: name.strip() and yaml_can_say(name))
plain: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(max_size=5).filter(lambda text: yaml_can_say(text)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


def yaml_can_say(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" or letter < " " or letter in "\ufffe\uffff" for letter in text)


@st.composite
def crons(draw: Any) -> Cron:
    words = [draw(numbers[field]) for field in cron.FIELDS]
    if words[2] != "*":
        words[4] = "*"
    return cron.build(" ".join(words), words, either_day=False)


timings = (
    st.integers(1, 10**6).map(lambda seconds: Interval(float(seconds)))
    | st.sampled_from([Interval(0.25), Interval(86400.0), Solar("sunset", 1.5, -2.0)])
    | crons()
)


@st.composite
def programmes(draw: Any) -> list[Schedule]:
    chosen = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    return [
        Schedule(
            name=name,
            task=draw(st.sampled_from(["proj.tasks.add", "t"])),
            timing=draw(timings),
            timezone="Europe/Paris",
            args=tuple(draw(st.lists(plain, max_size=2))),
            kwargs=draw(st.dictionaries(st.sampled_from(["a", "b"]), plain, max_size=2)),
            options=draw(st.sampled_from([{}, {"queue": "slow"}, {"priority": 5, "expires": 30}])),
        )
        for name in chosen
    ]


def sets(each: Schedule) -> Any:
    timing = each.timing
    fields = exporting.value_sets(timing) if isinstance(timing, Cron) else timing
    zone = each.timezone if isinstance(timing, Cron) else ""
    return (each.name, each.task, fields, zone, each.args, each.kwargs, each.options)


@settings(suppress_health_check=list(HealthCheck))
@given(programmes())
def test_out_to_python_and_back_is_the_same_schedule(
    tmp_path_factory: pytest.TempPathFactory, told: list[Schedule]
) -> None:
    folder = tmp_path_factory.mktemp("porting")
    sent = exporting.to_python(told, "schedules.yaml")
    assert (sent.left, sent.notes) == ([], [])
    (folder / "celeryconfig.py").write_text(sent.text, encoding="utf-8")
    back = importing.to_yaml(import_python.read(folder / "celeryconfig.py", "celeryconfig.py"))
    assert back.left == []
    (folder / "schedules.yaml").write_text(back.text, encoding="utf-8")
    assert list(map(sets, schedule_file.load(folder / "schedules.yaml").schedules)) == list(map(sets, told))


# Out

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


def test_to_python_what_celery_can_say(example: tuple[Schedule, ...]) -> None:
    sent = exporting.to_python(example, "schedules.yaml")
    assert [left.name for left in sent.left] == ["zoned", "either", "off"]
    assert [(note.name, note.why) for note in sent.notes] == [("late", "said without deadline, overlap")]
    made: dict[str, Any] = {}
    exec(compile(sent.text, "celeryconfig.py", "exec"), made)
    assert made["timezone"] == "Europe/Paris"
    assert made["beat_schedule"]["night"]["schedule"].day_of_week == {1, 2, 3, 4, 5}
    assert made["beat_schedule"]["both"]["schedule"].day_of_month == {13}


def test_to_crontab_what_cron_can_say(example: tuple[Schedule, ...]) -> None:
    sent = exporting.to_crontab(example, "schedules.yaml", "proj")
    assert sent.text.splitlines() == [
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
    assert [left.name for left in sent.left] == ["seven", "both", "off", "limited"]


def test_to_django_what_its_tables_can_hold(example: tuple[Schedule, ...]) -> None:
    sent = exporting.to_django(example, "2026-01-01T00:00:00+00:00")
    rows = json.loads(sent.text)
    tasks = {row["fields"]["name"]: row["fields"] for row in rows if row["model"] == "django_celery_beat.periodictask"}
    tables = {(row["model"].removeprefix("django_celery_beat."), row["pk"]): row["fields"] for row in rows}
    assert [left.name for left in sent.left] == ["either", "limited"]
    assert not tasks["off"]["enabled"]
    assert tasks["minute"]["interval"] == tasks["off"]["interval"]
    assert tables["intervalschedule", tasks["quarter"]["interval"]] == {"every": 6, "period": "hours"}
    assert tables["crontabschedule", tasks["zoned"]["crontab"]]["timezone"] == "Asia/Shanghai"
    assert json.loads(tasks["quarter"]["args"]) == [1, "a b", {"x": 1}]
    assert (tasks["night"]["queue"], tasks["night"]["expire_seconds"]) == ("slow", 30)


def test_export_tells_what_it_left_out(tmp_path: Path) -> None:
    (tmp_path / "schedules.yaml").write_text(EXAMPLE)
    code, out, err = livectl(tmp_path, "schedules", "export", "--crontab")
    assert code == 1
    assert out.startswith("# From schedules.yaml")
    assert "left out: seven: cron has no line for its interval\n" in err
    code, out, _ = livectl(tmp_path, "--json", "schedules", "export", "--django")
    assert {row["name"] for row in json.loads(out)["left"]} == {"either", "limited"}
