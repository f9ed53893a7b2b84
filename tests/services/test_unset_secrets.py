"""A secret that is not set costs its target or its platform, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from livectl.live.checker import Checker
from livectl.models import State
from livectl.ops.processes import state_dir
from livectl.settings import load
from tests.support.processes import answer

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
alerts:
  hook: {webhook: "http://127.0.0.1:9/x", secret: env:NO_SUCH_SECRET}
  well: {command: ["true"]}
platforms:
  kick: {client_id: env:NO_SUCH_ID, client_secret: x}
"""


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("live",), 1, "NO_SUCH_SECRET"),
        (("alerts", "list"), 0, "secret unset"),
        (("alerts", "test", "well"), 0, "well: taken: "),
        (("alerts", "test", "hook"), 1, "NO_SUCH_SECRET"),
        (("queues",), 0, ""),
        (("follow", "list"), 0, ""),
        (("stop",), 1, ""),
        (("doctor",), 1, "NO_SUCH_SECRET"),
        (("health", "store"), 0, ""),
        (("check", "--local", "kick/somebody"), 5, "NO_SUCH_ID"),
        (("check", "--local", "demo/ada"), None, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_unset_secret_stops_nothing_else(
    tmp_path: Path, store_url: str, argv: tuple[str, ...], code: int | None, said: str
) -> None:
    (tmp_path / "livectl.yaml").write_text(f"broker: {store_url}\n{SETTINGS}")
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    done = answer(*argv, cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")})
    assert done.returncode in ({0, 1} if code is None else {code}), done.stderr
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("follow", "list"), 0, "States are not shown: the environment variable NO_SUCH_BROKER is not set"),
        (("schedules", "list"), 0, "last runs not known: the environment variable NO_SUCH_BROKER is not set"),
        (("check", "--local", "demo/ada"), None, "nothing is recorded"),
        (("stop",), 1, ""),
        (("doctor",), 1, "[secret-unset]"),
        (("health",), 2, "NO_SUCH_BROKER"),
        (("queues",), 3, "NO_SUCH_BROKER"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_unset_address_stops_only_who_asks_there(
    tmp_path: Path, argv: tuple[str, ...], code: int | None, said: str
) -> None:
    (tmp_path / "livectl.yaml").write_text("broker: env:NO_SUCH_BROKER\n")
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    (tmp_path / "schedules.yaml").write_text("schedules: {a: {task: livectl.ping, every: 1h}}\n")
    done = answer(*argv, cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")})
    assert done.returncode in ({0, 1} if code is None else {code}), done.stderr
    assert said in done.stdout + done.stderr
    assert "app-broken" not in done.stdout


@pytest.mark.parametrize("name", [None, "proj"])
def test_doctor_looks_at_all_else_where_the_address_of_the_store_is_not_set(
    tmp_path: Path, store_url: str, name: str | None
) -> None:
    (tmp_path / "livectl.yaml").write_text(f"broker: {store_url}\nstore: env:NO_SUCH_STORE\n")
    (tmp_path / "proj.py").write_text(f"import celery\napp = celery.Celery('proj', broker={store_url!r})\n")
    app = ["-A", name] if name else []
    done = answer(*app, "--json", "doctor", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")})
    assert done.returncode == 1
    found = [finding["id"] for finding in json.loads(done.stdout)]
    assert "secret-unset" in found
    assert "app-broken" not in found


@pytest.mark.parametrize("argv", [("stop",), ("doctor",), ("health", "store")], ids=" ".join)
def test_broken_settings_hinder_neither_stop_nor_doctor_nor_health(
    tmp_path: Path, store_url: str, argv: tuple[str, ...]
) -> None:
    (tmp_path / "livectl.yaml").write_text(f"broker: {store_url}\nweb: {{port: 0}}\n")
    done = answer(*argv, cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")})
    assert done.returncode == (0 if argv[0] == "health" else 1), done.stderr
    assert argv == ("stop",) or "livectl.yaml:2:13: web.port" in done.stdout + done.stderr


def test_a_platform_with_an_unset_key_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text(SETTINGS)
    checker = Checker(load({}, tmp_path), None)
    (observation,) = checker.check("kick", ["1"], 1.0)
    assert observation.state is State.AUTH
    assert "platforms.kick.client_id: the environment variable NO_SUCH_ID is not set" in observation.problem


def test_a_state_directory_that_exists_is_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "log").mkdir(parents=True)
    for path in (home / "broker.json", home / "log" / "broker.log"):
        path.write_text("x")
        path.chmod(0o644)
    home.chmod(0o755)
    state_dir.make_state_dir(home)
    state_dir.open_log(home, "worker").close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home, *home.rglob("*"))}
    assert {name for name, mode in modes.items() if mode == 0o600} == {"broker.json", "broker.log", "worker.log"}
    assert {name for name, mode in modes.items() if mode == 0o700} == {"home", "run", "log", "data"}
