"""Has failed jobs tried again as `tasks:` says, by Celery's own retries: states and counts are as ever."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject
from celery.exceptions import Retry as RetryError
from celery.utils.time import get_exponential_backoff_interval

from livectl.task_settings import rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livectl.task_settings import Retry, TaskSettings

LONGEST_BACKOFF_S = 600


def wrap(app: Any, current: Callable[[], Mapping[str, TaskSettings]]) -> None:
    """Wraps those tasks of the app that an entry has tried again; called before children are forked.

    A later change of such an entry counts at once, a new one from the next start of the worker on.
    """
    for name, task in app.tasks.items():
        if rule_for(current(), name).settings.retry is not None and not hasattr(task, "_run_of_app"):
            task._run_of_app, task.run = task.run, _retried(task, current)


def _retried(task: Any, current: Callable[[], Mapping[str, TaskSettings]]) -> Callable[..., Any]:
    own = task.run

    @wraps(own)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return own(*args, **kwargs)
        except (Ignore, Reject, RetryError):
            raise
        except Exception as error:
            retry = rule_for(current(), task.name).settings.retry
            if retry is None or not is_meant(error, retry) or task.request.called_directly:
                raise
            pause = _pause(retry, task.request.retries)
            raise task.retry(exc=error, countdown=pause, max_retries=retry.times) from error

    return run


def is_meant(error: BaseException, retry: Retry) -> bool:
    """Whether one of its classes has a name that `on` says: ConnectionError, or requests.exceptions.Timeout."""
    names = {name for kind in type(error).__mro__ for name in (kind.__name__, f"{kind.__module__}.{kind.__qualname__}")}
    return not names.isdisjoint(retry.on)


def _pause(retry: Retry, tries: int) -> float:
    """Of a second at least, in whole seconds, as Celery counts them."""
    longest = max(LONGEST_BACKOFF_S, int(retry.backoff))
    return float(get_exponential_backoff_interval(max(1, int(retry.backoff)), tries, longest, full_jitter=True))
