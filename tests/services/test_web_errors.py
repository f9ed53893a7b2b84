"""What the page answers when it cannot give what was asked for: to people, to programs, and to those who guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from livectl import settings as livectl_settings
from livectl.errors import ServerError
from livectl.web import auth, blueprint, server
from livectl.web.auth import FORGET_AFTER_S, FREE_GUESSES, MAX_ADDRESSES, MAX_WAIT_S, GuessLimit
from livectl.web.routes import MAX_BODY_BYTES
from tests.support.web_pages import TOKEN, page_client

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

WRONG = {"Authorization": "Bearer a-token-that-is-not-the-one"}
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
LOCAL = "http://localhost/"


@pytest.fixture
def whole_app(tmp_path: Path) -> FlaskClient:
    """The page as it is served by itself, with a view that breaks and a store that is away."""

    def no_deployment() -> Any:
        raise ServerError("no store")

    settings = livectl_settings.load({"LIVECTL_HOME": str(tmp_path)}, tmp_path)
    app = server.create_app(no_deployment, lambda: settings)
    app.logger.disabled = True
    page = app.test_client()
    views: Any = app.view_functions
    views["livectl.jobs"] = views["livectl.api_jobs"] = lambda: 1 // 0
    return page


# method, path, status, sentences of both languages
ERRORS = [
    ("GET", "/nothing", 404, "There is no such page", "没有这个页面"),
    ("GET", "/jobs/", 404, "There is no such page", "没有这个页面"),
    ("GET", "/assets/nothing.css", 404, "There is no such page", "没有这个页面"),
    ("POST", "/", 405, "This address answers no such request", "此地址不接受这种请求"),
    ("DELETE", "/assets/page.css", 405, "This address answers no such request", "此地址不接受这种请求"),
    ("BREW", "/", 405, "This address answers no such request", "此地址不接受这种请求"),
    ("GET", "/jobs", 500, "Something broke here", "这里出错了"),
    ("GET", "/", 503, "The store is away", "存储暂时不可用"),
]


@pytest.mark.parametrize(("method", "path", "status", "english", "chinese"), ERRORS)
def test_people_get_a_page_in_their_language(
    whole_app: FlaskClient, method: str, path: str, status: int, english: str, chinese: str
) -> None:
    for accepted, sentence in (("en", english), ("zh-CN", chinese)):
        response = whole_app.open(path, method=method, base_url=LOCAL, headers={"Accept-Language": accepted})
        assert (response.status_code, response.mimetype) == (status, "text/html")
        assert f"<h1>{sentence}</h1>" in response.text
        assert "<style>" in response.text
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "Accept-Language" in response.headers["Vary"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api", 404, 1),
        ("GET", "/api/nothing", 404, 1),
        ("POST", "/api/live", 405, 2),
        ("BREW", "/api/live", 405, 2),
        ("GET", "/api/jobs", 500, 1),
        ("GET", "/api/live", 503, 4),
    ],
)
def test_programs_get_json(whole_app: FlaskClient, method: str, path: str, status: int, code: int) -> None:
    response = whole_app.open(path, method=method, base_url=LOCAL)
    error = response.get_json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["message"]
    assert error["hint"] is not None


def test_a_405_says_what_is_answered(whole_app: FlaskClient) -> None:
    for method in ("PUT", "BREW"):
        assert whole_app.open("/api/live", method=method, base_url=LOCAL).allow == {"GET", "HEAD", "OPTIONS"}


def test_another_name_gets_nothing_but_the_reason(whole_app: FlaskClient) -> None:
    other = "http://evil.example/"
    assert "not served by that name" in whole_app.get("/", base_url=other).text
    assert whole_app.get("/api/live", base_url=other).status_code == 421
    assert whole_app.get("/api/live", base_url=other).get_json()["error"]["code"] == 2
    with whole_app.get("/assets/page.css", base_url=other) as sheet:
        assert sheet.status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/live", "/enter", "/nothing", "/healthz"])
def test_long_bodies_are_refused_whatever_the_method(whole_app: FlaskClient, path: str) -> None:
    for method in ("POST", "GET", "PUT"):
        too_long = b"x" * (MAX_BODY_BYTES + 1)
        assert whole_app.open(path, method=method, base_url=LOCAL, data=too_long).status_code == 413
        unknown_length = {"Transfer-Encoding": "chunked"}
        assert whole_app.open(path, method=method, base_url=LOCAL, headers=unknown_length).status_code == 411


def test_mounted_in_another_app_it_answers_for_its_own_addresses_alone() -> None:
    app = Flask("shop")
    app.register_error_handler(404, lambda _: ("the shop's", 404))
    app.register_blueprint(blueprint("redis://127.0.0.1:1/0"), url_prefix="/live")
    shop = app.test_client()
    assert shop.get("/nothing").text == "the shop's"
    assert "no such page" in shop.get("/live/nothing").text
    assert shop.get("/live/api/nothing").get_json()["error"]["code"] == 1
    assert shop.post("/live/api/live").get_json()["error"]["code"] == 2
    whole = Flask("root")
    whole.register_error_handler(404, lambda _: ("the root's", 404))
    whole.register_blueprint(blueprint("redis://127.0.0.1:1/0"))
    assert whole.test_client().get("/nothing").text == "the root's"
    assert whole.test_client().get("/api/nothing").get_json()["error"]["code"] == 1


# Guesses


def guess(page: FlaskClient, address: str, headers: dict[str, str] = WRONG) -> Any:
    return page.get("/api/live", headers=headers, environ_base={"REMOTE_ADDR": address})


def test_who_guesses_has_to_wait_and_nobody_else(store_url: str) -> None:
    page = page_client(store_url, token=TOKEN)
    assert [guess(page, "192.0.2.1").status_code for _ in range(FREE_GUESSES)] == [401] * FREE_GUESSES
    braked = guess(page, "192.0.2.1")
    assert (braked.status_code, braked.headers["Retry-After"]) == (429, "1")
    assert braked.get_json()["error"]["code"] == 6
    assert guess(page, "192.0.2.1", RIGHT).status_code == 429, "what is not looked at tells nothing"
    assert guess(page, "192.0.2.2", RIGHT).status_code == 200
    from_form = page.post("/enter", data={"token": TOKEN}, environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert from_form.status_code == 429
    assert "Too many wrong tokens" in from_form.text
    assert page.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200


def test_whose_browser_is_in_stays_in_though_somebody_guesses_at_the_same_address(store_url: str) -> None:
    page = page_client(store_url, token=TOKEN)
    assert page.post("/enter", data={"token": TOKEN}).status_code == 303
    stranger = page.application.test_client()
    assert [guess(stranger, "127.0.0.1").status_code for _ in range(FREE_GUESSES + 1)][-1] == 429
    stranger.set_cookie("livectl", auth.cookie_value(TOKEN, "a-nonce-of-ones-own"))
    assert stranger.get("/").status_code == 429, "a cookie made of a guess is a guess"
    assert page.get("/").status_code == 200


def test_an_old_cookie_is_dropped_and_is_one_guess(store_url: str) -> None:
    page = page_client(store_url, token=TOKEN)
    page.set_cookie("livectl", "of-an-older-token")
    assert [page.get("/").status_code for _ in range(FREE_GUESSES + 2)] == [401] * (FREE_GUESSES + 2)
    assert page.post("/enter", data={"token": TOKEN}).status_code == 303


def test_the_wait_grows_is_bounded_and_ends() -> None:
    now = [0.0]
    guess_limit = GuessLimit(lambda: now[0])
    waits = []
    for _ in range(FREE_GUESSES + 8):
        guess_limit.note_wrong("192.0.2.1")
        waits.append(guess_limit.wait_s("192.0.2.1"))
        now[0] += waits[-1]
        assert guess_limit.wait_s("192.0.2.1") == 0
    assert waits == [0] * (FREE_GUESSES - 1) + [1, 2, 4, 8, 16, *[MAX_WAIT_S] * 4]
    now[0] += FORGET_AFTER_S
    guess_limit.note_wrong("192.0.2.1")
    assert guess_limit.wait_s("192.0.2.1") == 0


def test_a_flood_of_addresses_takes_no_more_memory() -> None:
    guess_limit = GuessLimit(lambda: 0.0)
    for number in range(MAX_ADDRESSES + 500):
        guess_limit.note_wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guess_limit._wrong) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("guesser", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "192.0.2.1", False),
    ],
)
def test_neighbours_in_ipv6_are_one(guesser: str, other: str, *, same: bool) -> None:
    guess_limit = GuessLimit(lambda: 0.0)
    for _ in range(FREE_GUESSES):
        guess_limit.note_wrong(guesser)
    assert bool(guess_limit.wait_s(other)) is same


@pytest.mark.parametrize("text", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü" * 20, "\ud800", "\x00"])
def test_only_the_token_is_the_token(text: str) -> None:
    assert not auth.Credential.of_token(text).matches(TOKEN)
    assert not auth.Credential(text, is_token=False).matches(TOKEN)
    assert not auth.Credential(f"n.{text}", is_token=False).matches(TOKEN)
    assert auth.Credential.of_token(TOKEN).matches(TOKEN)
    assert auth.Credential(auth.cookie_value(TOKEN, "n"), is_token=False).matches(TOKEN)
