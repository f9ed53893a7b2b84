"""Makes livectl's own Celery app, for `celery -A livectl.celeryapp worker|beat|inspect|flower|…`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery

from livectl import settings as livectl_settings
from livectl.ops import deployment
from livectl.ops.jobs import job_log
from livectl.ops.processes import embedded_broker
from livectl.secret import Secret

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.settings import Settings

# Chosen against measured faults: a job outlives its worker, a dead broker is noticed, nothing is pickled.
DEFAULTS: dict[str, Any] = {
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "timezone": "UTC",
    "enable_utc": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "task_time_limit": 60,
    "task_soft_time_limit": 45,
    "task_ignore_result": True,
    "task_remote_tracebacks": False,
    "result_expires": 3600,
    "result_backend_always_retry": True,
    "result_backend_max_retries": 20,
    "result_backend_max_sleep_between_retries_ms": 2000,
    "worker_enable_remote_control": True,  # its subscription is what notices a Redis that went away
    "worker_soft_shutdown_timeout": 15,
    "worker_enable_soft_shutdown_on_idle": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # spelt out, or each worker warns at start
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
    "beat_max_loop_interval": 1,
    "beat_scheduler": "livectl.ops.scheduler:Scheduler",
}

# Seconds. A message is given to another worker after visibility_timeout, which has to outlast the longest job (60 s)
# plus the one fetched behind it; the sweep for such messages comes every 5 s, and its lock cannot outlive a crash long.
REDIS_OPTIONS: dict[str, Any] = {
    "visibility_timeout": deployment.OWN_VISIBILITY_TIMEOUT_S,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}

# Without confirms the last messages before a publisher ends are lost; classic queues repeat a whole backlog.
AMQP_OPTIONS: dict[str, Any] = {"confirm_publish": True}
AMQP_DEFAULTS: dict[str, Any] = {"task_default_queue_type": "quorum"}


def create_app(settings: Settings) -> Celery:
    """The app that these settings describe. Nothing is connected."""
    addresses = embedded_broker.resolve_addresses(settings)
    app = Celery(
        "livectl", broker=addresses.broker.celery_url, backend=addresses.results.celery_url, include=["livectl.tasks"]
    )
    app.conf.update(DEFAULTS | _broker_defaults(addresses.broker))
    app.conf.update(
        {key: value.reveal() if isinstance(value, Secret) else value for key, value in settings.celery.items()}
    )
    return app


def _broker_defaults(address: Address) -> dict[str, Any]:
    if address.is_redis:
        return {"broker_transport_options": REDIS_OPTIONS}
    return AMQP_DEFAULTS | {"broker_transport_options": AMQP_OPTIONS}


def __getattr__(name: str) -> Any:
    """Makes `app` on first use, from the environment and folder of this process."""
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    process_settings = livectl_settings.load(os.environ, Path.cwd())
    app = create_app(process_settings)
    job_log.JobEventRecorder(embedded_broker.resolve_addresses(process_settings).store, app.main).connect_signals()
    globals()["app"] = app
    return app
