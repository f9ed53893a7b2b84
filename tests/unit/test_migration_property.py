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
other_lines = st.lists(
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
old_settings = st.dictionaries(st.sampled_from(STRONG), values, min_size=1, max_size=8)


def reads_old_names_beside_a_namespace() -> bool:
    app = celery.Celery("x", set_as_current=False)
    app.config_from_object({"CELERYD_CONCURRENCY": 9}, namespace="CELERY")
    return bool(app.conf.worker_concurrency == 9)


OLD_NAMES_BESIDE_NAMESPACE = reads_old_names_beside_a_namespace()  # since Celery 5.7


def spell(draw: Any, name: str) -> str:
    """An old name as it stands, or already in the new spelling."""
    return str(draw(st.sampled_from([name, name, name, OLD_NAMES[name]])))


def write_lines(settings_by_name: dict[str, Any], extra: list[str], indent: str = "") -> str:
    bindings = [f"{name} = {value!r}\n" for name, value in settings_by_name.items()]
    woven = [line for pair in zip(bindings, extra, strict=False) for line in pair]
    woven += bindings[len(extra) :] + extra[len(bindings) :]
    return "".join(f"{indent}{line}" for text in woven for line in text.splitlines(keepends=True))


@st.composite
def sources(draw: Any) -> tuple[str, str, str, dict[str, Any]]:
    """The style, the file's name and text, and the settings written in it by their new names."""
    settings_by_name = draw(old_settings)
    style = draw(st.sampled_from(["module", "class", "dict", "update", "attributes", "django"]))
    named = {spell(draw, name) if style != "django" else name: value for name, value in settings_by_name.items()}
    expected = {OLD_NAMES.get(name, name): value for name, value in named.items()}
    extra = draw(other_lines)
    plain = [line for line in extra if "'''" not in line]
    if style == "module":
        return style, "celeryconfig.py", write_lines(named, extra), expected
    if style == "class":
        text = f"{APP}class Config:\n{write_lines(named, plain, '    ')}app.config_from_object(Config)\n"
    elif style == "dict":
        text = f"{APP}{''.join(plain)}options = {named!r}\napp.config_from_object(options)\n"
    elif style == "update":
        pairs = ",\n  ".join(f"{name} = {value!r}" for name, value in named.items())
        text = f"{APP}{''.join(plain)}app.conf.update({pairs} , )\n"
    elif style == "attributes":
        pairs = "".join(f"app . conf . {name} = {value!r}; " for name, value in named.items())
        text = f"{APP}{''.join(plain)}{pairs}\n"
    else:
        text = f"{APP}INSTALLED_APPS = []\n{write_lines(named, extra)}"
        text += "app.config_from_object(__name__, namespace='CELERY')\n"
    return style, "app.py", text, expected


def resolve(style: str, text: str) -> dict[str, str]:
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

    before_tokens, after_tokens = tokens(text), tokens(after)
    assert [token.type for token in before_tokens] == [token.type for token in after_tokens]
    for before_token, after_token in zip(before_tokens, after_tokens, strict=True):
        if before_token.string != after_token.string:
            old, new = (re.sub(r"^['\"]|['\"]$", "", token.string) for token in (before_token, after_token))
            classification = classify(old, namespace)
            assert classification is not None
            assert classification.new == (new,)

    resolved_after = resolve(style, after)
    assert {key: resolved_after[key] for key in expected} == {key: repr(value) for key, value in expected.items()}
    try:
        before = resolve(style, text)
    except ImproperlyConfigured:
        return  # a mix of names, which Celery refuses: there is nothing to compare
    differing = {key for key in resolved_after if before[key] != resolved_after[key]}
    assert differing <= (set() if style != "django" or OLD_NAMES_BESIDE_NAMESPACE else expected.keys())
    assert all(before[key] == repr(DEFAULTS.get(key)) for key in differing)
