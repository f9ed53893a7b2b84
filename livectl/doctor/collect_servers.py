"""Collects what broker, store and result backend say of themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client, server_check
from livectl.doctor.facts import ServerFacts, ServerRole
from livectl.errors import ServerAwayError, ServerError
from livectl.ops import deployment as deployments
from livectl.redaction import redact_text
from livectl.redis_cluster import ClusterConnection
from livectl.redis_replies import RedisReplyError

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.redis_client import RedisConnection
    from livectl.redis_cluster import Node


LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared with, not listened on
REDIS_TIMEOUT_S = 2.0
KOMBU_TIMEOUT_S = 2.0
BROKER_URL_HINT = "Write redis:// for Redis and Valkey, amqp:// for RabbitMQ."
UNKNOWN_JOB_ID = "livectl-doctor"


def read_server(role: ServerRole, address: Address, *, login_only: bool = False) -> ServerFacts:
    """A server that livectl can talk to itself; with `login_only` no more than whether it lets livectl in."""
    is_local = not address.path and address.host in LOCAL_HOSTS
    facts = ServerFacts(role=role, address=address.masked, is_local=is_local)
    try:
        if login_only or not address.is_redis:
            server_check.check_server(address)
            return facts
        with redis_client.connect(address, REDIS_TIMEOUT_S) as connection:
            facts = _read_redis(facts, connection)
            if isinstance(connection, ClusterConnection):
                nodes = tuple(_read_node(role, connection, node) for node in connection.find_nodes())
                facts = msgspec.structs.replace(facts, nodes=nodes)
            return facts
    except ServerError as error:
        is_away = isinstance(error, ServerAwayError)
        return msgspec.structs.replace(facts, error=error.message, cure=error.hint, is_away=is_away)


def read_kombu_broker(app: Any) -> ServerFacts:
    """A broker that only kombu can talk to."""
    with app.connection_for_read() as connection:
        masked = redact_text(connection.as_uri())
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=KOMBU_TIMEOUT_S)
        except Exception as error:
            return ServerFacts(role="broker", address=masked, error=redact_text(f"{type(error).__name__}: {error}"))
    return ServerFacts(role="broker", address=masked)


def read_broker_without_transport(app: Any) -> ServerFacts | None:
    """A broker whose scheme Celery does not know, though livectl may; None when Celery knows it."""
    try:
        _ = app.connection_for_read().transport_cls
    except KeyError as error:
        message = f"Celery has no transport for {error.args[0]}"
        return ServerFacts(role="broker", address="", error=message, cure=BROKER_URL_HINT)
    except Exception:
        return None  # whatever else is wrong with it shows when it is reached
    return None


def read_result_backend(app: Any) -> ServerFacts:
    """A result backend that is no Redis: it is asked for a job that was never sent."""
    masked = redact_text(str(app.conf.result_backend))
    if (server := deployments.redis_backend(app)) is not None:
        return read_server("results", server)
    try:
        app.backend.get_task_meta(UNKNOWN_JOB_ID, cache=False)
    except Exception as error:
        error_text = redact_text(f"{type(error).__name__}: {error}")
        cure = "" if "://" in masked or ":" not in masked else f"Write redis://{masked}."
        return ServerFacts(
            role="results", address=masked, error=f"{error_text} (result_backend is {masked})", cure=cure
        )
    return ServerFacts(role="results", address=masked)


def _read_node(role: ServerRole, connection: ClusterConnection, node: Node) -> ServerFacts:
    facts = ServerFacts(role=role, address=connection.address_of(node).masked)
    try:
        return _read_redis(facts, connection.connect_to(node))
    except ServerError as error:
        return msgspec.structs.replace(facts, error=error.message)


def _read_redis(facts: ServerFacts, connection: RedisConnection) -> ServerFacts:
    before = time.time()
    info, clock, save = connection.call_all([("INFO",), ("TIME",), ("CONFIG", "GET", "save")])
    after = time.time()
    clock_ahead = 0.0
    if isinstance(clock, list):
        server_time = int(clock[0]) + int(clock[1]) / 1_000_000
        clock_ahead = server_time - after if server_time > after else min(0.0, server_time - before)
    return msgspec.structs.replace(
        facts,
        info={} if isinstance(info, RedisReplyError) else _parse_info(info),
        save_setting=save[1].decode() if isinstance(save, list) and len(save) > 1 else "unknown",
        clock_ahead=clock_ahead,
    )


def _parse_info(info: Any) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
