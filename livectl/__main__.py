"""Runs livectl as a process: takes the real arguments, ends with the exit code."""

from __future__ import annotations

import sys

from livectl.cli import main


def run() -> None:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
