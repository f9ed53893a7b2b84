"""Work that blocks, done where it blocks nobody else: in a real thread, when this one belongs to a green pool."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def run_in_real_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` answers. Other greenlets run meanwhile; without any, it is simply called."""
    if "gevent" in sys.modules:
        from gevent.monkey import is_module_patched

        if is_module_patched("threading"):
            from gevent import get_hub

            result: T = get_hub().threadpool.apply(function, args, kwargs)
            return result
    if "eventlet" in sys.modules:
        from eventlet.patcher import is_monkey_patched

        if is_monkey_patched("thread"):
            from eventlet import tpool

            return tpool.execute(function, *args, **kwargs)  # type: ignore[no-any-return]
    return function(*args, **kwargs)
