"""Plays what sends to the page's public address: Kick, which signs with its key, and YouTube's hub, which asks back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.sites.plan import SiteResponse
from tests.support.sites.responses import TOKEN, iso_time, json_response

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.support.sites.plan import Plan, SiteRequest

PUBLIC_URL = "https://live.example.org"
TOPIC = "https://www.youtube.com/xml/feeds/videos.xml?channel_id="


@cache
def signing_key(number: int) -> rsa.RSAPrivateKey:
    """One of several; making each takes a moment."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class SignedMessage:
    """What Kick sends, as it goes over the wire."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers, self.body = headers, body

    def send(self, page: FlaskClient) -> int:
        return page.post("/pushed/kick", data=self.body, headers=self.headers, base_url=PUBLIC_URL).status_code


class PlayedKick:
    """Kick's subscriptions and its sender."""

    def __init__(self, plan: Plan, limit: int = 1000) -> None:
        self.key = signing_key(0)
        self.subscriptions: dict[str, int] = {}
        self.limit = limit
        self.late: set[int] = set()  # of whom it gets the request after all others, when nothing is left
        self._numbers = count(1)
        plan.played["api.kick.com"] = self._respond

    @property
    def public_key(self) -> str:
        encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(encoding, kind).decode()

    def status(
        self, streamer_id: str, started: int, *, ended: int | None = None, at: float, key: Any = None, **fields: Any
    ) -> SignedMessage:
        """A go-live, or the end of the stream where there is one; signed with another key if that is given."""
        slug = f"name{streamer_id}"
        body = {
            "broadcaster": {"user_id": int(streamer_id), "username": slug, "channel_slug": slug},
            "is_live": ended is None,
            "title": "Hello",
            "started_at": iso_time(started),
            "ended_at": iso_time(ended) if ended else None,
            **fields,
        }
        return self.sign(json.dumps(body).encode(), at, key=key)

    def sign(self, body: bytes, at: float, *, key: Any = None) -> SignedMessage:
        message_id = f"k{next(self._numbers)}"
        timestamp = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
        signed = f"{message_id}.{timestamp}.".encode() + body
        signature = (key or self.key).sign(signed, padding.PKCS1v15(), hashes.SHA256())
        headers = {
            "Kick-Event-Message-Id": message_id,
            "Kick-Event-Message-Timestamp": timestamp,
            "Kick-Event-Signature": base64.b64encode(signature).decode(),
            "Kick-Event-Type": "livestream.status.updated",
            "Kick-Event-Version": "1",
        }
        return SignedMessage(headers, body)

    def _respond(self, request: SiteRequest) -> SiteResponse | None:
        if request.path == "/public/v1/public-key":
            return json_response({"data": {"public_key": self.public_key}, "message": "OK"})
        if request.path != "/public/v1/events/subscriptions":
            return None
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return json_response({"message": "Unauthorized", "data": {}}, 401)
        if request.method == "GET":
            return json_response({"data": [self._row(each) for each in self.subscriptions]})
        if request.method == "DELETE":
            for each in request.get_all("id"):
                self.subscriptions.pop(each, None)
            return SiteResponse(status=204)
        streamer_id = json.loads(request.body)["broadcaster_user_id"]
        if len(self.subscriptions) >= self.limit or streamer_id in self.late:
            return json_response({"data": [{"error": "subscription limit reached", "subscription_id": ""}]})
        made = f"k-sub-{next(self._numbers)}"
        self.subscriptions[made] = streamer_id
        return json_response({"data": [{"subscription_id": made, "error": "", "name": "x", "version": 1}]})

    def _row(self, subscription: str) -> dict[str, Any]:
        return {
            "id": subscription,
            "broadcaster_user_id": self.subscriptions[subscription],
            "event": "livestream.status.updated",
            "method": "webhook",
            "version": 1,
        }


class PlayedHub:
    """YouTube's hub: it keeps what it was asked, and asks back when it is told to."""

    def __init__(self, plan: Plan) -> None:
        self.asked: list[dict[str, str]] = []
        self.is_down = False
        plan.played["pubsubhubbub.appspot.com"] = self._respond

    def ask_back(self, page: FlaskClient, lease: int = 432_000, **changed: str) -> list[int]:
        """Asks back about all that it was asked. Returns the statuses of the answers; right ones are 200."""
        statuses = []
        for form in self.asked:
            query = {
                "hub.mode": form["hub.mode"],
                "hub.topic": form["hub.topic"],
                "hub.challenge": "a challenge",
                "hub.lease_seconds": str(lease),
            } | {name.replace("_", ".", 1): value for name, value in changed.items()}
            path = urlsplit(form["hub.callback"]).path
            answer = page.get(path, query_string=query, base_url=PUBLIC_URL)
            statuses.append(answer.status_code if answer.text == "a challenge" else answer.status_code + 1000)
        return statuses

    def tell(self, page: FlaskClient, channel: str, *, secret: str = "") -> int:
        """Tells of a new video of the channel."""
        form = next(form for form in self.asked if form["hub.topic"] == f"{TOPIC}{channel}")
        body = f"<feed><entry><yt:videoId>v1</yt:videoId><yt:channelId>{channel}</yt:channelId></entry></feed>".encode()
        signature = hmac.new((secret or form["hub.secret"]).encode(), body, hashlib.sha1).hexdigest()
        headers = {"X-Hub-Signature": f"sha1={signature}"}
        path = urlsplit(form["hub.callback"]).path
        return page.post(path, data=body, headers=headers, base_url=PUBLIC_URL).status_code

    def _respond(self, request: SiteRequest) -> SiteResponse | None:
        if self.is_down:
            return SiteResponse(b"unavailable", 503)
        self.asked.append(dict(parse_qsl(request.body.decode())))
        return SiteResponse(status=202)
