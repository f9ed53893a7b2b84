"""How far one has to walk to follow what livectl does: files, functions and changes of file on five journeys.

python -m benchmarks.journeys
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.store import server

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

PACKAGE = f"{os.sep}livectl{os.sep}"
OLD_SETTINGS = "BROKER_URL = 'redis://'\nCELERYD_CONCURRENCY = 4\nCELERY_RESULT_BACKEND = 'rpc://'\n"
FILES = {
    "livectl.yaml": "alerts: {log: {command: [cat]}}\n",
    "follows.yaml": "follows: [demo/ada, demo/grace]\n",
    "schedules.yaml": "schedules: {ping: {task: livectl.ping, every: 0.2s}}\n",
    "old/celeryconfig.py": OLD_SETTINGS,
}


class Walk:
    """The files and functions of livectl that a call runs through, in their order."""

    def __init__(self) -> None:
        self.functions: set[CodeType] = set()
        self.files: set[str] = set()
        self.changes = 0
        self._last = ""

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        path = frame.f_code.co_filename
        if event != "call" or PACKAGE not in path or frame.f_code.co_name == "<module>":
            return
        self.functions.add(frame.f_code)
        self.files.add(path)
        self.changes += path != self._last
        self._last = path

    def follow(self, call: Callable[[], Any]) -> None:
        sys.setprofile(self)
        try:
            call()
        finally:
            sys.setprofile(None)


def command(*words: str) -> Callable[[Walk], None]:
    def walk_command(walk: Walk) -> None:
        from livectl.cli import main

        walk.follow(lambda: main(words))

    return walk_command


def beat_tick(walk: Walk) -> None:
    from livectl.celeryapp import app
    from livectl.ops.scheduler import Scheduler

    scheduler: Any = Scheduler(app)
    scheduler.setup_schedule()
    for _ in range(4):
        scheduler.tick()
        time.sleep(0.3)
    walk.follow(scheduler.tick)


def sweep_to_alert(walk: Walk) -> None:
    from livectl.celeryapp import app

    app.loader.import_default_modules()

    def run_jobs() -> None:
        app.tasks["livectl.sweep"]()
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(app.conf.task_default_queue)
            with contextlib.suppress(queue.Empty):
                while message := queue.get(block=False):
                    args, kwargs, _ = message.payload
                    app.tasks[message.headers["task"]](*args, **kwargs)
                    message.ack()
        app.tasks["livectl.deliver"]()

    walk.follow(run_jobs)


JOURNEYS = {
    "check --local": command("check", "--local", "demo/ada"),
    "beat tick": beat_tick,
    "status": command("status", "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1"),
    "sweep to alert": sweep_to_alert,
    "migrate --write": command("migrate", "--write", "old"),
}


def main() -> None:
    with server() as store, tempfile.TemporaryDirectory(prefix="lv-") as folder:
        socket = store.connection_pool.connection_kwargs["path"]
        for name, text in FILES.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        address = f"unix://{socket}?db=0"
        environ = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "LIVECTL_STORE": address,
            "LIVECTL_BROKER": f"redis+socket://{socket}?virtual_host=0",
            "LIVECTL_HOME": str(Path(folder, "home")),
        }
        print(f"{'journey':<16}{'files':>7}{'functions':>11}{'changes of file':>17}")
        for name in JOURNEYS:
            argv = [sys.executable, "-m", "benchmarks.journeys", name]
            run = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=True, timeout=60)
            files, functions, changes = json.loads(run.stdout.splitlines()[-1])
            print(f"{name:<16}{files:>7}{functions:>11}{changes:>17}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        walk = Walk()
        JOURNEYS[sys.argv[1]](walk)
        print(json.dumps([len(walk.files), len(walk.functions), walk.changes]))
