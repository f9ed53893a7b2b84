"""Schedules are imported from Python source and from apps."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from livectl.cli import main
from livectl.context import CommandContext
from livectl.ops.schedules import import_python, importing
from tests.support.waiting import HANG_SECONDS

HEAD = (
    "from datetime import timedelta\nfrom celery.schedules import crontab, schedule, solar\n"
    "import celery.schedules\nfrom celery.schedules import crontab as line\nMINUTE = 60\n"
)


def run_livectl(folder: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main([*words], CommandContext({"PATH": os.environ["PATH"], "HOME": str(folder)}, folder, out, err))
    return code, out.getvalue(), err.getvalue()


def import_text(folder: Path, text: str) -> tuple[str, list[tuple[str, str]]]:
    path = folder / "settings.py"
    path.write_text(text, encoding="utf-8")
    converted = importing.to_yaml(import_python.read(path, "settings.py"))
    return converted.text.split("\n", 1)[1], [(note.name, note.why) for note in converted.left]


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
    text, left = import_text(tmp_path, f"{HEAD}CELERYBEAT_SCHEDULE = {{'a': {{'task': 't', {entry}}}}}\n")
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
def test_what_yaml_cannot_hold_is_left_out(entry: str, why: str, tmp_path: Path) -> None:
    text, left = import_text(
        tmp_path, f"{HEAD}beat_schedule = {{\n 'a': {{'task': 't', {entry}}},\n 'b': {{'task': 't', 'schedule': 1}}}}\n"
    )
    assert text.startswith('schedules:\n  b:\n    task: t\n    every: 1s\n# left out: "a" in line 7')
    [(name, reason)] = left
    assert name == "a"
    assert why in reason


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
def test_a_schedule_is_found_wherever_it_is_set(text: str, tmp_path: Path) -> None:
    yaml, left = import_text(tmp_path, "E = {'task': 't', 'schedule': 1}\n" + text + "\n")
    assert (yaml, left) == ("schedules:\n  a:\n    task: t\n    every: 1s\n", [])


ONE = "{'a': {'task': 't', 'schedule': 1}}"
TWO = "{'b': {'task': 't', 'schedule': 2}}"


@pytest.mark.parametrize(
    ("text", "names", "reason"),
    [
        (f"if DEBUG:\n    beat_schedule = {ONE}\n", [], "only if DEBUG"),
        (f"if DEBUG:\n    pass\nelse:\n    beat_schedule = {ONE}\n", [], "only unless DEBUG"),
        (f"beat_schedule = {ONE}\nif DEBUG:\n    beat_schedule.update({TWO})\n", ["a"], "only if DEBUG"),
        (f"beat_schedule = {ONE}\nif DEBUG:\n    beat_schedule = {TWO}\n", [], "set anew if DEBUG"),
        (f"beat_schedule = {ONE}\nbeat_schedule = {TWO}\n", ["b"], ""),
        ("beat_schedule = {}\nfor n in 'xy':\n    beat_schedule[n] = {'task': 't', 'schedule': 1}\n", [], "in a loop"),
        (f"beat_schedule = {ONE}\nbeat_schedule['a']['schedule'] = 60\n", [], "changed or taken out by line 2"),
        (f"beat_schedule = {ONE}\ndel beat_schedule['a']\n", [], "changed or taken out by line 2"),
        (f"beat_schedule = {ONE}\nbeat_schedule.pop('a')\n", [], "changed or taken out by line 2"),
        (f"beat_schedule = {ONE} if DEBUG else {TWO}\n", [], "computed at run time"),
        (f"beat_schedule = {ONE}\nDEBUG and beat_schedule.update({TWO})\n", ["a"], "only if DEBUG"),
        (f"beat_schedule = {ONE}\nif DEBUG:\n    del beat_schedule\n", [], "changed or taken out by line 3"),
        (f"beat_schedule = {ONE}\nbeat_schedule['a'].update(schedule=5)\n", [], "changed or taken out by line 2"),
        (f"beat_schedule = {ONE}\nfor e in beat_schedule.values():\n    e['schedule'] = 5\n", [], "by line 2"),
        (f"try:\n    import x\nexcept ImportError:\n    pass\nelse:\n    beat_schedule = {ONE}\n", [], "nothing fails"),
        (f"def f(app):\n    if DEBUG:\n        return\n    app.conf.beat_schedule = {ONE}\n", [], "only unless DEBUG"),
        (f"def f(app):\n    return\n    app.conf.beat_schedule = {ONE}\n", [], "only never, behind line 2"),
        (f"class A:\n    beat_schedule = {ONE}\nclass B:\n    beat_schedule = {TWO}\n", [], "in one of 2 schedules"),
        (f"CELERYBEAT_SCHEDULE = {ONE}\nCELERY_BEAT_SCHEDULE = {TWO}\n", [], "in one of 2 schedules"),
        (f"S = {ONE}\nif DEBUG:\n    S.update({TWO})\nbeat_schedule = S\n", ["a"], "only if DEBUG"),
        (f"if DEBUG:\n    S = {ONE}\nbeat_schedule = S\n", [], "only if DEBUG"),
        (f"S = {ONE}\nS['a']['schedule'] = 5\nbeat_schedule = S\n", [], "changed or taken out by line 2"),
        (f"beat_schedule = {ONE}\ns = beat_schedule\ns['a']['schedule'] = 5\n", [], "changed or taken out by line 3"),
        (f"if A:\n    S = {ONE}\nT = {TWO}\nbeat_schedule = S\nbeat_schedule = T\n", ["b"], ""),
        (f"S = {ONE}\nbeat_schedule = S\n", ["a"], ""),
        (f"S = {ONE}\nS['b'] = {{'task': 't', 'schedule': 2}}\nbeat_schedule = S\n", ["a", "b"], ""),
        (f"beat_schedule = {ONE} | {TWO}\n", ["a", "b"], ""),
        (f"beat_schedule = {ONE}\nbeat_schedule.setdefault('b', {{'task': 't', 'schedule': 2}})\n", ["a", "b"], ""),
        (f"beat_schedule = dict({ONE}, b={{'task': 't', 'schedule': 2}})\n", ["a", "b"], ""),
        ("A = [('a', {'task': 't', 'schedule': 1})]\nbeat_schedule = dict(A + [('b', E), ()])\n", ["a"], "at run time"),
        ("beat_schedule = dict([('a', {'task': 't', 'schedule': 1})] + MORE)\n", ["a"], "computed at run time: MORE"),
    ],
)
def test_an_entry_under_a_condition_is_listed_and_left_out(
    text: str, names: list[str], reason: str, tmp_path: Path
) -> None:
    yaml, left = import_text(tmp_path, text)
    assert [name for name in "ab" if f"\n  {name}:\n" in yaml] == names
    assert bool(left) == bool(reason)
    assert any(reason in why for _, why in left) or not reason


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("if DEBUG:\n    N = 5", "N is set only if DEBUG"),
        ("try:\n    N = 5\nexcept ValueError:\n    pass", "N is set only if nothing fails in line 1"),
        ("N = 60\nif DEBUG:\n    N = 5", "N is set more than once"),
        ("if DEBUG:\n    N = 5\nelse:\n    N = 60", "N is set more than once"),
        ("N = 60 if DEBUG else 5", "computed at run time: 60 if DEBUG else 5"),
        ("N = 60\nfrom x import N", "N is set more than once"),
        ("N = 60\ndef f(N):\n    pass", "N is set more than once"),
        ("N = 60\nN += 5", "N is set more than once"),
        ("N = 60\nwith x as N:\n    pass", "N is set more than once"),
        ("N = 60", ""),
    ],
)
def test_a_constant_counts_only_if_it_is_always_the_same(setting: str, reason: str, tmp_path: Path) -> None:
    text, left = import_text(tmp_path, f"{setting}\nbeat_schedule = {{'a': {{'task': 't', 'schedule': N}}}}\n")
    assert ("every: 1m" in text) == (not reason)
    assert [reason in why for _, why in left] == ([True] if reason else [])


@pytest.mark.parametrize(
    "text",
    [
        "N = 60\nif DEBUG:\n    N = 5\n",
        "if DEBUG and TESTING:\n    N = 5\nelse:\n    N = 60\n",
        "if not DEBUG or TESTING:\n    N = 60\n",
    ],
)
def test_what_is_assumed_decides_constants_too(text: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(f"{text}beat_schedule = {{'a': {{'task': 't', 'schedule': N}}}}\n")
    code, out, err = run_livectl(tmp_path, "schedules", "import", "settings.py", "--assume", "DEBUG=False")
    assert (code, err) == (0, "")
    assert "every: 1m" in out


@pytest.mark.parametrize(
    ("text", "zone", "reason"),
    [
        ("TIME_ZONE = 'Europe/Paris'", "Europe/Paris", ""),
        ("TIME_ZONE = 'Europe/Paris'\nCELERY_TIMEZONE = TIME_ZONE", "Europe/Paris", ""),
        ("TIME_ZONE = 'Europe/Paris'\nCELERY_TIMEZONE = None", "Europe/Paris", ""),
        ("TIME_ZONE = None\nCELERY_TIMEZONE = 'Asia/Tokyo'", "Asia/Tokyo", ""),
        ("TIME_ZONE = 'UTC'\nTIME_ZONE = 'Asia/Tokyo'", "Asia/Tokyo", ""),
        ("app.conf.update(timezone='Asia/Tokyo')", "Asia/Tokyo", ""),
        ("app.conf.timezone = 'Asia/Tokyo'\napp.conf.enable_utc = False", "Asia/Tokyo", ""),
        ("USER_TIMEZONE = 'Asia/Tokyo'\nf(timezone='Asia/Tokyo')", "UTC", ""),
        ("if DEBUG:\n    CELERY_TIMEZONE = 'Asia/Tokyo'", "UTC", "set only if DEBUG"),
        ("CELERY_TIMEZONE = os.environ['TZ']\nTIME_ZONE = 'Asia/Tokyo'", "UTC", "computed at run time"),
        ("CELERY_ENABLE_UTC = False", "UTC", "in the machine's zone"),
    ],
)
def test_the_zone_is_the_one_that_celery_reads(text: str, zone: str, reason: str, tmp_path: Path) -> None:
    entry = "{'task': 't', 'schedule': crontab(hour=1, minute=0)}"
    yaml, left = import_text(tmp_path, f"{HEAD}{text}\nbeat_schedule = {{'a': {entry}}}\n")
    assert yaml.startswith(f'timezone: "{zone}"\n' if zone != "UTC" else "schedules:")
    assert [reason in why for _, why in left] == ([True] if reason else [])


def test_the_zone_of_no_cron_line_is_nothing_to_tell(tmp_path: Path) -> None:
    assert import_text(tmp_path, f"CELERY_TIMEZONE = os.environ['TZ']\nbeat_schedule = {ONE}\n")[1] == []


@pytest.mark.parametrize(("line", "noted"), [(1, False), (3, True)])
def test_a_module_imported_whole_may_set_it_anew(line: int, noted: bool, tmp_path: Path) -> None:
    lines = ["N = 1", f"beat_schedule = {ONE}"]
    lines.insert(line - 1, "from .local import *")
    (tmp_path / "settings.py").write_text("\n".join(lines))
    code, _, err = run_livectl(tmp_path, "schedules", "import", "settings.py")
    assert code == 0
    assert ("from .local import * may set it anew" in err) == noted


@pytest.mark.parametrize(("value", "name"), [("True", "b"), ("False", "a")])
def test_a_condition_is_decided_by_what_is_assumed(value: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(f"beat_schedule = {ONE}\nif DEBUG:\n    beat_schedule = {TWO}\n")
    code, out, err = run_livectl(tmp_path, "schedules", "import", "settings.py", "--assume", f"DEBUG={value}")
    assert (code, err) == (0, "")
    assert f"  {name}:\n" in out


@pytest.mark.parametrize(
    ("asked", "assumed", "name"),
    [
        ("os.environ.get('PROD')", "PROD=1", "b"),
        ("os.environ.get('PROD', '')", "PROD=", "a"),
        ("not os.getenv('PROD')", "PROD=yes", "a"),
        ("os.environ['STAGE'] == 'prod'", "STAGE=prod", "b"),
        ("environ.get('N') == '1'", "N=1", "b"),
        ("os.environ.get('PROD')", "PROD=False", "say --assume"),
        ("os.environ.get(NAME)", "NAME=1", "say --assume"),
    ],
)
def test_an_environment_variable_may_be_assumed_as_text(asked: str, assumed: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(f"beat_schedule = {ONE}\nif {asked}:\n    beat_schedule = {TWO}\n")
    code, out, err = run_livectl(tmp_path, "schedules", "import", "settings.py", "--assume", assumed)
    assert (code, name in err) == ((0, False) if len(name) == 1 else (1, True))
    assert len(name) > 1 or f"  {name}:\n" in out


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("if DEBUG:\n    beat_schedule['b'] = {}", True),
        ("for name in 'b':\n    beat_schedule[name] = {}", False),
        ("if DEBUG:\n    for name in 'b':\n        beat_schedule[name] = {}", False),
        ("try:\n    beat_schedule['b'] = {}\nexcept KeyError:\n    pass", False),
    ],
)
def test_a_value_is_only_asked_for_where_it_decides(source: str, asks: bool, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(f"beat_schedule = {{}}\n{source}\n")
    _, _, err = run_livectl(tmp_path, "schedules", "import", "settings.py")
    assert ("--assume" in err, "import with -A" in err) == (asks, True)


def test_no_zone_is_utc_and_a_description_is_understood(tmp_path: Path) -> None:
    entry = "{'task': 't', 'schedule': 1, 'description': 'daily'}"
    text, left = import_text(tmp_path, f"TIME_ZONE = None\nbeat_schedule = {{'a': {entry}}}\n")
    assert (text, left) == ("schedules:\n  a:\n    task: t\n    every: 1s\n", [])


def test_comments_and_the_time_zone_are_imported(tmp_path: Path) -> None:
    text, _ = import_text(
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
    ("text", "message"),
    [
        ("x = 1\n", "sets no beat_schedule"),
        ("beat_schedule = {\n", "not Python"),
        ("beat_schedule = '\0'\n", "not Python"),
    ],
)
def test_a_source_without_a_schedule_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(text)
    code, _, err = run_livectl(tmp_path, "schedules", "import", "settings")
    assert code == 3
    assert message in err


def test_nothing_of_the_source_is_run(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("open('ran', 'w')\nbeat_schedule = {'a': {'task': 't', 'schedule': 1}}\n")
    assert run_livectl(tmp_path, "schedules", "import", "settings.py")[0] == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("words", "code"), [(["import"], 2), (["import", "nowhere"], 2)])
def test_exit_codes(words: list[str], code: int, tmp_path: Path) -> None:
    assert run_livectl(tmp_path, "schedules", *words)[0] == code


def test_an_app_has_more_than_its_source(tmp_path: Path) -> None:
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
    completed = subprocess.run(
        argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert completed.returncode == 1, completed.stderr
    assert completed.stderr == "left out: mine: proj.Mine is a class of its own\n"
    assert completed.stdout == (
        '# From proj, by livectl schedules import.\ntimezone: "Europe/Paris"\nschedules:\n'
        '  "/":\n    task: t\n    every: 5s\n'
        "  sun:\n    task: t\n    solar: {event: sunset, lat: 1, lon: 2}\n"
        "  added:\n    task: proj.add\n    crontab: {minute: 30, hour: 7}\n"
        "    args: [1, 2]\n    options: {queue: slow}\n"
        '# left out: "mine": proj.Mine is a class of its own\n'
    )
