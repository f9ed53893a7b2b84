"""The checks: each from facts to findings, none of them asking anything itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.doctor.checks import beats, crew, delivery, frameworks, results, servers, settings, streamers, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.doctor.facts import Facts
    from livectl.model import Finding

    Check = Callable[[Facts], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *settings.SETTINGS_CHECKS,
    *servers.SERVER_CHECKS,
    *delivery.DELIVERY_CHECKS,
    *results.RESULT_CHECKS,
    *work.WORK_CHECKS,
    *crew.WORKER_CHECKS,
    *beats.BEAT_CHECKS,
    *frameworks.FRAMEWORK_CHECKS,
    *streamers.STREAMER_CHECKS,
)
