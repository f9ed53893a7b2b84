"""A command run by die_with_parent ends with its parent, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from livectl.ops.processes import die_with_parent, process
from tests.support.processes import alive
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from pathlib import Path

# Starts a command that dies with it, in either of the two ways, and goes on.
PARENT = """
import os, subprocess, sys, time
from livectl.ops.processes import die_with_parent
way, *command = sys.argv[1:]
argv = die_with_parent.command_line(os.getpid(), command)
if way == "watch":
    watch = "die_with_parent.run_and_watch(int(sys.argv[1]), sys.argv[3:])"
    run = f"import sys; from livectl.ops.processes import die_with_parent; sys.exit({watch})"
    argv = [sys.executable, "-c", run, *argv[3:]]
child = subprocess.Popen(argv, start_new_session=True)
print(child.pid, flush=True)
time.sleep(300)
"""
# Writes its own pid and its child's, and waits.
FAMILY = """
import os, sys, time
pids = [os.getpid(), os.fork()]
if pids[1]:
    open(sys.argv[1] + ".new", "w").write(f"{pids[0]} {pids[1]}")
    os.replace(sys.argv[1] + ".new", sys.argv[1])
time.sleep(300)
"""
WAYS = ["watch"] + (["become"] if sys.platform == "linux" else [])


@pytest.mark.parametrize("way", WAYS)
def test_killed_parent_takes_the_command_along(tmp_path: Path, way: str) -> None:
    pids_path = tmp_path / "pids"
    argv = [sys.executable, "-c", PARENT, way, sys.executable, "-c", FAMILY, str(pids_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as parent:
        wait_for(pids_path.exists)
        command, grandchild = (int(word) for word in pids_path.read_text().split())
        assert alive(command)
        parent.kill()
    wait_for(lambda: not alive(command))
    if way == "watch":
        wait_for(lambda: not alive(grandchild))
    elif alive(grandchild):  # the kernel tells children only: Celery's pool asks for its own
        os.kill(grandchild, signal.SIGKILL)


def test_it_becomes_the_command_or_answers_as_it_does() -> None:
    argv = die_with_parent.command_line(os.getpid(), [sys.executable, "-c", "import sys; sys.exit(7)"])
    assert subprocess.run(argv, check=False).returncode == 7


def test_a_command_that_is_not_there_is_said_in_a_line() -> None:
    completed = subprocess.run(
        die_with_parent.command_line(os.getpid(), ["/no/such"]), capture_output=True, text=True, check=False
    )
    assert completed.returncode == 127
    assert completed.stderr == "cannot run /no/such: No such file or directory\n"


def test_signals_reach_the_command_through_the_process_that_watches() -> None:
    run = (
        "import sys, os; from livectl.ops.processes import die_with_parent; "
        "sys.exit(die_with_parent.run_and_watch(os.getppid(), sys.argv[1:]))"
    )
    # In short naps: a signal that comes right before one is heard after it.
    script = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(9))\nprint('up', flush=True)\n"
        "while True: time.sleep(0.1)"
    )
    argv = [sys.executable, "-c", run, sys.executable, "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as watching:
        assert watching.stdout
        watching.stdout.readline()
        watching.terminate()
        assert watching.wait(HANG_SECONDS) == 9


def test_a_process_is_known_by_its_beginning_too() -> None:
    with subprocess.Popen(["sleep", "300"]) as sleeper:
        identity = process.identify(sleeper.pid)
        assert identity
        assert process.is_alive(identity)
        assert not process.is_alive(process.ProcessIdentity(identity.pid, "another beginning"))
        assert process.send_signal(identity, signal.SIGKILL)
        assert process.wait_for_exit(identity, 5)  # though nobody has asked for its exit code yet
        assert not process.send_signal(identity, signal.SIGKILL)
