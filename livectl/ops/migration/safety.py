"""The safety stop: what each loader reads of the files before and after, compared without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.errors import FileError, Mistake
from livectl.ops.migration.find_settings import scan_file
from livectl.ops.migration.modules import ModuleIndex
from livectl.ops.migration.names import SPLIT_KEYS, classify, is_generic
from livectl.ops.migration.source import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livectl.ops.migration.convention import Convention, NamingStyle
    from livectl.ops.migration.file_scan import FileScan, SettingsHolder
    from livectl.ops.migration.rename import RenameResult

HINT = "say --namespace CELERY or --namespace none"
ADDRESS_PREFIX = "broker_"  # its parts become one address, which rename.py composes and the proof compares


def find_losses(
    scans: Iterable[FileScan],
    after: dict[str, bytes],
    convention: Convention,
    renaming: RenameResult,
    *,
    given: bool = False,
) -> list[Mistake]:
    """The settings that a file would lose, with the line that decides and the option that settles it.

    With a namespace that the user has given, only what Django or Flask would drop: they show no lower-case name.
    """
    mistakes = []
    for scan in scans:
        data = after.get(str(scan.source.path))
        if data is not None and data != scan.source.data:
            mistakes += _compare_file(scan, data, convention, renaming, given=given)
    return mistakes


def _compare_file(
    scan: FileScan, data: bytes, convention: Convention, renaming: RenameResult, *, given: bool
) -> list[Mistake]:
    try:
        changed = scan_file(SourceFile(scan.source.path, data), ModuleIndex([scan.source.path]))
    except FileError as error:
        return error.mistakes
    mistakes = []
    for holder, style in convention.styles.items():
        if holder.path != str(scan.source.path):
            continue
        only_upper = holder in convention.upper_only
        if given and (not only_upper or style.namespace):
            continue
        old_namespace = None if style.reread else style.namespace
        before = _read_keys(scan, holder, old_namespace, only_upper=only_upper)
        kept = _read_keys(changed, holder, style.namespace, only_upper=only_upper)
        if style.namespace:  # a site's own S3_BUCKET stays what it is beside a namespace
            before = {key: pair for key, pair in before.items() if _is_ours(pair[0], style.namespace)}
        for key in sorted(before.keys() - kept.keys() - _restated(renaming)):
            name, line = before[key]
            mistakes.append(_loss(scan, holder, (name, line, key), convention, style))
    return mistakes


def _read_keys(
    scan: FileScan, holder: SettingsHolder, namespace: str | None, *, only_upper: bool
) -> dict[str, tuple[str, int]]:
    """The settings that Celery reads of a holder, each with its name there and its line."""
    keys = {}
    for use in scan.uses:
        is_seen = use.holder == holder and use.form in {"binding", "key", "keyword"}
        if not is_seen or (only_upper and not use.name.isupper()):
            continue
        classification = classify(use.name, namespace)
        if classification is None or not classification.was_read:
            continue
        for key in SPLIT_KEYS.get(classification.key, (classification.key,)):
            keys[key] = (use.name, use.line)
    return keys


def _is_ours(name: str, namespace: str) -> bool:
    return not is_generic(name) or name.startswith(f"{namespace}_")


def _restated(renaming: RenameResult) -> set[str]:
    parts = ("transport", "user", "password", "host", "port", "vhost")
    return {f"{ADDRESS_PREFIX}{part}" for part in parts} if renaming.broker_url_composed else set()


def _loss(
    scan: FileScan,
    holder: SettingsHolder,
    lost: tuple[str, int, str],
    convention: Convention,
    style: NamingStyle,
) -> Mistake:
    name, line, key = lost
    place = convention.upper_only.get(holder)
    reason = f"{place} shows upper-case names only" if place else "nothing would read its new name"
    text = f"{name} ({key}) would be lost: {reason}; lower case because of {style.why}"
    return Mistake(str(scan.source.path), line, 1, text, "say --namespace CELERY" if place else HINT)
