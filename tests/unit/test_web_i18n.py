"""The table of strings: complete, alike in both languages, and all of it used."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

from livectl.models import JobState, State
from livectl.web import i18n
from livectl.web.times import NearTimeFormatter

WEB = Path(i18n.__file__).parent
ENGLISH, CHINESE = i18n.sentences("en"), i18n.sentences("zh-Hans")
SOURCES = "".join(path.read_text() for path in [*WEB.glob("*.py"), *WEB.rglob("*.html")])
SAME_IN_BOTH = re.compile(r"platform_name_|thousand|million|myriad")
# keys that the code puts together
MADE = (
    "change_",
    "outcome_",
    "level_",
    "language_",
    "said_",
    "state_",
    "job_",
    "platform_name_",
    "kind_",
    "error_",
    "unknown_streamer",
    "unknown_job",
    "unknown_letter",
)
MINUTE, HOUR, DAY = 60, 3600, 86_400


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_both_languages_say_the_same() -> None:
    assert list(ENGLISH) == list(CHINESE)
    for key, english in ENGLISH.items():
        chinese = CHINESE[key]
        assert fields(english) == fields(chinese), key
        assert english, key
        assert chinese, key
        assert SAME_IN_BOTH.match(key) or re.search("[一-鿿]", chinese), key


def test_every_string_is_used_and_every_string_used_is_there() -> None:
    used = set(re.findall(r"""(?:\bt|\b_?translate|self)\(\s*['"](\w+)['"]\s*[,)]""", SOURCES))
    lists = re.findall(r"(?:table\('[\w-]+', |tabs\(|in )\[(.*?)\]", SOURCES)
    listed = {name for names in lists for name in re.findall(r"'(\w+)'", names)} & set(ENGLISH)
    assert used | listed <= set(ENGLISH)
    assert {key for key in ENGLISH if not key.startswith(MADE)} <= used | listed


def test_every_error_has_a_next_step() -> None:
    errors = {key for key in ENGLISH if key.startswith("error_") and not key.endswith("_text")}
    assert {f"{key}_text" for key in errors} == {key for key in ENGLISH if key.startswith("error_")} - errors
    assert {"error_404", "error_405", "error_411", "error_413", "error_500", "error_other"} <= errors


def test_every_state_has_a_word() -> None:
    assert {f"job_{state}" for state in JobState} <= set(ENGLISH)
    assert {key: ENGLISH[key] for key in ENGLISH if key.startswith("state_")} == {
        f"state_{state}": state.words for state in State
    }


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "just now", "刚刚"),
        (59, "just now", "刚刚"),
        (MINUTE, "1 min ago", "1 分钟前"),
        (HOUR + 59, "1 h ago", "1 小时前"),
        (HOUR * 5 + 1800, "5 h ago", "5 小时前"),
        (DAY * 1.5, "36 h ago", "36 小时前"),
        (DAY * 12, "12 days ago", "12 天前"),
        (DAY * 100, "3 months ago", "3 个月前"),
    ],
)
def test_times_are_told_roughly(seconds: float, english: str, chinese: str) -> None:
    assert i18n.translations_for("en").ago(seconds) == english
    assert i18n.translations_for("zh-Hans").ago(seconds) == chinese


@pytest.mark.parametrize(
    ("number", "english", "chinese"),
    [
        (0, "0", "0"),
        (1234, "1,234", "1234"),
        (12_345, "12.3K", "1.2万"),
        (20_000, "20K", "2万"),
        (1_284_301, "1.3M", "128.4万"),
    ],
)
def test_viewers_are_counted_as_people_count(number: int, english: str, chinese: str) -> None:
    assert i18n.translations_for("en").count(number) == english
    assert i18n.translations_for("zh-Hans").count(number) == chinese


@pytest.mark.parametrize(
    ("seconds", "past", "coming"),
    [
        (-100.0, "1 min ago", "any moment"),
        (-3.0, "3 s ago", "any moment"),
        (0.0, "just now", "any moment"),
        (0.4, "just now", "any moment"),
        (90.0, "just now", "in 1 min"),  # told by a server whose clock is ahead
    ],
)
def test_what_has_been_is_never_ahead(seconds: float, past: str, coming: str) -> None:
    clock = NearTimeFormatter(i18n.translations_for("en"), 1e9, "UTC")
    for words, time in ((past, clock.past(1e9 + seconds)), (coming, clock.coming(1e9 + seconds))):
        assert time
        assert time.words == words
    assert clock.past(None) is clock.coming(None) is None


def test_a_language_that_is_unknown_broken_or_lacks_a_sentence_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "languages"
    folder.mkdir()
    for language, text in {
        "en": (WEB / "languages" / "en.json").read_bytes(),
        "fr": b'{"live": "En direct", "ago": "il y a {temps}", "days": 7}',  # the number spoils it
        "de": b'{"live": "Live", "nobody": "Niemand", "ago": "vor {dauer}", "viewers": "{count", "jobs": "{0.x}"}',
        "it": b'{"live": "In dir',
        "es": b"\xff\xfe",
    }.items():
        (folder / f"{language}.json").write_bytes(text)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    for kept in (i18n.sentences, i18n.languages, i18n._translations):
        kept.cache_clear()
        monkeypatch.setattr(i18n, kept.__name__, cache(kept.__wrapped__))
    assert i18n.languages() == ("en", "de")
    german = i18n.translations_for("de-AT")
    assert (german("nobody"), german("apply"), german("viewers", count=3)) == ("Niemand", "Apply", "3 viewers")
    assert (german.ago(7200), german("no_such_key")) == ("2 h ago", "no such key")
    for unknown in ("fr", "it", "tlh", "", None, "../en"):
        assert i18n.translations_for(unknown)("live") == "Live"
