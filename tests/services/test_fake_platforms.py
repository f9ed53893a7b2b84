"""The fakes: one server that is every platform, reached by Host."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext
from livectl.models import Request, Response, State
from tests.support.check_driver import drive
from tests.support.fake_platforms import Fakes
from tests.support.sites import session_of
from tests.support.sites.plan import OVERSIZE
from tests.support.waiting import in_time

NOW = 1_790_000_060.0
KEYS = {"client_id": "id", "client_secret": "secret", "api_key": "key"}


def send(fakes: Fakes, request: Request, timeout: float = 10) -> Response:
    """One request as a client sends it with `connect_to`: elsewhere, Host and path as they were."""
    url, target = urlsplit(request.url), urlsplit(fakes.connect_to[urlsplit(request.url).netloc])
    connection = http.client.HTTPConnection(target.netloc, timeout=timeout)
    try:
        path = f"{url.path}?{url.query}" if url.query else url.path
        connection.request(request.method, path, request.body, request.headers | {"Host": url.netloc})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(status=response.status, url=request.url, headers=headers, body=response.read())
    except (OSError, http.client.HTTPException) as error:
        return Response(status=0, error=str(error) or type(error).__name__)
    finally:
        connection.close()


@pytest.mark.parametrize("platform", [name for name in platforms.BUILT_IN if name != "demo"])
def test_a_check_over_the_wire(platform: str) -> None:
    streamer_id = {"youtube": "UC" + "a" * 22, "chzzk": "0123456789abcdef" * 2}.get(platform, "1001")
    with Fakes() as fakes:
        for kind in ("live", "offline"):
            scene = fakes.plan.show(platform, streamer_id, kind)
            check = platforms.get(platform).check([streamer_id], CheckContext(NOW, KEYS))
            (observation,) = drive(check, lambda request: send(fakes, request))
            assert observation.state is State(kind)
            assert observation.session == (session_of(platform, streamer_id, scene) if kind == "live" else "")
        assert fakes.requests_to(platform) >= 2
        assert {request.host for request in fakes.log} <= platforms.get(platform).hosts


def test_every_host_of_every_platform_is_played() -> None:
    hosts = {host for name in platforms.names() for host in platforms.get(name).hosts}
    with Fakes() as fakes:
        unplayed = hosts - set(fakes.connect_to)
    pages_that_short_links_end_on = {
        "space.bilibili.com",
        "www.bilibili.com",
        "m.youtube.com",
        "consent.youtube.com",
        "m.huya.com",
        "www.douyin.com",
        "www.iesdouyin.com",
        "m.tiktok.com",
    }
    assert unplayed <= pages_that_short_links_end_on


def test_a_slow_answer_is_slow_and_cut_short_at_the_end() -> None:
    request = Request(url="https://www.douyu.com/betard/9999")
    with in_time(), Fakes(slow_seconds=600) as fakes:
        fakes.plan.trouble["douyu"] = "slow"
        assert send(fakes, request, timeout=0.3).status == 0


def test_an_oversized_answer_is_as_big_as_promised() -> None:
    with Fakes() as fakes:
        fakes.plan.trouble["douyu"] = "oversized"
        assert len(send(fakes, Request(url="https://www.douyu.com/betard/9999")).body) == OVERSIZE


def test_a_reset_connection_gives_no_answer() -> None:
    with Fakes() as fakes:
        fakes.plan.trouble["huya"] = "reset"
        assert send(fakes, Request(url="https://mp.huya.com/cache.php?roomid=1")).status == 0
