"""Follow lists, read from text and named in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.live.follows.follow_list import merge_lines, parse_lines

if TYPE_CHECKING:
    from livectl.live.follows.follow_list import FollowList


def read_list(text: str, suffix: str = ".yaml") -> FollowList:
    return merge_lines(parse_lines(text.encode(), suffix, "f"), "f")


def addresses(follows: FollowList) -> list[str]:
    return [f"{streamer.platform}/{streamer.id}" for streamer in follows.streamers]
