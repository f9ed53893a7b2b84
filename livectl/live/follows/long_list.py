"""Reads a long follow list for who shows all of it: a thousand of its lines after the other, as they stand."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from livectl.errors import MAX_MISTAKES_SHOWN, LivectlError
from livectl.live.follows import follow_list
from livectl.live.follows.follow_list import LINES_AT_ONCE, FollowList
from livectl.live.list_spool import SpooledList
from livectl.models import Streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from livectl.errors import Mistake
    from livectl.live.follows.follow_list import FollowLine


class LongList:
    """The lines of a file in pages. Somebody on several lines is on each of them, which is told at the end.

    Of mistakes the first ones are told as they are found, and then how many more there are.
    """

    def __init__(
        self, path: Path, name: str, say: Callable[[str], None], lines: Iterator[FollowLine] | None = None
    ) -> None:
        self._lines = follow_list.read_lines(path, name) if lines is None else lines  # those of a file to import
        self._name = name
        self._say = say
        self.refused = 0

    def pages(self) -> Iterator[FollowList]:
        with SpooledList() as everybody:
            while some := list(islice(self._lines, LINES_AT_ONCE)):
                good = [(place, read) for place, read, _ in some if isinstance(read, Streamer)]
                for place, streamer in good:
                    everybody.add(Streamer(platform=streamer.platform, id=streamer.id), place)
                bad = follow_list.merge_lines(
                    (line for line in some if isinstance(line.streamer, LivectlError)), self._name
                )
                for mistake in bad.refused:
                    self._note(mistake)
                yield bad._replace(streamers=tuple(streamer for _, streamer in good))
            self._say_more(self.refused - MAX_MISTAKES_SHOWN)
            self._tell_merged(everybody)

    def _note(self, mistake: Mistake) -> None:
        self.refused += 1
        if self.refused <= MAX_MISTAKES_SHOWN:
            self._say(str(mistake))

    def _tell_merged(self, everybody: SpooledList) -> None:
        for bucket in everybody.buckets():
            everybody.follows(bucket)
        count, first = everybody.merged()
        for merge in first:
            self._say(str(follow_list.merged_mistake(self._name, merge.place, merge.key, merge.earlier)))
        self._say_more(count - len(first))

    def _say_more(self, count: int) -> None:
        if count > 0:
            self._say(f"{self._name}: and {count:,} more like these")
