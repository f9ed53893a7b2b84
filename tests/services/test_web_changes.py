"""What the page changes, for whom, and how each change is noted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from livectl import audit
from livectl.address import Address
from livectl.models import Schedule
from livectl.ops.jobs.history import JobHistory
from livectl.ops.schedules import cron
from livectl.redis_client import using_store
from tests.support.managed_page import (
    LOCAL,
    MANAGE,
    READ,
    TOKENS,
    ManagedPage,
    call,
    change,
    csrf_of,
    store_schedule,
)
from tests.support.web_pages import follow, go_live, make_streamer, prepared_store

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.audit import AuditEntry
    from livectl.live.store import Store

FOLLOWS = "# mine\nfollows:\n  - demo/ada   # since 2024\n"


@pytest.fixture
def store(store_url: str) -> Store:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    go_live(store, "ada", 100)
    return store


@pytest.fixture
def page(store: Store, store_url: str, tmp_path: Path) -> ManagedPage:
    """Without a token, for this machine alone."""
    (tmp_path / "follows.yaml").write_text(FOLLOWS)
    return ManagedPage(tmp_path, store_url)


@pytest.fixture
def guarded(store: Store, store_url: str, tmp_path: Path) -> ManagedPage:
    (tmp_path / "follows.yaml").write_text(FOLLOWS)
    return ManagedPage(tmp_path, store_url, TOKENS)


def daily(name: str) -> Schedule:
    timing = cron.parse("0 9 * * *")
    return Schedule(name=name, task="livectl.ping", timing=timing)


def noted(store_url: str) -> list[AuditEntry]:
    return audit.read(Address.parse(store_url), 100)


def test_somebody_is_followed_and_unfollowed_in_the_file(page: ManagedPage, store_url: str) -> None:
    visitor = page.visitor()
    answer = change(visitor, "follow", streamer="demo/bob", tags="games, late night", back="/?view=list")
    assert (answer.status_code, answer.location) == (303, "/?view=list")
    assert page.follows == FOLLOWS + "  - {url: demo/bob, tags: [games, late night]}\n"
    html = visitor.get("/", base_url=LOCAL).text
    assert "Following bob. They are asked about within seconds." in html
    assert 'id="s-demo-bob"' in html
    assert "Following bob" not in visitor.get("/", base_url=LOCAL).text, "it is said once"
    change(visitor, "unfollow", platform="demo", id="ada")
    assert page.follows == FOLLOWS.replace("  - demo/ada   # since 2024\n", "") + (
        "  - {url: demo/bob, tags: [games, late night]}\n"
    )
    html = visitor.get("/", base_url=LOCAL).text
    assert "No longer following ada." in html
    assert 'id="s-demo-ada"' not in html, "at once, though no worker has read the file"
    change(visitor, "tags", platform="demo", id="bob", tags="")
    assert page.follows.endswith("  - {url: demo/bob}\n")
    assert [(entry.change, entry.subject, entry.outcome, entry.by) for entry in noted(store_url)] == [
        ("tags", "demo/bob", "done", "page"),
        ("unfollow", "demo/ada", "done", "page"),
        ("follow", "demo/bob", "done", "page"),
    ]


def test_a_name_that_led_to_an_id_goes_by_that_id(page: ManagedPage, store: Store) -> None:
    (page.folder / "follows.yaml").write_text("- https://www.youtube.com/@grace # G\n- demo/ada\n")
    channel = "UC" + "x" * 22
    store.save_aliases("youtube", {"@grace": channel})
    assert change(page.visitor(), "unfollow", platform="youtube", id=channel).status_code == 303
    assert page.follows == "- demo/ada\n"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a form of nobody", {"csrf": ""}, "This form is too old"),
    ("a form of another visitor", {"csrf": "0" * 64}, "This form is too old"),
    ("another site", {"origin": "https://evil.example"}, "from another site"),
    ("a page in a sandbox", {"origin": "null"}, "from another site"),
    ("another port of this machine", {"origin": "http://127.0.0.1:9999"}, "from another site"),
]


@pytest.mark.parametrize(("fields", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
@pytest.mark.parametrize("token", ["", MANAGE])
def test_what_others_send_is_refused(
    page: ManagedPage, guarded: ManagedPage, token: str, fields: dict[str, Any], sentence: str
) -> None:
    visitor = guarded.visitor(token) if token else page.visitor()
    for language, words in (("en", sentence), ("zh-CN", "")):
        visitor.environ_base["HTTP_ACCEPT_LANGUAGE"] = language
        answer = change(visitor, "follow", **{"streamer": "demo/bob", **fields})
        assert answer.status_code == 403
        assert words in answer.text
    headers = {"Origin": fields.get("origin", LOCAL), "X-CSRF-Token": fields.get("csrf", csrf_of(visitor))}
    as_json = visitor.post("/api/follow", json={"streamer": "demo/bob"}, headers=headers, base_url=LOCAL)
    assert (as_json.status_code, as_json.get_json()["error"]["code"]) == (403, 1)
    assert page.follows == FOLLOWS


def test_a_token_that_reads_only_reads(guarded: ManagedPage, store_url: str) -> None:
    friend = guarded.visitor(READ)
    assert csrf_of(friend) == ""
    assert "which reads" in friend.get("/", base_url=LOCAL).text
    answer = change(friend, "follow", streamer="demo/bob", csrf=csrf_of(guarded.visitor(MANAGE)))
    assert (answer.status_code, "You may only read this page" in answer.text) == (403, True)
    answer = call(guarded.visitor(), "follow", READ, streamer="demo/bob")
    assert (answer.status_code, answer.get_json()["error"]["message"]) == (403, "You may only read this page")
    assert guarded.follows == FOLLOWS
    assert noted(store_url) == []


def test_wrong_tokens_are_told_apart_from_nothing_and_have_to_wait(guarded: ManagedPage) -> None:
    stranger = guarded.visitor()
    statuses = [call(stranger, "follow", "a-token-that-is-wrong", streamer="demo/bob").status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    assert call(stranger, "follow", streamer="demo/bob").status_code == 401
    assert guarded.follows == FOLLOWS


def test_a_program_with_the_token_needs_no_form(guarded: ManagedPage, store_url: str) -> None:
    program = guarded.visitor()
    answer = call(program, "follow", MANAGE, streamer=["demo/bob", "demo/cy"], tags=["x"])
    assert answer.status_code == 200
    document = answer.get_json()
    assert (document["version"], document["change"], document["outcome"]) == (1, "follow", "done")
    assert [streamer["id"] for streamer in document["changed"]] == ["bob", "cy"]
    again = call(program, "follow", MANAGE, streamer="demo/bob").get_json()
    assert (again["outcome"], [streamer["id"] for streamer in again["unchanged"]]) == ("nothing", ["bob"])
    assert call(program, "unfollow", MANAGE, streamer="demo/cy").get_json()["outcome"] == "done"
    entry = noted(store_url)[0]
    assert (entry.role, entry.token, entry.address, entry.by) == ("manage", "me", "127.0.0.1", "api")


def test_a_script_of_the_page_sends_the_mark_of_its_forms(guarded: ManagedPage) -> None:
    browser = guarded.visitor(MANAGE)
    headers = {"Origin": LOCAL, "X-CSRF-Token": csrf_of(browser)}
    answer = browser.post("/api/follow", json={"streamer": "demo/bob"}, headers=headers, base_url=LOCAL)
    assert answer.get_json()["outcome"] == "done"
    other = guarded.visitor(MANAGE).post("/api/follow", json={"streamer": "demo/cy"}, headers=headers, base_url=LOCAL)
    assert other.status_code == 403, "the mark is that of one browser"


def test_a_program_on_this_machine_needs_no_token_where_there_is_none(page: ManagedPage) -> None:
    assert call(page.visitor(), "follow", streamer="demo/bob").get_json()["outcome"] == "done"
    form = page.visitor().post("/api/follow", data={"streamer": "demo/cy"}, base_url=LOCAL)
    assert form.status_code == 403, "such a form another site could send"
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    away = page.visitor().post("/api/follow", json={"streamer": "demo/cy"}, headers=proxied, base_url=LOCAL)
    assert away.status_code == 403
    named = page.visitor().post("/api/follow", json={"streamer": "demo/cy"}, base_url="http://evil.example")
    assert named.status_code == 421


MISTAKES = [
    ({}, 400, "nobody is named"),
    ({"streamer": "nowhere"}, 400, "nowhere"),
    ({"streamer": "nosuch/one"}, 400, "nosuch"),
]


@pytest.mark.parametrize(("fields", "status", "words"), MISTAKES)
def test_a_mistake_names_the_next_step(
    page: ManagedPage, store_url: str, fields: dict[str, str], status: int, words: str
) -> None:
    answer = call(page.visitor(), "follow", **fields)
    assert (answer.status_code, words in answer.get_json()["error"]["message"]) == (status, True)
    assert [(entry.outcome, words in entry.said) for entry in noted(store_url)] == [("failed", True)]
    visitor = page.visitor()
    change(visitor, "follow", **fields)
    assert words in visitor.get("/", base_url=LOCAL).text


def test_a_body_that_is_no_object_is_refused(page: ManagedPage) -> None:
    answer = page.visitor().post("/api/follow", json=["demo/bob"], base_url=LOCAL)
    assert (answer.status_code, answer.get_json()["error"]["message"]) == (400, "The body is no object of JSON")


def test_a_file_with_mistakes_or_without_rights_says_so_on_the_page(page: ManagedPage) -> None:
    visitor = page.visitor()
    (page.folder / "follows.yaml").write_text("follows: [demo/ada\n")
    change(visitor, "follow", streamer="demo/bob")
    assert "follows.yaml:" in visitor.get("/", base_url=LOCAL).text
    (page.folder / "follows.yaml").unlink()
    (page.folder / "follows.yaml").mkdir()
    answer = call(visitor, "follow", streamer="demo/bob")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, 3)


def test_two_at_once_lose_nothing(guarded: ManagedPage) -> None:
    names = [f"demo/n{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda name: call(guarded.visitor(), "follow", MANAGE, streamer=name), names))
    assert [answer.get_json()["outcome"] for answer in answers] == ["done"] * 12
    assert all(f"  - {name}\n" in guarded.follows for name in names)


def test_who_has_entered_a_token_can_enter_another_and_leave(guarded: ManagedPage) -> None:
    browser = guarded.visitor(READ)
    assert "Another token" in browser.get("/enter", base_url=LOCAL).text
    browser.post("/enter", data={"token": MANAGE}, base_url=LOCAL)
    assert "which manages" in browser.get("/", base_url=LOCAL).text
    browser.post("/leave", headers={"Origin": "https://evil.example"}, base_url=LOCAL)
    assert browser.get("/", base_url=LOCAL).status_code == 200
    browser.post("/leave", headers={"Origin": LOCAL}, base_url=LOCAL)
    assert browser.get("/", base_url=LOCAL).status_code == 401


def test_a_program_keeps_schedules_in_the_store(guarded: ManagedPage, store_url: str) -> None:
    store_schedule(store_url, daily("filed"))
    client = guarded.app.test_client()

    def ask(method: str, path: str = "", token: str = MANAGE, **fields: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        address = f"/api/schedules{path}"
        answer = client.open(address, method=method, json=fields or None, headers=headers, base_url=LOCAL)
        return answer.status_code, answer.get_json()

    entry: dict[str, Any] = {"task": "livectl.ping", "every": "10m", "tags": ["customer"]}
    assert ask("POST", name="c42", **entry) == (
        200,
        {
            "version": 1,
            "change": "add",
            "outcome": "done",
            "message": "c42 is added to the store; every running beat takes it up.",
            "name": "c42",
            "task": "livectl.ping",
        },
    )
    assert ask("POST", token=READ, name="c43", **entry)[0] == 403
    assert ask("POST", name="c42", **entry)[0] == 409, "it is there already"
    assert ask("POST", name="filed", **entry)[0] == 409, "a running beat has it from its file"
    status, refused = ask("POST", name="c43", task="livectl.pong", every="0s")
    assert status == 400
    first, second = refused["error"]["mistakes"]
    assert (first["text"], first["hint"]) == ('c43: every: "0s" must be more than zero', "such as 30s, 5m or 1h30m")
    assert 'c43: task: the app has no task "livectl.pong"' in second["text"]
    assert ask("POST", **entry)[0] == 400, "it has no name"
    status, refused = ask("POST", name="c43", task="livectl.ping", after="c24")
    assert (status, refused["error"]["mistakes"][0]["hint"]) == (400, "did you mean c42?")
    assert ask("PUT", "/c42", task="livectl.ping", after={"entry": "c42"})[0] == 400, "it would follow itself"
    assert ask("PUT", "/c42", task="livectl.ping", cron="@daily")[1]["outcome"] == "done"
    assert ask("PUT", "/a/b", **entry)[1]["name"] == "a/b"
    listed = client.get("/api/schedule", headers={"Authorization": f"Bearer {READ}"}, base_url=LOCAL).get_json()
    shown = {each["name"]: (each["source"], each["schedule"]) for each in listed["schedules"]}
    assert shown == {"filed": ("file", "0 9 * * *"), "c42": ("store", "@daily"), "a/b": ("store", "every 10m")}
    assert "in the store" in guarded.visitor(READ).get("/schedules", base_url=LOCAL).text
    assert ask("DELETE", "/c42")[1]["removed"] is True
    assert ask("DELETE", "/c42")[1]["outcome"] == "nothing"
    assert ask("DELETE", "/filed")[0] == 409
    assert client.delete("/api/schedules/c42", base_url=LOCAL).status_code == 401
    changes = [(each.change, each.subject, each.outcome, each.token) for each in noted(store_url)]
    assert changes[0] == ("remove", "filed", "failed", "me")
    assert ("add", "c42", "done", "me") in changes
    assert ("set", "a/b", "done", "me") in changes


def test_another_site_adds_and_removes_no_schedule(page: ManagedPage) -> None:
    visitor, elsewhere = page.visitor(), {"Origin": "http://evil.example"}
    entry = {"name": "x", "task": "livectl.ping", "every": "10m"}
    assert visitor.post("/api/schedules", json=entry, headers=elsewhere, base_url=LOCAL).status_code == 403
    assert visitor.post("/api/schedules", data=entry, base_url=LOCAL).status_code == 403
    assert visitor.delete("/api/schedules/x", headers=elsewhere, base_url=LOCAL).status_code == 403
    assert visitor.post("/api/schedules", json=entry, base_url=LOCAL).status_code == 200


@pytest.mark.parametrize("token", ["", *TOKENS[:1]])
def test_what_runs_elsewhere_checks_in_by_its_own_token_alone(
    store: Store, store_url: str, tmp_path: Path, token: str
) -> None:
    (tmp_path / "livectl.yaml").write_text("watch: {checks: {backup: {token: s3cret, every: 1d}}}")
    visitor = ManagedPage(tmp_path, store_url, TOKENS if token else ()).visitor()
    assert [visitor.post(f"/ping/s3cret{end}").status_code for end in ("/start", "/log", "", "/fail")] == [200] * 4
    assert visitor.get("/ping/s3cret").data == b"OK\n"
    said = [(answer.status_code, answer.text) for answer in map(visitor.get, ("/ping/wrong", "/ping/s3cret/odd"))]
    assert said == [
        (404, "no check of watch.checks in livectl.yaml has this token\n"),
        (404, "behind the token may stand /start, /success, /fail, /log\n"),
    ], "in plain words, for the log of whatever calls"
    answers = [visitor.get("/ping/wrong") for _ in range(20)]
    assert (answers[-1].status_code, int(answers[-1].headers["Retry-After"]) > 0) == (429, True)
    with using_store(Address.parse(store_url)) as client:
        states = [run.state for run in JobHistory.of_client(client).runs("check:backup")]
    assert sorted(states) == ["failed", "succeeded", "succeeded"]
