"""Shows the documents in the terminal."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING, Any, ClassVar

import click

from livectl import documents
from livectl.completing import complete, complete_section
from livectl.context import CommandContext, pass_command_context
from livectl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.render import TextFormat, View

MAX_WIDTH_CHARS = 100  # longer lines are hard to read
MAX_PAGES_NAMED = 6
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([\w./-]*)(?:#[\w-]*)?\)")
PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)\n*")
# Without backgrounds, and in colours that a light terminal shows as well as a dark one.
STYLES = {
    "markdown.h1": "bold underline",
    "markdown.h2": "bold underline",
    "markdown.h3": "bold",
    "markdown.code": "cyan",
    "markdown.table.border": "dim",
    "markdown.table.header": "bold",
}
COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
# Chinese has no blanks, and rich breaks lines at them alone: where a line may break, a blank of no width tells it so.
NO_WIDTH_BLANK = "\x1f"
HAN = "\u3400-\u9fff"
CLOSING, OPENING = "\uff0c\u3002\uff1b\uff1a\u3001\uff1f\uff01\uff09\u201d\u2026", "\uff08\u201c"
BREAK = re.compile(rf"(?<=[{HAN}{CLOSING}])(?=[{HAN}{OPENING}\w`])|(?<=\w)(?=[{HAN}{OPENING}])")


@click.command()
@click.argument("topic", required=False, shell_complete=complete("topics"))
@click.argument("section", required=False, shell_complete=complete_section)
@click.option(
    "--lang", type=click.Choice(documents.LANGUAGES), help="Language; that of the locale, or English, if left out."
)
@pass_command_context
def command(context: CommandContext, /, topic: str | None, section: str | None, lang: str | None) -> None:
    """Without TOPIC, say which pages there are. SECTION is a heading of the page, in words or as in a link.

    \b
    Examples:
      livectl docs start
      livectl docs doctor queue-unread
      livectl docs alerts --lang zh-CN
    """
    language = lang or documents.reader_language(context.environ)
    if topic is None:
        context.show(_index(language))
        return
    page = documents.read(topic.removesuffix(".md"), language)
    if page is None:
        raise UsageError(f"there is no page {topic!r}", _where_else(topic, language))
    text = page.text
    if section is not None and (text := documents.read_section(page, section) or "") == "":
        known = ", ".join(page.sections())
        raise UsageError(f"the page {page.topic} has no section {section!r}", f"It has {known}.")
    if page.language != language:
        context.say(f"{page.topic} is there in English only.")
    context.show(_page_view(page, text), paged=True)


def _index(language: str) -> View:
    from livectl.render import BOLD, Paragraph, Renderable, Stack, View

    index = documents.read(documents.INDEX, language)
    entries = documents.entries(index) if index else []
    widest = max((len(entry.topic) for entry in entries), default=0)

    def to_stack() -> Renderable:
        parts: list[Renderable] = []
        group = None
        for entry in entries:
            if entry.group != group:
                parts += ["", Paragraph(entry.group, colour=BOLD)] if parts else [Paragraph(entry.group, colour=BOLD)]
                group = entry.group
            parts.append(Paragraph(entry.about, label=f"  {entry.topic:<{widest}}  "))
        return Stack(*parts, "", Paragraph("livectl docs TOPIC shows one of them."))

    data = [{"group": entry.group, "topic": entry.topic, "about": entry.about} for entry in entries]
    return View(data, to_stack)


def _where_else(word: str, language: str) -> str:
    """The page that was meant, or those that speak of it."""
    from livectl.suggestions import did_you_mean

    if question := did_you_mean(word, documents.topics()):
        return question.capitalize()
    pages = filter(None, (documents.read(topic, language) for topic in documents.topics()))
    counts = {page.topic: count for page in pages if (count := page.text.lower().count(word.lower()))}
    most = sorted(counts, key=lambda topic: -counts[topic])[:MAX_PAGES_NAMED]
    return f"It is spoken of in {', '.join(most)}." if most else "`livectl docs` lists them."


def _page_view(page: documents.Page, text: str) -> View:
    from livectl.render import View

    data = {"topic": page.topic, "language": page.language, "title": page.title, "text": text}
    return View(data, lambda: Rendered(text))


class Rendered:
    """A page as a terminal shows it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def lines(self, text_format: TextFormat) -> list[str]:
        from rich.console import Console
        from rich.markdown import Heading, Markdown, TableElement
        from rich.theme import Theme

        class LeftHeading(Heading):
            LEVEL_ALIGN: ClassVar = dict.fromkeys(Heading.LEVEL_ALIGN, "left")

        class WholeTable(TableElement):
            def __rich_console__(self, *where: Any) -> Iterator[Any]:
                for table in super().__rich_console__(*where):
                    for column in getattr(table, "columns", ()):
                        column.overflow = "fold"  # a word that is longer than its column is cut otherwise
                    yield table

        class TerminalPage(Markdown):
            elements: ClassVar = {**Markdown.elements, "heading_open": LeftHeading, "table_open": WholeTable}

        out = StringIO()
        console = Console(
            file=out,
            width=min(text_format.width or MAX_WIDTH_CHARS, MAX_WIDTH_CHARS),
            force_terminal=text_format.colour,
            color_system="standard" if text_format.colour else None,
            highlight=False,
            emoji=False,
            theme=Theme(STYLES),
        )
        console.print(TerminalPage(_to_terminal(self._text), code_theme="ansi_dark", hyperlinks=False))
        text = "\n".join(line.rstrip() for line in out.getvalue().replace(NO_WIDTH_BLANK, "").split("\n"))
        return re.sub(r"\n{3,}", "\n\n", text).strip("\n").split("\n")


def _to_terminal(text: str) -> str:
    """The page without pictures, and with the pages that it leads to named at its end."""
    text = COMMENT.sub("", PICTURE.sub("", text))
    named = dict.fromkeys(match[2].rpartition("/")[2] for match in LINK.finditer(text))
    led_to = [name.removesuffix(".md") for name in named if name.endswith(".md")]
    text = BREAK.sub(NO_WIDTH_BLANK, LINK.sub(r"\1", text))
    return f"{text}\n\n*livectl docs* {', '.join(led_to)}\n" if led_to else text
