"""Finds out where an app keeps its messages, results and state, and under which keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl import server_check, tls
from livectl.address import PORTS, Address
from livectl.errors import ServerError, SettingsError
from livectl.ops.protocol import keys
from livectl.redis_client import SERVER_TIMEOUT_S
from livectl.secret import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from celery import Celery

    from livectl.ops.protocol.keys import KeyLayout
    from livectl.settings import Settings


# livectl's own app has a queue, and keys for what its workers hold, of its own: on a server that it shares, it takes
# nobody's jobs, and gives back nobody's after its own timeout.
OWN_APP_NAME = "livectl"
OWN_QUEUE = "livectl"
OWN_TASK_PREFIX = "livectl."
ROUTINE_TASKS = frozenset(  # what livectl sends itself, by the schedule or for what that sends
    f"{OWN_TASK_PREFIX}{name}" for name in ("sweep", "list", "check", "learn", "deliver", "digest", "prune")
)
OWN_REDIS_OPTIONS: dict[str, Any] = {
    "visibility_timeout": 120,  # seconds; its jobs end within 60 s
    "unacked_key": "livectl:unacked",
    "unacked_index_key": "livectl:unacked_index",
    "unacked_mutex_key": "livectl:unacked_mutex",
}

# Backends that keep nothing, or reply to the sender alone.
BACKENDS_WITHOUT_RESULTS = frozenset({"", "disabled", "rpc", "amqp"})
TLS_OPTION_NAMES = ("cert_reqs", "ca_certs", "certfile", "keyfile", "check_hostname")
BACKENDS_FOR_SENDER = frozenset({"rpc", "amqp"})
RABBITMQ_TRANSPORTS = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq"})


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One app and its servers. An address that is None is reached through Celery, or not at all."""

    broker: Address | None
    results: Address | None
    store: Address | None
    layout: KeyLayout
    app: Any = None  # the Celery app, if it had to be loaded
    transport: str = "redis"  # the broker's kind, in kombu's word
    keeps_results: bool = True
    answers_sender_alone: bool = False  # results go back to whoever sent the job, and to nobody else
    remote_control: bool = True  # whether its workers listen to remote control
    named_queues: frozenset[str] = frozenset()  # those that livectl.yaml has for workers and tasks of the app

    @property
    def app_name(self) -> str:
        """The name of the app in what is noted of it; empty for one that has none."""
        return OWN_APP_NAME if self.app is None else str(self.app.main or "")

    @property
    def no_results_text(self) -> str:
        """Why nobody can look results up, where `keeps_results` is false."""
        return (
            "this app's results go back to the sender alone (rpc://)"
            if self.answers_sender_alone
            else "this app keeps no results"
        )

    @property
    def store_to_read(self) -> Address:
        """The store; ServerError where there is none."""
        if self.store is None:
            raise ServerError("there is no store to read", "Set `store:` in livectl.yaml.")
        return self.store

    @property
    def redis_broker(self) -> Address | None:
        """The broker, if it is a Redis whose messages livectl can read."""
        return self.broker if self.broker is not None and self.broker.is_redis else None

    @property
    def on_redis(self) -> bool:
        return self.redis_broker is not None

    @property
    def on_rabbitmq(self) -> bool:
        return self.transport in RABBITMQ_TRANSPORTS


def find(name: str | None, settings: Settings, cwd: Path) -> Deployment:
    """The deployment of the app of this name; without a name livectl's own, for which Celery is not imported."""
    if name is None:
        return own_deployment(settings)
    return from_app(load_app(name, cwd), settings)


def of_loaded(app: Any, settings: Settings) -> Deployment:
    """The deployment of an app that is there already, be it livectl's own."""
    return own_deployment(settings) if app.main == OWN_APP_NAME else from_app(app, settings)


def load_app(name: str, cwd: Path) -> Celery:
    """The app of this name, for livectl to send with: on RabbitMQ its messages are confirmed."""
    from livectl.ops import apps
    from livectl.ops.transport import rabbitmq

    app = apps.load(name, cwd)
    rabbitmq.confirm_messages(app)
    return app


def find_without_import(name: str | None, settings: Settings, environ: Mapping[str, str], cwd: Path) -> Deployment:
    """The same, without importing the app if settings or environment name its broker."""
    broker_url = environ.get("CELERY_BROKER_URL") if name else None
    broker = settings.broker or (_parse_address(broker_url) if broker_url else None)
    if broker is None:
        return find(name, settings, cwd)
    store = settings.store or (broker if broker.is_redis else None)
    layout = (
        keys.layout_from_settings(settings.celery)
        if name
        else own_layout(settings.celery, settings.platform_queues.values())
    )
    return Deployment(broker=broker, results=settings.results, store=store, layout=layout)


def own_deployment(settings: Settings) -> Deployment:
    from livectl.ops.processes import embedded_broker

    addresses = embedded_broker.resolve_addresses(settings)
    return Deployment(
        broker=addresses.broker,
        results=addresses.results,
        store=addresses.store,
        layout=own_layout(settings.celery, settings.platform_queues.values()),
        transport="redis" if addresses.broker.is_redis else "amqp",
    )


def own_layout(celery_settings: Mapping[str, Any], more_queues: Iterable[str] = ()) -> KeyLayout:
    """The keys of livectl's own app, with these settings of `celery:`, and queues beside the usual one."""
    options = OWN_REDIS_OPTIONS | (celery_settings.get("broker_transport_options") or {})
    own_settings = {"task_default_queue": OWN_QUEUE, **celery_settings, "broker_transport_options": options}
    queues = dict.fromkeys((own_settings["task_default_queue"], *sorted(more_queues)))
    return keys.layout_from_settings(own_settings, tuple(queues))


def from_app(app: Any, settings: Settings) -> Deployment:
    """The deployment that the settings of an app describe. Connects to nothing."""
    url = _broker_url(app)
    broker = _with_tls(_parse_address(url), url, app.conf.broker_use_ssl)
    results = _results_on_redis(app)
    store = settings.store or (broker if broker and broker.is_redis else results)
    KNOWN.add(lambda: {address.password for address in (broker, results) if address})
    return Deployment(
        broker=broker,
        results=results,
        store=store,
        layout=keys.layout_from_settings(
            app.conf, tuple(sorted({*app.amqp.queues.consume_from, *_routed_queues(app.conf.task_routes)}))
        ),
        app=app,
        transport=url.partition(":")[0] or "amqp",
        keeps_results=_backend_name(app).partition(":")[0] not in BACKENDS_WITHOUT_RESULTS,
        answers_sender_alone=_backend_name(app).partition(":")[0] in BACKENDS_FOR_SENDER,
        remote_control=bool(app.conf.worker_enable_remote_control),
        named_queues=frozenset(
            {queue for worker in settings.workers.values() for queue in worker.queues}
            | {entry.queue for entry in settings.tasks.values() if entry.queue}
        ),
    )


def celery_client(deployment: Deployment) -> Any:
    """A Celery app to ask and send with: the app itself, or a bare one with the addresses of livectl's own."""
    if deployment.app is not None:
        return deployment.app
    from celery import Celery

    from livectl.ops.transport import rabbitmq

    broker, results = deployment.broker, deployment.results
    app = Celery(
        "livectl", broker=broker.celery_url if broker else None, backend=results.celery_url if results else None
    )
    app.conf.update(broker_tls(broker))
    rabbitmq.confirm_messages(app)
    return app


def broker_tls(broker: Address | None) -> dict[str, Any]:
    """The Celery settings for the TLS of a RabbitMQ: its address in Celery's spelling cannot hold the options."""
    return {"broker_use_ssl": tls.amqp_options(broker)} if broker and broker.scheme == "amqps" else {}


def check_broker(deployment: Deployment, timeout_s: float = SERVER_TIMEOUT_S) -> None:
    """Raises ServerError within this time when the broker does not answer, refuses, or takes nothing."""
    if deployment.broker is not None:
        server_check.check_server(deployment.broker, timeout_s)
    elif deployment.app is not None:
        server_check.check_broker_of(deployment.app, timeout_s)


def keep_client(deployment: Deployment) -> Deployment:
    """The same deployment with its Celery client made once, for a caller that asks again and again."""
    if deployment.app is not None or deployment.on_redis:
        return deployment
    return msgspec.structs.replace(deployment, app=celery_client(deployment))


def broker_urls(app: Any) -> list[str]:
    """The broker's addresses: the first, and those that Celery turns to when it is away."""
    urls = app.conf.broker_read_url or app.conf.broker_url or "amqp://"
    return [str(url) for url in urls] if isinstance(urls, list | tuple) else str(urls).split(";")


def _broker_url(app: Any) -> str:
    return broker_urls(app)[0].split(";")[0]


def _routed_queues(routes: Any) -> set[str]:
    """The queues that routes name. Routes that are functions name none before they are called."""
    tables = routes if isinstance(routes, list | tuple) else [routes]
    targets = [target for table in tables if isinstance(table, dict) for target in table.values()]
    queues = [target.get("queue") for target in targets if isinstance(target, dict)]
    return {str(getattr(queue, "name", queue)) for queue in queues if queue}


def _backend_name(app: Any) -> str:
    return str(app.conf.result_backend or "")


def _results_on_redis(app: Any) -> Address | None:
    """The result backend, if livectl can read what it keeps: JSON on a Redis."""
    is_plain_json = app.conf.result_serializer == "json" and not app.conf.result_compression
    return redis_backend(app) if is_plain_json else None


def redis_backend(app: Any) -> Address | None:
    """The Redis that keeps the results of an app, in whatever form."""
    name = _backend_name(app)
    address = _parse_address(name) if "://" in name else None
    if address is None or not address.is_redis:
        return None
    return _with_tls(address, name, app.conf.redis_backend_use_ssl)


def _with_tls(address: Address | None, url: str, use_ssl: Any) -> Address | None:
    """The address with the TLS that `broker_use_ssl` or `redis_backend_use_ssl` add to it, as Celery reads them."""
    if address is None or address.scheme == "unix":
        return address
    if address.scheme == "rediss" and not use_ssl and not address.options:
        use_ssl = {"ssl_cert_reqs": "none"}  # so kombu takes such an address
    if not use_ssl or (address.is_redis and not isinstance(use_ssl, dict)):
        return address
    options = {name.removeprefix("ssl_"): value for name, value in use_ssl.items()} if isinstance(use_ssl, dict) else {}
    tls = [(f"ssl_{name}", _tls_text(options[name])) for name in TLS_OPTION_NAMES if options.get(name) is not None]
    if address.is_redis:
        return msgspec.structs.replace(address, scheme="rediss", options=tuple(tls))
    has_port = f":{address.port}" in url
    return msgspec.structs.replace(
        address, scheme="amqps", port=address.port if has_port else PORTS["amqps"], options=tuple(tls)
    )


def _tls_text(value: Any) -> str:
    """An option of Celery's as an address has it: ssl.CERT_NONE is `none`."""
    return str(getattr(value, "name", value)).removeprefix("CERT_").lower() if not isinstance(value, str) else value


def _parse_address(url: str) -> Address | None:
    """None for an address that livectl itself cannot use: Sentinel, SQS, a database, options of redis-py."""
    try:
        return Address.parse(url)
    except SettingsError:
        return None
