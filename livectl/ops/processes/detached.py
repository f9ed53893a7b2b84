"""What runs in the background: started, found, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from livectl import config
from livectl.errors import LivectlError, ServerError, SettingsError, UnfinishedError, UsageError
from livectl.ops import launch
from livectl.ops.cluster import deployment
from livectl.ops.processes import lock, process, statedir
from livectl.ops.processes.signs import Signs
from livectl.ops.processes.stopping import QUITTING, argv_for_quitting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READY_SECONDS = 60.0  # a worker with a large app is at work by then
CANNOT_TELL_SECONDS = 5.0  # where nobody can tell whether it works, it has to have lived for so long
LOOK_EVERY = 0.2
PRESS_SECONDS = 1.5  # a worker notices SIGTERM within 1 s; a SIGQUIT before that would lose jobs of the threads pool
QUIT_SECONDS = 10.0  # and what putting them back gets
KILL_SECONDS = 5.0  # nothing survives SIGKILL for longer, unless its disk hangs
LAST_LINES = 10
KEPT_ENVIRONMENT = ("LIVECTL_CONFIG",)  # the rest, secrets among it, is that of whoever starts it again


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A process in the background, as it is noted in the state directory."""

    name: str
    argv: list[str]
    cwd: str
    environ: dict[str, str]  # what goes on top of the environment; no secrets in it
    pid: int
    started: str
    log: str

    @property
    def process(self) -> process.Process:
        return process.Process(self.pid, self.started)

    def word(self, option: str) -> str | None:
        """What follows this option on its command line."""
        return self.argv[self.argv.index(option) + 1] if option in self.argv else None


def start(
    home: Path,
    name: str,
    argv: list[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    host: str,
    say: Callable[[str], None],
) -> Running:
    """Starts a command line of worker, beat or up, and waits until it works; otherwise says why not.

    One of a name runs at a time: `up`, `beat`, `worker`, `worker-NAME`.
    """
    statedir.make(home)
    try:
        held = lock.hold(home / "run" / "detached.lock", READY_SECONDS)
        try:
            _refuse_second(home, name)
            log = statedir.log_file(home, name)
            said_before = log.stat().st_size if log.exists() else 0
            child, one = _spawn(home, name, argv_for_quitting(argv), environ, cwd)
        finally:
            if held is not None:
                os.close(held)
    except OSError as error:
        raise statedir.unusable(home, error) from error
    _wait_until_it_works(child, one, works(one, environ, host, say), said_before)
    return one


def all_running(home: Path) -> list[Running]:
    """In the order in which they are to be stopped: a worker may need the broker of `up` to finish its jobs."""
    found = [_read(path) for path in sorted((home / "run").glob("*.json"))]
    alive = [one for one in found if one and process.alive(one.process)]
    return sorted(alive, key=lambda one: (one.name == "up", one.name != "beat"))


def named(home: Path, name: str | None) -> list[Running]:
    """Those of this name that run, or all."""
    return [one for one in all_running(home) if name in {None, one.name}]


def start_again(home: Path, one: Running, environ: Mapping[str, str], host: str, say: Callable[[str], None]) -> Running:
    """As it was, with the environment of whoever asks: secrets are not kept."""
    told = {**environ, **one.environ}
    return start(home, one.name, one.argv, environ=told, cwd=Path(one.cwd), host=host, say=say)


def stop(home: Path, one: Running, *, now: bool = False) -> None:
    """Ends it in order, however long its running jobs take; `now`, they are put back for other workers."""
    process.send(one.process, signal.SIGTERM)
    if not now:
        process.wait_gone(one.process, float("inf"))
    elif not process.wait_gone(one.process, PRESS_SECONDS):
        _press(one)
    _path(home, one.name).unlink(missing_ok=True)


def works(one: Running, environ: Mapping[str, str], host: str, say: Callable[[str], None]) -> Callable[[], bool | None]:
    """Whether it is at work: its worker answers, or its beat has looked in; None where nobody can tell."""
    app = one.word("-A")
    settings = config.load({**environ, **one.environ}, Path(one.cwd))
    named = None if app == launch.OWN_APP else app
    signs = Signs(lambda: deployment.find(named, settings, Path(one.cwd)), host, say)
    node = one.word("-n")
    if node is None:
        return lambda: signs.beat(one.pid)
    whole = node.replace("%h", host) if "@" in node else f"{node}@{host}"
    return lambda: signs.worker(whole)


def _press(one: Running) -> None:
    if one.name == "up" or one.word("-P") in QUITTING:
        process.send(one.process, signal.SIGQUIT)
        if process.wait_gone(one.process, QUIT_SECONDS):
            return
    if process.alive(one.process):
        os.killpg(one.pid, signal.SIGKILL)
        process.wait_gone(one.process, KILL_SECONDS)


def _refuse_second(home: Path, name: str) -> None:
    found = _read(_path(home, name))
    if found and process.alive(found.process):
        raise LivectlError(
            f"{name} runs already in the background (pid {found.pid})",
            f"`livectl stop {name}` ends it; another worker takes a name of its own with -n.",
        )


def _spawn(
    home: Path, name: str, argv: list[str], environ: Mapping[str, str], cwd: Path
) -> tuple[subprocess.Popen[bytes], Running]:
    kept = {key: environ[key] for key in KEPT_ENVIRONMENT if key in environ} | {"LIVECTL_HOME": str(home)}
    with statedir.open_log(home, name) as log:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**environ, **kept, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    named = process.identify(child.pid) or process.Process(child.pid, "")
    one = Running(
        name=name,
        argv=argv,
        cwd=str(cwd),
        environ=kept,
        pid=named.pid,
        started=named.started,
        log=str(statedir.log_file(home, name)),
    )
    try:
        _write(_path(home, name), one)
    except OSError:
        child.kill()
        raise
    return child, one


def _wait_until_it_works(
    child: subprocess.Popen[bytes], one: Running, works: Callable[[], bool | None], said_before: int
) -> None:
    began = time.monotonic()
    while (code := child.poll()) is None:
        answer = works()
        lived = time.monotonic() - began
        if answer or (answer is None and lived > CANNOT_TELL_SECONDS):
            return
        if lived > READY_SECONDS:
            raise UnfinishedError(
                f"{one.name} runs (pid {one.pid}), but has not answered in {READY_SECONDS:.0f} s",
                f"It goes on trying; its log is {one.log}, and `livectl stop {one.name}` ends it.",
            )
        time.sleep(LOOK_EVERY)
    kind = next((kind for kind in (UsageError, SettingsError, ServerError) if kind.code == code), LivectlError)
    raise kind(f"{one.name} ended at its start (exit code {code})", _last_lines(Path(one.log), said_before))


def _last_lines(log: Path, said_before: int) -> str:
    with log.open("rb") as said:
        said.seek(said_before if said_before <= log.stat().st_size else 0)
        lines = said.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    return "\n    ".join([f"Its log is {log}:", *lines])


def _path(home: Path, name: str) -> Path:
    return home / "run" / (re.sub(r"[^\w.@-]", "_", name) + ".json")


def _read(path: Path) -> Running | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, one: Running) -> None:
    written = path.with_suffix(".new")
    written.write_bytes(msgspec.json.encode(one))
    written.replace(path)
