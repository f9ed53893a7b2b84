"""No address that is not public is reached on behalf of what somebody pasted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pycurl
import pytest

from livectl.live.network.curl import CurlPool, Transfer
from livectl.live.network.fetcher import Fetcher
from livectl.live.network.routes import Routes, is_public
from livectl.models import Request
from tests.support.http_site import RecordingCache, Site, fetching, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


@pytest.fixture
def fetcher(site: Site) -> Iterator[Fetcher]:
    with fetching(site) as open_fetcher:
        yield open_fetcher


SPELLINGS = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://LOCALHOST.:{port}/",
    "file:///etc/hostname",
    "httpstream://file:///etc/hostname",
    "gopher://127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_reaches_what_is_not_public(fetcher: Fetcher, site: Site, spelling: str) -> None:
    response = fetcher.ask([Request(url=spelling.format(port=site.server_port))])[0]
    assert response.status == 0
    assert response.error
    assert site.hits == []
    assert site.clients == set()


def test_what_is_refused_is_named(fetcher: Fetcher, site: Site) -> None:
    response = fetcher.ask([Request(url=f"http://127.0.0.1:{site.server_port}/")])[0]
    assert response.error == "not asked: 127.0.0.1 is not a public address"


def test_a_private_address_may_be_allowed_by_name(site: Site) -> None:
    fetcher = Fetcher(Routes({}, allowed=["localhost"]), RecordingCache())
    port = site.server_port
    assert fetcher.ask([Request(url=f"http://localhost:{port}/echo")])[0].status == 200
    # ... but it cannot send us on to one that is not
    redirected = fetcher.ask([Request(url=f"http://localhost:{port}/to?url=http://127.0.0.1:{port}/echo")])[0]
    assert redirected.error == "not asked: 127.0.0.1 is not a public address"
    assert site.hits == ["/echo", f"/to?url=http://127.0.0.1:{port}/echo"]
    fetcher.close()


def test_a_connection_that_stands_is_no_way_in(site: Site) -> None:
    port = site.server_port
    fetcher = Fetcher(Routes({}), RecordingCache())
    assert fetcher.ask([Request(url=f"http://localhost:{port}/echo")], {"localhost"})[0].status == 200
    assert fetcher.ask([Request(url=f"http://localhost:{port}/echo")])[0].status == 0
    fetcher.close()


class ReboundTransfer(Transfer):
    """A name whose second look-up, the one that counts, answers with an address of our own."""

    def configure(self, handle: Any) -> None:
        super().configure(handle)
        handle.setopt(pycurl.RESOLVE, [f"rebound.test:{urlsplit(self.request.url).port}:127.0.0.1"])


def test_a_name_that_changes_its_mind_is_refused(site: Site) -> None:
    pool = CurlPool()
    transfer = ReboundTransfer(Request(url=f"http://rebound.test:{site.server_port}/"), None, Routes({}))
    pool.send(transfer)
    assert pool.receive() == [transfer]
    assert transfer.response is not None
    assert "not a public address" in transfer.response.error
    assert site.clients == set()
    pool.close()


def test_a_platform_reaches_only_its_own_hosts(fetcher: Fetcher, site: Site) -> None:
    response = fetcher.ask([Request(url="https://other.test/")], {"site.test"})[0]
    assert response.error == "not asked: other.test is not a host of this platform"


PRIVATE = """0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.0.2.1 192.88.99.1
192.168.1.1 198.18.0.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:8.8.8.8
64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2001:20::1 2002:7f00:1:: fc00::1 fe80::1 fe80::1%eth0 fec0::1
ff02::1 nonsense"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "185.60.216.35", "2606:4700::1111", "2a00:1450:4001:81b::200e"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "2130706433", "0x7f.1", "[::1]", "10.1.2.3"])
def test_a_proxy_is_asked_for_no_private_address(site: Site, host: str) -> None:
    fetcher = Fetcher(Routes({}, proxy=f"http://127.0.0.1:{site.server_port}"), RecordingCache())
    response = fetcher.ask([Request(url=f"http://{host}/echo")])[0]
    assert "is not a public address" in response.error
    assert site.hits == []
    fetcher.close()
