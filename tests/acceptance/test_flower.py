"""Flower, started right: on loopback, for looking only, refused with a cure where it is missing."""

from __future__ import annotations

import urllib.error
import urllib.request
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from livectl import extras
from livectl.errors import UsageError
from livectl.ops.processes import launch
from tests.support.processes import livectl
from tests.support.servers import free_port
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from pathlib import Path


def test_it_shows_and_does_not_change_unless_told() -> None:
    argv = launch.flower_command(None, host="127.0.0.1", port=5555, allow_changes=False)
    assert argv[1:] == [
        *("-m", "celery", "-A", "livectl.celeryapp", "flower"),
        *("--address=127.0.0.1", "--port=5555", "--read_only=True"),
    ]
    assert "--read_only=False" in launch.flower_command("proj", host="::", port=1, allow_changes=True)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "2.0.1")
    with pytest.raises(UsageError, match=r"Flower 2.0 has no read-only mode"):
        launch.flower_command(None, host="127.0.0.1", port=5555, allow_changes=False)
    assert not any("read_only" in word for word in launch.flower_command(None, host="h", port=1, allow_changes=True))
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    with pytest.raises(UsageError, match="not installed") as refused:
        launch.flower_command(None, host="127.0.0.1", port=5555, allow_changes=False)
    assert refused.value.hint == f"Install it: {extras.install_command('flower')}"


@pytest.mark.acceptance
def test_flower_serves_and_refuses_to_change(tmp_path: Path, store_url: str) -> None:
    port = free_port()
    environ = {"LIVECTL_BROKER": store_url, "LIVECTL_HOME": str(tmp_path), "FLOWER_UNAUTHENTICATED_API": "true"}
    environ["PYTHONPATH"] = ""  # the real one
    with livectl("flower", "--port", str(port), cwd=tmp_path, environ=environ) as flower:
        flower.wait_for("read-only")
        wait_for(lambda: _status(port, "/healthcheck") == 200, what="Flower")
        assert _status(port, "/api/task/async-apply/livectl.ping", b"{}") == 403


def _status(port: int, path: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=HANG_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0
