"""The settings: where each comes from, and every mistake in them at once."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.errors import FileError, SecretUnsetError, SettingsError
from livectl.secret import Secret
from livectl.settings import Settings, load, load_usable
from livectl.units import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

EXAMPLE = """\
broker: redis://:hush@host:6379/0
store: redis://host:6379/1
timezone: Europe/Paris
alerts:
  phone:  {url: env:PHONE_URL, on: [live, title]}
  record: {command: [streamlink, "{url}", best, -o, "{id}.ts"]}
platforms:
  twitch:  {client_id: env:TWITCH_ID, client_secret: env:TWITCH_SECRET, budget: 600/m}
  kick:    {client_id: env:KICK_ID, client_secret: env:KICK_SECRET}
  youtube: {api_key: env:YOUTUBE_KEY}
  bilibili: {cookie: file:bilibili.cookie}
polling: {mode: learned, fastest: 15s, slowest: 15m, merge: 10m}
network: {proxy: null, connect_to: {api.twitch.tv: http://127.0.0.1:9000}}
web: {host: 127.0.0.1, port: 8787}
celery: {worker_max_tasks_per_child: 1000}
"""
NAMES = ("PHONE_URL", "TWITCH_ID", "TWITCH_SECRET", "KICK_ID", "KICK_SECRET", "YOUTUBE_KEY")
ENVIRON = {name: f"hush {name.lower()}" for name in NAMES}


@pytest.fixture
def read_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Reads a livectl.yaml of this text."""

    def read_settings(text: str, **environ: str) -> Settings:
        (tmp_path / "livectl.yaml").write_text(textwrap.dedent(text))
        return load({"HOME": str(tmp_path / "home"), **environ}, tmp_path)

    return read_settings


def test_without_file_and_environment_there_are_defaults(tmp_path: Path) -> None:
    settings = load({"HOME": "/home/me"}, tmp_path)
    assert (settings.broker, settings.store, settings.results) == (None, None, None)
    assert settings.home == Path("/home/me/.local/state/livectl")
    assert settings.schedules == tmp_path / "schedules.yaml"
    assert settings.follows == tmp_path / "follows.yaml"
    assert (settings.timezone, settings.web.port, settings.polling.slowest) == ("UTC", 8787, 900)
    assert (settings.alerts, settings.platforms, settings.celery) == ({}, {}, {})
    assert (settings.file, settings.folder) == (None, tmp_path)
    assert set(settings.sources.values()) == {"default"}


def test_the_example_is_read_whole(read_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "bilibili.cookie").write_text("SESSDATA=hush\n")
    settings = read_settings(EXAMPLE, **ENVIRON)
    assert settings.broker == Address.parse("redis://:hush@host:6379/0")
    assert settings.store == Address.parse("redis://host:6379/1")
    assert settings.alerts["phone"].url == Secret("hush phone_url")
    assert settings.alerts["phone"].on == ("live", "title")
    assert settings.alerts["record"].command == ("streamlink", "{url}", "best", "-o", "{id}.ts")
    assert settings.alerts["record"].max_age == 1800
    assert settings.platforms["twitch"].budget == Rate(600, 60)
    assert settings.platforms["youtube"].api_key == Secret("hush youtube_key")
    assert settings.platforms["bilibili"].cookie == Secret("SESSDATA=hush")
    assert (settings.polling.fastest, settings.polling.slowest, settings.polling.merge) == (15, 900, 600)
    assert settings.network.proxy is None
    assert settings.network.connect_to == {"api.twitch.tv": "http://127.0.0.1:9000"}
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8787)
    assert settings.celery == {"worker_max_tasks_per_child": 1000}
    assert (settings.folder, settings.file) == (tmp_path, tmp_path / "livectl.yaml")


def test_nothing_secret_is_shown(read_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "bilibili.cookie").write_text("SESSDATA=hush\n")
    settings = read_settings(EXAMPLE, LIVECTL_RESULTS="redis://:hush@host/2", **ENVIRON)
    fields = [getattr(settings, name) for name in settings.__struct_fields__]
    assert "hush" not in repr(settings) + str(settings) + repr(fields) + "".join(map(str, fields))


def test_each_value_has_its_source(read_settings: Callable[..., Settings]) -> None:
    settings = read_settings(
        """\
        # comment
        broker: host
        store: host/1
        web:
          port: 80
        alerts:
          phone: {webhook: x}
        """,
        LIVECTL_STORE="other/2",
        LIVECTL_HOME="state",
    )
    wanted = {
        "broker": "livectl.yaml:2",
        "store": "LIVECTL_STORE",
        "results": "default",
        "web": "livectl.yaml:4",
        "web.port": "livectl.yaml:5",
        "web.host": "default",
        "alerts.phone.webhook": "livectl.yaml:7",
        "home": "LIVECTL_HOME",
    }
    assert {name: settings.sources[name] for name in wanted} == wanted
    assert settings.store == Address.parse("other/2")


@pytest.mark.parametrize("name", ["broker", "store", "results"])
def test_the_environment_goes_before_the_file(read_settings: Callable[..., Settings], name: str) -> None:
    settings = read_settings(f"{name}: a", **{f"LIVECTL_{name.upper()}": "b"})
    assert getattr(settings, name) == Address.parse("b")
    assert getattr(read_settings(f"{name}: a", **{f"LIVECTL_{name.upper()}": ""}), name) == Address.parse("a")


def test_a_named_file_goes_before_one_found(tmp_path: Path) -> None:
    for name in (
        "livectl.yaml",
        "asked.yaml",
        "meant.yaml",
        "xdg/livectl/livectl.yaml",
        "home/.config/livectl/livectl.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("timezone: UTC\n")
    environ = {"HOME": str(tmp_path / "home")}
    user = environ | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    elsewhere = tmp_path / "xdg"
    assert load(user | {"LIVECTL_CONFIG": "meant.yaml"}, tmp_path, "asked.yaml").file == tmp_path / "asked.yaml"
    assert load(user | {"LIVECTL_CONFIG": "meant.yaml"}, tmp_path).file == tmp_path / "meant.yaml"
    assert load(user, tmp_path).file == tmp_path / "livectl.yaml"
    assert load(user, elsewhere).file == tmp_path / "xdg/livectl/livectl.yaml"
    assert load(environ, elsewhere).file == tmp_path / "home/.config/livectl/livectl.yaml"
    assert load(environ, elsewhere).schedules == tmp_path / "home/.config/livectl/schedules.yaml"


@pytest.mark.parametrize(
    ("environ", "file", "message"),
    [
        ({}, "none.yaml", "--config none.yaml: no such file"),
        ({"LIVECTL_CONFIG": "no.yaml"}, None, "LIVECTL_CONFIG no.yaml"),
    ],
)
def test_a_named_file_must_be_there(environ: dict[str, str], file: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        load(environ, tmp_path, file)
    assert "livectl init" in refused.value.hint


def test_home_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    assert load({"HOME": "/h", "XDG_STATE_HOME": "/s"}, tmp_path).home == Path("/s/livectl")
    assert load({"HOME": "/h", "XDG_STATE_HOME": "relative"}, tmp_path).home == Path("/h/.local/state/livectl")
    assert load({"HOME": "/h", "LIVECTL_HOME": "here"}, tmp_path).home == tmp_path / "here"


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/livectl.yaml").write_text("schedules: s/plan.yaml\nfollows: /f.yaml\nweb: {token: file:t}\n")
    (tmp_path / "conf/t").write_text("abc\n")
    settings = load({}, tmp_path, "conf/livectl.yaml")
    assert (settings.schedules, settings.follows) == (tmp_path / "conf/s/plan.yaml", Path("/f.yaml"))
    assert settings.web.token == Secret("abc")


def test_addresses_may_be_kept_outside(read_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "broker").write_text("amqp://u:p@host\n")
    settings = read_settings(
        "broker: file:broker\nstore: env:STORE", STORE="redis://:pw@host", LIVECTL_RESULTS="env:STORE"
    )
    assert settings.broker == Address.parse("amqp://u:p@host")
    assert settings.store == settings.results == Address.parse("redis://:pw@host")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "broker:\nalerts:\nweb:\n", "platforms: {kick: }\nweb: {token: null}\n"]
)
def test_what_is_left_empty_is_left_out(read_settings: Callable[..., Settings], text: str) -> None:
    settings = read_settings(text)
    assert settings.broker is None
    assert settings.web == livectl_settings.Web()


MISTAKES = [
    # text, position, message, hint
    ("brokr: host\n", "1:1", "unknown key `brokr`", "do you mean broker?"),
    ("web: {prot: 1}\n", "1:7", "unknown key `prot`", "do you mean port?"),
    ("web: {colour: 1}\n", "1:7", "unknown key `colour`", "it can be host, port, token"),
    ("BROKER: host\n", "1:1", "unknown key `BROKER`", "do you mean broker?"),
    ("home: /x\n", "1:1", "unknown key `home`", "it can be app, broker, store"),
    ("broker:host\n", "1:1", "keys with values are wanted, not text", "a space"),
    ("- broker: host\n", "1:1", "keys with values are wanted, not a list", "a space"),
    ("broker: http://host\n", "1:9", "broker: http:// is no broker", "write redis://host"),
    ("broker: redis:/h\n", "1:9", "broker: redis: wants two slashes", "write redis://h:6379/0"),
    ("broker: 6379\n", "1:9", "broker: this is text", "put it in quotes"),
    ("broker: [a, b]\n", "1:9", "broker: this is text", "put it in quotes"),
    ("store: amqp://host\n", "1:8", "amqp://host:5672// is no Redis", "redis://host:6379/0"),
    ("results: amqp://host\n", "1:10", "amqp://host:5672// is no Redis", "redis://host:6379/0"),
    ("timezone: Europe/Pris\n", "1:11", "no timezone is called Europe/Pris", "write Europe/Paris"),
    ("timezone: shanghai\n", "1:11", "no timezone is called shanghai", "write Asia/Shanghai"),
    ("timezone: Europe\n", "1:11", "no timezone is called Europe", "write"),
    ("timezone: ../../etc/passwd\n", "1:11", "no timezone is called", "write"),
    ("schedules: {a: 1}\n", "1:12", "schedules: this is text", "quotes"),
    ("alerts: [phone]\n", "1:9", "alerts wants keys with values, not a list", ""),
    ("alerts: {phone: tgram://x}\n", "1:17", "alerts.phone wants keys with values, not text", ""),
    ("alerts: {phone: {on: [live]}}\n", "1:17", "a target has one of url, webhook and command", "keep one"),
    ("alerts: {phone: {url: a, webhook: b}}\n", "1:23", "alerts.phone: a target has one of", "keep one"),
    ("alerts: {phone: {url: a, on: [liv]}}\n", "1:31", "alerts.phone.on.0 cannot be liv", "do you mean live?"),
    ("alerts: {phone: {url: a, on: live}}\n", "1:30", "alerts.phone.on wants a list, not text", ""),
    ("alerts: {phone: {url: a, limit: 10}}\n", "1:33", "alerts.phone.limit: this is text", "quotes"),
    ("alerts: {phone: {url: a, limit: 10/y}}\n", "1:33", "a rate is a number in a unit of time", "600/m"),
    ("alerts: {phone: {url: a, quiet: 23-7}}\n", "1:33", "a time of day is hours and minutes", "09:00"),
    ("alerts: {phone: {url: a, quiet: 23:00}}\n", "1:33", "hours are from one time of day", "23:00-07:30"),
    ("alerts: {phone: {url: a, days: [Mon]}}\n", "1:33", "alerts.phone.days.0 cannot be Mon", "do you mean mon?"),
    ("alerts: {phone: {url: a, hours: 18}}\n", "1:33", "alerts.phone.hours: this is text", "quotes"),
    ("alerts: {phone: {url: a, viewers: many}}\n", "1:35", "alerts.phone.viewers wants a whole number", ""),
    ("alerts: {phone: {url: a, viewers: -1}}\n", "1:35", "viewers is a number of people", "write viewers: 100"),
    ("alerts: {phone: {url: a, titles: ['!']}}\n", "1:34", "a pattern of titles or categories is empty", "write"),
    ("alerts: {phone: {url: a, first_in: week}}\n", "1:36", "a duration is a number with its unit", "write 30s"),
    ("alerts: {phone: {url: a, template: {format: md}}}\n", "1:45", "template.format cannot be md", "text, markdown"),
    ("alerts: {phone: {url: a, digest: 24:00}}\n", "1:34", "a time of day is hours and minutes", "09:00"),
    ("alerts: {phone: {url: a, tags: [1]}}\n", "1:33", "alerts.phone.tags.0 wants text, not a whole number", "quotes"),
    ("alerts: {phone: {url: a, allow_private: yes}}\n", "1:41", "wants true or false, not text", ""),
    ("alerts: {phone: {url: a, template: {titel: x}}}\n", "1:37", "unknown key `titel`", "do you mean title?"),
    ("platforms: {twitch: {budget: 600}}\n", "1:30", "platforms.twitch.budget: this is text", "quotes"),
    ("platforms: {twitch: {api_key: 0123}}\nweb: {token: 12}\n", "2:14", "web.token: this is text", "quotes"),
    ("platforms: {douyu: {queue: ''}}\n", "1:28", "this cannot be the name of a queue", "queue: slow"),
    ("platforms: {douyu: {queue: 'a,b'}}\n", "1:28", "this cannot be the name of a queue", "queue: slow"),
    ("polling: {mode: fast}\n", "1:17", "polling.mode cannot be fast", "learned, uniform"),
    ("polling: {mode: lerned}\n", "1:17", "polling.mode cannot be lerned", "do you mean learned?"),
    ("polling: {fastest: 15x}\n", "1:20", "polling.fastest: a duration is", "30s, 5m, 1h30m"),
    ("polling: {fastest: -1}\n", "1:20", "neither negative", "30s"),
    ("polling: {fastest: true}\n", "1:20", "polling.fastest: a duration is", "30s"),
    ("polling: {shards: 1025}\n", "1:19", "polling.shards: a store has 1 to 1024 shards", "16"),
    ("polling: {shards: 0}\n", "1:19", "polling.shards: a store has 1 to 1024 shards", "16"),
    ("polling: {shards: many}\n", "1:19", "polling.shards: a store has 1 to 1024 shards", "16"),
    ("polling: {fastest: 1h}\n", "1:20", "polling: fastest is longer than slowest", "fastest: 15s"),
    ("network: {connect_to: {a.b: 127.0.0.1}}\n", "1:29", "requests are sent to an http address", "http://127.0.0.1:9000"),
    ("web: {port: '80'}\n", "1:13", "web.port: a port is a number", "8787"),
    ("web: {port: 99999}\n", "1:13", "web.port: a port is a number", "8787"),
    ("web: {port: true}\n", "1:13", "web.port: a port is a number", "8787"),
    ("web: {host: 1}\n", "1:13", "web.host wants text, not a whole number", "quotes"),
    ("celery: [a]\n", "1:9", "celery wants keys with values, not a list", ""),
    ("celery: {CELERY_ACKS_LATE: true}\n", "1:10", "Celery has no setting `CELERY_ACKS_LATE`", "task_acks_late"),
    ("celery: {TASK_ACKS_LATE: true}\n", "1:10", "Celery has no setting `TASK_ACKS_LATE`", "task_acks_late"),
    ("celery: {CELERY_TASK_ACKS_LATE: true}\n", "1:10", "Celery has no setting", "task_acks_late"),
    ("celery: {worker_concurency: 1}\n", "1:10", "Celery has no setting", "worker_concurrency"),
    ("celery: {CELERYD_CONCURRENCY: 1}\n", "1:10", "Celery has no setting", "worker_concurrency"),
    ("celery: {broker_pool_limit: four}\n", "1:10", "celery.broker_pool_limit wants a number, not text", ""),
    ("celery: {task_acks_late: yes}\n", "1:10", "celery.task_acks_late wants true or false, not text", ""),
    ("celery: {broker_url: x}\n", "1:10", "celery.broker_url is livectl's own", "broker: at the top"),
    ("celery: {BROKER_URL: x}\n", "1:10", "Celery has no setting `BROKER_URL`", "broker: at the top"),
    ("celery: {result_backend: x}\n", "1:10", "livectl's own", "results: at the top"),
    ("celery: {beat_schedule: {}}\n", "1:10", "livectl's own", "schedules.yaml"),
    ("celery: {timezone: UTC}\n", "1:10", "livectl's own", "schedules.yaml"),
    ("celery: {zzz: 1}\n", "1:10", "Celery has no setting `zzz`", "Celery's documentation"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "position", "message", "hint"), MISTAKES, ids=[row[0].strip() for row in MISTAKES])
def test_a_mistake_has_a_place_and_a_cure(
    read_settings: Callable[..., Settings], text: str, position: str, message: str, hint: str
) -> None:
    with pytest.raises(FileError) as refused:
        read_settings(text)
    (mistake,) = refused.value.mistakes
    assert str(mistake).startswith(f"livectl.yaml:{position}: ")
    assert message in mistake.text
    assert hint in mistake.hint
    assert refused.value.code == 3


def test_all_mistakes_of_a_file_are_reported_in_order(read_settings: Callable[..., Settings]) -> None:
    with pytest.raises(FileError) as refused:
        read_settings(
            """\
            celery: {worker_concurency: 1}
            brokr: x
            web: {port: 0, prot: 1}
            alerts:
              a: {}
              b: {url: 1}
            timezone: Nowhere
            """
        )
    assert [(mistake.line, mistake.column) for mistake in refused.value.mistakes] == [
        (1, 10), (2, 1), (3, 13), (3, 16), (5, 6), (6, 12), (7, 11),
    ]  # fmt: skip


def test_a_broken_file_is_refused_as_yaml_is(read_settings: Callable[..., Settings]) -> None:
    with pytest.raises(FileError, match=r"livectl\.yaml:2:1: a tab"):
        read_settings("web:\n\thost: x\n")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LIVECTL_BROKER": "http://:hush@host"}, "LIVECTL_BROKER: http:// is no broker"),
        ({"LIVECTL_STORE": "amqp://u:hush@host"}, r"LIVECTL_STORE: amqp://u:\*\*\*@host:5672// is no Redis"),
        ({"LIVECTL_RESULTS": "redis://:hush@x@host"}, "LIVECTL_RESULTS: more than one @"),
        ({"LIVECTL_BROKER": "env:NONE"}, "LIVECTL_BROKER: the environment variable NONE is not set"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        load(environ, tmp_path)
    assert refused.value.hint
    assert "hush" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"x" * 100_000, "is too large"), (b"\xff", "is not text")],
)
def test_a_secret_file_holds_one_text(
    read_settings: Callable[..., Settings], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    token = read_settings("web: {token: file:key}").web.token
    assert token is not None
    with pytest.raises(SecretUnsetError, match=f"file:key {message}"):
        token.reveal()


@pytest.mark.parametrize(
    ("text", "setting", "why"),
    [
        ("alerts: {hook: {webhook: 'http://x', secret: env:NONE}}", "alerts.hook.secret", "variable NONE is not set"),
        ("platforms: {kick: {client_id: file:no.txt}}", "platforms.kick.client_id", "file:no.txt: no such file"),
        ("platforms: {bilibili: {cookie: file:.}}", "platforms.bilibili.cookie", "file:. is no plain file"),
        ("network: {proxy: env:NONE}", "network.proxy", "variable NONE is not set"),
        ("web: {token: env:NONE}", "web.token", "variable NONE is not set"),
        ("broker: env:NONE", "broker", "variable NONE is not set"),
        ("celery: {security_key_password: env:NONE}", "celery.security_key_password", "variable NONE is not set"),
    ],
)
def test_an_unset_secret_is_named_and_costs_only_who_uses_it(
    read_settings: Callable[..., Settings], text: str, setting: str, why: str
) -> None:
    settings = read_settings(f"{text}\nstore: host")
    assert settings.store == Address.parse("host")
    assert list(settings.unset_secrets()) == [setting]
    (line,) = settings.describe_unset()
    assert line.startswith(f"livectl.yaml:1: {setting}: ")
    assert why in line


def test_a_server_whose_address_is_unset_fails_where_it_is_used(read_settings: Callable[..., Settings]) -> None:
    settings = read_settings("broker: env:NONE")
    with pytest.raises(SecretUnsetError, match="NONE is not set"):
        _ = settings.broker.url  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["folder", "fifo", "dangling link"])
@pytest.mark.parametrize("named", [None, "livectl.yaml"])
def test_a_settings_path_that_is_no_file_is_no_missing_one(tmp_path: Path, kind: str, named: str | None) -> None:
    path = tmp_path / "livectl.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("gone")
    with pytest.raises(SettingsError, match=r"livectl\.yaml: (is a folder|is no plain file|no such file)"):
        load({}, tmp_path, named)
    assert load_usable({"LIVECTL_BROKER": "host"}, tmp_path, named).broker == Address.parse("host")


def test_of_a_broken_file_the_sections_without_a_mistake_are_usable(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text("broker: host\nweb: {port: 0}\nalerts: {a: {}}\nstore: other\n")
    settings = load_usable({"HOME": "/home/me"}, tmp_path)
    assert (settings.broker, settings.store) == (Address.parse("host"), Address.parse("other"))
    assert (settings.web.port, settings.alerts) == (8787, {})


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]} {secret!s}"
    assert secret.reveal() == "hush"
    assert {secret, Secret("hush")} == {secret}
    assert secret != "hush"


def _settings(struct: type[msgspec.Struct]) -> set[str]:
    """Every field of a struct, and of the structs in it."""
    names = set()
    for field in msgspec.structs.fields(struct):
        names.add(field.name)
        for part in (field.type, *getattr(field.type, "__args__", ())):
            if isinstance(part, type) and issubclass(part, msgspec.Struct) and part is not Address:
                names |= _settings(part)
    return names


@pytest.mark.parametrize(
    "name", sorted(_settings(livectl_settings.FileSettings) | {"LIVECTL_HOME", "LIVECTL_CONFIG", "LIVECTL_APP"})
)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/settings.md").read_text()


def test_the_documented_example_is_valid(read_settings: Callable[..., Settings], tmp_path: Path) -> None:
    page = (ROOT / "docs/settings.md").read_text()
    (tmp_path / "bilibili.cookie").write_text("x")
    for block in page.split("```yaml\n")[1:]:
        assert read_settings(
            block.partition("```")[0], **ENVIRON, HOOK_SECRET="x", WEB_TOKEN="x", BROKER_URL="host"
        ).file


def test_every_setting_of_celery_is_taken_or_has_another_place(read_settings: Callable[..., Settings]) -> None:
    from celery.app.defaults import SETTING_KEYS

    from livectl import celery_settings

    taken = dict.fromkeys(SETTING_KEYS - celery_settings.RESERVED_SETTINGS.keys())
    assert list(celery_settings.find_mistakes(taken)) == []
    assert celery_settings.RESERVED_SETTINGS.keys() <= SETTING_KEYS
    refused = [key for key, _, _ in celery_settings.find_mistakes(dict.fromkeys(celery_settings.RESERVED_SETTINGS))]
    assert refused == list(celery_settings.RESERVED_SETTINGS)


def test_a_setting_of_celery_may_be_kept_outside(read_settings: Callable[..., Settings]) -> None:
    settings = read_settings(
        "celery: {security_key_password: env:KEY, task_time_limit: null, imports: [a]}", KEY="hush"
    )
    assert settings.celery == {"security_key_password": "hush", "task_time_limit": None, "imports": ["a"]}


@pytest.mark.parametrize("name", ["beat_pidfile", "redis_client_name", "redbeat_lock_timeout", "once", "worker_agent"])
def test_what_celery_reads_without_listing_it_is_taken(read_settings: Callable[..., Settings], name: str) -> None:
    assert read_settings(f"celery: {{{name}: x}}").celery == {name: "x"}


def test_every_old_name_of_celery_leads_to_the_new_one() -> None:
    from celery.app.defaults import _TO_NEW_KEY, SETTING_KEYS

    from livectl import celery_settings

    for old, new in _TO_NEW_KEY.items():
        if old in SETTING_KEYS:
            continue
        ((key, _, hint),) = celery_settings.find_mistakes({old: None})
        assert key == old
        assert hint in {f"do you mean {new}?", celery_settings.RESERVED_SETTINGS.get(new)}


def test_neither_yaml_nor_celery_is_imported_for_nothing(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys; from pathlib import Path; from livectl import settings; settings.load({}, Path(sys.argv[1]));"
    code += "print({'yaml', 'celery', 'redis'} & set(sys.modules))"
    answer: Any = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_the_token_of_the_environment_goes_before_that_of_the_file(read_settings: Callable[..., Settings]) -> None:
    for text in ("", "web: {port: 9000, token: of-the-file}\n"):
        found = read_settings(text, LIVECTL_TOKEN="of-the-environment")
        assert found.web.token
        assert (found.web.token.reveal(), found.sources["web.token"]) == ("of-the-environment", "LIVECTL_TOKEN")
        assert found.web.port == (9000 if text else 8787)


@pytest.mark.parametrize(
    ("text", "address", "proxy"),
    [
        ("192.0.2.10", "192.0.2.10", None),
        ("'2001:db8::1'", "2001:db8::1", None),
        ("socks5://me:word@host:1080", "", "socks5://me:word@host:1080"),
        ("env:PROXY", "", "http://proxy:3128"),
        ("env:ADDRESS", "192.0.2.11", None),
    ],
)
def test_an_exit_is_an_address_or_a_proxy(
    read_settings: Callable[..., Settings], text: str, address: str, proxy: str | None
) -> None:
    exits = read_settings(f"network: {{exits: {{home: {text}}}}}", PROXY="http://proxy:3128", ADDRESS="192.0.2.11")
    found = exits.network.exits["home"]
    assert found.address == address
    assert (found.proxy.reveal() if found.proxy else None) == proxy


@pytest.mark.parametrize("text", ["somewhere", "ftp://host", "http://", "192.0.2.1:80", "300.1.1.1"])
def test_an_exit_that_is_neither_is_refused_at_its_place(read_settings: Callable[..., Settings], text: str) -> None:
    with pytest.raises(SettingsError, match=r"livectl.yaml:1:\d+: network.exits.home: an exit is an address of this"):
        read_settings(f"network: {{exits: {{home: '{text}'}}}}")
