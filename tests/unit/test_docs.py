"""What the documents say of the code is so: each file and name that the map and the glossary give is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))


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
    assert len(named) > 5
    assert [link for link in sorted(named) if not _leads_somewhere(ROOT / "docs" / "x", *link)] == []
