"""Starts a worker."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from livectl.completing import complete
from livectl.context import CommandContext, loglevel_option, pass_command_context
from livectl.errors import SettingsError, UsageError
from livectl.pools import POOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.worker_options import WorkerTuning

NEVER_GIVEN_UP = 10**9  # a worker in development is tried again until its code is mended
POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("-P", "--pool", type=click.Choice(POOLS), default="prefork", show_default=True, help="How jobs run.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; by the processors if left out.")
@click.option(
    "-Q",
    "--queues",
    metavar="A,B",
    shell_complete=complete("queues"),
    help="Queues to read; the app's own if left out.",
)
@click.option("-n", "--name", metavar="NAME", help="Node name; unique if left out.")
@loglevel_option(help="Of the log.")
@click.option("-f", "--logfile", metavar="FILE", help="Log to this file, not to the terminal; %n is the worker's name.")
@click.option("-E", "--task-events", "events", is_flag=True, help="Send an event for each step of a job.")
@click.option("--autoscale", metavar="MAX,MIN", help="So many jobs at a time as there is work for: 10,3.")
@click.option(
    "--max-tasks-per-child", type=click.IntRange(min=1), help="Replace a process of the pool after so many jobs."
)
@click.option(
    "--max-memory-per-child", metavar="SIZE", help="Replace it once it has more than this: 200MB, or a number of KiB."
)
@click.option("--time-limit", type=POSITIVE, metavar="SECONDS", help="Kill a job that takes longer.")
@click.option("--soft-time-limit", type=POSITIVE, metavar="SECONDS", help="Interrupt a job that takes longer.")
@click.option(
    "--prefetch-multiplier", type=click.IntRange(min=0), help="Jobs at hand for each that runs; 0 is without a limit."
)
@click.option(
    "-X", "--exclude-queues", metavar="A,B", shell_complete=complete("queues"), help="Queues of the app not to read."
)
@click.option("-O", "--optimization", type=click.Choice(["default", "fair"]), help="How a pool's processes are fed.")
@click.option("--pidfile", metavar="FILE", help="Write the pid there; no two run with the same.")
@click.option("--uid", metavar="USER", help="Run as this user; for root only.")
@click.option("--gid", metavar="GROUP", help="Run as this group; for root only.")
@click.option("-B", "--beat", is_flag=True, help="Carry a beat as well.")
@click.option(
    "-s",
    "--schedules",
    "schedule",
    type=click.Path(),
    metavar="FILE",
    help="File of that beat, instead of schedules.yaml.",
)
@click.option("--dry-run", is_flag=True, help="Print the command line it would become, and stop.")
@click.option("--reload", is_flag=True, help="For development: start anew when code below this folder changes.")
@click.option("--detach", is_flag=True, help="Run in the background, until `livectl stop`.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS]")
@pass_command_context
def command(context: CommandContext, /, *, dry_run: bool, reload: bool, detach: bool, **options: Any) -> None:
    """It becomes `celery worker`, with a pool that patches before anything is imported and a node name of its own.
    After -- comes any option of `celery worker`.

    \b
    Examples:
      livectl worker -P threads -c 20
      livectl -A proj worker -P gevent -Q mail,default
      livectl -A proj worker --autoscale 10,3 --max-tasks-per-child 1000
    """
    from livectl.ops.processes import launch
    from livectl.ops.processes.process import available_processors
    from livectl.ops.services import background

    if context.app is None and not dry_run:
        context.check_targets()
    if context.app is None:
        context.say_unset_secrets()
    worker_options = launch.WorkerOptions(
        app=context.app, guard=context.settings.worker.guard, tuning=_take_tuning(options), **options
    )
    launch.check_tuning(worker_options, context.cwd, host=socket.gethostname())
    argv = launch.worker_command(worker_options, processors=available_processors(), process=os.getpid())
    if dry_run:
        context.show(background.argv_view(argv))
        return
    if reload and detach:
        raise UsageError("--reload and --detach do not go together", "Leave one of them out.")
    if context.app is None:
        context.prepare_own_store()
    name = f"worker-{worker_options.name}" if worker_options.name else "worker"
    environ = launch.child_environment(context.environ, context.config)
    with context.working("waiting until it works") if detach else nullcontext():
        process = background.start_or_exec(
            argv,
            name,
            context.settings,
            environ,
            context.cwd,
            detach=detach,
            say=context.say,
            run=partial(_run_reloading, context) if reload else launch.exec_command,
        )
    context.show(process)


def _run_reloading(context: CommandContext, argv: list[str], environ: Mapping[str, str]) -> NoReturn:
    """Keeps the worker running until Ctrl-C, and starts it anew when its code changes."""
    from livectl.ops.processes import launch
    from livectl.ops.processes.code_watch import CodeWatch
    from livectl.ops.processes.supervised_process import ChildSpec, spawn
    from livectl.ops.processes.supervisor import Supervisor, SupervisorTimings

    command = launch.argv_with_requeue_on_quit(argv)
    pool = argv[argv.index("-P") + 1]
    spec = ChildSpec(
        name="worker",
        start=lambda: spawn(command, environ),
        grace_seconds=float("inf"),  # running jobs end first, as without --reload
        requeues_on_quit=pool in launch.REQUEUE_ON_QUIT_POOLS,
        if_killed=launch.KILLED_JOBS_NOTE,
    )
    watch = CodeWatch(context.cwd, lambda: ["worker"], context.say)
    timings = SupervisorTimings(max_failed_starts=NEVER_GIVEN_UP)

    def write(_: str, line: str) -> None:
        print(line, file=context.err, flush=True)

    raise click.exceptions.Exit(Supervisor([spec], write, timings, requests=watch).run())


def _take_tuning(options: dict[str, Any]) -> WorkerTuning:
    """Those of the options that are Celery's own; takes them out of the others."""
    from livectl.worker_options import WorkerTuning

    memory = options.pop("max_memory_per_child")
    values = {name: options.pop(name) for name in WorkerTuning.__struct_fields__ if name in options}
    return WorkerTuning(**values, max_memory_per_child=_read_kibibytes(memory) if memory else None)


def _read_kibibytes(text: str) -> int:
    """A size as Celery takes it, in KiB without a unit, or with one."""
    from livectl.units import parse_byte_size
    from livectl.worker_options import KIBIBYTE

    if text.isdecimal():
        return int(text)
    try:
        return parse_byte_size(text) // KIBIBYTE
    except SettingsError:
        raise UsageError(f"--max-memory-per-child: {text} is no size", "Write 200MB, or a number of KiB.") from None
