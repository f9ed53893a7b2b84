"""Follow lists of others: DouyinLiveRecorder's URL_config.ini, YouTube's Takeout, tables, names of a platform."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

from livectl.errors import LivectlError, SettingsError
from livectl.live.follows import entries, followlist
from livectl.live.follows.followlist import FollowList, Line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.model import Streamer

CHANNEL = re.compile(r"UC[\w-]{22}")
INI_FIELDS = re.compile("[,，]")  # noqa: RUF001 - as its users type
INI_NAME = re.compile("^主播[:：]")  # noqa: RUF001
ADDRESS = re.compile(r"https?://|^[\w.-]+\.[a-z]{2,}/", re.IGNORECASE)


def load(path: Path, name: str, platform: str | None = None) -> FollowList:
    """Whatever kind of list is in this file, which messages call `name`."""
    if not path.exists():
        raise SettingsError(f"{name}: no such file", "Is this the right path?")
    return read(followlist.content(path, name), name, platform)


def read(content: bytes, name: str, platform: str | None = None) -> FollowList:
    """Whatever kind of list this is. With a platform, each line is the name of somebody there."""
    text = followlist.decoded(content, name)
    if platform:
        found = [_line(number, f"{platform}/{one}") for number, one in _plain(text)]
    elif re.search(r"\.ya?ml$", name, re.IGNORECASE):
        found = followlist.from_yaml(content, name)
    elif re.search(r"\.csv$", name, re.IGNORECASE):
        found = list(_table(text))
    elif re.search(r"\.ini$", name, re.IGNORECASE):
        found = list(_recorder(text))
    else:
        found = followlist.from_text(content, name)
    return followlist.gather(found, name)


def _plain(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if said := followlist.uncommented(line):
            yield number, said


def _recorder(text: str) -> Iterator[Line]:
    """`quality,address,主播: name`, the first and the last left out at will; a `#` in front pauses one."""
    for number, line in _plain(text):
        fields = [field.strip() for field in INI_FIELDS.split(line)]
        address = next((field for field in fields if ADDRESS.search(field)), line)
        name = next((INI_NAME.sub("", field).strip() for field in fields if INI_NAME.match(field)), "")
        yield _line(number, address, name=name)


def _table(text: str) -> Iterator[Line]:
    """Takeout's table, whose headings are in the user's language, or one of ours, whose headings are the fields."""
    rows = csv.reader(text.split("\n"))
    header: list[str] = []
    for row in rows:
        if not any(row):
            continue
        if CHANNEL.fullmatch(row[0]):
            yield _line(rows.line_num, f"youtube/{row[0]}", name=row[2] if len(row) > 2 else "")
        elif not header:
            header = [heading.strip().lower() for heading in row]
        else:
            yield _row(rows.line_num, dict(zip(header, row, strict=False)))


def _row(number: int, row: dict[str, str]) -> Line:
    given = {key: value.strip() for key, value in row.items() if value.strip()}
    address = given.get("url") or f"{given.get('platform', '')}/{given.get('id', '')}"
    if given.get("platform") and given.get("id"):
        address = f"{given['platform']}/{given['id']}"
    more: dict[str, Any] = {key: tuple(given[key].split()) for key in ("tags", "alerts") if key in given}
    try:
        weight = float(given.get("weight", 1))
    except ValueError:
        weight = 1.0
    return _line(number, address, name=given.get("name", ""), weight=weight, **more)


def _line(number: int, address: str, **more: Any) -> Line:
    return Line((number, 1), _streamer(address, more))


def _streamer(address: str, more: dict[str, Any]) -> Streamer | LivectlError:
    try:
        return entries.streamer(address, more)
    except LivectlError as error:
        return error
