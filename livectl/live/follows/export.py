"""The follow list in other shapes: ours, plain text, a table, feeds."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from livectl.live import platforms
from livectl.live.platforms.base import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from livectl.model import Streamer

COLUMNS = ("platform", "id", "url", "name", "tags", "alerts", "weight")
FEED = "https://www.youtube.com/feeds/videos.xml?channel_id={}"
PLAIN = re.compile(r"[A-Za-z_\u00a1-\ud7ff][\w./-]*( [\w./-]+)*|https?://[\w./?=&%@+~:-]*[\w/=]")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def as_yaml(streamers: Iterable[Streamer]) -> str:
    return "\n".join(["follows:", *(f"  - {entry(one)}" for one in streamers)]) + "\n"


def as_text(streamers: Iterable[Streamer]) -> str:
    return "".join(f"{address(one)}\n" for one in streamers)


def as_csv(streamers: Iterable[Streamer]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in streamers:
        tags, alerts = " ".join(one.tags), " ".join(one.alerts or ())
        writer.writerow([one.platform, one.id, one.url, one.name, tags, alerts, f"{one.weight:g}"])
    return table.getvalue()


def as_opml(streamers: Sequence[Streamer]) -> str:
    """YouTube's feeds, which are the only ones; the others are left out."""
    channels = [one for one in streamers if one.platform == "youtube" and one.id.startswith("UC")]
    outlines = "".join(
        f'    <outline type="rss" text={quoteattr(one.name or one.id)} xmlUrl={quoteattr(FEED.format(one.id))}/>\n'
        for one in channels
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<opml version="2.0">\n  <head><title>livectl</title></head>\n'
    return f"{head}  <body>\n{outlines}  </body>\n</opml>\n"


FORMATS: dict[str, Callable[[Sequence[Streamer]], str]] = {
    "yaml": as_yaml,
    "text": as_text,
    "csv": as_csv,
    "opml": as_opml,
}


def address(one: Streamer) -> str:
    """The page, if its address leads back to the same streamer wherever it is pasted."""
    return one.url if one.url and _leads_to(one) else f"{one.platform}/{one.id}"


def entry(one: Streamer) -> str:
    """A line of follows.yaml."""
    fields = {"url": scalar(address(one))}
    if one.name:
        fields["name"] = scalar(one.name)
    if one.tags:
        fields["tags"] = _words(one.tags)
    if one.alerts is not None:
        fields["alerts"] = _words(one.alerts)
    if one.weight != 1:
        fields["weight"] = f"{one.weight:g}"
    if len(fields) == 1:
        return fields["url"]
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


def scalar(text: str) -> str:
    """Bare where YAML and people read it alike, in quotes elsewhere."""
    return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)


def _leads_to(one: Streamer) -> bool:
    try:
        return platforms.get(one.platform).address(one.url) == one.id
    except Refused:
        return False


def _words(words: Iterable[str]) -> str:
    return f"[{', '.join(map(scalar, words))}]"
