"""Builds the command lines of worker, beat and Flower: Celery's own commands with the options that livectl needs."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from livectl import extras, worker_options
from livectl.errors import UsageError
from livectl.ops.processes import process
from livectl.pools import GREEN_POOLS, Pool
from livectl.worker_options import WorkerTuning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


OWN_APP = "livectl.celeryapp"
APP_OPTIONS = ("-A", "--app")
SCHEDULER = "livectl.watching:WatchingScheduler"

# What keeps no entries besides those of the app's beat_schedule: the schedulers of these modules.
PLAIN_SCHEDULERS = ("celery.beat", "livectl.ops.scheduler", "livectl.watching")
ENTRY_SOURCES = {
    "django": "Django's database",
    "redbeat": "RedBeat's keys in Redis",
    "other": "what livectl cannot read",
}
ENTRY_SOURCE_OF_PACKAGE = {
    "django": "django",
    "django_celery_beat": "django",
    "djcelery": "django",
    "redbeat": "redbeat",
}
STATEDB_OPTION = re.compile("-[BDE]*S")  # also behind flags that take no value

# Jobs side by side for each processor. prefork runs Python code, one process a processor; threads and green threads
# mostly wait for answers.
JOBS_PER_PROCESSOR: dict[Pool, int] = {"prefork": 1, "threads": 8, "eventlet": 50, "gevent": 50}

# On Redis a green worker that prefetches one message sleeps 1-2 s whenever it is full (2 jobs a second).
GREEN_PREFETCH = 4

# On SIGQUIT, after SIGTERM, these pools put their unfinished jobs back. Green pools would lose the jobs, and solo would
# count them as failed: SIGKILL loses nothing there.
REQUEUE_ON_QUIT_POOLS: frozenset[Pool] = frozenset({"prefork", "threads"})

# When SIGQUIT comes, the time for running jobs is over: Celery must not give them its own time as well.
NO_SOFT_SHUTDOWN = "worker_soft_shutdown_timeout=0"

# What `celery worker` is told after its last `--` are settings of its app.
GUARD = "worker_consumer=livectl.ops.guard:GuardedConsumer"

# Celery takes `--prefetch-multiplier 0` for none at all, and then fetches four.
NO_PREFETCH_LIMIT = "worker_prefetch_multiplier=0"

KILLED_JOBS_NOTE = "jobs that it had not acknowledged run again, on Redis once the visibility timeout is over"

SHELL_MODULES = {"ipython": "IPython", "bpython": "bpython"}
FLOWER_READ_ONLY_SINCE = (2, 2)
MAX_PID = 2**22  # of Linux; a larger number in a pidfile is no pid


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `livectl worker`."""

    app: str | None = None  # None: livectl's own
    pool: Pool = "prefork"
    concurrency: int | None = None  # None: by the processors there are
    queues: str | None = None
    name: str | None = None  # None: named by its process
    loglevel: str = "INFO"
    beat: bool = False
    schedule: str | None = None
    guard: bool = True
    tuning: WorkerTuning = WorkerTuning()
    extra: tuple[str, ...] = ()


def worker_command(options: WorkerOptions, *, processors: int, process: int) -> list[str]:
    """The argv of a worker. Celery patches for a pool before its imports only if `-P NAME` is two words."""
    _validate(options)
    argv = [*_celery_argv(options.app), "worker", "-P", options.pool]
    if options.pool != "solo" and options.tuning.autoscale is None:
        argv += ["-c", str(options.concurrency or JOBS_PER_PROCESSOR[options.pool] * processors)]
    if options.queues:
        argv += ["-Q", options.queues]
    argv += ["-n", node_name(options.name, process), "-l", options.loglevel]
    if options.app is None:
        argv += _own_app_options(options.pool)
    if options.beat:
        scheduler = [] if _names_long_scheduler(options.extra) else ["--scheduler", SCHEDULER]
        argv += ["-B", *scheduler, *_schedule_option(options.schedule)]
    argv += [*options.tuning.words(), *options.extra]
    argv = _with_setting(argv, NO_PREFETCH_LIMIT) if options.tuning.prefetch_multiplier == 0 else argv
    return _with_setting(argv, GUARD) if options.guard else argv


def beat_command(app: str | None, *, loglevel: str, schedule: str | None, extra: tuple[str, ...] = ()) -> list[str]:
    """The argv of a beat, with livectl's scheduler unless the extra options name another."""
    _check_no_argument(extra, "beat")
    scheduler = [] if names_scheduler(extra) else ["-S", SCHEDULER]
    return [*_celery_argv(app), "beat", *scheduler, "-l", loglevel, *_schedule_option(schedule), *extra]


def argv_with_requeue_on_quit(argv: list[str]) -> list[str]:
    """The command line of a worker, with the option that lets it put jobs back at once where its pool can."""
    pool = argv[argv.index("-P") + 1] if "-P" in argv else ""
    needs_setting = "worker" in argv and pool in REQUEUE_ON_QUIT_POOLS and NO_SOFT_SHUTDOWN not in argv
    return _with_setting(argv, NO_SOFT_SHUTDOWN) if needs_setting else argv


def node_name(name: str | None, process: int) -> str:
    """The node name, unique on its host unless the user chose one: two workers of one name answer for each other."""
    return full_node_name(name or f"worker-{process}", "%h")


def full_node_name(name: str, host: str) -> str:
    """The node name with its host: that of this machine unless the name has one."""
    return name.replace("%h", host) if "@" in name else f"{name}@{host}"


def flower_command(
    app: str | None, *, host: str, port: int, allow_changes: bool, extra: tuple[str, ...] = ()
) -> list[str]:
    """The argv of Flower, read-only unless changes are allowed."""
    _check_no_argument(extra, "flower")
    extras.require("flower", "this needs Flower")
    if not allow_changes and _flower_version() < FLOWER_READ_ONLY_SINCE:
        version = ".".join(map(str, _flower_version()))
        raise UsageError(
            f"Flower {version} has no read-only mode", f"{extras.install_command('flower')} -U, or --allow-changes."
        )
    flags = [f"--address={host}", f"--port={port}", f"--read_only={not allow_changes}"]
    used_flags = flags if not allow_changes or _flower_version() >= FLOWER_READ_ONLY_SINCE else flags[:2]
    return [sys.executable, "-m", "celery", "-A", app or OWN_APP, "flower", *used_flags, *extra]


def shell_command(app: str | None, kind: str | None) -> list[str]:
    """The argv of a Python shell with the app. Raises for one that is not installed."""
    if kind in SHELL_MODULES and importlib.util.find_spec(SHELL_MODULES[kind]) is None:
        hint = f"{sys.executable} -m pip install {kind}, or leave --with out."
        raise UsageError(f"--with {kind}: {kind} is not installed beside livectl", hint)
    return [*_celery_argv(app), "shell", *([f"--{kind}"] if kind else [])]


def child_environment(environ: Mapping[str, str], config: str | None) -> dict[str, str]:
    """The environment with the path of the settings file, so that the process reads the same one in any folder."""
    overrides = {"LIVECTL_CONFIG": str(Path(config).resolve())} if config else {}
    return {**environ, **overrides}


def find_app(arguments: Sequence[str]) -> str | None:
    """The app that a command line names."""
    for index, argument in enumerate(arguments[:-1]):
        if argument in APP_OPTIONS:
            return arguments[index + 1]
    return next((argument.partition("=")[2] for argument in arguments if argument.startswith("--app=")), None)


def exec_command(argv: list[str], environ: Mapping[str, str]) -> NoReturn:
    """Replaces this process by the command: same pid, same terminal, no livectl in between."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(argv[0], argv, dict(environ))  # noqa: S606


def _with_setting(argv: list[str], setting: str) -> list[str]:
    """The command line of a worker with one more setting of its app behind the options."""
    return [*argv, setting] if "--" in argv else [*argv, "--", setting]


def _celery_argv(app: str | None) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", app or OWN_APP]


def _own_app_options(pool: Pool) -> list[str]:
    """Turns off gossip and mingle: livectl uses neither, and gossip ends workers when their broker restarts."""
    options = ["--without-gossip", "--without-mingle"]
    return [*options, "--prefetch-multiplier", str(GREEN_PREFETCH)] if pool in GREEN_POOLS else options


def _schedule_option(path: str | None) -> list[str]:
    return ["-s", path] if path else []


def names_scheduler(extra: Iterable[str]) -> bool:
    """Whether these options of `celery beat` name a scheduler."""
    words = tuple(extra)
    return _names_long_scheduler(words) or any(word.startswith("-S") for word in words)


def _names_long_scheduler(extra: tuple[str, ...]) -> bool:
    return any(word.split("=")[0] == "--scheduler" for word in extra)


def find_entry_source(scheduler: str) -> str:
    """Where a `beat_scheduler` keeps its entries: `django`, `redbeat`, `other`; empty if it has none of its own."""
    if not scheduler or scheduler.startswith(PLAIN_SCHEDULERS):
        return ""
    return ENTRY_SOURCE_OF_PACKAGE.get(re.split("[.:]", scheduler)[0], "other")


def describe_entry_source(scheduler: str) -> str:
    """What a `beat_scheduler` of an app reads besides the app's beat_schedule; empty for nothing."""
    entry_source = find_entry_source(scheduler)
    return f"beat_scheduler is {scheduler}, which reads {ENTRY_SOURCES[entry_source]}" if entry_source else ""


def check_worker_extra(extra: Sequence[str], command: str = "worker") -> None:
    """Refuses a word that is no option, and the one option that means something else for `celery beat`."""
    _check_no_argument(extra, command)
    if any(STATEDB_OPTION.match(word) for word in extra):
        message = "-S of celery worker is no scheduler: it names a file for revoked jobs"
        raise UsageError(message, "Say --statedb FILE for that; the scheduler of -B is --scheduler NAME.")


def _check_no_argument(extra: Sequence[str], command: str) -> None:
    """Refuses a word before all options."""
    if extra and not extra[0].startswith("-"):
        hint = f"If that is an app, -A is missing: livectl -A {extra[0]} {command}"
        raise UsageError(f"{command} takes no argument {extra[0]!r}", hint)


def _validate(options: WorkerOptions) -> None:
    check_worker_extra(options.extra)
    if options.pool in GREEN_POOLS:
        extras.require(options.pool, f"the {options.pool} pool needs the package {options.pool}")
    if options.pool in GREEN_POOLS and options.beat:
        message = f"a beat cannot run inside a {options.pool} worker"
        raise UsageError(message, "Leave out -B and start `livectl beat` beside it; any number of beats may run.")


def check_tuning(options: WorkerOptions, cwd: Path, *, host: str) -> None:
    """Raises the first of the options that cannot be so: for the pool, beside another, or on this machine."""
    for mistake in worker_options.find_mistakes(options.tuning, options.pool, options.concurrency):
        raise UsageError(f"{mistake.option}: {mistake.text}", mistake.hint.replace("time_limit", "--time-limit"))
    if options.tuning.uid:
        _check_owner("uid", "user", options.tuning.uid, _user_id, os.geteuid())
    if options.tuning.gid:
        _check_owner("gid", "group", options.tuning.gid, _group_id, os.getegid())
    node = full_node_name(options.name or "", host)
    for name in ("logfile", "pidfile"):
        if text := getattr(options.tuning, name):
            _check_writable(f"--{name}", _place(text, node, cwd), options.tuning.uid)
    if options.tuning.pidfile:
        _check_pidfile(_place(options.tuning.pidfile, node, cwd))


def _check_owner(option: str, kind: str, owner: str, find_id: Callable[[str], int], own_id: int) -> None:
    """Raises for a user or group that this machine does not know, or that only root could become."""
    try:
        number = find_id(owner)
    except (KeyError, OverflowError):
        hint = f"`getent {'passwd' if kind == 'user' else kind}` lists those that there are."
        raise UsageError(f"--{option}: this machine knows no {kind} {owner}", hint) from None
    if os.geteuid() != 0 and number != own_id:
        hint = f"Start it as root, or as that {kind} and without --{option}."
        raise UsageError(f"--{option}: only root can become the {kind} {owner}", hint)


def _user_id(owner: str) -> int:
    return (pwd.getpwuid(int(owner)) if owner.isdecimal() else pwd.getpwnam(owner)).pw_uid


def _group_id(owner: str) -> int:
    return (grp.getgrgid(int(owner)) if owner.isdecimal() else grp.getgrnam(owner)).gr_gid


def _place(text: str, node: str, cwd: Path) -> Path:
    """Where a file is that Celery names by its worker: %n is the name, %h the node, %i and %I a process of the pool."""
    name, _, host = node.partition("@")
    parts = {"%p": node, "%n": name, "%h": host, "%i": "0", "%I": "", "%d": host.partition(".")[2], "%%": "%"}
    return cwd / re.sub("%[pnhiId%]", lambda found: parts[found[0]], text)


def _check_writable(option: str, path: Path, owner: str | None) -> None:
    """Raises where the worker, which may run as another user, could not write this file."""
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{option}: there is no folder {folder}", f"Make it: mkdir -p {folder}")
    target = path if path.exists() else folder
    may_write = _may_write(target, owner) if owner else os.access(target, os.W_OK)
    if path.is_dir() or not may_write:
        who = f" by {owner}" if owner else ""
        raise UsageError(f"{option}: {path} cannot be written{who}", f"Look whose {target} is, or name another.")


def _may_write(path: Path, owner: str) -> bool:
    """Whether the file's own marks let a user write it; one who is in a group that the system does not list, cannot."""
    user, status = _user_id(owner), path.stat()
    groups = [group.gr_gid for group in grp.getgrall() if pwd.getpwuid(user).pw_name in group.gr_mem]
    if user in (0, status.st_uid):
        return user == 0 or bool(status.st_mode & stat.S_IWUSR)
    is_member = status.st_gid in (pwd.getpwuid(user).pw_gid, *groups)
    return bool(status.st_mode & (stat.S_IWGRP if is_member else stat.S_IWOTH))


def _check_pidfile(path: Path) -> None:
    """Raises where the file names a process that lives. One that is left over Celery removes itself."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return
    pid = int(text) if text.isdecimal() and int(text) < MAX_PID else 0
    if pid and pid != os.getpid() and process.identify(pid):
        program = process.name_of(pid) or "a process"
        hint = f"It is this worker already? `kill {pid}` ends it once its jobs are done. Otherwise name another file."
        raise UsageError(f"--pidfile: {path} is that of {program}, which runs (pid {pid})", hint)


def _flower_version() -> tuple[int, ...]:
    from importlib import metadata  # slow to import, and only Flower needs it

    return tuple(int(part) for part in metadata.version("flower").split(".")[:2])
