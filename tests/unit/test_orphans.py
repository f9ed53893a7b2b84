"""A child whose worker was killed takes what it has ended off the broker, and leaves what is to be done again."""

from __future__ import annotations

from types import SimpleNamespace as Made
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery import states
from celery.exceptions import Reject

from livectl.ops.transport.orphans import Orphan

TAG = "7c1b"
IS_TO_RUN_AGAIN = Reject("not here", requeue=True)


def make_task(properties: dict[str, str] | None) -> Any:
    return Made(request=Made(properties=properties))


def settled_by(*ends: tuple[dict[str, str] | None, str | None, object]) -> list[str]:
    """The tags that an orphan takes off, whose jobs end in this way."""
    app = MagicMock()
    orphan = Orphan(app)
    orphan.is_alone = True
    for properties, state, value in ends:
        orphan.note_start(task=make_task(properties))
        orphan.note_end(task=make_task(properties), state=state, retval=value)
    settle = app.connection_for_read().__enter__().default_channel.qos.settle
    return [call.args[0] for call in settle.call_args_list]


@pytest.mark.parametrize(
    ("state", "value", "is_settled"),
    [
        (states.SUCCESS, 4, True),
        (states.FAILURE, ValueError(), True),
        (states.RETRY, None, True),  # the next try is a message of its own, which was sent
        (states.IGNORED, None, True),
        (states.REJECTED, Reject("never"), True),
        (states.REJECTED, IS_TO_RUN_AGAIN, False),
        (None, None, False),  # it was cut
    ],
)
def test_what_has_ended_is_settled(state: str | None, value: object, is_settled: bool) -> None:
    assert settled_by(({"delivery_tag": TAG}, state, value)) == [TAG] * is_settled


def test_a_task_that_is_called_within_a_job_does_not_end_it() -> None:
    assert settled_by((None, states.SUCCESS, 4), ({}, states.SUCCESS, 4)) == []


def test_a_broker_that_is_away_ends_no_child() -> None:
    app = MagicMock()
    app.connection_for_read.side_effect = OSError
    orphan = Orphan(app)
    orphan.is_alone = True
    orphan.note_end(task=make_task({"delivery_tag": TAG}), state=states.SUCCESS)
    app.connection_for_read.assert_called_once()
