"""Builds the documents into a site with a search, a language beside the other: `make docs`.

The index of each language is its menu. A page that a language lacks is there in English. Strict: a link that leads
nowhere, or a page that is in no menu, ends it.
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

from livectl import documents

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/livectl/livectl"
ADDRESS = "https://livectl.github.io/livectl/"
NAMES = {"en": "English", "zh-CN": "中文"}
HOME = {"en": "Overview", "zh-CN": "总览"}
THEME_LANGUAGES = {"en": "en", "zh-CN": "zh"}
SECTION_LINK = re.compile(r"\]\(([\w-]+)\.md#([\w-]+)\)")
# Where a word ends for the search: at blanks and signs, and on both sides of each Chinese character.
WORD_ENDS = r"[\s\-`./_\u3000-\u303f\uff00-\uff65\u201c\u201d]+|(?=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff])"
FILES = {".png", ".svg", ".json"}  # that pages show or lead to


def main() -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="build/site", type=Path)
    target = parser.parse_args().folder.absolute()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    shutil.rmtree(target, ignore_errors=True)
    for language in documents.LANGUAGES:
        with tempfile.TemporaryDirectory() as folder:
            pages = prepare(language, Path(folder))
            build(load_config(StringIO("site_name: livectl"), **configuration(language, pages, target)))
    print(target / "index.html")


def prepare(language: str, folder: Path) -> Path:
    """Lays the pages of a language into the folder, with what they show."""
    source = documents.folder()
    for path in source.rglob("*"):
        if path.suffix in FILES and path.relative_to(source).parts[0] not in documents.LANGUAGES:
            (folder / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to(source))
    for topic in [documents.INDEX, *documents.topics()]:
        if page := documents.read(topic, language):
            text = SECTION_LINK.sub(lambda link: _section_link(link, language), page.text.replace("](../", "]("))
        (folder / f"{topic}.md").write_text(text, encoding="utf-8")
    return folder


def _section_link(link: re.Match[str], language: str) -> str:
    """The link as the section is named in this language: a page that is there in English only leads to English ones."""
    page = documents.read(link[1], language)
    name = documents.section_names(page).get(link[2], link[2]) if page else link[2]
    return f"]({link[1]}.md#{name})"


def configuration(language: str, pages: Path, target: Path) -> dict[str, Any]:
    index = documents.read(documents.INDEX, language)
    groups: dict[str, list[dict[str, str]]] = {}
    for entry in documents.entries(index) if index else ():
        page = documents.read(entry.topic, language)
        groups.setdefault(entry.group, []).append({page.title if page else entry.topic: f"{entry.topic}.md"})
    english = language == documents.ENGLISH
    search_languages = list(dict.fromkeys([THEME_LANGUAGES[language], "en"]))
    links = ("./", "./zh-CN/") if english else ("../", "./")
    return {
        "strict": True,
        "site_name": "livectl",
        "site_url": ADDRESS if english else f"{ADDRESS}{language}/",
        "site_description": "Run Celery well, and know which of the streamers you follow is live.",
        "copyright": f'<a href="{REPOSITORY}">{REPOSITORY}</a>',  # as repo_url, each visitor would ask its API
        "docs_dir": str(pages),
        "site_dir": str(target if english else target / language),
        "nav": [{HOME[language]: "index.md"}, *({group: entries} for group, entries in groups.items())],
        "validation": {"anchors": "warn", "omitted_files": "warn", "unrecognized_links": "warn"},
        "plugins": [{"search": {"lang": search_languages, "separator": WORD_ENDS}}],
        "markdown_extensions": [
            "tables",
            "sane_lists",
            "pymdownx.superfences",
            {"pymdownx.highlight": {"use_pygments": True}},
            {"toc": {"slugify": lambda heading, _: documents.slug(heading), "permalink": True}},
        ],
        "theme": theme(language),
        "extra": {
            "alternate": [
                {"name": name, "link": link, "lang": code}
                for (code, name), link in zip(NAMES.items(), links, strict=True)
            ]
        },
    }


def theme(language: str) -> dict[str, Any]:
    return {
        "name": "material",
        "language": THEME_LANGUAGES[language],
        "font": False,  # those of the reader's machine: a page asks nobody else
        "features": ["navigation.sections", "navigation.top", "content.code.copy", "search.highlight"],
        "palette": [
            {
                "media": "(prefers-color-scheme: light)",
                "scheme": "default",
                "primary": "teal",
                "toggle": {"icon": "material/weather-night", "name": "Dark"},
            },
            {
                "media": "(prefers-color-scheme: dark)",
                "scheme": "slate",
                "primary": "teal",
                "toggle": {"icon": "material/weather-sunny", "name": "Light"},
            },
        ],
    }


if __name__ == "__main__":
    main()
