"""Makes livectl's own Celery app, for `celery -A livectl.celeryapp worker|beat|inspect|flower|…`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from celery.backends.redis import RedisBackend
from celery.utils.log import get_logger

from livectl import redaction
from livectl.errors import LivectlError
from livectl.ops import deployment
from livectl.ops.cluster import purge
from livectl.ops.jobs import job_recorder
from livectl.ops.processes import embedded_broker, running_settings
from livectl.ops.protocol import keys
from livectl.secret import Secret
from livectl.task_settings import expected_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from livectl.settings import Settings
    from livectl.settings_watch import SettingsWatch

logger = get_logger(__name__)

# Chosen against measured faults: a job outlives its worker, a dead broker is noticed, nothing is pickled.
DEFAULTS: dict[str, Any] = {
    "task_default_queue": deployment.OWN_QUEUE,
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
    "result_backend_max_retries": 120,  # about two minutes
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
    **deployment.OWN_REDIS_OPTIONS,
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
AMQP_DEFAULTS: dict[str, Any] = {
    "task_default_queue_type": "quorum",
    "task_create_missing_queue_type": "quorum",
    "worker_consumer": "livectl.ops.transport.consumer:FrugalConsumer",
}


class RedactingRedisBackend(RedisBackend):  # type: ignore[misc]
    """Keeps the error of a job without the secrets that may be in its words."""

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        prepared = super().prepare_exception(exc, serializer)
        return redaction.hide_secrets_in(prepared) if isinstance(prepared, dict) else prepared

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> Any:
        hidden = redaction.hide_secrets(str(traceback)) if traceback else traceback
        return super().store_result(task_id, result, state, traceback=hidden, request=request, **kwargs)


def create_app(settings: Settings) -> Celery:
    """The app that these settings describe. Nothing is connected."""
    addresses = embedded_broker.resolve_addresses(settings)
    app = Celery(
        deployment.OWN_APP_NAME,
        broker=addresses.broker.celery_url,
        backend=addresses.results.celery_url,
        include=["livectl.tasks"],
        amqp=None if addresses.broker.is_redis else "livectl.ops.transport.rabbitmq:SettledAMQP",
    )
    app.loader.override_backends = dict.fromkeys(("redis", "rediss"), f"{__name__}:RedactingRedisBackend")
    chosen: dict[str, Any] = {
        key: value.reveal() if isinstance(value, Secret) else value for key, value in settings.celery.items()
    }
    options = REDIS_OPTIONS if addresses.broker.is_redis else AMQP_OPTIONS
    chosen["broker_transport_options"] = options | (chosen.get("broker_transport_options") or {})
    app.conf.update(deployment.broker_tls(addresses.broker))
    app.conf.update(DEFAULTS | ({} if addresses.broker.is_redis else AMQP_DEFAULTS) | chosen)
    for name in sorted({*settings.platform_queues.values()} - {*app.amqp.queues}):
        app.amqp.queues.select_add(app.amqp.queues.new_missing(name))
    return app


def adopt_old_jobs(settings: Settings, tasks: Collection[str]) -> int:
    """Takes over the jobs that a livectl before 0.2 left on its embedded broker, in Celery's usual queue.

    On a broker that the settings name, that queue may be another app's: it is left alone.
    """
    if settings.broker is not None:
        return 0
    return purge.adopt_jobs(deployment.own_deployment(settings), keys.layout_from_settings(settings.celery), tasks)


def _adopt_old_jobs_at_start(settings: Settings) -> None:
    def adopt(instance: Any, **_: Any) -> None:
        try:
            if moved := adopt_old_jobs(settings, instance.app.tasks):
                logger.warning("%d jobs of an earlier livectl moved to the queue %s", moved, deployment.OWN_QUEUE)
        except LivectlError as error:
            logger.warning("whether jobs of an earlier livectl wait is not known: %s", error.message)

    signals.celeryd_after_setup.connect(adopt, weak=False, dispatch_uid="livectl.adopt_old_jobs")


def _redact_logs() -> None:
    """Of workers and beats: lines about jobs hold their results and errors."""
    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(lambda logger, **_: redaction.redact_logs_of(logger), weak=False, dispatch_uid="livectl.redact")


def _watch_settings_in_worker(watch: SettingsWatch) -> None:
    """A worker looks at its settings every other second, busy or idle; its children look before they run a job."""

    def note_start(sender: Any, **_: Any) -> None:
        running_settings.note_start("worker", watch.started, Path.cwd(), name=sender.hostname)

    for signal, name, handler in (
        (signals.heartbeat_sent, "watch_settings", lambda **_: watch.current()),
        (signals.worker_init, "note_start", note_start),
        (signals.worker_shutdown, "forget_start", lambda **_: running_settings.forget_start("worker", watch.started)),
    ):
        signal.connect(handler, weak=False, dispatch_uid=f"livectl.{name}")


def __getattr__(name: str) -> Any:
    """Makes `app` on first use, from the environment and folder of this process."""
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from livectl import tasks

    watch = tasks.settings_watch()
    app = create_app(watch.started)
    store = embedded_broker.resolve_addresses(watch.started).store
    recorder = job_recorder.JobEventRecorder(store, app.main, watch.started.history)
    recorder.expects = expected_of(lambda: watch.current().tasks)
    recorder.connect_signals()
    _redact_logs()
    _adopt_old_jobs_at_start(watch.started)
    _watch_settings_in_worker(watch)
    globals()["app"] = app
    return app
