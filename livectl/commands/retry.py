"""Sends a job that has ended again."""

from __future__ import annotations

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("job", metavar="TASK-ID", shell_complete=complete("jobs"))
@click.option("--force", is_flag=True, help="Send what would be refused.")
@pass_command_context
def command(context: CommandContext, /, job: str, *, force: bool) -> None:
    """The same task with the same arguments to the same queue, under a new id. The arguments have to be known:
    from the result backend (result_extended), from the notes that livectl's workers make of jobs that failed, or from a
    dead letter, which is then gone.

    \b
    Examples:
      livectl retry 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1
      livectl -A proj retry --force 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1
    """
    from livectl.ops.jobs import dead_letters, sender, wait
    from livectl.render import sentence

    dead_letter = dead_letters.find_request_of_job(context.deployment, wait.check_job_id(job))
    job_request = dead_letter or sender.rebuild_request(context.deployment, job)
    job_sender = context.job_sender()
    if not force:
        job_sender.validate(job_request)
    sent_job = job_sender.send(job_request, force=force)
    context.note_change("retry", job)
    if dead_letter:
        dead_letters.drop(context.deployment, [job])
    context.say(f"sent {sent_job.task} to the queue {sent_job.queue} again; its id:")
    context.show(sentence(sent_job.id, sent_job))
