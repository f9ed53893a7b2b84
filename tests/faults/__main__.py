"""Plays the fault matrix and prints it: `python -m tests.faults --rows F1,F6 --setups redis --seed 7`."""

from __future__ import annotations

import argparse
import random
import sys

from tests.faults import frame, matrix


def main(words: list[str]) -> int:
    options = _parser().parse_args(words)
    frame.end_in_order()
    wanted = [name for name in options.rows.split(",") if name]
    rows = [row for row in matrix.ROWS if not wanted or row.name in wanted]
    if unknown := set(wanted) - {row.name for row in rows}:
        print(f"no row {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in matrix.ROWS)}")
        return 2
    seeds = options.seed or [random.randrange(1_000_000)]
    print(f"seeds {', '.join(map(str, seeds))}\n", flush=True)
    if options.red:
        return 0 if frame.play_without(rows, seeds[0], sys.stdout) else 1
    setups = [word for word in options.setups.split(",") if word]
    cases = frame.chosen_cases(rows, seeds, setups, minutes=options.minutes)
    return 0 if frame.play_all(cases, sys.stdout) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rows", default="", metavar="F1,F6", help="these rows alone")
    parser.add_argument("--setups", default="", metavar="WORD,WORD", help="set-ups that have one of these words")
    parser.add_argument("--seed", type=int, action="append", metavar="N", help="of the faults; may be said repeatedly")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long outage (F7)")
    parser.add_argument("--red", action="store_true", help="each row without what makes it pass: all must turn red")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
