"""How fast `livectl migrate` is, and how it does beside `celery upgrade settings` on the same inputs.

python -m benchmarks.migrate            # timings, then the table of which docs/migrate.md has the sums
python -m benchmarks.migrate --table    # the table alone
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from click.testing import CliRunner

from livectl.ops.migration import plan
from livectl.ops.migration.names import OLD_NAMES
from tests.unit.test_migration_cases import CASES, Case, read_files, run_migrate

FILES, LINES = 300, 500
WITH_SETTINGS = 30  # a tenth of the files set or use settings: more than in any project looked at


def main() -> None:
    if "--table" not in sys.argv:
        one_file()
        many_files(WITH_SETTINGS)
        many_files(FILES)
    table()


# How fast


def one_file() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "celeryconfig.py"
        path.write_text("".join(f"{name} = {number}  # {name}\n" for number, name in enumerate(OLD_NAMES)))
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "livectl", "migrate", str(path)], check=True, capture_output=True)
        print(f"one file of {len(OLD_NAMES)} settings, the whole command: {time.perf_counter() - started:.2f} s")


def many_files(with_settings: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FILES):
            (Path(folder) / f"module{number}.py").write_text(_module(number, settings=number < with_settings))
        (Path(folder) / "celeryconfig.py").write_text("BROKER_URL = 'redis://'\nCELERYD_CONCURRENCY = 2\n")
        started = time.perf_counter()
        planned = plan.make_plan([Path(folder)])
        spent = time.perf_counter() - started
        share = f"{with_settings} of them with settings"
        print(f"{FILES} files of {LINES} lines, {share}: {spent:.1f} s, {len(planned.files)} files change")


def _module(number: int, *, settings: bool) -> str:
    head = ["from celeryconfig import BROKER_URL, CELERYD_CONCURRENCY"] if settings else ["from os import sep"]
    use = "BROKER_URL" if settings else "sep"
    body = [
        line
        for function in range(LINES // 4)
        for line in (
            f"def function{function}(first, second=None):",
            f"    result = [first, {use}, {{'key': second or {number}}}]",
            "    return result  # a comment",
            "",
        )
    ]
    return "\n".join([*head, *body][:LINES]) + "\n"


# Beside the other tool


def table() -> None:
    print("\n| input | `celery upgrade settings` | with `--django` | `livectl migrate` |\n| --- | --- | --- | --- |")
    counts = [0, 0, 0]
    for case in sorted(CASES, key=lambda case: case.title):
        outcomes = [_celery(case), _celery(case, "--django"), _livectl(case)]
        counts = [count + (outcome == "right") for count, outcome in zip(counts, outcomes, strict=True)]
        print(f"| {case.title} | {' | '.join(outcomes)} |")
    print(f"| **right, of {len(CASES)}** | {' | '.join(f'**{count}**' for count in counts)} |")


def _celery(case: Case, *arguments: str) -> str:
    from celery.bin.celery import celery

    with tempfile.TemporaryDirectory() as folder:
        _write_files(case, Path(folder))
        for name in case.before:
            argv = ["upgrade", "settings", str(Path(folder) / name), "--no-backup", *arguments]
            result = CliRunner().invoke(celery, argv)
            if result.exit_code:
                return f"fails: {type(result.exception).__name__}"
        return _judge(case, Path(folder))


def _livectl(case: Case) -> str:
    with tempfile.TemporaryDirectory() as folder:
        _write_files(case, Path(folder))
        run_migrate(Path(folder).resolve(), ".", "--write", *case.arguments)
        return _judge(case, Path(folder))


def _write_files(case: Case, folder: Path) -> None:
    for name, text in case.before.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def _judge(case: Case, folder: Path) -> str:
    contents = read_files(folder)
    if contents == case.after:
        return "right"
    return "nothing done" if contents == case.before else "wrong"


if __name__ == "__main__":
    main()
