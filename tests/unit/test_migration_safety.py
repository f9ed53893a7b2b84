"""Nothing is lost by a migration that is written, and no app is mistaken for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.test_migration_cases import run_migrate

if TYPE_CHECKING:
    from pathlib import Path

FLASK_MODULE = """\
from celery import Celery
class Flask:
    config = {}
app = Flask()
celery = Celery('x')
celery.conf.update(CELERYD_CONCURRENCY=3)
"""


def test_the_celery_app_beside_one_of_flask_is_proved(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text(FLASK_MODULE)
    code, output = run_migrate(tmp_path, ".", "--prove")
    assert code == 0, output
    assert "Proof, app manage:celery: " in output


@pytest.mark.parametrize(("arguments", "backups"), [((), 1), (("--no-backup",), 0)])
def test_a_backup_is_made_unless_it_is_not_wanted(arguments: tuple[str, ...], backups: int, tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("CELERYD_CONCURRENCY = 3\n")
    assert run_migrate(tmp_path, ".", "--write", *arguments)[0] == 0
    assert len(list(tmp_path.glob("*.bak"))) == backups


def test_what_never_counted_counts_with_guesses(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("CELERY_BROKER = 'redis://'\n")
    assert run_migrate(tmp_path, ".", "--write", "--guesses")[0] == 0
    assert (tmp_path / "celeryconfig.py").read_text() == "broker_url = 'redis://'\n"


def test_one_file_given_leaves_the_files_around_it_alone(tmp_path: Path) -> None:
    (tmp_path / "setup.py").touch()
    (tmp_path / "base.py").write_text("CELERYD_CONCURRENCY = 3\n")
    (tmp_path / "celeryconfig.py").write_text("from base import *\nCELERY_ACKS_LATE = True\n")
    code, output = run_migrate(tmp_path, "celeryconfig.py", "--write")
    assert code == 3, output
    assert (tmp_path / "base.py").read_text() == "CELERYD_CONCURRENCY = 3\n"
    assert (tmp_path / "celeryconfig.py").read_text() == "from base import *\nCELERY_ACKS_LATE = True\n"


def test_not_even_on_request_is_a_setting_of_django_lower_cased(tmp_path: Path) -> None:
    before = "INSTALLED_APPS = []\nCELERYD_CONCURRENCY = 3\n"
    (tmp_path / "settings.py").write_text(before)
    code, output = run_migrate(tmp_path, ".", "--write", "--namespace", "none")
    assert code == 3, output
    assert "CELERYD_CONCURRENCY (worker_concurrency) would be lost" in output
    assert (tmp_path / "settings.py").read_text() == before
