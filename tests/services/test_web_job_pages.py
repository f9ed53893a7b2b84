"""The pages of jobs, queues, schedules, alerts, findings and changes, and what their buttons do."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl import audit
from livectl.address import Address
from livectl.audit import AuditEntry
from livectl.errors import LivectlError
from livectl.live.alerts import message
from livectl.models import Change, Finding, Interval, Schedule
from livectl.ops import deployment
from livectl.ops.jobs import dead_letters
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.settings import Target
from livectl.web import job_data
from tests.support import bad_messages
from tests.support.managed_page import LOCAL, ManagedPage, call, change, store_jobs, store_schedule
from tests.support.processes import answer
from tests.support.waiting import wait_for
from tests.support.web_pages import NASTY, prepared_store

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in send\nValueError: no'


@pytest.fixture
def page(store_url: str, tmp_path: Path) -> ManagedPage:
    prepared_store(store_url)
    (tmp_path / "livectl.yaml").write_text("alerts: {phone: {command: ['true']}, broken: {command: ['false']}}\n")
    return ManagedPage(tmp_path, store_url)


def read(page: ManagedPage | FlaskClient, path: str, **headers: str) -> str:
    client = page.visitor() if isinstance(page, ManagedPage) else page
    return client.get(path, base_url=LOCAL, headers=headers).text


def make_jobs(store_url: str) -> None:
    failed = {"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["no"]}, "traceback": TRACEBACK}
    store_jobs(
        store_url,
        {"task_id": "mail-1", "name": "shop.mail", "worker": "w1@h", "result": {"sent": NASTY}},
        {
            "task_id": "mail-2",
            "name": "shop.mail",
            "worker": "w2@h",
            "args": [7],
            "kwargs": {"password": "hush"},
            **failed,
        },
        {"task_id": "sweep-1", "name": "livectl.sweep", "worker": "w1@h"},
        {"task_id": "digest-1", "name": "livectl.digest", "worker": "w1@h"},
        {"task_id": "sweep-2", "name": "livectl.sweep", "worker": "w1@h", **failed},
        {"task_id": "ping-1", "name": "livectl.ping", "worker": "w1@h", "result": "pong"},
    )


LISTED = [
    ("", {"mail-1", "mail-2", "sweep-2", "ping-1"}),  # of livectl's own routine only what failed
    ("?routine=1", {"mail-1", "mail-2", "sweep-1", "sweep-2", "digest-1", "ping-1"}),
    ("?task=shop.mail", {"mail-1", "mail-2"}),
    ("?task=livectl.sweep", {"sweep-1", "sweep-2"}),
    ("?state=failed", {"mail-2", "sweep-2"}),
    ("?state=failed&worker=w2", {"mail-2"}),
    ("?worker=w1@h&task=shop.mail", {"mail-1"}),
    ("?task=nothing.like.it", set()),
    ("?state=nonsense&page=x", {"mail-1", "mail-2", "sweep-2", "ping-1"}),
    ("?page=2", set()),
]


@pytest.mark.parametrize(("query", "shown"), LISTED)
def test_jobs_are_filtered_by_the_address(page: ManagedPage, store_url: str, query: str, shown: set[str]) -> None:
    make_jobs(store_url)
    html = read(page, f"/jobs{query}")
    assert {
        job for job in ("mail-1", "mail-2", "sweep-1", "sweep-2", "digest-1", "ping-1") if f'"/jobs/{job}"' in html
    } == shown
    assert "<script>alert" not in html


def test_many_jobs_are_shown_page_by_page(page: ManagedPage, store_url: str) -> None:
    store_jobs(store_url, *({"task_id": f"job-{number:03}", "name": "shop.mail"} for number in range(120)))
    seen = []
    path = "/jobs?task=shop.mail"
    while path:
        html = read(page, path)
        seen += [number for number in range(120) if f"/jobs/job-{number:03}" in html]
        older = html.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        path = older
    assert seen == list(range(120))


def test_one_job_has_its_arguments_times_and_traceback_without_secrets(page: ManagedPage, store_url: str) -> None:
    make_jobs(store_url)
    html = read(page, "/jobs/mail-2")
    for words in ("shop.mail", "failed", "ValueError: no", "line 1, in send", "w2@h", "Retry"):
        assert words in html
    assert "hush" not in html
    assert "&lt;script&gt;" in read(page, "/jobs/mail-1")
    for unknown in ("nobody", "%00", "x" * 400):
        assert page.visitor().get(f"/jobs/{unknown}", base_url=LOCAL).status_code == 404


def test_a_job_that_nobody_would_run_is_not_sent_again(page: ManagedPage, store_url: str) -> None:
    store_jobs(store_url, {"task_id": "ping-9", "name": "livectl.ping", "args": [], "kwargs": {}, "status": "FAILURE"})
    visitor = page.visitor()
    assert change(visitor, "retry", id="ping-9", back="/jobs/ping-9").location == "/jobs/ping-9"
    html = read(visitor, "/jobs/ping-9")
    assert "nobody reads the queue livectl" in html
    assert "--force" not in html
    assert call(visitor, "revoke", id="ping-9").get_json()["outcome"] == "nothing"
    assert call(visitor, "retry", id="never-seen").status_code == 409


def set_letters_aside(store_url: str) -> None:
    """A message, a job, an alert, and what nobody can read: each with a secret and a script."""
    at = datetime.now(UTC) - timedelta(hours=2)
    envelope = bad_messages.envelope(([7], {"password": "hush", "to": NASTY}, {}), id="m/1", task="shop.mail")
    began = Change(kind="began", platform="demo", id="ada", session="s", at=at.timestamp(), number="1-0", name="Ada")
    alert = message.build_alert("phone", Target(command=("true",)), began, "UTC")
    letters: list[tuple[Any, str, Any]] = [
        ("message", "m/1", {"queue": "shop", "message": envelope}),
        ("job", "j1", msgspec.to_builtins(JobRequest(task="livectl.ping"))),
        ("alert", "a1", msgspec.to_builtins(alert)),
        ("message", "u1", {"queue": "shop", "excerpt": f"{NASTY} password=hush"}),
    ]
    with redis.Redis.from_url(store_url) as store:
        for kind, letter_id, payload in letters:
            task = "shop.mail" if letter_id == "m/1" else ""
            letter = DeadLetter(
                id=letter_id, kind=kind, reason=f"token=hush {NASTY}", at=at, task=task, payload=payload
            )
            dead_letters.add(store, letter)


def test_dead_letters_are_shown_with_what_they_hold_and_without_secrets(page: ManagedPage, store_url: str) -> None:
    set_letters_aside(store_url)
    html = read(page, "/dead")
    for words in ('href="/dead/m/1"', "[7]", "Ada is live", "2 h ago", "&lt;script&gt;", "Retry shop.mail"):
        assert words in html
    assert html.count('action="/change/resend"') == 3, "an excerpt cannot be sent again"
    letter = read(page, "/dead/m/1")
    for words in ("&#34;queue&#34;: &#34;shop&#34;", "Retry", "Forget", "&#34;password&#34;: &#34;***&#34;"):
        assert words in letter
    assert "hush" not in html + letter
    assert "<script>alert" not in html + letter
    assert "Retry" not in read(page, "/dead/u1")
    assert page.visitor().get("/dead/nothing", base_url=LOCAL).status_code == 404


def test_a_dead_letter_is_sent_again_or_forgotten_and_that_is_noted(page: ManagedPage, store_url: str) -> None:
    set_letters_aside(store_url)
    visitor, store = page.visitor(), redis.Redis.from_url(store_url)
    assert change(visitor, "resend", id="m/1", back="/dead").location == "/dead"
    assert "m/1 lies in the queue shop again." in read(visitor, "/dead")
    assert store.llen("shop") == 1
    assert call(visitor, "resend", id="a1").get_json()["outcome"] == "done"
    refused = call(visitor, "resend", id="j1")
    assert (refused.status_code, refused.get_json()["error"]["message"]) == (400, "nobody reads the queue livectl")
    assert call(visitor, "drop", id="u1").get_json()["outcome"] == "done"
    assert call(visitor, "drop", id="u1").get_json()["outcome"] == "nothing"
    assert call(visitor, "resend", id="u1").status_code == 409
    assert store.hkeys(dead_letters.DEAD_LETTERS_KEY) == [b"j1"]
    changes = [(entry.change, entry.subject) for entry in audit.read(Address.parse(store_url), 10)]
    assert changes[-2:] == [("resend", "a1"), ("resend", "m/1")]
    assert visitor.post("/change/drop", data={"id": "j1"}, headers={"Origin": LOCAL}, base_url=LOCAL).status_code == 403


def test_a_schedule_is_paused_resumed_and_run(page: ManagedPage, store_url: str) -> None:
    store_schedule(store_url, Schedule(name="hello/there", task="livectl.ping", timing=Interval(60.0)))
    visitor = page.visitor()
    assert "every 1m" in read(visitor, "/schedules")
    change(visitor, "pause", name="hello/there", reason="a move", back="/schedules")
    html = read(visitor, "/schedules")
    assert "hello/there is paused: no beat sends it." in html
    assert "a move" in html
    assert "Resume" in html
    change(visitor, "resume", name="hello/there")
    assert "Pause" in read(visitor, "/schedules")
    sent = call(visitor, "run", name="hello/there").get_json()
    assert sent["task"] == "livectl.ping"
    (message,) = redis.Redis.from_url(store_url).lrange("livectl", 0, -1)
    assert json.loads(message)["headers"]["id"] == sent["id"]
    refused = call(visitor, "run", name="hello/their")
    assert (refused.status_code, refused.get_json()["error"]["hint"]) == (400, "did you mean hello/there?")


def test_an_alert_is_tried(page: ManagedPage) -> None:
    visitor = page.visitor()
    html = read(visitor, "/alerts")
    assert "Send a sample to phone" in html
    change(visitor, "test", target="phone", back="/alerts")
    assert "phone took the sample." in read(visitor, "/alerts")
    document = call(visitor, "test", target="broken").get_json()
    assert (document["outcome"], document["targets"][0]["sent"]) == ("failed", False)


def test_what_asks_servers_is_not_done_by_everybody_at_once(page: ManagedPage, monkeypatch: Any) -> None:
    from livectl.live.alerts import targets

    visitor, statuses = page.visitor(), []

    def meanwhile(*_: Any) -> Any:
        statuses.append(call(page.visitor(), "test", target="phone").status_code)
        return {}

    monkeypatch.setattr(targets, "send_samples", meanwhile)
    call(visitor, "test", target="phone")
    assert statuses == [429, 200]


def test_the_depth_of_queues_is_kept_for_an_hour(page: ManagedPage, store_url: str) -> None:
    client: Any = redis.Redis.from_url(store_url)
    target = deployment.find(None, page.settings, page.folder)
    now = 1_900_000_000.0
    for sample in range(130):
        job_data.sample_depths(target, now + sample * 30)
        client.lpush("livectl", "x")
    job_data.sample_depths(target, now + 129 * 30 + 5)  # another page, in the same half minute
    (key,) = client.keys("livectl:depths:*")
    assert (client.xlen(key), 0 < client.ttl(key) <= 7200) == (120, True)
    series = job_data.read_depths(target, now + 129 * 30)["livectl"]
    assert series.depths == tuple(range(10, 130))
    assert job_data.read_depths(target, now + 135 * 30)["livectl"].depths[-7:] == (129, *[None] * 6)
    client.delete("livectl")


def test_queues_have_a_chart_once_there_is_something_to_draw(page: ManagedPage, store_url: str) -> None:
    client: Any = redis.Redis.from_url(store_url)
    client.lpush("livectl", "x", "y")
    target = deployment.find(None, page.settings, page.folder)
    assert "<b>2</b> Ready" in read(page, "/queues")
    for ago in (90, 60, 30):
        job_data.sample_depths(target, time.time() - ago)
    html = read(ManagedPage(page.folder, store_url), "/queues")
    assert 'class="depth"' in html
    assert "Messages ready over the last hour, 2 at the most" in html
    client.delete("livectl")


def test_doctor_looks_when_somebody_comes_and_not_more_often(page: ManagedPage) -> None:
    looks = []

    def look() -> list[Finding]:
        looks.append(1)
        return [
            Finding(id="broker-away", level="bad", title="The broker is away", evidence=NASTY, cure="Start it."),
            Finding(id="disk", level="ok", title="There is room"),
        ]

    page.look = look
    visitor = page.visitor()
    read(visitor, "/doctor")
    wait_for(lambda: "The broker is away" in read(visitor, "/doctor", **{"Livectl-Again": "1"}))
    html = read(visitor, "/doctor")
    assert "<script>alert" not in html
    assert "1 looked at and well" in html
    assert len(looks) == 1


def test_a_doctor_that_cannot_look_says_so(page: ManagedPage) -> None:
    def look() -> list[Finding]:
        raise LivectlError("doctor could not look from here")

    page.look = look
    visitor = page.visitor()
    read(visitor, "/doctor")
    wait_for(lambda: "doctor could not look from here" in read(visitor, "/doctor", **{"Livectl-Again": "1"}))


def test_changes_are_listed_bounded_and_without_secrets(page: ManagedPage, store_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(audit, "MAX_CHANGES", 60)
    store = Address.parse(store_url)
    for number in range(70):
        subject = f"demo/n{number}" if number else "https://me:hush-hush@example.org/x"
        audit.note(store, AuditEntry(change="follow", subject=subject, outcome="done", token="me", address="192.0.2.7"))
    first, second = read(page, "/audit"), read(page, "/audit?page=2")
    assert "demo/n69" in first
    assert "me 192.0.2.7" in first
    assert "demo/n19" not in first
    assert "demo/n10" in second
    assert "demo/n9<" not in second
    audit.note(
        store, AuditEntry(change="tags", subject="https://me:hush-hush@example.org/x", outcome="done", said=NASTY)
    )
    html = read(page, "/audit")
    assert "hush" not in html
    assert "<script>alert" not in html
    client: Any = redis.Redis.from_url(store_url)
    client.delete(audit.AUDIT_KEY)
    client.xadd(audit.AUDIT_KEY, {"entry": "{}"}, id=f"{int((time.time() - audit.MAX_AGE_S - 60) * 1000)}-0")
    audit.note(store, AuditEntry(change="run", subject="late", outcome="done"))
    assert client.xlen(audit.AUDIT_KEY) == 1, "what is older than 90 days is gone"


def test_the_terminal_shows_the_same(page: ManagedPage, store_url: str) -> None:
    call(page.visitor(), "follow", streamer="demo/bob")
    environ = {"LIVECTL_HOME": str(page.folder / "home"), "LIVECTL_BROKER": store_url}
    shown = answer("audit", cwd=page.folder, environ=environ)
    assert (shown.returncode, "follow  demo/bob" in shown.stdout) == (0, True)
    (entry,) = json.loads(answer("audit", "--json", "--since", "1h", cwd=page.folder, environ=environ).stdout)
    assert {"at", "who", "change", "subject", "outcome", "said", "role", "token", "address", "by"} == set(entry)
    assert (entry["role"], entry["by"], entry["address"]) == ("manage", "api", "127.0.0.1")
    answer("follow", "remove", "demo/bob", cwd=page.folder, environ=environ)
    noted = audit.read(Address.parse(store_url), 1)[0]
    assert (noted.change, noted.subject, noted.by, "@" in noted.address) == ("unfollow", "demo/bob", "terminal", True)
