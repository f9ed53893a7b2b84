"""The follow list in other shapes: ours, plain text, a table, feeds."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from livectl.live import platforms
from livectl.live.platforms.base import NotAStreamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from livectl.model import Streamer

COLUMNS = ("platform", "id", "url", "name", "tags", "alerts", "weight")
YOUTUBE_FEED_URL = "https://www.youtube.com/feeds/videos.xml?channel_id={}"
PLAIN_SCALAR = re.compile(r"[A-Za-z_\u00a1-\ud7ff][\w./-]*( [\w./-]+)*|https?://[\w./?=&%@+~:-]*[\w/=]")
YAML_KEYWORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


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
    """YouTube's feeds, which are the only ones; the others are left out."""
    channels = [streamer for streamer in streamers if streamer.platform == "youtube" and streamer.id.startswith("UC")]
    outlines = "".join(
        f'    <outline type="rss" text={quoteattr(streamer.name or streamer.id)} xmlUrl={quoteattr(YOUTUBE_FEED_URL.format(streamer.id))}/>\n'
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
    """The page, if its address leads back to the same streamer wherever it is pasted."""
    return streamer.url if streamer.url and _url_leads_back(streamer) else f"{streamer.platform}/{streamer.id}"


def render_entry(streamer: Streamer) -> str:
    """A line of follows.yaml."""
    fields = {"url": render_scalar(address_of(streamer))}
    if streamer.name:
        fields["name"] = render_scalar(streamer.name)
    if streamer.tags:
        fields["tags"] = _render_list(streamer.tags)
    if streamer.alerts is not None:
        fields["alerts"] = _render_list(streamer.alerts)
    if streamer.weight != 1:
        fields["weight"] = f"{streamer.weight:g}"
    if len(fields) == 1:
        return fields["url"]
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


def render_scalar(text: str) -> str:
    """Bare where YAML and people read it alike, in quotes elsewhere."""
    return (
        text
        if PLAIN_SCALAR.fullmatch(text) and text.lower() not in YAML_KEYWORDS
        else json.dumps(text, ensure_ascii=False)
    )


def _url_leads_back(streamer: Streamer) -> bool:
    try:
        return platforms.get(streamer.platform).address(streamer.url) == streamer.id
    except NotAStreamer:
        return False


def _render_list(words: Iterable[str]) -> str:
    return f"[{', '.join(map(render_scalar, words))}]"
