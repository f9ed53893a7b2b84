from __future__ import annotations

import pytest

from livectl.suggestions import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("swep", ["digest", "sweep"], "sweep"),
        ("EUROPE/PARI", ["Europe/Paris", "Europe/Rome"], "Europe/Paris"),
        ("celery", ["CELERY"], "CELERY"),
        ("x", ["sweep"], None),
        ("sweep", [], None),
    ],
)
def test_nearest(word: str, known: list[str], expected: str | None) -> None:
    assert nearest(word, known) == expected


def test_a_higher_cutoff_finds_less() -> None:
    assert nearest("sweap", ["sweep"]) == "sweep"
    assert nearest("sweap", ["sweep"], cutoff=0.9) is None


def test_did_you_mean() -> None:
    assert did_you_mean("swep", ["sweep"]) == "did you mean sweep?"
    assert did_you_mean("x", ["sweep"]) == ""
