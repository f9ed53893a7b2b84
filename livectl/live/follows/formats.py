"""Imports and exports follow lists.

Imports our own formats, DouyinLiveRecorder's URL_config.ini, YouTube's Takeout, tables and names on a platform;
exports YAML, plain text, a table and the feeds of YouTube channels.
"""

from __future__ import annotations

import csv
import io
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import quoteattr

from livectl.errors import SettingsError
from livectl.live import platforms
from livectl.live.follows import follow_list, lines
from livectl.live.follows.follow_list import FollowLine
from livectl.live.follows.lines import COLUMNS
from livectl.live.platforms.base import NotAStreamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from livectl.live.follows.follow_list import FollowList
    from livectl.live.follows.lines import Source
    from livectl.models import Streamer


INI_FIELDS = re.compile("[,，]")  # noqa: RUF001 - as its users type
INI_NAME = re.compile("^主播[:：]")  # noqa: RUF001
ADDRESS = re.compile(r"https?://|^[\w.-]+\.[a-z]{2,}/", re.IGNORECASE)

YOUTUBE_FEED_URL = "https://www.youtube.com/feeds/videos.xml?channel_id={}"
# People, and readers of YAML 1.1, take these words for true and false.
PLAIN_SCALAR = re.compile(
    r"(?!(?i:yes|no|on|off|y|n)\Z)[A-Za-z_\u00a1-\ud7ff][\w./-]*( [\w./-]+)*|https?://[\w./?=&%@+~:-]*[\w/=]"
)


def import_file(path: Path, name: str, platform: str | None = None) -> FollowList:
    """Imports a file, which messages call `name`."""
    return follow_list.merge_lines(import_lines(path, name, platform), name)


def parse_import(content: bytes, name: str, platform: str | None = None) -> FollowList:
    """The same of a text."""
    return follow_list.merge_lines(_import(content, name, platform), name)


def import_lines(path: Path, name: str, platform: str | None = None) -> Iterator[FollowLine]:
    """The lines of such a file, one after the other."""
    if not path.exists():
        raise SettingsError(f"{name}: no such file", "Is this the right path?")
    try:
        yield from _import(path, name, platform)
    except OSError as error:
        raise SettingsError(f"{name}: {(error.strerror or str(error)).lower()}", "Is this the right path?") from error


def _import(source: Source, name: str, platform: str | None) -> Iterator[FollowLine]:
    """In the format of the suffix of the name. With a platform, each line is the name of a streamer there."""
    suffix = f".{name.rpartition('.')[2].lower()}"
    if platform:
        return _parse_plain(source, name, lambda text: (f"{platform}/{text}", ""))
    if suffix == ".ini":
        return _parse_plain(source, name, _parse_recorder_line)
    return lines.read(source, suffix, name)


def _parse_plain(source: Source, name: str, parse: Callable[[str], tuple[str, str]]) -> Iterator[FollowLine]:
    """Lines of which each is an address with a name."""
    with lines.open_source(source) as file:
        for number, line in lines.decoded_lines(file, name):
            if line is None:
                yield FollowLine((number, 1), lines.NOT_UTF_8)
            elif text := follow_list.strip_comment(line):
                address, streamer_name = parse(text)
                yield lines.build_line(number, address, name=streamer_name)


def _parse_recorder_line(line: str) -> tuple[str, str]:
    """Lines are `quality,address,主播: name`; quality and name are optional, a `#` in front pauses a line."""
    fields = [field.strip() for field in INI_FIELDS.split(line)]
    address = next((field for field in fields if ADDRESS.search(field)), line)
    return address, next((INI_NAME.sub("", field).strip() for field in fields if INI_NAME.match(field)), "")


def as_yaml(streamers: Iterable[Streamer]) -> str:
    return "".join(export([list(streamers)], "yaml"))


def as_text(streamers: Iterable[Streamer]) -> str:
    return "".join(f"{address_of(streamer)}\n" for streamer in streamers)


def as_csv(streamers: Iterable[Streamer]) -> str:
    return "".join(export([list(streamers)], "csv"))


def rows_for(table: str, streamers: Iterable[Streamer]) -> str:
    """More rows for a table of ours, under its own headings; with headings for one that is empty."""
    header = next((row for row in csv.reader(table.split("\n")) if any(row)), None)
    if header is None:
        return as_csv(streamers)
    columns = [heading.strip().lower() for heading in header]
    known = {"url"} <= {*columns} or {"platform", "id"} <= {*columns}
    return _rows(columns, streamers) if known else as_text(streamers)


def _rows(columns: Sequence[str], streamers: Iterable[Streamer]) -> str:
    names_them = {"platform", "id"} <= {*columns}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    for streamer in streamers:
        fields = {
            "platform": streamer.platform,
            "id": streamer.id,
            "url": streamer.url if names_them else address_of(streamer),
            "name": streamer.name,
            "tags": " ".join(streamer.tags),
            "alerts": " ".join(streamer.alerts or ()),
            "weight": f"{streamer.weight:g}",
        }
        writer.writerow([fields.get(column, "") for column in columns])
    return table.getvalue()


def _entries(streamers: Iterable[Streamer]) -> str:
    return "".join(f"  - {render_entry(streamer)}\n" for streamer in streamers)


def _feeds(streamers: Iterable[Streamer]) -> str:
    """Those of YouTube channels; no other platform has feeds."""
    return "".join(
        f'    <outline type="rss" text={quoteattr(streamer.name or streamer.id)} '
        f"xmlUrl={quoteattr(YOUTUBE_FEED_URL.format(streamer.id))}/>\n"
        for streamer in streamers
        if streamer.platform == "youtube" and streamer.id.startswith("UC")
    )


class ExportFormat(NamedTuple):
    """How a list is written: what stands above the streamers, each of them, and what below."""

    rows: Callable[[Iterable[Streamer]], str]
    head: str = ""
    foot: str = ""


OPML_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<opml version="2.0">\n  <head><title>livectl</title></head>\n  <body>\n'
)
EXPORT_FORMATS = {
    "yaml": ExportFormat(_entries, "follows:\n"),
    "text": ExportFormat(as_text),
    "csv": ExportFormat(partial(_rows, COLUMNS), ",".join(COLUMNS) + "\n"),
    "opml": ExportFormat(_feeds, OPML_HEAD, "  </body>\n</opml>\n"),
}


def export(pages: Iterable[Iterable[Streamer]], kind: str) -> Iterator[str]:
    """A list in one of the formats, piece by piece."""
    export_format = EXPORT_FORMATS[kind]
    yield export_format.head
    yield from map(export_format.rows, pages)
    yield export_format.foot


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
