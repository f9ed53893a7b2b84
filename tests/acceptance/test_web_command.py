"""livectl web, as a process: where it serves, whom it refuses, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from livectl.errors import SettingsError
from livectl.web import auth
from livectl.web.auth import AccessToken
from tests.support.processes import answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for
from tests.support.web_pages import TOKEN, follow, go_live, make_streamer, prepared_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Running


def environ(folder: Path, url: str) -> dict[str, str]:
    return {"LIVECTL_HOME": str(folder / "home"), "LIVECTL_BROKER": url}


def address(page: Running) -> str:
    page.wait_for("The page is at http")
    return next(line for line in page.lines if "http" in line).split()[-1]


def fetch(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=HANG_SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


@pytest.fixture(scope="module")
def web_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a page whose store is away."""
    folder = tmp_path_factory.mktemp("page")
    with livectl("web", "--port", "0", cwd=folder, environ={"LIVECTL_HOME": str(folder / "home")}) as page:
        port = urlsplit(address(page)).port
        assert port
        yield port
        page.send(signal.SIGINT)
        page.wait()


def test_it_serves_what_the_store_knows_and_ends_in_order(store_url: str, tmp_path: Path) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    go_live(store, "ada")
    with livectl("web", "--port", "0", cwd=tmp_path, environ=environ(tmp_path, store_url)) as page:
        url = address(page)
        assert url.startswith("http://127.0.0.1:")
        status, html = fetch(url)
        assert (status, "(1) Live" in html) == (200, True)
        assert fetch(url, Host="evil.example")[0] == 421, "another site's name was made to lead here"
        assert fetch(url, Host="localhost:1")[0] == 200
        page.send(signal.SIGTERM)
        assert page.wait() == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: 400000000", "413"),
        ("Content-Length: 400000000\r\nExpect: 100-continue", "413"),
        ("Transfer-Encoding: chunked", "411"),
    ],
)
def test_a_long_body_is_refused_before_it_is_sent(web_port: int, headers: str, status: str) -> None:
    with socket.create_connection(("127.0.0.1", web_port), timeout=HANG_SECONDS) as visitor:
        visitor.sendall(f"POST /api/live HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
        first, *_, body = b"".join(iter(lambda: visitor.recv(65536), b"")).split(b"\r\n")
    assert first.split()[1].decode() == status
    assert set(json.loads(body)) == {"error"}


def test_what_follows_a_refused_request_is_no_request(web_port: int) -> None:
    hidden = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", web_port), timeout=HANG_SECONDS) as visitor:
        visitor.sendall(f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n{hidden}".encode())
        answered = b"".join(iter(lambda: visitor.recv(65536), b""))
    assert answered.count(b"HTTP/1.1") == 1


def test_methods_that_nobody_knows_are_answered_as_all_others(web_port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{web_port}/api/live", method="BREW")
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request, timeout=HANG_SECONDS):
        pass
    with refused.value as response:
        assert (response.code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert json.loads(response.read())["error"]["code"] == 2


def test_it_waits_for_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    with livectl("web", "--port", "0", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")}) as page:
        status, html = fetch(address(page))
        assert (status, "The store is away" in html) == (503, True)
        page.send(signal.SIGINT)
        page.wait()


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = answer("web", "--port", str(port), cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr.startswith(f"livectl: port {port} on 127.0.0.1 is in use")
    assert result.stderr.endswith("\n  Choose another with --port.\n")


def test_an_address_that_is_not_of_this_machine_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text(f"web: {{token: {TOKEN}}}\n")
    result = answer("web", "--host", "192.0.2.1", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr.startswith("livectl: nothing can listen at 192.0.2.1, port 8787")


def test_open_to_others_it_wants_a_token(store_url: str, tmp_path: Path) -> None:
    refused = answer("web", "--host", "0.0.0.0", cwd=tmp_path, environ=environ(tmp_path, store_url))
    assert refused.returncode == 3
    assert "anybody who reaches this machine" in refused.stderr
    (tmp_path / "livectl.yaml").write_text(f"web: {{host: 0.0.0.0, token: {TOKEN}}}\n")
    with livectl("web", "--port", "0", "--json", cwd=tmp_path, environ=environ(tmp_path, store_url)) as page:
        wait_for(lambda: page.lines)
        port = json.loads(page.lines[0])["url"].rstrip("/").rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/"
        assert fetch(url)[0] == 401
        assert fetch(url, Authorization=f"Bearer {TOKEN}", Host="live.example")[0] == 200


PLAIN = [AccessToken("token", TOKEN)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_these_are_this_machine(host: str) -> None:
    auth.check_exposure(host, ())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", "", "127.0.0.1.example.com"])
def test_these_may_be_others(host: str) -> None:
    with pytest.raises(SettingsError):
        auth.check_exposure(host, ())
    auth.check_exposure(host, PLAIN)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(SettingsError, match="shorter than 16"):
        auth.check_exposure("0.0.0.0", [AccessToken("token", "secret")])


def test_what_lets_other_users_of_the_machine_in_is_said(tmp_path: Path) -> None:
    settings_file = tmp_path / "livectl.yaml"
    settings_file.write_text(f"web: {{token: {TOKEN}}}\n")
    settings_file.chmod(0o644)
    assert "every user of this machine can use it" in auth.hint_for_local_users((), None)
    assert "chmod 600" in auth.hint_for_local_users(PLAIN, settings_file)
    settings_file.chmod(0o600)
    assert not auth.hint_for_local_users(PLAIN, settings_file)
    settings_file.write_text("web: {token: env:PAGE_TOKEN}\n")
    settings_file.chmod(0o644)
    assert not auth.hint_for_local_users(PLAIN, settings_file)
