"""Sends one remote-control command to the workers of a deployment and collects their replies.

On Redis livectl publishes the command itself, which takes milliseconds and tells how many workers it reached. On other
brokers Celery does it: nobody tells how many workers there are, so that every command takes its whole time.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from livectl import redis_client
from livectl.errors import ServerError
from livectl.ops import deployment as deployments
from livectl.ops.protocol import remote_control
from livectl.ops.protocol.remote_control import CELERY_REPLY_TIMEOUT_S, REPLY_TIMEOUT_S, ControlReplies
from livectl.redaction import redact_text

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.remote_control import ControlCommand
    from livectl.redis_client import RedisConnection


def connect(
    deployment: Deployment, timeout_s: float = redis_client.SERVER_TIMEOUT_S
) -> AbstractContextManager[RedisConnection | None]:
    """A connection to the broker for several commands in a row; None in its place where the broker is no Redis.

    ServerError when the broker does not answer, refuses, or takes nothing.
    """
    if deployment.redis_broker is not None:
        return redis_client.connect(deployment.redis_broker, timeout_s)
    deployments.check_broker(deployment, min(timeout_s, redis_client.SERVER_TIMEOUT_S))
    return nullcontext()


def ask(
    deployment: Deployment,
    connection: RedisConnection | None,
    command: ControlCommand,
    timeout_s: float | None = None,
) -> ControlReplies:
    """The replies of all workers, or of the command's destination. ServerError when the broker does not answer.

    `connection` is what `connect` gave.
    """
    if connection is not None and deployment.broker is not None:
        return remote_control.ask(
            connection, deployment.layout, deployment.broker.database, command, timeout_s or REPLY_TIMEOUT_S
        )
    return _ask_through_celery(deployments.celery_client(deployment), command, timeout_s or CELERY_REPLY_TIMEOUT_S)


def _ask_through_celery(app: Any, command: ControlCommand, timeout_s: float) -> ControlReplies:
    from kombu.exceptions import OperationalError

    destination = list(command.destination) if command.destination else None
    try:
        replies_by_worker = app.control.broadcast(
            command.method, arguments=command.arguments, destination=destination, reply=True, timeout=timeout_s
        )
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker does not answer: {redact_text(str(error))}", "Look whether it runs.") from error
    replies = tuple(item for entry in replies_by_worker or [] for item in entry.items())
    return ControlReplies(replies, len(destination or replies))
