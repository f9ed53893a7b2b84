"""Runs the checks over the facts, and shows their findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from livectl.doctor import checks_app, checks_rabbitmq, checks_servers, checks_streamers, checks_workers
from livectl.models import Finding
from livectl.redaction import hide_secrets
from livectl.render import STATE_COLOURS, Column, Paragraph, Stack, View
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from livectl.doctor.facts import Facts, Gap, PlatformFacts
    from livectl.render import Renderable

Check: TypeAlias = "Callable[[Facts], Iterator[Finding]]"

# The order of findings of one level.
CHECKS: tuple[Check, ...] = (
    checks_app.check_livectl_settings,
    checks_app.check_needs_restart,
    checks_app.check_app_loads,
    checks_app.check_timezone,
    checks_app.check_unread_settings,
    checks_app.check_misspelt_settings,
    checks_app.check_old_names,
    checks_app.check_removed_settings,
    checks_app.check_wrong_deprecation_warning,
    checks_app.check_environment_overrides,
    checks_servers.check_unreachable,
    checks_servers.check_reachable,
    checks_servers.check_eviction,
    checks_servers.check_persistence,
    checks_servers.check_disk_writes,
    checks_servers.check_redis_version,
    checks_servers.check_clock_skew,
    checks_servers.check_store_unfit,
    checks_servers.check_store_missing,
    checks_servers.check_pickle,
    checks_servers.check_refused_serializers,
    checks_servers.check_visibility_and_time_limit,
    checks_servers.check_visibility_and_eta,
    checks_servers.check_visibility_differs,
    checks_servers.check_transport,
    checks_servers.check_plus_transport,
    checks_rabbitmq.check_confirms,
    checks_rabbitmq.check_transient_messages,
    checks_rabbitmq.check_classic_queues,
    checks_rabbitmq.check_held_too_long,
    checks_rabbitmq.check_global_prefetch,
    checks_servers.check_early_ack,
    checks_servers.check_prefetch_hoarding,
    checks_servers.check_always_eager,
    checks_servers.check_soft_shutdown,
    checks_app.check_misnamed_backend,
    checks_app.check_missing_backend,
    checks_app.check_endless_results,
    checks_workers.check_schedule_file,
    checks_workers.check_broken_entries,
    checks_workers.check_unknown_tasks,
    checks_workers.check_arguments,
    checks_workers.check_workers_missing,
    checks_workers.check_fanout_prefix,
    checks_workers.check_overdue_delays,
    checks_servers.check_plus_messages,
    checks_workers.check_unread_queues,
    checks_workers.check_shared_queues,
    checks_workers.check_refused_queues,
    checks_workers.check_dead_letters,
    checks_workers.check_worker_names,
    checks_workers.check_worker_versions,
    checks_workers.check_unpatched_pool,
    checks_workers.check_secrets_in_command_lines,
    checks_workers.check_runs_as_root,
    checks_workers.check_beat_missing,
    checks_workers.check_beat_late,
    checks_workers.check_plain_beat,
    checks_workers.check_failing_entries,
    checks_workers.check_shared_entries,
    checks_app.check_flask_context,
    checks_app.check_django_setup,
    checks_streamers.check_follow_list,
    checks_streamers.check_unread_follow_list,
    checks_streamers.check_unresolved_follows,
    checks_streamers.check_overdue_streamers,
    checks_streamers.check_missing_keys,
    checks_streamers.check_refused_keys,
    checks_streamers.check_unset_secrets,
    checks_streamers.check_misnamed_platforms,
    checks_streamers.check_unreached_platforms,
    checks_streamers.check_unread_lists,
    checks_streamers.check_blocked_platforms,
    checks_streamers.check_waiting_platforms,
    checks_streamers.check_push,
    checks_streamers.check_parsers,
    checks_streamers.check_platforms_that_emptied,
    checks_streamers.check_unread_streamers,
    checks_streamers.check_failing_targets,
    checks_streamers.check_watch_missing,
)


class CheckNote(NamedTuple):
    """What a check says where it finds nothing: an id, a sentence, and the parts of the facts that it looked at."""

    id: str
    well: str
    parts: tuple[str, ...]


def _notes(*rows: tuple[str, str, str, str]) -> dict[str, CheckNote]:
    return {name: CheckNote(finding_id, well, tuple(parts.split())) for name, finding_id, well, parts in rows}


# check -> the id of what it would find, the sentence for when it finds nothing, the parts of the facts it looks at
# fmt: off
NOTES = _notes(
    ("check_livectl_settings", "settings-broken", "livectl's own settings can be read", "own_settings"),
    ("check_needs_restart", "restart-needed", "Running processes have the settings in force", "own_settings"),
    ("check_app_loads", "app-broken", "The app can be loaded", "app"),
    ("check_unread_settings", "setting-unread", "Celery reads each setting that is written", "settings"),
    ("check_misspelt_settings", "setting-misspelt", "No setting is misspelt", "settings"),
    ("check_old_names", "settings-old", "No setting has a name that goes away", "settings"),
    ("check_removed_settings", "setting-removed", "No setting is one that Celery no longer has", "settings"),
    ("check_wrong_deprecation_warning", "settings-right", "Celery warns of no setting that is right", "settings"),
    ("check_timezone", "timezone-unknown", "The app's time zone is one", "settings"),
    ("check_environment_overrides", "environment-wins", "The environment overrules no setting", "environ"),
    ("check_unreachable", "", "", ""),  # check_reachable says so
    ("check_reachable", "", "", ""),
    ("check_eviction", "redis-evicts", "No server throws messages away when it is full", "redis"),
    ("check_persistence", "redis-forgets", "Each server keeps its data over a restart", "redis"),
    ("check_disk_writes", "redis-cannot-save", "Each server can write its data", "redis"),
    ("check_redis_version", "redis-too-old", "No server is too old", "redis"),
    ("check_clock_skew", "clock-skew", "The servers' clocks agree with this one", "redis"),
    ("check_store_unfit", "store-unfit", "The store is for this livectl and its settings", "store_unfit"),
    ("check_store_missing", "store-missing", "There is a store for what needs one", "servers schedule"),
    ("check_pickle", "pickle-accepted", "Nothing takes pickle", "settings"),
    ("check_refused_serializers", "serializer-refused", "What is written is also accepted", "settings"),
    ("check_visibility_and_time_limit", "visibility-limit", "No late task outlasts the visibility timeout",
     "app delayed_messages"),
    ("check_visibility_and_eta", "visibility-eta", "No ETA lies beyond the visibility timeout", "delayed_messages"),
    ("check_overdue_delays", "delays-overdue", "What waited for its time is brought back", "overdue_delays"),
    ("check_plus_messages", "plus-messages", "No job lies where only celery-redis-plus takes it", "plus_messages"),
    ("check_visibility_differs", "visibility-differs", "Workers have one visibility timeout", "survey"),
    ("check_transport", "transport-stock", "What a killed worker holds is back within seconds", "settings"),
    ("check_plus_transport", "transport-plus", "Jobs are not taken by celery-redis-plus", "settings"),
    ("check_confirms", "confirms-missing", "RabbitMQ confirms what is sent", "rabbitmq"),
    ("check_transient_messages", "messages-transient", "Queues and messages outlive RabbitMQ's restart", "rabbitmq"),
    ("check_classic_queues", "queue-classic", "No queue lives on one node of RabbitMQ", "classic_queues"),
    ("check_held_too_long", "held-too-long", "No job outlasts RabbitMQ's patience", "rabbitmq app"),
    ("check_global_prefetch", "prefetch-global", "No quorum queue is prefetched globally", "rabbitmq"),
    ("check_early_ack", "early-ack", "No task wants back what it acknowledged", "app"),
    ("check_prefetch_hoarding", "prefetch-hoarding", "No worker hoards jobs", "survey"),
    ("check_always_eager", "always-eager", "Jobs are sent, not run by their caller", "settings"),
    ("check_soft_shutdown", "soft-shutdown", "A stop lets running jobs end", "environ"),
    ("check_misnamed_backend", "results-misnamed", "The result backend has its right name", "settings"),
    ("check_missing_backend", "results-missing", "Nothing wants results without a place for them", "settings"),
    ("check_endless_results", "results-endless", "Results expire", "settings endless_results"),
    ("check_schedule_file", "schedule-broken", "The schedule can be read", "schedule"),
    ("check_unknown_tasks", "unknown-task", "Each task that is scheduled or routed is known", "schedule app"),
    ("check_broken_entries", "entry-broken", "Each entry of the app's own schedule is sent", "schedule"),
    ("check_arguments", "arguments", "Each entry gives its task arguments that it takes", "schedule"),
    ("check_workers_missing", "workers-missing", "Workers answer", "survey"),
    ("check_fanout_prefix", "fanout-prefix", "Remote control reaches the workers' channels", "settings"),
    ("check_unread_queues", "queue-unread", "Each queue that is used has a reader", "queues survey"),
    ("check_shared_queues", "queue-shared", "No queue is shared with another app", "waiting_tasks"),
    ("check_refused_queues", "queue-refused", "The broker takes the queues as they are declared", "refused_queues"),
    ("check_dead_letters", "dead-letters", "There are no dead letters", "dead_letters"),
    ("check_worker_names", "same-name", "No two workers have one name", "survey"),
    ("check_worker_versions", "versions-differ", "Workers run one version of Celery", "survey"),
    ("check_unpatched_pool", "pool-unpatched", "No green pool starts unpatched", "settings processes"),
    ("check_runs_as_root", "runs-as-root", "No worker and no beat runs as root", "processes"),
    ("check_secrets_in_command_lines", "secret-in-argv", "No command line has a password", "processes"),
    ("check_beat_missing", "beat-missing", "A beat runs where one is needed", "beats schedule"),
    ("check_beat_late", "beat-late", "No beat is late", "beats"),
    ("check_plain_beat", "beat-beside", "No plain beat runs beside ours", "processes beats"),
    ("check_failing_entries", "entry-failing", "No entry has paused itself", "beats"),
    ("check_shared_entries", "entry-shared", "No entry is that of two apps", "beats"),
    ("check_flask_context", "flask-context", "No job missed Flask's app context", "failed_jobs"),
    ("check_django_setup", "django-setup", "Django is set up before it is used", "app failed_jobs"),
    ("check_follow_list", "follows-broken", "The follow list can be read", "platforms"),
    ("check_unread_follow_list", "follows-waiting", "The follow list is in force", "platforms"),
    ("check_unresolved_follows", "follow-unresolved", "Each line of the follow list leads to somebody", "platforms"),
    ("check_overdue_streamers", "streamers-overdue", "Streamers are asked in time", "platforms"),
    ("check_missing_keys", "platform-key", "No platform lacks a key that it needs", "platforms"),
    ("check_refused_keys", "platform-auth", "No platform refuses its key", "platforms"),
    ("check_unset_secrets", "secret-unset", "Each secret of the settings is set", "own_settings"),
    ("check_misnamed_platforms", "platform-misnamed", "Each platform that the settings name is one", "own_settings"),
    ("check_unreached_platforms", "platform-unreached", "Each platform is reached", "platforms"),
    ("check_unread_lists", "list-unread", "Lists of who is live can be read", "platforms"),
    ("check_blocked_platforms", "platform-blocked", "No platform blocks us", "platforms"),
    ("check_waiting_platforms", "platform-waits", "No platform wants to be left alone", "platforms"),
    ("check_push", "push-silent", "Platforms that may tell of go-lives do", "platforms"),
    ("check_parsers", "parser-broken", "Each platform answers in a shape that is known", "platforms"),
    ("check_platforms_that_emptied", "platform-emptied", "No platform lost everybody at once", "platforms"),
    ("check_unread_streamers", "streamers-unread", "Each streamer could be read lately", "platforms"),
    ("check_failing_targets", "alerts-failing", "Alerts reach each target", "alerts"),
    ("check_watch_missing", "watch-missing", "A beat watches where targets listen to `job`", "beats"),
)
# part of the facts -> its name, and what was seen of it
PARTS: dict[str, tuple[str, Callable[[Facts], str]]] = {
    "rest": ("the rest", lambda facts: ""),
    "own_settings": ("livectl's settings", lambda facts: "livectl.yaml and the LIVECTL_* variables"),
    "environ": ("environment", lambda facts: format_count(len(facts.environ), "environment variable")),
    "app": ("app", lambda facts: f"{facts.app or 'livectl'}{f' ({facts.app_source})' if facts.app_source else ''} "
                                 f"with {format_count(len(facts.tasks), 'task')}"),
    "settings": ("settings", lambda facts: f"{format_count(len(facts.settings.written), 'name')} as written, "
                                           f"{format_count(len(facts.settings.origins), 'setting')} in force"),
    "servers": ("servers", lambda facts: ", ".join(f"{server.role} {server.address}" for server in facts.servers)
                                         or "none"),
    "redis": ("what Redis says of itself", lambda facts: ", ".join(f"{server.role} {server.address}"
                                                                for server in facts.servers if server.info)
                                                      or "none"),
    "schedule": ("schedule", lambda facts: format_count(len(facts.schedule), "entry", plural="entries")),
    "survey": ("workers", lambda facts: f"{format_count(len(facts.survey.workers), 'worker')} answered, "
                                        f"{facts.survey.silent} did not"),
    "queues": ("queues", lambda facts: format_count(len(facts.queues), "queue")),
    "delayed_messages": ("messages with an ETA", lambda facts: "messages in workers' hands"),
    "overdue_delays": ("overdue jobs", lambda facts: format_count(facts.overdue_delays.count, "overdue job")),
    "plus_messages": ("what celery-redis-plus keeps", lambda facts: format_count(sum(facts.plus_messages.values()),
                                                                                 "job")),
    "waiting_tasks": ("waiting tasks", lambda facts: format_count(len(facts.waiting_tasks), "queue")),
    "classic_queues": ("kinds of queues", lambda facts: "the app's own queues"),
    "rabbitmq": ("how RabbitMQ is used", lambda facts: "the settings of the app"),
    "refused_queues": ("declared queues", lambda facts: "the app's own queues"),
    "failed_jobs": ("failed jobs", lambda facts: f"{format_count(len(facts.failed_jobs), 'failed job')} "
                                                 "of the last day"),
    "endless_results": ("kept results", lambda facts: "a sample of the results"),
    "store_unfit": ("what is in the store", lambda facts: "its version and its shards"),
    "beats": ("beats", lambda facts: format_count(len(facts.beats.names), "beat")),
    "dead_letters": ("dead letters", lambda facts: format_count(facts.dead_letters.count, "dead letter")),
    "processes": ("processes", lambda facts: f"{format_count(len(facts.processes), 'process', plural='processes')} "
                                             "here"),
    "platforms": ("streamers and platforms", lambda facts: _platforms_evidence(facts.platforms)),
    "alerts": ("alerts", lambda facts: format_count(facts.alerts.targets, "target")),
}
# fmt: on
NOT_LOOKED_AT = "not-looked-at"
INDENT = " " * 6

LEVEL_ORDER = {"bad": 0, "warn": 1, "ok": 2}


def run_checks(facts: Facts, *, ignore: Collection[str] = (), include_ok: bool = False) -> list[Finding]:
    """The findings, the worst first, without secrets in what they quote; `ignore` are ids to leave out."""
    findings: list[Finding] = []
    for check in CHECKS:
        findings += list(check(facts)) or _well(check, facts)
    selected = [finding for finding in findings if finding.id not in ignore and (include_ok or finding.level != "ok")]
    reported = set() if include_ok else {finding.id for finding in selected}
    if NOT_LOOKED_AT not in ignore:
        selected += _not_looked_at(
            {part: gap for part, gap in facts.gaps.items() if not reported & set(gap.reported_by)}
        )
    shown = [msgspec.structs.replace(finding, evidence=hide_secrets(finding.evidence)) for finding in selected]
    return sorted(shown, key=lambda finding: LEVEL_ORDER[finding.level])


def findings_view(findings: Sequence[Finding], facts: Facts) -> View:
    return View([_finding_json(finding) for finding in findings], lambda: _render_findings(findings, facts))


def _well(check: Check, facts: Facts) -> list[Finding]:
    """What a check looked at and found well; nothing of what it could not look at."""
    note = NOTES.get(check.__name__)
    if note is None or not note.parts:
        return []
    comes_first = note.parts == ("own_settings",) and not facts.settings_error  # looked at whatever fails after it
    if not {*note.parts, *(() if comes_first else ("rest",))}.isdisjoint(facts.gaps):
        return []
    missing = [facts.not_applicable[part] for part in note.parts if part in facts.not_applicable]
    if missing:
        return [Finding(id=note.id, level="ok", title=f"Not looked at: {note.id}", evidence=missing[0])]
    return [Finding(id=note.id, level="ok", title=note.well, evidence=_evidence(note.parts, facts))]


def _evidence(parts: Sequence[str], facts: Facts) -> str:
    return "; ".join(filter(None, (PARTS[part][1](facts) for part in parts)))


def _not_looked_at(gaps: Mapping[str, Gap]) -> list[Finding]:
    """One finding about everything that could not be looked at."""
    if not gaps:
        return []
    return [
        Finding(
            id="not-looked-at",
            level="warn",
            title="Not everything could be looked at",
            evidence=_gap_lines(gaps),
            cure="Whether these are well is not known: run it again, or see to the reason.",
        )
    ]


def _gap_lines(gaps: Mapping[str, Gap]) -> str:
    """Each reason once, and what it kept from being looked at."""
    by_reason: dict[str, list[str]] = {}
    for part, gap in gaps.items():
        by_reason.setdefault(gap.reason, []).append(PARTS[part][0])
    return "\n".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())


def _platforms_evidence(platforms: PlatformFacts) -> str:
    names = ", ".join(health.platform for health in platforms.health)
    streamers = f"{format_count(platforms.followed, 'streamer')}{f' on {names}' if names else ''}"
    lines = format_count(len(platforms.unresolved) + platforms.more_unresolved, "line")
    waiting = f", {platforms.waiting} not taken over yet" if platforms.waiting else ""
    return f"{streamers}{waiting}, {lines} that lead to nobody"


def settings_view(facts: Facts) -> View:
    """Every Celery setting that is not a default: its value and where it comes from."""
    from livectl.redaction import redact
    from livectl.render import table

    rows = [
        {"setting": key, "value": _value_text(redact({key: facts.setting(key)})[key]), "origin": origin}
        for key, origin in sorted(facts.settings.origins.items())
    ]
    if facts.app_source:
        rows.insert(0, {"setting": "app", "value": facts.app or "", "origin": facts.app_source})
    cells = [(row["setting"], row["value"], row["origin"]) for row in rows]
    return table(
        ("setting", "value", Column("origin", rank=1)), cells, rows, empty="Every setting is Celery's default."
    )


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "level": finding.level,
        "title": finding.title,
        "evidence": finding.evidence,
        "cure": finding.cure,
        "link": finding.link,
    }


def _render_findings(findings: Sequence[Finding], facts: Facts) -> Renderable:
    if findings:
        return Stack(*(part for finding in findings for part in _finding_parts(finding)))
    if not facts.gaps:
        return Paragraph("Nothing is wrong.")
    return Paragraph(f"Nothing is wrong with what was looked at. Not looked at:\n{_gap_lines(facts.gaps)}")


def _finding_parts(finding: Finding) -> list[Renderable]:
    """Its lines, below the word of its level; an address or a command's word is never broken."""
    title = f"{finding.title}  [{finding.id}]"
    lines = [*finding.evidence.splitlines(), *([f"-> {finding.cure}"] if finding.cure else [])]
    link = [f"{INDENT}{finding.more}"] if finding.level != "ok" else []
    level = f"{finding.level:<{len(INDENT)}}"
    return [
        Paragraph(title, label=level, label_colour=STATE_COLOURS[finding.level]),
        *(Paragraph(line, label=INDENT, hanging="  ") for line in lines),
        *link,
    ]


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
