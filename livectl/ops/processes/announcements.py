"""What is told of things that run: where everything is, what was started, what was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.render import View, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.processes.detached import Running
    from livectl.ops.processes.up import Whereabouts

LABEL_WIDTH = 11
NOTHING = "Nothing that was started with --detach runs here."


def up(found: Whereabouts) -> View:
    rows = {
        "page": found.page,
        "worker": f"{found.worker}, pool {found.pool}",
        "schedules": found.schedules or "none: `livectl init` writes a first one",
        "broker": found.broker,
        "store": found.store if found.store != found.broker else None,
        "data": found.data,
        "log": found.log,
        "home": found.home,
        "stop": f"Ctrl-C, or `kill {found.pid}`",
        "try": "livectl call livectl.ping, livectl schedules next",
    }
    lines = [f"  {label:<{LABEL_WIDTH}}{said}" for label, said in rows.items() if said]
    return View(found, lambda: "\n".join(["livectl is going up.", *lines]))


def started(one: Running) -> View:
    return View(_named(one), lambda: _at_work(one))


def all_started(again: Sequence[Running]) -> View:
    told = [_named(one) for one in again]
    return sentence("\n".join(_at_work(one) for one in again) or NOTHING, told)


def stopped(ended: Sequence[Running]) -> View:
    told = [_named(one) for one in ended]
    return sentence("\n".join(f"{one.name} has ended (pid {one.pid})." for one in ended) or NOTHING, told)


def _named(one: Running) -> dict[str, Any]:
    return {"name": one.name, "pid": one.pid, "log": one.log}


def _at_work(one: Running) -> str:
    log, stop = f"{'log':<{LABEL_WIDTH}}{one.log}", f"{'stop':<{LABEL_WIDTH}}livectl stop {one.name}"
    return f"{one.name} is at work in the background (pid {one.pid}).\n  {log}\n  {stop}"
