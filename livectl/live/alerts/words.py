"""Says a change in livectl's own words, as each service shows them best: as plain text, as Markdown or as HTML.

What strangers wrote is escaped in each: a title makes nothing bold, links nowhere, and calls nobody by an @.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, urlsplit

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
PICTURED = {"mailto", "mailtos", "pushplus", "dingtalk", "schan"}  # their readers see a picture by its address
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
    return STYLES.get(_scheme(target), "text")


def picture_for(target: Target, change: Change) -> str:
    """The address of the picture to show with a go-live; empty where the service shows none."""
    if change.kind != "began" or _scheme(target) not in PICTURED:
        return ""
    address = f"https:{change.cover}" if change.cover.startswith("//") else change.cover
    host = urlsplit(address).hostname or ""
    is_public_name = "." in host and not host.rpartition(".")[2].isdigit() and ":" not in host
    return address if address.startswith("https://") and is_public_name else ""


def _scheme(target: Target) -> str:
    if target.url is None or target.url.problem:
        return ""
    return target.url.reveal().partition(":")[0].lower()


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


def say(change: Change, kind: str, name: str, recording: str, target: Target) -> tuple[str, str]:
    """Title and body of the alert about a change, as the target shows them best. The title is always plain text."""
    style = style_of(target)
    if not change.is_of_stream:
        return change.title, styled_lines(change.before.split("\n"), style)
    viewers = "" if change.viewers is None or kind == "end" else format_count(change.viewers, "viewer")
    details = " · ".join(filter(None, (change.category, change.platform, viewers)))
    links = [Link(WATCH, change.url)] if not recording else [Link(RECORDING, recording)]
    return _heading(change, kind, name), compose(change.title, details, links, style, picture_for(target, change))


def _heading(change: Change, kind: str, name: str) -> str:
    if kind == "title":
        return f"{name} has a new title"
    if kind == "category":
        return f"{name} moved to {change.category or 'another category'}"
    if kind == "end":
        length = (change.ended_at or change.at) - (change.started_at or change.at)
        return f"{name} was live for {format_hours_and_minutes(length)}"
    return f"{name} is live"


def compose(title: str, details: str, links: Sequence[Link], style: Style, picture: str = "") -> str:
    """A title, a line about it, links, and a picture where the style has one."""
    links = [link for link in links if link.address]
    if style == "text":
        return "\n".join(filter(None, (title, details, *(f"{_label(link)}{link.address}" for link in links))))
    lines = (
        _bold(escape(title, style), style) if title else "",
        escape(details, style),
        " · ".join(_anchor(link, style) for link in links),
        _picture(picture, style) if picture else "",
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
    return f"[{link.words}]({_quoted(link.address)})"


def _picture(address: str, style: Style) -> str:
    if style == "html":
        return f'<img src="{html.escape(address)}" alt="" width="480">'
    return f"![]({_quoted(address)})"


def _quoted(address: str) -> str:
    return quote(address, safe=":/?&=#%+@,;~!$")
