"""Finds what is wrong with workers and beats, and with what is scheduled for them to do."""

from __future__ import annotations

from collections import defaultdict
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING

from livectl.models import Finding
from livectl.ops.processes.launch import SCHEDULER, names_scheduler
from livectl.ops.services.health import MAX_BEAT_LAG_S
from livectl.pools import GREEN_POOLS
from livectl.redaction import has_login, redact_text
from livectl.suggestions import did_you_mean
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import AppProcess, Facts

MAX_COMMAND_LINE_CHARS = 300
POOL_VARIABLE = "CELERY_WORKER_POOL"
BUILT_IN_PREFIX = "celery."  # of the tasks that every Celery app has


def check_schedule_file(facts: Facts) -> Iterator[Finding]:
    if facts.schedule_error:
        yield Finding(
            id="schedule-broken",
            level="bad",
            title="The schedule file cannot be used",
            evidence=facts.schedule_error,
            cure="livectl schedules validate",
        )


def check_broken_entries(facts: Facts) -> Iterator[Finding]:
    for entry, problem in facts.broken_entries.items():
        yield Finding(
            id="entry-broken",
            level="bad",
            title=f"The entry {entry} of the app's beat_schedule is never sent",
            evidence=problem,
            cure="Mend it in the app's settings; `livectl schedules validate` names all that is wrong there.",
        )


def check_unknown_tasks(facts: Facts) -> Iterator[Finding]:
    """A worker throws away the jobs of a task that it does not know, with a line in its log."""
    if facts.app_error or facts.settings_error:
        return
    app_tasks, worker_tasks = facts.task_names(), _worker_tasks(facts)
    known_tasks = app_tasks | worker_tasks
    for entry in facts.schedule:
        evidence = f"{entry.name} is scheduled to send {entry.task}"
        if entry.task.startswith(BUILT_IN_PREFIX):
            continue
        if entry.task not in app_tasks:
            known = "workers know it, the app does not" if entry.task in worker_tasks else "nobody knows it"
            yield _unknown_task(evidence, entry.task, known_tasks - {entry.task}, known, left_out=entry.name)
        elif worker_tasks and entry.task not in worker_tasks:
            yield _unknown_task(evidence, entry.task, set(), "no worker that answers knows it")
    for task, queue in facts.routes.items():
        if task not in known_tasks and app_tasks:
            yield _unknown_task(f"{task} is routed to {queue}", task, app_tasks, "the app has no such task")
    for name in facts.task_entries:  # those of another app may stand there too
        if not any(fnmatchcase(task, name) for task in known_tasks) and (meant := did_you_mean(name, known_tasks)):
            yield Finding(
                id="unknown-task",
                level="warn",
                title=f"{name} under tasks: in livectl.yaml fits no task",
                evidence=f"what it says counts for none of the {len(app_tasks)} tasks of the app",
                cure=meant,
            )


def check_arguments(facts: Facts) -> Iterator[Finding]:
    for entry, error in facts.argument_errors.items():
        yield Finding(
            id="arguments",
            level="bad",
            title=f"livectl's beat leaves {entry} out: its task does not take its arguments",
            evidence=error,
            cure="Mend args and kwargs of the entry; it comes back by itself.",
        )


def check_workers_missing(facts: Facts) -> Iterator[Finding]:
    """Said where workers were asked and nobody heard it, or where RabbitMQ says that nobody reads what waits."""
    if facts.survey.workers or facts.survey.silent or "survey" in facts.gaps or any(check_fanout_prefix(facts)):
        return
    own_queues = {*facts.task_queues.values(), *facts.destinations.values(), *facts.routes.values()}
    waiting = [
        f"{format_count(queue.ready + (queue.delayed or 0), 'message')} in {queue.name}"
        for queue in facts.queues
        if queue.ready + (queue.delayed or 0) and queue.name in own_queues and not queue.consumers
    ]
    if facts.survey.asked or (waiting and facts.counts_consumers):
        yield Finding(
            id="workers-missing",
            level="bad" if waiting else "warn",
            title="Nobody runs the jobs that wait" if waiting else "No worker runs",
            evidence=f"no worker answers; {', '.join(waiting) or 'nothing waits for one'}",
            cure=f"Start one: livectl{f' -A {facts.app}' if facts.app else ''} worker",
        )


def check_overdue_delays(facts: Facts) -> Iterator[Finding]:
    """Stock workers do not look at what waits for its time in the store."""
    overdue = facts.overdue_delays
    if overdue.count and not overdue.has_keeper:
        command = f"livectl{f' -A {facts.app}' if facts.app else ''}"
        yield Finding(
            id="delays-overdue",
            level="bad",
            title="Jobs whose time has come are brought back by nobody",
            evidence=f"{format_count(overdue.count, 'job')} in the store, the first due {overdue.seconds:.0f} s ago, "
            "and no worker of livectl's runs",
            cure=f"Start one: {command} worker. Or give them to others: {command} queues restore-delayed",
        )


def check_unread_queues(facts: Facts) -> Iterator[Finding]:
    """Nobody reads a queue for sure only when every worker has replied, or where RabbitMQ itself says so."""
    if not facts.survey.workers:
        return  # check_workers_missing says so
    read_queues = {queue for worker in facts.survey.workers for queue in worker.queues}
    readers = f"workers read {', '.join(sorted(read_queues)) or 'nothing'}"
    evidence: dict[str, str] = {}
    for queue in facts.queues:
        has_reader = queue.name in read_queues or not facts.survey.complete
        if queue.ready and not (queue.consumers if facts.counts_consumers else has_reader):
            evidence[queue.name] = f"{format_count(queue.ready, 'message')} waiting there; {readers}"
    if facts.survey.complete:
        for name, reason in _used_queues(facts):
            if name not in read_queues:
                evidence.setdefault(name, f"{reason}; {readers}")
    yield from (_unread_queue(name, text) for name, text in evidence.items())


def _used_queues(facts: Facts) -> Iterator[tuple[str, str]]:
    """The queues that jobs will be sent to, and what says so."""
    for entry, name in facts.destinations.items():
        yield name, f"{entry} is scheduled to be sent there"
    for task, name in facts.routes.items():
        if name:
            yield name, f"{task} is routed there"
    for platform, name in facts.platform_queues.items():
        yield name, f"checks of {platform} are sent there (platforms.{platform}.queue)"


def check_shared_queues(facts: Facts) -> Iterator[Finding]:
    """A worker throws away the jobs of another app, and the other app's worker those of this one."""
    for queue in sorted(set(facts.task_queues.values())):
        evidence = [*_strangers_in(queue, facts), *_strange_jobs_in(queue, facts)]
        if evidence:
            yield Finding(
                id="queue-shared",
                level="bad",
                title=f"Whoever shares the queue {queue} does not know all tasks there",
                evidence="; ".join(evidence),
                cure="Give each app a queue of its own (task_default_queue), or a broker database or virtual host.",
            )


def check_refused_queues(facts: Facts) -> Iterator[Finding]:
    for name, error in facts.refused_queues.items():
        yield Finding(
            id="queue-refused",
            level="bad",
            title=f"RabbitMQ has {name} with other properties: a worker of this app ends at its start",
            evidence=error,
            cure=f"Declare it as it is there, choose another name, or delete it: rabbitmqctl delete_queue {name}",
        )


def check_fanout_prefix(facts: Facts) -> Iterator[Finding]:
    """kombu cuts a channel's prefix off again only where it looks like its own: from a slash to the first dot."""
    prefix = (facts.setting("broker_transport_options") or {}).get("fanout_prefix")
    if not facts.visibility_timeout or not isinstance(prefix, str) or not prefix:
        return
    if not prefix.startswith("/") or prefix.find(".") != len(prefix) - 1:
        yield Finding(
            id="fanout-prefix",
            level="bad",
            title="Workers hear no remote control, and connect anew at each event: kombu cannot read their prefix",
            evidence=f"fanout_prefix = {prefix!r} in broker_transport_options",
            cure='Write one that begins with "/" and ends with its only ".", such as "/{db}-proj.".',
        )


def check_dead_letters(facts: Facts) -> Iterator[Finding]:
    if facts.dead_letters.count:
        yield Finding(
            id="dead-letters",
            level="warn",
            title=f"{facts.dead_letters.count} dead letters wait for a decision",
            evidence=f"the newest: {facts.dead_letters.newest}",
            cure="livectl dead list, then retry or drop them",
        )


def check_worker_names(facts: Facts) -> Iterator[Finding]:
    pids = defaultdict(list)
    for worker in facts.survey.workers:
        pids[worker.name].append(str(worker.pid))
    for name, worker_pids in pids.items():
        if len(worker_pids) > 1:
            yield Finding(
                id="same-name",
                level="bad",
                title=f"{len(worker_pids)} workers are called {name}",
                evidence=f"pids {', '.join(sorted(worker_pids))} answer under one name, each for the other",
                cure="Start them with -n and names of their own; `livectl worker` without -n does.",
            )


def check_worker_versions(facts: Facts) -> Iterator[Finding]:
    version_by_worker = {worker.name: worker.version for worker in facts.survey.workers if worker.version}
    if len(set(version_by_worker.values())) > 1:
        yield Finding(
            id="versions-differ",
            level="warn",
            title="Workers run different versions of Celery",
            evidence=", ".join(f"{name} {version}" for name, version in sorted(version_by_worker.items())),
            cure="Bring all to the newest of them, and restart.",
        )


def check_unpatched_pool(facts: Facts) -> Iterator[Finding]:
    """Celery patches for `-P gevent` and `--pool=gevent` alone: it looks before it reads other options or settings."""
    evidence = _unpatched_evidence(facts)
    if evidence:
        yield Finding(
            id="pool-unpatched",
            level="bad",
            title="A green pool runs an app that was not patched: one job that waits holds up all",
            evidence=evidence,
            cure=f"Start it as `livectl worker -P {'eventlet' if 'eventlet' in evidence else 'gevent'}`.",
        )


def check_secrets_in_command_lines(facts: Facts) -> Iterator[Finding]:
    for process in facts.processes:
        if has_login(process.command_line):
            yield Finding(
                id="secret-in-argv",
                level="bad",
                title="A password is on a command line, where everybody on this machine can read it",
                evidence=_process_text(process),
                cure="Put the address into the settings, a file or the environment.",
            )


def check_runs_as_root(facts: Facts) -> Iterator[Finding]:
    """A note and no fault: in a container it is common."""
    if as_root := [process for process in facts.processes if process.is_root]:
        yield Finding(
            id="runs-as-root",
            level="ok",
            title="Workers and beats run as root, and so does every job",
            evidence="\n".join(map(_process_text, as_root)),
            cure="Give them a user of their own: User= in a systemd unit, USER in a Dockerfile.",
        )


def check_beat_missing(facts: Facts) -> Iterator[Finding]:
    """Only where a beat of livectl has run before: a plain beat on another machine leaves no trace."""
    if (
        facts.schedule
        and facts.beats.has_run
        and not facts.beats.names
        and not any(_is_beat(process) for process in facts.processes)
    ):
        yield Finding(
            id="beat-missing",
            level="warn",
            title="No beat is at work, though there was one",
            evidence=f"{len(facts.schedule)} entries are scheduled, and no beat has looked in for a minute",
            cure="livectl beat; any number of them may run.",
        )


def check_beat_late(facts: Facts) -> Iterator[Finding]:
    age = facts.beats.heartbeat_age
    evidence = ""
    if age is not None and age > MAX_BEAT_LAG_S:
        evidence = f"{', '.join(facts.beats.names)} looked in {age:.0f} s ago for the last time"
    elif facts.beats.unsent_run and facts.beats.names:
        evidence = f"a run of {facts.beats.unsent_run} was claimed and not sent"
    if evidence:
        yield Finding(
            id="beat-late",
            level="bad",
            title="Beat is late",
            evidence=evidence,
            cure="Look at its log; another beat beside it takes over at once.",
        )


def check_plain_beat(facts: Facts) -> Iterator[Finding]:
    plain_beats = [process for process in facts.processes if _is_beat(process) and not _is_livectl_beat(process, facts)]
    if plain_beats and facts.beats.names:
        yield Finding(
            id="beat-beside",
            level="bad",
            title="A plain beat runs beside livectl's: what both have is sent twice",
            evidence=f"pid {plain_beats[0].pid}: {redact_text(plain_beats[0].command_line)}; "
            f"ours: {', '.join(facts.beats.names)}",
            cure=f"Stop it, or start it with -S {SCHEDULER}: claimed runs are sent once, however many beats there are.",
        )


def check_failing_entries(facts: Facts) -> Iterator[Finding]:
    """An entry with pause_on_failure is quiet from then on, and nobody may have noticed."""
    for entry, reason in facts.beats.failing_entries.items():
        yield Finding(
            id="entry-failing",
            level="warn",
            title=f"The entry {entry} has paused itself, since its runs failed",
            evidence=reason,
            cure=f"Look why (`livectl runs {entry} --failed`), then: livectl schedules resume {entry}",
        )


def check_shared_entries(facts: Facts) -> Iterator[Finding]:
    """Beats know a run by its entry's name and its time alone."""
    for entry, evidence in facts.beats.shared_entries.items():
        yield Finding(
            id="entry-shared",
            level="bad",
            title=f"Beats of two apps have an entry {entry}: each of its runs is sent by one of them only",
            evidence=evidence,
            cure="Give it another name in one of the files, or one of the apps a `store:` of its own.",
        )


def _unknown_task(evidence: str, task: str, known_tasks: set[str], problem: str, left_out: str = "") -> Finding:
    """`left_out` is the entry that is not sent because of it."""
    title = f"There is no task {task}" if known_tasks or left_out else f"No worker knows the task {task}"
    return Finding(
        id="unknown-task",
        level="bad",
        title=f"{title}: livectl's beat leaves {left_out} out" if left_out else title,
        evidence=f"{evidence}, and {problem}",
        cure=did_you_mean(task, known_tasks) or "Import its module (imports, include), and restart the workers.",
    )


def _unread_queue(queue: str, evidence: str) -> Finding:
    return Finding(
        id="queue-unread",
        level="bad",
        title=f"Nobody reads the queue {queue}",
        evidence=evidence,
        cure=f"Start a worker with -Q {queue}, or send elsewhere.",
    )


def _strangers_in(queue: str, facts: Facts) -> Iterator[str]:
    """The workers that read a queue and lack tasks of this app whose jobs go there."""
    sent_there = {task for task, name in facts.task_queues.items() if name == queue}
    for worker in facts.survey.workers:
        missing = sorted(sent_there - set(worker.tasks)) if queue in worker.queues and worker.tasks else []
        if missing:
            known = f"{len(sent_there) - len(missing)} of the {len(sent_there)} tasks that this app sends there"
            yield f"{worker.name} reads it and knows {known}, not {missing[0]}"


def _strange_jobs_in(queue: str, facts: Facts) -> Iterator[str]:
    """The waiting jobs of tasks that neither this app has nor a worker that reads the queue."""
    readers = [worker for worker in facts.survey.workers if queue in worker.queues]
    known_tasks = facts.task_names().union(*(worker.tasks for worker in readers))
    for task in facts.waiting_tasks.get(queue, ()):
        if task not in known_tasks and not task.startswith(BUILT_IN_PREFIX):
            yield f"jobs of {task} wait there, which this app does not have"


def _worker_tasks(facts: Facts) -> set[str]:
    """The tasks that any worker knows; none unless every worker has replied."""
    return {task for worker in facts.survey.workers for task in worker.tasks} if facts.survey.complete else set()


def _unpatched_evidence(facts: Facts) -> str:
    for process in facts.processes:
        if any(f"-P{pool}" in process.arguments for pool in GREEN_POOLS):
            return _process_text(process)
    if any(_has_pool_option(process.arguments) for process in facts.processes):
        return ""
    pools = {POOL_VARIABLE: facts.environ.get(POOL_VARIABLE), "worker_pool": facts.setting("worker_pool")}
    green_pools = [f"{origin} is {pool}" for origin, pool in pools.items() if pool in GREEN_POOLS]
    return f"{green_pools[0]}, which is read after the app is imported" if green_pools else ""


def _process_text(process: AppProcess) -> str:
    return f"pid {process.pid}: {redact_text(process.command_line, MAX_COMMAND_LINE_CHARS)}"


def _has_pool_option(arguments: tuple[str, ...]) -> bool:
    return any(option in ("-P", "--pool") and pool in GREEN_POOLS for option, pool in pairwise(arguments)) or any(
        f"--pool={pool}" in arguments for pool in GREEN_POOLS
    )


def _is_beat(process: AppProcess) -> bool:
    return "beat" in process.arguments or "-B" in process.arguments or "--beat" in process.arguments


def _is_livectl_beat(process: AppProcess, facts: Facts) -> bool:
    is_ours = facts.setting("beat_scheduler") == SCHEDULER and not names_scheduler(process.arguments)
    return SCHEDULER in process.command_line or is_ours
