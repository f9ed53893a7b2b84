"""The page in a real browser: kept up to date in place, harmless, legible to everybody, narrow and wide."""

from __future__ import annotations

import http.client
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.keys import Keys

from livectl import audit
from livectl.address import Address
from livectl.audit import AuditEntry
from livectl.live.alerts.push_target import Subscribers
from livectl.models import Interval, Schedule, State, Streamer, UnresolvedFollow
from livectl.ops.jobs import dead_letters
from livectl.ops.protocol.dead_letter import DeadLetter
from tests.support.managed_page import store_jobs, store_schedule
from tests.support.processes import livectl
from tests.support.waiting import wait_for
from tests.support.web_pages import NASTY, follow, go_live, go_offline, make_streamer, observe, prepared_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

    from livectl.live.store import Store

pytestmark = pytest.mark.acceptance

SOON = 15  # seconds: the page looks every four
WIDTHS = {"wide": 1280, "phone": 390}
TALL = 900
PAGES = ("", "?view=list&group=tag", "day", "jobs", "streamers/demo/ada", "?q=nobody-of-that-name", "no-such-page")
MANAGED = ("jobs/job-0", "queues", "schedules", "dead", "dead/m1", "alerts", "doctor", "audit")
UNFIT = {"serious", "critical"}  # of axe's impacts
SMALL_TARGETS = """
const size = (one) => one.getBoundingClientRect();
return [...document.querySelectorAll("a, button, select, input")].filter((one) => {
  const {width, height} = size(one);
  return width && height && (width < 24 || height < 24) && !one.classList.contains("skip") && !one.closest("p.quiet");
}).map((one) => `${one.outerHTML.slice(0, 90)} ${size(one).width}x${size(one).height}`);
"""
# Colours follow from the scheme alone, and places from the width: the other two pairs are for a soak.
LOOKS = [
    ("wide", "light", "en"),
    ("phone", "dark", "zh-Hans"),
    pytest.param("wide", "dark", "zh-Hans", marks=pytest.mark.soak),
    pytest.param("phone", "light", "en", marks=pytest.mark.soak),
]


# A push service is on the internet: what it would give to the page and to its worker is played here.
PUSH_SERVICE = """
let kept = null;
const b64 = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/[+]/g, "-").replace(/[/]/g, "_").replace(/=/g, "");
const unb64 = (text) => atob(text.replaceAll("-", "+").replaceAll("_", "/"));
PushManager.prototype.getSubscription = async () => kept;
PushManager.prototype.subscribe = async ({applicationServerKey}) => {
  const pair = await crypto.subtle.generateKey({name: "ECDH", namedCurve: "P-256"}, true, ["deriveBits"]);
  const p256dh = b64(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  const keys = {p256dh, auth: b64(new Uint8Array(16))};
  const ours = Uint8Array.from(unb64(applicationServerKey), (letter) => letter.charCodeAt(0));
  kept = {
    options: {applicationServerKey: ours.buffer},
    toJSON: () => ({endpoint: "https://push.example.net/x", keys}),
    endpoint: "https://push.example.net/x",
    unsubscribe: async () => { kept = null; },
  };
  return kept;
};
"""
HAS_LOOKED = "return performance.getEntriesByType('resource').some((one) => one.name.includes('/api/live'))"
WORKER_TEXT = "fetch('/sw.js').then((answer) => answer.text()).then(arguments[0])"
WORKER = """
window.shown = null;
const listeners = {}, self = {
  addEventListener: (name, listener) => { listeners[name] = listener; },
  registration: {scope: "/", showNotification: (title, {body, data}) => { window.shown = [title, body, data.url]; }},
};
"""
HAND_ON = """
var event = {data: {json: () => ({title: "Ada is live", body: "Weaving", tag: "t", url: "https://example.com/ada"})}};
listeners.push({...event, waitUntil: () => {}});
"""


@pytest.fixture
def store(store_url: str) -> Store:
    store = prepared_store(store_url)
    follow(store, *(make_streamer(name, tags=("maths",)) for name in ("ada", "grace", "tim")))
    go_live(store, "grace", 800, session="g")
    go_offline(store, "grace", 300)
    observe(store, "tim", State.BLOCKED, 60, problem="a captcha")
    return store


@pytest.fixture
def page(store_url: str, store: Store, tmp_path: Path) -> Iterator[str]:
    """The address of the page, served by a process of its own."""
    environ = {"LIVECTL_HOME": str(tmp_path / "home"), "LIVECTL_BROKER": store_url}
    (tmp_path / "livectl.yaml").write_text("alerts: {phone: {command: ['true']}}\n")
    with livectl("web", "--port", "0", cwd=tmp_path, environ=environ) as running:
        running.wait_for("The page is at http")
        yield next(line for line in running.lines if "http" in line).split()[-1]


def complaints(chromium: Chrome) -> list[Any]:
    return list(chromium.get_log("browser"))  # type: ignore[no-untyped-call]


def has(chromium: Chrome, selector: str) -> Any:
    return chromium.execute_script("return document.querySelector(arguments[0])?.textContent", selector)


def test_a_card_appears_changes_and_goes_without_a_reload(chromium: Chrome, page: str, store: Store) -> None:
    chromium.get(page)
    chromium.execute_script("window.same = true; document.getElementById('f-q').value = ''")
    assert chromium.title == "Nobody is known to be live · livectl"  # tim was never read
    go_live(store, "ada", 500, session="one", title="Weaving")
    wait_for(lambda: has(chromium, "#cards #s-demo-ada"))
    assert chromium.title == "(1) Live · livectl"
    card = chromium.execute_script("return document.getElementById('s-demo-ada')")
    go_live(store, "ada", 400, session="one", title=NASTY, viewers=4321)
    wait_for(lambda: "4,321 viewers" in (has(chromium, "#s-demo-ada") or ""))
    assert has(chromium, "#s-demo-ada .title") == NASTY
    assert chromium.execute_script("return arguments[0].isConnected", card), "the same card, changed in place"
    go_offline(store, "ada")
    wait_for(lambda: has(chromium, "#rows #s-demo-ada") and not has(chromium, "#cards"))
    assert chromium.execute_script("return window.same"), "the page was never loaded anew"
    assert complaints(chromium) == []


def test_typing_filters_at_once_and_keeps_the_focus(chromium: Chrome, page: str) -> None:
    chromium.get(page)
    field = chromium.find_element("id", "f-q")
    field.send_keys("gra")
    wait_for(lambda: not has(chromium, "#s-demo-tim"))
    assert has(chromium, "#s-demo-grace")
    assert chromium.current_url.endswith("?q=gra")
    assert chromium.switch_to.active_element == field
    field.send_keys("ce")
    wait_for(lambda: chromium.current_url.endswith("?q=grace"))
    assert field.get_attribute("value") == "grace"


def test_news_is_told_over_one_connection_that_stays_open(page: str, store: Store) -> None:
    split = urlsplit(page)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=SOON * 4)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/event-stream")
    assert answer.readline().startswith(b"retry: ")

    def next_event() -> bytes:
        while not (line := answer.readline()).startswith(b"event: streamers"):
            assert line
        return answer.readline()

    before = next_event()
    go_live(store, "ada", 130, session="one")
    assert next_event() != before
    connection.close()


def test_a_visitor_makes_the_page_theirs(chromium: Chrome, page: str, store: Store) -> None:
    go_live(store, "ada", 130, session="one")
    chromium.get(page)
    complaints(chromium)  # of a page before
    keyboard = chromium.switch_to.active_element
    keyboard.send_keys("j")
    assert has_focus(chromium) == "s-demo-ada"
    chromium.switch_to.active_element.send_keys("j")
    assert has_focus(chromium) == "s-demo-grace"
    chromium.switch_to.active_element.send_keys("k")
    assert has_focus(chromium) == "s-demo-ada"
    chromium.switch_to.active_element.send_keys("/")
    field = chromium.switch_to.active_element
    assert field.get_attribute("id") == "f-q"
    field.send_keys("?j")
    wait_for(lambda: chromium.current_url.endswith("?q=%3Fj"))
    field.send_keys(Keys.ESCAPE)
    chromium.switch_to.active_element.send_keys("?")
    assert chromium.find_element("id", "keys").is_displayed()
    chromium.find_element("css selector", "#keys button").click()
    assert not chromium.find_element("id", "keys").is_displayed()
    chromium.get(page + "?view=list")
    for _ in range(2):
        chromium.find_element("id", "theme").click()
    assert chromium.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(18, 19, 22)"
    chromium.find_element("id", "to-zh-Hans").click()
    assert chromium.current_url.endswith("?view=list")
    assert has(chromium, "#now-h span") == "正在直播"
    assert chromium.find_element("css selector", "tr#s-demo-ada").is_displayed()
    chromium.delete_all_cookies()
    assert complaints(chromium) == []


def has_focus(chromium: Chrome) -> Any:
    return chromium.execute_script("return document.activeElement.closest('li, tr')?.id")


def test_somebody_who_asked_for_it_is_notified(chromium: Chrome, page: str, store: Store) -> None:
    chromium.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["notifications"], "origin": page.rstrip("/")})
    chromium.get(page)
    chromium.execute_script(
        "window.told = [];"
        "ServiceWorkerRegistration.prototype.showNotification = async (title) => { told.push(title); };"
        "window.Notification = class extends Notification { constructor(title) { super(title); told.push(title); } };"
    )
    button = chromium.find_element("id", "notify")
    button.click()
    wait_for(lambda: button.get_attribute("aria-pressed") == "true")
    wait_for(lambda: chromium.execute_script(HAS_LOOKED), what="the first look, which tells of nobody")
    go_live(store, "ada", 50, session="one", name=NASTY)
    wait_for(lambda: chromium.execute_script("return told") == [f"{NASTY} is live"])
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    wait_for(lambda: chromium.execute_script("return navigator.serviceWorker.controller !== null"))
    chromium.execute_script(PUSH_SERVICE)
    button.click()
    wait_for(lambda: [each.says for each in Subscribers(store._client).all()] == ["{name} is live"])
    chromium.execute_script(WORKER + chromium.execute_async_script(WORKER_TEXT) + HAND_ON)
    assert chromium.execute_script("return shown") == ["Ada is live", "Weaving", "https://example.com/ada"]
    button.click()
    wait_for(lambda: Subscribers(store._client).count() == 0)
    chromium.execute_cdp_cmd("Browser.resetPermissions", {})


def test_the_last_state_is_shown_without_a_server(
    chromium: Chrome, store_url: str, store: Store, tmp_path: Path
) -> None:
    environ = {"LIVECTL_HOME": str(tmp_path / "home"), "LIVECTL_BROKER": store_url}
    with livectl("web", "--port", "0", cwd=tmp_path, environ=environ) as running:
        running.wait_for("The page is at http")
        page = next(line for line in running.lines if "http" in line).split()[-1]
        chromium.get(page)
        chromium.execute_async_script("navigator.serviceWorker.ready.then(arguments[0])")
        go_live(store, "ada", 50, session="one", title="The last title")
        wait_for(lambda: has(chromium, "#cards #s-demo-ada"))
        kept = "caches.match('/').then((kept) => kept.text()).then(arguments[0], () => arguments[0](''))"
        wait_for(lambda: "The last title" in chromium.execute_async_script(kept))
    chromium.get(page)
    assert has(chromium, "#s-demo-ada .title") == "The last title"
    wait_for(lambda: chromium.find_element("id", "lost").is_displayed())
    complaints(chromium)


def test_a_server_that_is_gone_is_said(chromium: Chrome, page: str) -> None:
    chromium.get(page)
    chromium.execute_cdp_cmd("Network.enable", {})
    try:
        offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        chromium.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        wait_for(lambda: chromium.find_element("id", "lost").is_displayed())
        assert has(chromium, "#s-demo-grace"), "what was known stays"
        chromium.execute_cdp_cmd("Network.emulateNetworkConditions", offline | {"offline": False})
        wait_for(lambda: not chromium.find_element("id", "lost").is_displayed())
    finally:
        chromium.execute_cdp_cmd("Network.disable", {})
        complaints(chromium)


def test_it_is_a_page_without_its_script(chromium: Chrome, page: str, store: Store) -> None:
    go_live(store, "ada", 130, session="one")
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(page)
        assert chromium.find_element("id", "s-demo-ada").is_displayed()
        chromium.find_element("id", "f-q").send_keys("grace")
        chromium.find_element("id", "f-go").click()
        wait_for(lambda: "q=grace" in chromium.current_url)
        assert chromium.find_element("id", "s-demo-grace").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize(("width", "scheme", "language"), LOOKS)
def test_axe_finds_nothing_and_nothing_sticks_out(
    chromium: Chrome, page: str, store: Store, store_url: str, width: str, scheme: str, language: str
) -> None:
    failed = {"status": "FAILURE", "traceback": "x" * 200, "result": {"exc_type": "E", "exc_message": ["y" * 200]}}
    jobs = [{"task_id": f"job-{number}", "name": f"proj.{'tasks.' * 9}add", "args": [1]} for number in range(3)]
    store_jobs(store_url, *(job | failed for job in jobs))
    letter = DeadLetter(id="m1", kind="message", reason="z" * 200, at=datetime.now(UTC), task=f"proj.{'tasks.' * 9}add")
    with redis.Redis.from_url(store_url) as client:
        dead_letters.add(client, letter)
    entries = [Schedule(name=f"{'long-' * 12}{name}", task="proj.add", timing=Interval(60.0)) for name in "ab"]
    store_schedule(store_url, *entries)
    audit.note(Address.parse(store_url), AuditEntry(change="follow", subject="z" * 200, outcome="done"))
    lost = [
        UnresolvedFollow(streamer=Streamer(platform=platform, id=name), state=State.NOT_FOUND, problem=name, since=1.0)
        for platform, name in (("douyu", "no_such_name_" * 12), ("", "https://example.com/" + "x" * 150))
    ]
    store.set_followed([make_streamer(name) for name in ("ada", "grace", "tim")], 1.0, lost)
    go_live(store, "ada", 130, session="one", title="Weaving " * 30, name="A" * 60)
    axe = resources.files("axe_selenium_python").joinpath("node_modules/axe-core/axe.min.js").read_text()
    view = {"width": WIDTHS[width], "height": TALL, "deviceScaleFactor": 1, "mobile": width == "phone"}
    feature = {"name": "prefers-color-scheme", "value": scheme}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        chromium.get(f"{page}look?lang={language}")
        for path in (*PAGES, *MANAGED):
            chromium.get(page + path)
            chromium.execute_script(axe)
            report = chromium.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
            faults = [
                (rule["id"], rule["nodes"][0]["html"]) for rule in report["violations"] if rule["impact"] in UNFIT
            ]
            assert faults == [], path
            assert "\n".join(chromium.execute_script(SMALL_TARGETS)) == "", path
            assert not chromium.execute_script("return document.documentElement.scrollWidth > innerWidth"), path
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def press(chromium: Chrome, selector: str) -> None:
    """Whatever stands there by then: the page may just be changed to what the server has."""
    wait_for(lambda: is_pressed(chromium, selector), what=f"{selector} to be there")


def is_pressed(chromium: Chrome, selector: str) -> bool:
    try:
        chromium.find_element("css selector", selector).click()
    except (NoSuchElementException, StaleElementReferenceException):
        return False
    return True


def test_what_is_followed_paused_and_tried_is_done_by_a_click(
    chromium: Chrome, page: str, store: Store, store_url: str, tmp_path: Path
) -> None:
    chromium.get(f"{page}look?lang=en")
    complaints(chromium)  # of the pages before
    press(chromium, "#follow summary")
    chromium.find_element("css selector", "#follow [name=streamer]").send_keys("demo/bob")
    press(chromium, "#follow form button")
    wait_for(lambda: "Following bob." in (has(chromium, "#told") or ""))
    assert (tmp_path / "follows.yaml").read_text().endswith("  - demo/bob\n")
    assert has(chromium, "#s-demo-bob")
    chromium.get(f"{page}streamers/demo/bob")
    press(chromium, ".sure summary")
    press(chromium, ".sure form button")
    wait_for(lambda: "No longer following bob." in (has(chromium, "#told") or ""))
    assert "demo/bob" not in (tmp_path / "follows.yaml").read_text()
    store_schedule(store_url, Schedule(name="digest", task="livectl.digest", timing=Interval(60.0)))
    chromium.get(f"{page}schedules")
    wait_for(lambda: has(chromium, "#entry-digest"))
    press(chromium, '#entry-digest form[action$="/pause"] button')
    wait_for(lambda: "digest is paused" in (has(chromium, "#told") or ""))
    chromium.get(f"{page}alerts")
    press(chromium, "#target-phone form button")
    wait_for(lambda: "phone took the sample." in (has(chromium, "#told") or ""))
    letter = DeadLetter(id="m1", kind="alert", reason="gone", at=datetime.now(UTC), payload={"title": "Ada is live"})
    with redis.Redis.from_url(store_url) as client:
        dead_letters.add(client, letter)
    chromium.get(f"{page}dead/m1")
    press(chromium, ".sure summary")
    press(chromium, ".sure form button")
    wait_for(lambda: "m1 is forgotten." in (has(chromium, "#told") or ""))
    chromium.get(f"{page}alerts")
    press(chromium, "#to-zh-Hans")
    wait_for(lambda: has(chromium, "h1") == "提醒")
    press(chromium, "#to-en")
    wait_for(lambda: has(chromium, "h1") == "Alerts")
    assert complaints(chromium) == []
