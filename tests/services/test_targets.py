"""What alerts say and through what: Apprise, commands, templates, trouble, the digest, the command line."""

from __future__ import annotations

import contextvars
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apprise
import msgspec
import pytest

from livectl import redaction, settings, yamlfile
from livectl.errors import FileError
from livectl.live.alerts import apprise_target, command_target, message, outbox, targets, webhook_target
from livectl.live.alerts.message import Alert
from livectl.models import Change, Response
from livectl.secret import Secret
from tests.support.alerts import NOON, Receiver, client, receiver, world
from tests.support.processes import answer
from tests.support.waiting import HANG_SECONDS, in_time, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["client", "receiver", "world"]  # fixtures


pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")

HOUR, DAY = 3600.0, 86_400.0


def change(**more: Any) -> Change:
    fields: dict[str, Any] = {
        "kind": "began",
        "platform": "demo",
        "id": "ada",
        "session": "s",
        "at": NOON,
        "number": "1-0",
    }
    return Change(**(fields | {"name": "Ada", "title": "Hello", "url": "https://example.org/ada"} | more))


def alert(**more: Any) -> Alert:
    return Alert(
        target="t", kind="live", title="Ada is live", body="Hello", first="1-0", last="1-0", changes=(change(**more),)
    )


def load(folder: Path, text: str) -> settings.Settings:
    (folder / "livectl.yaml").write_text(text)
    return settings.load({"HOME": str(folder)}, folder)


# Settings

INVALID = [
    ("{url: tgramm://1/2}", ":2:1: alerts.x.url: no target has the scheme tgramm:// (do you mean tgram://?)"),
    ("{url: nonsense}", ":2:1: alerts.x.url: an address begins with a scheme"),
    ("{url: 'json://'}", ":2:1: alerts.x.url: this is no whole json:// address"),
    ("{webhook: htps://a.example}", ":2:1: alerts.x.webhook: no target has the scheme htps:// (do you mean https://?)"),
    (
        "{url: 'json://a', platforms: [twich]}",
        ":2:1: alerts.x.platforms: no platform is called twich (do you mean twitch?",
    ),
    ("{command: [a], digest: 09:00}", ":2:1: alerts.x.command: a command gets no digest"),
    ("{command: [a, '{titel}']}", ":2:6: alerts.x: nothing is called {titel} (it can be {url}, {name}, {title}"),
    (
        "{webhook: https://a.example, template: {body: '{no} x'}}",
        ":2:45: alerts.x.template: nothing is called {no} (it can be {url}, {name}",
    ),
]


@pytest.mark.parametrize(("target", "message"), INVALID)
def test_a_target_that_cannot_be_right_is_refused_with_its_line(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(FileError) as refused:
        targets.check_targets(load(tmp_path, f"alerts:\n  x: {target}\n"))
    assert f"livectl.yaml{message}" in refused.value.message


def test_addresses_that_are_right_pass(tmp_path: Path) -> None:
    good = "alerts:\n  a: {url: 'json://host/x'}\n  b: {webhook: 'https://a.example'}\n  c: {command: [a, '{id}']}\n"
    targets.check_targets(load(tmp_path, good))


@pytest.mark.parametrize("command", ["worker", "up"])
def test_nothing_starts_with_a_wrong_address(tmp_path: Path, command: str) -> None:
    (tmp_path / "livectl.yaml").write_text("alerts:\n  x: {url: tgramm://1/2}\n")
    ended = answer(command, cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")})
    assert ended.returncode == 3
    assert "do you mean tgram://" in ended.stderr


# Commands


def test_a_command_gets_words_and_no_shell(tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('|'.join(sys.argv[2:]))"
    out = str(tmp_path / "out")
    words = (sys.executable, "-c", code, out, "{name}", "{title}", "{id}.ts", "{url}", "$(id);{{x}}")
    target = settings.Target(command=words)
    outcome = command_target.CommandSender("t", target, "UTC").send(alert(title="--exec=`rm`", id="../ada"))
    assert outcome.sent, outcome.detail
    assert Path(out).read_text() == "Ada| --exec=`rm`|.._ada.ts|https://example.org/ada|$(id);{x}"


def test_a_command_is_told_of_a_run_what_is_wrong_and_where_to_look(tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('|'.join(sys.argv[2:]))"
    words = (sys.executable, "-c", code, str(tmp_path / "out"), "{title}", "{details}")
    report = outbox.reported_change("nightly", "failed", "nightly failed", "ValueError: no\nlivectl runs nightly", 1.0)
    told = Alert(target="t", kind="job", title="t", body="b", first="1-0", last="1-0", changes=(report,))
    assert command_target.CommandSender("t", settings.Target(command=words), "UTC").send(told).sent
    assert (tmp_path / "out").read_text() == "nightly failed|ValueError: no livectl runs nightly"


def test_a_command_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    target = settings.Target(command=("sh", "-c", "sleep 600 & sleep 600"), timeout=0.3)
    with in_time():
        outcome = command_target.CommandSender("t", target, "UTC").send(alert())
    assert not outcome.sent
    assert "longer than" in outcome.detail


def test_a_long_command_runs_on_alone(tmp_path: Path) -> None:
    done = tmp_path / "done"
    target = settings.Target(command=("sh", "-c", f"sleep 0.2; echo $LIVECTL_ALERT > {done}"), timeout=HOUR)
    outcome = command_target.CommandSender("t", target, "UTC").send(alert())
    assert outcome.sent
    wait_for(lambda: done.exists() and done.read_text().strip() == alert().key)


FAILING = [(("false",), "ended with 1"), (("/no/such",), "cannot be run: No such file")]


@pytest.mark.parametrize(("words", "detail"), FAILING)
def test_a_command_that_fails_is_told_as_such(words: tuple[str, ...], detail: str) -> None:
    outcome = command_target.CommandSender("t", settings.Target(command=words), "UTC").send(alert())
    assert not outcome.sent
    assert detail in outcome.detail


# Apprise


def test_apprise_delivers(receiver: Receiver) -> None:
    url = Secret(receiver.url.replace("http", "json"))
    outcome = apprise_target.AppriseSender(settings.Target(url=url, allow_private=True)).send(alert())
    assert outcome.sent, outcome.detail
    assert (receiver.taken[0]["title"], receiver.taken[0]["message"]) == ("Ada is live", "Hello")


def test_what_apprise_says_is_told_without_secrets(receiver: Receiver) -> None:
    receiver.mood = lambda: "down"
    url = Secret(f"json://user:passw0rd@127.0.0.1:{receiver.server_port}/t0ken123")
    outcome = apprise_target.AppriseSender(settings.Target(url=url, allow_private=True)).send(alert())
    assert not outcome.sent
    assert "503" in outcome.detail
    assert "passw0rd" not in outcome.detail
    assert redaction.hide_parts_of_address("to t0ken123 of passw0rd", url.reveal()) == "to *** of ***"


DOCUMENTED = (Path(__file__).parents[2] / "docs/alerts.md").read_text().partition("## Services")[2]
LINES = yamlfile.loads(DOCUMENTED.partition("```yaml\n")[2].partition("```")[0], "alerts.md").value["alerts"]


@pytest.mark.parametrize("name", LINES)
def test_each_line_of_the_documents_is_one_that_apprise_takes(tmp_path: Path, name: str) -> None:
    address = LINES[name]["url"]
    targets.check_targets(load(tmp_path, f"alerts:\n  {name}: {{url: '{address}'}}\n"))
    assert apprise_target.is_valid_url(address)
    assert address.partition(":")[0] in apprise_target.known_schemes()
    assert len(LINES) == DOCUMENTED.partition("| --- |")[2].partition("\n\n")[0].count("\n|")


HOSTILE = "**a_b** <b>x</b> [l](http://e.example) @everyone"
PAGE = {"url": "https://e.example/?a=(1)&b=2", "category": "Art", "platform": "youtube", "viewers": 1200}
DETAILS, WATCH = "Art · youtube · 1,200 viewers", "[Watch](https://e.example/?a=%281%29&b=2)"
SHOWN = "https://e.example/?a=(1)&amp;b=2"
SAID = [
    ("ntfys://topic", "text", HOSTILE, "\n", "https://e.example/?a=(1)&b=2"),
    (
        "discord://123/abc",
        "markdown",
        "**\\*\\*a\\_b\\*\\* \\<b\\>x\\</b\\> \\[l\\](http://e.example) @\u200beveryone**",
        "  \n",
        WATCH,
    ),
    (
        "feishu://abc",
        "lark",
        "**&#42;&#42;a&#95;b&#42;&#42; &#60;b&#62;x&#60;/b&#62; &#91;l&#93;(http://e.example) @\u200beveryone**",
        "\n",
        WATCH,
    ),
    (
        "tgram://1:a/2",
        "html",
        "<b>**a_b** &lt;b&gt;x&lt;/b&gt; [l](http://e.example) @everyone</b>",
        "<br/>\n",
        f'<a href="{SHOWN}">{SHOWN}</a>',
    ),
]


@pytest.mark.parametrize(("address", "style", "title", "line_end", "link"), SAID)
def test_what_a_stranger_wrote_is_no_markup_at_any_service(
    address: str, style: str, title: str, line_end: str, link: str
) -> None:
    target = settings.Target(url=Secret(address))
    made = message.build_alert("t", target, change(title=HOSTILE, **PAGE), "UTC")
    assert (made.style, made.body.split(line_end)) == (style, [title, DETAILS, link])


COVERS = [
    ("https://img.example/a)b.jpg", "![](https://img.example/a%29b.jpg)"),
    ("//img.example/a.jpg", "![](https://img.example/a.jpg)"),
    ("http://img.example/a.jpg", ""),
    ("https://192.168.1.1/reboot", ""),
    ("https://[::1]/x", ""),
    ("https://router/x", ""),
    ("javascript:alert(1)", ""),
]


@pytest.mark.parametrize(("cover", "shown"), COVERS)
def test_a_picture_is_shown_by_a_public_address_alone(cover: str, shown: str) -> None:
    target = settings.Target(url=Secret("schan://SCT12345"))
    body = message.build_alert("t", target, change(cover=cover, **PAGE), "UTC").body
    assert body.split("  \n")[3:] == ([shown] if shown else [])
    mail = message.build_alert("t", settings.Target(url=Secret("mailto://a:b@c.example")), change(cover=cover), "UTC")
    assert ("<img " in mail.body) is bool(shown)


def test_a_template_in_markdown_escapes_what_fills_it() -> None:
    words = settings.Template(title="{name}", body="**{title}** {url}", format="markdown")
    target = settings.Target(url=Secret("discord://123/abc"), template=words)
    made = message.build_alert("t", target, change(title="*x*", name="@here"), "UTC")
    assert (made.style, made.title, made.body) == ("markdown", "@\u200bhere", "**\\*x\\*** https://example.org/ada")
    plain = settings.Target(url=Secret("discord://123/abc"), template=settings.Template(body="*{title}*"))
    assert message.build_alert("t", plain, change(title="@here _x_"), "UTC").body == "*@\u200bhere _x_*"


RECORDINGS = [
    ({"kind": "ended", "platform": "youtube", "session": "abc"}, "https://www.youtube.com/watch?v=abc"),
    ({"kind": "began", "platform": "youtube", "session": "abc"}, ""),
    ({"kind": "ended", "platform": "youtube", "session": "at:12"}, ""),
    ({"kind": "ended", "platform": "twitch", "session": "abc"}, ""),
    ({"kind": "ended", "platform": "of a package that is gone", "session": "abc"}, ""),
]


@pytest.mark.parametrize(("fields", "address"), RECORDINGS)
def test_where_a_stream_that_ended_can_be_watched(fields: dict[str, Any], address: str) -> None:
    ended = change(ended_at=NOON, **fields)
    assert message.recording_address(ended) == address
    assert (
        f"Recording: {address}" in message.build_alert("t", settings.Target(command=("a",)), ended, "UTC").body
    ) is (bool(address))


def test_telegram_gets_a_title_that_is_no_markup() -> None:
    service = apprise.Apprise.instantiate("tgram://123456789:abc/2")
    made = Alert(target="t", kind="live", title="<x> is live", body="b", style="html")
    assert apprise_target._title_for(service, made) == "&lt;x&gt; is live"


# schemes of HTTP, SMTP and others, spellings of loopback
PRIVATE_ADDRESSES = [
    "json://127.0.0.1:{port}/x",
    "xml://localhost:{port}/",
    "json://2130706433:{port}/x",
    "gotify://127.0.0.1:{port}/token12345678901",
    "ntfy://127.0.0.1:{port}/topic",
    "matrix://user:word@127.0.0.1:{port}/#room",
    "bark://127.0.0.1:{port}/devicekey",
    "mailto://user:word@127.0.0.1:{port}?from=a@b.example&to=c@d.example&smtp=127.0.0.1",
]


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_apprise_reaches_no_private_network_unless_it_may(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = Secret(address.format(port=server.getsockname()[1]))
        outcome = apprise_target.AppriseSender(settings.Target(url=url)).send(alert())
        assert not outcome.sent
        assert outcome.detail == (
            "not asked: 127.0.0.1 is not a public address; allow_private: true lets the target reach it"
        )
        with pytest.raises(BlockingIOError):
            server.accept()


def test_every_way_out_is_judged_while_apprise_sends_and_no_other(receiver: Receiver) -> None:
    url = Secret(receiver.url.replace("http", "json"))
    sender = apprise_target.AppriseSender(settings.Target(url=url), allowed_hosts=["127.0.0.1"])
    assert sender.send(alert()).sent
    reach_limit = apprise_target.ReachLimit()

    def sends() -> Iterator[str]:
        reach_limit.watch()
        for kind, address in ((socket.SOCK_DGRAM, ("127.0.0.1", 9)), (socket.SOCK_STREAM, ("localhost", 9))):
            with socket.socket(socket.AF_INET, kind) as sending, pytest.raises(PermissionError) as refused:
                sending.connect(address)
            yield str(refused.value)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending, pytest.raises(PermissionError):
            sending.sendto(b"x", ("10.0.0.1", 514))
        with socket.socket(socket.AF_UNIX) as local, pytest.raises(FileNotFoundError):
            local.connect("/nowhere")

    assert all("is not a public address" in refusal for refusal in contextvars.copy_context().run(lambda: [*sends()]))
    with socket.create_connection(("127.0.0.1", receiver.server_port), timeout=HANG_SECONDS):
        pass  # nothing else in the process is held up


# Webhooks

RESPONSES = [
    (Response(status=204), True, 0.0),
    (Response(status=429, headers={"retry-after": "120"}), False, 120.0),
    (Response(status=503, headers={"retry-after": "Thu, 01 Jan 1970 00:05:00 GMT"}), False, 200.0),
    (Response(status=503, headers={"retry-after": "soon"}), False, 0.0),
    (Response(status=0, error="no answer"), False, 0.0),
]


@pytest.mark.parametrize(("response", "sent", "wait"), RESPONSES)
def test_what_an_answer_means(response: Response, sent: bool, wait: float) -> None:
    outcome = webhook_target.read_outcome(response, 100.0)
    assert (outcome.sent, outcome.retry_after_s) == (sent, wait)


def test_the_shape_of_what_a_webhook_is_sent() -> None:
    payload = msgspec.json.decode(webhook_target.encode_alert(alert(started_at=NOON, viewers=3)))
    assert list(payload) == ["version", "key", "target", "kind", "title", "body", "changes"]
    assert payload["changes"][0]["kind"] == "live"
    assert payload["changes"][0]["started_at"].endswith("Z")


# The command line


def test_the_commands(tmp_path: Path, store_url: str, receiver: Receiver) -> None:
    secret = "very-secret"
    text = (
        f"alerts:\n  hook: {{webhook: '{receiver.url}?token={secret}', allow_private: true}}\n"
        f"  gone: {{url: 'json://127.0.0.1:1/{secret}'}}\n"
    )
    (tmp_path / "livectl.yaml").write_text(text)
    environ = {"LIVECTL_BROKER": store_url, "LIVECTL_HOME": str(tmp_path)}
    tried = answer("alerts", "test", "hook", "--json", cwd=tmp_path, environ=environ)
    assert (tried.returncode, tried.stdout) == (0, '[{"said":"answered 204","sent":true,"target":"hook"}]\n')
    assert receiver.taken[0]["kind"] == "test"
    every = answer("alerts", "test", cwd=tmp_path, environ=environ)
    assert every.returncode == 1
    shown = answer("alerts", "list", cwd=tmp_path, environ=environ)
    assert shown.returncode == 0, shown.stderr
    assert "never" in shown.stdout
    rows = msgspec.json.decode(answer("alerts", "list", "--json", cwd=tmp_path, environ=environ).stdout)
    assert [row["name"] for row in rows] == ["hook", "gone"]
    assert secret not in every.stdout + every.stderr + shown.stdout + str(rows)
    wrong = answer("alerts", "test", "hok", cwd=tmp_path, environ=environ)
    assert (wrong.returncode, "Do you mean hook?" in wrong.stderr) == (2, True)
