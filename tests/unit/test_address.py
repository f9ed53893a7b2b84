"""Addresses: read in every spelling, written for each client, and no password in an error."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livectl.address import Address
from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://host", "redis://host:6379/0"),
        ("redis://host/", "redis://host:6379/0"),
        ("redis://host?db=3", "redis://host:6379/3"),
        ("redis://", "redis://localhost:6379/0"),
        ("redis:///2", "redis://localhost:6379/2"),
        ("REDIS://Host/1", "redis://Host:6379/1"),
        ("  redis://host  ", "redis://host:6379/0"),
        ("localhost", "redis://localhost:6379/0"),
        ("redis", "redis://redis:6379/0"),
        ("redis:6379", "redis://redis:6379/0"),
        ("redis:6379/2", "redis://redis:6379/2"),
        ("127.0.0.1:6379", "redis://127.0.0.1:6379/0"),
        ("10.0.0.5:6380/2", "redis://10.0.0.5:6380/2"),
        ("user:pw@host:6379", "redis://user:pw@host:6379/0"),
        ("[::1]:6379", "redis://[::1]:6379/0"),
        ("redis://[2001:db8::1]/1", "redis://[2001:db8::1]:6379/1"),
        ("valkey://host/3", "redis://host:6379/3"),
        ("valkeys://host", "rediss://host:6379/0"),
        ("rediss://user:pw@host:1/2", "rediss://user:pw@host:1/2"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "rediss://h:6379/0?ssl_cert_reqs=none"),
        ("rediss://h?ssl_ca_certs=/a/b.pem", "rediss://h:6379/0?ssl_ca_certs=%2Fa%2Fb.pem"),
        ("redis://:p%40ss@host/1", "redis://:p%40ss@host:6379/1"),
        ("redis://:a:b@host", "redis://:a%3Ab@host:6379/0"),
        ("redis://:%2F%3F%23%25@host", "redis://:%2F%3F%23%25@host:6379/0"),
        ("unix:///run/v.sock?db=1", "unix:///run/v.sock?db=1"),
        ("unix:///run/v.sock", "unix:///run/v.sock?db=0"),
        ("unix://:pw@/run/v.sock", "unix://:pw@/run/v.sock?db=0"),
        ("unix:///run/a%20b.sock", "unix:///run/a%20b.sock?db=0"),
        ("redis+socket:///run/v.sock?virtual_host=2", "unix:///run/v.sock?db=2"),
        ("redis+socket:///run/v.sock?db=2", "unix:///run/v.sock?db=2"),
        ("valkey+unix:///run/v.sock", "unix:///run/v.sock?db=0"),
        ("/run/v.sock", "unix:///run/v.sock?db=0"),
        ("amqp://", "amqp://localhost:5672//"),
        ("amqp://host", "amqp://host:5672//"),
        ("amqp://host//", "amqp://host:5672//"),
        ("amqp://host/%2F", "amqp://host:5672//"),
        ("amqp://user:pw@host:5673/prod", "amqp://user:pw@host:5673/prod"),
        ("amqp://user@host/a%2Fb", "amqp://user@host:5672/a%2Fb"),
        ("pyamqp://user:pw@host", "amqp://user:pw@host:5672//"),
        ("amqps://host/prod", "amqps://host:5671/prod"),
        ("rabbit:5672", "amqp://rabbit:5672//"),
        ("rabbit:5671/prod", "amqps://rabbit:5671/prod"),
    ],
)
def test_every_spelling_has_one_canonical_form(written: str, url: str) -> None:
    address = Address.parse(written)
    assert address.url == url
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("", "empty", "redis://host:6379/0"),
        ("redis:/h", "two slashes", "Write redis://h:6379/0."),
        ("redis:h:6380/1", "two slashes", "Write redis://h:6380/1."),
        ("unix:/run/v.sock", "two slashes", "Write unix:///run/v.sock?db=0."),
        ("redis:/:secret@h", "two slashes", "redis://:PASSWORD@host"),
        ("unix://run/v.sock", "whole path", "unix:///path/to.sock?db=0"),
        ("unix://", "whole path", "unix:///path/to.sock?db=0"),
        ("redis://host:port", "a port is a number", "redis://host:6379/"),
        ("redis://host:99999", "a port is a number", "redis://host:6379/"),
        ("redis://host:0", "a port is a number", "redis://host:6379/"),
        ("redis://host:", "a port is a number", "redis://host:6379/"),
        ("amqp://host:five", "a port is a number", "amqp://host:5672/"),
        ("redis://user:secret", "a port is a number", "redis://host:6379/"),
        ("redis://a:1,b:2", "a host is", "redis://host:6379/"),
        ("a,b", "a host is", "redis://host:6379/"),
        ("redis://::1", "a host is", "[::1]"),
        ("a host", "a host is", "redis://host:6379/"),
        ("redis://host/queue", "a database of Redis is one number", "redis://host:6379/0"),
        ("redis://host/0/1", "a database of Redis is one number", "redis://host:6379/0"),
        ("redis://host/-1", "a database of Redis is one number", "redis://host:6379/0"),
        ("redis://host/1?db=2", "a database of Redis is one number", "redis://host:6379/0"),
        ("redis://host/1;drop", "a database of Redis is one number", "redis://host:6379/0"),
        ("redis+socket:///s?db=1&virtual_host=2", "a database of Redis is one number", "unix:///path"),
        ("redis://:secret@x@host/1", "more than one @", "%40"),
        ("redis://:secret/x@host/1", "a / ? or #", "%2F"),
        ("redis://:secret?x@host/1", "a / ? or #", "%3F"),
        ("redis://:secret#x@host/1", "a / ? or #", "%23"),
        ("redis://secret@host", "a user without a password", "redis://:PASSWORD@host:6379/0"),
        ("redis://host?password=secret", "an option that", "db"),
        ("rediss://host?ssl_certs=x", "an option that", "Write ssl_ca_certs."),
        ("amqp://host?heartbeat=1", "an option that", "Leave it out."),
        ("rdis://host", "rdis:// is no broker", "Write redis://."),
        ("http://host", "http:// is no broker", "amqp://user:password@host:5672//"),
        ("sqs://", "sqs:// is no broker", "redis://host:6379/0"),
        ("memory://", "memory:// is no broker", "redis://host:6379/0"),
    ],
)
def test_a_wrong_address_is_refused_with_the_right_spelling(written: str, message: str, hint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Address.parse(written)
    assert message in refused.value.message
    assert hint in refused.value.hint
    assert "secret" not in str(refused.value) + refused.value.hint


PASSWORDS = ["s3cret", "s3cret@x", "s3cret/x", "x/s3cret", "s3cret?x", "x?s3cret", "x#s3cret", "x@s3cret", "s3cret:x"]
PASSWORDS += [quote(password, safe="") for password in PASSWORDS] + ["%s3cret", "s3cret%", "x?s3cret=1"]


@given(
    st.sampled_from(
        ["", "redis://", "redis:/", "redis:", "rediss://", "rdis://", "unix://", "unix:", "amqp://", "x:/"]
    ),
    st.sampled_from(["", "user", "x"]),
    st.sampled_from(PASSWORDS),
    st.sampled_from(["host", "host:6379", "host:port", "host:6379/0/1", "a,b", "", "/run/v.sock", "host?x=1"]),
)
def test_no_error_and_no_masked_form_shows_a_password(scheme: str, user: str, password: str, place: str) -> None:
    try:
        address = Address.parse(f"{scheme}{user}:{password}@{place}")
        shown = address.masked + repr(address) + str(address) + f"{address}" + repr([address])
    except SettingsError as error:
        shown = error.message + error.hint
    assert "s3cret" not in shown


@given(st.text(st.characters(codec="utf-8", min_codepoint=33), min_size=1, max_size=12))
def test_any_password_survives_when_it_is_escaped(password: str) -> None:
    address = Address.parse(f"redis://:{quote(password, safe='')}@host/1")
    assert address.password == password
    assert Address.parse(address.url) == address


@given(st.text("redisuxam+:/@?#.%[]0123456789 \0é,;=&", max_size=30))
def test_any_text_is_an_address_or_a_settings_error(text: str) -> None:
    with suppress(SettingsError):
        address = Address.parse(text)
        assert Address.parse(address.url) == address


def test_rabbitmq_is_no_redis() -> None:
    assert not Address.parse("amqp://host").is_redis
    with pytest.raises(SettingsError, match="amqp://user:\\*\\*\\*@host:5672// is no Redis"):
        _ = Address.parse("amqp://user:pw@host").redis_url


@pytest.mark.parametrize(
    ("written", "kombu"),
    [
        ("unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
        ("redis://:pw@host/1", "redis://:pw@host:6379/1"),
        ("rediss://host", "rediss://host:6379/0?ssl_cert_reqs=required"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host:6379/0?ssl_cert_reqs=none"),
        ("amqp://u:p@host/v", "amqp://u:p@host:5672/v"),
    ],
)
def test_celery_is_given_what_it_wants(written: str, kombu: str) -> None:
    assert Address.parse(written).celery_url == kombu


@pytest.fixture
def guarded(valkey: Path) -> Iterator[Address]:
    """The store as a user with an awkward password, in database 3."""
    from redis import Redis

    address = Address(scheme="unix", path=str(valkey), user="some@one", password="p@s/s:w?r#d%", database=3)
    with Redis(unix_socket_path=str(valkey)) as admin:
        admin.execute_command(
            "ACL", "SETUSER", address.user, "on", f">{address.password}", "allkeys", "allchannels", "+@all"
        )
        yield address
        admin.acl_deluser("some@one")


def _who(client: Redis) -> tuple[str, int]:
    name = client.acl_whoami()
    return name.decode() if isinstance(name, bytes) else str(name), client.connection_pool.connection_kwargs["db"]


def test_redis_py_understands_it(guarded: Address) -> None:
    from redis import Redis

    with Redis.from_url(guarded.redis_url, decode_responses=True) as client:
        assert _who(client) == ("some@one", 3)


def test_celery_understands_it_as_broker_and_backend(guarded: Address) -> None:
    from celery import Celery

    app = Celery("demo", broker=guarded.celery_url, backend=guarded.celery_url, set_as_current=False)
    with app.connection_for_write() as broker:
        assert _who(broker.default_channel.client) == ("some@one", 3)
    backend = app.backend.client
    assert _who(backend) == ("some@one", 3)
    backend.close()


@pytest.mark.parametrize("written", ["redis://u:p%40@h:1/2", "rediss://u:p%40@h:1/2", "amqps://u:p%40@h:1/2"])
def test_kombu_takes_a_network_address_apart_as_we_do(written: str) -> None:
    from kombu import Connection

    address = Address.parse(written)
    with Connection(address.celery_url) as connection:
        assert (connection.hostname, connection.port) == ("h", 1)
        assert (connection.userid, connection.password) == ("u", "p@")
        assert connection.virtual_host.strip("/") == "2"
        assert bool(connection.ssl or written.startswith("amqps")) == (address.scheme != "redis")


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("redis://host", "redis://host:6379/0"),
        ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
        (
            "rediss+cluster://u:pw@a,b:2,[::1]:7?ssl_ca_certs=/x",
            "rediss+cluster://u:pw@a:6379,b:2,[::1]:7?ssl_ca_certs=%2Fx",
        ),
        ("valkeys+cluster://a", "rediss+cluster://a:6379"),
        ("redis-cluster://a", "redis+cluster://a:6379"),
        ("redis://a:1,b:2", "redis+cluster://a:1,b:2"),
        ("a:1,b:2", "redis+cluster://a:1,b:2"),
        ("redis://:pw@a:1, redis://:pw@b:2,redis://a:1", "redis+cluster://:pw@a:1,b:2"),
        ("redis+sentinel://:pw@a,b:2/shop/3", "redis+sentinel://:pw@a:26379,b:2/shop/3"),
        ("rediss-sentinel://a/shop?sentinel_password=x", "rediss+sentinel://a:26379/shop/0?sentinel_password=x"),
        ("sentinel://:pw@a:1;sentinel://b/2?master_name=shop", "redis+sentinel://:pw@a:1,b:26379/shop/2"),
        ("redis://:a,b@host/1", "redis://:a%2Cb@host:6379/1"),
        ("unix:///run/a,b.sock", "unix:///run/a%2Cb.sock?db=0"),
    ],
)
def test_a_store_may_have_several_addresses(written: str, url: str) -> None:
    address = Address.parse_store(written)
    assert address.url == url
    assert Address.parse_store(url) == address
    assert "pw" not in address.masked
    assert "=x" not in address.masked.replace("=%2Fx", "")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("redis+cluster://a/3", "one database alone"),
        ("redis+sentinel://a", "names none"),
        ("sentinel://a/0", "names none"),
        ("redis+sentinel://a/x/y/0", "too much"),
        ("redis://a,rediss://b", "different kinds"),
        ("amqp://a,amqp://b", "different kinds"),
        ("unix:///a,unix:///b", "different kinds"),
        ("amqp://a,b", "a host is a name"),
        ("redis+cluster://a,b:x", "a port is a number"),
    ],
)
def test_addresses_that_are_no_store(written: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        Address.parse_store(written)
    assert refused.value.hint


@pytest.mark.parametrize("written", ["redis+cluster://a,b", "sentinel://a", "rediss+sentinel://a/shop"])
def test_a_broker_is_one_server(written: str) -> None:
    with pytest.raises(SettingsError, match="one server"):
        Address.parse(written)
