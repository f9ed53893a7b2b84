"""Lists, shows, retries and drops dead letters."""

from __future__ import annotations

from typing import Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import UsageError


@click.group(invoke_without_command=True)
@pass_command_context
@click.pass_context
def command(click_context: click.Context, context: CommandContext, /) -> None:
    """Messages, jobs and alerts that could not be handled lie in the store, each with the reason.

    \b
    Examples:
      livectl dead
      livectl dead retry 8b0d1d2e
    """
    if not click_context.invoked_subcommand:
        _show_list(context)


@command.command("list")
@pass_command_context
def list_dead_letters(context: CommandContext) -> None:
    """List them, the newest first.

    \b
    Examples:
      livectl dead list
      livectl dead list --json
    """
    _show_list(context)


@command.command()
@click.argument("letter", metavar="ID", shell_complete=complete("dead_letters"))
@pass_command_context
def show(context: CommandContext, /, letter: str) -> None:
    """Show all of one, but its secrets.

    \b
    Examples:
      livectl dead show 8b0d1d2e
      livectl dead show 8b0d1d2e --json
    """
    from livectl.ops.jobs import dead_letters, views

    context.show(views.dead_letter_details(dead_letters.read_redacted(context.deployment, letter)))


@command.command()
@click.argument("letter", metavar="ID", shell_complete=complete("dead_letters"))
@pass_command_context
def retry(context: CommandContext, /, letter: str) -> int:
    """Put a message back into its queue, send a job again, or tell an alert: now, exit 1 when it is refused.

    \b
    Examples:
      livectl dead retry 8b0d1d2e
      livectl -A proj dead retry 8b0d1d2e
    """
    from livectl.ops.jobs import dead_letters
    from livectl.render import sentence

    if (alert := dead_letters.find_alert(context.deployment, letter)) is not None:
        return _deliver_alert(context, letter, alert)
    job_request = dead_letters.find_request(context.deployment, letter)
    if job_request is None:
        queue = dead_letters.requeue(context.deployment, letter)
        context.note_change("resend", letter)
        context.show(sentence(f"{letter} lies in the queue {queue} again.", {"id": letter, "queue": queue}))
        return 0
    sent_job = context.job_sender().send(job_request)
    dead_letters.drop(context.deployment, [letter])
    context.note_change("resend", letter)
    context.show(
        sentence(
            f"{letter} is sent again as {sent_job.id}.", {"id": letter, "queue": sent_job.queue, "job": sent_job.id}
        )
    )
    return 0


@command.command()
@click.argument("letters", nargs=-1, metavar="[ID]...", shell_complete=complete("dead_letters"))
@click.option("--all", "everything", is_flag=True, help="All of them.")
@pass_command_context
def drop(context: CommandContext, /, letters: tuple[str, ...], *, everything: bool) -> int:
    """Forget some, or all. Exit 1 when there was none of that id.

    \b
    Examples:
      livectl dead drop 8b0d1d2e
      livectl dead drop --all
    """
    from livectl.ops.jobs import dead_letters
    from livectl.render import sentence

    if bool(letters) == everything:
        raise UsageError("which ones?", "Name their ids, or say --all.")
    dropped_count = dead_letters.drop(context.deployment, letters)
    context.note_change("drop", " ".join(letters) or "all", "done" if dropped_count else "nothing")
    context.show(sentence(f"{dropped_count} forgotten.", {"dropped": dropped_count}))
    return 0 if dropped_count or everything else 1


def _deliver_alert(context: CommandContext, letter_id: str, alert: Any) -> int:
    from livectl.live.alerts import targets
    from livectl.live.alerts import views as alerts_views
    from livectl.ops.jobs import dead_letters

    with context.working("telling it again"):
        outcomes = targets.resend_alert(alert, context.settings)
    if delivered := all(outcome.sent for outcome in outcomes.values()):
        dead_letters.drop(context.deployment, [letter_id])
    context.note_change("resend", letter_id, "done" if delivered else "failed")
    context.show(alerts_views.outcomes_view(outcomes))
    return 0 if delivered else 1


def _show_list(context: CommandContext) -> None:
    from livectl.ops.jobs import dead_letters, views

    context.show(views.dead_letter_table(dead_letters.list_summaries(context.deployment)))
