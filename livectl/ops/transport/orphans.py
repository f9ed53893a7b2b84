"""Lets a child process whose worker was killed end its job, and acknowledge it itself.

Celery has the kernel kill the children of a worker that is killed (prefork, on Linux): each cuts the job that it runs,
and what it had just ended is done twice, since only the worker acknowledges. Here the kernel tells the child instead.
What it ends while the lease of its message lasts it takes off the broker; what takes longer is cut, as before.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from billiard.util import set_pdeathsig
from celery import signals, states

log = logging.getLogger(__name__)

END_S = 5.0  # a lease that was renewed a moment before its worker died lasts longer by one and a half seconds
LOOK_S = 0.05  # between two looks whether its job has ended
LAST_WORDS_S = 0.5  # for what the app does when a job has ended


class Orphan:
    """What a child does when its worker is gone. One is made before the children are, each has a copy of it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._worker_pid = os.getpid()
        self.is_alone = False  # its worker is gone
        self._running_tag = ""  # of the message of the job that runs here
        self._ended_tag = ""  # of the last one that ended

    def listen(self) -> None:
        """Has each child prepare for it, where the kernel tells it that its worker was killed."""
        if sys.platform == "linux":
            signals.worker_process_init.connect(self._prepare, weak=False, dispatch_uid="livectl.orphan")

    def _prepare(self, **_: Any) -> None:
        signals.task_prerun.connect(self.note_start, weak=False, dispatch_uid="livectl.orphan")
        signals.task_postrun.connect(self.note_end, weak=False, dispatch_uid="livectl.orphan")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMAX})  # of all threads: one waits for it
        threading.Thread(target=self._wait, name="livectl-orphan", daemon=True).start()
        set_pdeathsig(signal.SIGRTMAX)

    def _wait(self) -> None:
        """Waits in a thread of its own, since what a job calls may not come back to Python for long."""
        while os.getppid() == self._worker_pid:
            signal.sigwait({signal.SIGRTMAX})
        self.is_alone, until = True, time.monotonic() + END_S
        self._settle(self._ended_tag)  # the worker may not have heard of its end
        if self._running_tag:
            while self._running_tag and time.monotonic() < until:
                time.sleep(LOOK_S)
            time.sleep(LAST_WORDS_S)
        os.kill(os.getpid(), signal.SIGKILL)

    def note_start(self, *, task: Any, **_: Any) -> None:
        """Called when a job begins."""
        self._running_tag = _tag_of(task) or self._running_tag

    def note_end(self, *, task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
        """Called when it has ended, however it did."""
        tag = _tag_of(task)
        if not tag:
            return
        if state and not (state == states.REJECTED and getattr(retval, "requeue", False)):
            self._ended_tag = tag
            if self.is_alone:
                self._settle(tag)
        self._running_tag = ""

    def _settle(self, tag: str) -> None:
        """Takes a message off the broker that is noted as its worker's."""
        try:
            if tag:
                with self._app.connection_for_read() as connection:
                    connection.default_channel.qos.settle(tag)
        except Exception as error:  # whatever it is, the job runs again
            log.warning("a job of a killed worker has ended, and runs again: %s", error)


def _tag_of(task: Any) -> str:
    """Of the message of a job; empty for a task that is called within another."""
    return (task.request.properties or {}).get("delivery_tag") or ""
