"""A follow list on its way into the store: by bucket, in order, in a file that nobody finds."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from livectl.live import list_spool
from livectl.live.list_spool import NoRoomError, Row, Spool, SpooledList
from livectl.live.store_records import decode_follow
from livectl.models import State, Streamer, UnresolvedFollow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(list_spool, "MAX_HELD", 5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def line(name: str, platform: str = "demo") -> UnresolvedFollow:
    return UnresolvedFollow(streamer=Streamer(platform=platform, id=name), state=State.UNKNOWN, problem="no")


def test_rows_come_back_in_their_order_and_leave_no_file(tmp_path: Path) -> None:
    spool, buckets = Spool(), [("demo", 3), ("demo", 7), ("", 3)]
    rows = {bucket: [Row(f"n{number}", f"日 {bucket}", (number, 1)) for number in range(9)] for bucket in buckets}
    for number in range(9):
        for bucket in buckets:
            spool.add(bucket, rows[bucket][number])
    assert list(tmp_path.iterdir()) == []
    assert spool.buckets() == sorted(buckets)
    assert {bucket: list(spool.rows(bucket)) for bucket in buckets} == rows
    spool.close()


def test_lines_for_one_streamer_are_taken_together(tmp_path: Path) -> None:
    with SpooledList() as wanted:
        wanted.add(Streamer(platform="demo", id="ada", name="Ada", tags=("one",)), (1, 3))
        for number in range(2, 20):
            wanted.add(Streamer(platform="demo", id="bob"), (number, 3))
        wanted.add(Streamer(platform="demo", id="ada", name="Other", tags=("two", "one"), weight=3.0), (20, 3))
        follows = {name: text for bucket in wanted.buckets() for name, text in wanted.follows(bucket).items()}
        ada = decode_follow(follows["ada"])
        assert (ada.name, ada.tags, ada.weight) == ("Ada", ("one", "two"), 3.0)
        count, first = wanted.merged()
    assert (len(follows), count) == (2, 18)
    assert [(*merge.place, merge.earlier, merge.key) for merge in first] == [
        (number, 3, 2, "demo/bob") for number in range(3, 8)
    ]


def test_a_line_for_somebody_who_is_followed_is_left_out() -> None:
    with SpooledList() as wanted:
        for number in range(9):
            wanted.add_unresolved(line(f"n{number}"))
        wanted.add(Streamer(platform="demo", id="n3"))
        wanted.add(Streamer(platform="other", id="n4"))
        assert sorted(row.name for row in wanted.unresolved()) == [
            f"demo/n{number}" for number in (0, 1, 2, *range(4, 9))
        ]


def test_a_folder_without_room_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with SpooledList() as wanted:
        for number in range(4):
            wanted.add(Streamer(platform="demo", id=f"n{number}"))
        with pytest.raises(NoRoomError, match="no room for its lines in temporary files: no such file or directory"):
            wanted.add(Streamer(platform="demo", id="n4"))
