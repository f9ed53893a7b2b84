"""Probes a worker, a beat, the broker or the store."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError

if TYPE_CHECKING:
    from livectl.ops.deployment import Deployment

COMPONENTS = ("worker", "beat", "broker", "store")


@click.command()
@click.argument("part", type=click.Choice(COMPONENTS), default="worker")
@click.option(
    "-n",
    "--name",
    metavar="NODE",
    shell_complete=complete("nodes"),
    help="This worker or beat; those of this host if left out.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a worker has to answer.",
)
@click.option(
    "--max-lag",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="A beat that looked in longer ago is not healthy.",
)
@click.option(
    "--broker-down", type=click.Choice(["ok", "fail"]), help="What a broker that is away says of a worker or beat."
)
@pass_command_context
def command(context: CommandContext, /, **options: Any) -> int:
    """A worker is healthy when it answers and, if messages wait in its queues and it has nothing to do, takes them.
    A beat is when it looked in lately and has sent what is due. Broker and store are when they take what is written.
    The app is not imported: its broker is `broker:` in livectl.yaml, LIVECTL_BROKER or CELERY_BROKER_URL. Only when
    a worker of -A does not answer, livectl looks whether the app takes JSON and remote control at all.

    \b
    Exit codes: 0 healthy, 1 not healthy, 2 cannot tell.

    \b
    Examples:
      livectl health worker
      livectl health beat --max-lag 60
      LIVECTL_BROKER=redis://redis:6379/0 livectl health worker -n w1
    \b
    systemd, with a timer:     ExecStart=livectl health worker -n w1
    Docker:                    HEALTHCHECK CMD livectl health worker
    Kubernetes:
      livenessProbe:
        exec: {command: [livectl, health, worker, --broker-down, ok]}
        periodSeconds: 30
        timeoutSeconds: 5
    """
    import msgspec

    from livectl.ops import deployment
    from livectl.ops.services import health
    from livectl.render import sentence

    prefix = "" if context.app else deployment.OWN_TASK_PREFIX
    probe = health.Probe(host=socket.gethostname(), task_prefix=prefix, **options)
    try:
        settings = context.usable_settings()
        probe = msgspec.structs.replace(probe, job_targets=settings.job_targets)
        app_deployment = deployment.find_without_import(context.app, settings, context.environ, context.cwd)
        result = health.run_probe(probe, app_deployment.broker, app_deployment.store, app_deployment.layout)
        if result.healthy is False and probe.part == "worker" and (loaded := _load(context, app_deployment)):
            result = health.probe_silent_worker(probe, app_deployment, loaded) or result
        elif probe.part == "worker" and not app_deployment.broker and (loaded := _load(context, app_deployment)):
            result = health.probe_worker_through_celery(probe, loaded)
    except LivectlError as error:
        result = health.unreachable(probe, error.message)
    context.show(sentence(f"{result.what}: {result.label}: {result.reason}", result))
    return result.exit_code


def _load(context: CommandContext, app_deployment: Deployment) -> Deployment | None:
    """The deployment as the app itself has it; None where no app is named, or it cannot be loaded."""
    if app_deployment.app is not None or context.app is None:
        return app_deployment if app_deployment.app is not None else None
    try:
        return context.find_deployment()
    except LivectlError:
        return None
