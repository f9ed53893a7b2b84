"""What all tests with processes share: servers have as long as a test may take."""

from __future__ import annotations

import pytest

from livectl.ops.cluster import broadcast
from tests.support.patience import servers_are_waited_for
from tests.support.waiting import HANG_SECONDS

__all__ = ["servers_are_waited_for"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on a Redis are waited for as well. Each question to one that keeps silent lasts long then."""
    monkeypatch.setattr(broadcast, "REPLY_TIMEOUT_S", HANG_SECONDS / 4)
