"""What is told of things that run: where everything is, what was started, what was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.render import View, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.processes.detached import BackgroundProcess
    from livectl.ops.processes.up import UpSummary

LABEL_WIDTH = 11
NOTHING_RUNS = "Nothing that was started with --detach runs here."


def summary_view(summary: UpSummary) -> View:
    rows = {
        "page": summary.page,
        "worker": f"{summary.worker}, pool {summary.pool}",
        "schedules": summary.schedules or "none: `livectl init` writes a first one",
        "broker": summary.broker,
        "store": summary.store if summary.store != summary.broker else None,
        "data": summary.data,
        "log": summary.log,
        "home": summary.home,
        "stop": f"Ctrl-C, or `kill {summary.pid}`",
        "try": "livectl call livectl.ping, livectl schedules next",
    }
    lines = [f"  {label:<{LABEL_WIDTH}}{text}" for label, text in rows.items() if text]
    return View(summary, lambda: "\n".join(["livectl is going up.", *lines]))


def started_view(running: BackgroundProcess) -> View:
    return View(_as_row(running), lambda: _render_running(running))


def all_started_view(processes: Sequence[BackgroundProcess]) -> View:
    rows = [_as_row(running) for running in processes]
    return sentence("\n".join(_render_running(running) for running in processes) or NOTHING_RUNS, rows)


def stopped_view(processes: Sequence[BackgroundProcess]) -> View:
    rows = [_as_row(running) for running in processes]
    return sentence(
        "\n".join(f"{running.name} has ended (pid {running.pid})." for running in processes) or NOTHING_RUNS, rows
    )


def _as_row(running: BackgroundProcess) -> dict[str, Any]:
    return {"name": running.name, "pid": running.pid, "log": running.log}


def _render_running(running: BackgroundProcess) -> str:
    log, stop = f"{'log':<{LABEL_WIDTH}}{running.log}", f"{'stop':<{LABEL_WIDTH}}livectl stop {running.name}"
    return f"{running.name} is at work in the background (pid {running.pid}).\n  {log}\n  {stop}"
