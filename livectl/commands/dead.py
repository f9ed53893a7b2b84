"""Shows dead letters, tries them again, forgets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from livectl.errors import UsageError
from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from livectl.ops.cluster.deployment import Deployment


@click.group(invoke_without_command=True)
@pass_invocation
@click.pass_context
def command(ctx: click.Context, call: Invocation, /) -> None:
    """Messages, jobs and alerts that could not be handled lie in the store, each with the reason.

    \b
    Examples:
      livectl dead
      livectl dead retry 8b0d1d2e
    """
    if not ctx.invoked_subcommand:
        _list(call)


@command.command("list")
@pass_invocation
def list_letters(call: Invocation) -> None:
    """List them, the newest first.

    \b
    Example:
      livectl dead list --json
    """
    _list(call)


@command.command()
@click.argument("letter", metavar="ID")
@pass_invocation
def show(call: Invocation, /, letter: str) -> None:
    """Show all of one, but its secrets.

    \b
    Example:
      livectl dead show 8b0d1d2e
    """
    from livectl.ops.cluster import deployment
    from livectl.ops.jobs import deadletters, views

    call.show(views.letter(deadletters.show(deployment.find(call.app, call.settings, call.cwd), letter)))


@command.command()
@click.argument("letter", metavar="ID")
@pass_invocation
def retry(call: Invocation, /, letter: str) -> int:
    """Put a message back into its queue, send a job again, or tell an alert: now, exit 1 when it is refused.

    \b
    Example:
      livectl dead retry 8b0d1d2e
    """
    from livectl.ops import apps
    from livectl.ops.cluster import deployment
    from livectl.ops.jobs import deadletters, desk
    from livectl.render import sentence

    place = deployment.find(call.app, call.settings, call.cwd)
    if (alert := deadletters.alert(place, letter)) is not None:
        return _tell(call, place, letter, alert)
    order = deadletters.order(place, letter)
    if order is None:
        queue = deadletters.put_back(place, letter)
        call.show(sentence(f"{letter} lies in the queue {queue} again.", {"id": letter, "queue": queue}))
        return 0
    if (app := place.app) is None:
        from livectl.celeryapp import create_app

        app = create_app(call.settings)
    sent = desk.Desk(place, app, apps.tasks(app, call.cwd)).send(order)
    deadletters.drop(place, [letter])
    call.show(sentence(f"{letter} is sent again as {sent.id}.", {"id": letter, "queue": sent.queue, "job": sent.id}))
    return 0


@command.command()
@click.argument("letters", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@pass_invocation
def drop(call: Invocation, /, letters: tuple[str, ...], *, everything: bool) -> int:
    """Forget some, or all. Exit 1 when there was none of that id.

    \b
    Example:
      livectl dead drop 8b0d1d2e
    """
    from livectl.ops.cluster import deployment
    from livectl.ops.jobs import deadletters
    from livectl.render import sentence

    if bool(letters) == everything:
        raise UsageError("which ones?", "Name their ids, or say --all.")
    gone = deadletters.drop(deployment.find(call.app, call.settings, call.cwd), letters)
    call.show(sentence(f"{gone} forgotten.", {"dropped": gone}))
    return 0 if gone or everything else 1


def _tell(call: Invocation, place: Deployment, letter: str, alert: Any) -> int:
    from livectl.live.alerts import view as alert_view
    from livectl.ops.jobs import deadletters

    outcomes = alert_view.tell_again(alert, call.settings)
    if taken := all(one.sent for one in outcomes.values()):
        deadletters.drop(place, [letter])
    call.show(alert_view.tried(outcomes))
    return 0 if taken else 1


def _list(call: Invocation) -> None:
    from livectl.ops.cluster import deployment
    from livectl.ops.jobs import deadletters, views

    call.show(views.dead(deadletters.listed(deployment.find(call.app, call.settings, call.cwd))))
