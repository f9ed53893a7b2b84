"""Sends a job again."""

from __future__ import annotations

import click

from livectl.invocation import Invocation, pass_invocation


@click.command()
@click.argument("job", metavar="TASK-ID")
@click.option("--force", is_flag=True, help="Send what would be refused.")
@pass_invocation
def command(call: Invocation, /, job: str, *, force: bool) -> None:
    """The same task with the same arguments to the same queue, under a new id. The arguments have to be known:
    from the result backend (result_extended), from livectl's notes of its own jobs that failed, or from a dead letter,
    which is then gone.

    \b
    Example:
      livectl -A proj retry 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1
    """
    from livectl.ops import apps
    from livectl.ops.cluster import deployment
    from livectl.ops.jobs import deadletters, desk, waiting
    from livectl.render import sentence

    place = deployment.find(call.app, call.settings, call.cwd)
    letter = deadletters.of_job(place, waiting.checked(job))
    order = letter or desk.again(place, job)
    if (app := place.app) is None:
        from livectl.celeryapp import create_app

        app = create_app(call.settings)
    counter = desk.Desk(place, app, apps.tasks(app, call.cwd))
    if not force:
        counter.refuse(order)
    sent = counter.send(order, force=force)
    if letter:
        deadletters.drop(place, [job])
    call.say(f"sent {sent.task} to the queue {sent.queue} again; its id:")
    call.show(sentence(sent.id, sent))
