"""Makes the changes that a page or a program asks for: each by what its command does, and noted in the audit log."""

from __future__ import annotations

import logging
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from livectl import audit
from livectl.audit import AuditEntry
from livectl.errors import LivectlError, SettingsError, UnfinishedError, UsageError
from livectl.models import Schedule, Streamer
from livectl.redaction import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from livectl.address import Address
    from livectl.live.follows.edit import FollowEdit, FollowFile
    from livectl.models import Finding
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.sender import JobSender
    from livectl.settings import Settings
    from livectl.web.access import Visitor
    from livectl.web.data import PageData
    from livectl.web.job_data import JobReadings

    Fields = Mapping[str, Any]  # of a form, or of a program's JSON

ENTRY_CHANGES = {"add", "set", "remove"}  # of the schedules that live in the store
MAX_STREAMERS = 100  # followed by one change
MAX_TAGS, MAX_TAG_CHARS = 20, 40
MAX_TEXT_CHARS = 200  # of any other field
MAX_SLOW_CHANGES = 2  # of the threads that answer: nobody's slow server holds up the page

log = logging.getLogger(__name__)


class PageTools(NamedTuple):
    """What changes are made with; who serves the page in an app of their own has none."""

    settings: Callable[[], Settings]
    load_app: Callable[[], tuple[Any, Mapping[str, Any]]]  # the Celery app that sends, and its tasks
    examine: Callable[[], Sequence[Finding]]  # lets doctor look


class Outcome(NamedTuple):
    """What came of a change: the key of the sentence that says so, what it names, and the same for programs."""

    key: str
    words: dict[str, Any]
    data: dict[str, Any]
    outcome: Literal["done", "nothing", "failed"] = "done"


class Changes:
    """Changes that a visitor may ask for, by the names that forms, addresses and the audit log have for them."""

    def __init__(self, page_data: PageData, readings: JobReadings, tools: PageTools) -> None:
        self._page_data = page_data
        self._readings = readings
        self._tools = tools
        self._app_lock = threading.Lock()  # an app is loaded once
        self._slow = threading.BoundedSemaphore(MAX_SLOW_CHANGES)
        self._makers: dict[str, Callable[[Fields], Outcome]] = {
            "follow": self._follow,
            "unfollow": self._unfollow,
            "tags": self._tag,
            "test": self._slowly(self._test),
            "retry": self._slowly(self._retry),
            "revoke": self._slowly(self._revoke),
            "resend": self._slowly(self._resend),
            "drop": self._slowly(self._drop),
            "pause": self._pause,
            "resume": self._resume,
            "run": self._slowly(self._run),
            "add": self._add,
            "set": self._set,
            "remove": self._remove,
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Those with an address of their own name: schedules are added and removed at one address for all."""
        return tuple(name for name in self._makers if name not in ENTRY_CHANGES)

    def make(
        self, change: str, fields: Fields, visitor: Visitor, by: Literal["page", "api"], say: Callable[[Outcome], str]
    ) -> tuple[Outcome, str]:
        """Makes a change, and notes it with what `say` makes of its outcome. Raises LivectlError as the command does.

        Nothing is changed while the store is away: then nothing could be noted.
        """
        store = self._page_data.source.read_deployment(lambda _, address: address)
        audit.check(store)
        subject = _subject(fields)
        try:
            outcome = self._makers[change](fields)
        except LivectlError as error:
            self._note(
                store, visitor, by, AuditEntry(change=change, subject=subject, outcome="failed", said=error.message)
            )
            raise
        said = say(outcome)
        self._note(store, visitor, by, AuditEntry(change=change, subject=subject, outcome=outcome.outcome, said=said))
        return outcome, said

    def _note(self, store: Address, visitor: Visitor, by: Literal["page", "api"], entry: AuditEntry) -> None:
        whole = msgspec.structs.replace(entry, role=visitor.role, token=visitor.name, address=visitor.address, by=by)
        try:
            audit.note(store, whole)
        except LivectlError as error:
            log.warning("not in the audit log, %s: %s %s by %s", error.message, entry.change, entry.subject, whole.who)

    def _slowly(self, maker: Callable[[Fields], Outcome]) -> Callable[[Fields], Outcome]:
        """The same for a change that asks servers or sites: so many at once, and no more."""

        def make(fields: Fields) -> Outcome:
            if not self._slow.acquire(blocking=False):
                raise UnfinishedError("other changes are being made", "Try again in a moment.")
            try:
                return maker(fields)
            finally:
                self._slow.release()

        return make

    # Streamers

    def _follow(self, fields: Fields) -> Outcome:
        from livectl.live.follows import follow_list

        addresses = _words(fields, "streamer")[:MAX_STREAMERS]
        if not addresses:
            raise UsageError("nobody is named", "Give the address of a page, or platform/id.")
        chosen: Fields = {"name": _text(fields, "name")} if _text(fields, "name") and len(addresses) == 1 else {}
        chosen = {**chosen, "tags": _tags(fields)} if _tags(fields) else chosen
        for address in addresses:  # says who may be meant
            follow_list.parse_argument(address, self._tools.settings().follows)
        edit = self._follow_file().add(follow_list.parse_streamer(address, chosen) for address in addresses)
        self._take_over(edit, followed=True)
        return _follow_outcome("follow", edit)

    def _unfollow(self, fields: Fields) -> Outcome:
        edit = self._follow_file().remove(self._find_listed(fields))
        self._take_over(edit, followed=False)
        return _follow_outcome("unfollow", edit)

    def _tag(self, fields: Fields) -> Outcome:
        edit = self._follow_file().set_tags(self._find_listed(fields)[0], _tags(fields))
        self._take_over(edit, followed=True)
        return _follow_outcome("tags", edit)

    def _find_listed(self, fields: Fields) -> list[Streamer]:
        """The entries of the list for somebody: by the id that their name led to, or by the words of a person."""
        from livectl.live.follows import follow_list

        path = self._tools.settings().follows
        if "id" in fields:
            named = Streamer(platform=_text(fields, "platform"), id=_text(fields, "id"))
        elif words := _text(fields, "streamer"):
            named = follow_list.parse_listed(words, path)
        else:
            raise UsageError("nobody is named", "Give the address of a page, or platform/id.")
        lines = follow_list.read_lines(path, path.name)
        found: dict[tuple[str, str], Streamer] = {}
        while some := list(islice(lines, follow_list.LINES_AT_ONCE)):
            listed = self._with_ids(line.streamer for line in some if isinstance(line.streamer, Streamer))
            found |= {entry.key: entry for entry, key in listed if named.key in {entry.key, key}}
        return list(found.values()) or [named]

    def _with_ids(self, streamers: Iterable[Streamer]) -> list[tuple[Streamer, tuple[str, str]]]:
        """Entries of the list, each with the platform and id that its name led to."""
        from livectl.live.follows import follow_list
        from livectl.live.store import Store

        entries = list(streamers)
        pairs = self._page_data.source.read(lambda client: follow_list.ids_by_platform(Store(client), entries))
        return [(entry, (platform, name)) for platform, found in pairs.items() for entry, name in found]

    def _follow_file(self) -> FollowFile:
        from livectl.live.follows.edit import FollowFile

        path = self._tools.settings().follows
        return FollowFile(path, path.name)

    def _take_over(self, edit: FollowEdit, *, followed: bool) -> None:
        keys = {key: entry for entry, found in self._with_ids(edit.changed) for key in (entry.key, found)}
        self._page_data.edits.note({key: entry if followed else None for key, entry in keys.items()})
        self._page_data.streamers.forget()

    # Alerts

    def _test(self, fields: Fields) -> Outcome:
        import time

        from livectl.live.alerts import targets

        settings = self._tools.settings()
        names = targets.select_targets(settings, _text(fields, "target") or None)
        outcomes = targets.send_samples(names, settings, time.time())
        data = [{"target": name, "sent": each.sent, "said": each.detail} for name, each in outcomes.items()]
        failed = {name: each.detail for name, each in outcomes.items() if not each.sent}
        if failed:
            name, detail = next(iter(failed.items()))
            return Outcome("said_test_failed", {"name": name, "why": detail}, {"targets": data}, "failed")
        return Outcome("said_test", {"name": ", ".join(names)}, {"targets": data})

    # Jobs

    def _retry(self, fields: Fields) -> Outcome:
        from livectl.ops.jobs import dead_letters, sender, wait

        deployment, job_id = self._deployment(), _required(fields, "id")
        letter = dead_letters.find_request_of_job(deployment, wait.check_job_id(job_id))
        request = letter or sender.rebuild_request(deployment, job_id)
        job_sender = self._job_sender(deployment)
        job_sender.validate(request)
        sent = job_sender.send(request)
        if letter:
            dead_letters.drop(deployment, [job_id])
        self._forget_jobs()
        data = {"id": sent.id, "task": sent.task, "queue": sent.queue}
        return Outcome("said_retry", {"task": sent.task, "id": sent.id}, data)

    def _revoke(self, fields: Fields) -> Outcome:
        from livectl.ops.jobs import sender, wait

        job_id = wait.check_job_id(_required(fields, "id"))
        terminate = str(fields.get("terminate", "")).lower() in {"1", "true"}
        (revoked,) = sender.revoke(self._deployment(), [job_id], terminate=terminate)
        self._forget_jobs()
        data = {"id": revoked.id, "state": str(revoked.state), "done": revoked.done, "text": revoked.text}
        outcome: Literal["done", "nothing"] = "nothing" if revoked.done == "nothing" else "done"
        return Outcome(f"said_revoke_{revoked.done}", {"id": revoked.id, "state": revoked.state}, data, outcome)

    # Dead letters

    def _resend(self, fields: Fields) -> Outcome:
        """Puts a message back, sends a job again, or tells an alert: by what kind of letter it is."""
        from livectl.ops.jobs import dead_letters

        deployment, letter_id = self._deployment(), _letter_id(fields)
        try:
            if (alert := dead_letters.find_alert(deployment, letter_id)) is not None:
                return self._tell_again(deployment, letter_id, alert)
            if request := dead_letters.find_request(deployment, letter_id):
                job_sender = self._job_sender(deployment)
                job_sender.validate(request)
                sent = job_sender.send(request)
                dead_letters.drop(deployment, [letter_id])
                data = {"id": letter_id, "job": sent.id, "queue": sent.queue}
                return Outcome("said_retry", {"task": sent.task, "id": sent.id}, data)
            queue = dead_letters.requeue(deployment, letter_id)
            return Outcome("said_resend", {"id": letter_id, "queue": queue}, {"id": letter_id, "queue": queue})
        finally:
            self._forget_jobs()

    def _tell_again(self, deployment: Deployment, letter_id: str, alert: Any) -> Outcome:
        from livectl.live.alerts import targets
        from livectl.ops.jobs import dead_letters

        ((name, told),) = targets.resend_alert(alert, self._tools.settings()).items()
        data = {"id": letter_id, "target": name, "said": told.detail}
        if not told.sent:
            return Outcome("said_tell_failed", {"name": name, "why": told.detail}, data, "failed")
        dead_letters.drop(deployment, [letter_id])
        return Outcome("said_tell", {"name": name}, data)

    def _drop(self, fields: Fields) -> Outcome:
        from livectl.ops.jobs import dead_letters

        letter_id = _letter_id(fields)
        dropped = dead_letters.drop(self._deployment(), [letter_id])
        self._forget_jobs()
        data, words = {"id": letter_id, "dropped": dropped}, {"id": letter_id}
        return Outcome("said_drop", words, data) if dropped else Outcome("said_drop_nothing", words, data, "nothing")

    def _forget_jobs(self) -> None:
        self._page_data.jobs.forget()
        self._readings.forget()

    # Schedules

    def _pause(self, fields: Fields) -> Outcome:
        from livectl.ops.beat import pauses

        name, reason = self._schedule_name(fields), _text(fields, "reason")
        self._page_data.source.read(lambda store: pauses.pause(store, name, reason))
        self._page_data.beat_schedule.forget()
        return Outcome("said_pause", {"name": name}, {"name": name, "reason": reason or None})

    def _resume(self, fields: Fields) -> Outcome:
        from livectl.ops.beat import pauses

        name = self._schedule_name(fields)
        was_paused = self._page_data.source.read(lambda store: pauses.resume(store, name))
        self._page_data.beat_schedule.forget()
        data = {"name": name, "resumed": was_paused}
        if was_paused:
            return Outcome("said_resume", {"name": name}, data)
        return Outcome("said_resume_nothing", {"name": name}, data, "nothing")

    def _run(self, fields: Fields) -> Outcome:
        from livectl.ops.beat import publisher
        from livectl.ops.schedules import options

        name = self._schedule_name(fields)
        schedules = (each.schedule for each in self._page_data.beat_schedule.get().entries)
        entry = next(each for each in schedules if each.name == name and isinstance(each, Schedule))
        app, tasks = self._load_app()
        if reason := options.refusal(entry.task, entry.args, entry.kwargs, tasks):
            raise SettingsError(f"{name} is not sent: {reason}", "Mend the entry, then: livectl schedules validate")
        job_id = publisher.send_now(self._deployment(), app, entry)
        return Outcome("said_run", {"name": name, "id": job_id}, {"id": job_id, "task": entry.task, "name": name})

    def _add(self, fields: Fields) -> Outcome:
        return self._put(fields, "said_add", replaces=False)

    def _set(self, fields: Fields) -> Outcome:
        return self._put(fields, "said_set", replaces=True)

    def _put(self, fields: Fields, said: str, *, replaces: bool) -> Outcome:
        from livectl.web import schedule_changes

        _, tasks = self._load_app()
        name, entry = self._page_data.source.read(
            lambda store: schedule_changes.put(store, fields, tasks, replaces=replaces)
        )
        self._page_data.beat_schedule.forget()
        return Outcome(said, {"name": name}, {"name": name, "task": entry.task})

    def _remove(self, fields: Fields) -> Outcome:
        from livectl.web import schedule_changes

        name, was_there = self._page_data.source.read(lambda store: schedule_changes.remove(store, fields))
        self._page_data.beat_schedule.forget()
        words, data = {"name": name}, {"name": name, "removed": was_there}
        if was_there:
            return Outcome("said_remove", words, data)
        return Outcome("said_remove_nothing", words, data, "nothing")

    def _schedule_name(self, fields: Fields) -> str:
        """An entry that a running beat has: what no beat sends can be neither run nor paused from here."""
        from livectl.suggestions import did_you_mean

        name = _required(fields, "name")
        names = [each.schedule.name for each in self._page_data.beat_schedule.get().entries]
        if name not in names:
            raise UsageError(f"no running beat has a schedule called {name}", did_you_mean(name, names) or "")
        return name

    def _deployment(self) -> Deployment:
        return self._page_data.source.read_deployment(lambda deployment, _: deployment)

    def _job_sender(self, deployment: Deployment) -> JobSender:
        from livectl.ops.jobs.sender import JobSender

        return JobSender(deployment, *self._load_app())

    def _load_app(self) -> tuple[Any, Mapping[str, Any]]:
        with self._app_lock:
            return self._tools.load_app()


def _follow_outcome(change: str, edit: FollowEdit) -> Outcome:
    changed, unchanged = map(_shown_streamers, edit)
    names = {"name": ", ".join(each.name or each.id for each in edit.changed or edit.unchanged)}
    data = {"changed": changed, "unchanged": unchanged}
    if edit.changed:
        return Outcome(f"said_{change}", names, data)
    return Outcome(f"said_{change}_nothing", names, data, "nothing")


def _shown_streamers(streamers: Sequence[Streamer]) -> list[dict[str, Any]]:
    return [{"platform": each.platform, "id": each.id, "name": each.name, "tags": each.tags} for each in streamers]


def _subject(fields: Fields) -> str:
    """What a change is about, as it was named."""
    if "id" in fields and fields.get("platform"):
        return f"{_text(fields, 'platform')}/{_text(fields, 'id')}"
    named = (_text(fields, name) for name in ("streamer", "id", "name", "target"))
    return hide_secrets(next(filter(None, named), ""))


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value.strip()[:MAX_TEXT_CHARS] if isinstance(value, str) else ""


def _letter_id(fields: Fields) -> str:
    """Whole, as it was written: whoever sent the message chose it."""
    if isinstance(letter_id := fields.get("id"), str) and letter_id:
        return letter_id
    raise UsageError("id is missing", "Say which: id=…")


def _required(fields: Fields, name: str) -> str:
    if value := _text(fields, name):
        return value
    raise UsageError(f"{name} is missing", f"Say which: {name}=…")


def _words(fields: Fields, name: str) -> list[str]:
    """Words with blanks between them, or a list of such."""
    value = fields.get(name)
    texts = value if isinstance(value, list) else [value]
    return [word for text in texts if isinstance(text, str) for word in text.split()]


def _tags(fields: Fields) -> tuple[str, ...]:
    """Tags with commas between them, as people write them here or in Chinese; or a list of tags."""
    value = fields.get("tags")
    texts = value if isinstance(value, list) else [value]
    written = ",".join(text for text in texts if isinstance(text, str))
    for comma in ("，", "、"):  # noqa: RUF001
        written = written.replace(comma, ",")
    tags = [" ".join(tag.split())[:MAX_TAG_CHARS] for tag in written.split(",")]
    return tuple(dict.fromkeys(tag for tag in tags if tag))[:MAX_TAGS]
