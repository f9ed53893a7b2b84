"""Covers and avatars: asked for by the page itself, looked at before they are kept, and never from inside."""

from __future__ import annotations

import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from livectl.settings import Network
from livectl.web.data import PageData
from livectl.web.images import ImageCache, image_type
from tests.support.waiting import wait_for
from tests.support.web_pages import follow, go_live, make_streamer, page_client, prepared_store

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = ("cover", "demo", "ada")


def png(width: int, height: int, padding: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"teXt", b"x" * padding) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    segments = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF" + bytes(10) + b"\xff\xff"
    return b"\xff\xd8" + segments + b"\xff\xc2"[1:] + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(20)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(8)


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def avif(width: int, height: int) -> bytes:
    ispe = struct.pack(">I", 20) + b"ispe" + bytes(4) + struct.pack(">II", width, height)
    return struct.pack(">I", 24) + b"ftypavif" + bytes(12) + ispe


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("body", "mimetype"),
    [
        (png(640, 360), "image/png"),
        (jpeg(640, 360), "image/jpeg"),
        (gif(640, 360), "image/gif"),
        (webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 640, 360)), "image/webp"),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 359 << 14)), "image/webp"),
        (webp(b"VP8X", bytes(4) + (639).to_bytes(3, "little") + (359).to_bytes(3, "little") + bytes(8)), "image/webp"),
        (avif(640, 360), "image/avif"),
        (png(100_000, 100_000), ""),  # a bomb
        (png(8_192, 8_192), ""),
        (png(0, 5), ""),
        (jpeg(65_535, 65_535), ""),
        (avif(640, 100_000), ""),
        (SVG, ""),
        (b"<html><script>alert(1)</script>", ""),
        (b"GIF89a<script>", ""),  # its size, read as one, is beyond any
        (b"\x89PNG\r\n\x1a\n", ""),
        (b"\xff\xd8\xff\xe0", ""),
        (b"\xff\xd8\xff" * 50, ""),
        (webp(b"ALPH", bytes(40)), ""),
        (b"RIFF", ""),
        (b"", ""),
    ],
)
def test_an_image_is_one_by_its_own_bytes_and_of_a_bearable_size(body: bytes, mimetype: str) -> None:
    assert image_type(body) == mimetype


def test_no_beginning_of_an_image_breaks_the_reader() -> None:
    for whole in (png(9, 9), jpeg(9, 9), gif(9, 9), webp(b"VP8X", bytes(20)), avif(9, 9)):
        for end in range(len(whole)):
            image_type(whole[:end])


class ImageSite(ThreadingHTTPServer):
    """Serves images, and much that is none."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ImageHandler)
        self.hits: list[str] = []
        self.go = threading.Event()
        self.go.set()


class ImageHandler(BaseHTTPRequestHandler):
    """Answers by path."""

    server: ImageSite

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        self.server.go.wait(20)
        status, headers, body = self.answer()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        path = self.path.partition("?")[0]
        inside = f"http://127.0.0.1:{self.server.server_port}/secret.png"
        return {
            "/svg": (200, {"Content-Type": "image/png"}, SVG),
            "/html": (200, {"Content-Type": "image/jpeg"}, b"<script>alert(1)</script>"),
            "/huge": (200, {}, png(9, 9, 3_000_000)),
            "/missing": (404, {}, png(9, 9)),
            "/inside": (302, {"Location": inside}, b""),
            "/moved": (302, {"Location": "https://cdn.test/good.png"}, b""),
        }.get(path, (200, {"Content-Type": "text/html"}, png(9, 9)))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[ImageSite]:
    site = ImageSite()
    threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture
def cache(site: ImageSite) -> ImageCache:
    here = f"http://127.0.0.1:{site.server_port}"
    return ImageCache(lambda: Network(connect_to={"img.test": here, "cdn.test": here}))


def test_an_image_comes_by_itself_and_stays_until_the_next_is_here(site: ImageSite, cache: ImageCache) -> None:
    assert cache.get(KEY, "https://img.test/one.png") is None, "nobody waits for a site"
    wait_for(lambda: cache.get(KEY, "https://img.test/one.png"))
    image = cache.get(KEY, "https://img.test/one.png")
    assert image
    assert (image.mimetype, image.data) == ("image/png", png(9, 9)), "whatever the site calls it"
    site.go.clear()
    assert cache.get(KEY, "https://img.test/moved") == image
    site.go.set()
    wait_for(lambda: cache.version == 2)
    assert site.hits == ["/one.png", "/moved", "/good.png"]


@pytest.mark.parametrize("path", ["svg", "html", "huge", "missing", "inside"])
def test_what_is_no_image_is_kept_nowhere_and_not_asked_again(site: ImageSite, cache: ImageCache, path: str) -> None:
    assert cache.wait(KEY, f"https://img.test/{path}", 20) is None
    assert cache.get(KEY, f"https://img.test/{path}") is None
    assert site.hits == [f"/{path}"], "nothing behind it either"


def test_no_address_leads_inside(site: ImageSite) -> None:
    cache, port = ImageCache(lambda: None), site.server_port
    for number, host in enumerate(("127.0.0.1", "localhost", "2130706433", "[::1]", "0x7f.1", "10.0.0.1")):
        for scheme in ("http", "https", "file", "gopher"):
            assert cache.wait(("cover", "demo", str(number)), f"{scheme}://{host}:{port}/x.png", 20) is None
    assert site.hits == []


def test_images_drive_each_other_out_only_when_nobody_looks_at_them(cache: ImageCache) -> None:
    cache._room, now = 2 * len(png(9, 9)) + 10, [1000.0]
    cache._clock = lambda: now[0]
    for name in ("one", "two", "three"):
        cache.wait(("avatar", "demo", name), f"https://img.test/{name}", 20)
    kept = [name for name in ("one", "two", "three") if cache.get(("avatar", "demo", name), "")]
    assert kept == ["one", "two"], "both were just shown"
    now[0] += 3600
    cache.get(("avatar", "demo", "two"), "")
    cache.wait(("avatar", "demo", "four"), "https://img.test/four", 20)
    assert [name for name in ("one", "two", "four") if cache.get(("avatar", "demo", name), "")] == ["two", "four"]


def test_the_page_shows_images_of_its_own_alone(store_url: str, site: ImageSite, cache: ImageCache) -> None:
    store = prepared_store(store_url)
    follow(store, *(make_streamer(name) for name in ("ada", "bob", "eve", "mal")))
    go_live(store, "ada", cover="//img.test/a.png", avatar="http://img.test/face")
    go_live(store, "bob", cover="https://img.test/svg", avatar='https://img.test/"onerror=x')
    go_live(store, "eve", cover=f"http://127.0.0.1:{site.server_port}/e.png", avatar="javascript:alert(1)")
    go_live(store, "mal", cover="data:image/png;base64,AAAA", avatar="file:///etc/passwd")
    page = page_client(store_url, image_cache=cache)
    assert page.get("/").text.count("<img") == 0, "drawings first"
    wait_for(lambda: cache.version == 3 and len(cache._refused) == 2)
    html = page.get("/?all=1").text
    assert html.count("<img") == 3
    assert "onerror" not in html
    assert "img.test" not in html
    mark = html.partition("/image/cover/demo/ada?v=")[2][:12]
    image = page.get(f"/image/cover/demo/ada?v={mark}")
    assert (image.status_code, image.mimetype, image.data) == (200, "image/png", png(9, 9))
    assert "sandbox" in image.headers["Content-Security-Policy"]
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in image.headers["Cache-Control"]
    assert "immutable" not in page.get("/image/cover/demo/ada?v=other").headers["Cache-Control"]
    for path in (
        "cover/demo/eve",
        "cover/demo/stranger",
        "avatar/demo/mal",
        "secret/demo/ada",
        "cover/demo/..%2f..%2fx",
    ):
        assert page.get(f"/image/{path}").status_code == 404
    assert all(hit.partition("?")[0] in {"/a.png", "/face", "/svg", '/"onerror=x'} for hit in site.hits)


def test_a_slow_site_holds_up_no_page(store_url: str, site: ImageSite, cache: ImageCache) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    go_live(store, "ada", cover="https://img.test/a.png")
    site.go.clear()
    page = page_client(store_url, image_cache=cache)
    waiting = [threading.Thread(target=lambda: page.get("/image/cover/demo/ada")) for _ in range(2)]
    for visitor in waiting:
        visitor.start()
    wait_for(lambda: site.hits)
    assert page.get("/image/cover/demo/ada").status_code == 404, "two wait already"
    assert page.get("/").status_code == 200
    assert len(site.hits) <= len(waiting), "the third asked the site, too, and waited"
    site.go.set()
    for visitor in waiting:
        visitor.join()


def test_switched_off_nobody_is_asked(store_url: str, site: ImageSite) -> None:
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    go_live(store, "ada", cover="https://img.test/a.png")
    page = page_client(store_url)
    assert "<img" not in page.get("/").text
    assert page.get("/image/cover/demo/ada").status_code == 404
    assert PageData(None, "UTC").image("cover", "demo", "ada") is None  # type: ignore[arg-type]
    assert site.hits == []
