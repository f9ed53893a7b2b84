from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from livectl.atomic_write import write_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_gets_the_mode_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "follows.yaml"
    write_file(path, "ä\r\n", mode=0o640)
    assert path.read_bytes() == b"\xc3\xa4\r\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    path.write_bytes(b"old")
    link.symlink_to(path)
    write_file(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_nothing_is_left_behind_when_the_last_step_fails(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(OSError):
        write_file(folder, b"new")
    assert list(tmp_path.iterdir()) == [folder]
