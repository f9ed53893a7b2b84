"""The page as `livectl web` serves it, in a folder of its own, for those who change things there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis

from livectl import celeryapp
from livectl import settings as livectl_settings
from livectl.ops import apps, deployment
from livectl.ops.beat.run_store import LoadedSchedule, RunStore, StoreClock
from livectl.web import server
from livectl.web.auth import AccessToken
from livectl.web.changes import PageTools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from flask.testing import FlaskClient

    from livectl.models import Finding, Schedule
    from livectl.settings import Settings

READ, MANAGE = "a-token-that-only-reads", "a-token-that-manages"
TOKENS = (AccessToken("friend", READ), AccessToken("me", MANAGE, manages=True))
LOCAL = "http://127.0.0.1:8787"


class ManagedPage:
    """One server of the page, and what is in its folder."""

    def __init__(self, folder: Path, store_url: str, tokens: Sequence[AccessToken] = ()) -> None:
        self.folder = folder
        self.look: Callable[[], list[Finding]] = list  # what doctor does
        environ = {"LIVECTL_HOME": str(folder / "home"), "LIVECTL_BROKER": store_url}
        self.settings: Settings = livectl_settings.load(environ, folder)
        self.app = server.create_app(
            lambda: deployment.find(None, self.settings, folder),
            lambda: self.settings,
            tokens,
            PageTools(lambda: self.settings, self._load_app, lambda: self.look()),
        )

    def _load_app(self) -> tuple[Any, Mapping[str, Any]]:
        app = celeryapp.create_app(self.settings)
        return app, apps.load_tasks(app, self.folder)

    def visitor(self, token: str = "") -> FlaskClient:
        """A browser; with a token it has entered that."""
        client = self.app.test_client()
        if token:
            assert client.post("/enter", data={"token": token}, base_url=LOCAL).status_code == 303
        return client

    @property
    def follows(self) -> str:
        path = self.folder / "follows.yaml"
        return path.read_text() if path.exists() else ""


def store_jobs(url: str, *jobs: dict[str, Any]) -> None:
    """Results as a Celery app with result_extended leaves them, the first of them the newest."""
    client = redis.Redis.from_url(url)
    for number, job in enumerate(jobs):
        ended = datetime.now(UTC) - timedelta(minutes=number)
        meta = {"status": "SUCCESS", "result": None, "traceback": None, "date_done": ended.isoformat(), **job}
        client.set(f"celery-task-meta-{job['task_id']}", json.dumps(meta))


def store_schedule(url: str, *schedules: Schedule) -> None:
    """What a running beat leaves in the store."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        runs = RunStore(client, StoreClock())
        runs.record_heartbeat("beat-1", {"host": "h", "pid": 7, "entries": len(schedules)})
        runs.save_loaded_schedule("beat-1", LoadedSchedule("/schedules.yaml", schedules))


def csrf_of(page: FlaskClient, path: str = "/") -> str:
    """What the forms of this visitor's pages carry; empty where there are none."""
    found = re.search(r'name="csrf" value="(\w+)"', page.get(path, base_url=LOCAL).text)
    return found[1] if found else ""


def change(page: FlaskClient, change: str, /, origin: str | None = LOCAL, **fields: str) -> Any:
    """Sends a form as a browser does."""
    fields = {"csrf": csrf_of(page), **fields}
    headers = {"Origin": origin} if origin else {}
    return page.post(f"/change/{change}", data=fields, headers=headers, base_url=LOCAL)


def call(page: FlaskClient, change: str, /, token: str = "", **fields: Any) -> Any:
    """Sends JSON as a program does."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return page.post(f"/api/{change}", json=fields, headers=headers, base_url=LOCAL)
