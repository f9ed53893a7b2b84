"""Writes the effective configuration of a Celery app as JSON. A script of its own, run by the project's Python.

It reads one JSON object from stdin: `app` or `module` is what to resolve, `overlay` holds other content for some files.
It needs nothing but Celery, and connects nowhere.
"""

from __future__ import annotations

import base64
import builtins
import importlib.machinery
import io
import json
import os
import re
import sys
from typing import Any

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def main() -> None:
    request = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the project prints stays out of the reply
    sys.dont_write_bytecode = True
    sys.path.insert(0, request["folder"])
    install_overlay({path: base64.b64decode(data) for path, data in request["overlay"].items()})
    reply: dict[str, Any]
    try:
        app = load_app(request)
        reply = {"settings": effective_settings(app, request["keys"]), "set": non_default_settings(app)}
    except BaseException as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        reply = {"error": text, "refused": "Cannot mix" in text}
    json.dump(reply, out)
    out.flush()


def install_overlay(overlay: dict[str, bytes]) -> None:
    """Makes imports and open() read the content of the overlay in place of these files."""
    loader: Any = importlib.machinery.SourceFileLoader
    get_data, open_file = loader.get_data, builtins.open
    folders = {os.path.dirname(path) for path in overlay}  # noqa: PTH120

    def get_overlaid_data(self: Any, path: str) -> bytes:
        real = os.path.realpath(path)
        if path.endswith(".pyc") and os.path.dirname(os.path.dirname(real)) in folders:  # noqa: PTH120
            raise OSError(path)
        return overlay[real] if real in overlay else bytes(get_data(self, path))

    def open_overlaid(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        real = os.path.realpath(file) if isinstance(file, str | os.PathLike) else ""
        if real not in overlay or set(mode) & set("wax+"):
            return open_file(file, mode, *args, **kwargs)
        stream = io.BytesIO(overlay[real])
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding=kwargs.get("encoding") or "utf-8")

    loader.get_data = get_overlaid_data
    builtins.open = open_overlaid


def load_app(request: dict[str, Any]) -> Any:
    if request.get("app"):
        from celery.app.utils import find_app

        app = find_app(request["app"])
        if hasattr(app, "conf"):
            return app
        return find_celery_beside(request["app"], app)
    import celery

    app = celery.Celery("livectl.probe", set_as_current=False)
    source = load_object(request["module"])
    if request.get("upper"):  # as Flask keeps them
        source = {name: getattr(source, name) for name in dir(source) if name.isupper()}
    app.config_from_object(source, namespace=request.get("namespace"))
    return app


def find_celery_beside(name: str, other: Any) -> Any:
    """The Celery app in the module of an object that is none, say one of Flask."""
    import celery

    module_name = name.partition(":")[0]
    module = sys.modules.get(module_name) or sys.modules.get(module_name.rpartition(".")[0])
    apps = {key: value for key, value in vars(module).items() if isinstance(value, celery.Celery)}
    if not apps:
        raise TypeError(f"{name} is a {type(other).__name__} object, not a Celery app; name one with -A")
    return next(iter(apps.values()))


def load_object(name: str) -> Any:
    module, _, attribute = name.partition(":")
    value: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        value = getattr(value, part)
    return value


def effective_settings(app: Any, keys: list[str]) -> dict[str, str]:
    """Every setting as Celery resolves it, and the address to which it would connect."""
    from celery.app.defaults import SETTING_KEYS

    conf = app.conf
    settings = {key: stable_text(getattr(conf, key, None)) for key in sorted({*SETTING_KEYS, *keys})}
    settings["(broker address)"] = broker_address(app)
    for part in ("task_acks_on_failure", "task_acks_on_timeout"):
        value = getattr(conf, part, None)
        settings[f"({part})"] = stable_text(conf.task_acks_on_failure_or_timeout if value is None else value)
    return settings


def non_default_settings(app: Any) -> list[str]:
    """The settings that differ from Celery's defaults."""
    from celery.app.defaults import DEFAULTS

    return [key for key, value in DEFAULTS.items() if stable_text(getattr(app.conf, key, None)) != stable_text(value)]


def broker_address(app: Any) -> str:
    try:
        connection = app.connection_for_write()
        return " ".join([connection.as_uri(include_password=True), str(connection.transport_options)])
    except Exception as error:
        return type(error).__name__


def stable_text(value: Any) -> str:
    """A value as text that is the same in two processes: no addresses in memory, sets in order."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(stable_text, value)))}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{stable_text(key)}: {stable_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(stable_text, value))})"
    return ADDRESS.sub("", repr(value))


if __name__ == "__main__":
    main()
