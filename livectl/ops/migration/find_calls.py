"""Calls that hand settings about: to Celery, to Flask, to Django's test tools, to mock and monkeypatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.file_scan import CONF, DJANGO, FLASK, FLASK_CELERY, Inheritance, SettingsCall, SettingsHolder
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.source import dotted_name, plain_text, plain_texts

if TYPE_CHECKING:
    from livectl.ops.migration.find_settings import SettingUseReader


ATTRIBUTE_CALLS = {"getattr", "hasattr", "setattr", "delattr"}
PATCH_CALLS = {"setattr", "delattr", "setitem", "delitem", "object"}  # monkeypatch.…, patch.object
KEY_METHODS = {"get", "pop", "setdefault", "get_by_parts"}
DJANGO_TOOLS = {"override_settings", "modify_settings"}


def note_call(reader: SettingUseReader, node: cst.Call) -> None:
    """Everything a call may say of settings; most say nothing."""
    name = _last_name(node.func)
    base = node.func.value if isinstance(node.func, cst.Attribute) else None
    if name == "Celery":
        _note_celery_app(reader, node)
    elif name == "config_from_object":
        _note_source(reader, node, _argument(node, 0, "obj"), _argument(node, 3, "namespace"))
    elif name == "config_from_envvar":
        _note_settings_call(reader, node, SettingsHolder("", f"`{reader.code(node)}`"), "source")
    elif name in (ATTRIBUTE_CALLS if base is None else PATCH_CALLS):
        _note_reflection(reader, node)
    elif name in DJANGO_TOOLS or (name == "settings" and base is not None):
        _note_keywords(reader, node, DJANGO)
    elif name == "patch":
        _note_dotted(reader, node)
    elif base is not None:
        _note_method(reader, node, name, base)


def _note_method(reader: SettingUseReader, node: cst.Call, name: str, base: cst.BaseExpression) -> None:
    holder = reader.find_holder(base)
    if name == "from_object" and holder == FLASK:
        _note_flask(reader, node)
    elif name == "from_pyfile" and holder == FLASK:
        _note_flask(reader, node, file=True)
    elif name == "configure" and holder == DJANGO:
        _note_keywords(reader, node, DJANGO)
    elif name == "add_defaults":
        _note_update(reader, node, CONF)
    elif name in {"update", "from_mapping"} and holder is not None:
        _note_update(reader, node, holder)
    elif name == "setdefault" and node.args and plain_text(node.args[0].value) == "DJANGO_SETTINGS_MODULE":
        _note_django(reader, node)
    elif name in KEY_METHODS and holder is not None and node.args:
        reader.note_string_use(node.args[0].value, holder, "key")
    elif name == "dict" and node.args:  # patch.dict(app.config, {…})
        target = reader.find_holder(node.args[0].value)
        for argument in node.args[1:] if target else ():
            note_contents(reader, argument.value, target or CONF)


def _note_celery_app(reader: SettingUseReader, node: cst.Call) -> None:
    reader.scan.app_count += 1
    reader.scan.module_app_count += reader.scope.kind == "module"
    source = _argument(node, None, "config_source")
    if source is not None:
        _note_source(reader, node, source, _argument(node, None, "namespace"))
    changes = _argument(node, None, "changes")
    if changes is not None:
        note_contents(reader, changes, CONF)


def _note_source(
    reader: SettingUseReader, node: cst.Call, given: cst.BaseExpression | None, namespace: cst.BaseExpression | None
) -> None:
    if given is None:
        return
    holder = _find_given_holder(reader, given)
    if holder is None and _holds_keys(given):
        holder = SettingsHolder(reader.path, f"the dict in line {reader.source.line(reader.source.start(given))}")
        note_contents(reader, given, holder)
    if namespace is not None and isinstance(namespace, cst.Name) and namespace.value == "None":
        namespace = None
    namespace_text = plain_text(namespace)
    _note_settings_call(
        reader,
        node,
        holder or SettingsHolder("", f"`{reader.code(given)}`"),
        "source",
        namespace=namespace_text.rstrip("_") if namespace_text else None,
        known=namespace is None or namespace_text is not None,
    )


def _note_update(reader: SettingUseReader, node: cst.Call, holder: SettingsHolder) -> None:
    """`place.update(…)`: keywords and dicts are keys of the place; another place is taken over by it."""
    _note_keywords(reader, node, holder)
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == "CELERY" and holder == FLASK:
            note_contents(reader, argument.value, FLASK_CELERY)
        if argument.keyword is not None:
            continue
        if _holds_keys(argument.value):
            note_contents(reader, argument.value, holder)
            continue
        origin = reader.find_holder(argument.value)
        if origin is None or origin == holder:
            continue
        if holder == CONF:
            _note_settings_call(reader, node, origin, "update", known=argument.star == "")
        else:
            reader.scan.inheritances.append(Inheritance(holder, origin))


def _note_flask(reader: SettingUseReader, node: cst.Call, *, file: bool = False) -> None:
    given = node.args[0].value if node.args else None
    if given is None:
        return
    named_holder = _find_given_holder(reader, given)
    text = plain_text(given)
    if file and text and text.endswith(".py"):
        named_holder = _find_named_holder(reader, text.removesuffix(".py").replace("/", "."))
    holders = (
        [named_holder]
        if named_holder
        else [holder for text in plain_texts(given) if (holder := _find_named_holder(reader, text)) and holder.name]
    )
    for holder in holders or [SettingsHolder("", f"`{reader.code(given)}`")]:
        _note_settings_call(reader, node, holder, "flask", known=bool(holders))


def _note_django(reader: SettingUseReader, node: cst.Call) -> None:
    """`os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'proj.settings')`."""
    holder = _find_given_holder(reader, node.args[1].value) if len(node.args) > 1 else None
    if holder is not None and holder.path:
        _note_settings_call(reader, node, holder, "django")


def _note_reflection(reader: SettingUseReader, node: cst.Call) -> None:
    """`getattr(settings, 'X')`, `monkeypatch.setattr(settings, 'X', …)`, `patch.object(settings, 'X')`."""
    if len(node.args) < 2:
        _note_dotted(reader, node)
        return
    holder = reader.find_holder(node.args[0].value)
    if holder is not None:
        reader.note_string_use(node.args[1].value, holder, "string")
    else:
        _note_dotted(reader, node)


def _note_dotted(reader: SettingUseReader, node: cst.Call) -> None:
    """`patch('proj.settings.X')` and `monkeypatch.setattr('proj.settings.X', …)`."""
    given = node.args[0].value if node.args else None
    text = plain_text(given)
    if not text or "." not in text or not isinstance(given, cst.SimpleString):
        return
    parent, _, name = text.rpartition(".")
    holder = reader.modules.find_holder(parent, reader.source.path)
    if holder is not None and is_candidate(name):
        reader.note_use(given, holder, name, "string", after=len(given.quote) + len(parent) + 1)


def note_contents(reader: SettingUseReader, node: cst.BaseExpression, holder: SettingsHolder) -> None:
    """The keys of a dict literal or of `dict(…)`."""
    if isinstance(node, cst.Call):
        _note_keywords(reader, node, holder)
        for argument in node.args:
            if argument.keyword is None and argument.star in {"", "**"}:
                _note_member(reader, argument.value, holder)
    elif isinstance(node, cst.Dict):
        for element in node.elements:
            if isinstance(element, cst.DictElement):
                _note_key(reader, element, holder)
            else:
                _note_member(reader, element.value, holder)


def _note_key(reader: SettingUseReader, element: cst.DictElement, holder: SettingsHolder) -> None:
    if holder == FLASK and plain_text(element.key) == "CELERY":
        note_contents(reader, element.value, FLASK_CELERY)
        return
    reader.note_string_use(element.key, holder, "key", value=reader.code(element.value))


def _note_member(reader: SettingUseReader, node: cst.BaseExpression, holder: SettingsHolder) -> None:
    if _holds_keys(node):
        note_contents(reader, node, holder)
        return
    origin = reader.find_holder(node)
    if origin is not None:
        reader.scan.inheritances.append(Inheritance(holder, origin))


def _note_keywords(reader: SettingUseReader, node: cst.Call, holder: SettingsHolder) -> None:
    for argument in node.args:
        if argument.keyword is not None and is_candidate(argument.keyword.value):
            value = reader.code(argument.value)
            reader.note_use(argument.keyword, holder, argument.keyword.value, "keyword", value=value)
        elif argument.star == "**" and holder == DJANGO:
            _note_member(reader, argument.value, holder)


def _note_settings_call(
    reader: SettingUseReader, node: cst.Call, holder: SettingsHolder, kind: str, **fields: object
) -> None:
    start = reader.source.start(node)
    text = reader.code(node)
    method = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    reader.scan.calls.append(
        SettingsCall(
            holder=holder,
            kind=kind,  # type: ignore[arg-type]
            path=reader.path,
            line=reader.source.line(start),
            text=" ".join(text.split()),
            method_at=reader.source.start(method),
            end=start + len(text) - 1,
            **fields,  # type: ignore[arg-type]
        )
    )


def _find_given_holder(reader: SettingUseReader, node: cst.BaseExpression) -> SettingsHolder | None:
    """What `config_from_object` is given: an object, or its dotted name as a string."""
    text = plain_text(node)
    if text:
        return _find_named_holder(reader, text)
    if isinstance(node, cst.Name) and node.value == "__name__":
        return SettingsHolder(reader.path)
    return reader.find_holder(node)


def _find_named_holder(reader: SettingUseReader, text: str) -> SettingsHolder | None:
    return reader.modules.find_holder(text.replace(":", "."), reader.source.path)


def find_environ_gap(reader: SettingUseReader, value: cst.BaseExpression) -> int:
    """Where `environ_name=` goes in a value of django-configurations whose variable is named after the attribute."""
    if not isinstance(value, cst.Call) or not reader.scan.configurations:
        return -1
    if not (dotted_name(value.func).startswith("values.") or _last_name(value.func).endswith("Value")):
        return -1
    if any(
        argument.keyword is not None and argument.keyword.value in {"environ", "environ_name"}
        for argument in value.args
    ):
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
