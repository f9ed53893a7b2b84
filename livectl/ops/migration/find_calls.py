"""Records calls that pass settings: to Celery, to Flask, to Django's test tools, to mock and monkeypatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.file_scan import CONF, DJANGO, FLASK, FLASK_CELERY, SettingsCall, SettingsHolder
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.source import dotted_name, last_name, plain_text, plain_texts

if TYPE_CHECKING:
    from livectl.ops.migration.scopes import FileReader


ATTRIBUTE_CALLS = {"getattr", "hasattr", "setattr", "delattr"}
PATCH_CALLS = {"setattr", "delattr", "setitem", "delitem", "object"}  # monkeypatch.…, patch.object
KEY_METHODS = {"get", "pop", "setdefault", "get_by_parts"}
DJANGO_TOOLS = {"override_settings", "modify_settings"}


def record_call(reader: FileReader, node: cst.Call) -> None:
    """Records whatever a call says of settings; most calls say nothing."""
    name = last_name(node.func)
    base = node.func.value if isinstance(node.func, cst.Attribute) else None
    if name == "Celery":
        _record_celery_app(reader, node)
    elif name == "config_from_object":
        _record_settings_source(reader, node, _argument(node, 0, "obj"), _argument(node, 3, "namespace"))
    elif name == "config_from_envvar":
        _record_settings_call(reader, node, SettingsHolder("", f"`{reader.code(node)}`"), "source")
    elif name == "setup_loader":
        _record_settings_call(reader, node, DJANGO, "djcelery")
    elif name in (ATTRIBUTE_CALLS if base is None else PATCH_CALLS):
        _record_reflection(reader, node)
    elif name in DJANGO_TOOLS or (name == "settings" and base is not None):
        _record_keywords(reader, node, DJANGO)
    elif name == "patch":
        _record_dotted(reader, node)
    elif base is not None:
        _record_method(reader, node, name, base)


def _record_method(reader: FileReader, node: cst.Call, name: str, base: cst.BaseExpression) -> None:
    holder = reader.find_holder(base)
    if name == "from_object" and holder == FLASK:
        _record_flask(reader, node)
    elif name == "from_pyfile" and holder == FLASK:
        _record_flask(reader, node, file=True)
    elif name == "configure" and holder == DJANGO:
        _record_keywords(reader, node, DJANGO)
    elif name == "add_defaults":
        _record_update(reader, node, CONF)
    elif name in {"update", "from_mapping"} and holder is not None:
        _record_update(reader, node, holder)
    elif name == "setdefault" and node.args and plain_text(node.args[0].value) == "DJANGO_SETTINGS_MODULE":
        _record_django(reader, node)
    elif name in KEY_METHODS and holder is not None and node.args:
        reader.record_string_use(node.args[0].value, holder, "key")
    elif name == "dict" and node.args:  # patch.dict(app.config, {…})
        target = reader.find_holder(node.args[0].value)
        for argument in node.args[1:] if target else ():
            record_contents(reader, argument.value, target or CONF)


def _record_celery_app(reader: FileReader, node: cst.Call) -> None:
    reader.scan.app_count += 1
    reader.scan.module_app_count += reader.scope.kind == "module"
    source = _argument(node, None, "config_source")
    if source is not None:
        _record_settings_source(reader, node, source, _argument(node, None, "namespace"))
    changes = _argument(node, None, "changes")
    if changes is not None:
        record_contents(reader, changes, CONF)


def _record_settings_source(
    reader: FileReader, node: cst.Call, given: cst.BaseExpression | None, namespace: cst.BaseExpression | None
) -> None:
    if given is None:
        return
    holder = _find_given_holder(reader, given)
    if holder is None and holds_keys(given):
        holder = SettingsHolder(reader.path, f"the dict in line {reader.line(given)}")
        record_contents(reader, given, holder)
    if isinstance(namespace, cst.Name) and namespace.value == "None":
        namespace = None
    namespace_text = plain_text(namespace)
    _record_settings_call(
        reader,
        node,
        holder or SettingsHolder("", f"`{reader.code(given)}`"),
        "source",
        namespace=namespace_text.rstrip("_") if namespace_text else None,
        known=namespace is None or namespace_text is not None,
    )


def _record_update(reader: FileReader, node: cst.Call, holder: SettingsHolder) -> None:
    """`holder.update(…)`: keywords and dicts are keys of the holder; it inherits from another holder."""
    _record_keywords(reader, node, holder)
    for argument in node.args:
        if argument.keyword is not None:
            if argument.keyword.value == "CELERY" and holder == FLASK:
                record_contents(reader, argument.value, FLASK_CELERY)
            continue
        if holds_keys(argument.value):
            record_contents(reader, argument.value, holder)
            continue
        origin = reader.find_holder(argument.value)
        if origin is None and holder == CONF:
            origin = SettingsHolder("", f"`{reader.code(argument.value)}`")
        if origin is None or origin == holder:
            continue
        if holder == CONF:
            _record_settings_call(reader, node, origin, "update", known=argument.star == "")
        else:
            reader.record_inheritance(holder, origin)


def _record_flask(reader: FileReader, node: cst.Call, *, file: bool = False) -> None:
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
        _record_settings_call(reader, node, holder, "flask", known=bool(holders))


def _record_django(reader: FileReader, node: cst.Call) -> None:
    """`os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'proj.settings')`."""
    holder = _find_given_holder(reader, node.args[1].value) if len(node.args) > 1 else None
    if holder is not None and holder.path:
        _record_settings_call(reader, node, holder, "django")


def _record_reflection(reader: FileReader, node: cst.Call) -> None:
    """`getattr(settings, 'X')`, `monkeypatch.setattr(settings, 'X', …)`, `patch.object(settings, 'X')`."""
    if len(node.args) < 2:
        _record_dotted(reader, node)
        return
    holder = reader.find_holder(node.args[0].value)
    if holder is not None:
        reader.record_string_use(node.args[1].value, holder, "string")
    else:
        _record_dotted(reader, node)


def _record_dotted(reader: FileReader, node: cst.Call) -> None:
    """`patch('proj.settings.X')` and `monkeypatch.setattr('proj.settings.X', …)`."""
    given = node.args[0].value if node.args else None
    text = plain_text(given)
    if not text or "." not in text or not isinstance(given, cst.SimpleString):
        return
    parent, _, name = text.rpartition(".")
    holder = reader.find_module_holder(parent)
    if holder is not None and is_candidate(name):
        reader.record_use(given, holder, name, "string", after=len(given.quote) + len(parent) + 1)


def record_contents(reader: FileReader, node: cst.BaseExpression, holder: SettingsHolder) -> None:
    """Records the keys of a dict literal or of `dict(…)`."""
    if isinstance(node, cst.Call):
        _record_keywords(reader, node, holder)
        for argument in node.args:
            if argument.keyword is None and argument.star in {"", "**"}:
                _record_unpacked(reader, argument.value, holder)
    elif isinstance(node, cst.Dict):
        for element in node.elements:
            if isinstance(element, cst.DictElement):
                _record_key(reader, element, holder)
            else:
                _record_unpacked(reader, element.value, holder)


def _record_key(reader: FileReader, element: cst.DictElement, holder: SettingsHolder) -> None:
    if holder == FLASK and plain_text(element.key) == "CELERY":
        record_contents(reader, element.value, FLASK_CELERY)
        return
    reader.record_string_use(element.key, holder, "key", value=reader.code(element.value))


def _record_unpacked(reader: FileReader, node: cst.BaseExpression, holder: SettingsHolder) -> None:
    if holds_keys(node):
        record_contents(reader, node, holder)
        return
    origin = reader.find_holder(node)
    if origin is not None:
        reader.record_inheritance(holder, origin)


def _record_keywords(reader: FileReader, node: cst.Call, holder: SettingsHolder) -> None:
    for argument in node.args:
        if argument.keyword is not None and is_candidate(argument.keyword.value):
            value = reader.code(argument.value)
            reader.record_use(argument.keyword, holder, argument.keyword.value, "keyword", value=value)
        elif argument.star == "**" and holder == DJANGO:
            _record_unpacked(reader, argument.value, holder)


def _record_settings_call(
    reader: FileReader, node: cst.Call, holder: SettingsHolder, kind: str, **fields: object
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


def _find_given_holder(reader: FileReader, node: cst.BaseExpression) -> SettingsHolder | None:
    """The holder that `config_from_object` is given: an object, or its dotted name as a string."""
    text = plain_text(node)
    if text:
        return _find_named_holder(reader, text)
    if isinstance(node, cst.Name) and node.value == "__name__":
        return SettingsHolder(reader.path)
    return reader.find_holder(node)


def _find_named_holder(reader: FileReader, text: str) -> SettingsHolder | None:
    return reader.find_module_holder(text.replace(":", "."))


def holds_keys(node: cst.BaseExpression) -> bool:
    """Whether the keys of a dict stand written out: a dict literal or `dict(…)`."""
    return isinstance(node, cst.Dict) or (isinstance(node, cst.Call) and dotted_name(node.func) == "dict")


def _argument(node: cst.Call, number: int | None, keyword: str) -> cst.BaseExpression | None:
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == keyword:
            return argument.value
    if number is not None and number < len(node.args):
        argument = node.args[number]
        return argument.value if argument.keyword is None and not argument.star else None
    return None
