"""livectl web, as a process: where it serves, whom it refuses, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from livectl.errors import SettingsError
from livectl.web import auth
from tests.support.processes import answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for
from tests.support.web_pages import TOKEN, follow, go_live, make_streamer, prepared_store

if TYPE_CHECKING:
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
    assert result.stderr == f"livectl: port {port} on 127.0.0.1 is in use\n  Choose another with --port.\n"


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_these_are_this_machine(host: str) -> None:
    auth.check_exposure(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", "", "127.0.0.1.example.com"])
def test_these_may_be_others(host: str) -> None:
    with pytest.raises(SettingsError):
        auth.check_exposure(host, None)
    auth.check_exposure(host, TOKEN)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(SettingsError, match="shorter than 16"):
        auth.check_exposure("0.0.0.0", "secret")
