"""The effective configuration of a Celery app, told as JSON; run on its own, in the project's Python.

Reads one JSON object on stdin: `app` or `module` says what is asked, `overlay` holds files that are to be read with
other content than they have. Needs nothing but Celery. Nothing here connects anywhere.
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
    asked = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the project prints is not the answer
    sys.dont_write_bytecode = True
    sys.path.insert(0, asked["folder"])
    lay({path: base64.b64decode(data) for path, data in asked["overlay"].items()})
    answer: dict[str, Any]
    try:
        app = resolved(asked)
        answer = {"settings": described(app, asked["keys"]), "set": own(app)}
    except BaseException as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        answer = {"error": text, "refused": "Cannot mix" in text}
    json.dump(answer, out)
    out.flush()


def lay(overlay: dict[str, bytes]) -> None:
    """From here on the files of the overlay read as it says, for imports and for open()."""
    loader: Any = importlib.machinery.SourceFileLoader
    get_data, open_file = loader.get_data, builtins.open
    folders = {os.path.dirname(path) for path in overlay}  # noqa: PTH120

    def overlaid(self: Any, path: str) -> bytes:
        real = os.path.realpath(path)
        if path.endswith(".pyc") and os.path.dirname(os.path.dirname(real)) in folders:  # noqa: PTH120
            raise OSError(path)
        return overlay[real] if real in overlay else bytes(get_data(self, path))

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        real = os.path.realpath(file) if isinstance(file, str | os.PathLike) else ""
        if real not in overlay or set(mode) & set("wax+"):
            return open_file(file, mode, *args, **kwargs)
        stream = io.BytesIO(overlay[real])
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding=kwargs.get("encoding") or "utf-8")

    loader.get_data = overlaid
    builtins.open = opened


def resolved(asked: dict[str, Any]) -> Any:
    if asked.get("app"):
        from celery.app.utils import find_app

        return find_app(asked["app"])
    import celery

    app = celery.Celery("livectl.probe", set_as_current=False)
    source = loaded(asked["module"])
    if asked.get("upper"):  # as Flask keeps them
        source = {name: getattr(source, name) for name in dir(source) if name.isupper()}
    app.config_from_object(source, namespace=asked.get("namespace"))
    return app


def loaded(name: str) -> Any:
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    return found


def described(app: Any, keys: list[str]) -> dict[str, str]:
    """Every setting as Celery resolves it, and where it would connect."""
    from celery.app.defaults import SETTING_KEYS

    conf = app.conf
    settings = {key: told(getattr(conf, key, None)) for key in sorted({*SETTING_KEYS, *keys})}
    settings["(broker address)"] = address(app)
    for part in ("task_acks_on_failure", "task_acks_on_timeout"):
        value = getattr(conf, part, None)
        settings[f"({part})"] = told(conf.task_acks_on_failure_or_timeout if value is None else value)
    return settings


def own(app: Any) -> list[str]:
    """The settings that are not what Celery takes by itself."""
    from celery.app.defaults import DEFAULTS

    return [key for key, value in DEFAULTS.items() if told(getattr(app.conf, key, None)) != told(value)]


def address(app: Any) -> str:
    try:
        connection = app.connection_for_write()
        return " ".join([connection.as_uri(include_password=True), str(connection.transport_options)])
    except Exception as error:
        return type(error).__name__


def told(value: Any) -> str:
    """A value as text that two processes agree on: addresses in memory left out, sets in order."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(told, value)))}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{told(k)}: {told(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(told, value))})"
    return ADDRESS.sub("", repr(value))


if __name__ == "__main__":
    main()
