"""What `worker`, `beat` and `up` look at before they start an app."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from livectl import settings as livectl_settings
from livectl.errors import SettingsError, UsageError
from livectl.ops import deployment
from livectl.ops.jobs import wait
from livectl.ops.services import background

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
        background.check_app(name, settings, tmp_path, detach=False, with_beat=with_beat)
        return
    with pytest.raises(SettingsError, match="whose entries livectl's beat would not send") as error:
        background.check_app(name, settings, tmp_path, detach=False, with_beat=with_beat)
    assert f"livectl -A {name} schedules import > schedules.yaml moves its entries" in error.value.hint
    assert f"livectl -A {name} beat -- -S {OTHER_SCHEDULER}" in error.value.hint
    assert f'--beat-options "-S {OTHER_SCHEDULER}"' in error.value.hint


@pytest.mark.parametrize(
    ("backend", "message"),
    [("rpc://", "results go back to the sender alone"), ("", "this app keeps no results")],
)
def test_a_backend_that_answers_the_sender_alone_is_told_apart(tmp_path: Path, backend: str, message: str) -> None:
    app = Celery("x", broker="memory://", backend=backend, set_as_current=False)
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    with pytest.raises(UsageError, match=message):
        wait.require_result_backend(deployment.from_app(app, settings))
