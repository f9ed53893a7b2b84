"""What `tasks:` of livectl.yaml says, which entry counts, and what a job is told apart by."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, Task

from livectl import settings
from livectl.errors import SettingsError, UsageError
from livectl.ops import deployment as deployments
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.jobs.sender import JobSender, ListeningWorkers
from livectl.ops.limits import partitions, retries, routes
from livectl.ops.limits.duplicates import claim_of
from livectl.ops.limits.partitions import MissingArgumentError
from livectl.ops.limits.slots import limit_of
from livectl.task_settings import TaskSettings, expected_of, parse_place, rule_for
from livectl.units import Rate

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
tasks:
  proj.*: {acks: early, unique: 10m, retry: 5}
  proj.mail*: {rate: 100/m}
  proj.mail:
    concurrency: 3
    per: args[0]
    retry: {times: 2, on: [OSError]}
    timeout: 30s
"""


def load(folder: Path, text: str) -> dict[str, TaskSettings]:
    (folder / "livectl.yaml").write_text(text)
    return settings.load({}, folder).tasks


def test_of_each_setting_the_most_specific_entry_counts(tmp_path: Path) -> None:
    rule = rule_for(load(tmp_path, FILE), "proj.mail")
    assert (rule.limit, rule.settings.concurrency, rule.settings.acks, rule.settings.timeout) == (
        "proj.mail",
        3,
        "early",
        30,
    )
    assert rule.settings.retry is not None
    assert (rule.settings.retry.times, rule.settings.retry.on) == (2, ("OSError",))


def test_what_holds_a_job_is_all_of_one_entry(tmp_path: Path) -> None:
    tasks = load(tmp_path, FILE)
    assert (rule_for(tasks, "proj.mail").settings.rate, rule_for(tasks, "proj.mail").settings.unique) == (None, None)
    assert rule_for(tasks, "proj.mails").limit == "proj.mail*"
    assert rule_for(tasks, "proj.other").settings.unique == settings.Unique(within=600)
    assert rule_for(tasks, "shop.other").limit == ""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{concurrency: 0}", "1:26: tasks.a: concurrency is how many run at a time"),
        ("{concurrency: many}", "1:26: tasks.a.concurrency wants a whole number, not text"),
        ("{rate: 3}", "1:19: tasks.a.rate: "),
        ("{rate: 3/s, per: arg.0}", "1:29: tasks.a.per: this names no argument"),
        ("{per: args.0}", "1:18: tasks.a: per needs what it counts for"),
        ("{unique: 0s}", "1:21: tasks.a.unique: there is no time within which jobs are unique"),
        ("{unique: {within: 1m, then: queue}}", "1:40: tasks.a.unique.then cannot be queue"),
        ("{unique: {within: 1m, by: [customer]}}", "tasks.a.unique.by.0: this names no argument"),
        ("{unique: 1m, debounce: 5s}", "1:21: tasks.a: unique and debounce exclude each other"),
        ("{retry: {times: 0}}", "1:28: tasks.a.retry: times is 1 or more"),
        ("{debounce: 0s}", "1:23: tasks.a: debounce takes some time"),
        (
            "{expect: {slower_than: 1x}}",
            "1:35: tasks.a.expect.slower_than: this is not how many times as long as usual",
        ),
        ("{expect: {start_within: 0s}}", "1:36: tasks.a.expect: start_within is some time"),
        ("{expect: {ends_within: 1m}}", "unknown key `ends_within` (do you mean end_within?)"),
        ("{expect: 1m}", "1:21: tasks.a.expect"),
        ("{priority: -1}", "1:23: tasks.a: a priority is a number"),
        ('{timeout: 5s, queue: ""}', "1:33: tasks.a: queue has no name"),
        ("{concurency: 1}", "1:13: unknown key `concurency` (do you mean concurrency?)"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_cure(entry: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, f"tasks: {{a: {entry}}}\n")
    assert message in str(raised.value)


def send(customer: str, urgent: bool = False) -> None: ...


SIGNATURE = inspect.signature(send)


def test_what_is_expected_of_a_task_follows_the_file(tmp_path: Path) -> None:
    tasks = [
        load(tmp_path, "tasks: {p.*: {expect: {slower_than: 2.5 x}}, p.a: {expect: {end_within: 1m}}, q: {queue: q}}")
    ]
    expects = expected_of(lambda: tasks[-1])
    (first, other, none) = (expects(name) for name in ("p.a", "p.b", "q"))
    assert first == settings.Expect(end_within=60.0)
    assert other == settings.Expect(slower_than=2.5)
    assert none is None
    tasks.append({})
    assert expects("p.a") is None


@pytest.mark.parametrize(
    ("per", "args", "kwargs", "found"),
    [
        ("args[0]", ["ada"], {}, "ada"),
        ("args.0", [], {"customer": "ada"}, "ada"),
        ("kwargs.customer", ["ada"], {}, "ada"),
        ("kwargs.customer", [], {"customer": 7}, "7"),
        ("kwargs.urgent", ["ada"], {}, "false"),
        ("task", [], {}, "proj.send"),
    ],
)
def test_an_argument_is_found_however_it_is_passed(per: str, args: Any, kwargs: Any, found: str) -> None:
    rule = TaskSettings(concurrency=1, per=parse_place(per))
    assert partitions.partition_of(rule, "proj.send", args, kwargs, SIGNATURE) == found


def test_an_argument_that_is_not_there_is_named() -> None:
    rule = TaskSettings(concurrency=1, per=parse_place("args[2]"))
    with pytest.raises(MissingArgumentError, match=r"has no args\[2\], by which `tasks:` in livectl.yaml counts proj"):
        partitions.partition_of(rule, "proj.send", ["ada"], {}, SIGNATURE)


def test_jobs_are_the_same_by_their_arguments() -> None:
    rule = rule_for({"proj.send": TaskSettings(unique=settings.Unique(within=60))}, "proj.send")
    claims = [
        claim_of(rule, SIGNATURE, "proj.send", args, kwargs)
        for args, kwargs in ((["ada"], {}), ([], {"urgent": False, "customer": "ada"}), (["bob"], {}))
    ]
    assert claims[0] == claims[1] != claims[2]


def test_a_rate_of_parts_is_one_job_in_more_time() -> None:
    rule = TaskSettings(rate=Rate(0.5, 60))
    assert (limit_of("a", rule).amount, limit_of("a", rule).window) == (1, 120)


def test_an_error_is_meant_by_its_class_or_one_above() -> None:
    assert retries.is_meant(ConnectionResetError(), settings.Retry(on=("OSError",)))
    assert retries.is_meant(ConnectionResetError(), settings.Retry(on=("builtins.ConnectionError",)))
    assert not retries.is_meant(ValueError(), settings.Retry(on=("OSError",)))


def ship(urgent: bool = False, **rest: Any) -> None: ...


class NoWorkers(JobSender):
    """Knows the tasks of its app alone."""

    def _ask_workers(self) -> ListeningWorkers:
        return ListeningWorkers({}, {}, 0)


@pytest.mark.parametrize(
    ("entry", "kwargs", "lacks"),
    [
        ("{concurrency: 1, per: kwargs.customer}", {}, "kwargs.customer"),
        ("{concurrency: 1, per: kwargs.urgent}", {}, ""),
        ("{concurrency: 1, per: kwargs.customer}", {"customer": "ada"}, ""),
        ("{rate: 5/m, per: 'args[3]'}", {}, r"args\[3\]"),
        ("{unique: {within: 1m, by: [kwargs.day]}}", {}, "kwargs.day"),
        ("{unique: 1m}", {}, ""),
    ],
)
def test_a_job_that_lacks_what_it_is_counted_by_is_not_sent(
    entry: str, kwargs: Any, lacks: str, tmp_path: Path
) -> None:
    app = Celery(set_as_current=False, broker="memory://")
    task = app.task(name="proj.send", shared=False)(ship)
    entries = load(tmp_path, f"tasks: {{proj.send: {entry}}}")
    deployment = deployments.from_app(app, settings.load({}, tmp_path))
    sender = NoWorkers(deployment, app, {"proj.send": task}, entries)
    request = JobRequest(task="proj.send", kwargs=kwargs, queue="q")
    with pytest.raises(UsageError, match=lacks or "nobody reads the queue q") as raised:
        sender.validate(request)
    assert isinstance(raised.value, MissingArgumentError) is bool(lacks)


def test_jobs_go_where_the_settings_say_unless_the_call_or_the_task_does() -> None:
    app = Celery(set_as_current=False, broker="memory://")
    app.conf.task_routes = {"proj.*": {"queue": "theirs"}}
    plain = app.task(name="proj.slow.sum", shared=False)(ship)

    class Own(Task):  # type: ignore[misc]
        name, queue, priority, app = "proj.slow.own", "mine", 1, None

    now = {"proj.slow.*": TaskSettings(queue="slow", priority=6), "proj.late": TaskSettings(priority=3)}
    routes.add(app, lambda: now)
    routes.add(app, dict)  # a second sender of the same app

    def goes(name: str, **options: Any) -> tuple[str, int | None]:
        routed = app.amqp.router.route(options, name)
        return routed["queue"].name, routed.get("priority")

    assert goes("proj.slow.sum") == ("slow", 6)
    assert goes("proj.slow.sum", queue="q", priority=2) == ("q", 2)
    assert goes("proj.slow.sum", **plain._get_exec_options()) == ("slow", 6)
    assert goes("proj.slow.own", **Own()._get_exec_options()) == ("mine", 1)
    assert goes("proj.other") == ("theirs", None)
    now["proj.slow.*"] = TaskSettings(queue="slower")
    assert goes("proj.slow.sum") == ("slower", None)
