"""Finds what is wrong with broker, store and result backend, and with the settings for delivery of messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from livectl.models import Finding
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.doctor.facts import Facts, ServerFacts

MIN_REDIS_VERSION = (6, 2)  # Celery 5.7 and livectl's scripts use commands that came with it
MAX_SKEW_S = 5.0  # beyond what a slow network or a leap second explains
ROLE_NAMES = {"broker": "broker", "store": "store", "results": "result backend"}
PICKLE_CONTENT_TYPES = {"pickle", "application/x-python-serialize"}
CONTENT_TYPES = {"json": "application/json", "yaml": "application/x-yaml", "msgpack": "application/x-msgpack"}
GREEN_PREFETCH_HINT = "Set worker_prefetch_multiplier to 1, with task_acks_late; on Redis worker_disable_prefetch too."


def check_unreachable(facts: Facts) -> Iterator[Finding]:
    for server in facts.servers:
        if not server.error:
            continue
        if server.is_away and server.is_local and facts.in_container:
            yield Finding(
                id="localhost-in-container",
                level="bad",
                title=f"The {ROLE_NAMES[server.role]} is looked for inside this container",
                evidence=f"{server.error}; this is a container, where localhost is the container itself",
                cure="Name the host, or the service of the compose file: redis://redis:6379/0.",
            )
            continue
        yield Finding(
            id=f"{server.role}-unreachable",
            level="bad",
            title=f"The {ROLE_NAMES[server.role]} {'is not reached' if server.is_away else 'cannot be used'}",
            evidence=server.error,
            cure=server.cure or "Start it, or mend its address.",
        )


def check_reachable(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        version = server.info.get("valkey_version") or server.info.get("redis_version", "")
        answering = sum(not node.error for node in server.nodes)
        nodes = f", {answering} of its {len(server.nodes)} nodes answer" if server.nodes else ""
        yield Finding(
            id=f"{server.role}-unreachable",
            level="ok",
            title=f"The {ROLE_NAMES[server.role]} is reached",
            evidence=f"{server.address} {version}".strip() + nodes,
        )


def check_eviction(facts: Facts) -> Iterator[Finding]:
    roles = {server.role for server in facts.servers}
    own_store = None if facts.app else "store" if "store" in roles else "broker"  # no other policy is taken for it

    def evicts(server: ServerFacts) -> str:
        policy, maxmemory = server.info.get("maxmemory_policy", ""), int(server.info.get("maxmemory", "0"))
        is_refused = server.role == own_store and policy not in {"", "noeviction"}
        is_risky = is_refused or (maxmemory and policy.startswith("allkeys-"))
        return f"maxmemory {maxmemory}, maxmemory-policy {policy}" if is_risky else ""

    for server, evidence in _found(facts, evicts):
        yield Finding(
            id="redis-evicts",
            level="bad",
            title=f"The {ROLE_NAMES[server.role]} throws messages away when it is full",
            evidence=evidence,
            cure="Set maxmemory-policy to noeviction: a full server then refuses, and nothing is lost in silence.",
        )


def check_persistence(facts: Facts) -> Iterator[Finding]:
    def forgets(server: ServerFacts) -> str:
        is_kept = server.role == "results" or server.info.get("aof_enabled") != "0" or server.save_setting != ""
        return "" if is_kept else 'appendonly no, save ""'

    for server, evidence in _found(facts, forgets):
        yield Finding(
            id="redis-forgets",
            level="warn",
            title=f"The {ROLE_NAMES[server.role]} forgets everything when it restarts",
            evidence=evidence,
            cure="Set appendonly yes, or take a server whose messages may be lost on purpose and --ignore this.",
        )


def check_disk_writes(facts: Facts) -> Iterator[Finding]:
    def fails(server: ServerFacts) -> str:
        kinds = ("rdb_last_bgsave_status", "aof_last_write_status")
        failed = [key for key in kinds if server.info.get(key, "ok").strip() == "err"]
        return f"{', '.join(failed)} err" if failed else ""

    for server, evidence in _found(facts, fails):
        yield Finding(
            id="redis-cannot-save",
            level="bad",
            title=f"The {ROLE_NAMES[server.role]} cannot write to its disk",
            evidence=evidence,
            cure="Look at its log and at the room on its disk: it refuses writes, or will lose them.",
        )


def check_redis_version(facts: Facts) -> Iterator[Finding]:
    def is_old(server: ServerFacts) -> str:
        version = server.info.get("redis_version", "")
        is_too_old = version and _parse_version(version) < MIN_REDIS_VERSION
        return f"Redis {version}; Celery and livectl need 6.2" if is_too_old else ""

    for server, evidence in _found(facts, is_old):
        yield Finding(
            id="redis-too-old",
            level="bad",
            title=f"The {ROLE_NAMES[server.role]} is too old",
            evidence=evidence,
            cure="Upgrade it to Redis 7 or Valkey 8.",
        )


def check_clock_skew(facts: Facts) -> Iterator[Finding]:
    def differs(server: ServerFacts) -> str:
        direction = "ahead of" if server.clock_ahead > 0 else "behind"
        is_far = abs(server.clock_ahead) > MAX_SKEW_S
        return f"its clock is {abs(server.clock_ahead):.0f} s {direction} this machine's" if is_far else ""

    for _, evidence in _found(facts, differs):
        yield Finding(
            id="clock-skew",
            level="warn",
            title="Two clocks differ",
            evidence=evidence,
            cure="Let both machines keep time (chrony, systemd-timesyncd): due times and expiries are compared.",
        )


def _found(facts: Facts, look: Callable[[ServerFacts], str]) -> Iterator[tuple[ServerFacts, str]]:
    """The servers of which this is wrong, and what shows it: of a cluster, at which of its nodes."""
    for server in facts.reachable_servers():
        shown = [f"{node.address}: {text}" for node in server.each if (text := look(node))]
        if shown:
            yield server, "; ".join(shown)


def check_store_unfit(facts: Facts) -> Iterator[Finding]:
    if facts.store_unfit.problem:
        yield Finding(
            id="store-unfit",
            level="bad",
            title="livectl's own workers and beats can do nothing in their store",
            evidence=facts.store_unfit.problem,
            cure=facts.store_unfit.cure,
        )


def check_store_missing(facts: Facts) -> Iterator[Finding]:
    if facts.store_missing and facts.schedule:
        yield Finding(
            id="store-missing",
            level="warn",
            title="Beats of this app have nowhere to claim their runs",
            evidence=f"{facts.store_missing}, and `store:` is not set",
            cure="Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey.",
        )


def check_pickle(facts: Facts) -> Iterator[Finding]:
    for key in ("accept_content", "result_accept_content"):
        if PICKLE_CONTENT_TYPES & set(facts.setting(key) or ()):
            yield Finding(
                id="pickle-accepted",
                level="warn",
                title="Whoever can write to the broker can run any code in the workers",
                evidence=f"{key} = {sorted(facts.setting(key))}",
                cure=f'Set {key} to ["json"], once no message in pickle is left.',
            )


def check_refused_serializers(facts: Facts) -> Iterator[Finding]:
    pairs = (("task_serializer", "accept_content"), ("result_serializer", "result_accept_content"))
    for serializer, accepted in pairs:
        sent_type, accepted_types = (
            facts.setting(serializer),
            facts.setting(accepted) or facts.setting("accept_content"),
        )
        if (
            sent_type
            and accepted_types
            and not {sent_type, CONTENT_TYPES.get(sent_type, sent_type)} & set(accepted_types)
        ):
            yield Finding(
                id="serializer-refused",
                level="bad",
                title="What this app sends, its own workers refuse",
                evidence=f"{serializer} is {sent_type}, and {accepted} only {sorted(accepted_types)}",
                cure=f"Set {serializer} to one of them, or add {sent_type} to {accepted}.",
            )


def check_visibility_and_time_limit(facts: Facts) -> Iterator[Finding]:
    """An early acknowledgement comes before the job, and so within any time limit."""
    visibility_timeout = facts.visibility_timeout
    longest_task = max(
        (task for task in facts.tasks if task.acks_late and task.time_limit),
        key=lambda task: task.time_limit or 0,
        default=None,
    )
    if visibility_timeout and longest_task and longest_task.time_limit and longest_task.time_limit > visibility_timeout:
        yield Finding(
            id="visibility-limit",
            level="bad",
            title="Long jobs are given out, and run, again while they still run",
            evidence=f"visibility_timeout {visibility_timeout:.0f} s, "
            f"and {longest_task.name} may run {longest_task.time_limit:.0f} s",
            cure="Raise visibility_timeout in broker_transport_options above the longest time limit, or lower that.",
        )


def check_visibility_and_eta(facts: Facts) -> Iterator[Finding]:
    if facts.delayed_messages:
        latest = max(facts.delayed_messages, key=lambda delayed: delayed.seconds)
        yield Finding(
            id="visibility-eta",
            level="bad",
            title="Jobs that wait for their time will run more than once",
            evidence=f"{latest.task} {latest.id} due in {latest.seconds:.0f} s, "
            f"visibility_timeout {facts.visibility_timeout} s",
            cure="Raise visibility_timeout above the longest countdown, or put such jobs into schedules.yaml.",
        )


def check_visibility_differs(facts: Facts) -> Iterator[Finding]:
    """Workers that keep what they hold under keys of their own give nothing of others back."""
    for unacked_key in sorted({worker.unacked_key for worker in facts.survey.workers}):
        timeouts = {
            worker.name: worker.visibility_timeout
            for worker in facts.survey.workers
            if worker.visibility_timeout is not None and worker.unacked_key == unacked_key
        }
        if len(set(timeouts.values())) < 2:
            continue
        evidence = ", ".join(f"{name} {timeout:.0f} s" for name, timeout in sorted(timeouts.items()))
        yield Finding(
            id="visibility-differs",
            level="bad",
            title="Workers differ in visibility_timeout: the shortest one holds for the jobs of all",
            evidence=evidence,
            cure="Give all workers the same broker_transport_options, and restart them.",
        )


def check_plus_transport(facts: Facts) -> Iterator[Finding]:
    if facts.takes_by_plus:
        yield Finding(
            id="transport-plus",
            level="warn",
            title="Jobs are taken by celery-redis-plus, and not by livectl's transport",
            evidence="what a killed worker holds waits for its visibility timeout (5 minutes by default), "
            "and stock workers and senders share no queue with it",
            cure="Nothing, where it is wanted: dead letters are kept, and `queues`, `status`, `revoke` know its keys.",
        )


def check_plus_messages(facts: Facts) -> Iterator[Finding]:
    """Only workers with celery-redis-plus look where it keeps messages."""
    if facts.plus_messages and not facts.takes_by_plus:
        command, queue = f"livectl{f' -A {facts.app}' if facts.app else ''}", next(iter(facts.plus_messages))
        yield Finding(
            id="plus-messages",
            level="bad",
            title="Jobs lie where only celery-redis-plus takes them, and the app does not use it",
            evidence=", ".join(
                f"{format_count(count, 'job')} of {name}" for name, count in facts.plus_messages.items()
            ),
            cure="Run workers with celery-redis-plus until these queues are empty. Or save the jobs to a file: "
            f"{command} queues purge {queue}",
        )


def check_transport(facts: Facts) -> Iterator[Finding]:
    if facts.why_stock:
        yield Finding(
            id="transport-stock",
            level="warn",
            title="What a killed worker holds waits for the visibility timeout, and some of it is lost",
            evidence=f"workers have Celery's own transport, since {facts.why_stock}",
            cure="Let them have livectl's, unless another way of taking jobs is wanted.",
        )


def check_early_ack(facts: Facts) -> Iterator[Finding]:
    names = [task.name for task in facts.tasks if task.reject_on_worker_lost and not task.acks_late]
    if names:
        yield Finding(
            id="early-ack",
            level="warn",
            title="Jobs that are to come back when their worker is killed will not",
            evidence=f"task_reject_on_worker_lost without task_acks_late: {', '.join(names[:3])}",
            cure="Set task_acks_late too: an acknowledged message cannot be put back.",
        )


def check_prefetch_hoarding(facts: Facts) -> Iterator[Finding]:
    if facts.survey.hoarded_jobs:
        owners = [worker for worker in facts.survey.workers if set(worker.reserved) & set(facts.survey.hoarded_jobs)]
        yield Finding(
            id="prefetch-hoarding",
            level="warn",
            title="A worker keeps jobs for later while another has nothing to do",
            evidence=f"{len(facts.survey.hoarded_jobs)} jobs wait in the hands of "
            f"{', '.join(worker.name for worker in owners)}",
            cure=GREEN_PREFETCH_HINT,
        )


def check_always_eager(facts: Facts) -> Iterator[Finding]:
    if facts.setting("task_always_eager"):
        yield Finding(
            id="always-eager",
            level="bad",
            title="Nothing is ever sent: jobs run inside whoever calls them",
            evidence=f"task_always_eager is on, by {facts.settings.origins.get('task_always_eager', 'the app')}",
            cure="Set it in the tests only.",
        )


def check_soft_shutdown(facts: Facts) -> Iterator[Finding]:
    remapped = facts.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    if remapped and not facts.setting("worker_soft_shutdown_timeout"):
        yield Finding(
            id="soft-shutdown",
            level="bad",
            title="A worker that is told to stop drops its jobs at once",
            evidence="REMAP_SIGTERM=SIGQUIT, and worker_soft_shutdown_timeout is 0",
            cure="Set worker_soft_shutdown_timeout, or unset REMAP_SIGTERM: SIGTERM by itself waits for running jobs.",
        )


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
