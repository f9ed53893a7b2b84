"""Collects the facts of an app and machine: settings and tasks first, then servers, then what is asked through them.

Each question to a server has a thread of its own. All must be answered within one time, and none can stop another.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from livectl import celeryapp
from livectl.doctor import collect_app, collect_servers, collect_state, collect_streamers
from livectl.doctor.checks_servers import ROLE_NAMES
from livectl.doctor.facts import Facts, Gap, ServerFacts, ServerRole
from livectl.errors import LivectlError, SecretUnsetError, ServerError, SettingsError
from livectl.ops import apps, deployment, scheduler
from livectl.ops.beat.views import ScheduleSnapshot, read_snapshot
from livectl.ops.processes import launch, running_settings
from livectl.ops.schedules.options import KnownTasks
from livectl.redaction import redact_text
from livectl.secret import UnsetAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.settings import Settings


T = TypeVar("T")
S = TypeVar("S")

SERVER_TIMEOUT_S = 3.5  # for all servers to say whether they are there
QUERY_TIMEOUT_S = 5.0  # for everything that is asked through them
MAX_APP_ERROR_CHARS = 1000
# What is asked through which server.
ASKED_THROUGH: dict[ServerRole, tuple[str, ...]] = {
    "broker": (
        "survey",
        "queues",
        "delayed_messages",
        "overdue_delays",
        "plus_messages",
        "waiting_tasks",
        "refused_queues",
        "classic_queues",
    ),
    "results": (
        "failed_jobs",
        "endless_results",
    ),  # without results, failed jobs are those of the log in the store
    "store": ("store_unfit", "beats", "dead_letters", "platforms", "alerts"),
}
APP_GAP = Gap("the app cannot be loaded", ("app-broken", "settings-mixed", "django-setup"))
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


def collect_facts(name: str | None, load: Callable[[], Settings], environ: Mapping[str, str], cwd: Path) -> Facts:
    """All that can be learned of the app that -A names, or of livectl's own. What is wrong with it is a fact too."""
    facts = Facts(app=name, now=time.time(), environ=dict(environ), in_container=in_container(environ))
    try:
        settings = load()
    except SettingsError as error:
        return msgspec.structs.replace(
            facts, settings_error=_error_text(error), gaps={"rest": Gap("livectl.yaml is broken", ("settings-broken",))}
        )
    facts = msgspec.structs.replace(
        facts,
        unset_secrets=tuple(settings.describe_unset()),
        misnamed_platforms=tuple(collect_streamers.find_misnamed(settings)),
        job_targets=settings.job_targets,
        needs_restart=tuple(running_settings.describe_outdated(settings, cwd, own=name is None)),
    )
    try:
        app = apps.load(name, cwd, read_settings=False) if name else celeryapp.create_app(settings)
        tasks = KnownTasks(apps.load_tasks(app, cwd), settings.tasks)
        app_settings = collect_app.read_settings(app, environ)
    except ServerError as error:  # livectl's own app, which has no broker
        broker = ServerFacts(role="broker", address="", error=error.message, cure=error.hint, is_away=True)
        return msgspec.structs.replace(
            facts, servers=(broker,), gaps={"rest": Gap("there is no broker", ("broker-unreachable",))}
        )
    except SecretUnsetError:  # of an address of livectl's own app
        return msgspec.structs.replace(facts, gaps={"rest": Gap("an address is not set here", ("secret-unset",))})
    except Exception as error:  # also Celery's own, about settings that it cannot read
        app_error, hint = _describe_app_error(error, name, cwd)
        return msgspec.structs.replace(facts, app_error=app_error, app_hint=hint, gaps={"rest": APP_GAP})
    facts = msgspec.structs.replace(
        facts,
        settings=app_settings,
        tasks=collect_app.list_tasks(app, tasks),
        task_entries=tuple(settings.tasks),
        routes=collect_app.list_routes(app),
        rabbitmq=collect_app.read_rabbitmq(app),
        why_stock=collect_app.why_stock(app, settings),
        takes_by_plus=collect_app.takes_by_plus(app),
        platform_queues={} if facts.app else settings.platform_queues,
    )
    facts = msgspec.structs.replace(facts, task_queues=collect_app.find_task_queues(app, facts.tasks))
    return _add_servers(_add_schedule(facts, app, tasks, settings), app, settings, cwd)


def _add_schedule(facts: Facts, app: Any, tasks: Mapping[str, Any], settings: Settings) -> Facts:
    try:
        apps.find_zone(app)
    except SettingsError as error:
        return msgspec.structs.replace(facts, timezone_error=_error_text(error))
    try:
        snapshot = _read_schedule(facts.app, app, settings)
    except SettingsError as error:
        gap = Gap("the schedule file is broken", ("schedule-broken",))
        return msgspec.structs.replace(facts, schedule_error=_error_text(error), gaps={"schedule": gap})
    enabled = tuple(entry for entry in snapshot.schedules if entry.enabled)
    return msgspec.structs.replace(
        facts,
        schedule=enabled,
        broken_entries={entry.name: entry.problem for entry in snapshot.app_entries if entry.problem},
        argument_errors=collect_app.find_argument_errors(enabled, tasks),
        destinations=collect_app.find_destinations(app, enabled),
    )


def _read_schedule(name: str | None, app: Any, settings: Settings) -> ScheduleSnapshot:
    """The schedule file, and the app's own schedule; the file may be missing where the settings do not name it."""
    path = settings.schedules
    optional = settings.sources.get("schedules") == "default" and not path.exists()
    if optional and not name:
        return ScheduleSnapshot(())
    return read_snapshot(path, name=path.name, app=app if name else None, optional=optional)


def _add_servers(facts: Facts, app: Any, settings: Settings, cwd: Path) -> Facts:
    app_deployment = deployment.from_app(app, settings)
    if not facts.app:
        app_deployment = msgspec.structs.replace(deployment.own_deployment(settings), app=app)
    store, store_missing = _find_store(app, app_deployment, settings)
    if isinstance(cast("Any", store), UnsetAddress):  # it stands for an address
        gap = Gap("the store's address is not set here", ("secret-unset",))
        facts = msgspec.structs.replace(facts, gaps=facts.gaps | dict.fromkeys(ASKED_THROUGH["store"], gap))
        store, app_deployment = None, msgspec.structs.replace(app_deployment, store=None)
    facts = msgspec.structs.replace(
        facts,
        servers=_read_servers(app, app_deployment, store),
        store_missing=store_missing,
        visibility_timeout=app_deployment.layout.visibility_timeout if app_deployment.on_redis else None,
        counts_consumers=app_deployment.on_rabbitmq,
    )
    return _add_state(facts, app_deployment, store, settings, cwd)


def _add_state(facts: Facts, app_deployment: Deployment, store: Address | None, settings: Settings, cwd: Path) -> Facts:
    """Asks everything that is asked through a server; nothing through a server that is not there."""
    addresses: dict[ServerRole, Address | None] = {
        "broker": app_deployment.broker,
        "results": app_deployment.results,
        "store": store,
    }
    unusable = {role for role, address in addresses.items() if _is_unusable(role, address, facts)}
    deadline = time.monotonic() + QUERY_TIMEOUT_S
    queries = {
        "processes": Query(partial(collect_app.list_processes, facts.app or launch.OWN_APP, cwd), facts.processes),
        **_broker_queries(facts, app_deployment if "broker" not in unusable else None),
        **_result_queries(facts, app_deployment, store, unusable),
        **_store_queries(facts, app_deployment, store if "store" not in unusable else None, settings),
    }
    if app_deployment.store is None and app_deployment.on_rabbitmq and "broker" not in unusable:
        ask = partial(collect_state.read_dead_letters, app_deployment, None)
        queries["dead_letters"] = Query(ask, facts.dead_letters)
    answers = {part: query.result(deadline) for part, query in queries.items()}
    facts = msgspec.structs.replace(facts, **answers)
    reported_by = _findings_about_servers(facts)
    failed = {part: Gap(query.problem, reported_by) for part, query in queries.items() if query.problem}
    return _note_unasked(msgspec.structs.replace(facts, gaps=facts.gaps | failed), app_deployment, unusable)


def _broker_queries(facts: Facts, broker: Deployment | None) -> dict[str, Query[Any]]:
    ask = partial(_question, broker)
    return {
        "survey": Query(ask(collect_state.survey_workers), facts.survey),
        "queues": Query(ask(collect_state.read_queues), facts.queues),
        "delayed_messages": Query(ask(collect_state.find_delayed_messages), facts.delayed_messages),
        "overdue_delays": Query(ask(collect_state.find_overdue_delays), facts.overdue_delays),
        "plus_messages": Query(ask(collect_state.count_plus_messages), facts.plus_messages),
        "waiting_tasks": Query(ask(collect_state.find_waiting_tasks), facts.waiting_tasks),
        "refused_queues": Query(ask(lambda there: collect_state.find_refused_queues(there.app)), facts.refused_queues),
        "classic_queues": Query(ask(lambda there: collect_state.find_classic_queues(there.app)), facts.classic_queues),
    }


def _result_queries(
    facts: Facts, app_deployment: Deployment, store: Address | None, unusable: set[ServerRole]
) -> dict[str, Query[Any]]:
    """Jobs that failed are in the job log as well, which the store has."""
    kept_in: ServerRole = "results" if app_deployment.keeps_results else "store"
    with_log = msgspec.structs.replace(app_deployment, store=store) if store and kept_in == "store" else app_deployment
    has_jobs = kept_in not in unusable and (kept_in == "results" or store is not None)
    has_results = app_deployment.keeps_results and "results" not in unusable
    failed_jobs = _question(with_log if has_jobs else None, collect_state.find_failed_jobs)
    endless_results = _question(app_deployment if has_results else None, collect_state.find_endless_results)
    return {
        "failed_jobs": Query(failed_jobs, facts.failed_jobs),
        "endless_results": Query(endless_results, facts.endless_results),
    }


def _store_queries(
    facts: Facts, app_deployment: Deployment, store: Address | None, settings: Settings
) -> dict[str, Query[Any]]:
    ask = partial(_question, store)
    own_store = store if not facts.app else None  # streamers are livectl's own
    told_store = store if settings.alerts else None  # beats of any app tell what they watch
    read_alerts = _question(told_store, lambda there: collect_streamers.read_alerts(there, settings))
    read_platforms = _question(own_store, lambda there: collect_streamers.read_platforms(there, settings, facts.now))
    read_fitness = _question(own_store, lambda there: collect_streamers.read_fitness(there, settings))
    return {
        "store_unfit": Query(read_fitness, facts.store_unfit),
        "beats": Query(ask(collect_state.read_beats), facts.beats),
        "dead_letters": Query(ask(partial(collect_state.read_dead_letters, app_deployment)), facts.dead_letters),
        "platforms": Query(read_platforms, facts.platforms),
        "alerts": Query(read_alerts, facts.alerts),
    }


def _question(there: S | None, ask: Callable[[S], T]) -> Callable[[], T] | None:
    """The question to what is there; None where nothing is."""
    return None if there is None else partial(ask, there)


def _note_unasked(facts: Facts, app_deployment: Deployment, unusable: set[ServerRole]) -> Facts:
    """Notes what could not be asked and why, and what there is nothing to ask of."""
    not_applicable = _find_not_applicable(facts, app_deployment)
    reported_by, gaps = _findings_about_servers(facts), dict(facts.gaps)
    for role, parts in ASKED_THROUGH.items():
        if role in unusable:
            gaps |= {part: Gap(f"the {ROLE_NAMES[role]} cannot be used", reported_by) for part in parts}
    if "store" in unusable and not app_deployment.keeps_results:
        gaps["failed_jobs"] = gaps["beats"]
    if facts.store_missing and facts.schedule:
        gap = Gap(facts.store_missing, ("store-missing",))
        kept_elsewhere = {"dead_letters"} if app_deployment.on_rabbitmq else set()
        gaps |= dict.fromkeys({*ASKED_THROUGH["store"]} - kept_elsewhere, gap)
    if not facts.survey.workers and facts.counts_consumers and any(queue.consumers for queue in facts.queues):
        gaps["survey"] = Gap("the broker says that somebody reads the queues, and nobody answered")
    if facts.survey.silent:
        gaps["survey"] = Gap(f"{facts.survey.silent} of them heard the question and did not answer")
    gaps = {part: gap for part, gap in gaps.items() if part == "survey" or part not in not_applicable}
    return msgspec.structs.replace(facts, gaps=gaps, not_applicable=not_applicable)


def _find_not_applicable(facts: Facts, app_deployment: Deployment) -> dict[str, str]:
    """What this app has not, and why."""
    reasons = {
        "delayed_messages": "" if app_deployment.redis_broker else "only a Redis has a visibility timeout",
        "overdue_delays": "" if app_deployment.redis_broker else "only a Redis is a store for what waits for its time",
        "plus_messages": "" if app_deployment.redis_broker else "celery-redis-plus is for a Redis",
        "waiting_tasks": "" if app_deployment.redis_broker else "only a Redis lets anybody look",
        "refused_queues": "only RabbitMQ refuses what is declared otherwise" if app_deployment.redis_broker else "",
        "classic_queues": "" if app_deployment.on_rabbitmq else "only RabbitMQ has kinds of queues",
        "rabbitmq": "" if facts.rabbitmq else "the app is not on RabbitMQ",
        "redis": "" if any(server.info for server in facts.servers) else "no server here tells it of itself",
        "survey": ""
        if facts.survey.workers
        else "no worker answered"
        if facts.survey.asked
        else "its workers take no remote control",
        **dict.fromkeys(
            ("platforms", "store_unfit"), "streamers are those of livectl's own app, without -A" if facts.app else ""
        ),
    }
    if not app_deployment.keeps_results:
        reasons["endless_results"] = "this app keeps no results"
        if facts.store_missing:
            reasons["failed_jobs"] = "this app keeps no results, and there is no store for notes of its jobs"
    if facts.store_missing and not facts.schedule:
        reasons |= {"beats": facts.store_missing}
        if not app_deployment.on_rabbitmq:  # which keeps them itself
            reasons |= {"dead_letters": facts.store_missing}
    return {part: reason for part, reason in reasons.items() if reason}


def _findings_about_servers(facts: Facts) -> tuple[str, ...]:
    """The findings that say that a server cannot be used."""
    unfit = ("store-unfit",) if facts.store_unfit.problem else ()
    ids = tuple(f"{server.role}-unreachable" for server in facts.servers if server.error)
    return (*unfit, *ids, "localhost-in-container") if ids else unfit


class Query(Generic[T]):
    """A question asked in a thread of its own. Its default stands for an answer that fails or comes too late.

    `problem` then says why. Without a question to ask, the default is the answer.
    """

    def __init__(self, ask: Callable[[], T] | None, default: T) -> None:
        self.problem = ""
        self._result = default
        self._thread = threading.Thread(target=self._run, args=(ask,), daemon=True)
        if ask:
            self._thread.start()

    def result(self, deadline: float) -> T:
        """Waits for the answer until this time of the monotonic clock."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            if self._thread.is_alive():
                self.problem = "no answer in time"
        return self._result

    def _run(self, ask: Callable[[], T]) -> None:
        try:
            self._result = ask()
        except LivectlError as error:
            self.problem = error.message
        except Exception as error:
            self.problem = redact_text(f"{type(error).__name__}: {error}", MAX_APP_ERROR_CHARS)


def _find_store(app: Any, app_deployment: Deployment, settings: Settings) -> tuple[Address | None, str]:
    """The store for claims, pauses and dead letters, or why there is none."""
    if app_deployment.app is None or settings.store:
        return app_deployment.store, ""
    with suppress(SettingsError):
        return scheduler.store_address(settings, app), ""
    limitation = "keeps messages only" if app_deployment.broker else "is not one that livectl can keep things in"
    return None, f"the broker ({app_deployment.transport}) {limitation}"


def _read_servers(app: Any, app_deployment: Deployment, store: Address | None) -> tuple[ServerFacts, ...]:
    """Each address once, in the first of its roles."""
    deadline = time.monotonic() + SERVER_TIMEOUT_S
    servers = [query.result(deadline) for query in list(_server_queries(app, app_deployment, store))]
    return tuple(server for server in servers if server is not None)


def _server_queries(app: Any, app_deployment: Deployment, store: Address | None) -> Iterator[Query[ServerFacts | None]]:
    broker, results = app_deployment.broker, app_deployment.results
    if unusable_broker := collect_servers.read_broker_without_transport(app):
        yield Query(None, unusable_broker)
    elif broker is None:
        yield Query(partial(collect_servers.read_kombu_broker, app), _timed_out("broker", app_deployment.transport))
    else:
        yield _server_query("broker", broker)
    if store is not None and store != broker:
        yield _server_query("store", store, same_as=broker)
    if results is not None and results not in {broker, store}:
        yield _server_query("results", results, same_as=broker if _is_same_server(results, broker) else store)
    elif results is None and app_deployment.keeps_results:
        masked = redact_text(str(app.conf.result_backend))
        yield Query(partial(collect_servers.read_result_backend, app), _timed_out("results", masked))


def _server_query(role: ServerRole, address: Address, same_as: Address | None = None) -> Query[ServerFacts | None]:
    """Of a server that has another role already, only whether this login and database can be used."""
    login_only = _is_same_server(address, same_as)
    ask = partial(collect_servers.read_server, role, address, login_only=login_only)
    return Query(ask, _timed_out(role, address.masked))


def _is_unusable(role: ServerRole, address: Address | None, facts: Facts) -> bool:
    masked = address.masked if address else ""
    return any(server.error and (server.role == role or server.address == masked) for server in facts.servers)


def _timed_out(role: ServerRole, masked: str) -> ServerFacts:
    return ServerFacts(role=role, address=masked, error=f"no answer from {masked} in time")


def _is_same_server(address: Address, other: Address | None) -> bool:
    return other is not None and (address.host, address.port, address.path) == (other.host, other.port, other.path)


def _describe_app_error(error: Exception, name: str | None, cwd: Path) -> tuple[str, str]:
    """Why the app cannot be loaded, and the cure: as every command says it."""
    if name and apps.MIXED_NAMES_ERROR in str(error.__cause__ or error):
        try:
            apps.load(name, cwd)
        except LivectlError as placed:  # says the file and line as well
            error = placed
    if isinstance(error, LivectlError):
        return error.message, error.hint
    return redact_text(str(error).strip(), MAX_APP_ERROR_CHARS), ""


def _error_text(error: LivectlError) -> str:
    return f"{error.message}\n{error.hint}".strip()


def in_container(environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ or any(path.exists() for path in CONTAINER_FILES)
