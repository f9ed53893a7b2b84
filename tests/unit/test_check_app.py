"""What `worker`, `beat` and `up` look at before they start an app."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from livectl import server_check
from livectl import settings as livectl_settings
from livectl.errors import ServerError, SettingsError, UsageError
from livectl.ops import deployment
from livectl.ops.jobs import wait
from livectl.ops.services import background
from livectl.redis_replies import RedisReplyError

if TYPE_CHECKING:
    from pathlib import Path

OTHER_SCHEDULER = "redbeat.RedBeatScheduler"


@pytest.mark.parametrize(
    ("scheduler", "with_beat", "refused"),
    [
        ("", True, False),
        ("livectl.ops.scheduler:Scheduler", True, False),
        ("celery.beat.PersistentScheduler", True, False),
        (OTHER_SCHEDULER, False, False),
        (OTHER_SCHEDULER, True, True),
    ],
)
def test_a_scheduler_that_the_app_sets_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, *, with_beat: bool, refused: bool
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"app_of_{abs(hash((scheduler, with_beat)))}"
    line = f"app.conf.beat_scheduler = {scheduler!r}\n" if scheduler else ""
    (tmp_path / f"{name}.py").write_text(f"from celery import Celery\napp = Celery('x', set_as_current=False)\n{line}")
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    if not refused:
        background.check_app(name, settings, tmp_path, print, with_beat=with_beat)
        return
    with pytest.raises(SettingsError, match="whose entries livectl's beat would not send") as error:
        background.check_app(name, settings, tmp_path, print, with_beat=with_beat)
    assert f"livectl -A {name} schedules import > schedules.yaml moves its entries" in error.value.hint
    assert f"livectl -A {name} beat -- -S {OTHER_SCHEDULER}" in error.value.hint
    assert f'--beat-options "-S {OTHER_SCHEDULER}"' in error.value.hint


NOBODY_THERE = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("broker", "detach", "refused", "said"),
    [
        (NOBODY_THERE, True, True, ""),
        (NOBODY_THERE, False, False, f"no server answers at {NOBODY_THERE}: Connection refused: it is tried again"),
        (f"{NOBODY_THERE};redis://127.0.0.1:2/0", True, False, ""),  # Celery turns to the next one
    ],
)
def test_a_broker_that_is_away_is_refused_in_the_background_and_said_in_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: str, said: str, *, detach: bool, refused: bool
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"app_away_{abs(hash((broker, detach)))}"
    (tmp_path / f"{name}.py").write_text(
        f"from celery import Celery\napp = Celery('x', broker={broker!r}, set_as_current=False)\n"
    )
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    remarks: list[str] = []
    with pytest.raises(ServerError, match="no server answers") if refused else nullcontext():
        background.check_app(name, settings, tmp_path, None if detach else remarks.append, with_beat=False)
    assert said in "".join(remarks)
    assert bool(said) == bool(remarks)


def test_a_broker_that_reads_its_data_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: object) -> None:
        raise RedisReplyError("LOADING Redis is loading the dataset in memory", "it")

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(server_check, "check_server", refuse)
    (tmp_path / "app_loading.py").write_text("from celery import Celery\napp = Celery('x', broker='redis://')\n")
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    remarks: list[str] = []
    background.check_app("app_loading", settings, tmp_path, remarks.append, with_beat=False)
    assert "it is tried again" in "".join(remarks)


@pytest.mark.parametrize(
    ("backend", "message"),
    [("rpc://", "results go back to the sender alone"), ("", "this app keeps no results")],
)
def test_a_backend_that_answers_the_sender_alone_is_told_apart(tmp_path: Path, backend: str, message: str) -> None:
    app = Celery("x", broker="memory://", backend=backend, set_as_current=False)
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    with pytest.raises(UsageError, match=message):
        wait.require_result_backend(deployment.from_app(app, settings))
