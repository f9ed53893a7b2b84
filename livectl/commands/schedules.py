"""Checks, shows, converts and compares the schedule; runs, pauses and resumes its entries."""

from __future__ import annotations

from typing import Any

import click

from livectl import schedule_editing
from livectl import schedule_reading as reading
from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError, UsageError, mistake_lines

DEFAULT_RUNS, MAX_RUNS = 10, 10_000  # shown by `next`: without an end, and with one

file_option = click.option(
    "-s", "--schedules", "file", type=click.Path(), metavar="FILE", help="Another file than that of the settings."
)
zone_option = click.option(
    "--tz",
    "zone",
    metavar="ZONE",
    shell_complete=complete("zones"),
    help="Show times in this zone, not in that of the settings or the app.",
)


@click.group()
def command() -> None:
    """It is read from schedules.yaml, or the file that the settings name.

    \b
    Examples:
      livectl schedules validate
      livectl schedules next -n 5
    """


@command.command()
@click.argument("file", required=False, type=click.Path())
@pass_command_context
def validate(context: CommandContext, file: str | None) -> None:
    """Tell every mistake in the file, each with its place.

    Tasks and their arguments are checked against the app that -A names, or
    against livectl's own. With -A and without FILE, the app's own beat_schedule
    is checked too. Mistakes make exit code 3; warnings do not.

    \b
    Examples:
      livectl schedules validate
      livectl -A proj schedules validate deploy/schedules.yaml
    """
    from livectl.ops.beat import views

    tasks = reading.load_tasks(context)
    app = context.celery_app if context.app is not None and tasks is not None and file is None else None
    path = None if app is not None and reading.is_file_left_out(context) else reading.schedule_path(context, file)
    name = context.display_path(path) if path else ""
    check = views.check_schedules(path, name, reading.now_ms(), tasks, app, context.app or "")
    for line in mistake_lines(check.warnings):
        context.say(line)
    context.show(views.render_check(check))


@command.command("list")
@click.option("--group", metavar="GROUP", help="Only the entries of this group.")
@click.option("--tag", metavar="TAG", help="Only the entries with this tag.")
@click.option("--owner", metavar="OWNER", help="Only the entries of this owner.")
@zone_option
@file_option
@pass_command_context
def list_entries(
    context: CommandContext, zone: str | None, file: str | None, group: str | None, tag: str | None, owner: str | None
) -> None:
    """Show each entry, when it last ran and how that went, and when it will next.

    With -A, the entries of the app's own beat_schedule are there too, and what no
    beat sends is marked with the reason. Times are in the timezone of the
    settings; with -A and without one there, in that of the app.

    \b
    Examples:
      livectl schedules list
      livectl schedules list --json
    """
    from livectl.ops.beat import views

    history, now = reading.read_run_history(context), reading.now_ms()
    snapshot = reading.read_snapshot(context, file, history, says_unread=False)
    shown: list[Any] = [
        schedule
        for schedule in snapshot.schedules
        if group in {None, schedule.group} and owner in {None, schedule.owner} and (not tag or tag in schedule.tags)
    ]
    shown += [] if group or tag or owner else snapshot.app_entries
    problems = reading.find_problems(context, snapshot)
    entries = views.list_entries(shown, history, now, problems, snapshot.sources)
    context.show(views.render_entries(entries, now, reading.shown_zone(context, zone)))


@command.command("next")
@click.argument("name", required=False, shell_complete=complete("schedules"))
@click.option("-n", "--limit", "count", type=click.IntRange(1, 10_000), help="So many runs: 10, or all up to --to.")
@click.option("--from", "start", help="The runs from this date or time on, not from now.")
@click.option("--to", "end", help="The runs up to this date or time.")
@click.option("--why", "left_out", is_flag=True, help="Show also what the entry leaves out, with the reason.")
@zone_option
@file_option
@pass_command_context
def list_runs(
    context: CommandContext, /, name: str | None, count: int | None, zone: str | None, file: str | None, **period: Any
) -> None:
    """Show the runs ahead, of all entries or of one.

    A time is written 2026-12-24 or 2026-12-24T18:00. A run that its jitter moves
    is marked, and so is a local time that a change of the clock skips or repeats.
    With --why, what `start`, `end` and `except` leave out is there too.

    \b
    Examples:
      livectl schedules next -n 5 --tz Europe/Paris
      livectl schedules next digest --from 2026-12-20 --to 2027-01-05 --why
    """
    from livectl.ops.beat import run_views

    history = reading.read_run_history(context)
    snapshot = reading.read_snapshot(context, file, history)
    schedules = snapshot.schedules
    problems = reading.find_problems(context, snapshot)
    wanted = (
        [reading.find_entry(name, snapshot)] if name else [entry for entry in schedules if entry.name not in problems]
    )
    for entry_name, problem in problems.items():
        context.say(f"{entry_name} is left out: {problem}")
    by_name = {schedule.name: schedule for schedule in wanted}
    shown_zone = reading.shown_zone(context, zone)
    after, until = reading.parse_period(period["start"], period["end"], shown_zone)
    limit = count or (DEFAULT_RUNS if until is None else MAX_RUNS)
    runs = run_views.list_runs(wanted, after, until, history, limit, left_out=period["left_out"])
    context.show(run_views.render_runs(runs, by_name, history, shown_zone))


@command.command()
@click.argument("name", shell_complete=complete("schedules"))
@click.argument("instant")
@zone_option
@file_option
@pass_command_context
def explain(context: CommandContext, /, name: str, instant: str, zone: str | None, file: str | None) -> int:
    """Say why an entry runs at an instant, or why it does not; then the exit code is 1.

    INSTANT is a date, or a time to the minute or the second, in the timezone that
    times are shown in, or with an offset.

    \b
    Examples:
      livectl schedules explain digest 2026-12-24
      livectl schedules explain digest "2026-12-24 09:00" --tz Europe/Paris
    """
    from functools import partial

    from livectl.ops.beat import run_views

    history, shown_zone = reading.read_run_history(context), reading.shown_zone(context, zone)
    snapshot = reading.read_snapshot(context, file, history, says_unread=False)
    entry = reading.find_entry(name, snapshot)
    try:
        question = run_views.Question.parse(instant, shown_zone)
    except ValueError as error:
        raise UsageError(f"{instant!r} is no instant", reading.INSTANT_HINT) from error
    explanation = run_views.explain(entry, question, history, reading.now_ms(), partial(reading.find_kept_run, context))
    context.show(run_views.render(explanation, entry, question, shown_zone))
    return 0 if explanation.runs else 1


@command.command("run")
@click.argument("name", shell_complete=complete("schedules"))
@file_option
@pass_command_context
def run_entry(context: CommandContext, /, name: str, file: str | None) -> None:
    """Send the job of an entry now, paused or not, and print its task id.

    What validate refuses is not sent: exit code 3.

    \b
    Examples:
      livectl schedules run digest
      livectl -A proj schedules run nightly -s deploy/schedules.yaml
    """
    from livectl.ops.beat import publisher
    from livectl.render import sentence

    entry = reading.find_anywhere(context, name, file)
    reading.check_sendable(context, entry)
    job_id = publisher.send_now(context.deployment, context.sending_app, entry)
    context.note_change("run", name)
    context.show(sentence(job_id, {"id": job_id, "task": entry.task, "name": name}))


@command.command()
@click.argument("name", shell_complete=complete("schedules"))
@click.option("--from", "start", help="The runs from this date or time on.")
@click.option("--to", "end", help="The runs up to this date or time.")
@click.option("--rate", metavar="RATE", help="At most so many: 10/m, 2/s.")
@click.option("--as", "keyword", metavar="KEYWORD", help="Hand each its due instant as this keyword argument too.")
@click.option("--dry-run", is_flag=True, help="Show the runs, and send none.")
@click.option("--again", is_flag=True, help="Begin anew: send also what a backfill has sent.")
@click.option("--stop", "stops", is_flag=True, help="Stop the command that sends them.")
@file_option
@pass_command_context
def backfill(
    context: CommandContext, /, name: str, start: str | None, end: str | None, file: str | None, **options: Any
) -> int:
    """Send the runs of a past time, each once, with its own due instant.

    The task finds that instant in its headers as `due` (seconds since the epoch), and
    with --as in a keyword (2026-01-31T09:00:00Z). Killed or stopped, the same command
    goes on where it was. What waits for these runs by `after`, and `overlap`, is not
    looked at. --stop ends with exit code 1 where nothing is to be stopped.

    \b
    Examples:
      livectl schedules backfill digest --from 2026-01-01 --to 2026-01-31
      livectl schedules backfill digest --stop
    """
    from livectl import redis_client
    from livectl.ops.beat import backfill as filling
    from livectl.ops.beat.run_store import StoreClock

    if options["stops"]:
        with redis_client.using_store(reading.store_address(context)) as store:
            stopped = filling.stop(store, name)
        if stopped is None:
            raise LivectlError(f"no backfill of {name} is under way", "It may be done.")
        context.note_change("stop backfill", name)
        context.show(filling.render(stopped))
        return 0
    entry = reading.find_anywhere(context, name, file)
    window, rate = reading.past_window(context, start, end, options["keyword"] or ""), options["rate"]
    pace = reading.parse_pace(rate) if rate else None
    if options["dry_run"]:
        filling.count_runs(entry, window)
        context.show(filling.render_runs(entry, window, reading.shown_zone(context, None)))
        return 0
    reading.check_sendable(context, entry, window.keyword)
    with redis_client.using_store(reading.store_address(context)) as store, context.working(f"sending {name}") as show:
        own = filling.BackfillStore(store, StoreClock(), name)
        progress = filling.Backfill(context.sending_app, own, entry, window, pace).send(show, anew=options["again"])
    context.note_change("backfill", name, "done" if progress.status == "done" else "nothing")
    context.show(filling.render(progress))
    return 0 if progress.status in {"done", "sent before"} else 1


@command.command()
@click.argument("name", required=False, shell_complete=complete("schedules"))
@click.option("--group", metavar="GROUP", help="All entries of this group, in one step.")
@click.option("--reason", default="", metavar="TEXT", help="Why; `schedules list` shows it.")
@pass_command_context
def pause(context: CommandContext, /, name: str | None, group: str | None, reason: str) -> None:
    """Let no beat send an entry, or a group of entries, until it is resumed.

    It takes effect at once, and outlives restarts.

    \b
    Examples:
      livectl schedules pause digest --reason "mail server moves"
      livectl schedules pause --group billing
    """
    from livectl import redis_client
    from livectl.ops.beat import pauses
    from livectl.render import sentence

    with redis_client.using_store(reading.store_address(context)) as store:
        snapshot = reading.read_whole(context)
        names = reading.group_members(name, group, snapshot)
        if name:
            known = pauses.read_pausable_names(store, snapshot.schedules)
            reading.check_name(name, known.union(entry.name for entry in snapshot.app_entries))
        pauses.pause_all(store, names, reason)
    for paused in names:
        context.note_change("pause", paused)
    if name:
        context.show(sentence(f"{name} is paused; `livectl schedules resume {name}` ends that.", {"name": name}))
        return
    text = f"{', '.join(names)}: paused; `livectl schedules resume --group {group}` ends that."
    context.show(sentence(text, {"group": group, "names": names}))


@command.command()
@click.argument("name", required=False, shell_complete=complete("schedules"))
@click.option("--group", metavar="GROUP", help="All entries of this group, in one step.")
@pass_command_context
def resume(context: CommandContext, /, name: str | None, group: str | None) -> int:
    """Let an entry, or a group, be sent again: what fell due meanwhile is left out.

    \b
    Examples:
      livectl schedules resume digest
      livectl -A proj schedules resume digest
    """
    from livectl import redis_client
    from livectl.ops.beat import pauses
    from livectl.render import sentence

    names = [name] if name else []
    if group or not name:
        names = reading.group_members(name, group, reading.read_whole(context))
    with redis_client.using_store(reading.store_address(context)) as store:
        resumed = pauses.resume_all(store, names)
    for each in names:
        context.note_change("resume", each, "done" if resumed else "nothing")
    what, verb, be = (name, "runs", "was") if name else (", ".join(names), "run", "were")
    text = f"{what} {verb} again." if resumed else f"{what} {be} not paused."
    data = {"name": name} if name else {"group": group, "names": names}
    context.show(sentence(text, {**data, "resumed": bool(resumed)}))
    return 0 if resumed else 1


@command.command()
@click.argument("file", required=False, type=click.Path())
@pass_command_context
def diff(context: CommandContext, /, file: str | None) -> int:
    """Show where the file and the running beats differ. Exit 1 when they do, or when no beat runs.

    A beat reads a changed file within seconds; one that it cannot use, or a
    beat with another file, is what shows here.

    \b
    Examples:
      livectl schedules diff
      livectl schedules diff deploy/schedules.yaml
    """
    from livectl.ops.beat import differences
    from livectl.ops.schedules import schedule_file

    path = reading.schedule_path(context, file)
    schedules = schedule_file.load(path, name=context.display_path(path)).schedules
    found = differences.find_differences(reading.store_address(context), path, schedules)
    context.show(differences.render_differences(path, found))
    return 1 if found else 0


@command.command("import")
@click.argument("source", required=False, metavar="[MODULE|FILE]")
@click.option("--django", "kept_in", flag_value="django", help="From the app's tables of django-celery-beat.")
@click.option("--redbeat", "kept_in", flag_value="redbeat", help="From the app's keys of RedBeat.")
@click.option("--assume", metavar="NAME=VALUE", multiple=True, help="What a name in a condition of the source is.")
@click.option("--write", "to", flag_value="file", help="Add the entries to schedules.yaml, instead of printing them.")
@click.option("--store", "to", flag_value="store", help="Add the entries to the store.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@pass_command_context
def import_schedule(
    context: CommandContext, /, source: str | None, kept_in: str | None, assume: tuple[str, ...], **options: Any
) -> int:
    """Turn the schedule of another beat into the text of a schedules.yaml.

    A module with CELERYBEAT_SCHEDULE or beat_schedule is read and not run; so is a
    celerybeat-schedule file, and what `manage.py dumpdata django_celery_beat` writes.
    Without a file the app that -A names is imported and asked: for what its
    beat_scheduler keeps in Django's database or in Redis, else for its beat_schedule.
    Nothing is changed there. What has no words in YAML, is computed at run time or
    stands under a condition is told and left out; then the exit code is 1.

    \b
    Examples:
      livectl schedules import proj/settings.py > schedules.yaml
      livectl schedules import proj/settings.py --assume DEBUG=False
      livectl -A proj schedules import --redbeat --store --dry-run
    """
    from datetime import UTC, datetime

    from livectl.ops.schedules import conversion, importing

    wanted = importing.ImportSource(source=source, app=context.app, kept_in=kept_in, assumed=assume)
    with context.working("reading the schedule"):
        imported = importing.read_source(wanted, context.cwd, datetime.now(UTC))
    if to := options["to"]:
        rehearses = options["dry_run"]
        return schedule_editing.put_imported(context, imported, in_store=to == "store", rehearses=rehearses)
    converted = importing.to_yaml(imported)
    return conversion.show(converted, context.say, context.show)


@command.command()
@click.option("--python", "to", flag_value="python", help="A Python module with Celery's beat_schedule.")
@click.option("--django", "to", flag_value="django", help="A fixture for django-celery-beat: manage.py loaddata.")
@click.option("--crontab", "to", flag_value="crontab", help="A crontab(5) file that calls livectl call.")
@file_option
@pass_command_context
def export(context: CommandContext, /, to: str | None, file: str | None) -> int:
    """Turn the schedule into what another program reads.

    Entries that it has no words for are told and left out; then the exit code is 1.

    \b
    Examples:
      livectl schedules export --python > celeryconfig.py
      livectl schedules export --django > schedule.json
      livectl schedules export --crontab -s deploy/schedules.yaml
    """
    from livectl.ops.schedules import conversion, exporting

    snapshot = reading.read_whole(context, file)
    from_app = context.app is not None and file is None and reading.is_file_left_out(context)
    name = f"beat_schedule of {context.app}" if from_app else context.display_path(reading.schedule_path(context, file))
    converted = exporting.export_schedule(to, snapshot.schedules, name, context.app, reading.now_ms())
    left = {
        entry.name: entry.problem or "a class of the app's own says when it is due" for entry in snapshot.app_entries
    }
    return conversion.show(converted.without(left), context.say, context.show)


for changing in (schedule_editing.add, schedule_editing.set_keys, schedule_editing.remove):
    command.add_command(changing)
