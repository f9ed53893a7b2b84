"""Browsers without an open page: what they ask of the page, and what their push services are sent and can read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from livectl import extras
from livectl.live.alerts import delivery, push_target
from livectl.live.alerts.push_target import PushSender, Subscribers, VapidKey
from livectl.live.cells import target_place
from livectl.models import Streamer
from livectl.settings import Network
from livectl.web import access
from tests.support.alerts import MINUTE, client, world
from tests.support.http_site import RecordingCache
from tests.support.managed_page import LOCAL, MANAGE, READ, TOKENS, ManagedPage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from livectl.live.alerts.delivery import AlertDispatcher
    from tests.support.alerts import World

__all__ = ["client", "world"]  # fixtures


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


class Browser:
    """A browser's keys, and how it reads what its push service hands on."""

    def __init__(self, name: str, host: str = "push.example.net") -> None:
        self.endpoint = f"https://{host}/send/{name}"
        self.private, self.auth = ec.generate_private_key(ec.SECP256R1()), b"0123456789abcdef"

    @property
    def wish(self) -> dict[str, Any]:
        keys = {"p256dh": b64(point(self.private)), "auth": b64(self.auth)}
        return {"endpoint": self.endpoint, "keys": keys, "says": "{name} is live"}

    def read(self, body: bytes) -> Any:
        """By RFC 8188 and 8291, written from the other end."""
        salt, size, sender, sealed = body[:16], body[20], body[21 : 21 + body[20]], body[21 + body[20] :]
        assert (size, int.from_bytes(body[16:20], "big") >= len(sealed)) == (65, True)
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        secret = self.private.exchange(ec.ECDH(), theirs)

        def expand(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
            inner = hmac.new(salt, secret, hashlib.sha256).digest()
            return hmac.new(inner, info + b"\1", hashlib.sha256).digest()[:length]

        material = expand(self.auth, secret, b"WebPush: info\0" + point(self.private) + sender, 32)
        key = expand(salt, material, b"Content-Encoding: aes128gcm\0", 16)
        nonce = expand(salt, material, b"Content-Encoding: nonce\0", 12)
        text = AESGCM(key).decrypt(nonce, sealed, None)
        assert text.endswith(b"\2")
        return json.loads(text[:-1])


class PushService(ThreadingHTTPServer):
    """Takes messages for browsers, and answers as it is told to for each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PushHandler)
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.status: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.taken]


class PushHandler(BaseHTTPRequestHandler):
    server: PushService

    def do_POST(self) -> None:
        name, body = self.path.rpartition("/")[2], self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.status.get(name, 201)
        self.server.taken.append((name, {key.lower(): value for key, value in self.headers.items()}, body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/inside")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[PushService]:
    with PushService() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def guarded(store_url: str, tmp_path: Path) -> ManagedPage:
    return ManagedPage(tmp_path, store_url, TOKENS)


def send(page: Any, path: str, fields: Any, **headers: str) -> Any:
    return page.post(path, json=fields, headers={"Origin": LOCAL, **headers}, base_url=LOCAL)


def dispatcher(world: World, service: PushService, home: Path) -> AlertDispatcher:
    network = Network(connect_to={"push.example.net": service.url}, allow=("127.0.0.1", "inside.example"))
    fetcher = push_target.build_fetcher(network, RecordingCache())
    sender = PushSender(world.store, world.client, fetcher, home, lambda: world.now)
    hooks = delivery.DispatchHooks(lambda: world.now, world.keep_letter)
    settings = push_target.with_browsers(world.settings)
    return delivery.AlertDispatcher(settings, world.store, world.client, {push_target.NAME: sender.send}, hooks)


def subscribe(world: World, home: Path, browser: Browser, **chosen: str) -> None:
    key = VapidKey.read_or_make(home / push_target.KEY_FILE).public
    wish = {**browser.wish, **browser.wish["keys"], **chosen, "key": key, "since": world.now}
    Subscribers(world.client).add(msgspec.convert(wish, push_target.PushSubscription))


def test_the_body_is_that_of_the_rfcs_example() -> None:
    """RFC 8291, section 5 and appendix A."""
    number = int.from_bytes(unb64("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    body = push_target.encrypt(
        b"When I grow up, I want to be a watermelon",
        unb64("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        unb64("BTBZMqHH6r4Tts7J_aSIgg"),
        unb64("DGv6ra1nlYgDCS1FRnbzlw"),
        ec.derive_private_key(number, ec.SECP256R1()),
    )
    assert b64(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3"
        "jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_the_page_keeps_a_browser_and_forgets_it(guarded: ManagedPage, client: redis.Redis, tmp_path: Path) -> None:
    visitor, browser = guarded.visitor(READ), Browser("a")
    key = visitor.get("/push", base_url=LOCAL).get_json()["key"]
    assert len(unb64(key)) == 65
    file = tmp_path / "home" / push_target.KEY_FILE
    assert (file.stat().st_mode & 0o777, VapidKey.read_or_make(file).public) == (0o600, key)
    assert send(visitor, "/push", browser.wish | {"tag": "maths"}).status_code == 204
    assert send(visitor, "/push", browser.wish | {"platform": "demo"}).status_code == 204
    (kept,) = Subscribers(client).all()
    assert (kept.endpoint, kept.tag, kept.platform, kept.key) == (browser.endpoint, "", "demo", key)
    assert "1 browsers asked" in guarded.visitor(MANAGE).get("/alerts", base_url=LOCAL).text
    assert send(visitor, "/push/forget", {"endpoint": browser.endpoint}).status_code == 204
    assert Subscribers(client).count() == 0


def test_who_comes_by_a_token_that_is_none_any_more_is_forgotten(guarded: ManagedPage, client: redis.Redis) -> None:
    for token, name in ((READ, "friend"), (MANAGE, "me")):
        send(guarded.visitor(token), "/push", Browser(name).wish)
    Subscribers(client).forget_strangers([access.token_mark(TOKENS[1])])
    assert [each.endpoint for each in Subscribers(client).all()] == [Browser("me").endpoint]


WRONG = [
    ({"endpoint": "http://push.example.net/x"}, 400),
    ({"endpoint": "https://me@push.example.net/x"}, 400),
    ({"endpoint": "https://push.example.net/" + "x" * 1000}, 400),
    ({"keys": {"p256dh": b64(b"\4" + b"x" * 64), "auth": b64(b"y" * 16)}}, 400),
    ({"keys": {"p256dh": "", "auth": ""}}, 400),
    ({"keys": "none"}, 400),
]


@pytest.mark.parametrize(("fields", "status"), WRONG, ids=str)
def test_what_no_browser_sends_is_refused(
    guarded: ManagedPage, client: redis.Redis, fields: dict[str, Any], status: int
) -> None:
    assert send(guarded.visitor(READ), "/push", Browser("a").wish | fields).status_code == status
    assert Subscribers(client).count() == 0


def test_no_other_site_subscribes_and_nobody_without_a_token(
    guarded: ManagedPage, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish, visitor = Browser("a").wish, guarded.visitor(READ)
    assert send(visitor, "/push", wish, Origin="https://evil.example").status_code == 403
    text = {"data": json.dumps(wish), "content_type": "text/plain", "base_url": LOCAL}
    assert visitor.post("/push", **text).status_code == 403
    assert send(guarded.visitor(), "/push", wish).status_code == 401
    assert Subscribers(client).count() == 0
    monkeypatch.setattr(push_target, "MAX_SUBSCRIPTIONS", 1)
    answers = [send(visitor, "/push", Browser(name).wish).status_code for name in ("a", "b", "a")]
    assert answers == [204, 400, 204]


def test_without_the_extra_the_command_is_said(guarded: ManagedPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.MODULES, "push", "no_such_module")
    refused = guarded.visitor(READ).get("/push", base_url=LOCAL)
    assert refused.status_code == 404
    assert "the package cryptography, which is not installed" in refused.get_json()["error"]["message"]
    assert refused.get_json()["error"]["hint"] == f"Install it: {extras.install_command('push')}"
    assert extras.install_command("push") in unescape(guarded.visitor(MANAGE).get("/alerts", base_url=LOCAL).text)


def test_a_go_live_is_told_once_to_whom_it_concerns(world: World, service: PushService, tmp_path: Path) -> None:
    browsers = {name: Browser(name) for name in ("all", "maths", "games", "twitch")}
    world.follow(Streamer(platform="demo", id="ada", tags=("maths",)), "bob")
    world.see("live", "bob", session="before")
    world.now += 1
    for name, chosen in (("all", {}), ("maths", {"tag": "maths"}), ("games", {"tag": "games"})):
        subscribe(world, tmp_path, browsers[name], **chosen)
    subscribe(world, tmp_path, browsers["twitch"], platform="twitch")
    world.see("live", "ada", session="s1", name="Ada", title="Weaving\n<b>", url="https://example.com/ada")
    for _ in range(3):
        dispatcher(world, service, tmp_path).deliver_to(push_target.NAME)
        world.now += 1
    assert sorted(service.names) == ["all", "maths"]
    name, headers, body = service.taken[0]
    assert browsers[name].read(body) == {
        "title": "Ada is live",
        "body": "Weaving <b>",
        "url": "https://example.com/ada",
        "tag": "demo/ada/s1",
    }
    assert (headers["host"], headers["content-encoding"], headers["ttl"]) == ("push.example.net", "aes128gcm", "1800")
    check_authorization(headers["authorization"], VapidKey.read_or_make(tmp_path / push_target.KEY_FILE), world.now)


def check_authorization(header: str, key: VapidKey, now: float) -> None:
    """As a push service does: by the key in the header, for itself, and not for long."""
    scheme, _, rest = header.partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    signed, _, signature = parts["t"].rpartition(".")
    halves = unb64(signature)
    der = encode_dss_signature(int.from_bytes(halves[:32], "big"), int.from_bytes(halves[32:], "big"))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64(parts["k"]))
    public.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(unb64(signed.partition(".")[2]))
    assert (scheme, parts["k"], claims["aud"]) == ("vapid", key.public, "https://push.example.net")
    assert now < claims["exp"] <= now + 86_400
    assert claims["sub"].startswith("https://")


def test_a_browser_that_is_gone_is_forgotten_and_one_that_is_busy_told_later(
    world: World, service: PushService, tmp_path: Path
) -> None:
    world.follow("ada")
    for name in ("fine", "gone", "lost", "busy", "moved"):
        subscribe(world, tmp_path, Browser(name))
    for name in ("127.0.0.1", "inside.example"):
        subscribe(world, tmp_path, Browser("x", host=name))
    service.status = {"gone": 410, "lost": 404, "busy": 503, "moved": 302}
    world.see("live", "ada", session="s1")
    dispatcher(world, service, tmp_path).deliver_to(push_target.NAME)
    assert sorted(service.names) == ["busy", "fine", "gone", "lost", "moved"], "nothing goes inside, allowed or not"
    kept = {each.endpoint.rpartition("/")[2] for each in Subscribers(world.client).all()}
    assert {"fine", "busy", "moved"} <= kept
    assert not {"gone", "lost"} & kept
    service.taken.clear()
    service.status.clear()
    world.now += MINUTE
    dispatcher(world, service, tmp_path).deliver_to(push_target.NAME)
    assert service.names == ["busy"]
    assert world.dead_letters == []


def test_what_is_late_or_was_before_is_told_nobody(world: World, service: PushService, tmp_path: Path) -> None:
    world.follow("ada", "bob")
    subscribe(world, tmp_path, Browser("a"))
    world.see("live", "ada", session="s1")
    world.now += 40 * MINUTE
    world.see("live", "bob", session="s2", started_at=world.now)
    dispatcher(world, service, tmp_path).deliver_to(push_target.NAME)
    dispatcher(world, service, tmp_path).deliver_to(push_target.NAME)
    (told,) = service.taken
    assert Browser("a").endpoint.endswith(told[0])


def test_another_machines_key_is_said(world: World, service: PushService, tmp_path: Path) -> None:
    world.follow("ada")
    subscribe(world, tmp_path / "page", Browser("a"))
    world.see("live", "ada", session="s1")
    dispatcher(world, service, tmp_path / "worker").deliver_to(push_target.NAME)
    state = world.client.hgetall(f"{target_place(push_target.NAME)}state")
    assert "copy it from the page's machine" in state["problem"]
    assert service.taken == []
