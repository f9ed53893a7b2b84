"""Keys of a cluster: what they are called there, where they lie, and how commands find them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from livectl import cluster_keys


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("livectl:beat:last", "livectl:{beat}:last"),
        ("livectl:jobs", "livectl:{jobs}"),
        ("livectl:runs:nightly", "livectl:{jobs}:runs:nightly"),
        ("livectl:job:some-id", "livectl:job:some-id"),
        ("livectl:beats", "livectl:beats"),
        ("livectl:limits:proj", "livectl:{limits}:proj"),
        ("shop:livectl:limit:proj:mail:{7}:held", "shop:livectl:{limits}:limit:proj:mail:{7}:held"),
        ("livectl:{twitch:3}:now", "livectl:{twitch:3}:now"),
        ("livectl:{-}:outbox", "livectl:{-}:outbox"),
        ("livectl:watch:looked", "livectl:{-}:watch:looked"),
    ],
)
def test_what_changes_together_has_a_tag(key: str, name: str) -> None:
    assert cluster_keys.cluster_key(key) == name
    assert cluster_keys.cluster_key(name) == name


@given(st.text(alphabet="ab{}:é", max_size=12))
def test_slots_are_those_of_the_servers(key: str) -> None:
    assert cluster_keys.key_slot(key) == key_slot(key.encode()) == cluster_keys.key_slot(key.encode())


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (("GET", "a"), ("a",)),
        (("MGET", "a", "b"), ("a", "b")),
        (("RENAME", "a", "b"), ("a", "b")),
        (("EVAL", "text", 2, "a", "b", "c"), ("a", "b")),
        (("EVALSHA", "sha", "0"), ()),
        (("INFO", "memory"), ()),
        (("CLUSTER SLOTS",), ()),
        (("MEMORY", "USAGE", "a"), ("a",)),
        (("MEMORY USAGE", "a", "SAMPLES", 0), ("a",)),
        (("XREAD", "COUNT", 1, "STREAMS", "a", "b", "0", "0"), ("a", "b")),
        (("BRPOP", "a", "b", 1), ("a", "b")),
    ],
)
def test_where_keys_stand(command: tuple[object, ...], keys: tuple[str, ...]) -> None:
    assert tuple(command[place] for place in cluster_keys.key_places(command)) == keys


def test_a_command_for_many_nodes_is_one_for_each() -> None:
    command = ("MGET", "a", "b", "{a}2", b"c")
    parts = cluster_keys.split_by_slot(command)
    assert [part for part, _, _ in parts] == [["MGET", "a", "{a}2"], ["MGET", "b"], ["MGET", b"c"]]
    replies = [(places, [f"of {key!r}" for key in part[1:]]) for part, _, places in parts]
    assert cluster_keys.merge_replies(command, replies) == ["of 'a'", "of 'b'", "of '{a}2'", "of b'c'"]
    assert cluster_keys.merge_replies(("DEL", "a", "b"), [([0], 1), ([1], 0)]) == 1
    refusal = OSError()
    assert cluster_keys.merge_replies(command, [(places, refusal) for _, _, places in parts]) is refusal


def test_a_script_has_its_keys_in_one_place() -> None:
    with pytest.raises(ValueError, match="several slots"):
        cluster_keys.cluster_command(("EVAL", "text", 2, "livectl:beat:last", "livectl:jobs"))
