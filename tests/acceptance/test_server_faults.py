"""What is wrong with a server is said by every command: in one line, in the server's words, with exit code 4."""

from __future__ import annotations

import io
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from livectl import cli
from livectl.address import Address
from livectl.context import CommandContext
from livectl.ops.services import health
from tests.support import amqp_server, faulty_servers
from tests.support.amqp_server import ANSWERS, BLOCKED
from tests.support.faulty_servers import port_that, redis_server
from tests.support.servers import free_port
from tests.support.waiting import in_time

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.acceptance, pytest.mark.silent]

ID = "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1"
APP = """
from celery import Celery
app = Celery("proj", broker={broker!r}, backend={results!r})
app.conf.update({settings!r})
@app.task(name="proj.add", shared=False)
def add(x, y):
    return x + y
"""

# Everything that talks to a broker or store, but what is looked at below.
COMMANDS = [
    "alerts list",
    "beat --detach",
    "beat",
    "call --force livectl.ping",
    "call --wait livectl.ping",
    "call livectl.ping",
    "check --no-wait demo/ada",
    "check demo/ada",
    "dead retry x",
    "dead show x",
    "dead",
    "flower",
    "history demo/ada",
    "live --all",
    "live",
    "queues wait --until-empty",
    "queues",
    "results",
    f"retry {ID}",
    f"revoke {ID}",
    "schedules diff",
    "schedules pause ping",
    "schedules resume ping",
    "schedules run ping",
    f"status {ID}",
    "submit",
    "up",
    "web -p 0",
    "worker --detach",
    "worker",
    "workers drain w",
    "workers grow w",
    "workers stop w",
    "workers",
]
CLEARING = [
    "audit",
    "dead drop x",
    "queues peek celery",
    "queues purge celery --yes",
    "runs",
]  # work on a full server too
ON_APP = [
    "beat",
    "call proj.add 1 2",
    "call --force proj.add 1 2",
    "queues",
    "schedules run ping",
    f"status {ID}",
    f"retry {ID}",
    f"revoke {ID}",
    "up",
    "worker",
    "worker --detach",
    "workers",
]
WITHOUT_SERVERS = {
    *("init", "stop", "restart", "platforms", "follow", "open"),
    *("migrate", "completion", "deploy", "docs", "help", "shell"),
}
ANSWERS_OF_THEIR_OWN = {"doctor", "health", "top", "events", "push", "store"}  # tested for themselves


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def run(folder: Path, words: str | Sequence[str], **environ: str) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    context = CommandContext({"LIVECTL_HOME": str(folder / "home"), **environ}, folder, out, err)
    with in_time():
        code = cli.main(words.split() if isinstance(words, str) else words, context)
    assert "Traceback" not in err.getvalue()
    assert "hush" not in out.getvalue() + err.getvalue()
    return Answer(code, " ".join(out.getvalue().split()), err.getvalue())  # as if the terminal were wide enough


def check_told(answer: Answer, words: str) -> None:
    """The one line, the next step below it, and exit code 4."""
    assert answer.code == 4, answer
    assert answer.out == ""
    line, *hint = answer.err.splitlines()
    assert line.startswith("livectl: ")
    assert words in line
    assert len(hint) == 1, answer.err
    assert hint[0].startswith("  ")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    (tmp_path / "schedules.yaml").write_text("schedules: {ping: {task: livectl.ping, every: 5s}}\n")
    return tmp_path


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The address of each faulty server, by its fault."""
    folder = tmp_path_factory.mktemp("servers")
    cert = faulty_servers.certificate(folder)
    with ExitStack() as servers:

        def start(name: str, *options: str) -> str:
            return f"127.0.0.1:{servers.enter_context(redis_server(folder / name, *options))}"

        locked = start("locked", "--requirepass", "right")
        plain = start("plain")
        loading = servers.enter_context(faulty_servers.loading_server(folder / "loading"))
        with_tls = {}
        if faulty_servers.speaks_tls():
            tls = start("tls", *faulty_servers.tls_options(cert))
            with_tls = {
                "plain on a TLS port": f"redis://{tls}/0",
                "untrusted": f"rediss://{tls}/0",
                "no such file": f"rediss://{tls}/0?ssl_ca_certs={folder}/none.pem",
                "a file that is none": f"rediss://{tls}/0?ssl_ca_certs={cert.with_name('key.pem')}",
                "trusted": f"rediss://{tls}/0?ssl_ca_certs={cert}",
                "tls": tls,
            }
        yield with_tls | {
            "wrong password": f"redis://:hush@{locked}/0",
            "no password": f"redis://{locked}/0",
            "wrong user": f"redis://nobody:hush@{plain}/0",
            "a password where none is": f"redis://:hush@{plain}/0",
            "database 99": f"redis://{plain}/99",
            "replica": f"redis://{start('replica', '--replicaof', '127.0.0.1', str(free_port()))}/0",
            "full": f"redis://{start('full', '--maxmemory', '1')}/0",
            "loading": f"redis://127.0.0.1:{loading}/0",
            "http": f"redis://127.0.0.1:{servers.enter_context(port_that(faulty_servers.say_http))}/0",
            "http on TLS": f"rediss://127.0.0.1:{servers.enter_context(port_that(faulty_servers.say_http))}/0",
            "hangs up": f"redis://127.0.0.1:{servers.enter_context(port_that(lambda _: None))}/0",
            "away": f"redis://127.0.0.1:{free_port()}/0",
            "no such host": "redis://no-such-host.invalid/0",
            "no host": f"redis://{'a' * 70}/0",
            "cert": str(cert),
        }


def address_of(faults: dict[str, str], fault: str) -> str:
    if fault not in faults:
        pytest.skip("this redis-server was built without TLS")
    return faults[fault]


FAULTS = [
    ("wrong password", "WRONGPASS"),
    ("no password", "NOAUTH"),
    ("wrong user", "WRONGPASS"),
    ("a password where none is", "ERR AUTH"),
    ("database 99", "DB index is out of range"),
    ("replica", "READONLY"),
    ("full", "OOM command not allowed"),
    ("loading", "LOADING"),
    ("plain on a TLS port", "closes the connection"),
    ("untrusted", "not trusted: self-signed certificate"),
    ("no such file", "No such file"),
    ("a file that is none", "cannot be used"),
    ("http", "is no Redis"),
    ("http on TLS", "does not speak TLS"),
    ("hangs up", "closes the connection"),
    ("away", "Connection refused"),
    ("no such host", "no server answers"),
    ("no host", "no server answers"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_each_fault_of_a_redis_is_told_in_its_own_words(
    project: Path, faults: dict[str, str], fault: str, words: str
) -> None:
    address = address_of(faults, fault)
    check_told(run(project, "live", LIVECTL_BROKER=address), words)
    check_told(run(project, "call livectl.ping", LIVECTL_BROKER=address), words)
    for part in ("broker", "store"):
        probe = run(project, f"health {part}", LIVECTL_BROKER=address)
        assert (probe.code, words in probe.out, "not healthy" in probe.out) == (1, True, True)


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_doctor_says_what_the_server_says(project: Path, faults: dict[str, str], fault: str, words: str) -> None:
    """Also in a container, where a server that answers is not looked for at the wrong place."""
    found = run(project, "doctor", LIVECTL_BROKER=address_of(faults, fault), KUBERNETES_SERVICE_HOST="10.0.0.1")
    id_ = "localhost-in-container" if fault == "away" else "broker-unreachable"
    text = " ".join(found.out.split())  # which is wrapped for people
    assert (found.code, f"[{id_}]" in text, words in text) == (1, True, True), found.out


@pytest.mark.parametrize("words", [*COMMANDS, *CLEARING])
def test_every_command_tells_of_a_wrong_password(project: Path, faults: dict[str, str], words: str) -> None:
    (project / "livectl.yaml").write_text("alerts: {me: {command: [cat]}}\n")
    check_told(run(project, words, LIVECTL_BROKER=faults["wrong password"]), "does not let us in: WRONGPASS")


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_tells_of_a_server_that_takes_nothing(project: Path, faults: dict[str, str], words: str) -> None:
    check_told(run(project, words, LIVECTL_BROKER=faults["full"]), "is full: OOM")
    check_told(run(project, words, LIVECTL_BROKER=faults["replica"]), "takes nothing: READONLY")


@pytest.mark.parametrize("words", CLEARING)
def test_what_makes_room_works_on_a_full_server(project: Path, faults: dict[str, str], words: str) -> None:
    assert run(project, words, LIVECTL_BROKER=faults["full"]).code != 4


def test_every_command_gives_a_silent_server_up(project: Path) -> None:
    """All at once: each waits for its whole time."""
    with (
        port_that(faulty_servers.say_nothing) as silent,
        port_that(faulty_servers.trickle) as trickling,
        ThreadPoolExecutor(2 * len(COMMANDS)) as pool,
    ):
        answers = [
            pool.submit(run, project, words, LIVECTL_BROKER=f"{scheme}://127.0.0.1:{port}/0")
            for scheme, port in (("redis", silent), ("redis", trickling), ("rediss", silent))
            for words in COMMANDS[:: 1 if port == silent and scheme == "redis" else 8]
        ]
        for answer in answers:
            check_told(answer.result(), "no answer in time")


def test_no_command_is_forgotten() -> None:
    tested = {words.split()[0] for words in (*COMMANDS, *CLEARING)}
    assert tested | WITHOUT_SERVERS | ANSWERS_OF_THEIR_OWN == set(cli.COMMANDS)


def test_what_needs_no_server_says_why_it_knows_less(project: Path, faults: dict[str, str]) -> None:
    answer = run(project, "schedules list", LIVECTL_BROKER=faults["wrong password"])
    assert answer.code == 0
    assert "last runs not known" in answer.err
    assert "WRONGPASS" in answer.err


def write_app(folder: Path, name: str, broker: str, results: str, **settings: object) -> None:
    (folder / f"{name}.py").write_text(APP.format(broker=broker, results=results, settings=settings))
    (folder / "schedules.yaml").write_text("schedules: {ping: {task: proj.add, every: 5s, args: [1, 2]}}\n")


@pytest.mark.parametrize("words", ON_APP)
def test_any_app_tells_of_its_redis(
    project: Path, faults: dict[str, str], store_url: str, words: str, request: pytest.FixtureRequest
) -> None:
    name = f"faulty_redis_{abs(hash(request.node.name))}"
    write_app(project, name, faults["wrong password"], "cache+memory://")
    answer = run(project, ["-A", name, *words.split()], LIVECTL_STORE=store_url)
    check_told(answer, "does not let us in: WRONGPASS")


def test_any_app_tells_of_a_broker_that_only_celery_can_talk_to(project: Path, store_url: str) -> None:
    """Celery alone would try for ten seconds."""
    with port_that(faulty_servers.say_nothing) as silent, ThreadPoolExecutor() as pool:
        write_app(project, "silent_sentinel", f"sentinel://127.0.0.1:{silent}", "cache+memory://")
        with (project / "silent_sentinel.py").open("a") as app:
            app.write("app.conf.broker_transport_options = {'master_name': 'm'}\n")
        commands = ("workers", "queues", "call --force proj.add 1 2", f"status {ID}")
        answers = [
            pool.submit(run, project, ["-A", "silent_sentinel", *words.split()], LIVECTL_STORE=store_url)
            for words in commands
        ]
        for answer in answers:
            check_told(answer.result(), "no answer in time")


def test_any_app_tells_of_its_results(project: Path, faults: dict[str, str], store_url: str) -> None:
    """Also of results that only Celery can read, which would try again for long."""
    broker = store_url.replace("unix://", "redis+socket://").replace("db=0", "virtual_host=0")
    for name, serializer in (("faulty_results_json", "json"), ("faulty_results_pickle", "pickle")):
        write_app(project, name, broker, faults["wrong password"], result_serializer=serializer)
        check_told(run(project, ["-A", name, "status", ID]), "WRONGPASS")
        found = run(project, ["-A", name, "doctor"])
        assert (found.code, "[results-unreachable]" in found.out, "WRONGPASS" in found.out) == (1, True, True), found


def test_an_apps_own_tls_is_used(project: Path, faults: dict[str, str]) -> None:
    """As `broker_use_ssl` says it, or kombu takes it where nothing is said."""
    tls = {"broker_use_ssl": {"ssl_cert_reqs": "required", "ssl_ca_certs": faults["cert"]}}
    write_app(project, "tls_by_setting", f"redis://{address_of(faults, 'tls')}/0", "cache+memory://", **tls)
    write_app(project, "tls_unchecked", f"rediss://{faults['tls']}/0", "cache+memory://")
    for name in ("tls_by_setting", "tls_unchecked"):
        assert run(project, ["-A", name, "queues"]).code == 0
    assert run(project, "live", LIVECTL_BROKER=faults["trusted"]).code == 1  # nobody is


@pytest.fixture
def rabbit_faults(rabbitmq: RabbitMQ) -> dict[str, tuple[str, str]]:
    """Address and words, by fault."""
    url = rabbitmq.vhost()
    return {
        "wrong password": (url.replace("guest:guest", "guest:hush"), "ACCESS_REFUSED - Login was refused"),
        "wrong user": (url.replace("guest:guest", "nobody:hush"), "ACCESS_REFUSED - Login was refused"),
        "no vhost": (url + "none", "NOT_ALLOWED - vhost"),
        "TLS on a plain port": (url.replace("amqp://", "amqps://"), "does not speak TLS"),
        "away": (f"amqp://127.0.0.1:{free_port()}//", "Connection refused"),
    }


def test_each_fault_of_a_rabbitmq_is_told_in_its_own_words(
    project: Path, store_url: str, rabbit_faults: dict[str, tuple[str, str]]
) -> None:
    for fault, (url, words) in rabbit_faults.items():
        environ = {"LIVECTL_BROKER": url, "LIVECTL_STORE": store_url}
        check_told(run(project, "workers", **environ), words)
        probe = run(project, "health broker", **environ)
        assert (probe.code, words in probe.out) == (1, True), fault
        found = run(project, "doctor", **environ, KUBERNETES_SERVICE_HOST="10.0.0.1")
        id_ = "localhost-in-container" if fault == "away" else "broker-unreachable"
        text = " ".join(found.out.split())  # which is wrapped for people
    assert (found.code, f"[{id_}]" in text, words in text) == (1, True, True), found.out


def test_every_command_tells_of_a_wrong_password_of_a_rabbitmq(
    project: Path, store_url: str, rabbit_faults: dict[str, tuple[str, str]]
) -> None:
    url, told = rabbit_faults["wrong password"]
    for words in ("beat", "call livectl.ping", "check demo/ada", "queues", "submit", "up", "worker", "workers stop w"):
        check_told(run(project, words, LIVECTL_BROKER=url, LIVECTL_STORE=store_url), told)
    results = store_url.replace("unix://", "redis+socket://").replace("db=0", "virtual_host=0")
    write_app(project, "faulty_rabbit", url, results)
    for words in ON_APP:
        check_told(run(project, ["-A", "faulty_rabbit", *words.split()]), told)


def speak_tls(call: socket.socket, cert: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, cert.replace("cert.pem", "key.pem"))
    context.wrap_socket(call, server_side=True).recv(1)


def test_a_rabbitmq_that_is_full_silent_or_none(project: Path, faults: dict[str, str], store_url: str) -> None:
    full = partial(amqp_server.answer_calls, answers=ANSWERS | {(60, 40): BLOCKED})
    table: list[tuple[Callable[[socket.socket], None], str, str]] = [
        (full, "amqp", "takes nothing: its memory or its disk is full"),
        (faulty_servers.say_nothing, "amqp", "says nothing: no answer in time"),
        (faulty_servers.say_http, "amqp", "is no RabbitMQ"),
        (faulty_servers.say_http, "amqps", "does not speak TLS"),
        (lambda _: None, "amqp", "closes the connection"),
        (partial(speak_tls, cert=faults["cert"]), "amqp", "closes the connection"),
        (partial(speak_tls, cert=faults["cert"]), "amqps", "not trusted: self-signed certificate"),
    ]
    for serve, scheme, words in table:
        with port_that(serve) as port:
            url = f"{scheme}://127.0.0.1:{port}//"
            check_told(run(project, "call --force livectl.ping", LIVECTL_BROKER=url, LIVECTL_STORE=store_url), words)
    with port_that(amqp_server.answer_calls) as port:
        assert health.probe_server("broker", Address.parse(f"amqp://127.0.0.1:{port}//")).healthy
