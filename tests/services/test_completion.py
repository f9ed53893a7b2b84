"""Tab completes what files and store know, in the shell itself, quietly and without starting anything."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from livectl import cli, completing, redis_client, tasks
from livectl.address import Address
from livectl.context import CommandContext
from livectl.live.follows import follow_list
from livectl.ops.jobs import history
from livectl.ops.jobs.history import JobNote
from tests.support.waiting import wait_for

LISTS = sorted(name for name in vars(completing.Lists) if not name.startswith("_"))


@pytest.fixture
def folder(tmp_path: Path, store_url: str) -> Path:
    """What a user has: files, and a store with a worker and jobs."""
    (tmp_path / "follows.yaml").write_text(
        "follows:\n  - {url: demo/ada, name: 阿达, tags: [code]}\n  - {url: twitch/grace, tags: [games, code]}\n"
    )
    (tmp_path / "schedules.yaml").write_text("schedules: {nightly: {task: proj.night, every: 1d}}\n")
    (tmp_path / "livectl.yaml").write_text(f"broker: {store_url}\nalerts: {{phone: {{command: [echo]}}}}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "worker-w1.json").write_text("{}")
    with redis_client.connect(Address.parse(store_url)) as store:
        for worker in ("w1@here", "w2@here", "w2@there"):
            box = f"{worker}.celery.pidbox"
            store.execute("SADD", "_kombu.binding.celery.pidbox", f"\x06\x16\x06\x16{box}")
        store.execute("SADD", "_kombu.binding.mail", "mail\x06\x16\x06\x16mail")
        for number, job_id in enumerate(("older", "newer")):
            note = JobNote(facts={"task": "proj.mail", "sent": time.time() + number})
            store.execute_all([history.note_command({job_id: note})])
        store.execute("HSET", "livectl:dead", "letter", "x")
    return tmp_path


def complete(folder: Path, *words: str, **environ: str) -> list[str]:
    """What the shell would offer for the last of these words."""
    context = CommandContext({"LIVECTL_HOME": str(folder), **environ}, folder, io.StringIO(), io.StringIO())
    completion = ShellComplete(cli.root, {"obj": context}, "livectl", "_LIVECTL_COMPLETE")
    return [item.value for item in completion.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("check", ""), ["demo/ada", "twitch/grace"]),
        (("check", "gra"), ["twitch/grace"]),
        (("check", "阿"), ["demo/ada"]),
        (("check", "demo/ada", ""), ["twitch/grace"]),
        (("history", "tw"), ["twitch/grace"]),
        (("follow", "remove", "d"), ["demo/ada"]),
        (("follow", "add", "x/y", "--tag", "g"), ["games"]),
        (("follow", "add", "x/y", "--alert", "ph"), ["phone"]),
        (("live", "--tag", ""), ["code", "games"]),
        (("live", "--platform", "dou"), ["douyu", "douyin"]),
        (("schedules", "run", ""), ["nightly"]),
        (("alerts", "test", ""), ["phone"]),
        (("workers", "stop", ""), ["w1", "w2@here", "w2@there"]),
        (("health", "-n", "w1"), ["w1@here"]),
        (("queues", "peek", "m"), ["mail"]),
        (("queues", "-Q", "li"), ["livectl"]),
        (("call", "proj."), ["proj.mail", "proj.night"]),
        (("call", "livectl.p"), ["livectl.ping", "livectl.prune"]),
        (("-A", "proj", "call", ""), ["proj.mail", "proj.night"]),
        (("status", ""), ["newer", "older"]),
        (("revoke", "newer", ""), ["older"]),
        (("dead", "show", ""), ["letter"]),
        (("stop", ""), ["worker-w1"]),
        (("history", "--tz", "Europe/Pari"), ["Europe/Paris"]),
        (("stat",), ["status"]),
        (("help", "plat"), ["platforms"]),
        (("help", "schedules", "res"), ["resume"]),
        (("help", "nothing", "x"), []),
        (("live", "--so"), ["--sort"]),
        (("live", "--js"), ["--json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_each_name_is_completed(folder: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert complete(folder, *words) == offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("check", ""), ["demo/ada", "twitch/grace"]),
        (("check", "gra"), ["twitch/grace"]),
        (("check", "阿"), ["demo/ada"]),
        (("history", "tw"), ["twitch/grace"]),
        (("history", "demo/A"), []),
        (("history", "demo/a"), ["demo/ada"]),
        (("live", "--tag", ""), ["code", "games"]),
        (("live", "--tag", "ga"), ["games"]),
    ],
)
def test_of_a_long_list_names_are_completed_without_reading_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], offered: list[str]
) -> None:
    monkeypatch.setattr(follow_list, "LONG_BYTES", -1)
    monkeypatch.setattr(follow_list, "load", None)
    assert complete(folder, *words) == offered


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "settings", ["", "broker: redis://127.0.0.1:1\n", "broker: redis://no-such-host.invalid\n", "broker: [\n"]
)
def test_nothing_is_offered_and_nothing_said_where_there_is_nothing(
    name: str, settings: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "livectl.yaml").write_text(settings)
    for app in (None, "no.such.app"):
        context = CommandContext({"LIVECTL_HOME": str(tmp_path)}, tmp_path, io.StringIO(), io.StringIO())
        context.app = app
        ctx = click.Context(click.Command("x"), obj=context)
        began = time.monotonic()
        items = completing.complete(name)(ctx, click.Argument(["x"]), "zz-nobody")
        assert time.monotonic() - began < 10 * completing.TIME_LIMIT_S
        assert items == []
    assert capfd.readouterr() == ("", "")


def test_celery_is_not_imported_and_nothing_is_started(folder: Path) -> None:
    lines = [f"sorted(getattr(lists, {name!r})())" for name in LISTS]
    code = (
        "import sys, io, os\nfrom pathlib import Path\nfrom livectl import completing, context\n"
        "c = context.CommandContext(os.environ, Path.cwd(), io.StringIO(), io.StringIO())\n"
        f"lists = completing.Lists(c)\nfound = [{', '.join(lines)}]\n"
        "print(sorted({'celery', 'kombu', 'redis', 'rich', 'asyncio'} & set(sys.modules)), all(found))"
    )
    environ = {**os.environ, "LIVECTL_HOME": str(folder)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("[] True\n", "")


def test_the_own_tasks_are_those_that_there_are() -> None:
    named = {str(task.name) for task in vars(tasks).values() if hasattr(task, "apply_async")}
    assert set(completing.OWN_TASKS) == {name for name in named if name.startswith("livectl.")}


def run(home: Path, *argv: str, shell: str = "/bin/bash") -> tuple[int, str]:
    out = io.StringIO()
    code = cli.main(argv, CommandContext({"HOME": str(home), "SHELL": shell}, home, out, io.StringIO()))
    return code, out.getvalue()


@pytest.mark.parametrize(
    ("shell", "script", "profile"),
    [
        ("bash", ".local/share/bash-completion/completions/livectl", ".bashrc"),
        ("zsh", ".zfunc/_livectl", ".zshrc"),
        ("fish", ".config/fish/completions/livectl.fish", ""),
    ],
)
@pytest.mark.parametrize("loader", [True, False], ids=["with bash-completion", "without"])
def test_it_is_installed_once_with_the_way_back(
    shell: str, script: str, profile: str, loader: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livectl.commands.completion.BASH_LOADERS", (__file__,) if loader else ())
    profile = "" if shell == "bash" and loader else profile
    if profile:
        (tmp_path / profile).write_text("alias ll='ls -l'")  # whose last line does not end
    code, said = run(tmp_path, "completion", "--install", shell=f"/usr/bin/{shell}")
    written = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert code == 0
    assert f"Wrote {tmp_path / script}" in said
    assert f"To undo it, remove {tmp_path / script}" in said
    assert sorted(written) == sorted(tmp_path / name for name in (script, profile) if name)
    if profile:
        assert written[tmp_path / profile].splitlines()[0] == "alias ll='ls -l'"
        assert written[tmp_path / profile].splitlines()[1].endswith("# livectl completion")
        assert f"{tmp_path / profile}" in said
    code, said = run(tmp_path, "completion", shell, "--install", "--json")
    assert json.loads(said)["changed"] == []
    assert {path: path.read_text() for path in written} == written


def test_a_shell_that_is_not_known_has_to_be_named(tmp_path: Path) -> None:
    assert run(tmp_path, "completion", "--install", shell="/bin/tcsh")[0] == 2


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_it_at_tab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real shell reads what was installed, and its own completion fills in the words."""
    monkeypatch.setattr("livectl.commands.completion.BASH_LOADERS", ())
    run(folder, "completion", "--install")
    program = folder / "bin" / "livectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m livectl "$@"\n')
    program.chmod(0o755)
    script = (
        "source ~/.bashrc\n"
        'tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _livectl_completion livectl; '
        'echo "${COMPREPLY[@]}"; }\n'
        "tab livectl check tw; tab livectl alerts test ''; tab livectl sched"
    )
    environ = {"HOME": str(folder), "LIVECTL_HOME": str(folder), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    environ["PYTHONPATH"] = str(Path(cli.__file__).parents[1])
    argv = ["bash", "--norc", "-c", script]

    def offered() -> bool:  # a busy machine may need more than the time that Tab waits
        ran = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=True)
        return (ran.stdout.splitlines(), ran.stderr) == (["twitch/grace", "phone", "schedules"], "")

    wait_for(offered)
