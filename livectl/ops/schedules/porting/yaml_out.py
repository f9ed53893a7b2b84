"""Imported entries as the text of a schedules.yaml, read back before it is believed."""

from __future__ import annotations

import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livectl.errors import FileError
from livectl.ops.schedules import schedulefile
from livectl.ops.schedules.porting.brought import Export, LeftOut
from livectl.quantity import SECONDS

if TYPE_CHECKING:
    from livectl.ops.schedules.porting.brought import Entry, Import

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
RESERVED = {"true", "false", "null"}
UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")  # YAML breaks lines at some of these, and refuses others
WHOLE_UNITS = ("d", "h", "m")


def text(found: Import) -> Export:
    """Entries that do not read back as they are said join what is left out."""
    sayable = []
    for entry in found.entries:
        why = _refused(found.timezone, entry)
        if why:
            found.left.append(LeftOut(name=entry.name, line=entry.line, why=why))
        else:
            sayable.append(entry)
    found.entries = sayable
    found.left.sort(key=lambda left: left.line)
    return Export(_text(found), found.left)


def _text(found: Import) -> str:
    zone = [f"timezone: {scalar(found.timezone)}"] if found.timezone != "UTC" else []
    lines = [f"# From {found.origin}, by livectl schedules import.", *zone]
    lines += ["schedules:" if found.entries else "schedules: {}"]
    for entry in found.entries:
        lines += [f"  {line}" for line in _entry(entry)]
    for left in found.left:
        lines.append(f"# left out: {where(left)}: {left.why}".replace("\n", " "))
    return "\n".join(lines) + "\n"


def where(left: LeftOut) -> str:
    return f"{json.dumps(left.name)} in line {left.line}" if left.line else json.dumps(left.name)


def _entry(entry: Entry) -> list[str]:
    comments = [f"# {UNSAFE.sub(' ', comment)}" for comment in entry.comments]
    keys = [f"  {key}: {_value(key, value)}" for key, value in entry.keys.items()]
    return [*comments, f"{scalar(entry.name)}:", *keys]


def _value(key: str, value: Any) -> str:
    if key == "every":
        return duration(value)
    return flow(value)


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN_NAME.fullmatch(value) and value.lower() not in RESERVED:
        return value
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def duration(seconds: float) -> str:
    """In the largest unit that it is a whole number of."""
    for unit in WHOLE_UNITS:
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{int(seconds / SECONDS[unit])}{unit}"
    return f"{Decimal(repr(seconds)).normalize():f}s"  # never 1e+06


def _refused(zone: str, entry: Entry) -> str:
    """What our own reader has against an entry; nothing, if it understands exactly what was meant."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.yaml"
        lines = [f"timezone: {scalar(zone)}", "schedules:", *(f"  {line}" for line in _entry(entry))]
        try:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            [read] = schedulefile.load(path).schedules
        except FileError as error:
            first = error.mistakes[0]
            return f"{first.text} ({first.hint})" if first.hint else first.text
        except UnicodeEncodeError:
            return "holds half a letter, which no file can"
    meant = (entry.name, entry.keys["task"], entry.keys.get("args", []), entry.keys.get("kwargs", {}))
    return "" if meant == (read.name, read.task, list(read.args), read.kwargs) else "reads back as something else"
