"""Says a change in livectl's own words, as each service shows them best: as plain text, as Markdown or as HTML.

What strangers wrote is escaped in each: a title makes nothing bold, links nowhere, and calls nobody by an @.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from livectl.units import format_count, format_hours_and_minutes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from livectl.models import Change
    from livectl.settings import Target

Style: TypeAlias = Literal["text", "markdown", "lark", "html"]

# Of the addresses whose services show more than plain text. Lark's Markdown knows entities and no backslashes.
STYLES: dict[str, Style] = {
    "tgram": "html",
    "mailto": "html",
    "mailtos": "html",
    "pushplus": "html",
    "discord": "markdown",
    "dingtalk": "markdown",
    "schan": "markdown",
    "feishu": "lark",
    "lark": "lark",
}
MARKUP = re.compile(r"[\\`*_\[\]<>~|]")
CALLS = re.compile(r"@(?=\S)")
UNCALLED = "@\u200b"  # with a space of no width behind it an @ calls nobody
LINE_ENDS: dict[Style, str] = {"text": "\n", "markdown": "  \n", "lark": "\n", "html": "<br/>\n"}
WATCH, RECORDING = "Watch", "Recording"


class Link(NamedTuple):
    """An address, and what it leads to."""

    words: str
    address: str


def style_of(target: Target) -> Style:
    """What the service of this target shows best."""
    if target.url is None or target.url.problem:
        return "text"
    return STYLES.get(target.url.reveal().partition(":")[0].lower(), "text")


def escape(text: str, style: Style) -> str:
    """The text as it is to be read: in this style nothing in it is markup."""
    if style == "html":
        return html.escape(text)
    if style == "markdown":
        return uncalled(MARKUP.sub(r"\\\g<0>", text))
    if style == "lark":
        return uncalled(MARKUP.sub(lambda match: f"&#{ord(match[0])};", text.replace("&", "&amp;")))
    return text


def uncalled(text: str) -> str:
    """The text without calls: @everyone is a word in it."""
    return CALLS.sub(UNCALLED, text)


def heading(text: str, style: Style) -> str:
    """A title: services show it as it is, or in front of the body."""
    return text if style in {"text", "html"} else uncalled(text)


def styled_lines(lines: Iterable[str], style: Style) -> str:
    """Lines of plain text in this style."""
    return LINE_ENDS[style].join(escape(line, style) for line in lines)


def say(change: Change, kind: str, name: str, recording: str, style: Style) -> tuple[str, str]:
    """Title and body of the alert about a change. The title is plain text in every style."""
    if kind == "trouble":
        return change.title, styled_lines([change.before], style)
    viewers = "" if change.viewers is None or kind == "end" else format_count(change.viewers, "viewer")
    details = " · ".join(filter(None, (change.category, change.platform, viewers)))
    links = [Link(WATCH, change.url)] if not recording else [Link(RECORDING, recording)]
    return _heading(change, kind, name), compose(change.title, details, links, style)


def _heading(change: Change, kind: str, name: str) -> str:
    if kind == "title":
        return f"{name} has a new title"
    if kind == "category":
        return f"{name} moved to {change.category or 'another category'}"
    if kind == "end":
        length = (change.ended_at or change.at) - (change.started_at or change.at)
        return f"{name} was live for {format_hours_and_minutes(length)}"
    return f"{name} is live"


def compose(title: str, details: str, links: Sequence[Link], style: Style) -> str:
    """A title, a line about it, and links."""
    links = [link for link in links if link.address]
    if style == "text":
        return "\n".join(filter(None, (title, details, *(f"{_label(link)}{link.address}" for link in links))))
    lines = (
        _bold(escape(title, style), style) if title else "",
        escape(details, style),
        " · ".join(_anchor(link, style) for link in links),
    )
    return LINE_ENDS[style].join(filter(None, lines))


def _label(link: Link) -> str:
    return "" if link.words == WATCH else f"{link.words}: "


def _bold(text: str, style: Style) -> str:
    return f"<b>{text}</b>" if style == "html" else f"**{text}**"


def _anchor(link: Link, style: Style) -> str:
    if style == "html":
        address = html.escape(link.address)  # shown as it is: of a mail, some read the text alone
        return f'{_label(link)}<a href="{address}">{address}</a>'
    return f"[{link.words}]({quote(link.address, safe=':/?&=#%+@,;~!$')})"
