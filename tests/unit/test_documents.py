"""`livectl docs`: the pages of docs/, their sections and languages, in a terminal and for programs."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from livectl import cli, documents, reference
from livectl.commands import docs
from livectl.completing import complete_section
from livectl.context import CommandContext
from livectl.render import TextFormat, cell_width
from livectl.settings import FileSettings, PlatformSettings, Target, Up, Web, Worker

if TYPE_CHECKING:
    import msgspec

ROOT = Path(__file__).parents[2]
PAGE = """# A page

<!-- made by a script -->
![A picture](picture.png)

## First part

    # no heading

```yaml
# no heading either
```

### Below it

See [the worker](worker.md#how-it-stops), [here](#second) and [their site](https://example.org).

## Second part: `more`

The end.
"""


def run(*argv: str, **environ: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = cli.main(["docs", *argv], CommandContext(environ, Path.cwd(), out, err))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("language", documents.LANGUAGES)
def test_each_page_stands_in_the_index_once(language: str) -> None:
    index = documents.read(documents.INDEX, language)
    assert index
    named = [entry.topic for entry in documents.entries(index)]
    assert sorted(named) == documents.topics()
    assert all(entry.group for entry in documents.entries(index))
    code, out, _ = run("--lang", language)
    assert code == 0
    for topic in named:
        assert re.search(rf"^  {topic} ", out, re.MULTILINE)


def test_a_section_goes_on_to_the_next_of_its_level() -> None:
    page = documents.Page("page", "en", PAGE)
    assert page.title == "A page"
    assert list(page.sections()) == ["a-page", "first-part", "below-it", "second-part-more"]
    assert (page.section("First part") or "").count("\n##") == 1
    assert (page.section("second-part-more") or "").endswith("The end.\n")
    assert page.section("third") is None


def test_a_terminal_is_shown_words_and_no_signs() -> None:
    for width in (40, 80, 200):
        lines = docs.Rendered(PAGE).lines(TextFormat(width))
        assert max(map(cell_width, lines)) <= min(width, docs.MAX_WIDTH_CHARS)
    text = "\n".join(lines)
    assert "# no heading" in text
    assert "made by a script" not in text
    assert "picture" not in text
    assert "See the worker, here and their site (https://example.org)." in text
    assert lines[-1] == "livectl docs worker"
    assert "\x1b" not in text
    assert "\x1b" in "\n".join(docs.Rendered(PAGE).lines(TextFormat(80, colour=True)))


@pytest.mark.parametrize("language", documents.LANGUAGES)
@pytest.mark.parametrize("topic", documents.topics())
def test_each_page_fits_a_terminal(topic: str, language: str) -> None:
    page = documents.read(topic, language)
    assert page
    lines = docs.Rendered(page.text).lines(TextFormat(80))
    assert max(map(cell_width, lines)) <= 80
    assert "".join(lines).count("…") == LEFT_OUT.sub("", page.text).count("…"), "something was cut"


LEFT_OUT = re.compile(r"<!--.*?-->|!\[.*?\]", re.DOTALL)


def test_chinese_is_broken_between_its_signs_and_loses_none() -> None:
    table = "| 键 | 值 |\n| - | - |\n| 甲 | 没有空格的一长句话不会截断 |"
    page = f"在 `livectl.yaml` 里写明要在哪里收到提醒\u3002然后试一下\n\n{table}\n"
    lines = docs.Rendered(page).lines(TextFormat(20))
    assert lines[:3] == ["在 livectl.yaml 里写", "明要在哪里收到提醒\u3002", "然后试一下"]
    assert "".join(lines).replace(" ", "").endswith("甲没有空格的一长句话不会截断")


class Screen(io.StringIO):
    """A terminal of which nothing is known."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def test_a_pager_shows_what_a_terminal_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[str] = []
    monkeypatch.setattr(click, "echo_via_pager", paged.append)
    for words, is_long in ((["worker"], True), (["doctor", "queue-unread"], False)):
        out = Screen()
        assert cli.main(["docs", *words], CommandContext({}, Path.cwd(), out, io.StringIO())) == 0
        assert bool(out.getvalue()) is not is_long
    assert "\x1b[" in paged[0]
    assert len(paged) == 1


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh-CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW", "LANG": "C"}, "zh-CN"),
    ],
)
def test_the_language_is_that_of_the_locale(environ: dict[str, str], language: str) -> None:
    assert documents.reader_language(environ) == language


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["alrets"], "Did you mean alerts?"),
        (["visibility_timeout"], "It is spoken of in doctor, "),
        (["qqq"], "`livectl docs` lists them."),
        (["exit-codes", "nothing"], "It has exit-codes."),
    ],
)
def test_what_is_not_there_is_said_with_what_is(argv: list[str], hint: str) -> None:
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert hint in err


def test_a_page_that_is_not_translated_is_shown_in_english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "zh-CN").mkdir()
    (tmp_path / "start.md").write_text("# Start\n")
    (tmp_path / "more.md").write_text("# More\n")
    (tmp_path / "zh-CN" / "start.md").write_text("# 开始\n", encoding="utf-8")
    monkeypatch.setattr(documents, "folder", lambda: tmp_path)
    assert run("start", LANG="zh_CN.UTF-8") == (0, "开始\n", "")
    assert run("start", "--lang", "en", LANG="zh_CN.UTF-8") == (0, "Start\n", "")
    assert run("more", LANG="zh_CN.UTF-8") == (0, "More\n", "more is there in English only.\n")
    wanted = {"topic": "start", "language": "zh-CN", "title": "开始", "text": "# 开始\n"}
    assert json.loads(run("start", "--lang", "zh-CN", "--json")[1]) == wanted


def test_a_section_is_found_by_its_english_name_in_every_language(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "zh-CN").mkdir()
    (tmp_path / "start.md").write_text("# Start\n\n## The end\n\nWell.\n")
    (tmp_path / "zh-CN" / "start.md").write_text("# 开始\n\n## 结尾\n\n好。\n", encoding="utf-8")
    monkeypatch.setattr(documents, "folder", lambda: tmp_path)
    for name in ("the-end", "The end", "结尾"):
        assert run("start", name, "--lang", "zh-CN") == (0, "结尾\n\n好。\n", "")
    assert run("start", "beginning", "--lang", "zh-CN")[0] == 2


def test_sections_are_completed_after_their_page() -> None:
    context = click.Context(docs.command)
    context.params = {"topic": "doctor"}
    assert [item.value for item in complete_section(context, docs.command.params[1], "queue-u")] == ["queue-unread"]
    context.params = {"topic": "nothing"}
    assert complete_section(context, docs.command.params[1], "") == []


@pytest.mark.parametrize("language", documents.LANGUAGES)
def test_doctor_leads_to_a_section_of_each_finding(language: str) -> None:
    page = documents.read("doctor", language)
    assert page
    assert set(re.findall(r'id="([a-z-]+)"', _doctor_source())) <= set(page.sections())


def _doctor_source() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "livectl" / "doctor").glob("checks_*.py"))


SENTENCE = re.compile(r"livectl docs ([a-z-]+)(?: ([a-z-]+))?`")


def test_each_page_that_a_message_names_is_there() -> None:
    sources = {path: path.read_text() for path in (ROOT / "livectl").rglob("*") if path.suffix in {".py", ".yaml"}}
    named = {match.groups() for text in sources.values() for match in SENTENCE.finditer(text)}
    assert len(named) > 3
    for topic, section in named:
        page = documents.read(topic, documents.ENGLISH)
        assert page, topic
        assert not section or section in page.sections(), (topic, section)


def test_each_message_of_the_faq_is_in_the_code() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "livectl").rglob("*.py"))
    for language in documents.LANGUAGES:
        page = documents.read("faq", language)
        assert page
        messages = re.findall(r"^### `(.+)`$", page.text, re.MULTILINE)
        assert len(messages) > 20
        for message in messages:
            parts = [part.strip(" :()") for part in re.split(r"\b[A-Z]{4,}\b", message.replace("livectl.yaml", ""))]
            assert [part for part in parts if part not in source] == [], message


def test_what_the_code_knows_better_is_as_the_code_says() -> None:
    stale = [path for path, text in reference.renewed_files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "`make reference` renews them"


@pytest.mark.parametrize("struct", [Target, PlatformSettings, Web, Up, Worker, FileSettings])
def test_each_setting_says_beside_it_what_it_does(struct: type[msgspec.Struct]) -> None:
    meanings = reference.setting_meanings(struct)
    assert {name for name in struct.__struct_fields__ if not meanings[name]} == set()


def test_a_sentence_that_is_not_translated_stays_english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "zh-CN").mkdir()
    (tmp_path / "zh-CN" / "reference.json").write_text('{"code": "代码", "gone": "没有了"}', encoding="utf-8")
    monkeypatch.setattr(documents, "folder", lambda: tmp_path)
    words = reference.Words("zh-CN")
    page = reference.renew("<!-- from the code: exit-codes -->\nold\n<!-- end -->\nmine\n", words)
    assert "| 代码 | means | what to do |" in page
    assert "old" not in page
    assert page.endswith("<!-- end -->\nmine\n")
    (kept,) = (json.loads(text) for text in words.files().values())
    assert (kept["code"], kept["means"]) == ("代码", "")
    assert "gone" not in kept


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    ran = subprocess.run(
        [sys.executable, "-m", "docs.site", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for language in ("", "zh-CN/"):
        assert (tmp_path / "site" / language / "search" / "search_index.json").stat().st_size > 10_000
        assert "fonts.googleapis.com" not in (tmp_path / "site" / language / "index.html").read_text()
