"""The settings of a Celery app: what is in force, where it comes from, and the names that somebody wrote."""

from __future__ import annotations

from inspect import isclass, isfunction, ismodule
from typing import TYPE_CHECKING, Any

from livectl.doctor.facts import Conf, Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CODE = "Celery(...) or app.conf"
DEFAULT_BROKER = "amqp://"
# What the environment says goes before all code; the last two are read by `celery` on its command line alone.
VARIABLES = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "result_backend",
    "BROKER_URL": "broker_url",
    "RESULT_BACKEND": "result_backend",
}


def read(app: Any, environ: Mapping[str, str]) -> Conf:
    """Of an app whose settings can be resolved; whatever Celery raises about them is raised."""
    values = {key: getattr(app.conf, key, None) for key in _keys()}
    written = tuple(_written(app))
    origins = dict(_origins(environ, written, values))
    return Conf(
        values=values,
        origins=origins,
        written=written,
        overruled=dict(_overruled(app, environ)),
        source=_source(app) if app._config_source else "",
    )


def _keys() -> list[str]:
    from celery.app.defaults import SETTING_KEYS

    return sorted(SETTING_KEYS)


def _source(app: Any) -> str:
    """As it was named, or its type."""
    source = app._config_source
    if isinstance(source, str):
        return source
    return str(getattr(source, "__name__", "") or type(source).__name__)


def _written(app: Any) -> Iterator[Written]:
    """Names in the source, then names that code has set. Imports and functions of a module are no settings."""
    if app._config_source:
        source = _source(app)
        said = app.loader.conf
        for name in said:
            if isinstance(name, str) and not name.startswith("_") and not _is_code(_value(said, name)):
                yield Written(name=name, where=source, namespace=app.namespace)
    for name in app.conf.changes:
        if isinstance(name, str) and not name.startswith("_") and name != "deprecated_settings":
            yield Written(name=name, where=CODE)


def _value(said: Any, name: str) -> Any:
    try:
        return said[name]
    except Exception:
        return None


def _is_code(value: Any) -> bool:
    return ismodule(value) or isfunction(value) or isclass(value)


def _origins(
    environ: Mapping[str, str], written: tuple[Written, ...], values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """The last to speak is the one that counts: defaults < the source < code < the environment."""
    from celery.app.defaults import DEFAULTS

    from livectl.ops.migration import names

    for one in sorted(written, key=lambda one: one.where == CODE):
        verdict = names.judged(one.name, one.namespace)
        if verdict and verdict.was_read and verdict.key in values and values[verdict.key] != DEFAULTS.get(verdict.key):
            yield verdict.key, one.where
    for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if environ.get(variable):
            yield VARIABLES[variable], variable


def _overruled(app: Any, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variable -> the address that the app's own code or source says, where that is another one."""
    from livectl.ops.jobs.redaction import redact_text

    for variable, key in VARIABLES.items():
        said = environ.get(variable)
        own = app.conf.first(key, "CELERY_RESULT_BACKEND" if key == "result_backend" else "broker_host")
        if said and own and isinstance(own, str) and own != said and not _overruled_already(variable, environ):
            yield variable, redact_text(own)


def _overruled_already(variable: str, environ: Mapping[str, str]) -> bool:
    """Of the two spellings, the command line's goes into the other one."""
    return variable.startswith("CELERY_") and bool(environ.get(variable.removeprefix("CELERY_")))
