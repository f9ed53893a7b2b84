"""What `livectl top` reads of a real deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from livectl import settings as livectl_settings
from livectl.ops import deployment as deployments
from livectl.top import panels
from livectl.top.reading import read_rows, read_status
from livectl.top.sources import DeploymentSource
from tests.support.beats import make_app
from tests.support.web_pages import follow, go_live, make_streamer, prepared_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(store_url: str, tmp_path: Path) -> DeploymentSource:
    (tmp_path / "schedules.yaml").write_text("schedules: {gone: {task: t.gone, every: 5s}}")
    environ = {"LIVECTL_HOME": str(tmp_path / "home"), "LIVECTL_BROKER": store_url, "LIVECTL_STORE": store_url}
    settings = livectl_settings.load(environ, tmp_path)
    app = make_app(store_url)
    app.conf.beat_schedule = {"own": {"task": "t.note", "schedule": 30.0}}
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    go_live(store, "ada", 100)
    assert settings.store
    address = settings.store
    return DeploymentSource(lambda: deployments.from_app(app, settings), settings, lambda: address)


def test_each_panel_reads_the_servers(source: DeploymentSource) -> None:
    rows = {panel.name: read_rows(panel, source) for panel in panels.ALL_PANELS}
    assert rows["Streamers"].summary.startswith("1 of 1 live")
    assert [entry.schedule.name for entry in rows["Schedules"].items] == ["gone", "own"]
    assert rows["Schedules"].notes[0].startswith('gone is left out: the app has no task "t.gone"')
    assert rows["Workers"].summary == "no workers, 0 running"
    assert rows["Dead letters"].summary == "none"
    assert {name for name, each in rows.items() if each.problem} == {"Schedules"}
    assert "No beat is at work" in rows["Schedules"].problem


def test_the_status_is_that_of_the_board_of_up(source: DeploymentSource) -> None:
    words = [part.words[0] for reading in read_status(source) for part in reading.parts]
    assert any("1 of 1 live" in text for text in words)
    assert "0 queued" in words
