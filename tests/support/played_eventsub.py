"""Plays Twitch's EventSub: conduits with shards, subscriptions with their cost, and the WebSockets that tell.

with Fakes() as fakes, PlayedEventSub(fakes.plan) as eventsub:
    ...                                   # a push service with fakes.connect_to
    eventsub.go_live("1001", started=1_790_000_000)
    eventsub.drop(0)
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from tests.support.sites.plan import SiteResponse
from tests.support.sites.responses import TOKEN, iso_time, json_response

if TYPE_CHECKING:
    from types import TracebackType

    from websockets.sync.server import ServerConnection

    from tests.support.sites.plan import Plan, SiteRequest

SOCKET_HOST = "eventsub.wss.twitch.tv"
MOVED_PATH = "/moved"


@dataclass
class PlayedSession:
    """A connection of a client."""

    id: str
    connection: ServerConnection
    client: str  # the address that it came from
    keeps_alive: bool = True
    ended: threading.Event = field(default_factory=threading.Event)


class PlayedEventSub:
    """The site's part. All of it may be changed while it runs."""

    def __init__(self, plan: Plan, keepalive: float = 10.0) -> None:
        self.conduits: dict[str, int] = {}
        self.shards: dict[tuple[str, str], str] = {}  # conduit and shard -> session
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, PlayedSession] = {}
        self.max_conduits, self.max_cost, self.hard_limit = 5, 10_000, 1_000_000
        self.unknown: set[str] = set()  # broadcasters of whom it does not tell
        self.welcomes = True
        self.keepalive = keepalive
        self.lost = 0  # events that nobody took
        self.requests: list[tuple[str, str]] = []
        self._numbers = count(1)
        self._lock = threading.RLock()
        plan.played["api.twitch.tv"] = self._respond
        self._server = serve(self._handle, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2)
        host, port = self._server.socket.getsockname()
        plan.elsewhere[SOCKET_HOST] = f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> PlayedEventSub:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        for session in list(self.sessions.values()):
            session.ended.set()
            session.connection.socket.close()
        self._thread.join()

    # What happens

    def go_live(self, streamer_id: str, started: int, *, at: float | None = None, times: int = 1) -> str:
        """Tells of a go-live. Returns the id of the message."""
        event = {
            "id": str(started),
            "broadcaster_user_id": streamer_id,
            "broadcaster_user_login": f"name{streamer_id}",
            "broadcaster_user_name": f"Name{streamer_id}",
            "type": "live",
            "started_at": iso_time(started),
        }
        return self._tell("stream.online", streamer_id, event, at, times)

    def end(self, streamer_id: str, *, at: float | None = None) -> str:
        event = {"broadcaster_user_id": streamer_id, "broadcaster_user_login": f"name{streamer_id}"}
        return self._tell("stream.offline", streamer_id, event, at, 1)

    def revoke(self, kind: str, streamer_id: str) -> None:
        with self._lock:
            subscription = self._find(kind, streamer_id)
            assert subscription
            subscription["status"] = "authorization_revoked"
            session = self._session_of(subscription)
        assert session
        session.connection.send(_message("revocation", f"m{next(self._numbers)}", {"subscription": subscription}))

    def drop(self, shard: int) -> None:
        """Closes the connection of a shard without a word."""
        session = self._shard_session(shard)
        session.ended.set()
        session.connection.socket.shutdown(2)

    def silence(self, shard: int) -> None:
        """The connection stays, and nothing comes any more."""
        self._shard_session(shard).keeps_alive = False

    def move(self, shard: int) -> str:
        """Sends a shard to another address, where its session goes on. Returns the id of the session."""
        session = self._shard_session(shard)
        url = f"wss://{SOCKET_HOST}{MOVED_PATH}?id={session.id}"
        payload = {"session": {"id": session.id, "status": "reconnecting", "reconnect_url": url}}
        session.connection.send(_message("session_reconnect", f"m{next(self._numbers)}", payload))
        return session.id

    def delete_conduits(self) -> None:
        """As somebody does it who has the keys of the application: what led into them is gone as well."""
        with self._lock:
            self.conduits.clear()
            self.shards.clear()
            self.subscriptions.clear()

    def send_raw(self, shard: int, text: str) -> None:
        self._shard_session(shard).connection.send(text)

    def enabled(self, kind: str) -> set[str]:
        """Of whom it tells."""
        with self._lock:
            return {
                row["condition"]["broadcaster_user_id"]
                for row in self.subscriptions.values()
                if row["type"] == kind and row["status"] == "enabled"
            }

    def clients(self) -> set[str]:
        """The addresses that its connections came from."""
        with self._lock:
            return {session.client for session in self.sessions.values()}

    def heard_shards(self) -> int:
        with self._lock:
            return sum(session in self.sessions for session in self.shards.values())

    def _shard_session(self, shard: int) -> PlayedSession:
        with self._lock:
            return next(self.sessions[session] for (_, number), session in self.shards.items() if number == str(shard))

    def _tell(self, kind: str, streamer_id: str, event: dict[str, Any], at: float | None, times: int) -> str:
        message_id = f"m{next(self._numbers)}"
        with self._lock:
            subscription = self._find(kind, streamer_id)
            session = self._session_of(subscription) if subscription else None
        if session is None or session.ended.is_set():
            self.lost += 1
            return message_id
        payload = {"subscription": subscription, "event": event}
        for _ in range(times):
            session.connection.send(_message("notification", message_id, payload, at, kind))
        return message_id

    def _find(self, kind: str, streamer_id: str) -> dict[str, Any] | None:
        rows = (row for row in self.subscriptions.values() if row["status"] == "enabled" and row["type"] == kind)
        return next((row for row in rows if row["condition"]["broadcaster_user_id"] == streamer_id), None)

    def _session_of(self, subscription: dict[str, Any]) -> PlayedSession | None:
        conduit = subscription["transport"]["conduit_id"]
        number = int(subscription["condition"]["broadcaster_user_id"]) % max(1, self.conduits.get(conduit, 1))
        return self.sessions.get(self.shards.get((conduit, str(number)), ""))

    # WebSockets

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request
        query = parse_qs(urlsplit(connection.request.path).query)
        session_id = query["id"][0] if connection.request.path.startswith(MOVED_PATH) else f"s{next(self._numbers)}"
        session = PlayedSession(session_id, connection, connection.remote_address[0])
        if not self.welcomes:
            session.ended.wait(30)
            return
        with self._lock:
            self.sessions[session_id] = session
        fields = {"id": session_id, "status": "connected", "keepalive_timeout_seconds": self.keepalive}
        connection.send(_message("session_welcome", f"m{next(self._numbers)}", {"session": fields}))
        try:
            self._keep_alive(session)
        except (ConnectionClosed, OSError):
            session.ended.set()
        with self._lock:
            if self.sessions.get(session_id) is session:
                del self.sessions[session_id]

    def _keep_alive(self, session: PlayedSession) -> None:
        while not session.ended.is_set():
            try:
                session.connection.recv(timeout=self.keepalive / 3)
            except TimeoutError:
                if session.keeps_alive:
                    session.connection.send(_message("session_keepalive", f"m{next(self._numbers)}", {}))

    # Helix

    def _respond(self, request: SiteRequest) -> SiteResponse | None:
        if not request.path.startswith("/helix/eventsub/"):
            return None
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return json_response({"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}, 401)
        name = request.path.removeprefix("/helix/eventsub/").replace("/", "_")
        with self._lock:
            self.requests.append((request.method, name))
            body = json.loads(request.body) if request.body else {}
            response: SiteResponse = getattr(self, f"_{request.method.lower()}_{name}")(request, body)
            return response

    def _get_conduits(self, request: SiteRequest, body: Any) -> SiteResponse:
        return json_response({"data": [{"id": each, "shard_count": count} for each, count in self.conduits.items()]})

    def _post_conduits(self, request: SiteRequest, body: Any) -> SiteResponse:
        if len(self.conduits) >= self.max_conduits:
            return json_response({"error": "Too Many Requests", "status": 429, "message": "conduit limit"}, 429)
        conduit = f"c{next(self._numbers)}"
        self.conduits[conduit] = body["shard_count"]
        return json_response({"data": [{"id": conduit, "shard_count": body["shard_count"]}]})

    def _patch_conduits(self, request: SiteRequest, body: Any) -> SiteResponse:
        self.conduits[body["id"]] = body["shard_count"]
        return json_response({"data": [{"id": body["id"], "shard_count": body["shard_count"]}]})

    def _patch_conduits_shards(self, request: SiteRequest, body: Any) -> SiteResponse:
        if body["conduit_id"] not in self.conduits:
            return json_response({"error": "Not Found", "status": 404, "message": "conduit not found"}, 404)
        errors = []
        for shard in body["shards"]:
            session = shard["transport"]["session_id"]
            if session not in self.sessions:
                errors.append({"id": shard["id"], "message": "websocket transport session does not exist", "code": "x"})
                continue
            self.shards[body["conduit_id"], shard["id"]] = session
        return json_response({"data": [], "errors": errors}, 202)

    def _cost(self) -> int:
        return sum(row["cost"] for row in self.subscriptions.values() if row["status"] == "enabled")

    def _get_subscriptions(self, request: SiteRequest, body: Any) -> SiteResponse:
        rows, start = list(self.subscriptions.values()), int(request.get("after") or 0)
        more = {"cursor": str(start + 100)} if start + 100 < len(rows) else {}
        return json_response(
            {
                "data": rows[start : start + 100],
                "total": len(rows),
                "total_cost": self._cost(),
                "max_total_cost": self.max_cost,
                "pagination": more,
            }
        )

    def _post_subscriptions(self, request: SiteRequest, body: Any) -> SiteResponse:
        streamer_id = body["condition"]["broadcaster_user_id"]
        if streamer_id in self.unknown:
            return json_response({"error": "Bad Request", "status": 400, "message": "invalid condition"}, 400)
        if self._find(body["type"], streamer_id):
            return json_response({"error": "Conflict", "status": 409, "message": "exists"}, 409)
        if self._cost() >= min(self.max_cost, self.hard_limit):
            return json_response({"error": "Too Many Requests", "status": 429, "message": "limit exceeded"}, 429)
        row = {**body, "id": f"e{next(self._numbers)}", "status": "enabled", "cost": 1}
        self.subscriptions[row["id"]] = row
        return json_response({"data": [row], "total_cost": self._cost(), "max_total_cost": self.max_cost}, 202)

    def _delete_subscriptions(self, request: SiteRequest, body: Any) -> SiteResponse:
        known = self.subscriptions.pop(request.get("id"), None)
        return SiteResponse(status=204 if known else 404)


def _message(kind: str, message_id: str, payload: Any, at: float | None = None, subscription: str = "") -> str:
    told_at = datetime.fromtimestamp(at, UTC) if at else datetime.now(UTC)
    metadata = {
        "message_id": message_id,
        "message_type": kind,
        "message_timestamp": told_at.isoformat().replace("+00:00", "Z"),
    }
    metadata |= {"subscription_type": subscription, "subscription_version": "1"} if subscription else {}
    return json.dumps({"metadata": metadata, "payload": payload})
