"""Finds the pages of docs/ and their sections, in the language of the reader.

An installed livectl has them beside this file; in the repository they are in docs/. English pages lie in the folder
itself, those of another language in a folder of its name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh-CN")
INDEX = "index"  # the page that lists the others
LANGUAGE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts
HEADING = re.compile(r"^(#{1,6}) (.+)$")
FENCE = "```"
ENTRY = re.compile(r"^- \[([\w-]+)\]\((?:\.\./)?([\w-]+)\.md\)(?:: |\uff1a)(.+)$")  # or a wide colon


class Page(NamedTuple):
    """One document, in the language in which it is there."""

    topic: str
    language: str
    text: str

    @property
    def title(self) -> str:
        return next((heading.replace("`", "") for _, _, heading in self.headings()), self.topic)

    def headings(self) -> Iterator[tuple[int, int, str]]:
        """Line number, level and words of each; what stands in a fence is none."""
        fenced = False
        for number, line in enumerate(self.text.splitlines()):
            if line.startswith(FENCE):
                fenced = not fenced
            elif not fenced and (match := HEADING.match(line)):
                yield number, len(match[1]), match[2]

    def sections(self) -> dict[str, str]:
        """What leads to each section, as in an address -> its heading."""
        return {slug(heading): heading for _, _, heading in self.headings()}

    def section(self, name: str) -> str | None:
        """The text of a section with those below it; None where there is no such one."""
        lines = self.text.splitlines(keepends=True)
        headings = list(self.headings())
        for number, (line, level, heading) in enumerate(headings):
            if slug(heading) == slug(name):
                ends = (next_line for next_line, next_level, _ in headings[number + 1 :] if next_level <= level)
                return "".join(lines[line : next(ends, len(lines))])
        return None


class Entry(NamedTuple):
    """A line of the index: a page, and what it is for."""

    group: str
    topic: str
    about: str


def folder() -> Path:
    shipped = Path(__file__).parent / "docs"
    return shipped if shipped.is_dir() else Path(__file__).parents[1] / "docs"


def topics() -> list[str]:
    return sorted(path.stem for path in folder().glob("*.md") if path.stem != INDEX)


def reader_language(environ: Mapping[str, str]) -> str:
    """The language that the locale names, where there are documents in it; else English."""
    locale = next((value for name in LANGUAGE_VARIABLES if (value := environ.get(name))), "")
    code = locale[:2].lower()
    return next((language for language in LANGUAGES if language[:2] == code), ENGLISH)


def read(topic: str, language: str) -> Page | None:
    """The page; in English where it has not been translated, None where there is none."""
    places = {language: folder() / language / f"{topic}.md"} if language != ENGLISH else {}
    for found, path in {**places, ENGLISH: folder() / f"{topic}.md"}.items():
        if path.is_file():
            return Page(topic, found, path.read_text(encoding="utf-8"))
    return None


def read_section(page: Page, name: str) -> str | None:
    """The text of a section, named as the page or the English one has it; None where there is no such one."""
    return page.section(name) or page.section(section_names(page).get(slug(name), name))


def section_names(page: Page) -> dict[str, str]:
    """What leads to each section of the English page -> what leads to it here."""
    english = read(page.topic, ENGLISH)
    return dict(zip(english.sections(), page.sections(), strict=False)) if english else {}


def entries(index: Page) -> list[Entry]:
    """The lines of the index, in its groups."""
    found, group = [], ""
    for line in index.text.splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif match := ENTRY.match(line):
            found.append(Entry(group, match[2], match[3]))
    return found


def slug(heading: str) -> str:
    """What leads to a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
