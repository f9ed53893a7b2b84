"""The names by which a background process is stopped."""

from __future__ import annotations

import socket

import pytest

from livectl.ops.services.background import BackgroundProcess, _names_of

HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("name", "argv", "called"),
    [
        ("worker-w1", ["-n", "w1@%h"], {"w1", "worker-w1", f"w1@{HOST}"}),
        ("worker-w1@far", ["-n", "w1@far"], {"w1", "worker-w1", "w1@far", "worker-w1@far"}),
        ("worker", ["-n", "worker-12@%h"], {"worker", "worker-12", f"worker-12@{HOST}"}),
        ("beat", ["beat"], {"beat"}),
    ],
)
def test_a_process_has_the_names_that_people_give(name: str, argv: list[str], called: set[str]) -> None:
    running = BackgroundProcess(name=name, argv=argv, cwd="/", environ={}, pid=1, started="", log="")
    assert called <= _names_of(running)
    assert not {"w2", "worker-w2"} & _names_of(running)
