"""Asks for covers and avatars on behalf of all visitors, so that their browsers ask nobody but this page.

What somebody else's server sends is looked at before it is kept: from a public address, of a bearable size, and an
image by its first bytes and its dimensions. SVG is none here: it is a document that may hold anything.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections import OrderedDict
from struct import unpack_from
from typing import TYPE_CHECKING, NamedTuple

from livectl.models import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.live.network.fetcher import Fetcher
    from livectl.models import Response
    from livectl.settings import Network


MAX_IMAGE_BYTES = 2_000_000
MAX_SIDE, MAX_PIXELS = 8_192, 20_000_000  # a small file can unpack to gigabytes in a browser
MAX_KEPT_BYTES = 32_000_000  # of all images: some two hundred covers and a thousand avatars
MAX_ASKED_AT_ONCE = 8
MAX_WAITING = 1_000  # addresses
MAX_REFUSED = 4_096  # addresses that are remembered
FETCH_SECONDS = 10.0
REFUSED_SECONDS = 600.0  # until an address that gave no image is asked again
IN_USE_SECONDS = 120.0  # what was shown so lately makes no room for others: else they would drive each other out
AVIF_BRANDS = {b"avif", b"avis"}
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
HEADERS = {"Accept": "image/avif, image/webp, image/png, image/jpeg, image/gif"}

COVER, AVATAR = "cover", "avatar"
ImageKey = tuple[str, str, str]  # cover or avatar, platform, id


class Image(NamedTuple):
    """An image as visitors get it. `mark` differs for another image."""

    address: str
    data: bytes
    mimetype: str
    mark: str


class ImageCache:
    """The last image for each key. Whoever wants another address gets the last image until that one is here.

    Nobody waits for a server: a thread asks, and ends when there is nothing left to ask.
    """

    def __init__(
        self,
        network: Callable[[], Network | None],
        clock: Callable[[], float] = time.monotonic,
        room: int = MAX_KEPT_BYTES,
    ) -> None:
        self.version = 0  # grows with every new image
        self._network = network
        self._clock = clock
        self._room = room
        self._lock = threading.Condition()
        self._kept: OrderedDict[ImageKey, Image] = OrderedDict()  # the least lately used first
        self._used_at: dict[ImageKey, float] = {}
        self._bytes = 0
        self._waiting: OrderedDict[ImageKey, str] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()  # until when
        self._thread: threading.Thread | None = None
        self._fetcher: tuple[Network | None, Fetcher] | None = None

    def get(self, key: ImageKey, address: str) -> Image | None:
        """The image that is kept for this key; the one at the address is asked for if it is another."""
        with self._lock:
            image = self._kept.get(key)
            if image:
                self._kept.move_to_end(key)
                self._used_at[key] = self._clock()
            if address and (image is None or image.address != address):
                self._want(key, address)
            return image

    def wait(self, key: ImageKey, address: str, seconds: float) -> Image | None:
        """As `get`, but waits a while for the first image of this key."""
        if image := self.get(key, address):
            return image
        with self._lock:
            self._lock.wait_for(lambda: key in self._kept or self._is_refused(address), seconds)
            return self._kept.get(key)

    def _want(self, key: ImageKey, address: str) -> None:
        if self._is_refused(address) or len(self._waiting) >= MAX_WAITING:
            return
        self._waiting[key] = address
        if self._thread is None:
            self._thread = threading.Thread(target=self._ask_for_all, daemon=True, name="livectl-images")
            self._thread.start()

    def _is_refused(self, address: str) -> bool:
        return self._refused.get(address, 0.0) > self._clock()

    def _ask_for_all(self) -> None:
        asked: dict[ImageKey, str] = {}
        while asked := self._next_batch(asked):
            try:
                responses = self._ask(asked)
            except Exception:  # such as settings that cannot be used: images are worth no more than a try
                responses = [None] * len(asked)
            for (key, address), response in zip(asked.items(), responses, strict=True):
                self._take(key, address, response)

    def _next_batch(self, asked: dict[ImageKey, str]) -> dict[ImageKey, str]:
        """What to ask next; nothing when the thread is to end."""
        with self._lock:
            for key, address in asked.items():
                if self._waiting.get(key) == address:
                    del self._waiting[key]
            batch = dict(list(self._waiting.items())[:MAX_ASKED_AT_ONCE])
            if not batch:
                self._thread = None
            return batch

    def _ask(self, asked: dict[ImageKey, str]) -> list[Response | None]:
        requests = [
            Request(url=address, headers=HEADERS, limit=MAX_IMAGE_BYTES, seconds=FETCH_SECONDS)
            for address in asked.values()
        ]
        return list(self._current_fetcher().ask(requests))

    def _current_fetcher(self) -> Fetcher:
        """The fetcher for the settings in force."""
        from livectl.live.network.check_cache import InMemoryCache
        from livectl.live.network.fetcher import Fetcher
        from livectl.live.network.routes import Routes

        network = self._network()
        if self._fetcher is None or self._fetcher[0] != network:
            routes = Routes.from_settings(network) if network else Routes({})
            self._fetcher = network, Fetcher(routes, InMemoryCache())
        return self._fetcher[1]

    def _take(self, key: ImageKey, address: str, response: Response | None) -> None:
        body = response.body if response and response.status == 200 else b""
        mimetype = image_type(body)
        with self._lock:
            if mimetype and self._make_room(key, len(body)):
                mark = hashlib.blake2b(body, digest_size=6).hexdigest()
                self._kept[key] = Image(address, body, mimetype, mark)
                self._used_at[key] = self._clock()
                self._bytes += len(body)
                self.version += 1
            else:
                self._refused[address] = self._clock() + REFUSED_SECONDS
                self._refused.move_to_end(address)
                if len(self._refused) > MAX_REFUSED:
                    self._refused.popitem(last=False)
            self._lock.notify_all()

    def _make_room(self, key: ImageKey, size: int) -> bool:
        """Whether there is room: what nobody has used for a while makes some."""
        self._drop(key)
        while self._kept and self._bytes + size > self._room:
            oldest = next(iter(self._kept))
            if self._used_at[oldest] > self._clock() - IN_USE_SECONDS:
                return False
            self._drop(oldest)
        return self._bytes + size <= self._room

    def _drop(self, key: ImageKey) -> None:
        if image := self._kept.pop(key, None):
            self._bytes -= len(image.data)
            del self._used_at[key]


def web_address(text: str) -> str:
    """The address of an image, over HTTPS; empty where there is none."""
    if text.startswith("//"):
        text = f"https:{text}"
    scheme, _, rest = text.partition("://")
    return f"https://{rest}" if scheme.lower() in {"http", "https"} and rest else ""


def image_type(body: bytes) -> str:
    """The media type of an image, by its own bytes; empty for what is none, or too large to be shown."""
    for mimetype, measure in _MEASURES.items():
        try:
            size = measure(body)
        except (struct.error, IndexError):  # cut short
            size = None
        if size is not None:
            width, height = size
            fits = 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS
            return mimetype if fits else ""
    return ""


def _png_size(body: bytes) -> tuple[int, int] | None:
    is_png = body.startswith(b"\x89PNG\r\n\x1a\n") and body[12:16] == b"IHDR"
    return unpack_from(">II", body, 16) if is_png else None


def _gif_size(body: bytes) -> tuple[int, int] | None:
    return unpack_from("<HH", body, 6) if body[:6] in {b"GIF87a", b"GIF89a"} else None


def _jpeg_size(body: bytes) -> tuple[int, int] | None:
    """Goes from segment to segment until one tells the frame."""
    if not body.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while body[at] == 0xFF:
        marker = body[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in JPEG_FRAMES:
            height, width = unpack_from(">HH", body, at + 5)
            return width, height
        else:
            at += 2 + max(2, unpack_from(">H", body, at + 2)[0])
    return None


def _webp_size(body: bytes) -> tuple[int, int] | None:
    if body[:4] != b"RIFF" or body[8:12] != b"WEBP":
        return None
    kind = body[12:16]
    if kind == b"VP8 ":
        width, height = unpack_from("<HH", body, 26)
        return (width & 0x3FFF, height & 0x3FFF) if body[23:26] == b"\x9d\x01\x2a" else None
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", body, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(body) > 30:
        return int.from_bytes(body[24:27], "little") + 1, int.from_bytes(body[27:30], "little") + 1
    return None


def _avif_size(body: bytes) -> tuple[int, int] | None:
    """The largest of the sizes that its properties name."""
    if body[4:8] != b"ftyp" or body[8:12] not in AVIF_BRANDS:
        return None
    sizes, at = [], body.find(b"ispe")
    while at >= 0:
        sizes.append(unpack_from(">II", body, at + 8))
        at = body.find(b"ispe", at + 4)
    return (max(width for width, _ in sizes), max(height for _, height in sizes)) if sizes else None


_MEASURES: dict[str, Callable[[bytes], tuple[int, int] | None]] = {
    "image/png": _png_size,
    "image/jpeg": _jpeg_size,
    "image/gif": _gif_size,
    "image/webp": _webp_size,
    "image/avif": _avif_size,
}
