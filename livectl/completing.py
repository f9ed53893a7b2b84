"""Completes the words of a command line that only the files and the store know: streamers, schedules, queues, ids.

A shell waits at every press of Tab, so each list is there within a blink or not at all: nothing is started, no worker
is asked, Celery is not imported, and whatever goes wrong is kept quiet.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Any

from livectl.context import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import click
    from click.shell_completion import CompletionItem

    from livectl.models import Streamer
    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection
    from livectl.settings import Settings

TIME_LIMIT_S = 1.0  # for all of it, on a busy machine; a host name that nobody resolves would take five
SERVER_TIMEOUT_S = 0.1
MAX_JOBS = 50  # ids that are offered
OWN_TASK_NAMES = ("check", "deliver", "digest", "learn", "list", "ping", "prune", "report", "sweep")
OWN_TASKS = tuple(f"livectl.{name}" for name in OWN_TASK_NAMES)


class Lists:
    """What one command line may be completed with: words, and what shells that can say of each.

    Of a long list only such are looked for as may fit what is begun.
    """

    def __init__(self, context: CommandContext, begun: str = "") -> None:
        self._context = context
        self._begun = begun

    def streamers(self) -> dict[str, str]:
        platform, _, streamer_id = self._begun.rpartition("/")
        followed = self._followed(streamer_id or platform)
        return {f"{streamer.platform}/{streamer.id}": streamer.name for streamer in followed}

    def tags(self) -> dict[str, str]:
        followed = self._followed(self._begun or "tags")
        return dict.fromkeys(sorted({tag for streamer in followed for tag in streamer.tags}), "")

    def _followed(self, word: str) -> Iterable[Streamer]:
        """Everybody on the list; of a long one those of whom something begins with this word."""
        from livectl.live.follows import follow_list, near

        path = self._settings.follows
        return near.find(path, word) if follow_list.is_long(path) else follow_list.load(path).streamers

    def platforms(self) -> dict[str, str]:
        from livectl.live import platforms

        return dict.fromkeys(platforms.names(), "")

    def schedules(self) -> dict[str, str]:
        """Those of the file; those that running beats have where there is none, or an app has a schedule of its own."""
        names = self._schedules_of_file()
        if names and self._context.app is None:
            return names
        with suppress(Exception):
            names |= {schedule.name: schedule.task for schedule in self._schedules_of_beats()}
            names |= dict.fromkeys(self._schedules_of_store(), "in the store")
        return names

    def targets(self) -> dict[str, str]:
        return {name: " ".join(target.on) for name, target in self._settings.alerts.items()}

    def workers(self) -> dict[str, str]:
        """Those that have opened their box for remote control, by the short name where it is no other's."""
        names = self._control_boxes()
        short_names = [name.partition("@")[0] for name in names]
        return {
            short if short_names.count(short) == 1 else name: name
            for name, short in zip(names, short_names, strict=True)
        }

    def nodes(self) -> dict[str, str]:
        return dict.fromkeys(self._control_boxes(), "")

    def queues(self) -> dict[str, str]:
        from livectl.ops.protocol import keys

        deployment = self._deployment
        with suppress(Exception), self._connection(deployment.redis_broker) as connection:
            return dict.fromkeys(keys.list_queues(connection, deployment.layout, reserve_s=0.0), "")
        return dict.fromkeys(deployment.layout.queues, "")

    def tasks(self) -> dict[str, str]:
        """Those that the schedules name, those of jobs that ran lately, and livectl's own."""
        names = set(OWN_TASKS) if self._context.app is None else set()
        names |= set(self._schedules_of_file().values())
        with suppress(Exception):
            names |= {task for task, _ in self._recent_jobs().values()}
        return dict.fromkeys(sorted(filter(None, names)), "")

    def jobs(self) -> dict[str, str]:
        """The jobs of the last hour, the newest first."""
        return {job_id: task for job_id, (task, _) in self._recent_jobs().items()}

    def dead_letters(self) -> dict[str, str]:
        from livectl.ops.jobs.dead_letters import DEAD_LETTERS_KEY

        with self._connection(self._deployment.store) as connection:
            return {key.decode(): "" for key in connection.execute("HKEYS", DEAD_LETTERS_KEY)}

    def topics(self) -> dict[str, str]:
        """The pages of the documents, with what each is for."""
        from livectl import documents

        index = documents.read(documents.INDEX, documents.reader_language(self._context.environ))
        about = {entry.topic: entry.about for entry in documents.entries(index)} if index else {}
        return {topic: about.get(topic, "") for topic in documents.topics()}

    def zones(self) -> dict[str, str]:
        from zoneinfo import available_timezones

        return dict.fromkeys(sorted(available_timezones()), "")

    def background(self) -> dict[str, str]:
        """What was started with --detach, and the workers of `up`."""
        run = self._context.home / "run"
        return {path.stem: "" for path in sorted((*run.glob("*.json"), *(run / "members").glob("worker-*.json")))}

    @cached_property
    def _settings(self) -> Settings:
        from livectl import settings

        context = self._context
        return settings.load_usable(context.environ, context.cwd, file=context.config)

    @cached_property
    def _deployment(self) -> Deployment:
        """The servers that settings or environment name, for an app of `-A` as well: it is not imported."""
        from livectl.ops import deployment

        context, settings = self._context, self._settings
        if context.app and not (settings.broker or context.environ.get("CELERY_BROKER_URL")):
            raise LookupError("only the app knows its broker")
        return deployment.find_without_import(context.app, settings, context.environ, context.cwd)

    @contextmanager
    def _connection(self, address: Any) -> Iterator[RedisConnection]:
        from livectl import redis_client

        if address is None:
            raise LookupError("there is none")
        with redis_client.connect(address, SERVER_TIMEOUT_S, trial_write=False) as connection:
            yield connection

    def _schedules_of_file(self) -> dict[str, str]:
        from livectl.ops.schedules import schedule_file

        with suppress(Exception):
            return {schedule.name: schedule.task for schedule in schedule_file.load(self._settings.schedules).schedules}
        return {}

    def _schedules_of_beats(self) -> Iterable[Any]:
        from livectl.ops.beat import heartbeats

        with self._connection(self._deployment.store) as connection:
            loaded = heartbeats.read_loaded_schedules(connection)
        return [schedule for beat in loaded.values() for schedule in beat.schedules]

    def _schedules_of_store(self) -> list[str]:
        from livectl.ops.beat import run_store

        with self._connection(self._deployment.store) as connection:
            return [name.decode() for name in connection.execute("HKEYS", run_store.ENTRIES_KEY)]

    def _control_boxes(self) -> list[str]:
        deployment = self._deployment
        layout = deployment.layout
        with self._connection(deployment.redis_broker) as connection:
            bindings = connection.execute("SMEMBERS", layout.bindings_key(layout.control_exchange))
        ending = f".{layout.control_exchange}"
        boxes = [queue for _, queue in map(layout.split_binding, bindings)]
        return sorted(box.removesuffix(ending) for box in boxes if box.endswith(ending))

    def _recent_jobs(self) -> dict[str, tuple[str, float]]:
        """Job -> its task, and when it was heard of last; the newest first."""
        from livectl.ops.jobs.history import JobHistory

        with self._connection(self._deployment.store) as connection:
            jobs = JobHistory.over(connection).recent(MAX_JOBS)
        return {job.id: (job.task, moment.timestamp()) for job in jobs if (moment := job.heard_of)}


def complete(name: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What a parameter calls to be completed from the list of this name."""

    def to_items(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        context = ctx.find_object(CommandContext)
        words = _read_in_time(getattr(Lists(context, begun), name)) if context else {}
        given = {word for value in ctx.params.values() if isinstance(value, tuple) for word in value}
        left = {word: about for word, about in words.items() if word not in given}
        fitting = [word for word in left if word.startswith(begun)] or [
            word for word, about in left.items() if _is_meant(begun, word, about)
        ]
        return [CompletionItem(word, help=left[word] or None) for word in fitting]

    return to_items


def complete_command(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The commands below those that stand there already."""
    from click.shell_completion import CompletionItem

    found = ctx.find_root()
    for word in ctx.params.get(parameter.name or "") or ():
        command = found.command.get_command(found, word) if hasattr(found.command, "get_command") else None
        if command is None:
            return []
        found = type(ctx)(command, parent=found, info_name=word)
    names = found.command.list_commands(found) if hasattr(found.command, "list_commands") else []
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def complete_section(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The sections of the page that is named before."""
    from click.shell_completion import CompletionItem

    from livectl import documents

    page = documents.read(ctx.params.get("topic") or "", documents.ENGLISH)
    sections = page.sections() if page else {}
    return [CompletionItem(name) for name in sections if name.startswith(begun)]


def _is_meant(begun: str, word: str, about: str) -> bool:
    """Whether it begins what stands behind the slash, or what is said of the word."""
    return any(part.lower().startswith(begun.lower()) for part in (word.partition("/")[2], about) if part)


def _read_in_time(read: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What there is within the time limit; nothing when it fails."""
    found: dict[str, str] = {}

    def run() -> None:
        with suppress(Exception):
            found.update(read())

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(TIME_LIMIT_S)
    return {} if thread.is_alive() else found
