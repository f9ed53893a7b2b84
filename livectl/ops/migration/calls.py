"""Calls that hand settings about: to Celery, to Flask, to Django's test tools, to mock and monkeypatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.places import CONF, DJANGO, FLASK, FLASK_CELERY, Link, Place, Sink
from livectl.ops.migration.source import dotted, plain_text, texts

if TYPE_CHECKING:
    from livectl.ops.migration.reading import Reader

ATTRIBUTE_CALLS = {"getattr", "hasattr", "setattr", "delattr"}
PATCH_CALLS = {"setattr", "delattr", "setitem", "delitem", "object"}  # monkeypatch.…, patch.object
KEY_METHODS = {"get", "pop", "setdefault", "get_by_parts"}
DJANGO_TOOLS = {"override_settings", "modify_settings"}


def note_call(reader: Reader, node: cst.Call) -> None:
    """Everything a call may say of settings; most say nothing."""
    name = _last_name(node.func)
    base = node.func.value if isinstance(node.func, cst.Attribute) else None
    if name == "Celery":
        _note_app(reader, node)
    elif name == "config_from_object":
        _note_source(reader, node, _argument(node, 0, "obj"), _argument(node, 3, "namespace"))
    elif name == "config_from_envvar":
        _note_sink(reader, node, Place("", f"`{reader.code(node)}`"), "source")
    elif name in (ATTRIBUTE_CALLS if base is None else PATCH_CALLS):
        _note_reflection(reader, node)
    elif name in DJANGO_TOOLS or (name == "settings" and base is not None):
        _note_keywords(reader, node, DJANGO)
    elif name == "patch":
        _note_dotted(reader, node)
    elif base is not None:
        _note_method(reader, node, name, base)


def _note_method(reader: Reader, node: cst.Call, name: str, base: cst.BaseExpression) -> None:
    place = reader.place(base)
    if name == "from_object" and place == FLASK:
        _note_flask(reader, node)
    elif name == "from_pyfile" and place == FLASK:
        _note_flask(reader, node, file=True)
    elif name == "configure" and place == DJANGO:
        _note_keywords(reader, node, DJANGO)
    elif name == "add_defaults":
        _note_update(reader, node, CONF)
    elif name in {"update", "from_mapping"} and place is not None:
        _note_update(reader, node, place)
    elif name == "setdefault" and node.args and plain_text(node.args[0].value) == "DJANGO_SETTINGS_MODULE":
        _note_django(reader, node)
    elif name in KEY_METHODS and place is not None and node.args:
        reader.note_string(node.args[0].value, place, "key")
    elif name == "dict" and node.args:  # patch.dict(app.config, {…})
        target = reader.place(node.args[0].value)
        for argument in node.args[1:] if target else ():
            note_contents(reader, argument.value, target or CONF)


def _note_app(reader: Reader, node: cst.Call) -> None:
    reader.found.apps += 1
    reader.found.module_apps += reader.scope.kind == "module"
    source = _argument(node, None, "config_source")
    if source is not None:
        _note_source(reader, node, source, _argument(node, None, "namespace"))
    changes = _argument(node, None, "changes")
    if changes is not None:
        note_contents(reader, changes, CONF)


def _note_source(
    reader: Reader, node: cst.Call, given: cst.BaseExpression | None, namespace: cst.BaseExpression | None
) -> None:
    if given is None:
        return
    place = _named_place(reader, given)
    if place is None and _holds_keys(given):
        place = Place(reader.path, f"the dict in line {reader.source.line(reader.source.start(given))}")
        note_contents(reader, given, place)
    if namespace is not None and isinstance(namespace, cst.Name) and namespace.value == "None":
        namespace = None
    spelt = plain_text(namespace)
    _note_sink(
        reader,
        node,
        place or Place("", f"`{reader.code(given)}`"),
        "source",
        namespace=spelt.rstrip("_") if spelt else None,
        known=namespace is None or spelt is not None,
    )


def _note_update(reader: Reader, node: cst.Call, place: Place) -> None:
    """`place.update(…)`: keywords and dicts are keys of the place; another place is taken over by it."""
    _note_keywords(reader, node, place)
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == "CELERY" and place == FLASK:
            note_contents(reader, argument.value, FLASK_CELERY)
        if argument.keyword is not None:
            continue
        if _holds_keys(argument.value):
            note_contents(reader, argument.value, place)
            continue
        origin = reader.place(argument.value)
        if origin is None or origin == place:
            continue
        if place == CONF:
            _note_sink(reader, node, origin, "update", known=argument.star == "")
        else:
            reader.found.links.append(Link(place, origin))


def _note_flask(reader: Reader, node: cst.Call, *, file: bool = False) -> None:
    given = node.args[0].value if node.args else None
    if given is None:
        return
    place = _named_place(reader, given)
    text = plain_text(given)
    if file and text and text.endswith(".py"):
        place = _named(reader, text.removesuffix(".py").replace("/", "."))
    places = [place] if place else [found for text in texts(given) if (found := _named(reader, text)) and found.name]
    for found in places or [Place("", f"`{reader.code(given)}`")]:
        _note_sink(reader, node, found, "flask", known=bool(places))


def _note_django(reader: Reader, node: cst.Call) -> None:
    """`os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'proj.settings')`."""
    place = _named_place(reader, node.args[1].value) if len(node.args) > 1 else None
    if place is not None and place.path:
        _note_sink(reader, node, place, "django")


def _note_reflection(reader: Reader, node: cst.Call) -> None:
    """`getattr(settings, 'X')`, `monkeypatch.setattr(settings, 'X', …)`, `patch.object(settings, 'X')`."""
    if len(node.args) < 2:
        _note_dotted(reader, node)
        return
    place = reader.place(node.args[0].value)
    if place is not None:
        reader.note_string(node.args[1].value, place, "string")
    else:
        _note_dotted(reader, node)


def _note_dotted(reader: Reader, node: cst.Call) -> None:
    """`patch('proj.settings.X')` and `monkeypatch.setattr('proj.settings.X', …)`."""
    given = node.args[0].value if node.args else None
    text = plain_text(given)
    if not text or "." not in text or not isinstance(given, cst.SimpleString):
        return
    head, _, name = text.rpartition(".")
    place = reader.modules.place(head, reader.source.path)
    if place is not None and is_candidate(name):
        reader.note(given, place, name, "string", after=len(given.quote) + len(head) + 1)


def note_contents(reader: Reader, node: cst.BaseExpression, place: Place) -> None:
    """The keys of a dict literal or of `dict(…)`."""
    if isinstance(node, cst.Call):
        _note_keywords(reader, node, place)
        for argument in node.args:
            if argument.keyword is None and argument.star in {"", "**"}:
                _note_member(reader, argument.value, place)
    elif isinstance(node, cst.Dict):
        for element in node.elements:
            if isinstance(element, cst.DictElement):
                _note_key(reader, element, place)
            else:
                _note_member(reader, element.value, place)


def _note_key(reader: Reader, element: cst.DictElement, place: Place) -> None:
    if place == FLASK and plain_text(element.key) == "CELERY":
        note_contents(reader, element.value, FLASK_CELERY)
        return
    reader.note_string(element.key, place, "key", value=reader.code(element.value))


def _note_member(reader: Reader, node: cst.BaseExpression, place: Place) -> None:
    if _holds_keys(node):
        note_contents(reader, node, place)
        return
    origin = reader.place(node)
    if origin is not None:
        reader.found.links.append(Link(place, origin))


def _note_keywords(reader: Reader, node: cst.Call, place: Place) -> None:
    for argument in node.args:
        if argument.keyword is not None and is_candidate(argument.keyword.value):
            value = reader.code(argument.value)
            reader.note(argument.keyword, place, argument.keyword.value, "keyword", value=value)
        elif argument.star == "**" and place == DJANGO:
            _note_member(reader, argument.value, place)


def _note_sink(reader: Reader, node: cst.Call, place: Place, kind: str, **more: object) -> None:
    start = reader.source.start(node)
    text = reader.code(node)
    method = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    reader.found.sinks.append(
        Sink(
            place=place,
            kind=kind,  # type: ignore[arg-type]
            path=reader.path,
            line=reader.source.line(start),
            text=" ".join(text.split()),
            method_at=reader.source.start(method),
            end=start + len(text) - 1,
            **more,  # type: ignore[arg-type]
        )
    )


def _named_place(reader: Reader, node: cst.BaseExpression) -> Place | None:
    """What `config_from_object` is given: an object, or its dotted name as a string."""
    text = plain_text(node)
    if text:
        return _named(reader, text)
    if isinstance(node, cst.Name) and node.value == "__name__":
        return Place(reader.path)
    return reader.place(node)


def _named(reader: Reader, text: str) -> Place | None:
    return reader.modules.place(text.replace(":", "."), reader.source.path)


def environ_gap(reader: Reader, value: cst.BaseExpression) -> int:
    """Where `environ_name=` goes in a value of django-configurations whose variable is named after the attribute."""
    if not isinstance(value, cst.Call) or not reader.found.configurations:
        return -1
    if not (dotted(value.func).startswith("values.") or _last_name(value.func).endswith("Value")):
        return -1
    if any(a.keyword is not None and a.keyword.value in {"environ", "environ_name"} for a in value.args):
        return -1
    return reader.source.start(value) + len(reader.code(value)) - 1


def is_dict_call(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "dict"


def _holds_keys(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Dict) or is_dict_call(node)


def _argument(node: cst.Call, number: int | None, keyword: str) -> cst.BaseExpression | None:
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == keyword:
            return argument.value
    if number is not None and number < len(node.args):
        argument = node.args[number]
        return argument.value if argument.keyword is None and not argument.star else None
    return None


def _last_name(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""
