"""The table of names: every old one, behind a namespace and without, and the ones people get wrong."""

from __future__ import annotations

import pytest
from celery import Celery
from celery.app.defaults import _TO_NEW_KEY

from livectl.ops.migration.names import (
    DOCUMENTED_OLD,
    GUESSES,
    KEYS,
    OLD_NAMES,
    REMOVED,
    SPLIT_KEYS,
    classify,
    is_ambiguous_with_namespace,
    nearest_setting,
)


@pytest.mark.parametrize("old", sorted(OLD_NAMES))
def test_each_old_name_has_its_new_one_in_both_styles(old: str) -> None:
    plain, namespaced = classify(old, None), classify(old, "CELERY")
    assert plain is not None
    assert namespaced is not None
    assert plain.key == namespaced.key == _TO_NEW_KEY[old]
    if plain.key not in SPLIT_KEYS:
        assert plain.new == (_TO_NEW_KEY[old],)
        assert namespaced.new == (f"CELERY_{_TO_NEW_KEY[old].upper()}",)


@pytest.mark.parametrize("key", sorted(KEYS - SPLIT_KEYS.keys()))
def test_a_new_name_is_left_alone(key: str) -> None:
    for name, namespace in ((key, None), (f"CELERY_{key.upper()}", "CELERY"), (f"MYAPP_{key.upper()}", "MYAPP")):
        classification = classify(name, namespace)
        assert classification is not None
        assert not classification.changes


@pytest.mark.parametrize("name", [name for name in sorted(OLD_NAMES) if is_ambiguous_with_namespace(name)])
def test_a_name_that_celery_calls_deprecated_though_it_is_right(name: str) -> None:
    app = Celery("x", set_as_current=False)
    app.config_from_object({name: None}, namespace="CELERY")
    assert name in app.conf.finalize().deprecated_settings
    classification = classify(name, "CELERY")
    assert classification is not None
    assert not classification.changes


def test_the_names_people_get_wrong_lead_to_settings_and_are_none_themselves() -> None:
    wrong = {**DOCUMENTED_OLD, **GUESSES}
    assert set(wrong.values()) <= KEYS
    assert not wrong.keys() & (OLD_NAMES.keys() | KEYS)
    assert not REMOVED.keys() & OLD_NAMES.keys()


@pytest.mark.parametrize("name", ["CELERY_QUEUES_PREFIX", "MY_BROKER_URL", "BROKER", "CELERY", "celery", "X", "S3"])
def test_what_merely_looks_alike_is_nothing(name: str) -> None:
    assert classify(name, None) is classify(name, "CELERY") is None
    assert nearest_setting(name) == ""
