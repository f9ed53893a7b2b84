"""The broker's address, put together from the parts that old settings kept apart."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING
from urllib.parse import quote

from livectl.ops.migration.names import spell

if TYPE_CHECKING:
    from livectl.ops.migration.places import FileScan, SettingsHolder, SettingUse

DEFAULT_TRANSPORT = "amqp"


def compose_broker_url(
    holder: SettingsHolder, parts: dict[str, list[tuple[FileScan, SettingUse]]], namespace: str | None
) -> str | None:
    """The assignment that takes the place of the parts; None unless each is set once, by a literal, in one file."""
    if "broker_url" in parts or "broker_host" not in parts or not holder.path:
        return None
    values: dict[str, str] = {}
    for key, uses in parts.items():
        if len(uses) != 1 or not uses[0][1].statement or not uses[0][1].outermost:
            return None
        value = _parse_literal(uses[0][1].value)
        if value is None:
            return None
        values[key] = str(value)
    transport = values.get("broker_transport") or DEFAULT_TRANSPORT
    if not transport.isalnum():
        return None  # a class, not the name of a transport
    return f"{spell('broker_url', namespace)} = {_broker_url(transport, values)!r}"


def assignment_length(text: str, use: SettingUse) -> int:
    """How far the assignment reaches from its name: to the end of its value."""
    value_start = text.index(use.value, use.start + len(use.name)) if use.value else use.start
    return value_start + len(use.value) - use.start


def _broker_url(transport: str, values: dict[str, str]) -> str:
    user, password = (quote(values.get(key, ""), safe="") for key in ("broker_user", "broker_password"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    port = f":{values['broker_port']}" if values.get("broker_port", "0") not in {"", "0"} else ""
    vhost = values.get("broker_vhost", "")
    path = "//" if vhost == "/" else f"/{quote(vhost, safe='')}" if vhost else ""
    return f"{transport}://{login}{values['broker_host']}{port}{path}"


def _parse_literal(text: str) -> str | int | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
