"""What livectl.yaml says under `platforms:` of each platform."""

from __future__ import annotations

from typing import Literal

import msgspec

from livectl.errors import SettingsError
from livectl.secret import Secret  # noqa: TC001 - msgspec reads it
from livectl.units import Rate  # noqa: TC001 - likewise

MAX_QUEUE_CHARS = 200  # RabbitMQ takes 255 bytes, and livectl adds to some
NO_QUEUE_CHARS = {",", *map(chr, range(33)), chr(127)}  # -Q parts names by commas


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The user's own keys for a platform, and how often it may be asked."""

    client_id: Secret | None = None  # of an application at Twitch or Kick
    client_secret: Secret | None = None  # of the same
    api_key: Secret | None = None  # of YouTube's Data API
    cookie: Secret | None = None  # of your own account, as the browser sends it
    # whether the site's own list of who is live is read where that costs less than to ask about each; off: never
    listing: Literal["auto", "off"] = "auto"
    budget: Rate | None = None  # the requests that all workers together send it, instead of the platform's own: 600/m
    # where its checks wait, instead of the usual queue: for workers of their own, so that a slow site holds up no other
    queue: str | None = None

    def __post_init__(self) -> None:
        name = self.queue
        if name is not None and not (0 < len(name) <= MAX_QUEUE_CHARS and NO_QUEUE_CHARS.isdisjoint(name)):
            raise SettingsError("this cannot be the name of a queue", "Write queue: slow.")
