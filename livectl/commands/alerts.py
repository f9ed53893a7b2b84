"""Lists the targets of alerts, and sends them samples."""

from __future__ import annotations

import time

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import UsageError

CHANGES = ("live", "title", "category", "end", "trouble", "job")
SAMPLE_NOTE = "This is a sample without tags; --streamer asks for somebody you follow."


@click.group()
def command() -> None:
    """A target is written under `alerts:` in livectl.yaml: an Apprise address, a webhook or a command. A worker tells
    it what it has not been told; see `livectl docs alerts`.

    \b
    Examples:
      livectl alerts test phone
      livectl alerts list
      livectl alerts why demo/ada
    """


@command.command()
@click.argument("words", nargs=-1, metavar="[TARGET] [CHANGE]", shell_complete=complete("targets"))
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: say who would be told now of a CHANGE, in which words, and why others would not. It is live, "
    "title, category, end or trouble.",
)
@click.option(
    "--streamer",
    metavar="STREAMER",
    shell_complete=complete("streamers"),
    help="With --dry-run: a change of this streamer, as they were last seen, and not of a sample.",
)
@pass_command_context
def test(context: CommandContext, /, words: tuple[str, ...], *, dry_run: bool, streamer: str | None) -> int:
    """Send a sample to one target or all, and show what each answers. Exit 1 when one did not take it.

    \b
    Examples:
      livectl alerts test phone
      livectl alerts test --dry-run live
      livectl alerts test phone --dry-run end --streamer demo/ada
    """
    from livectl.live.alerts import targets, views

    change = words[-1] if dry_run and words and words[-1] in CHANGES else None
    wanted = words[:-1] if change else words
    if len(wanted) > 1:
        raise UsageError("one target is told, or all", f"Name one; a CHANGE is {', '.join(CHANGES)}, with --dry-run.")
    if streamer and not dry_run:
        raise UsageError("--streamer goes with --dry-run", "Write --dry-run live, for example.")
    names = targets.select_targets(context.settings, wanted[0] if wanted else None)
    if dry_run:
        _rehearse(context, names, change or CHANGES[0], streamer)
        return 0
    with context.working(f"telling {', '.join(names)}"):
        outcomes = targets.send_samples(names, context.settings, time.time())
    for name, outcome in outcomes.items():
        context.note_change("test", name, "done" if outcome.sent else "failed")
    context.show(views.outcomes_view(outcomes))
    return 0 if all(outcome.sent for outcome in outcomes.values()) else 1


def _rehearse(context: CommandContext, names: list[str], change: str, streamer: str | None) -> None:
    import msgspec

    from livectl.live import store_reader
    from livectl.live.alerts import reasons, targets, views
    from livectl.live.follows import follow_list

    targets.check_targets(context.settings)
    seen = None
    if streamer:
        wanted = follow_list.parse_argument(streamer, context.settings.follows)
        seen = store_reader.read_history(context.own_store, wanted)
        if seen.record.streamer is None:  # no worker has taken the list over yet
            listed = follow_list.load_only(context.settings.follows, wanted.key)
            seen = seen._replace(record=msgspec.structs.replace(seen.record, streamer=listed))
    notes = [] if seen or change in {"trouble", "job"} else ["", SAMPLE_NOTE]
    context.show(views.rehearsal_view(reasons.rehearse(context.settings, names, change, seen, time.time()), notes))


@command.command()
@click.argument("streamer", shell_complete=complete("streamers"))
@pass_command_context
def why(context: CommandContext, /, streamer: str) -> int:
    """Say why each target was told or not told of the last session of a streamer:
    when it took the alert, which rule held it back, or what it waits for. Exit 1
    when they have not been seen live.

    \b
    Examples:
      livectl alerts why demo/ada
      livectl alerts why demo/ada --json
    """
    from livectl import redis_client
    from livectl.live.alerts import reasons, targets, views
    from livectl.live.follows import follow_list

    targets.check_targets(context.settings)
    wanted, now = follow_list.parse_argument(streamer, context.settings.follows), time.time()
    with redis_client.using_store(context.own_store) as client:
        last_session = reasons.read_last_session(context.settings, client, wanted.platform, wanted.id, now)
    context.show(views.why_view(last_session, context.settings.timezone, now))
    return 0 if last_session.record.session else 1


@command.command("list")
@pass_command_context
def list_targets(context: CommandContext) -> None:
    """List the targets: when each was last told, what waits for it, what it refused.

    \b
    Examples:
      livectl alerts list
      livectl alerts list --json
    """
    from livectl import redis_client
    from livectl.live.alerts import outbox, targets, views

    targets.check_targets(context.settings)
    now = time.time()
    store = context.deployment.store if context.app else None  # its beats tell of its jobs
    with redis_client.using_store(store or context.own_store) as client:
        statuses = outbox.read_targets(context.settings, client, now)
    context.show(views.targets_view(statuses, context.settings.timezone, now))
