"""Reads a Python source file: its bytes, its text, its tree, and the offset of each node in the text."""

from __future__ import annotations

import bisect
import contextlib
import io
import re
import tokenize
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING

import libcst as cst
from libcst._nodes.internal import CodegenState
from msgspec import Struct

from livectl.errors import FileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

# A settings file is thousands of bytes. For a file of this size LibCST needs about two seconds and 400 MB.
MAX_SOURCE_BYTES = 2_000_000
LINE_END = re.compile(r"\r\n|\r|\n")

NULL_CONTEXT = contextlib.nullcontext()
_QUIET_FIELDS = {"lpar", "rpar", "leading_lines", "header", "footer", "semicolon", "equal", "comma", "dot", "operator"}
_SEQUENCES = {list, tuple}
_is_node_by_type: dict[type, bool] = {}
_field_names_by_type: dict[type, tuple[str, ...]] = {}


class TextEdit(Struct, frozen=True, order=True):
    """Text that replaces other text, from offset `start` up to `end`."""

    start: int
    end: int
    text: str


class SourceFile:
    """One file, read once. Offsets count characters of `text`, which has no byte order mark."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.encoding, self.text = _decode(path, data)
        self._offsets: dict[cst.CSTNode, int] = {}

    @cached_property
    def tree(self) -> cst.Module:
        try:
            return cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            message = error.message.partition("\n")[0].removeprefix("parser error: ")
            raise _file_error(
                self.path, error.raw_line, error.raw_column + 1, f"not valid Python: {message}"
            ) from error

    def start(self, node: cst.CSTNode) -> int:
        if not self._offsets:
            state = _OffsetRecorder(default_indent=self.tree.default_indent, default_newline=self.tree.default_newline)
            self.tree._codegen(state)
            self._offsets = state.offsets
        return self._offsets[node]

    def forget_tree(self) -> None:
        """Frees the tree, which takes a thousand times the memory of the text."""
        self.__dict__.pop("tree", None)
        self._offsets = {}

    def line(self, offset: int) -> int:
        return bisect.bisect_right(self._line_starts, offset)

    def line_span(self, offset: int, until: int) -> tuple[int, int]:
        """From the start of the line with `offset` to the end of the line with `until`, its line end included."""
        first, last = self.line(offset) - 1, self.line(until)
        end = self._line_starts[last] if last < len(self._line_starts) else len(self.text)
        return self._line_starts[first], end

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in LINE_END.finditer(self.text))]

    def apply_edits(self, edits: Iterable[TextEdit]) -> bytes:
        """The bytes of the file with the edits made; all else stays as it is."""
        pieces, position = [], 0
        for edit in sorted(set(edits)):
            pieces += [self.text[position : edit.start], edit.text]
            position = edit.end
        pieces.append(self.text[position:])
        return "".join(pieces).encode(self.encoding)


class _OffsetRecorder(CodegenState):
    """Counts the text before each node while LibCST writes the tree out."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent=default_indent, default_newline=default_newline)
        self.written = 0
        self.offsets: dict[cst.CSTNode, int] = {}

    def add_token(self, value: str) -> None:
        self.written += len(value)

    def add_indent_tokens(self) -> None:
        self.written += sum(map(len, self.indent_tokens))

    def record_syntactic_position(  # type: ignore[override]
        self, *_: object, **__: object
    ) -> AbstractContextManager[None]:
        return NULL_CONTEXT

    def before_codegen(self, node: cst.CSTNode) -> None:
        self.offsets[node] = self.written


def _decode(path: Path, data: bytes) -> tuple[str, str]:
    if len(data) > MAX_SOURCE_BYTES:
        raise _file_error(path, 1, 1, f"{len(data) / 1e6:.1f} MB: too large to be settings; not read")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise _file_error(path, 1, 1, "not text in the encoding it declares (UTF-8 if none)") from error
    if "\0" in text:
        raise _file_error(path, 1, 1, "holds NUL bytes: not Python")
    return encoding, text


def _file_error(path: Path, line: int, column: int, text: str) -> FileError:
    return FileError([Mistake(str(path), line, column, text, "left as it is")])


def child_nodes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The children of a node without white space, in an order that suits scopes."""
    kind = type(node)
    names = _field_names_by_type.get(kind)
    if names is None:
        names = tuple(
            field.name for field in fields(node) if "whitespace" not in field.name and field.name not in _QUIET_FIELDS
        )
        _field_names_by_type[kind] = names
    for name in names:
        value = getattr(node, name)
        if type(value) in _SEQUENCES:
            yield from (item for item in value if _is_node(type(item)))
        elif _is_node(type(value)):
            yield value


def _is_node(kind: type) -> bool:
    is_node = _is_node_by_type.get(kind)  # asking a class once is much cheaper than asking every node
    if is_node is None:
        is_node = _is_node_by_type[kind] = issubclass(kind, cst.CSTNode)
    return is_node


def plain_text(node: cst.CSTNode | None) -> str | None:
    """The text of a string literal that is written out: one piece, no escapes, not bytes, not raw."""
    if not isinstance(node, cst.SimpleString) or node.prefix or "\\" in node.value:
        return None
    return node.raw_value


def plain_texts(node: cst.CSTNode) -> Iterator[str]:
    """Every plain text under a node, the node itself included."""
    text = plain_text(node)
    if text:
        yield text
    for child in child_nodes(node):
        yield from plain_texts(child)


def dotted_name(node: cst.CSTNode | None) -> str:
    """`a.b.c` of nested attributes; empty for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        parent = dotted_name(node.value)
        return f"{parent}.{node.attr.value}" if parent else ""
    return ""


def last_name(node: cst.CSTNode) -> str:
    """`c` of `a.b.c`, whatever `a.b` is; empty for anything else."""
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""
