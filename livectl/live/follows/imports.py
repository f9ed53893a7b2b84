"""Follow lists of others: DouyinLiveRecorder's URL_config.ini, YouTube's Takeout, tables, names of a platform."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

from livectl.errors import LivectlError, SettingsError
from livectl.live.follows import entries, followlist
from livectl.live.follows.followlist import FollowLine, FollowList

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.model import Streamer

YOUTUBE_CHANNEL_ID = re.compile(r"UC[\w-]{22}")
INI_FIELDS = re.compile("[,，]")  # noqa: RUF001 - as its users type
INI_NAME = re.compile("^主播[:：]")  # noqa: RUF001
ADDRESS = re.compile(r"https?://|^[\w.-]+\.[a-z]{2,}/", re.IGNORECASE)


def import_file(path: Path, name: str, platform: str | None = None) -> FollowList:
    """Whatever kind of list is in this file, which messages call `name`."""
    if not path.exists():
        raise SettingsError(f"{name}: no such file", "Is this the right path?")
    return parse_import(followlist.read_content(path, name), name, platform)


def parse_import(content: bytes, name: str, platform: str | None = None) -> FollowList:
    """Whatever kind of list this is. With a platform, each line is the name of somebody there."""
    text = followlist.decode(content, name)
    if platform:
        follow_lines = [
            _build_line(number, f"{platform}/{streamer_name}") for number, streamer_name in _plain_lines(text)
        ]
    elif re.search(r"\.ya?ml$", name, re.IGNORECASE):
        follow_lines = followlist.parse_yaml(content, name)
    elif re.search(r"\.csv$", name, re.IGNORECASE):
        follow_lines = list(_parse_table(text))
    elif re.search(r"\.ini$", name, re.IGNORECASE):
        follow_lines = list(_parse_recorder_ini(text))
    else:
        follow_lines = followlist.parse_text(content, name)
    return followlist.merge_lines(follow_lines, name)


def _plain_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if content := followlist.strip_comment(line):
            yield number, content


def _parse_recorder_ini(text: str) -> Iterator[FollowLine]:
    """`quality,address,主播: name`, the first and the last left out at will; a `#` in front pauses one."""
    for number, line in _plain_lines(text):
        fields = [field.strip() for field in INI_FIELDS.split(line)]
        address = next((field for field in fields if ADDRESS.search(field)), line)
        name = next((INI_NAME.sub("", field).strip() for field in fields if INI_NAME.match(field)), "")
        yield _build_line(number, address, name=name)


def _parse_table(text: str) -> Iterator[FollowLine]:
    """Takeout's table, whose headings are in the user's language, or one of ours, whose headings are the fields."""
    rows = csv.reader(text.split("\n"))
    header: list[str] = []
    for row in rows:
        if not any(row):
            continue
        if YOUTUBE_CHANNEL_ID.fullmatch(row[0]):
            yield _build_line(rows.line_num, f"youtube/{row[0]}", name=row[2] if len(row) > 2 else "")
        elif not header:
            header = [heading.strip().lower() for heading in row]
        else:
            yield _parse_row(rows.line_num, dict(zip(header, row, strict=False)))


def _parse_row(number: int, row: dict[str, str]) -> FollowLine:
    given = {key: value.strip() for key, value in row.items() if value.strip()}
    address = given.get("url") or f"{given.get('platform', '')}/{given.get('id', '')}"
    if given.get("platform") and given.get("id"):
        address = f"{given['platform']}/{given['id']}"
    fields: dict[str, Any] = {key: tuple(given[key].split()) for key in ("tags", "alerts") if key in given}
    try:
        weight = float(given.get("weight", 1))
    except ValueError:
        weight = 1.0
    return _build_line(number, address, name=given.get("name", ""), weight=weight, **fields)


def _build_line(number: int, address: str, **fields: Any) -> FollowLine:
    return FollowLine((number, 1), _streamer_or_error(address, fields))


def _streamer_or_error(address: str, fields: dict[str, Any]) -> Streamer | LivectlError:
    try:
        return entries.parse_streamer(address, fields)
    except LivectlError as error:
        return error
