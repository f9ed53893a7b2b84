"""Looks after the store: what is in it, whether it fits together, and copies of it."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.live.store_upkeep import StoreFinding, StoreInfo

STDOUT = "-"
MEBIBYTE = 1024 * 1024
LABEL_CHARS = 14
COPY_MODE = 0o600  # whom one follows, and what targets were told


@click.group(invoke_without_command=True)
@pass_command_context
@click.pass_context
def command(click_context: click.Context, context: CommandContext, /) -> None:
    """Everything that livectl knows of streamers lies in one Redis: `store:` of the settings, else the broker's.

    \b
    Examples:
      livectl store
      livectl store export backup.jsonl
    """
    if not click_context.invoked_subcommand:
        _show_info(context)


@command.command()
@pass_command_context
def info(context: CommandContext) -> None:
    """Show which server it is, and how much is in it.

    \b
    Examples:
      livectl store info
      livectl store info --json
    """
    _show_info(context)


@command.command()
@pass_command_context
def check(context: CommandContext) -> int:
    """Look whether all of it fits together and lies where it belongs, and whether its server keeps it. Exit 1 for
    what does not, 4 for a server that would lose it and while something is half done.

    \b
    Examples:
      livectl store check
      livectl store check --json
    """
    from livectl.live import store_moving, store_upkeep

    with _opened(context) as client:
        store_moving.require_fit(client, context.settings.polling.shards)
        findings = store_upkeep.check(client, time.time())
    _show_findings(context, findings, "livectl store migrate mends that.")
    return 1 if findings else 0


@command.command()
@click.option("--shards", type=click.IntRange(1, 1024), help="In how many pieces the store keeps each platform.")
@pass_command_context
def migrate(context: CommandContext, /, shards: int | None) -> None:
    """Bring an older store over to this version, go on where that ended, and mend what `check` names. Of a small store
    workers do the first by themselves when they start. With --shards, spread each platform over so many pieces; all
    else is refused meanwhile.

    \b
    Examples:
      livectl store migrate
      livectl store migrate --shards 64
    """
    from livectl.live import store_moving, store_upkeep

    wanted = context.settings.polling.shards
    with _opened(context) as client, context.working("looking at everybody"):
        store_moving.migrate(client, shards, shards_of_new=wanted)
        findings = store_upkeep.check(client, time.time(), mend=True)
        noted = store_upkeep.read_info(client).shards
    if wanted not in {None, noted}:
        context.say(f"polling.shards in the settings is {wanted}: write {noted}, or nothing starts.")
    context.note_change("migrate", "store")
    _show_findings(context, findings, "It is mended.")


@command.command("export")
@click.argument("file", metavar="FILE", type=click.Path())
@pass_command_context
def export_store(context: CommandContext, /, file: str) -> None:
    """Write a copy, a line of JSON for each streamer; to stdout for `-`. Tokens of platforms are not in it.

    \b
    Examples:
      livectl store export backup.jsonl
      livectl store export - > backup.jsonl
    """
    from livectl.live import store_copies
    from livectl.render import sentence
    from livectl.units import format_count

    with _opened(context) as client:
        lines = store_copies.export_lines(client, time.time())
        if file == STDOUT:
            sys.stdout.writelines(f"{line}\n" for line in lines)
            return
        with context.working("copying the store"):
            count = _write_lines(context, file, lines)
    context.show(sentence(f"{file} has {format_count(count, 'line')}.", {"file": file, "lines": count}))


@command.command("import")
@click.argument("file", metavar="FILE", type=click.Path())
@pass_command_context
def import_store(context: CommandContext, /, file: str) -> None:
    """Bring a copy into a store that knows nobody yet. All of it is looked at before any of it is written; where it
    was interrupted it goes on with the same file. All else is refused meanwhile.

    \b
    Examples:
      livectl store import backup.jsonl
      LIVECTL_STORE=redis://new:6379/1 livectl store import backup.jsonl
    """
    from livectl.live import store_copies
    from livectl.render import sentence
    from livectl.units import format_count

    shards, path = context.settings.polling.shards, Path(context.cwd, file)
    with _open_copy(path, file) as lines, _opened(context) as client, context.working("filling the store"):
        count = store_copies.import_lines(client, lines, file, time.time(), shards)
    context.note_change("import", "store")
    words = f"{format_count(count, 'streamer')} {'is' if count == 1 else 'are'} in the store."
    context.show(sentence(words, {"file": file, "streamers": count}))


def _open_copy(path: Path, name: str) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{name}: {reason}", "livectl store export writes such a file.") from error


@contextmanager
def _opened(context: CommandContext) -> Iterator[Any]:
    """A client of the store, on a server that keeps what it is given."""
    from livectl import redis_client
    from livectl.live import store_upkeep

    address = context.own_store
    with redis_client.using_store(address) as client:
        store_upkeep.require_usable_server(client, address.masked)
        yield client


def _show_info(context: CommandContext) -> None:
    from livectl import redis_client
    from livectl.live import store_upkeep
    from livectl.render import Stack, View

    address = context.own_store
    with redis_client.using_store(address) as client:
        store_info = store_upkeep.read_info(client)
    lines = [f"{label:<{LABEL_CHARS}}{text}" for label, text in _facts(store_info, address.masked) if text]
    context.show(View(store_info, lambda: Stack(*lines)))


def _facts(info: StoreInfo, masked: str) -> list[tuple[str, str]]:
    from livectl.units import format_count

    by_platform = ", ".join(f"{count:,} on {name}" for name, count in info.platforms.items() if count)
    return [
        ("server", f"{info.server} at {masked}, {info.memory / MEBIBYTE:.0f} MB, {info.policy or 'policy unknown'}"),
        ("keys", f"version {info.version}, {info.shards} shards a platform" if info.version else "none yet"),
        ("followed", f"{info.followed:,}{f': {by_platform}' if by_platform else ''}"),
        ("live", f"{info.live:,}"),
        ("known", f"{info.known:,}, followed or not"),
        ("lead to nobody", str(info.unresolved) if info.unresolved else ""),
        ("changes", f"{info.changes:,} kept for alerts"),
        ("follow list", f"changed {format_count(info.generation, 'time')}" if info.generation else ""),
        ("half applied", f"{info.pieces_left} pieces of it are left" if info.pieces_left else ""),
    ]


def _show_findings(context: CommandContext, findings: list[StoreFinding], step: str) -> None:
    from livectl.render import sentence
    from livectl.units import format_names

    lines = [
        f"{finding.count} {finding.what}"
        + (f": {format_names(finding.names, len(finding.names))}" if finding.names else "")
        for finding in findings
    ]
    context.show(sentence("\n".join([*lines, step]) if lines else "All of it fits together.", findings))


def _write_lines(context: CommandContext, name: str, lines: Iterator[str]) -> int:
    """Returns how many. A copy that was interrupted is none: the file is there, or another one stays, as it was."""
    from livectl.atomic_write import replacing

    count = 0
    try:
        with replacing(Path(context.cwd, name), mode=COPY_MODE) as file:
            for line in lines:
                file.write(f"{line}\n".encode())
                count += 1
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{name} cannot be written: {reason}", "Look at its folder and rights.") from error
    return count
