"""Checks what the house rules say of names and sizes: one class a name, nothing too long to read at once."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "livectl"
MAX_FILE_LINES = 450  # about 400; a few more beat a split in the middle of a concept
MAX_FUNCTION_LINES = 50
VAGUE_NAMES = {"utils", "util", "helpers", "common", "misc", "core"}


def main() -> int:
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    problems = [*doubled_classes(trees), *unread_files(trees), *long_functions(trees)]
    print("\n".join(problems) or "The house rules are kept.")
    return 1 if problems else 0


def doubled_classes(trees: dict[Path, ast.Module]) -> Iterator[str]:
    places = defaultdict(list)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    for name, lines in places.items():
        if len(lines) > 1:
            yield f"{lines[0]}: class {name} stands in {', '.join(lines[1:])}, too"


def unread_files(trees: dict[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        name, lines = path.relative_to(ROOT), len(path.read_text().splitlines())
        if lines > MAX_FILE_LINES:
            yield f"{name}:1: {lines} lines; {MAX_FILE_LINES} are allowed"
        if not ast.get_docstring(tree):
            yield f"{name}:1: no docstring says why the file exists"
        if path.stem in VAGUE_NAMES:
            yield f"{name}:1: a name that says nothing"


def long_functions(trees: dict[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines"


if __name__ == "__main__":
    sys.exit(main())
