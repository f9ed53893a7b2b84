"""What is to follow a job, as a command line spells it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from livectl.errors import UsageError
from livectl.ops.jobs.canvas import RESULT_BEFORE, Canvas, parse_step, read_canvas, requests_to_check
from livectl.ops.jobs.job_request import JobStep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("proj.note", JobStep(task="proj.note")),
        ("proj.mul 10 factor=2", JobStep(task="proj.mul", args=(10,), kwargs={"factor": 2})),
        ("proj.note 'two words' [1,2] a-b=c", JobStep(task="proj.note", args=("two words", [1, 2], "a-b=c"))),
        ("proj.note --immutable -3", JobStep(task="proj.note", args=(-3,), immutable=True)),
    ],
)
def test_a_step_is_a_task_and_its_arguments(text: str, step: JobStep) -> None:
    assert parse_step("--chain", text) == step


@pytest.mark.parametrize("text", ["", "  ", "--immutable", "proj.note 'open"])
def test_a_step_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--chain"):
        parse_step("--chain", text)


@pytest.mark.parametrize(
    "value",
    [
        "proj.add 1",
        {"task": "proj.add", "args": [1], "queue": "slow"},
        {"chain": ["proj.add 1", {"group": ["proj.mul", {"chain": ["proj.mul 2", "proj.mul 3"]}]}]},
        {"chord": [["proj.add 1", "proj.add 2"], "proj.note"]},
    ],
)
def test_a_canvas_is_read_from_text_or_file(value: Any, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps(value))
    canvas = read_canvas(json.dumps(value), tmp_path)
    assert isinstance(canvas, Canvas)
    assert read_canvas("@jobs.json", tmp_path) == canvas


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "canvas is no task, chain, group or chord"),
        ('{"chain": []}', "chain is empty"),
        ('{"chain": ["a", {"group": [3]}]}', "group[0] is no task"),
        ('{"chord": ["a"]}', "chord has no list of its parts"),
        ('{"chord": [[], "a"]}', "chord is empty"),
        ('{"task": "a", "arg": [1]}', "arg"),
        ("@nowhere.json", "No such file"),
    ],
)
def test_a_canvas_that_is_none_is_refused_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_canvas(text, tmp_path)
    assert says in caught.value.message


def test_who_follows_another_is_given_its_result(tmp_path: Path) -> None:
    text = '{"chain": ["a 1", {"group": ["b", {"chain": ["c --immutable", "d"]}]}, {"chord": [["e", "f"], "g"]}]}'
    given = {request.task: request.args for request in requests_to_check(read_canvas(text, tmp_path))}
    assert {task for task, args in given.items() if RESULT_BEFORE in args} == {"b", "d", "e", "f", "g"}
