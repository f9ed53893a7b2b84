"""Hides secrets in texts, arguments, results and logs, before they are shown or stored.

`redact` and `redact_text` hide and cut, for people and programs that look; `hide_secrets` hides and leaves the rest as
it is, for what is kept. What is hidden is `***` within the same quotes, so that JSON stays JSON; hiding twice changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from livectl.secret import KNOWN, MASK, address_parts

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

MAX_TEXT_CHARS = 200  # of one value
MAX_ARGUMENTS_CHARS = 1024  # as Celery cuts them
MAX_ITEMS = 50  # of one list or object
MAX_DEPTH = 6
OVERLAP_CHARS = 2048  # read beyond what is shown: no secret is longer but a key in PEM
PLAIN_TYPES = (type(None), bool, int, float, date, time, timedelta)

HIDDEN_NAMES = (
    r"(?i)pass(word|wd|phrase)?$|pwd|secret|token|(api|private|access|send|push|auth|signing|stream)[_-]?key|credential"
    r"|cookie|auth(orization)?$|signature|(^|[_-])sig$|session[_-]?id|webhook"
)


def redact(value: Any, depth: int = 0) -> Any:
    """The same value with secrets hidden and long parts cut, of types that JSON can take."""
    return _redact_value(value, redact_text, MAX_ITEMS, depth)


def redact_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """The text with secrets hidden, cut. Of a long text no more is read than is shown."""
    size = max_chars + OVERLAP_CHARS
    redacted = hide_secrets(text[:size])
    while size < len(text) and len(redacted) < max_chars + OVERLAP_CHARS:  # much was hidden: the end would show
        size *= 4
        redacted = hide_secrets(text[:size])
    return redacted if len(redacted) <= max_chars and len(text) <= size else _cut(redacted, max_chars)


def hide_secrets(text: str) -> str:
    """The whole text with every secret in it hidden."""
    text = KNOWN.hide(text)
    if "://" in text:
        text = _hide_in_addresses(text)
    if "?" in text or "&" in text:
        text = re.sub(QUERY_VALUE, rf"\g<1>{MASK}", text)
    for sign, pattern in TOKEN_PATTERNS:
        if sign in text:
            text = re.sub(pattern, rf"\g<1>{MASK}", text)
    text = re.sub(AFTER_SCHEME, rf"\g<1>{MASK}", text)
    if "=" in text or ":" in text:
        text = re.sub(NAMED_VALUE, _hide_named_value, text)
    return text


def hide_secrets_in(value: Any) -> Any:
    """The same value with secrets hidden and nothing cut, of types that JSON can take."""
    return _redact_value(value, hide_secrets, None, 0)


def shown_arguments(args: Any, kwargs: Any) -> dict[str, str]:
    """Celery's options for a message whose arguments hold secrets: what events, Flower and logs show instead."""
    shown = {"argsrepr": repr(args), "kwargsrepr": repr(kwargs)}
    hidden = {name: redact_text(text, MAX_ARGUMENTS_CHARS) for name, text in shown.items()}
    return {name: text for name, text in hidden.items() if MASK in text and text != shown[name]}


def _redact_value(value: Any, text: Callable[[str], str], max_items: int | None, depth: int) -> Any:
    if isinstance(value, str):
        return text(value).encode("utf-8", "replace").decode() if not value.isascii() else text(value)
    if isinstance(value, PLAIN_TYPES):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return text(str(value))
    if depth >= MAX_DEPTH and max_items:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:max_items]
        return {
            text(str(name)): _redact_named(name, item, lambda item: _redact_value(item, text, max_items, depth + 1))
            for name, item in items
        }
    return _redact_list(list(value), text, max_items, depth)


def _redact_list(values: list[Any], text: Callable[[str], str], max_items: int | None, depth: int) -> list[Any]:
    def redact_item(item: Any) -> Any:
        return _redact_value(item, text, max_items, depth + 1)

    shown = values[:max_items]
    if all(isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str) for item in shown):
        redacted = [[text(name), _redact_named(name, item, redact_item)] for name, item in shown]  # such as headers
    else:
        redacted = [redact_item(item) for item in shown]
    return redacted if len(shown) == len(values) else [*redacted, f"… {len(values) - len(shown)} more"]


def _redact_named(name: Any, value: Any, redact_item: Callable[[Any], Any]) -> Any:
    is_secret = isinstance(name, str) and re.search(HIDDEN_NAMES, name) is not None and value not in (None, "")
    return MASK if is_secret else redact_item(value)


def _cut(text: str, max_chars: int) -> str:
    """The beginning of the text, without a part of a mask at its end."""
    if len(text) <= max_chars:
        return text if text.endswith("…") else f"{text}…"
    end = max_chars
    while end and text[end - 1] == "*" and text[end] == "*":
        end -= 1
    return f"{text[:end]}…"


# Addresses

END_OF_ADDRESS = r"\s'\"<>\\"
# A password may hold an @ or, wrongly, a slash; a port is none.
LOGIN = (
    rf"(?<=://)(?P<user>[^/:@?#{END_OF_ADDRESS}]*):(?!\d{{1,5}}(?:[/?#,{END_OF_ADDRESS}]|$))"
    rf"(?:[^/?#{END_OF_ADDRESS}]+|(?:(?!://)[^{END_OF_ADDRESS}]){{1,300}}?)@(?:[^/?#{END_OF_ADDRESS}]*@)?"
)
LONE_LOGIN = rf"(?<=://)[^/:@?#{END_OF_ADDRESS}]{{16,}}@"  # a token instead of a user
QUERY_VALUE = (
    r"(?i)([?&;](?:amp;)?(?:[\w.\[\]-]*?[_.-])?(?:key|sig|sign|pass|pwd|auth|sid|jwt|ticket|apikey|hash)(?:=|%3D))"
    r"(?!\*\*\*)[^&\s'\"#<>\\;)\]},]+"
)
PATH = rf"(?i:https?|wss?)://(?P<host>[^/?#{END_OF_ADDRESS}]+)(?P<path>/(?:(?!(?:https?)?://)[^?#{END_OF_ADDRESS}])*)"
# Each address of these is a key: whoever has it may send.
APPRISE_ADDRESS = (
    r"\b(tgram|discord|slack|feishu|lark|dingtalk|wecombot|wxpusher|schan|pushplus|barks?|pover|pbul|pushed|pushdeers?"
    r"|pushsafer|pushme|spush|ntfys?|gotifys?|join|ifttt|msteams|workflows?|qq|line|matrixs?|mmosts?|rockets?|zulip"
    rf"|wxteams|gchat|guilded|twilio|sendgrid|mailgun|onesignal|hassios?|webexteams)://[^{END_OF_ADDRESS}]+"
)
WEBHOOK_HOSTS = (  # and theirs below
    *(".discord.com", ".discordapp.com", ".hooks.slack.com", ".api.telegram.org", ".open.feishu.cn", ".ntfy.sh"),
    *(".open.larksuite.com", ".oapi.dingtalk.com", ".qyapi.weixin.qq.com", ".webhook.office.com", ".logic.azure.com"),
    *(".outlook.office.com", ".sctapi.ftqq.com", ".sc.ftqq.com", ".push.ft07.com", ".api.day.app", ".webhook.site"),
    *(".maker.ifttt.com", ".hooks.zapier.com", ".make.com", ".chat.googleapis.com", ".pushplus.plus", ".hc-ping.com"),
    *(".wxpusher.zjiecode.com", ".api2.pushdeer.com", ".guilded.gg", ".qmsg.zendee.cn", ".api.chuckfang.com"),
)
HOOK_WORD = r"(?i:(?:web)?hooks?(?:b2)?|bot|push|trigger)"
BOT_PART = r"bot\d+:.+|\d+:[\w-]{20,}"
WORD = r"[A-Za-z][A-Za-z_-]{0,18}\d?(?:\.[a-z]+)?"
MIN_OPAQUE_CHARS = 6


def has_login(text: str) -> bool:
    """Whether an address in the text has a password."""
    return re.search(LOGIN, text) is not None


def _hide_in_addresses(text: str) -> str:
    text = re.sub(LOGIN, rf"\g<user>:{MASK}@", text)
    text = re.sub(LONE_LOGIN, f"{MASK}@", text)
    text = re.sub(APPRISE_ADDRESS, rf"\g<1>://{MASK}", text)
    return re.sub(PATH, _hide_path, text)


def _hide_path(match: re.Match[str]) -> str:
    """Hides what looks drawn by lot in the path of a webhook."""
    host = match["host"].rpartition("@")[2].partition(":")[0].lower()
    is_webhook = f".{host}".endswith(WEBHOOK_HOSTS)
    path, parts = match["path"], []
    if not is_webhook and not re.search(HOOK_WORD, path) and ":" not in path:
        return match[0]
    for part in path.split("/"):
        parts.append(_hide_path_part(part) if is_webhook or re.match(BOT_PART, part) else part)
        is_webhook = is_webhook or re.fullmatch(HOOK_WORD, part) is not None
    return match[0][: match.start("path") - match.start()] + "/".join(parts)


def _hide_path_part(part: str) -> str:
    """A sentence's punctuation after an address stays."""
    bare = part.rstrip(").,;:]}")
    is_opaque = len(bare) >= MIN_OPAQUE_CHARS and not re.fullmatch(WORD, bare)
    return MASK + part[len(bare) :] if is_opaque else part


# Tokens, by how they look, and what stands behind a name. Patterns are compiled when they are first needed.

# A text that is in each, so that a text without it is not searched; the first group stays.
TOKEN_PATTERNS = (
    ("eyJ", r"()(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"),  # JWT
    ("gh", r"()gh[pousr]_\w{20,}"),
    ("github_pat_", r"()github_pat_\w{20,}"),
    ("xox", r"()xox[abeprs]-[\w-]{10,}"),
    ("sk", r"()(?<![\w-])sk[-_][\w-]{20,}"),
    ("AKIA", r"()AKIA[0-9A-Z]{16}"),
    ("AIza", r"()AIza[\w-]{30,}"),
    ("glpat-", r"()glpat-[\w-]{16,}"),
    ("live_", r"()live_\d{6,}_\w{10,}"),  # Twitch's key to stream
    ("SCT", r"()SCT\d+T\w{10,}"),  # ServerChan
    (":", r"()(?<!\d)\d{6,12}:[\w-]{30,}"),  # Telegram
    (" PRIVATE KEY-----", r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?!\*)(?:(?!-----END)[\s\S])+"),
)
AFTER_SCHEME = (
    r"(\b(?:[Bb]earer|BEARER|[Bb]asic|BASIC)(?:\s{1,4}|%20))(?=[A-Za-z._~+/=-]{0,99}(?:[0-9=._+/]|[a-z][A-Z]))"
    r"[A-Za-z0-9._~+/=-]{8,}"
)
NAMED_VALUE = (
    r"(?i)(?P<name>(?:pass(?:word|wd|phrase)|secret|token|(?:api|private|access|secret|send|push|auth|signing|stream)[_-]?key"
    r"|credentials?|cookies?|signature|session[_-]?id|authorization)(?P<end>\\*['\"])?\s{0,8}(?:=>|[:=]|%3D)\s{0,8})"
    r"(?:(?P<open>[rbu]{0,2}(?P<quote>\\*['\"]))(?P<quoted>(?:(?!(?P=quote)|\\*\"\s*(?:[,:}\]]|$))(?:\\[^\n]|[^\n]))*)(?P<close>(?P=quote)?)"
    r"|(?P<bare>(?:(?:bearer|basic|token|bot|digest)\s+)?[^\s'\"&,;<>(){}\[\]\\…]+)(?P<goes_on>(?=\s+[a-z]|…))?)"
)
REFERENCES = ("env:", "file:", MASK)  # of the settings: where a secret is, not what it is
WORDS_OF_JSON = {"null", "true", "false", "none"}


def _hide_named_value(match: re.Match[str]) -> str:
    """Hides a value between its quotes. A number behind a quoted name gets the quotes of the name, as in JSON."""
    name, bare, quoted = match["name"], match["bare"], match["quoted"]
    if bare is None:
        is_hidden = not quoted or quoted.startswith(MASK)
        return match[0] if is_hidden else f"{name}{match['open']}{MASK}{match['close']}"
    is_word = name.rstrip().endswith(":") and bare.isalpha() and bare.islower()  # "token: the variable is unset"
    if bare.startswith(REFERENCES) or bare.lower() in WORDS_OF_JSON or (is_word and match["goes_on"] is not None):
        return match[0]
    quote_mark = match["end"] or ""
    return f"{name}{quote_mark}{MASK}{quote_mark}"


class RedactingFormatter:
    """Formats log records as another formatter does, and hides the secrets in them, those in tracebacks too."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(self._formatter.format(record) if self._formatter else record.getMessage())


def redact_logs_of(logger: logging.Logger) -> None:
    """Makes each handler of the logger hide secrets."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, RedactingFormatter):
            handler.setFormatter(RedactingFormatter(handler.formatter))  # type: ignore[arg-type]


def redact_stray_logs() -> None:
    """Of a process that sets no logs up, such as a command: Python itself writes its warnings to stderr."""
    import logging

    if logging.lastResort:
        logging.lastResort.setFormatter(RedactingFormatter(logging.Formatter()))  # type: ignore[arg-type]


def hide_parts_of_address(text: str, url: str) -> str:
    """The text without any part of this address that may be a secret."""
    for part in sorted(address_parts(url), key=len, reverse=True):
        if len(part) >= MIN_OPAQUE_CHARS:
            text = text.replace(part, MASK)
    return hide_secrets(text)
