"""How scripts are called: with their keys declared, one by one and many at once, by servers that have them or not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from livectl.address import Address
from livectl.live import cells, lua_scripts, store_reader
from livectl.live.lua_scripts import SCRIPT_KEYS, ScriptCall, lua_script, run_scripts

if TYPE_CHECKING:
    import redis

PLACE = cells.lease_place("test")


@pytest.mark.parametrize("name", SCRIPT_KEYS)
def test_a_script_touches_the_keys_that_it_declares(name: str) -> None:
    text = re.sub(r"--.*", "", lua_scripts.script_source(name))
    assert set(re.findall(r"\bK\.(\w+)", text)) <= set(SCRIPT_KEYS[name])
    assert not re.search(r"livectl:|\bKEYS\b", text.partition("\n")[2])


def test_a_server_that_has_lost_its_scripts_gets_them_again(client: redis.Redis, store_url: str) -> None:
    lease = lua_script(client, "lease")
    assert lease(PLACE, "a", 9) == 1
    client.script_flush()
    assert lease(PLACE, "b", 9) == 0
    assert client.mget(PLACE + "holder", PLACE + "number") == ["a", "1"]
    assert client.dbsize() == 2
    client.script_flush()
    with store_reader.read_only_store(Address.parse(store_url)) as store:
        reader = store._client
        assert lua_script(reader, "lease")(PLACE, "a", 9) == 1
        client.script_flush()
        assert run_scripts(reader, [ScriptCall("lease", PLACE, (name, 9)) for name in "aba"]) == [1, 0, 1]


def test_many_at_once_are_all_taken_though_one_is_refused(client: redis.Redis) -> None:
    client.script_flush()
    client.rpush(cells.lease_place("odd") + "holder", "no text")
    calls = [ScriptCall("lease", cells.lease_place(name), ("a", 9)) for name in ("one", "odd", "two")]
    for _ in range(2):
        with pytest.raises(Exception, match="WRONGTYPE"):
            run_scripts(client, calls)
    assert client.exists(*(cells.lease_place(name) + "holder" for name in ("one", "two"))) == 2
    assert run_scripts(client, []) == []
