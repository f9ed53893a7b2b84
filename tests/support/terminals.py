"""What a terminal would show of what a program wrote, as far as the board of `up` needs."""

from __future__ import annotations

import re

CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\]8;;.*?\x1b\\|[\r\n]")


def rows_of(written: str, columns: int) -> list[str]:
    """The rows of a terminal of this width: it knows the cursor going up, erasing to the end, colours and links."""
    rows, at, column, begin = [""], 0, 0, 0
    for match in [*CONTROL.finditer(written), None]:
        for letter in written[begin : match.start() if match else len(written)]:
            if column == columns:
                at, column = at + 1, 0
            rows += [""] * (at + 1 - len(rows))
            rows[at], column = rows[at][:column] + letter + rows[at][column + 1 :], column + 1
        if match is None:
            break
        begin = match.end()
        if match[0] == "\n":
            at, column = at + 1, 0
            rows += [""] * (at + 1 - len(rows))
        elif match[0] == "\r":
            column = 0
        elif match[2] == "A":
            at -= int(match[1] or 1)
        elif match[2] == "J":
            rows[at:] = [rows[at][:column]]
    return rows
