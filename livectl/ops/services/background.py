"""Starts, lists, restarts and stops what runs in the background: `up`, workers and beats."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from livectl import render, server_check
from livectl import settings as livectl_settings
from livectl.atomic_write import write_file
from livectl.errors import LivectlError, ServerError, SettingsError, UnfinishedError, UsageError
from livectl.ops import apps, deployment
from livectl.ops.processes import embedded_broker, launch, process, state_dir
from livectl.ops.processes.launch import REQUEUE_ON_QUIT_POOLS, argv_with_requeue_on_quit
from livectl.ops.schedules import schedule_file
from livectl.ops.services.board import READY_LINE
from livectl.ops.services.health import LivenessProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from livectl.address import Address
    from livectl.render import View
    from livectl.settings import Settings


READY_SECONDS = 60.0  # a worker with a large app works by then
UNASKED_SECONDS = 5.0  # what cannot be asked at all has to live for so long; what fails ends sooner
START_CHECK_SECONDS = 0.2
TERM_SECONDS = 1.5  # a worker notices SIGTERM within 1 s; a SIGQUIT before that would lose jobs of the threads pool
QUIT_SECONDS = 10.0  # for a worker to put its jobs back
KILL_SECONDS = 5.0  # nothing survives SIGKILL for longer, unless its disk hangs
MAX_LAST_LINES = 10
OWN_WORDS = "livectl: "  # begins the error of a livectl that ends
SCHEDULE_SUFFIXES = {".yaml", ".yml"}  # any other name is Celery's own, for a file that livectl's beat does not have
NOTHING_RUNS = "Nothing that was started with --detach runs here."
KEPT_ENVIRONMENT = ("LIVECTL_CONFIG",)  # a restart takes the rest, secrets included, from its own environment


class BackgroundProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process in the background, as the state directory records it."""

    name: str
    argv: list[str]
    cwd: str
    environ: dict[str, str]  # variables on top of the environment; no secrets
    pid: int
    started: str
    log: str

    @property
    def process(self) -> process.ProcessIdentity:
        return process.ProcessIdentity(self.pid, self.started)

    def option_value(self, option: str) -> str | None:
        """The word after this option on its command line."""
        return self.argv[self.argv.index(option) + 1] if option in self.argv else None


def start_or_exec(
    argv: list[str],
    name: str,
    settings: Settings,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    detach: bool,
    say: Callable[[str], None],
    run: Callable[[list[str], Mapping[str, str]], NoReturn] | None = None,
) -> View:
    """Starts the command in the background if detached; otherwise this process becomes the command and never returns.

    livectl's own app does not start while its broker does not answer: Celery itself would retry in silence.
    """
    app = argv[argv.index("-A") + 1]
    if app == launch.OWN_APP:
        addresses = embedded_broker.resolve_addresses(settings)
        _check_servers(addresses.broker, addresses.store)
    else:
        check_app(app, settings, cwd, None if detach else say, with_beat=launch.SCHEDULER in argv)
    if launch.SCHEDULER in argv:
        check_schedule(settings, cwd, argv[argv.index("-s") + 1] if "-s" in argv else None)
    if not detach:
        (run or launch.exec_command)(argv, environ)
    running = start(settings.home, name, argv, environ=environ, cwd=cwd, host=socket.gethostname(), say=say)
    message = (
        f"{name} runs in the background (pid {running.pid}). Its log is {running.log}; `livectl stop {name}` ends it."
    )
    return render.sentence(message, {"name": name, "pid": running.pid, "log": str(running.log)})


def check_app(app: str, settings: Settings, cwd: Path, say: Callable[[str], None] | None, *, with_beat: bool) -> None:
    """Raises what would keep the app from working: it cannot be loaded, or its own scheduler would be
    replaced, or a server refuses it. With `say`, in the foreground, one that is away is only said: Celery tries again.
    """
    celery_app = apps.check(app, cwd)
    if with_beat:
        apps.find_zone(celery_app)
        apps.read_beat_schedule(celery_app)
    scheduler = str(celery_app.conf.beat_scheduler or "")
    if with_beat and (entry_source := launch.find_entry_source(scheduler)):
        raise SettingsError(
            f"{app} sets beat_scheduler to {scheduler}, whose entries livectl's beat would not send",
            f"{_way_over(entry_source, app)} "
            f'Or run that one: livectl -A {app} beat -- -S {scheduler}; with up: --beat-options "-S {scheduler}".',
        )
    app_deployment = deployment.find(app, settings, cwd)
    has_other_brokers = len(deployment.broker_urls(celery_app)) > 1
    broker = None if has_other_brokers else app_deployment.broker
    _check_servers(broker, app_deployment.store if with_beat else None, say=say)


def check_schedule(settings: Settings, cwd: Path, file: str | None = None) -> int | None:
    """Raises the mistakes of the schedule that beat would read: this file, or that of the settings if there is one.

    Returns how many entries it has; None if there is none.
    """
    is_named = settings.sources["schedules"] != livectl_settings.DEFAULT_SOURCE
    path = cwd / file if file else settings.schedules
    if file and path.suffix not in SCHEDULE_SUFFIXES:
        raise SettingsError(f"{file} is no schedule file", "Its name has to end in .yaml or .yml.")
    if not (file or is_named or path.exists()):
        return None
    name = str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)
    return len(schedule_file.load(path, name=name).schedules)


def _check_servers(*addresses: Address | None, say: Callable[[str], None] | None = None) -> None:
    """Raises ServerError for the first that does not let livectl in. With `say`, one that may soon is only said.

    Celery itself would retry in silence, also after a wrong password.
    """
    for address in dict.fromkeys(address for address in addresses if address):
        try:
            server_check.check_server(address)
        except ServerError as error:
            if say is None or not error.passes:
                raise
            say(f"{error.message}: it is tried again and again")


def _way_over(entry_source: str, app: str) -> str:
    if entry_source == "other":
        return "Move its entries to schedules.yaml, and leave beat_scheduler out."
    return f"livectl -A {app} schedules import > schedules.yaml moves its entries; then leave beat_scheduler out."


def start(
    home: Path,
    name: str,
    argv: list[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    host: str,
    say: Callable[[str], None],
) -> BackgroundProcess:
    """Starts a command line of worker, beat or up in the background, and waits until it works. Raises if it does not.

    Only one process of a name may run at a time: `up`, `beat`, `worker`, `worker-NAME`.
    """
    state_dir.make_state_dir(home)
    probe = _make_probe(argv, {**environ, "LIVECTL_HOME": str(home)}, cwd, host, say)
    try:
        lock_descriptor = state_dir.acquire_lock(home / "run" / "detached.lock", READY_SECONDS)
        try:
            ensure_not_running(home, name)
            logs = _log_sizes(home, name)
            child, running = _spawn(home, name, argv_with_requeue_on_quit(argv), environ, cwd)
        finally:
            if lock_descriptor is not None:
                os.close(lock_descriptor)
    except OSError as error:
        raise state_dir.state_dir_error(home, error) from error
    try:
        _wait_until_working(child, running, _StartCheck(running, logs, probe, host))
    finally:
        if child.poll() is not None:
            _record_path(home, name).unlink(missing_ok=True)
    return running


def restart_all(
    home: Path,
    stopped: Sequence[BackgroundProcess],
    environ: Mapping[str, str],
    host: str,
    say: Callable[[str], None],
) -> list[BackgroundProcess]:
    """Starts the same command lines in the same folders, with the environment given: no record holds secrets.

    Those that stopped last start first. One that does not start holds up no other; its error is raised at the end.
    """
    started, errors = [], []
    for old in reversed(stopped):
        merged_environ, cwd = {**environ, **old.environ}, Path(old.cwd)
        try:
            started.append(start(home, old.name, old.argv, environ=merged_environ, cwd=cwd, host=host, say=say))
        except LivectlError as error:
            errors.append(error)
    if errors:
        for running in started:
            say(f"{running.name} is at work again (pid {running.pid})")
        for other_error in errors[1:]:
            say(other_error.message)
        raise errors[0]
    return started


def stop_all(home: Path, name: str | None, *, now: bool, say: Callable[[str], None]) -> list[BackgroundProcess]:
    """Stops the processes of this name, or all of them. Returns them in the order in which they ended."""
    processes = [running for running in list_running(home) if name is None or name in _names_of(running)]
    for running in processes:
        say(f"stopping {running.name} (pid {running.pid}){'' if now else ', its running jobs first'}")
        _stop(home, running, now=now)
    return processes


def _names_of(running: BackgroundProcess) -> set[str]:
    """What people call a process: its name, its worker's name without `worker-`, and the node's full name."""
    names = {running.name}
    if node := running.option_value("-n"):
        host = socket.gethostname()
        full_name = launch.full_node_name(node, host)
        short = full_name.partition("@")[0]
        names |= {node, full_name, short, f"worker-{short}", node.removesuffix("@%h")}
    return names


def list_running(home: Path) -> list[BackgroundProcess]:
    """What runs, in the order in which to stop it: a worker may need the broker of `up` to finish its jobs."""
    records = [_read_record(path) for path in sorted((home / "run").glob("*.json"))]
    alive = [record for record in records if record and process.is_alive(record.process)]
    return sorted(alive, key=lambda record: (record.name == "up", record.name != "beat"))


def argv_view(argv: list[str]) -> View:
    return render.View({"argv": argv}, lambda: shlex.join(argv))


def all_started_view(processes: Sequence[BackgroundProcess]) -> View:
    text = "\n".join(map(_render_running, processes))
    return render.sentence(text, [_as_row(running) for running in processes])


def stopped_view(processes: Sequence[BackgroundProcess]) -> View:
    text = "\n".join(f"{running.name} has ended (pid {running.pid})." for running in processes)
    return render.sentence(text, [_as_row(running) for running in processes])


def describe_missing(home: Path, name: str | None, of_up: Sequence[str] = ()) -> str:
    """That nothing runs, or nothing of this name; `of_up` are the workers that `up` runs."""
    names = [*(running.name for running in list_running(home)), *of_up]
    return f"Nothing here is called {name}. In the background: {', '.join(names)}." if name and names else NOTHING_RUNS


def _as_row(running: BackgroundProcess) -> dict[str, Any]:
    return {"name": running.name, "pid": running.pid, "log": running.log}


def _render_running(running: BackgroundProcess) -> str:
    return (
        f"{running.name} is at work in the background (pid {running.pid}).\n"
        f"  log        {running.log}\n"
        f"  stop       livectl stop {running.name}"
    )


def ensure_not_running(home: Path, name: str) -> None:
    existing = _read_record(_record_path(home, name))
    if existing and process.is_alive(existing.process):
        raise LivectlError(
            f"{name} runs already in the background (pid {existing.pid})",
            f"`livectl stop {name}` ends it; another worker takes a name of its own with -n.",
        )


def _spawn(
    home: Path, name: str, argv: list[str], environ: Mapping[str, str], cwd: Path
) -> tuple[subprocess.Popen[bytes], BackgroundProcess]:
    kept_environ = {key: environ[key] for key in KEPT_ENVIRONMENT if key in environ} | {"LIVECTL_HOME": str(home)}
    with state_dir.open_log(home, name) as log:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**environ, **kept_environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = process.identify(child.pid) or process.ProcessIdentity(child.pid, "")
    running = BackgroundProcess(
        name=name,
        argv=argv,
        cwd=str(cwd),
        environ=kept_environ,
        pid=identity.pid,
        started=identity.started,
        log=str(state_dir.log_path(home, name)),
    )
    try:
        write_file(_record_path(home, name), msgspec.json.encode(running), mode=state_dir.PRIVATE_FILE_MODE)
    except OSError:
        child.kill()
        raise
    return child, running


class _StartCheck:
    """Whether a process that was just started works: it says so in its log, or it answers."""

    def __init__(self, running: BackgroundProcess, logs: dict[Path, int], probe: LivenessProbe, host: str) -> None:
        self._logs = logs  # and how long each was before
        self._running = running
        self._probe = probe
        node = running.option_value("-n")
        self._node = launch.full_node_name(node, host) if node else None

    @property
    def nobody_to_ask(self) -> str:
        """Why nobody can tell, however long one waits; empty where somebody can."""
        is_foreign_beat = self._running.name == "beat" and launch.SCHEDULER not in self._running.argv
        return "its scheduler is not livectl's" if is_foreign_beat else ""

    @property
    def problem(self) -> str:
        return f": {self._probe.problem}" if self._probe.problem else ""

    def has_answered(self) -> bool:
        if self._node is None:  # a beat, or `up` with the workers of its settings
            is_up = self._running.name == "up"
            return self._says(rf"(?:{READY_LINE}).*\bworker\b") if is_up else self._has_beat()
        worker_says_so = rf"{re.escape(self._node)} ready\."  # Celery's own word, once it has its broker
        if self._running.name == "up":
            return self._says(READY_LINE) and self._says(rf"(?:{READY_LINE}).*\bworker\b|{worker_says_so}")
        works = self._says(worker_says_so) or self._probe.is_worker_alive(self._node)
        return bool(works) and ("-B" not in self._running.argv or self._has_beat())

    def _has_beat(self) -> bool:
        return bool(self._probe.is_beat_alive(self._running.pid))

    def _says(self, pattern: str) -> bool:
        return re.search(pattern, self.read_logs(), re.MULTILINE) is not None

    def read_logs(self) -> str:
        """What was written since, to its own log last."""
        return "\n".join(_read_log(log, offset) for log, offset in reversed(self._logs.items()))


def _wait_until_working(child: subprocess.Popen[bytes], running: BackgroundProcess, check: _StartCheck) -> None:
    began = time.monotonic()
    while (code := child.poll()) is None:
        lived = time.monotonic() - began
        if check.has_answered():
            return
        if check.nobody_to_ask and lived > UNASKED_SECONDS:
            raise _unanswered_error(running, f"whether it works cannot be asked: {check.nobody_to_ask}")
        if lived > READY_SECONDS:
            raise _unanswered_error(running, f"has not answered in {READY_SECONDS:.0f} s{check.problem}")
        time.sleep(START_CHECK_SECONDS)
    raise _ended_error(running, code, check.read_logs())


def _ended_error(running: BackgroundProcess, code: int, log: str) -> LivectlError:
    """What a process says that ended: its own sentence if it is livectl's, else the end of its log."""
    error_class = next(
        (error_class for error_class in (UsageError, SettingsError, ServerError) if error_class.code == code),
        LivectlError,
    )
    message = f"{running.name} ended at its start (exit code {code})"
    lines = [line for line in log.splitlines() if line.strip()][-MAX_LAST_LINES:]
    if sentences := [number for number, line in enumerate(lines) if line.startswith(OWN_WORDS)]:
        message, lines = lines[sentences[-1]].removeprefix(OWN_WORDS), lines[sentences[-1] + 1 :]
    return error_class(message, "\n    ".join([f"Its log is {running.log}:", *lines]))


def _unanswered_error(running: BackgroundProcess, reason: str) -> UnfinishedError:
    return UnfinishedError(
        f"{running.name} runs (pid {running.pid}), but {reason}",
        f"It goes on; its log is {running.log}, and `livectl stop {running.name}` ends it.",
    )


def _read_log(log: Path, offset: int) -> str:
    """What was written to the log since; all of it, if it was set aside meanwhile."""
    with suppress(FileNotFoundError), log.open("rb") as stream:
        stream.seek(offset if offset <= log.stat().st_size else 0)
        return stream.read().decode(errors="replace")
    return ""


def _log_sizes(home: Path, name: str) -> dict[Path, int]:
    """How long the logs are now in which a process says that it works: its own, and for `up` that of its worker."""
    logs = [
        state_dir.log_path(home, log_name) for log_name in dict.fromkeys((name, "worker" if name == "up" else name))
    ]
    return {log: log.stat().st_size if log.exists() else 0 for log in logs}


def _make_probe(
    argv: list[str], environ: Mapping[str, str], cwd: Path, host: str, say: Callable[[str], None]
) -> LivenessProbe:
    app = argv[argv.index("-A") + 1] if "-A" in argv else launch.OWN_APP
    settings = livectl_settings.load(environ, cwd)
    return LivenessProbe(lambda: deployment.find(None if app == launch.OWN_APP else app, settings, cwd), host, say)


def _stop(home: Path, running: BackgroundProcess, *, now: bool = False) -> None:
    """Ends a process, however long its running jobs take; with `now` it puts them back for other workers."""
    process.send_signal(running.process, signal.SIGTERM)
    if not now:
        process.wait_for_exit(running.process, float("inf"))
    elif not process.wait_for_exit(running.process, TERM_SECONDS):
        _stop_now(running)
    _record_path(home, running.name).unlink(missing_ok=True)


def _stop_now(running: BackgroundProcess) -> None:
    if running.name == "up" or running.option_value("-P") in REQUEUE_ON_QUIT_POOLS:
        process.send_signal(running.process, signal.SIGQUIT)
        if process.wait_for_exit(running.process, QUIT_SECONDS):
            return
    if process.is_alive(running.process):
        os.killpg(running.pid, signal.SIGKILL)
        process.wait_for_exit(running.process, KILL_SECONDS)


def _record_path(home: Path, name: str) -> Path:
    return home / "run" / (re.sub(r"[^\w.@-]", "_", name) + ".json")


def _read_record(path: Path) -> BackgroundProcess | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=BackgroundProcess)
    except (OSError, msgspec.DecodeError):
        return None
