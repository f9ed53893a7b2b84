# ruff: noqa: E501, RUF001 - a row of a table is one line, whatever it quotes
"""What is hidden before it is shown or stored, what stays, and what hiding never breaks."""

from __future__ import annotations

import json
import logging
import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from livectl import redaction, secret, settings
from livectl.redaction import RedactingFormatter, hide_secrets, hide_secrets_in, redact, redact_text
from livectl.secret import MASK, KnownSecrets

OPAQUE = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ"
TELEGRAM = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"

HIDDEN = [
    # logins in addresses
    ("redis://:hush@host:6379/0", "redis://:***@host:6379/0"),
    ("redis://:p@ss:w@host/0", "redis://:***@host/0"),
    ("redis://:ab/cd+ef=@host:6379", "redis://:***@host:6379"),
    ("amqp://u:p@h//;amqp://u:q@i//", "amqp://u:***@h//;amqp://u:***@i//"),
    ("sentinel://:a@h1:26379;sentinel://:b@h2:26379", "sentinel://:***@h1:26379;sentinel://:***@h2:26379"),
    ("postgresql+psycopg://me:hush@db/app and more", "postgresql+psycopg://me:***@db/app and more"),
    (f"https://{OPAQUE}@sentry.example/1", "https://***@sentry.example/1"),
    ("Cannot connect to amqp://guest:guest@mq:5672//: refused", "Cannot connect to amqp://guest:***@mq:5672//: refused"),
    # queries
    ("https://h.example/?token=abc&x=1", "https://h.example/?token=***&x=1"),
    ("https://h.example/?x=1&key=abc", "https://h.example/?x=1&key=***"),
    ("GET /cb?api_key=abc&sig=d%2Fe&page=2", "GET /cb?api_key=***&sig=***&page=2"),
    ("https://s3.example/f?X-Amz-Signature=0a1b&X-Amz-Credential=AK/1", "https://s3.example/f?X-Amz-Signature=***&X-Amz-Credential=***"),
    ("https://oapi.dingtalk.com/robot/send?access_token=66f2", "https://oapi.dingtalk.com/robot/send?access_token=***"),
    ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=***"),
    ("url=https%3A%2F%2Fh%2F%3Ftoken%3Dabc", "url=https%3A%2F%2Fh%2F%3Ftoken%3D***"),
    # headers
    ("Authorization: Bearer abc", "Authorization: ***"),
    ("{'Authorization': 'Token abc def'}", "{'Authorization': '***'}"),
    ("sent Bearer abc.def-123 to it", "sent Bearer *** to it"),
    ("curl -H 'authorization: basic dXNlcjpwYXNz' h", "curl -H 'authorization: ***' h"),
    ("Cookie: SESSDATA=0a1b; x", "Cookie: ***; x"),
    # what stands behind a name
    ("{'token': 'abc', 'x': 1}", "{'token': '***', 'x': 1}"),
    ('{"password": "a\\"b", "n": 5}', '{"password": "***", "n": 5}'),
    ('{"api_key": 123, "secret": null, "token": ""}', '{"api_key": "***", "secret": null, "token": ""}'),
    ('{\\"token\\": \\"abc\\", \\"x\\": 1}', '{\\"token\\": \\"***\\", \\"x\\": 1}'),
    ("login(user='me', password='it\\'s', n=1)", "login(user='me', password='***', n=1)"),
    ("DJANGO_SECRET_KEY=abc def", "DJANGO_SECRET_KEY=*** def"),
    ("--password=abc --client-secret=def", "--password=*** --client-secret=***"),
    ("password: 'cut in the mid", "password: '***"),
    ("ValueError: token: aB3", "ValueError: token: ***"),
    # webhooks
    (f"https://discord.com/api/webhooks/1234567890/{OPAQUE}", "https://discord.com/api/webhooks/***/***"),
    (f"https://canary.discord.com/api/v10/webhooks/1234567890/{OPAQUE}?wait=true", "https://canary.discord.com/api/v10/webhooks/***/***?wait=true"),
    (f"https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF1/{OPAQUE}", "https://hooks.slack.com/services/***/***/***"),
    (f"https://api.telegram.org/bot{TELEGRAM}/sendMessage", "https://api.telegram.org/***/sendMessage"),
    (f"https://bots.example/bot{TELEGRAM}/sendMessage", "https://bots.example/***/sendMessage"),
    ("https://open.feishu.cn/open-apis/bot/v2/hook/ae3a0e5b-1111-2222-3333-444455556666.", "https://open.feishu.cn/open-apis/bot/v2/hook/***."),
    ("https://open.larksuite.com/open-apis/bot/v2/hook/ae3a0e5b11112222", "https://open.larksuite.com/open-apis/bot/v2/hook/***"),
    ("https://x.webhook.office.com/webhookb2/0a1b2c3d@4e5f/IncomingWebhook/0a1b2c3d4e/5f6a7b8c", "https://x.webhook.office.com/webhookb2/***/IncomingWebhook/***/***"),
    ("https://sctapi.ftqq.com/SCT12345TabcDEF678.send?title=x", "https://sctapi.ftqq.com/***?title=x"),
    (f"https://api.day.app/{OPAQUE}/title", "https://api.day.app/***/title"),
    ("https://home.example:8123/api/webhook/0a1b2c3d4e5f", "https://home.example:8123/api/webhook/***"),
    (f"https://chat.example/hooks/{OPAQUE} failed", "https://chat.example/hooks/*** failed"),
    (f"tgram://{TELEGRAM}/12315544/", "tgram://***"),
    (f"sent to discord://1234567890/{OPAQUE}.", "sent to discord://***"),
    # tokens by their looks
    (f"bot {TELEGRAM}!", "bot ***!"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln in a text", "*** in a text"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ is one", "*** is one"),
    ("rtmp://live.twitch.tv/app/live_12345678_abcdefghijklmn", "rtmp://live.twitch.tv/app/***"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n-----END RSA PRIVATE KEY-----\nand", "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\nand"),
]  # fmt: skip

SHOWN = [
    "https://live.bilibili.com/6",
    "https://www.twitch.tv/some_long_streamer_name_1234567890",
    "https://i0.hdslb.com/bfs/live/0123456789abcdef0123456789abcdef.jpg",
    "https://host:8080/path/@somebody",
    "http://[::1]:8080/x?page=2&monkey=banana",
    "https://github.com/org/repo/commit/0123456789abcdef",
    "KeyError: 'token'",
    "bearer authentication failed",
    'WWW-Authenticate: Bearer realm="livectl"',
    "web.token: the environment variable WEB_TOKEN is not set",
    "alerts.x.secret: env:HOOK_SECRET is not set",
    "platforms.twitch.client_secret: file:twitch.key: no such file or directory",
    "max_tokens=4096, tokens: 12",
    "livectl.check[0b1c2d3e-0000-4000-8000-123456789abc] succeeded in 0.1s: None",
    "2026-11-28 09:00:00,123: INFO/MainProcess",
    "TypeError: f() takes 1 positional argument but 2 were given",
    "",
    "令牌错误：请检查",
]


@pytest.mark.parametrize(("text", "shown"), HIDDEN)
def test_secrets_are_hidden_once_and_for_all(text: str, shown: str) -> None:
    assert hide_secrets(text) == shown
    assert hide_secrets(shown) == shown
    assert redact_text(text, 1000) == shown
    assert redact({"text": [text]}) == {"text": [redact_text(text)]}


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide_secrets(text) == text


VALUES: list[tuple[Any, Any]] = [
    ({"password": "a", "user": "b"}, {"password": MASK, "user": "b"}),
    ({"api_key": 1, "token": None, "deep": {"Authorization": "x"}}, {"api_key": MASK, "token": None, "deep": {"Authorization": MASK}}),
    ([["X-Api-Key", "abc"], ("accept", "json")], [["X-Api-Key", MASK], ["accept", "json"]]),
    ({"https://u:p@h/": 1}, {"https://u:***@h/": 1}),
    ({("a", 1): {2}}, {"('a', 1)": [2]}),
    (ValueError("https://u:p@h/"), "https://u:***@h/"),
    ((b"\x00\x01", bytearray(3)), ["<2 bytes>", "<3 bytes>"]),
    (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ("half a \ud83d pair", "half a ? pair"),
    ({"monkey": "left alone", "author": "me"}, {"monkey": "left alone", "author": "me"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), VALUES)
def test_structures_keep_their_shape_and_are_json(value: Any, shown: Any) -> None:
    assert redact(value) == shown
    assert redact(shown) == shown
    assert hide_secrets_in(value) == shown
    msgspec.json.encode(redact(value))


def test_long_values_are_cut_when_shown_and_whole_when_kept() -> None:
    value: dict[str, Any] = {"list": list(range(60)), "text": "x" * 300, "deep": [[[[[[[1]]]]]]]}
    assert len(redact(value)["list"]) == 51
    assert redact(value)["text"] == "x" * 200 + "…"
    assert hide_secrets_in(value) == value


@pytest.mark.parametrize("length", [0, 1, 5, 190, 196, 197, 198, 199, 200, 201, 2000, 2200, 2246, 2248, 9000])
@pytest.mark.parametrize(
    "secret_text", ["redis://:hush-hush-hush@host", "token='hush hush'", f"https://api.day.app/hush{OPAQUE}"]
)
def test_no_cut_lays_a_secret_open(length: int, secret_text: str) -> None:
    for text in (
        "x" * length + " " + secret_text,
        secret_text + " " + "x" * length,
        f"{secret_text} " * (length // 20),
    ):
        shown = redact_text(text)
        assert "hush" not in shown
        assert len(shown) <= 201
        assert redact_text(shown) == shown


def test_much_hidden_brings_no_end_to_light() -> None:
    text = "".join(f"password='{'s' * 900}'," for _ in range(8)) + "redis://:" + "h" * 2000 + "@host"
    assert "sss" not in redact_text(text)
    assert "hhh" not in redact_text(text)


FRAGMENTS = [text for text, _ in HIDDEN] + SHOWN
JOINTS = [" ", ", ", "\n", "; ", ' "', "' ", "&", "?", "=", ": ", "(", ")", "{", "}", "…", "\\", "@", "/", "***", ""]


def test_hiding_twice_is_hiding_once_whatever_stands_together() -> None:
    drawn = random.Random(20261128)
    for _ in range(1500):
        words = [drawn.choice([*FRAGMENTS, *JOINTS, *JOINTS]) for _ in range(drawn.randint(1, 8))]
        once = hide_secrets("".join(words))
        assert hide_secrets(once) == once, words


def test_json_stays_json_whatever_it_holds() -> None:
    drawn = random.Random(20261128)
    names = ["token", "password", "url", "x", "Authorization", "api_key"]
    for _ in range(500):
        value: dict[str, Any] = {
            drawn.choice(names): drawn.choice([*FRAGMENTS, 7, None, True, [], {}, 'a "quoted" one', "back\\slash"])
            for _ in range(5)
        }
        text = json.dumps([value, json.dumps(value)], ensure_ascii=drawn.random() < 0.5)
        assert len(json.loads(hide_secrets(text))) == 2


@pytest.mark.parametrize(
    "unit",
    [
        "://",
        "://a:b",
        "eyJ",
        "token='",
        "token ",
        "a/",
        "&a_",
        "x",
        "1",
        "Basic ",
        "https://h/p?key=1 ",
        '\\"',
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_the_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    """A pattern that went back over the text again and again would never end here."""
    hide_secrets(unit * (150_000 // len(unit)))


# Values that the settings know


def known(*values: str) -> KnownSecrets:
    secrets = KnownSecrets()
    secrets.add(lambda: values)
    return secrets


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("correct horse", "the correct horse of it", "the *** of it"),
        ("p/w d+1?", "quoted p%2Fw%20d%2B1%3F and p%2Fw+d%2B1%3F", "quoted *** and ***"),
        ('a"quoted"one', r'in JSON a\"quoted\"one', "in JSON ***"),
        ("hunter2", "hunter2 hunter22 Xhunter2 (hunter2)", "*** hunter22 Xhunter2 (***)"),
        ("short", "a short word", "a short word"),
        ("secret", "alerts.x.secret: env:HOOK is not set", "alerts.x.secret: env:HOOK is not set"),
        ("", "nothing", "nothing"),
        (f"tgram://{TELEGRAM}/1", f"bot{TELEGRAM.partition(':')[2]} failed at api.telegram.org", "bot*** failed at api.telegram.org"),
        ("https://hooks.example.com/services/0a1b2c3d4e5f6a7b", "POST hooks.example.com/services/0a1b2c3d4e5f6a7b", "POST hooks.example.com/services/***"),
        ("mailtos://me:pass.word-1@smtp.example.org?to=a@b.example", "pass.word-1 at smtp.example.org", "*** at smtp.example.org"),
        ("https://server2.example.com/hook/0a1b2c3d4e5f6a7b", "server2.example.com of 0a1b2c3d4e5f6a7b", "server2.example.com of ***"),
        ("SESSDATA=0a1b2c3d4e5f6a; bili_jct=x", "sent 0a1b2c3d4e5f6a", "sent ***"),
    ],
)  # fmt: skip
def test_what_the_settings_know_is_hidden_however_it_is_spelt(value: str, text: str, shown: str) -> None:
    assert known(value).hide(text) == shown
    assert known(value).hide(shown) == shown


def test_settings_make_their_secrets_known_and_no_secret_is_read_for_nothing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = KnownSecrets()
    monkeypatch.setattr(settings, "KNOWN", secrets)
    monkeypatch.setattr(redaction, "KNOWN", secrets)
    (tmp_path / "livectl.yaml").write_text(
        "broker: redis://:broker-word@h/0\nweb: {token: env:PAGE}\nalerts: {a: {webhook: 'file:hook'}, b: {url: env:GONE}}\n"
        "platforms: {twitch: {client_secret: file:twitch}}\n"
    )
    settings.load({"LIVECTL_HOME": str(tmp_path), "PAGE": "the-page-token"}, tmp_path)
    (tmp_path / "hook").write_text("https://h.example/0a1b2c3d4e5f6a7b8c9d\n")
    (tmp_path / "twitch").write_text("of-twitch-alone\n")
    text = "broker-word the-page-token of-twitch-alone 0a1b2c3d4e5f6a7b8c9d h.example"
    assert hide_secrets(text) == "*** *** *** *** h.example"
    assert isinstance(secret.KNOWN, KnownSecrets)


# Logs


def test_a_log_line_and_its_traceback_are_hidden() -> None:
    formatter = RedactingFormatter(logging.Formatter("error %(message)s"))
    try:
        raise ValueError("no answer of https://u:hush@h/?token=hush2")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "f", 1, "of %s", ("redis://:hush3@h",), (type(error), error, None)
        )
    line = formatter.format(record)
    assert line.startswith("error of redis://:***@h\n")
    assert "hush" not in line
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "lastResort", logging.StreamHandler())
        redaction.redact_stray_logs()
        assert logging.lastResort
        assert "hush" not in logging.lastResort.format(record)
    logger = logging.getLogger("tests.redaction")
    logger.addHandler(logging.StreamHandler())
    redaction.redact_logs_of(logger)
    redaction.redact_logs_of(logger)
    assert logger.handlers[0].format(record).startswith("of redis://:***@h")
