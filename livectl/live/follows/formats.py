"""Imports and exports follow lists.

Imports our own formats, DouyinLiveRecorder's URL_config.ini, YouTube's Takeout, tables and names on a platform;
exports YAML, plain text, a table and the feeds of YouTube channels.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from livectl.errors import SettingsError
from livectl.live import platforms
from livectl.live.follows import follow_list
from livectl.live.follows.follow_list import FollowLine, FollowList
from livectl.live.platforms.base import NotAStreamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from livectl.models import Streamer


YOUTUBE_CHANNEL_ID = re.compile(r"UC[\w-]{22}")
INI_FIELDS = re.compile("[,，]")  # noqa: RUF001 - as its users type
INI_NAME = re.compile("^主播[:：]")  # noqa: RUF001
ADDRESS = re.compile(r"https?://|^[\w.-]+\.[a-z]{2,}/", re.IGNORECASE)

COLUMNS = ("platform", "id", "url", "name", "tags", "alerts", "weight")
YOUTUBE_FEED_URL = "https://www.youtube.com/feeds/videos.xml?channel_id={}"
# People, and readers of YAML 1.1, take these words for true and false.
PLAIN_SCALAR = re.compile(
    r"(?!(?i:yes|no|on|off|y|n)\Z)[A-Za-z_\u00a1-\ud7ff][\w./-]*( [\w./-]+)*|https?://[\w./?=&%@+~:-]*[\w/=]"
)


def import_file(path: Path, name: str, platform: str | None = None) -> FollowList:
    """Imports a file, which messages call `name`."""
    if not path.exists():
        raise SettingsError(f"{name}: no such file", "Is this the right path?")
    return parse_import(follow_list.read_content(path, name), name, platform)


def parse_import(content: bytes, name: str, platform: str | None = None) -> FollowList:
    """Imports a list in the format of its suffix. With a platform, each line is the name of a streamer there."""
    text = follow_list.decode(content, name)
    if platform:
        follow_lines = [
            _build_line(number, f"{platform}/{streamer_name}") for number, streamer_name in _plain_lines(text)
        ]
    elif re.search(r"\.ya?ml$", name, re.IGNORECASE):
        follow_lines = follow_list.parse_yaml(content, name)
    elif re.search(r"\.csv$", name, re.IGNORECASE):
        follow_lines = list(_parse_table(text))
    elif re.search(r"\.ini$", name, re.IGNORECASE):
        follow_lines = list(_parse_recorder_ini(text))
    else:
        follow_lines = follow_list.parse_text(content, name)
    return follow_list.merge_lines(follow_lines, name)


def _plain_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if content := follow_list.strip_comment(line):
            yield number, content


def _parse_recorder_ini(text: str) -> Iterator[FollowLine]:
    """Lines are `quality,address,主播: name`; quality and name are optional, a `#` in front pauses a line."""
    for number, line in _plain_lines(text):
        fields = [field.strip() for field in INI_FIELDS.split(line)]
        address = next((field for field in fields if ADDRESS.search(field)), line)
        name = next((INI_NAME.sub("", field).strip() for field in fields if INI_NAME.match(field)), "")
        yield _build_line(number, address, name=name)


def _parse_table(text: str) -> Iterator[FollowLine]:
    """A table from Takeout, with headings in the user's language, or one of ours, with the fields as headings."""
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
    streamer = follow_list.streamer_or_error(follow_list.parse_streamer, address, fields)
    return FollowLine((number, 1), streamer)


def as_yaml(streamers: Iterable[Streamer]) -> str:
    return "\n".join(["follows:", *(f"  - {render_entry(streamer)}" for streamer in streamers)]) + "\n"


def as_text(streamers: Iterable[Streamer]) -> str:
    return "".join(f"{address_of(streamer)}\n" for streamer in streamers)


def as_csv(streamers: Iterable[Streamer]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for streamer in streamers:
        tags, alerts = " ".join(streamer.tags), " ".join(streamer.alerts or ())
        writer.writerow(
            [streamer.platform, streamer.id, streamer.url, streamer.name, tags, alerts, f"{streamer.weight:g}"]
        )
    return table.getvalue()


def as_opml(streamers: Sequence[Streamer]) -> str:
    """The feeds of YouTube channels; no other platform has feeds."""
    channels = [streamer for streamer in streamers if streamer.platform == "youtube" and streamer.id.startswith("UC")]
    outlines = "".join(
        f'    <outline type="rss" text={quoteattr(streamer.name or streamer.id)} '
        f"xmlUrl={quoteattr(YOUTUBE_FEED_URL.format(streamer.id))}/>\n"
        for streamer in channels
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<opml version="2.0">\n  <head><title>livectl</title></head>\n'
    return f"{head}  <body>\n{outlines}  </body>\n</opml>\n"


EXPORT_FORMATS: dict[str, Callable[[Sequence[Streamer]], str]] = {
    "yaml": as_yaml,
    "text": as_text,
    "csv": as_csv,
    "opml": as_opml,
}


def address_of(streamer: Streamer) -> str:
    """The address of the streamer's page, if it leads back to the streamer; else `platform/id`."""
    return streamer.url if streamer.url and _url_leads_back(streamer) else f"{streamer.platform}/{streamer.id}"


def render_entry(streamer: Streamer) -> str:
    """An entry of follows.yaml."""
    fields = {"url": render_scalar(address_of(streamer))}
    if streamer.name:
        fields["name"] = render_scalar(streamer.name)
    if streamer.tags:
        fields["tags"] = render_list(streamer.tags)
    if streamer.alerts is not None:
        fields["alerts"] = render_list(streamer.alerts)
    if streamer.weight != 1:
        fields["weight"] = f"{streamer.weight:g}"
    if len(fields) == 1:
        return fields["url"]
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


def render_value(value: Any) -> str:
    """A field of an entry in one line: a word, a list of words or a number."""
    if isinstance(value, list | tuple):
        return render_list([str(word) for word in value])
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value)
        if isinstance(value, int)
        else render_scalar(str(value))
    )


def render_scalar(text: str) -> str:
    """The text, in quotes unless YAML and people read it alike without."""
    from livectl.yamlfile import format_scalar

    return format_scalar(text, PLAIN_SCALAR)


def _url_leads_back(streamer: Streamer) -> bool:
    try:
        return platforms.get(streamer.platform).address(streamer.url) == streamer.id
    except NotAStreamer:
        return False


def render_list(words: Iterable[str]) -> str:
    return f"[{', '.join(map(render_scalar, words))}]"
