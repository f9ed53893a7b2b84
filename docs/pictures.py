"""Makes the pictures of README.md from the demo: `make pictures`. It needs Chromium, and no network.

The page as Chromium shows it, and a terminal with the commands of the first minutes, from their own output.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FOLDER = Path(__file__).parent / "pictures"
LIVECTL = (sys.executable, "-m", "livectl")
FOLLOWED = ("ada", "grace", "linus", "margaret", "dennis", "barbara", "ken", "edsger", "radia", "vint")
TERMINAL_CHARS = 88
PAGE_SIZE = "1280,560"
START_S, LIVE_S = 60, 90
# The colours of a dark terminal: background, foreground, then the eight and the eight bright ones.
COLOURS = [
    (0, 0, 0),
    (224, 108, 117),
    (152, 195, 121),
    (229, 192, 123),
    (97, 175, 239),
    (198, 120, 221),
    (86, 182, 194),
]
THEME = TerminalTheme((30, 34, 42), (220, 223, 228), [*COLOURS, (220, 223, 228)], [*COLOURS, (255, 255, 255)])
COMMANDS = (("live",), ("schedules", "list"), ("workers",), ("doctor",))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lv-") as folder:
        demo = Demo(Path(folder))
        demo.run("init", must_do=True)
        demo.run("follow", "add", "--no-ask", *(f"demo/{name}" for name in FOLLOWED))
        try:
            demo.run("up", "--detach", must_do=True)
            demo.wait_until_live()
            (FOLDER / "terminal.svg").write_text(draw_terminal(demo), encoding="utf-8")
            demo.photograph(FOLDER / "page.png")
        finally:
            demo.run("stop", "--now")


class Demo:
    """livectl in a folder and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "watch"
        self._folder.mkdir()
        keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        self._environ = {**keep, "HOME": str(folder), "COLUMNS": str(TERMINAL_CHARS), "FORCE_COLOR": "1"}

    def run(self, *words: str, must_do: bool = False) -> str:
        ran = subprocess.run(
            [*LIVECTL, *words],
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
            check=must_do,
            timeout=START_S,
        )
        return ran.stdout

    def wait_until_live(self) -> None:
        """Until everybody was asked, and the page has had a moment to read it."""
        for _ in range(LIVE_S):
            if "not asked yet" not in self.run("live", "--all"):
                break
            time.sleep(1)
        time.sleep(2)

    def photograph(self, path: Path) -> None:
        browser = shutil.which("chromium") or "chromium-browser"
        argv = [browser, "--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={PAGE_SIZE}"]
        argv += [f"--user-data-dir={self._folder / 'profile'}", f"--screenshot={path}"]
        page = json.loads(self.run("--json"))["page"]
        subprocess.run([*argv, page], capture_output=True, check=True, timeout=START_S)


def draw_terminal(demo: Demo) -> str:
    """The commands and what they answer, as an SVG that needs no font but the reader's."""
    console = Console(file=StringIO(), width=TERMINAL_CHARS, record=True, force_terminal=True, color_system="truecolor")
    for words in COMMANDS:
        console.print(Text(f"$ livectl {' '.join(words)}", style="bold"))
        console.print(Text.from_ansi(demo.run(*words).rstrip()))
    picture = console.export_svg(title="livectl", theme=THEME)
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    return re.sub(r"terminal-\d+", "terminal", picture)


if __name__ == "__main__":
    main()
