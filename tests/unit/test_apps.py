"""Celery apps found by name, on small packages made for the purpose."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest
from celery import _state

from livectl.errors import SettingsError
from livectl.ops import apps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Write = Callable[[dict[str, str]], None]

APP = "from celery import Celery\n"


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes files into a folder of which nothing stays imported."""
    modules, path, current = set(sys.modules), list(sys.path), _state._tls.current_app

    def put(files: dict[str, str]) -> None:
        for name, text in files.items():
            file = tmp_path / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            if file.parent != tmp_path:
                (file.parent / "__init__.py").touch()
        importlib.invalidate_caches()

    yield put
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    sys.path[:] = path
    _state._tls.current_app = current


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("single", {"single": "app = Celery('found')"}),
        ("single", {"single": "celery = Celery('found')"}),
        ("single", {"single": "another = Celery('found')"}),
        ("single:another", {"single": "app = Celery('other')\nanother = Celery('found')"}),
        ("single.another", {"single": "app = Celery('other')\nanother = Celery('found')"}),
        ("single:holder.inner", {"single": "class holder:\n    inner = Celery('found')"}),
        ("proj", {"proj/celery": "app = Celery('found')"}),
        ("proj", {"proj/celery": "weird_name = Celery('found')"}),
        ("proj.celery", {"proj/celery": "app = Celery('found')"}),
        ("proj.celery:app", {"proj/celery": "app = Celery('found')"}),
        ("proj.deep.work", {"proj/x": "", "proj/deep/work": "app = Celery('found')"}),
        ("manage.celery", {"manage": "celery = Celery('found')"}),
        ("proj", {"proj/celery": "app = Celery('found')", "proj/__init__": "from .celery import app as celery_app"}),
        ("proj", {"proj/celery": "celery = Celery('found')", "proj/__init__": "from .celery import celery"}),
        ("proj.celery", {"proj/celery": "celery = Celery('found')", "proj/__init__": "from .celery import celery"}),
    ],
)
def test_an_app_is_found_as_celery_finds_it(write: Write, tmp_path: Path, name: str, files: dict[str, str]) -> None:
    write({each: APP + text for each, text in files.items()})
    app = apps.load(name, tmp_path)
    assert app.main == "found"


def test_celery_itself_finds_the_same(write: Write, tmp_path: Path) -> None:
    from celery.app.utils import find_app

    write({"proj/celery": APP + "app = Celery('found')"})
    assert apps.load("proj", tmp_path) is find_app("proj")


@pytest.mark.parametrize(
    ("name", "files", "message", "hint"),
    [
        ("prj", {"proj/celery": "app = Celery('x')"}, "no module prj in {folder}", "did you mean proj?"),
        ("proj.clery", {"proj/celery": "app = Celery('x')"}, "no module proj.clery in {folder}", "proj.celery?"),
        ("proj.clery:app", {"proj/celery": "app = Celery('x')"}, "no module proj.clery in", "proj.celery?"),
        ("nothing.like.it", {}, "no module nothing.like.it in {folder}", "Run it in the folder"),
        ("single:ap", {"single": "app = Celery('x')"}, "single has no ap", "did you mean app?"),
        ("single", {"single": "x = 1"}, "-A single has no Celery app", "-A takes proj"),
        ("single:x", {"single": "x = 1"}, "-A single:x is of type int, and no Celery app", "-A takes proj"),
        ("single.py", {"single": ""}, "-A single.py is a path, and no module", "Say -A single."),
        ("proj/celery.py", {"proj/celery": ""}, "-A proj/celery.py is a path", "Say -A proj.celery."),
        ("single", {"single": "1 / 0"}, "single.py:2: ZeroDivisionError: division by zero", "-v shows the way"),
        ("single", {"single": "import flaskk"}, "single.py:2: ModuleNotFoundError: No module named 'flaskk'", "-v"),
        ("single", {"single": "x = ("}, "single.py:2: SyntaxError: '(' was never closed", "-v"),
        ("single", {"single": "raise OSError('redis://:pw@h/0')"}, "single.py:2: OSError: redis://:***@h/0", "-v"),
        ("single", {"single": "raise SystemExit('no settings')"}, "single.py:2: SystemExit: no settings", "-v"),
        ("proj", {"proj/celery": "import nowhere"}, "proj/celery.py:2: ModuleNotFoundError: No module named", ""),
        ("proj", {"proj/celery": "from proj import tsks"}, "proj/celery.py:2: ImportError: cannot import name", ""),
        ("proj", {"proj/celery": "import proj.tsks"}, "proj/celery.py:2: ModuleNotFoundError: No module named", ""),
        ("proj.celery", {"proj/__init__": "{}[1]", "proj/celery": ""}, "proj/__init__.py:2: KeyError: 1", ""),
    ],
)  # fmt: skip
def test_what_is_not_found_or_fails_is_one_line(
    write: Write, tmp_path: Path, name: str, files: dict[str, str], message: str, hint: str
) -> None:
    write({each: APP + text for each, text in files.items()})
    with pytest.raises(SettingsError) as refused:
        apps.load(name, tmp_path)
    assert message.format(folder=tmp_path) in refused.value.message
    assert "\n" not in refused.value.message
    assert hint in refused.value.hint


MIXED = "app = Celery('m')\napp.conf.update(\n    BROKER_URL='x://', task_track_started=True, accept_content=['json'])"


def test_mixed_names_of_settings_are_told_with_line_and_cure(write: Write, tmp_path: Path) -> None:
    write({"mixed": APP + MIXED})
    with pytest.raises(SettingsError) as refused:
        apps.load("mixed", tmp_path)
    assert refused.value.message == (
        "mixed.py:4: Celery cannot mix old and new names of settings: BROKER_URL is broker_url"
    )
    assert refused.value.hint == "livectl migrate mixed.py"


def test_a_flask_object_given_for_the_app_is_told_apart(write: Write, tmp_path: Path) -> None:
    write({"site_module": APP + "class Flask: pass\napp = Flask()\ncelery = Celery('m')"})
    with pytest.raises(SettingsError) as refused:
        apps.load("site_module:app", tmp_path)
    assert (refused.value.message, refused.value.hint) == (
        "-A site_module:app is a Flask object, and no Celery app",
        "The Celery app there is -A site_module:celery.",
    )


def test_an_interrupt_goes_through(write: Write, tmp_path: Path) -> None:
    write({"single": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        apps.load("single", tmp_path)


def test_tasks_are_those_of_the_modules_the_app_names(write: Write, tmp_path: Path) -> None:
    tasks = "from celery import shared_task\n@shared_task\ndef add(x, y):\n    return x + y\n"
    write({"proj/celery": APP + "app = Celery('p', include=['proj.tasks'])", "proj/tasks": tasks})
    assert "proj.tasks.add" in apps.load_tasks(apps.load("proj", tmp_path), tmp_path)


def test_a_task_module_that_fails_is_named(write: Write, tmp_path: Path) -> None:
    write({"proj/celery": APP + "app = Celery('p', include=['proj.tasks'])", "proj/tasks": "nonsense"})
    app = apps.load("proj", tmp_path)
    with pytest.raises(SettingsError, match=r"^proj/tasks.py:1: NameError: name 'nonsense' is not defined$"):
        apps.load_tasks(app, tmp_path)


def test_a_task_module_that_is_missing_is_named(write: Write, tmp_path: Path) -> None:
    write({"single": APP + "app = Celery('p', include=['nowhere.tasks'])"})
    app = apps.load("single", tmp_path)
    with pytest.raises(SettingsError, match="No module named 'nowhere'"):
        apps.load_tasks(app, tmp_path)


def test_livectls_own_tasks_need_no_broker_to_be_known(tmp_path: Path) -> None:
    current = _state._tls.current_app
    assert {"livectl.ping", "livectl.report"} <= set(apps.load_tasks(apps.app_of_modules("livectl.tasks"), tmp_path))
    assert _state._tls.current_app is current
