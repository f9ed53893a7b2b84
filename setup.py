"""Puts the manual page beside the program. All that does not need to be made is in setup.cfg."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
PAGE = Path("build", "man", "livectl.1")


def build_manual() -> list[tuple[str, list[str]]]:
    """Makes the page from the help, and says where it goes. Without Click, in a build that is not isolated, none is."""
    sys.path.insert(0, str(ROOT))
    try:
        from livectl.manual import render_manual
    except ImportError:
        return []
    (ROOT / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / PAGE).write_text(render_manual(), encoding="utf-8")
    return [("share/man/man1", [str(PAGE)])]


setup(data_files=build_manual())
