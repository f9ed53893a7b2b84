"""A dead letter that is put back is forgotten, but for one that a worker has set aside anew in that moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis

from livectl.address import Address
from livectl.ops.deployment import Deployment
from livectl.ops.jobs import dead_letters
from livectl.ops.protocol import keys
from livectl.ops.protocol.dead_letter import DeadLetter
from tests.support import bad_messages

LETTER = DeadLetter(
    id="j1",
    kind="message",
    reason="no task proj.nothing here",
    at=datetime(2026, 11, 28, tzinfo=UTC),
    payload={"queue": "celery", "message": bad_messages.envelope(id="j1")},
)
AGAIN = msgspec.structs.replace(LETTER, at=LETTER.at + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("set_aside", "left"), [((), []), ((AGAIN,), [AGAIN])], ids=["nobody takes it yet", "a worker is quick"]
)
def test_what_is_put_back_is_forgotten_unless_it_is_there_anew(
    store_url: str, monkeypatch: pytest.MonkeyPatch, set_aside: tuple[DeadLetter, ...], left: list[DeadLetter]
) -> None:
    address = Address.parse(store_url)
    deployment = Deployment(broker=address, results=None, store=address, layout=keys.layout_from_settings({}))
    put_back = dead_letters._put_back
    with redis.Redis.from_url(store_url) as store:
        dead_letters.add(store, LETTER)
        store.set(dead_letters.starts_key("j1"), 3)

        def put_back_to_a_worker(*arguments: Any) -> None:
            put_back(*arguments)
            for letter in set_aside:
                dead_letters.add(store, letter)

        monkeypatch.setattr(dead_letters, "_put_back", put_back_to_a_worker)
        assert dead_letters.requeue(deployment, "j1") == "celery"
        assert store.llen("celery") == 1
        assert store.get(dead_letters.starts_key("j1")) is None
    assert [letter.at for letter in dead_letters.list_summaries(deployment)] == [letter.at for letter in left]
