"""The embedded broker, as a real server under real faults."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from livectl import settings as livectl_settings
from livectl.errors import ServerError, SettingsError
from livectl.ops.processes import embedded_broker, process
from livectl.ops.processes.embedded_broker import EmbeddedBroker
from tests.support.waiting import HANG_SECONDS, LOOK_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount, or become another user")


@contextmanager
def running(home: Path) -> Iterator[embedded_broker.BrokerRecord]:
    """A server that answers, repaired as often as it needs; killed at the end."""
    server = EmbeddedBroker(home)
    child = server.launch()
    try:
        while not server.is_ready():
            with suppress(subprocess.TimeoutExpired):
                server.repair(child.wait(LOOK_SECONDS))
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


def files(home: Path, pattern: str) -> list[Path]:
    return sorted((home / "data").glob(f"appendonlydir/*{pattern}"))


def flip_bytes(body: bytes) -> bytes:
    return bytes(byte ^ 0xFF if at % 13 == 5 else byte for at, byte in enumerate(body))


@pytest.mark.parametrize(
    ("damage", "pattern", "is_set_aside"),
    [
        (lambda body: b"", ".incr.aof", False),
        (lambda body: body[: len(body) // 2], ".incr.aof", False),  # as after a power cut: the whole part is kept
        (lambda body: b"garbage" * 100, ".incr.aof", True),
        (flip_bytes, ".incr.aof", True),
        (lambda body: b"garbage" * 100, ".base.rdb", True),
        (lambda body: body[: len(body) // 2], ".base.rdb", True),
        (flip_bytes, ".base.rdb", True),
        (lambda body: body[:5] + b"9999" + body[9:], ".base.rdb", True),  # a version that is not known yet
        (lambda body: b"", ".manifest", True),
        (lambda body: b"garbage\n", ".manifest", True),
        (None, ".base.rdb", True),
    ],
)
def test_unusable_data_is_set_aside_and_it_starts(
    tmp_path: Path, damage: Callable[[bytes], bytes] | None, pattern: str, is_set_aside: bool
) -> None:
    with running(tmp_path) as record, client(record) as store:
        for number in range(50):
            store.set(f"key-{number}", number)
    for file in files(tmp_path, pattern):
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:
            file.unlink()
    with running(tmp_path) as record, client(record) as store:
        store.set("works", "again")
    assert [folder.name for folder in tmp_path.glob("data.corrupt-*")] == (["data.corrupt-1"] if is_set_aside else [])


def test_what_was_set_aside_is_never_written_over(tmp_path: Path) -> None:
    for number in (1, 2):
        with running(tmp_path) as record, client(record) as store:
            store.set("round", number)
        for file in files(tmp_path, ".manifest"):
            file.write_bytes(b"garbage\n")
    with running(tmp_path):
        pass
    for number in (1, 2):
        (log,) = (tmp_path / f"data.corrupt-{number}").rglob("*.incr.aof")
        assert b"round\r\n$1\r\n%d" % number in log.read_bytes()


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


@contextmanager
def tiny_disk(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@root_only
def test_a_read_only_home_is_said_in_a_sentence(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "ro,size=1m") as disk, pytest.raises(ServerError, match="Read-only file system"):
        EmbeddedBroker(disk / "home").launch()


def fill(file: Path, spare: int) -> None:
    """Fills the disk of the file, and frees so many bytes again."""
    with suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 1024)
    os.truncate(file, file.stat().st_size - spare)


@root_only
def test_a_full_disk_is_not_taken_for_bad_data(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "size=300k") as disk:
        home, ballast = disk / "home", disk / "ballast"
        with running(home) as record, client(record) as store:
            store.set("kept", "yes")
        fill(ballast, spare=0)
        with pytest.raises(ServerError, match="No space left on device"):
            EmbeddedBroker(home).launch()
        fill(ballast, spare=20_000)
        server = EmbeddedBroker(home)
        child = server.launch()
        wait_for(server.is_ready)
        with (
            pytest.raises(redis.ConnectionError),
            client(embedded_broker.BrokerRecord(0, "", str(home / "run/broker.sock"))) as store,
        ):
            store.set("filler", "x" * 100_000)  # it would rather end than say yes to what it cannot keep
        assert "No space left on device" in server.repair(child.wait(HANG_SECONDS))
        ballast.unlink()
        with running(home) as record, client(record) as store:
            assert store.get("kept") == "yes"
        assert not list(home.glob("*.corrupt-*"))


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
