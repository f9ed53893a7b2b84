"""Generated settings of every style: Celery resolves the same before and after, and only names change."""

from __future__ import annotations

import io
import re
import sys
import tempfile
import tokenize
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import celery
from celery.app.defaults import DEFAULTS
from celery.exceptions import ImproperlyConfigured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livectl.ops.migration import plan
from livectl.ops.migration.names import ADDRESS_KEYS, KEYS, OLD_NAMES, SPLIT_KEYS, classify, is_generic

RESTATED = {*SPLIT_KEYS, *(part for parts in SPLIT_KEYS.values() for part in parts), *ADDRESS_KEYS}
NAMES = sorted(name for name, key in OLD_NAMES.items() if key not in RESTATED)
STRONG = [name for name in NAMES if not is_generic(name)]
APP = "import celery\napp = celery.Celery('x', set_as_current=False)\n"

values = st.one_of(  # all true: Celery passes over a broker_url that is not
    st.integers(1, 5),
    st.just(True),
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), min_size=1, max_size=2),
)
noise = st.lists(
    st.sampled_from(
        [
            "# BROKER_URL CELERY_RESULT_BACKEND\n",
            "\n",
            "CELERY_QUEUES_PREFIX = 'BROKER_URL'\n",
            "MY_BROKER_URL = ('CELERY_QUEUES', )  # CELERY_QUEUES\n",
            "'''BROKER_URL\n  CELERY_ROUTES'''\n",
            "def f(BROKER_URL = None):\n\treturn BROKER_URL\n",
            "x = [BROKER_HEARTBEAT for BROKER_HEARTBEAT in (1, )]\n",
        ]
    ),
    max_size=4,
)
chosen = st.dictionaries(st.sampled_from(STRONG), values, min_size=1, max_size=8)


def reads_old_names_beside_a_namespace() -> bool:
    app = celery.Celery("x", set_as_current=False)
    app.config_from_object({"CELERYD_CONCURRENCY": 9}, namespace="CELERY")
    return bool(app.conf.worker_concurrency == 9)


OLD_NAMES_BESIDE_NAMESPACE = reads_old_names_beside_a_namespace()  # since Celery 5.7


def spelt(draw: Any, name: str) -> str:
    """An old name as it stands, or already in the new spelling."""
    return str(draw(st.sampled_from([name, name, name, OLD_NAMES[name]])))


def lines(wanted: dict[str, Any], extra: list[str], indent: str = "") -> str:
    settled = [f"{name} = {value!r}\n" for name, value in wanted.items()]
    woven = [line for pair in zip(settled, extra, strict=False) for line in pair]
    woven += settled[len(extra) :] + extra[len(settled) :]
    return "".join(f"{indent}{line}" for text in woven for line in text.splitlines(keepends=True))


@st.composite
def sources(draw: Any) -> tuple[str, str, str, dict[str, Any]]:
    """The style, the file's name and text, and the settings written in it by their new names."""
    wanted = draw(chosen)
    style = draw(st.sampled_from(["module", "class", "dict", "update", "attributes", "django"]))
    named = {spelt(draw, name) if style != "django" else name: value for name, value in wanted.items()}
    expected = {OLD_NAMES.get(name, name): value for name, value in named.items()}
    extra = draw(noise)
    plain = [line for line in extra if "'''" not in line]
    if style == "module":
        return style, "celeryconfig.py", lines(named, extra), expected
    if style == "class":
        text = f"{APP}class Config:\n{lines(named, plain, '    ')}app.config_from_object(Config)\n"
    elif style == "dict":
        text = f"{APP}{''.join(plain)}options = {named!r}\napp.config_from_object(options)\n"
    elif style == "update":
        pairs = ",\n  ".join(f"{name} = {value!r}" for name, value in named.items())
        text = f"{APP}{''.join(plain)}app.conf.update({pairs} , )\n"
    elif style == "attributes":
        pairs = "".join(f"app . conf . {name} = {value!r}; " for name, value in named.items())
        text = f"{APP}{''.join(plain)}{pairs}\n"
    else:
        text = f"{APP}INSTALLED_APPS = []\n{lines(named, extra)}app.config_from_object(__name__, namespace='CELERY')\n"
    return style, "app.py", text, expected


def resolved(style: str, text: str) -> dict[str, str]:
    """What Celery's own resolver makes of it."""
    module = ModuleType("generated")
    sys.modules["generated"] = module
    try:
        exec(compile(text, "generated.py", "exec"), module.__dict__)
        if style == "module":
            app = celery.Celery("x", set_as_current=False)
            app.config_from_object(SimpleNamespace(**module.__dict__))
        else:
            app = module.app
        return {key: repr(getattr(app.conf, key, None)) for key in sorted(KEYS)}
    finally:
        del sys.modules["generated"]


def tokens(text: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(text).readline))


def test_the_generator_reaches_all_strong_names() -> None:
    assert len(STRONG) > 100


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(sources())
def test_celery_resolves_the_same_and_only_names_change(source: tuple[str, str, str, dict[str, Any]]) -> None:
    style, name, text, expected = source
    namespace = "CELERY" if style == "django" else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / name
        path.write_text(text)
        made = plan.make_plan([path])
        assert not made.refused
        after = made.files[0].after.decode() if made.files else text
        path.write_text(after)
        assert not plan.make_plan([path]).files  # a second run does nothing

    was, now = tokens(text), tokens(after)
    assert [token.type for token in was] == [token.type for token in now]
    for one, other in zip(was, now, strict=True):
        if one.string != other.string:
            old, new = (re.sub(r"^['\"]|['\"]$", "", token.string) for token in (one, other))
            verdict = classify(old, namespace)
            assert verdict is not None
            assert verdict.new == (new,)

    settled = resolved(style, after)
    assert {key: settled[key] for key in expected} == {key: repr(value) for key, value in expected.items()}
    try:
        before = resolved(style, text)
    except ImproperlyConfigured:
        return  # a mix of names, which Celery refuses: there is nothing to compare
    differing = {key for key in settled if before[key] != settled[key]}
    assert differing <= (set() if style != "django" or OLD_NAMES_BESIDE_NAMESPACE else expected.keys())
    assert all(before[key] == repr(DEFAULTS.get(key)) for key in differing)
