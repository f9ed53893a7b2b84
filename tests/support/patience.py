"""Servers have as long as a test may take: a fixture for tests whose commands ask them on a busy machine."""

from __future__ import annotations

import pytest

from livectl import redis_client, server_check
from livectl.doctor import collect
from livectl.ops import deployment
from livectl.ops.cluster import broadcast, queues
from livectl.ops.cluster.workers import WorkerControl
from livectl.ops.jobs.status import StatusLookup
from tests.support.waiting import HANG_SECONDS

ASKING = (
    *(redis_client.connect, server_check.check_server, server_check.ask_rabbitmq, deployment.check_broker),
    *(broadcast.connect, queues.measure, StatusLookup.__init__, WorkerControl.__init__),
)


@pytest.fixture(autouse=True)
def servers_are_waited_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person at a terminal has an answer, or the reason why not, in seconds: not so a test on a busy machine."""
    if "silent" in request.keywords:
        return
    usual = redis_client.SERVER_TIMEOUT_S
    for function in ASKING:
        defaults = function.__defaults__ or ()
        assert usual in defaults, function
        longer = tuple(HANG_SECONDS if each == usual else each for each in defaults)
        monkeypatch.setattr(function, "__defaults__", longer)
    monkeypatch.setattr(redis_client, "SERVER_TIMEOUT_S", HANG_SECONDS)
    for name in ("SERVER_TIMEOUT_S", "QUERY_TIMEOUT_S"):
        monkeypatch.setattr(collect, name, HANG_SECONDS)
