"""Requests to a real server on loopback: what is sent, how much is read, where redirects and resets lead."""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from livectl.live.network.curl import CurlPool, ReceivedHeaders, Transfer
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes
from livectl.models import Request
from tests.support.http_site import RecordingCache, Site, echoed, fetching, get, serving
from tests.support.waiting import in_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 1.0  # that an answer may take in these tests


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


@pytest.fixture
def fetcher(site: Site) -> Iterator[Fetcher]:
    with fetching(site) as open_fetcher:
        yield open_fetcher


def test_a_host_is_sent_elsewhere_with_its_name_and_path(fetcher: Fetcher) -> None:
    response = get(fetcher, "/echo?a=1&a=%E4%BD%A0")
    request = echoed(response)
    assert (request["host"], request["path"]) == ("site.test", "/echo?a=1&a=%E4%BD%A0")
    assert response.url == "https://site.test/echo?a=1&a=%E4%BD%A0"
    assert request["user-agent"].startswith("livectl/")


def test_a_platform_may_name_itself_and_send_a_body(fetcher: Fetcher) -> None:
    request = echoed(
        get(fetcher, "/echo", method="POST", body="你好".encode(), headers={"User-Agent": "Mozilla/5.0", "X-A": "b"})
    )
    assert (request["method"], request["body"], request["user-agent"], request["x-a"]) == (
        "POST",
        "你好",
        "Mozilla/5.0",
        "b",
    )


def test_no_request_has_anything_of_those_before_it(fetcher: Fetcher) -> None:
    for method, body in (("POST", b"first"), ("GET", b""), ("PATCH", b"second"), ("POST", b""), ("GET", b"")):
        request = echoed(get(fetcher, "/echo", method=method, body=body, headers={f"X-{method}": "1"} if body else {}))
        assert (request["method"], request["body"]) == (method, body.decode())
        assert {name for name in request if name.startswith("x-")} == ({f"x-{method.lower()}"} if body else set())


def test_requests_of_a_kind_share_what_is_set_for_them(site: Site) -> None:
    pool, routes = CurlPool(), Routes({"site.test": f"http://127.0.0.1:{site.server_port}"})
    for number, method in enumerate(("GET", "POST", "GET", "POST")):
        request = Request(url=f"https://site.test/echo?{number}", method=cast("Any", method))
        pool.send(transfer := Transfer(request, {"site.test"}, routes))
        assert pool.receive() == [transfer]
        assert transfer.response is not None
        assert echoed(transfer.response)["path"] == f"/echo?{number}"
    assert [len(handles) for handles in pool._idle_handles.values()] == [1, 1]
    pool.close()


def test_headers_that_nobody_reads_are_not_parsed(fetcher: Fetcher) -> None:
    headers = get(fetcher, "/cookies").headers
    assert isinstance(headers, ReceivedHeaders)
    assert "_parsed" not in vars(headers)
    assert {"set-cookie", "x-many"} < {*headers}


def test_headers_come_in_lower_case_and_joined(fetcher: Fetcher) -> None:
    headers = get(fetcher, "/cookies").headers
    assert (headers["set-cookie"], headers["x-many"]) == ("a=1\nb=2, 3", "1, 2")


def test_proxies_of_the_environment_are_not_used(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(fetcher, "/echo").status == 200


def test_a_proxy_of_the_settings_is_used(site: Site) -> None:
    fetcher = Fetcher(Routes({}, proxy=f"http://127.0.0.1:{site.server_port}"), RecordingCache())
    response = fetcher.ask([Request(url="http://far.test/echo")], {"far.test"})[0]
    assert echoed(response)["host"] == "far.test"
    fetcher.close()


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run([*command, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with serving(context) as site, fetching(site) as fetcher:
        response = fetcher.ask([Request(url=f"https://localhost:{site.server_port}/echo")], {"localhost"})[0]
        assert response.status == 0
        assert "certificate" in response.error
        assert site.hits == []


def test_many_at_once_share_connections(fetcher: Fetcher, site: Site) -> None:
    for _ in range(3):
        requests = [Request(url=f"http://site.test/json?n={number}") for number in range(400)]
        responses = fetcher.ask(requests, {"site.test"})
        assert [msgspec.json.decode(response.body)["n"] for response in responses] == [
            str(number) for number in range(400)
        ]
    assert len(site.clients) <= 256


def test_connections_outlive_a_check(fetcher: Fetcher, site: Site) -> None:
    for _ in range(5):
        assert get(fetcher, "/echo").status == 200
    assert len(site.clients) == 1


# Limits


def test_an_answer_is_cut_off_when_it_is_too_long(fetcher: Fetcher) -> None:
    assert get(fetcher, "/big?bytes=1000000").status == 200
    response = get(fetcher, "/big?bytes=1000001")
    assert (response.status, response.error, response.body) == (0, "longer than 1,000,000 bytes", b"")
    assert get(fetcher, "/big?bytes=1500000", limit=2_000_000).status == 200


def test_a_packed_bomb_is_cut_off_too(fetcher: Fetcher) -> None:
    assert get(fetcher, "/bomb").error == "longer than 1,000,000 bytes"


def test_reading_stops_at_the_mark(fetcher: Fetcher) -> None:
    response = get(fetcher, "/page", until=b"<the mark>", limit=400_000)
    assert response.status == 200
    assert b"<the mark>" in response.body
    assert len(response.body) < 400_000


def test_reading_goes_on_beyond_the_mark_as_far_as_it_was_told(fetcher: Fetcher) -> None:
    to_the_mark = get(fetcher, "/page", until=b"<the mark>", limit=400_000).body
    mark_end = to_the_mark.index(b"<the mark>") + len(b"<the mark>")
    beyond = len(to_the_mark) - mark_end + 1  # more than came along by chance
    body = get(fetcher, "/page", until=b"<the mark>", beyond=beyond, limit=400_000).body
    assert mark_end + beyond <= len(body) < 400_000


@pytest.mark.parametrize("path", ["/slow?seconds=600", "/drip"])
def test_who_takes_too_long_is_not_there(fetcher: Fetcher, path: str) -> None:
    with in_time():
        response = get(fetcher, path, seconds=SECONDS)
    assert (response.status, response.error) == (0, "timed out after 1 s")


def test_nobody_home_is_said_as_such() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fetcher = Fetcher(Routes({"site.test": f"http://127.0.0.1:{taken.getsockname()[1]}"}), RecordingCache())
        response = get(fetcher, "/")
    assert response.status == 0
    assert "connect" in response.error.lower()
    fetcher.close()


def test_a_reset_is_tried_once_more(fetcher: Fetcher, site: Site) -> None:
    assert get(fetcher, "/reset?times=1").body == b"well"
    response = get(fetcher, "/reset?times=9")
    assert response.status == 0
    assert response.error
    # curl itself tries once more when a connection it had kept turns out to be dead
    assert 2 <= site.hits.count("/reset?times=9") <= 3


# Redirects


def test_three_redirects_are_followed_and_the_fourth_is_the_answer(fetcher: Fetcher) -> None:
    response = get(fetcher, "/hops?left=3")
    assert (response.status, response.body, response.url) == (200, b"there", "https://site.test/hops?left=0")
    assert get(fetcher, "/hops?left=4").status == 302


ELSEWHERE = [
    "https://other.test/",
    "file:///etc/hostname",
    "ftp://site.test/",
    "//other.test/",
    "http://site.test@other.test/",
]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_redirect_to_where_we_may_not_go_is_the_answer(fetcher: Fetcher, url: str) -> None:
    response = get(fetcher, f"/to?url={url}")
    assert (response.status, response.headers["location"]) == (302, url)


def test_a_post_becomes_a_get_and_keeps_its_secrets_at_home(site: Site) -> None:
    here = f"http://127.0.0.1:{site.server_port}"
    fetcher = Fetcher(Routes({"site.test": here, "other.test": here}), RecordingCache())
    request_sent = Request(
        url="https://site.test/to?url=https://other.test/echo&status=303",
        method="POST",
        body=b"a=1",
        headers={"Authorization": "Bearer x", "Cookie": "a=b", "Content-Type": "text/plain", "X-A": "kept"},
    )
    request = echoed(fetcher.ask([request_sent], {"site.test", "other.test"})[0])
    assert (request["method"], request["body"], request["x-a"]) == ("GET", "", "kept")
    assert not {"authorization", "cookie", "content-type"} & set(request)
    fetcher.close()


def test_a_307_repeats_the_post(fetcher: Fetcher) -> None:
    request = echoed(get(fetcher, "/to?url=/echo&status=307", method="POST", body=b"a=1"))
    assert (request["method"], request["body"]) == ("POST", "a=1")
