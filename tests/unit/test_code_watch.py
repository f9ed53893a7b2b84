"""Changed code starts workers anew, once it is at rest and Python; nothing else does."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from livectl.ops.processes.code_watch import CodeWatch, read_stamps

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, said: list[str]) -> CodeWatch:
    seconds = count()
    return CodeWatch(folder, lambda: ["worker-a", "worker-b"], said.append, clock=lambda: float(next(seconds)))


def test_a_change_starts_each_worker_anew_once_it_is_at_rest(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text("x = 1\n")
    said: list[str] = []
    watch = make(tmp_path, said)
    assert watch() == []
    (tmp_path / "proj.py").write_text("x = 12\n")
    assert watch() == []  # it may still be written
    (tmp_path / "more.py").write_text("y = 1\n")
    assert watch() == []
    assert [(request.action, request.name, request.patient) for request in watch()] == [
        ("restart", "worker-a", True),
        ("restart", "worker-b", True),
    ]
    assert said == ["more.py, proj.py changed; started anew once running jobs are done: worker-a, worker-b"]
    assert watch() == watch() == []
    (tmp_path / "more.py").unlink()
    watch()
    assert len(watch()) == 2


def test_what_is_no_python_is_said_once_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text("x = 1\n")
    said: list[str] = []
    watch = make(tmp_path, said)
    (tmp_path / "proj.py").write_text("x = 1\ndef\n")
    assert [watch() for _ in range(5)] == [[]] * 5
    assert said == ["proj.py:2: invalid syntax: the workers go on with the code of before"]
    (tmp_path / "proj.py").write_text("x = 123\n")
    watch()
    assert len(watch()) == 2


def test_only_the_projects_own_code_is_looked_at(tmp_path: Path) -> None:
    for name in ("a.py", "pkg/b.py", ".git/c.py", "env/lib/d.py", "__pycache__/e.py", "node_modules/f.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert {str(path.relative_to(tmp_path)) for path in read_stamps(tmp_path)} == {"a.py", "pkg/b.py"}
