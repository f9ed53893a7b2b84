"""What the documents say of the code is so: each file and name that the map and the glossary give is there."""

from __future__ import annotations

import re
import textwrap
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from livectl import documents
from livectl.cli import root
from livectl.models import State

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "livectl"
FILE = re.compile(r"`(?:livectl/)?([a-z_/]+(?:\.py|/))`")


def _named_files(document: str) -> list[str]:
    return sorted(set(FILE.findall((ROOT / document).read_text())))


@pytest.mark.parametrize(
    ("document", "name"),
    [(document, name) for document in ("docs/architecture.md", "docs/glossary.md") for name in _named_files(document)],
)
def test_each_file_of_the_map_is_there(document: str, name: str) -> None:
    assert (PACKAGE / name).exists(), f"{document} names {name}"


def test_each_name_of_the_glossary_is_in_its_file() -> None:
    pairs = re.findall(r"`(livectl/[a-z_/]+\.py)` `(\w+)`", (ROOT / "docs/glossary.md").read_text())
    assert len(pairs) > 10
    assert [
        pair
        for pair in pairs
        if not re.search(rf"^(class|def) {pair[1]}\b", (ROOT / pair[0]).read_text(), re.MULTILINE)
    ] == []


def test_the_package_layers_of_the_map_are_those_of_the_contract() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    packages = {
        path.name for wing in ("ops", "live") for path in (PACKAGE / wing).iterdir() if (path / "__init__.py").exists()
    }
    assert [name for name in sorted(packages) if f"{name}/" not in text] == []


def test_the_glossary_has_each_state_in_its_words() -> None:
    states = (ROOT / "docs/glossary.md").read_text().partition("### States")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in states.splitlines() if line.startswith("| ")]
    words = {value: word for cells in rows for value in re.findall("`([a-z_]+)`", cells[1]) for word in [cells[0][2:]]}
    for state in State:
        assert state.words in words[state].split(", "), state


DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_file_and_section_that_a_document_names_is_there(document: str) -> None:
    path = ROOT / document
    text = path.read_text()
    files = set(re.findall(r"`((?:tests|livectl|benchmarks|docs)/[\w./]+\.(?:py|md))`", text))
    assert [name for name in sorted(files) if "NAME" not in name and not (ROOT / name).exists()] == []
    links = re.findall(r"\]\((?!https?:)([\w./-]*)(?:#([\w-]+))?\)", text)
    assert [link for link in links if not _leads_somewhere(path, *link)] == []


def _leads_somewhere(document: Path, name: str, section: str) -> bool:
    target = document.parent / name if name else document
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if section else []
    return not section or section in {re.sub(r"[^\w -]", "", words).lower().replace(" ", "-") for words in headings}


def test_each_document_that_the_code_names_is_there() -> None:
    named = {
        link
        for path in PACKAGE.rglob("*.py")
        for link in re.findall(r"docs/([\w-]+\.md)(?:#([\w-]+))?", path.read_text())
    }
    assert named
    assert [link for link in sorted(named) if not _leads_somewhere(ROOT / "docs" / "x", *link)] == []


MENTION = re.compile(
    r"`livectl( [^`]*)`|^ {4}(?:\$ )?livectl( .*)$|ExecStart=\S*livectl( .*)$|CMD livectl( .*)$", re.MULTILINE
)
GLOBAL_VALUES = ("-A", "--app", "--config")  # options before a command that take a word


def _mentions(document: str) -> list[list[str]]:
    """The words of each call of livectl that a document shows; what is a note beside it or a pipe is left off."""
    found = ["".join(groups) for groups in MENTION.findall((ROOT / document).read_text())]
    lines = [re.split(r"  #|   | \|\| | > | \| |\[-", line)[0].replace("\n", " ") for line in found]
    return [line.split() for line in lines]


def _unknown_word(words: list[str]) -> str | None:
    """The first word that is no command or no option of the command; None where all are known."""
    command: click.Command = root
    context = click.Context(root)
    position = 0
    while position < len(words) and words[position] != "--":
        word = words[position].strip("[](),;:…")
        position += 1
        if word in GLOBAL_VALUES:
            position += 1
        elif word.startswith("-"):
            options = {
                name
                for parameter in command.get_params(context)
                for name in (*parameter.opts, *parameter.secondary_opts)
            }
            if word.partition("=")[0] not in options | {"-h", "--help"}:
                return word
        elif isinstance(command, click.Group) and word.isalpha() and word.islower():
            child = command.get_command(context, word)
            if child is None:
                return word
            command = child
    return None


# What was once, and what the code writes itself: its examples are tried in test_cli.py.
WITHOUT_MENTIONS = {"CHANGELOG.md", "docs/commands.md", "docs/zh-CN/commands.md"}


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document not in WITHOUT_MENTIONS])
def test_each_command_and_option_that_a_document_shows_is_there(document: str) -> None:
    unknown = {" ".join(words): word for words in _mentions(document) if (word := _unknown_word(words))}
    assert unknown == {}


@pytest.mark.parametrize(
    ("line", "word"), [("-A p schedules lst", "lst"), ("call t 1 --soon", "--soon"), ("worker -B -- -E", None)]
)
def test_what_is_not_there_would_be_noticed(line: str, word: str | None) -> None:
    assert _unknown_word(line.split()) == word


TRANSLATED = [
    (language, path.stem)
    for language in documents.LANGUAGES
    if language != documents.ENGLISH
    for path in sorted((ROOT / "docs" / language).glob("*.md"))
]
IN_ENGLISH_ONLY = {"architecture"}  # for who works on livectl
CODE = re.compile(r"^```[\s\S]*?^```$|(?<=\n\n) {4}.*\n(?:(?: {4}.*)?\n)*", re.MULTILINE)
COMMENT = re.compile(r"(^|(?<=\s))# .*$", re.MULTILINE)


class Part(NamedTuple):
    """What a section holds that is the same in every language."""

    heading: str
    level: int
    commands: list[str]
    words: set[str]
    rows: int


def _parts(page: documents.Page) -> list[Part]:
    lines = page.text.splitlines(keepends=True)
    headings = list(page.headings())
    ends = [line for line, _, _ in headings[1:]] + [len(lines)]
    return [
        _part("".join(lines[begin + 1 : end]), level, heading)
        for (begin, level, heading), end in zip(headings, ends, strict=True)
    ]


def _part(text: str, level: int, heading: str) -> Part:
    blocks = (COMMENT.sub("#", line).rstrip() for block in CODE.findall(text) for line in block.splitlines())
    prose = CODE.sub("", text)
    words = {" ".join(word.split()) for word in re.findall(r"`([^`]+)`", f"{heading} {prose}")}
    return Part(heading, level, list(filter(None, blocks)), words, len(re.findall(r"^\|", prose, re.MULTILINE)))


def _unlike(english: Part | None, other: Part | None) -> list[str]:
    """How two sections differ that should say the same; translated are sentences, and comments in code."""
    if english is None or other is None:
        return [f"only here: # {english.heading}"] if english else [f"only there: # {other.heading}"] if other else []
    found = []
    if english.level != other.level:
        found.append(f"a heading of level {english.level} here, of level {other.level} there")
    if english.rows != other.rows:
        found.append(f"{english.rows} lines of tables here, {other.rows} there")
    for words, others in ((english.words, other.words), (english.commands, other.commands)):
        found += [f"only here: {word.strip()}" for word in sorted(set(words) - set(others))]
        found += [f"only there: {word.strip()}" for word in sorted(set(others) - set(words))]
    if not found and english.commands != other.commands:
        found.append("the same lines of code, in another order")
    return [f"{english.heading} / {other.heading}: {difference}" for difference in found]


def test_each_page_is_there_in_each_language() -> None:
    wanted = {documents.INDEX, *documents.topics()} - IN_ENGLISH_ONLY
    for language in documents.LANGUAGES[1:]:
        assert {topic for spoken, topic in TRANSLATED if spoken == language} == wanted


@pytest.mark.parametrize(("language", "topic"), TRANSLATED)
def test_a_page_says_the_same_in_each_language(language: str, topic: str) -> None:
    here, there = (documents.read(topic, spoken) for spoken in (documents.ENGLISH, language))
    assert here, f"there is no docs/{topic}.md of which docs/{language}/{topic}.md could be the translation"
    assert there
    pairs = list(zip_longest(_parts(here), _parts(there)))
    unlike = [line for pair in pairs for line in _unlike(*pair)]
    if unlike:
        title = f"docs/{topic}.md (here) and docs/{language}/{topic}.md (there): write in both what changed in one"
        pytest.fail("\n".join([title, *unlike]), pytrace=False)


@pytest.mark.parametrize(
    ("there", "difference"),
    [
        ("# T\n\n甲 `a`\n\n    livectl live  # 注\n", None),
        ("# T\n\n甲\n\n    livectl live\n", "only here: a"),
        ("# T\n\n甲 `a`\n\n    livectl live --all\n", "only here: livectl live  #"),
        ("## T\n\n甲 `a`\n\n    livectl live  # 注\n", "a heading of level 1 here, of level 2 there"),
        ("# T\n\n| `a` |\n\n    livectl live  # 注\n", "0 lines of tables here, 1 there"),
    ],
)
def test_what_a_language_lacks_would_be_noticed(there: str, difference: str | None) -> None:
    english = documents.Page("t", "en", "# T\n\nOne `a`\n\n    livectl live  # note\n")
    unlike = _unlike(*_parts(english), *_parts(documents.Page("t", "zh-CN", there)))
    assert unlike[:1] == ([f"T / T: {difference}"] if difference else [])


def _shown(text: str) -> list[str]:
    """Each command with its answer."""
    blocks = "\n".join(textwrap.dedent(block) for block in CODE.findall(text))
    return [part.rstrip() for part in re.split(r"^(?=\$ )", blocks, flags=re.MULTILINE) if part.startswith("$ ")]


def test_what_the_readme_shows_is_what_the_tried_pages_show() -> None:
    """tests/acceptance/test_first_hour.py tries those."""
    tried = [part for page in ("start", "any-app") for part in _shown((ROOT / "docs" / f"{page}.md").read_text())]
    shown = _shown((ROOT / "README.md").read_text())
    assert len(shown) > 4
    assert [part for part in shown if part.split("\n\n")[0] not in tried] == []


def test_the_readme_says_the_same_in_each_language() -> None:
    here, there = (
        documents.Page("README", language, (ROOT / name).read_text(encoding="utf-8"))
        for language, name in (("en", "README.md"), ("zh-CN", "README.zh-CN.md"))
    )
    assert [line for pair in zip_longest(_parts(here), _parts(there)) for line in _unlike(*pair)] == []
    pictures = [re.findall(r"\]\(([\w/.-]+\.(?:png|svg))\)", page.text) for page in (here, there)]
    assert pictures[0] == pictures[1] == [name for name in pictures[0] if (ROOT / name).exists()]
