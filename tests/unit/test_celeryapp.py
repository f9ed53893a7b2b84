"""livectl's own app: its names on a server that it shares, and what `celery:` of livectl.yaml changes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from livectl import celeryapp, settings
from livectl.ops import deployment

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.settings import Settings

REDIS, RABBITMQ = "redis://127.0.0.1:1/0", "amqp://127.0.0.1:1/v"


def load(folder: Path, broker: str, celery: str = "{}", platforms: str = "{}") -> Settings:
    (folder / "livectl.yaml").write_text(f"celery: {celery}\nplatforms: {platforms}\n")
    environ = {"LIVECTL_BROKER": broker, "LIVECTL_STORE": REDIS, "LIVECTL_HOME": str(folder)}
    return settings.load(environ, folder)


def test_on_a_redis_what_its_workers_hold_is_under_keys_of_its_own(tmp_path: Path) -> None:
    """Under kombu's usual ones it would give back the messages of other apps after its own, short, timeout."""
    with celeryapp.create_app(load(tmp_path, REDIS)) as app:
        channel = app.connection().transport.Channel
        options = app.conf.broker_transport_options
        names = ("unacked_key", "unacked_index_key", "unacked_mutex_key")
        assert all(options[name].startswith("livectl:") for name in names)
        assert not {options[name] for name in names} & {getattr(channel, name) for name in names}
        assert set(names) <= set(channel.from_transport_options), "kombu would not read them"


@pytest.mark.parametrize("broker", [REDIS, RABBITMQ])
def test_its_queue_exchange_and_routing_key_bear_its_name(tmp_path: Path, broker: str) -> None:
    with celeryapp.create_app(load(tmp_path, broker)) as app:
        queue = app.amqp.queues["livectl"]
        assert list(app.amqp.queues) == ["livectl"]
        assert (queue.exchange.name, queue.routing_key, queue.exchange.type) == ("livectl", "livectl", "direct")
        assert (queue.queue_arguments or {}).get("x-queue-type") == ("quorum" if broker == RABBITMQ else None)


@pytest.mark.parametrize("broker", [REDIS, RABBITMQ])
def test_workers_read_the_queues_of_platforms_by_default(tmp_path: Path, broker: str) -> None:
    platforms = "{douyu: {queue: slow}, huya: {queue: slow}, kick: {queue: livectl}, twitch: {budget: 1/s}}"
    loaded = load(tmp_path, broker, platforms=platforms)
    with celeryapp.create_app(loaded) as app:
        assert list(app.amqp.queues.consume_from) == ["livectl", "slow"]
        assert app.amqp.queues["slow"].queue_arguments == app.amqp.queues["livectl"].queue_arguments
        assert deployment.own_deployment(loaded).layout.queues == ("livectl", "slow")
        app.amqp.queues.deselect(["slow"])  # -X slow
        assert list(app.amqp.queues.consume_from) == ["livectl"]


@pytest.mark.parametrize(
    ("broker", "celery", "kept"),
    [
        (REDIS, "{broker_transport_options: {global_keyprefix: x}}", {"unacked_key": "livectl:unacked"}),
        (REDIS, "{broker_transport_options: {visibility_timeout: 600}}", {"unacked_restore_interval": 5}),
        (RABBITMQ, "{broker_transport_options: {heartbeat: 9}}", {"confirm_publish": True}),
    ],
)
def test_a_transport_option_of_the_user_leaves_the_others_as_they_are(
    tmp_path: Path, broker: str, celery: str, kept: dict[str, Any]
) -> None:
    with celeryapp.create_app(load(tmp_path, broker, celery)) as app:
        assert app.conf.broker_transport_options.items() >= kept.items()


@pytest.mark.parametrize(
    "celery", ["{}", "{task_default_queue: mine}", "{broker_transport_options: {global_keyprefix: x, unacked_key: u}}"]
)
def test_commands_look_under_the_names_that_the_app_has(tmp_path: Path, celery: str) -> None:
    """They do not import Celery, and so read the settings by themselves."""
    loaded = load(tmp_path, REDIS, celery)
    with celeryapp.create_app(loaded) as app:
        layout = deployment.from_app(app, loaded).layout
        assert deployment.own_deployment(loaded).layout == layout
        assert deployment.find_without_import(None, loaded, {}, tmp_path).layout == layout
