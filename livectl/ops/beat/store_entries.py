"""The entries that programs and people add at run time: they live in the store, beside those of schedules.yaml.

    livectl:beat:entries      hash  entry -> its words, the mapping that a file would have for it, as JSON
    livectl:beat:changed      zset  entry -> the version that it came with
    livectl:beat:gone         zset  entry that was removed -> the version that it went with
    livectl:beat:entry-state  hash  version: of the last change; born: which store that counts for; pruned: the highest
                                    version of a removal that is no longer remembered

Whoever has read a version asks for what has changed since, so that ten thousand entries are read once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl.errors import LivectlError, SettingsError, UsageError
from livectl.models import After
from livectl.ops.beat import run_store
from livectl.ops.beat.run_store import ENTRIES_KEY
from livectl.ops.schedules import entry_reading
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import redis

    from livectl.models import Schedule

    Words = dict[str, Any]  # the keys of an entry, as schedules.yaml would have them


CHANGED_KEY = run_store.KEY_PREFIX + "changed"
GONE_KEY = run_store.KEY_PREFIX + "gone"
STATE_KEY = run_store.KEY_PREFIX + "entry-state"
READ_KEYS = [ENTRIES_KEY, CHANGED_KEY, GONE_KEY, STATE_KEY]
PUT_KEYS = [*READ_KEYS, run_store.SINCE_KEY, *run_store.FORGOTTEN_KEYS]
ABSENT, ANYTHING = "", "*"  # what an entry is to be before it is changed
BATCH_SIZE = 500  # entries written in one call
MAX_NAME_CHARS = 200
MAX_WORDS_BYTES = 65_536
AFTER_KEY = "after"  # of the words: the entry whose runs it follows


class EntryChanges(msgspec.Struct, frozen=True):
    """What has changed in the store since it was read: entries with their words, None for one that is gone."""

    entries: dict[str, str | None]
    anew: bool = False  # these are all there are: forget what was read before


class EntryReader:
    """Reads the entries of the store: all at first, then what has changed since. One call where nothing has."""

    def __init__(self) -> None:
        self._born = ""
        self._version = "0"

    def read(self, store: redis.Redis) -> EntryChanges:
        found: dict[str, str | None] = {}
        anew, going_on, more = False, 0, 1
        while more:
            arguments = ("", self._born, self._version, going_on)
            reply = store.eval(run_store.script_source("entries_changed"), len(READ_KEYS), *READ_KEYS, *arguments)
            self._born, self._version, begins, more, pairs, gone = reply[1]
            if begins:
                anew, found = True, {}
            found |= dict(zip(pairs[::2], pairs[1::2], strict=True)) | dict.fromkeys(gone)
            going_on = 1
        return EntryChanges(found, anew)


def read_words(store: redis.Redis, name: str) -> Words | None:
    """The words of an entry; None where the store has none of this name."""
    text = store.hget(ENTRIES_KEY, name)
    return None if text is None else decode(str(text))


def read_all_words(store: redis.Redis) -> dict[str, Words]:
    """The words of every entry, in the order of their names."""
    texts = {str(name): str(text) for name, text in store.hgetall(ENTRIES_KEY).items()}
    return {name: decode(texts[name]) for name in sorted(texts)}


def parse_all(words: Mapping[str, Words]) -> tuple[list[Schedule], dict[str, str]]:
    """The schedules of entries, and the reason for each that this version of livectl cannot read."""
    schedules, problems = [], {}
    for name, entry in words.items():
        try:
            schedules.append(parse(name, entry))
        except LivectlError as error:
            problems[name] = error.message
    return schedules, problems


def parse(
    name: str, words: Words, tasks: Mapping[str, Any] | None = None, others: Mapping[str, Schedule] | None = None
) -> Schedule:
    """The schedule that these words describe, by the same checks as a file's. FileError with every mistake in them."""
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise UsageError(f"a name is one line of at most {MAX_NAME_CHARS} characters", "Give it a shorter one.")
    return entry_reading.read_alone(name, words, tasks=tasks, others=others)


def decode(text: str) -> Words:
    """The words as they stand in the store."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise SettingsError(f"no entry: {error}", "Remove it, and add it again.") from error


def encode(words: Words) -> str:
    """The words as they stand in the store."""
    try:
        text = msgspec.json.encode(words)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the entry cannot be kept as JSON: {error}", "Give it text, numbers, lists, mappings."
        ) from error
    if len(text) > MAX_WORDS_BYTES:
        raise UsageError(f"the entry is larger than {MAX_WORDS_BYTES:,} bytes", "Keep what is large elsewhere.")
    return text.decode()


def add(
    store: redis.Redis, name: str, words: Words, tasks: Mapping[str, Any] | None = None, *, rehearses: bool = False
) -> Schedule:
    """Adds an entry. Raises for mistakes in it, and for a name that the store or a running beat's file has."""
    ((_, problem),) = add_all(store, {name: words}, tasks, rehearses=rehearses)
    if isinstance(problem, LivectlError):
        raise problem
    return problem


def add_all(
    store: redis.Redis, entries: Mapping[str, Words], tasks: Mapping[str, Any] | None = None, *, rehearses: bool = False
) -> Iterator[tuple[str, Schedule | LivectlError]]:
    """Adds entries, each by itself. Yields what became of each: its schedule, or why it was not added."""
    in_files = read_file_names(store)
    checked: list[tuple[str, str, Schedule]] = []
    refused: list[tuple[str, LivectlError]] = []
    for name, words in entries.items():
        try:
            _check_free(name, in_files)
            checked.append((name, encode(words), parse(name, words, tasks)))
        except LivectlError as error:
            refused.append((name, error))
    alone = _refuse_alone(store, {schedule.name: schedule for _, _, schedule in checked}, entries)
    checked = [each for each in checked if each[0] not in alone]
    refused += alone.items()
    changes = [(name, text, ABSENT) for name, text, _ in checked]
    done = [not store.hexists(ENTRIES_KEY, name) for name, _, _ in checked] if rehearses else _put(store, changes)
    for (name, _, schedule), is_done in zip(checked, done, strict=True):
        yield name, schedule if is_done else _taken_error(name)
    yield from refused


def change(
    store: redis.Redis,
    name: str,
    edit: Callable[[Words], Words],
    tasks: Mapping[str, Any] | None = None,
    *,
    rehearses: bool = False,
) -> Words:
    """Changes an entry by `edit`, which makes new words of its own. Two who do so at once lose nothing.

    Returns the new words. Nothing is written where they are the old ones.
    """
    while True:
        text = store.hget(ENTRIES_KEY, name)
        if text is None:
            raise _unknown_error(store, name)
        words = edit(decode(str(text)))
        parse(name, words, tasks, _read_others(store) if AFTER_KEY in words else None)
        new = encode(words)
        if rehearses or new == text or _put(store, [(name, new, str(text))])[0]:
            return words


def remove(store: redis.Redis, names: Sequence[str]) -> list[bool]:
    """Removes entries, their pauses and waiting runs. Says of each whether it was there."""
    return _put(store, [(name, "", ANYTHING) for name in names])


def find_followers(store: redis.Redis, name: str) -> list[str]:
    """The entries of the store that run after this one."""
    schedules, _ = parse_all({other: words for other, words in read_all_words(store).items() if AFTER_KEY in words})
    return [each.name for each in schedules if isinstance(each.timing, After) and each.timing.entry == name]


def read_file_names(store: redis.Redis) -> set[str]:
    """The names of the entries that running beats have from their files."""
    names: set[str] = set()
    for data in store.hvals(run_store.LOADED_SCHEDULES_KEY):
        names.update(each.name for each in msgspec.json.decode(data, type=_LoadedNames).schedules)
    return names


class _NamedEntry(msgspec.Struct):
    name: str


class _LoadedNames(msgspec.Struct):
    schedules: tuple[_NamedEntry, ...]


def _refuse_alone(
    store: redis.Redis, added: dict[str, Schedule], words: Mapping[str, Words]
) -> dict[str, LivectlError]:
    """Of entries that are to be added, those that would run after one that is not there, or after themselves."""
    refused: dict[str, LivectlError] = {}
    following = [name for name in added if AFTER_KEY in words[name]]
    others = _read_others(store) if following else {}
    is_settled = False
    while not is_settled:  # whoever follows a refused one is refused
        there = {**others, **{name: schedule for name, schedule in added.items() if name not in refused}}
        before = len(refused)
        for name in following:
            if name not in refused:
                try:
                    parse(name, words[name], None, there)
                except LivectlError as error:
                    refused[name] = error
        is_settled = len(refused) == before
    return refused


def _read_others(store: redis.Redis) -> dict[str, Schedule]:
    """What an entry of the store may run after: the entries of running beats' files, and those of the store."""
    stored, _ = parse_all(read_all_words(store))
    return {schedule.name: schedule for schedule in (*stored, *run_store.read_loaded_schedules(store))}


def _check_free(name: str, in_files: set[str]) -> None:
    if name in in_files:
        raise SettingsError(
            f"{name} is an entry of the schedule file", "Give this one another name, or change that one in the file."
        )


def _taken_error(name: str) -> LivectlError:
    return SettingsError(f"{name} is in the store already", "Change that one, or take another name.")


def _unknown_error(store: redis.Redis, name: str) -> LivectlError:
    names = [str(each) for each in store.hkeys(ENTRIES_KEY)]
    return UsageError(f"the store has no entry called {name}", did_you_mean(name, names) or "livectl schedules list")


def _put(store: redis.Redis, changes: Sequence[tuple[str, str, str]]) -> list[bool]:
    """Writes (name, words, what is to be there before) of each. Says of each whether that was so and it is done."""
    outcomes: list[bool] = []
    source = run_store.script_source("entries_put")
    for start in range(0, len(changes), BATCH_SIZE):
        arguments = [argument for each in changes[start : start + BATCH_SIZE] for argument in each]
        _, done = store.eval(source, len(PUT_KEYS), *PUT_KEYS, "", str(uuid4()), *arguments)
        outcomes += map(bool, done)
    return outcomes
