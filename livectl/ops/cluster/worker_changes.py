"""Reads what is to be otherwise in running workers, as `livectl workers set` spells it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from livectl.errors import SettingsError, UsageError
from livectl.ops.cluster.workers import WorkerChange
from livectl.units import parse_duration, parse_rate
from livectl.worker_options import AUTOSCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NONE_WORDS = frozenset({"none", "off", "0"})
RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")  # what Celery takes


def read_changes(options: Mapping[str, Any]) -> list[WorkerChange]:
    """The changes that the options ask for. Raises UsageError for a mistake in one of them, or for none at all."""
    changes = [_read_rate(text) for text in options["rates"]]
    changes += [_read_limits(text) for text in options["limits"]]
    changes += _read_sizes(options)
    for queue in options["consume"]:
        changes.append(WorkerChange("add_consumer", {"queue": queue}, f"read {queue}"))
    for queue in options["cancel"]:
        changes.append(WorkerChange("cancel_consumer", {"queue": queue}, f"no longer read {queue}"))
    if not changes:
        raise UsageError("what is to be changed?", "Say --rate-limit, --autoscale, --grow, --consume …")
    return changes


def _read_rate(text: str) -> WorkerChange:
    task, rate = _split("--rate-limit", text, "proj.add=10/m")
    if rate in NONE_WORDS:
        return WorkerChange("rate_limit", {"task_name": task, "rate_limit": 0}, f"no rate limit of {task}")
    if not RATE.fullmatch(rate):
        try:
            parse_rate(rate)  # says what a rate is
        except SettingsError as error:
            raise UsageError(f"--rate-limit {text}: {error.message}", "Write proj.add=10/m; also /s and /h.") from None
        raise UsageError(f"--rate-limit {text}: Celery has rates in /s, /m and /h", "Write proj.add=10/m.")
    return WorkerChange("rate_limit", {"task_name": task, "rate_limit": rate}, f"{task} at most {rate}")


def _read_limits(text: str) -> WorkerChange:
    task, limits = _split("--task-time-limit", text, "proj.add=60,50")
    hard, _, soft = limits.partition(",")
    values = {"hard": _read_seconds(text, hard), "soft": _read_seconds(text, soft) if soft else None}
    if values["hard"] and values["soft"] and values["soft"] >= values["hard"]:
        raise UsageError(f"--task-time-limit {text}: the soft one is not before the hard one", "Write proj.add=60,50.")
    return WorkerChange("time_limit", {"task_name": task, **values}, f"time limits of {task} {limits}")


def _read_seconds(text: str, limit: str) -> float | None:
    if limit in NONE_WORDS:
        return None
    try:
        return float(parse_duration(limit))
    except SettingsError as error:
        raise UsageError(f"--task-time-limit {text}: {error.message}", "Write proj.add=60,50, or none.") from None


def _read_sizes(options: Mapping[str, Any]) -> Iterator[WorkerChange]:
    if options["grow"] and options["shrink"]:
        raise UsageError("both --grow and --shrink", "Say one of the two.")
    if text := options["autoscale"]:
        form = AUTOSCALE.fullmatch(text)
        if form is None:
            raise UsageError(f"--autoscale {text!r} is not the most and the fewest jobs at a time", "Write 10,3.")
        most, fewest = sorted((int(form[1]), int(form[2] or 0)), reverse=True)
        yield WorkerChange("autoscale", {"max": most, "min": fewest}, f"{fewest} to {most} jobs at a time")
    if options["grow"]:
        yield WorkerChange("pool_grow", {"n": options["grow"]}, f"{options['grow']} more at a time")
    if options["shrink"]:
        yield WorkerChange("pool_shrink", {"n": options["shrink"]}, f"{options['shrink']} fewer at a time")


def _split(option: str, text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{option} {text} does not say of which task what", f"Write {option} {example}.")
    return name, value.strip()
