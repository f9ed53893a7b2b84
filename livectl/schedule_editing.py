"""The commands of schedules that change entries: in the schedule file, or in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from livectl import schedule_reading as reading
from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import FileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from livectl.ops.schedules.conversion import ImportedSchedule, PortingNote
    from livectl.ops.schedules.file_edit import EditableSchedule, FileChange

    Change = tuple[tuple[str, ...], Any]  # the keys that lead to a value, and the value

# What is text as it is written; all else is read as YAML.
TEXT_KEYS = {"task", "cron", "at", "timezone", "start", "end", "description", "owner", "group"}
WORD_OPTIONS = ("task", "every", "cron", "at", "args", "kwargs")
STORE_NAME = "store"  # where an entry is, beside `file`


def entry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for the keys of an entry that most entries have, and where it is."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing."),
        click.option("-s", "--schedules", "file", type=click.Path(), metavar="FILE", help="Another schedule file."),
        click.option("--store", "in_store", is_flag=True, help="In the store: every running beat takes it up."),
        click.option("-k", "--kwargs", metavar="JSON", help="Its keyword arguments: {to: ada}."),
        click.option("--args", metavar="YAML", help="Its arguments: [1, 2]."),
        click.option("--at", metavar="TIME", help="Once: 2027-01-31T09:00."),
        click.option("--cron", metavar="LINE", help='When, as in crontab(5): "0 9 * * mon-fri".'),
        click.option("--every", metavar="DURATION", help="When: every 30s, 10m, 12h."),
        click.option("--task", metavar="NAME", shell_complete=complete("tasks"), help="The name of its task."),
    ):
        command = option(command)
    return command


@click.command("add")
@click.argument("name")
@click.argument("keys", nargs=-1, metavar="[KEY=VALUE]...")
@entry_options
@pass_command_context
def add(context: CommandContext, /, name: str, keys: tuple[str, ...], file: str | None, **options: Any) -> None:
    """Add an entry to schedules.yaml, or to the store.

    Any key of an entry may follow as KEY=VALUE, the value in YAML. The comments and
    the layout of the file stay. What `validate` would refuse is not written.

    \b
    Examples:
      livectl schedules add nightly --task livectl.ping --cron "30 2 * * *"
      livectl -A proj schedules add move --task proj.mail --at 2027-01-31T09:00
      livectl -A proj schedules add c42 --task proj.poll --every 10m --store
    """
    from livectl.ops.schedules import file_edit

    changes = [*_read_options(options), *_read_keys(keys)]
    words = file_edit.change_words({}, changes)
    tasks = reading.load_tasks(context)
    editable = _editable(context, file, tasks, rehearses=options["dry_run"])
    if not options["in_store"]:
        change = editable.add(name, words)
        _warn_of_store(context, [name])
        _show(context, "add", [name], change, rehearsed=options["dry_run"])
        return
    if name in editable.read_names():
        raise UsageError(f"{name} is an entry of {editable.name}", "Take another name, or change it there.")
    _change_store(context, "add", name, changes, tasks, rehearses=options["dry_run"])


@click.command("set")
@click.argument("name", shell_complete=complete("schedules"))
@click.argument("keys", nargs=-1, metavar="[KEY=VALUE]...")
@entry_options
@pass_command_context
def set_keys(context: CommandContext, /, name: str, keys: tuple[str, ...], file: str | None, **options: Any) -> None:
    """Change keys of an entry where it is: in schedules.yaml, or in the store.

    KEY= takes a key out. What stands within `options` or `kwargs` is named with a
    dot. A new time takes the place of the old one.

    \b
    Examples:
      livectl schedules set digest --every 12h
      livectl schedules set digest options.queue=slow deadline= --dry-run
    """
    changes = [*_read_options(options), *_read_keys(keys, takes_out=True)]
    if not changes:
        raise UsageError("nothing to change", "Say KEY=VALUE, or --every, --cron, --at, --task, --args, --kwargs.")
    tasks = reading.load_tasks(context)
    editable = _editable(context, file, tasks, rehearses=options["dry_run"])
    if options["in_store"] or (name not in editable.read_names() and name in _names_elsewhere(context, name, editable)):
        _change_store(context, "set", name, changes, tasks, rehearses=options["dry_run"])
    else:
        _show(context, "set", [name], editable.set(name, changes), rehearsed=options["dry_run"])


@click.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete("schedules"))
@click.option("--store", "in_store", is_flag=True, help="Those of the store, also where the file has the name.")
@click.option("-s", "--schedules", "file", type=click.Path(), metavar="FILE", help="Another schedule file.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@pass_command_context
def remove(
    context: CommandContext, /, names: tuple[str, ...], file: str | None, *, in_store: bool, dry_run: bool
) -> None:
    """Remove entries from where they are: schedules.yaml, or the store.

    Beats stop sending them within seconds. A comment above an entry stays.

    \b
    Examples:
      livectl schedules remove digest
      livectl schedules remove digest --dry-run
    """
    editable = _editable(context, file, None, rehearses=dry_run)
    in_file = set() if in_store else set(editable.read_names())
    there = [name for name in names if name in in_file]
    stored = [name for name in names if name not in in_file]
    known = _stored_names(context, needed=in_store) if stored else set()
    for name in stored:
        if name not in known:
            reading.check_name(name, in_file | known)
    if there:
        _show(context, "remove", there, editable.remove(there), rehearsed=dry_run)
    for name in stored:
        _change_store(context, "remove", name, [], None, rehearses=dry_run)


def _read_options(options: Mapping[str, Any]) -> list[Change]:
    given = [(key, options[key]) for key in WORD_OPTIONS if options[key] is not None]
    return [((key,), _read_value(key, value)) for key, value in given]


def _read_keys(keys: Iterable[str], *, takes_out: bool = False) -> list[Change]:
    changes: list[Change] = []
    for written in keys:
        key, sign, value = written.partition("=")
        if not sign or not key or (not value and not takes_out):
            raise UsageError(f"{written} is no KEY=VALUE", "Say overlap=skip, or options.queue=slow.")
        changes.append((tuple(key.split(".")), _read_value(key, value) if value else None))
    return changes


def _read_value(key: str, value: str) -> Any:
    if key in TEXT_KEYS:
        return value
    from livectl import yamlfile

    try:
        return yamlfile.loads(value, key).value
    except FileError as error:
        raise UsageError(f"the value of {key} is no YAML: {error.message}", "Put text into quotes.") from error


def _editable(
    context: CommandContext, file: str | None, tasks: Mapping[str, Any] | None, *, rehearses: bool
) -> EditableSchedule:
    from livectl.ops.schedules.file_edit import EditableSchedule

    path = reading.schedule_path(context, file)
    return EditableSchedule(path, context.display_path(path), tasks, rehearses=rehearses)


def _stored_names(context: CommandContext, *, needed: bool = True) -> set[str]:
    """The names of the entries in the store; none where it is away and that is no matter."""
    from livectl import redis_client
    from livectl.errors import LivectlError
    from livectl.ops.beat import run_store

    try:
        with redis_client.using_store(reading.store_address(context)) as store:
            return {str(name) for name in store.hkeys(run_store.ENTRIES_KEY)}
    except LivectlError:
        if needed:
            raise
        return set()


def _names_elsewhere(context: CommandContext, name: str, editable: EditableSchedule) -> set[str]:
    """The names of the entries in the store, for an entry that the file lacks. Where it is away, both are said."""
    from livectl.errors import LivectlError

    try:
        return _stored_names(context)
    except LivectlError as error:
        lacks = f"{name} is not in {editable.name}" if editable.path.exists() else f"there is no {editable.name}"
        raise type(error)(f"{lacks}, and the store cannot be looked into: {error.message}", error.hint) from error


def _warn_of_store(context: CommandContext, names: Sequence[str]) -> None:
    stored = _stored_names(context, needed=False)
    for name in names:
        if name in stored:
            context.say(f"{name} is in the store too: from now on it is sent as the file says.")


def _change_store(
    context: CommandContext,
    what: str,
    name: str,
    changes: Sequence[Change],
    tasks: Mapping[str, Any] | None,
    *,
    rehearses: bool,
) -> None:
    """Adds, changes or removes an entry in the store, or shows what that would be."""
    from livectl import redis_client
    from livectl.ops.beat import store_entries
    from livectl.ops.schedules import file_edit

    with redis_client.using_store(reading.store_address(context)) as store:
        old = store_entries.read_words(store, name)
        if what == "remove":
            new = None
            for follower in store_entries.find_followers(store, name):
                context.say(f"{follower} runs after {name}: without it, it does not run any more.")
            if not rehearses:
                store_entries.remove(store, [name])
        elif what == "add":
            new = file_edit.change_words({}, changes)
            store_entries.add(store, name, new, tasks, rehearses=rehearses)
        else:
            edit = lambda words: file_edit.change_words(words, changes)  # noqa: E731
            new = store_entries.change(store, name, edit, tasks, rehearses=rehearses)
    before, after = (file_edit.entry_text(name, words) if words else "" for words in (old, new))
    _show(context, what, [name], file_edit.FileChange(STORE_NAME, before, after), rehearsed=rehearses)


def _show(context: CommandContext, what: str, names: Sequence[str], change: FileChange, *, rehearsed: bool) -> None:
    from livectl.render import sentence

    changed = change.before != change.after
    data = {
        "names": list(names),
        "in": STORE_NAME if change.name == STORE_NAME else "file",
        "changed": changed and not rehearsed,
        "diff": change.diff,
    }
    if rehearsed:
        context.show(sentence(change.diff or "Nothing would change.", data))
        return
    for name in names:
        context.note_change(what, name, "done" if changed else "nothing")
    place = "the store" if change.name == STORE_NAME else change.name
    said = {
        "add": f"{', '.join(names)}: added to {place}. Running beats take it up within seconds.",
        "set": f"{', '.join(names)}: changed in {place}. Running beats take it up within seconds.",
        "remove": f"{', '.join(names)}: removed from {place}. Beats stop sending it within seconds.",
    }
    context.show(sentence(said[what] if changed else "Nothing changed: that is how it was.", data))


def put_imported(context: CommandContext, imported: ImportedSchedule, *, in_store: bool, rehearses: bool) -> int:
    """Puts imported entries into the file or the store, and says what cannot be there. Returns the exit code."""
    from livectl.ops.schedules import conversion, importing

    kept, left = importing.sort_out(imported)
    editable = _editable(context, None, None, rehearses=rehearses)
    taken = set(editable.read_names())
    left += [
        _porting_note(entry.name, f"{editable.name} has an entry of that name") for entry in kept if entry.name in taken
    ]
    kept = [entry for entry in kept if entry.name not in taken]
    if in_store:
        place, diff = "the store", ""
        words = {entry.name: importing.to_words(entry, imported.timezone, "UTC") for entry in kept}
        refused = _add_to_store(context, words, rehearses=rehearses)
        left += [_porting_note(name, why) for name, why in refused.items()]
        kept = [entry for entry in kept if entry.name not in refused]
    else:
        place = editable.name
        around = editable.read_zone()
        diff = editable.add_all(
            [(each.name, importing.to_words(each, imported.timezone, around), each.comments) for each in kept]
        ).diff
    conversion.say_notes(context.say, left, imported.notes)
    for entry in () if rehearses else kept:
        context.note_change("add", entry.name)
    _show_imported(context, [entry.name for entry in kept], place, diff, rehearsed=rehearses)
    return 1 if left else 0


def _porting_note(name: str, why: str) -> PortingNote:
    from livectl.ops.schedules.conversion import PortingNote

    return PortingNote(name=name, why=why)


def _add_to_store(context: CommandContext, words: Mapping[str, Any], *, rehearses: bool) -> dict[str, str]:
    """Adds entries to the store. Returns the reason for each that cannot be there."""
    from livectl import redis_client
    from livectl.errors import LivectlError
    from livectl.ops.beat import store_entries

    with redis_client.using_store(reading.store_address(context)) as store:
        outcomes = dict(store_entries.add_all(store, words, rehearses=rehearses))
    return {name: outcome.message for name, outcome in outcomes.items() if isinstance(outcome, LivectlError)}


def _show_imported(context: CommandContext, names: list[str], place: str, diff: str, *, rehearsed: bool) -> None:
    from livectl.render import sentence
    from livectl.units import format_count

    entries = format_count(len(names), "schedule", zero="no")
    said = f"Would add {entries} to {place}" if rehearsed else f"Added {entries} to {place}"
    data = {
        "names": names,
        "in": STORE_NAME if place == "the store" else "file",
        "changed": not rehearsed,
        "diff": diff,
    }
    text = f"{said}{': ' if names else ''}{', '.join(names)}."
    context.show(sentence(f"{diff}\n{text}" if rehearsed and diff else text, data))
