"""The embedded broker, as a real server under real faults."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection
from kombu.transport.redis import Transport
from redis.backoff import NoBackoff
from redis.retry import Retry

from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.errors import ServerError, SettingsError
from livectl.ops.processes import embedded_broker, process
from livectl.ops.processes.embedded_broker import EmbeddedBroker
from livectl.ops.transport.guarded_channel import guarded_transport
from livectl.redis_client import connect, using_store
from livectl.server_check import check_server
from tests.support.disks import fill, root_only, tiny_disk
from tests.support.waiting import HANG_SECONDS, LOOK_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def running(home: Path, said: list[str] | None = None) -> Iterator[embedded_broker.BrokerRecord]:
    """A server that answers, repaired as often as it needs; killed at the end. What it says is added to `said`."""
    said = [] if said is None else said
    server = EmbeddedBroker(home, said.append)
    child = server.launch()
    try:
        while not server.is_ready():
            with suppress(subprocess.TimeoutExpired):
                said.append(server.repair(child.wait(LOOK_SECONDS)))
                child = server.launch()
        record = embedded_broker.find_running(home)
        assert record is not None
        yield record
    finally:
        child.kill()
        child.wait(HANG_SECONDS)


def client(record: embedded_broker.BrokerRecord) -> redis.Redis:
    return redis.Redis(unix_socket_path=record.socket, decode_responses=True, retry=Retry(NoBackoff(), 0))


def test_it_runs_is_listed_and_is_gone(tmp_path: Path) -> None:
    assert embedded_broker.find_running(tmp_path) is None
    with running(tmp_path) as record, client(record) as store:
        assert store.ping()
        assert store.config_get("port")["port"] == "0"
        assert store.config_get("appendfsync")["appendfsync"] == "always"
        assert store.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert store.config_get("save")["save"] == ""
    assert embedded_broker.find_running(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of a process is read in /proc")
def test_it_keeps_small_memory_at_hand_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=5")
    with running(tmp_path) as record:
        words = Path(f"/proc/{record.pid}/environ").read_bytes().decode().replace("\0", ":")  # glibc splits it there
    assert "GLIBC_TUNABLES=glibc.malloc.tcache_count=2000" in words
    assert "=256:glibc.malloc.tcache_count=5:" in words, "the last one counts"


def test_after_an_end_in_order_its_data_is_there_and_nothing_names_it(tmp_path: Path) -> None:
    with running(tmp_path) as record, client(record) as store:
        store.set("kept", "yes")
        os.kill(record.pid, signal.SIGTERM)
        wait_for(lambda: embedded_broker.find_running(tmp_path) is None)
    EmbeddedBroker(tmp_path).clean_up()
    assert not (tmp_path / "broker.json").exists()
    with running(tmp_path) as record, client(record) as store:
        assert store.get("kept") == "yes"


def test_nobody_else_gets_in(tmp_path: Path) -> None:
    with running(tmp_path) as record:
        for path in (Path(record.socket), *tmp_path.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            shut = path.parent if path.parent != tmp_path else path
            assert not mode & 0o077 or not stat.S_IMODE(shut.stat().st_mode) & 0o077 or path.name == "broker.json"


@root_only
def test_another_user_is_refused_by_the_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)  # so that it is the broker's folder that refuses
    script = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    with running(tmp_path / "home") as record:
        (tmp_path / "home").chmod(0o755)
        completed = subprocess.run(
            ["/usr/bin/env", "python3", "-c", script, record.socket],
            user=65534,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
    assert "PermissionError" in completed.stderr


def test_a_second_one_for_the_same_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_broker, "RELEASE_SECONDS", 0.1)
    with running(tmp_path) as record, pytest.raises(ServerError) as refused:
        EmbeddedBroker(tmp_path).launch()
    assert f"pid {record.pid}" in refused.value.message
    assert record.socket in refused.value.message


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from livectl.ops.processes.embedded_broker import EmbeddedBroker\n"
        "server = EmbeddedBroker(Path(sys.argv[1])); server.launch()\n"
        "while not server.is_ready(): time.sleep(0.01)\n"
        "print('ready', flush=True); time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        starter.stdout.readline()
        record = embedded_broker.find_running(tmp_path)
        assert record
        starter.kill()
    wait_for(lambda: not process.is_alive(record.process))
    with running(tmp_path):  # the home is free again
        pass


def test_killed_while_it_is_written_to_it_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        with running(tmp_path) as record, client(record) as store:
            threading.Timer(0.3, os.kill, (record.pid, signal.SIGKILL)).start()
            with suppress(redis.ConnectionError):
                while True:
                    store.rpush("list", acknowledged)
                    acknowledged += 1
        with running(tmp_path) as record, client(record) as store:
            kept = store.lrange("list", 0, -1)
            assert [int(number) for number in kept[:acknowledged]] == list(range(acknowledged))
            assert len(kept) <= acknowledged + 1  # written, and killed before it could say so
            store.ltrim("list", 0, acknowledged - 1)
    assert acknowledged > 50


INCREMENT, BASE, MANIFEST = ".incr.aof", ".base.aof", ".manifest"
OLD, NEW = 50, 50  # jobs before the server wrote its base, and since
ZEROS = b"\0" * 4096


def rewrite(store: redis.Redis) -> None:
    """Lets the server write a base with all that it has, and begin a new increment."""
    before = store.info("persistence")["aof_base_size"]
    store.bgrewriteaof()
    wait_for(lambda: store.info("persistence")["aof_base_size"] != before)


def files(home: Path, pattern: str = "") -> list[Path]:
    return sorted((home / "data").glob(f"appendonlydir/*{pattern}"))


def kept_jobs(record: embedded_broker.BrokerRecord) -> tuple[int, int]:
    """How many old and new jobs are there: each list is whole from its beginning."""
    with client(record) as store:
        old, new = (store.lrange(name, 0, -1) for name in ("old", "new"))
        assert old == [f"{number}" for number in range(len(old))]
        assert new == [f"{number}" for number in range(len(new))]
        store.rpush("works", "again")
        return len(old), len(new)


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with old jobs in the base and new ones in the increment; its server ended."""
    home = tmp_path_factory.mktemp("filled") / "home"
    server = EmbeddedBroker(home)
    child = server.launch()
    wait_for(server.is_ready)
    with client(embedded_broker.BrokerRecord(0, "", server.socket)) as store:
        for number in range(OLD):
            store.rpush("old", number)
        rewrite(store)
        for number in range(NEW):
            store.rpush("new", number)
    assert server.is_responding()
    child.terminate()
    child.wait(HANG_SECONDS)
    server.clean_up()
    return home


def flip_bytes(body: bytes) -> bytes:
    return bytes(byte ^ 0xFF if at % 13 == 5 else byte for at, byte in enumerate(body))


def drop_increments(body: bytes) -> bytes:
    return b"".join(line for line in body.splitlines(keepends=True) if b"type i" not in line)


def misspell_last_command(body: bytes) -> bytes:
    return b"RPUXH".join(body.rsplit(b"RPUSH", 1))


@pytest.mark.parametrize(
    ("pattern", "damage", "old", "new", "said"),
    [
        (INCREMENT, lambda body: body[:-7], OLD, NEW - 1, "the rest is kept in"),  # as after a power cut
        (INCREMENT, lambda body: body + ZEROS, OLD, NEW, "the rest is kept in"),
        (INCREMENT, lambda body: body[:-7] + ZEROS, OLD, NEW - 1, "the rest is kept in"),
        (INCREMENT, lambda body: body + b"garbage" * 100, OLD, NEW, "the rest is kept in"),
        (INCREMENT, lambda body: body + b"*1\r\n$5\r\nMULTI\r\n" + body, OLD, NEW, "the rest is kept in"),
        (INCREMENT, misspell_last_command, OLD, NEW - 1, "the rest is kept in"),
        (INCREMENT, lambda body: body + b"*2\r\n$5\r\nRPUSH\r\n$3\r\nnew\r\n" + ZEROS, OLD, NEW, "the rest is kept in"),
        (INCREMENT, flip_bytes, OLD, 0, "could be read up to byte 0 of"),
        (INCREMENT, lambda body: b"", OLD, 0, "less data than it had: appendonly.aof.2.incr.aof has 0 bytes of"),
        (INCREMENT, None, OLD, 0, "less data than it had: appendonly.aof.2.incr.aof is missing"),
        (BASE, lambda body: body[:-7], None, NEW, "of appendonly.aof.2.base.aof, and it starts with that"),
        (BASE, lambda body: b"", 0, NEW, "less data than it had: appendonly.aof.2.base.aof has 0 bytes of"),
        (BASE, None, 0, NEW, "less data than it had: appendonly.aof.2.base.aof is missing"),
        (MANIFEST, None, OLD, NEW, "was missing, and is made anew"),
        (MANIFEST, lambda body: b"", OLD, NEW, "was empty, and is made anew"),
        (MANIFEST, lambda body: b"garbage\n", OLD, NEW, "was damaged (kept in"),
        (MANIFEST, lambda body: ZEROS, OLD, NEW, "was damaged (kept in"),
        (MANIFEST, drop_increments, OLD, NEW, "was damaged (kept in"),
        (".aof", None, 0, 0, "are gone; their list is kept in"),
        ("", None, 0, 0, "less data than it had: appendonly.aof.2.base.aof is missing, appendonly.aof.2.incr.aof is"),
    ],
)
def test_of_damaged_data_the_good_part_is_kept_and_the_rest_is_said(
    tmp_path: Path,
    filled_home: Path,
    pattern: str,
    damage: Callable[[bytes], bytes] | None,
    old: int | None,
    new: int,
    said: str,
) -> None:
    home = tmp_path / "home"
    shutil.copytree(filled_home, home, ignore=shutil.ignore_patterns("run"))
    before = b"".join(file.read_bytes() for file in files(home))
    for file in files(home, pattern):
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:
            file.unlink()
    damaged = b"".join(file.read_bytes() for file in files(home))
    lines: list[str] = []
    with running(home, lines) as record:
        assert kept_jobs(record) == (kept_jobs(record)[0] if old is None else old, new)
    assert said in "\n".join(lines)
    assert len([line for line in lines if line]) == len(set(lines)) <= 3
    everything = b"".join(file.read_bytes() for file in (*files(home), *home.glob("data.corrupt-*/*")))
    assert len(everything) >= min(len(before), len(damaged))  # nothing is thrown away
    lines.clear()
    with running(home, lines):
        assert lines == []  # said once


def test_a_base_of_an_earlier_livectl_that_cannot_be_read_is_kept_aside(tmp_path: Path) -> None:
    with running(tmp_path) as record, client(record) as store:
        store.config_set("aof-use-rdb-preamble", "yes")
        store.rpush("old", 0)
        rewrite(store)
        store.rpush("new", 0)
    (base,) = files(tmp_path, ".base.rdb")
    base.write_bytes(base.read_bytes()[:9] + flip_bytes(base.read_bytes()[9:]))
    lines: list[str] = []
    with running(tmp_path, lines) as record:
        assert kept_jobs(record) == (0, 1)
    assert f"{base.name} could not be read, and is kept in {tmp_path}/data.corrupt-1" in "".join(lines)
    assert (tmp_path / "data.corrupt-1" / base.name).exists()


def test_what_was_kept_aside_is_never_written_over(tmp_path: Path) -> None:
    for number in (1, 2):
        with running(tmp_path) as record, client(record) as store:
            store.set("round", number)
        for file in files(tmp_path, INCREMENT):
            file.write_bytes(file.read_bytes() + b"tail %d" % number)
    with running(tmp_path) as record, client(record) as store:
        assert store.get("round") == "2"
    for number in (1, 2):
        (tail,) = (tmp_path / f"data.corrupt-{number}").iterdir()
        assert tail.read_bytes() == b"tail %d" % number
        assert stat.S_IMODE(tail.stat().st_mode) == 0o600


def test_an_older_increment_that_its_base_holds_is_not_run_again(tmp_path: Path, filled_home: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(filled_home, home, ignore=shutil.ignore_patterns("run"))
    folder = home / "data" / "appendonlydir"
    shutil.copy(folder / "appendonly.aof.2.base.aof", folder / "appendonly.aof.1.base.aof")
    shutil.copy(folder / "appendonly.aof.2.incr.aof", folder / "appendonly.aof.1.incr.aof")
    (folder / "appendonly.aof.manifest").unlink()
    with running(home) as record:
        assert kept_jobs(record) == (OLD, NEW)


NOTED = {"layout": 1, "server": "valkey", "version": [9, 1, 0], "sizes": {}}


@pytest.mark.parametrize(
    ("noted", "version", "refused"),
    [
        (NOTED, "Valkey server v=9.1.2 sha=0", ""),
        (NOTED, "Valkey server v=10.0.0 sha=0", ""),
        (NOTED, "Valkey server v=9.0.9 sha=0", "written by valkey 9.1.0, which valkey 9.0.9 cannot read"),
        (NOTED, "Redis server v=8.2.0 sha=0", "written by valkey 9.1.0, which redis 8.2.0 cannot read"),
        (NOTED | {"server": "redis", "version": [7, 0, 15]}, "Valkey server v=9.1.2 sha=0", ""),
        (NOTED | {"server": "redis", "version": [8, 0]}, "Valkey server v=9.1.2", "written by redis 8.0, which valkey"),
        (NOTED | {"layout": 2}, "Valkey server v=9.1.2 sha=0", "written by a newer livectl"),
    ],
)
def test_an_older_server_never_eats_newer_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: dict[str, Any], version: str, refused: str
) -> None:
    binary = tmp_path / "server"
    binary.write_text(
        f"#!/bin/sh\n[ $1 = --version ] && echo '{version}' || exec {embedded_broker.locate_binary()} $@\n"
    )
    binary.chmod(0o700)
    monkeypatch.setattr(embedded_broker, "locate_binary", lambda: str(binary))
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "format.json").write_text(json.dumps(noted))
    with pytest.raises(ServerError, match=refused) if refused else nullcontext() as error:
        child = EmbeddedBroker(home).launch()
        child.kill()
        child.wait(HANG_SECONDS)
    if error:
        assert "LIVECTL_HOME" in error.value.hint
        assert json.loads((home / "data" / "format.json").read_text()) == noted
        assert not files(home)


def test_data_of_a_version_that_the_server_does_not_know_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path) as record, client(record) as store:
        store.config_set("aof-use-rdb-preamble", "yes")
        store.rpush("old", 0)
        rewrite(store)
    (base,) = files(tmp_path, ".base.rdb")
    newer = base.read_bytes().replace(base.read_bytes()[6:9], b"999", 1)
    base.write_bytes(newer)
    with pytest.raises(ServerError, match="was written by a newer server"), running(tmp_path):
        pass
    assert base.read_bytes() == newer


def test_a_path_too_long_for_a_socket_falls_back_to_a_short_private_folder(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    with running(home) as record:
        folder = Path(record.socket).parent
        assert len(record.socket) < 108
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        os.kill(record.pid, signal.SIGKILL)
    with running(home) as again:  # it is used again, so that everybody who knows it finds it
        assert again.socket == record.socket
    folder.chmod(0o755)
    with running(home) as elsewhere:  # not ours alone any more
        assert elsewhere.socket != record.socket
    EmbeddedBroker(home).clean_up()
    assert not Path(elsewhere.socket).parent.exists()
    shutil.rmtree(folder)


def test_a_file_where_a_folder_should_be_is_said_in_a_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(ServerError, match=f"{home} cannot be used: File exists") as refused:
        EmbeddedBroker(home).launch()
    assert "LIVECTL_HOME" in refused.value.hint


@root_only
def test_a_read_only_home_is_said_in_a_sentence(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "ro,size=1m") as disk, pytest.raises(ServerError, match="Read-only file system"):
        EmbeddedBroker(disk / "home").launch()


PASSING = 300  # keys that expire: together more to write than there is room for in a file's last page


@contextmanager
def full_disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A home that keeps something on a disk that is full, and the file to remove to make room."""
    with tiny_disk(tmp_path / "disk", "size=4m") as disk:
        home, ballast = disk / "home", disk / "ballast"
        with running(home) as record, client(record) as store:
            store.set("kept", "yes")
            for number in range(PASSING):
                store.set(f"passing {number}", "yes", px=200)
        fill(ballast, spare=0)
        yield home, ballast


@contextmanager
def launched(home: Path, said: list[str]) -> Iterator[tuple[EmbeddedBroker, subprocess.Popen[bytes], redis.Redis]]:
    """The server of the home with its process and a client; killed at the end."""
    server = EmbeddedBroker(home, said.append)
    child = server.launch()
    try:
        wait_for(server.is_ready)
        with client(embedded_broker.BrokerRecord(0, "", server.socket)) as store:
            yield server, child, store
    finally:
        child.kill()
        child.wait(HANG_SECONDS)


@root_only
def test_on_a_full_disk_it_starts_answers_and_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    said: list[str] = []
    with full_disk(tmp_path) as (home, ballast):
        with launched(home, said) as (server, child, store):
            for _ in range(3):
                assert store.get("kept") == "yes"
                with pytest.raises(redis.ResponseError, match=r"NOREPLICAS|MISCONF"):
                    store.rpush("list", "x" * 100_000)
            # Expiries, which the server itself writes: from then on it refuses even a PING.
            wait_for(lambda: embedded_broker._ping(server.socket).startswith(b"-MISCONF"))
            assert server.is_ready()
            assert server.is_responding()
            address = Address(scheme="unix", path=server.socket)
            with connect(address) as reading:
                assert reading.execute("GET", "kept") == b"yes"
            with pytest.raises(ServerError, match="takes nothing"):
                check_server(address)
            assert child.poll() is None
            before = store.client_id()
            ballast.unlink()
            assert server.is_responding()
            assert store.client_id() != before  # everybody begins anew
            store.rpush("list", "again")
            assert store.config_get("appendfsync")["appendfsync"] == "always"
        with running(home, said) as record, client(record) as store:
            assert (store.get("kept"), store.lrange("list", 0, -1)) == ("yes", ["again"])
        assert not list(home.glob("*.corrupt-*"))
    full, room = said
    assert "is full: the broker answers reads, and takes nothing until there is room" in full
    assert "there is room again" in room


def push_until_it_ends(store: redis.Redis) -> int:
    """How many pushes the server acknowledged."""
    acknowledged = 0
    with suppress(redis.ConnectionError):
        while True:
            store.rpush("list", "x" * 50_000)
            acknowledged += 1
    return acknowledged


@root_only
def test_a_disk_that_fills_up_faster_than_anybody_looks_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with full_disk(tmp_path) as (home, ballast):
        ballast.unlink()
        with launched(home, []) as (server, child, store):
            acknowledged = push_until_it_ends(store)
            assert "No space left on device" in server.repair(child.wait(HANG_SECONDS))
        with running(home) as record, client(record) as store:
            assert store.llen("list") == acknowledged > 10
            with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
                store.rpush("list", "more")
        assert not list(home.glob("*.corrupt-*"))


@root_only
def test_on_a_full_disk_the_record_of_a_server_fits_over_the_one_of_before(tmp_path: Path) -> None:
    """Also where its pid has more digits: a server without a record is ended."""
    with tiny_disk(tmp_path / "disk", "size=1m") as home:
        for pid in (9, 4_000_000):
            record = embedded_broker.BrokerRecord(pid, "1", "/s")
            embedded_broker._write_record(home, record)
            assert embedded_broker._read_record(home) == record
            fill(home / "ballast", spare=0)


@root_only
def test_a_disk_with_little_room_is_noticed_before_the_broker_ends(tmp_path: Path) -> None:
    with full_disk(tmp_path) as (home, ballast):
        ballast.unlink()
        with launched(home, []) as (server, _, _):
            fill(ballast, spare=embedded_broker.MIN_FREE_BYTES // 2)
            assert server.is_responding()
            address = Address(scheme="unix", path=server.socket)
            with pytest.raises(ServerError, match="takes nothing") as refused:
                check_server(address)
            assert "make room" in refused.value.hint
            with using_store(address) as store:
                assert store.get("kept") == "yes"
            with Connection(f"redis+socket://{server.socket}") as connection:
                connection.transport_cls = guarded_transport(Transport, lambda *args: None, is_patient=True)
                errors, worker_client = connection.connection_errors, connection.default_channel.client
                with pytest.raises(errors, match="takes nothing"):  # so that a worker tries again, and does not end
                    worker_client.set("more", "x")


def test_without_a_server_binary_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_broker, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerError) as refused:
        EmbeddedBroker(tmp_path).launch()
    assert "no server for the embedded broker" in refused.value.message
    assert "valkey-server" in refused.value.hint


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LIVECTL_BROKER": "redis://h/1"}, ("redis://h:6379/1", "redis://h:6379/1", "redis://h:6379/1")),
        (
            {"LIVECTL_BROKER": "amqp://h", "LIVECTL_STORE": "redis://s/2"},
            ("amqp://h:5672//", "redis://s:6379/2", "redis://s:6379/2"),
        ),
        (
            {"LIVECTL_BROKER": "redis://h", "LIVECTL_STORE": "redis://s", "LIVECTL_RESULTS": "redis://r"},
            ("redis://h:6379/0", "redis://s:6379/0", "redis://r:6379/0"),
        ),
    ],
)
def test_addresses_that_are_set(tmp_path: Path, environ: dict[str, str], expected: tuple[str, ...]) -> None:
    addresses = embedded_broker.resolve_addresses(
        livectl_settings.load(environ | {"LIVECTL_HOME": str(tmp_path)}, tmp_path)
    )
    assert (addresses.broker.url, addresses.store.url, addresses.results.url) == expected


def test_rabbitmq_alone_lacks_a_store(tmp_path: Path) -> None:
    settings = livectl_settings.load({"LIVECTL_BROKER": "amqp://:secret@h"}, tmp_path)
    with pytest.raises(SettingsError, match="no store is set") as refused:
        embedded_broker.resolve_addresses(settings)
    assert "store:" in refused.value.hint
    assert "secret" not in refused.value.message


def test_with_nothing_set_the_address_is_that_of_the_embedded_broker(tmp_path: Path) -> None:
    settings = livectl_settings.load({"LIVECTL_HOME": str(tmp_path / "home")}, tmp_path)
    with pytest.raises(ServerError, match="no broker is set, and no embedded one runs") as refused:
        embedded_broker.resolve_addresses(settings)
    assert "livectl up" in refused.value.hint
    with running(tmp_path / "home") as record:
        assert embedded_broker.resolve_addresses(settings).broker.path == record.socket


@pytest.mark.parametrize("written", ["", "garbage", '{"pid": 1, "started": "never", "socket": "/nowhere"}'])
def test_a_record_of_no_server_lists_none(tmp_path: Path, written: str) -> None:
    (tmp_path / "broker.json").write_text(written)
    assert embedded_broker.find_running(tmp_path) is None


def test_a_server_that_hangs_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_broker, "ANSWER_SECONDS", 0.2)
    with running(tmp_path) as record:
        os.kill(record.pid, signal.SIGSTOP)
        assert embedded_broker.find_running(tmp_path) is None
        os.kill(record.pid, signal.SIGCONT)
        wait_for(lambda: embedded_broker.find_running(tmp_path))
    with socket.socket(socket.AF_UNIX) as line:
        assert line.connect_ex(record.socket) != 0
