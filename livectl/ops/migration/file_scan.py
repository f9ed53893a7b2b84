"""What one file says of settings: who holds them, where each is used, and which calls hand them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from livectl.ops.migration.source import SourceFile


class SettingsHolder(Struct, frozen=True):
    """Something that holds settings: a module (`name` is empty), a class or a dict in it."""

    path: str
    name: str = ""

    def __str__(self) -> str:
        if not self.path:
            return self.name
        return f"{self.path}: {self.name}" if self.name else self.path


CONF = SettingsHolder("", "app.conf")
DJANGO = SettingsHolder("", "Django's settings")
FLASK = SettingsHolder("", "Flask's app.config")
FLASK_CELERY = SettingsHolder("", "Flask's app.config['CELERY']")

Form = Literal["binding", "name", "attribute", "keyword", "key", "string", "import"]


class SettingUse(Struct, frozen=True, kw_only=True):
    """One token that names a setting of a place."""

    holder: SettingsHolder
    name: str
    start: int
    form: Form
    line: int
    value: str = ""  # source of what is assigned
    statement: tuple[int, int] | None = None  # whole lines that hold this one assignment and nothing else
    chains: bool = False  # an assignment that may take a second target: `a = b = value`
    outermost: bool = False  # the assignment is made whatever happens: not under an `if` or the like
    hidden: frozenset[str] = frozenset()  # names that functions around it bind for themselves
    environ_at: int = -1  # where `environ_name=` goes, in a value of django-configurations


class SettingsCall(Struct, frozen=True, kw_only=True):
    """A call that hands settings to Celery (`source`, `update`), to Flask, or names Django's settings."""

    holder: SettingsHolder
    kind: Literal["source", "update", "flask", "django"]
    path: str
    line: int
    namespace: str | None = None
    known: bool = True  # False: the namespace is not written out
    text: str = ""  # as written, for people
    method_at: int = -1  # where the name of the method stands
    end: int = -1  # where the closing parenthesis stands


class Inheritance(Struct, frozen=True):
    """`to` takes over what `origin` holds: a star import, a base class, a name imported to be passed on."""

    to: SettingsHolder
    origin: SettingsHolder


class FileScan(Struct, kw_only=True):
    """What one file says of settings."""

    source: SourceFile
    uses: list[SettingUse] = []
    calls: list[SettingsCall] = []
    inheritances: list[Inheritance] = []
    star_imports: list[tuple[int, str]] = []  # star imports from outside the project
    bound: dict[SettingsHolder, dict[str, int]] = {}  # every name bound in a module or class, with its line
    shadows: dict[SettingsHolder, dict[str, int]] = {}  # imports, functions and classes in a place, with their lines
    imports: list[SettingsHolder] = []  # what is imported from anywhere
    strings: list[tuple[str, int]] = []  # strings that look like settings and were left alone
    app_count: int = 0  # calls of Celery()
    module_app_count: int = 0  # of these, the ones made when the module is imported
    configurations: bool = False  # a class of django-configurations is in the file
    environment_classes: set[SettingsHolder] = set()  # classes whose fields are environment variables by name
