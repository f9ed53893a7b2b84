"""Runs a command for an alert: without a shell, with a time limit, and with its output in the log."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING

from livectl import placeholders
from livectl.live.alerts import message
from livectl.live.alerts.message import MAX_TIMEOUT_S, Alert, DeliveryOutcome

if TYPE_CHECKING:
    from livectl.settings import Target


MAX_LOGGED_BYTES = 4000  # the last of the output
MAX_DETAIL_CHARS = 200  # the last of what is logged

log = logging.getLogger(__name__)


class CommandSender:
    """One command. A command that may take longer than MAX_TIMEOUT_S runs on alone, and its alert counts as sent."""

    def __init__(self, name: str, target: Target, zone: str) -> None:
        self._name = name
        self._target = target
        self._zone = zone

    def send(self, alert: Alert) -> DeliveryOutcome:
        argv = build_argv(self._target.command, alert, self._zone)
        environ = {**os.environ, "LIVECTL_ALERT": alert.key}
        try:
            if self._target.timeout > MAX_TIMEOUT_S:
                return self._start_detached(argv, environ)
            return self._run_and_wait(argv, environ)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return DeliveryOutcome(sent=False, detail=f"{argv[0]} cannot be run: {reason}", target_down=True)

    def _start_detached(self, argv: list[str], environ: dict[str, str]) -> DeliveryOutcome:
        """Starts a process that ends the command in time, even after this worker has gone."""
        if shutil.which(argv[0]) is None:
            detail = f"{argv[0]} cannot be run: there is no such program"
            return DeliveryOutcome(sent=False, detail=detail, target_down=True)
        runner = [
            sys.executable,
            "-m",
            "livectl.live.alerts.command_runner",
            self._name,
            str(self._target.timeout),
            *argv,
        ]
        subprocess.run(runner, stdin=subprocess.DEVNULL, env=environ, start_new_session=True, check=True)
        return DeliveryOutcome(sent=True, detail=f"{argv[0]} was started")

    def _run_and_wait(self, argv: list[str], environ: dict[str, str]) -> DeliveryOutcome:
        with tempfile.TemporaryFile() as output:
            exit_code = run_command(argv, self._target.timeout, output.fileno(), environ)
            output_text = _read_tail(output)
        if output_text:
            log.info("%s: %s", self._name, output_text)
        if exit_code is None:
            return DeliveryOutcome(
                sent=False, detail=f"{argv[0]} ran longer than {self._target.timeout:.0f} s, and was ended"
            )
        if exit_code:
            return DeliveryOutcome(
                sent=False, detail=f"{argv[0]} ended with {exit_code}: {output_text[-MAX_DETAIL_CHARS:]}"
            )
        return DeliveryOutcome(sent=True, detail=f"{argv[0]} ended with 0")


def run_command(argv: list[str], seconds: float, output: int, environ: dict[str, str]) -> int | None:
    """Runs a command. Returns its exit code; None if its time was over, and then all that it started is killed."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def build_argv(command: tuple[str, ...], alert: Alert, zone: str) -> list[str]:
    """The arguments with the values of the alert. Strangers wrote these: they become neither an option nor a path."""
    values = message.placeholder_values(alert.changes[0], zone, alert.usual)
    safe = {name: text if name in message.ADDRESSES else text.replace("/", "_") for name, text in values.items()}
    filled = [(word, placeholders.fill(word, safe)) for word in command]
    return [f" {text}" if text.startswith("-") and not word.startswith("-") else text for word, text in filled]


def _read_tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - MAX_LOGGED_BYTES))
    return output.read().decode("utf-8", "replace").strip()
