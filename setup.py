"""Puts the manual page beside the program, and the documents into the package. All else is in setup.cfg."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PAGE = Path("build", "man", "livectl.1")


class BuildWithDocuments(build_py):
    """Adds docs/ as livectl/docs, where `livectl docs` looks; in the repository it finds the folder itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for path in (ROOT / "docs").rglob("*.md"):
            target = Path(self.build_lib, "livectl", "docs", path.relative_to(ROOT / "docs"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


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


setup(data_files=build_manual(), cmdclass={"build_py": BuildWithDocuments})
