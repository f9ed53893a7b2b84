"""The proof of a migration: Celery's effective configuration before and after, compared setting by setting."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from livectl.ops.migration.names import ADDRESS_KEYS, KEYS, PARTS
from livectl.ops.migration.places import CONF, DJANGO, FLASK, FLASK_CELERY, Place
from livectl.ops.migration.project import import_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.ops.migration.places import Reading
    from livectl.ops.migration.plan import Plan

PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 120.0  # importing a large Django project takes tens of seconds on a slow disk
SECRET = re.compile(r"KEY|PASS|TOKEN|SECRET|CREDENTIAL", re.IGNORECASE)
LOGIN = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")
ERROR_LENGTH = 300
ADDRESSES = {"broker_read_url", "broker_write_url", "(broker address)"}


class Proof(Struct, kw_only=True):
    """What was resolved, and how it compares."""

    subject: str
    outcome: Literal["equal", "different", "unknown", "unasked"]
    compared: int = 0
    set: int = 0  # of these, the ones that are not what Celery takes by itself
    different: list[tuple[str, str, str]] = []  # setting, before, after
    mended: list[tuple[str, str, str]] = []  # ... where a setting that was not read is read now
    unsteady: list[str] = []  # settings that differ from one start to the next
    problem: str = ""


class Subject(Struct, frozen=True, kw_only=True):
    """What to resolve: an app, or a module as its loader would read it."""

    name: str
    folder: str
    before: dict[str, Any]
    after: dict[str, Any]


def prove(plan: Plan, environ: Mapping[str, str], cwd: Path, app: str | None) -> list[Proof]:
    """Resolves every subject twice in processes of their own. Imports the project's code; writes nothing."""
    subjects = [_named(app, cwd)] if app else _found(plan)
    overlay = {str(file.source.path): base64.b64encode(file.after).decode() for file in plan.files}
    return [_prove(plan, subject, overlay, environ, cwd) for subject in subjects]


def _prove(plan: Plan, subject: Subject, overlay: dict[str, str], environ: Mapping[str, str], cwd: Path) -> Proof:
    def ask(words: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
        asked = {**words, "keys": sorted(KEYS), "folder": subject.folder, "overlay": files}
        return _asked(asked, environ, cwd if "app" in words and words.get("given") else Path(subject.folder))

    before = ask(subject.before, {})
    after = ask(subject.after, overlay)
    if "error" in after or ("error" in before and not before["refused"]):
        worse = "error" in after and "error" not in before
        problem = _masked("", (after if "error" in after else before)["error"])
        return Proof(subject=subject.name, outcome="different" if worse else "unknown", problem=problem)
    if "error" in before:
        problem = f"until now Celery refused these settings: {_masked('', before['error']).split(',')[0]}"
        return Proof(
            subject=subject.name,
            outcome="equal",
            compared=len(after["settings"]),
            set=len(after["set"]),
            problem=problem,
        )
    proof = _compared(plan, subject, before, after)
    if proof.different:
        again = ask(subject.before, {}).get("settings", {})
        proof.unsteady = [row[0] for row in proof.different if again.get(row[0]) != before["settings"].get(row[0])]
        proof.different = [row for row in proof.different if row[0] not in proof.unsteady]
        proof.outcome = "different" if proof.different else "equal"
    return proof


def _compared(plan: Plan, subject: Subject, told: dict[str, Any], retold: dict[str, Any]) -> Proof:
    before, after = told["settings"], retold["settings"]
    proof = Proof(subject=subject.name, outcome="equal", set=len(retold["set"]))
    mended = _mended(plan, set(told["set"]))
    restated = {key for key, parts in PARTS.items() for key in (key, *parts)}
    if plan.renaming.composed:
        restated |= {*ADDRESS_KEYS, "broker_url", "broker_read_url", "broker_write_url"}
    for key in sorted(before.keys() | after.keys()):
        if key in restated:
            continue  # compared by what they come to: the (rows in brackets)
        proof.compared += 1
        one, other = before.get(key, "None"), after.get(key, "None")
        if one != other:
            rows = proof.mended if key in mended else proof.different
            rows.append((key, _masked(key, one), _masked(key, other)))
    proof.outcome = "different" if proof.different else "equal"
    return proof


def _mended(plan: Plan, already: set[str]) -> set[str]:
    """Settings that were written down, and not read: Celery took its own default for them until now."""
    mended = plan.renaming.mended - already
    derived = {"broker_url": ADDRESSES, "task_default_queue": {"task_default_exchange", "task_default_routing_key"}}
    return mended.union(*(derived[key] for key in mended & derived.keys()))


def _asked(asked: dict[str, Any], environ: Mapping[str, str], folder: Path) -> dict[str, Any]:
    python = _python(Path(asked["folder"]))
    try:
        done = subprocess.run(
            [python, str(PROBE)],
            input=json.dumps(asked).encode(),
            capture_output=True,
            check=False,
            cwd=folder,
            env={**environ, "PYTHONHASHSEED": "0"},
            timeout=PROBE_SECONDS,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS:.0f} s", "refused": False}
    except (OSError, ValueError) as error:
        return {"error": f"the process that was to resolve it failed: {error}", "refused": False}
    return answer


def _python(folder: Path) -> str:
    """The project's own Python where it has one beside it, else this one."""
    for name in (".venv", "venv"):
        own = folder / name / "bin" / "python"
        if own.exists():
            return str(own)
    return sys.executable


# What there is to resolve


def _named(app: str, cwd: Path) -> Subject:
    words = {"app": app, "given": True}
    return Subject(name=f"app {app}", folder=str(cwd), before=words, after=words)


def _found(plan: Plan) -> list[Subject]:
    """The project's apps; where there is none, the modules and classes with settings."""
    apps = [reading for reading in plan.readings if reading.module_apps and _is_concerned(plan, reading)]
    holders = _changed_places(plan)
    if not apps:
        return [_module(plan, place) for place in holders]
    handed = [place for place in holders if place.name and FLASK in plan.convention.styles]
    return [*(_app(reading.source.path) for reading in apps), *(_module(plan, place) for place in handed)]


def _is_concerned(plan: Plan, reading: Reading) -> bool:
    """Whether an app is among the files given, or reads settings that are changed there."""
    families = plan.convention.families
    changed = {place for path in plan.own for place in plan.renaming.places.get(path, ())}
    touched = {families.get(place, place) for place in changed}
    reads = {families.get(sink.place, sink.place) for sink in reading.sinks}
    return str(reading.source.path) in plan.own or bool(reads & touched)


def _app(path: Path) -> Subject:
    folder, name = _import_name(path)
    return Subject(name=f"app {name}", folder=folder, before={"app": name}, after={"app": name})


def _changed_places(plan: Plan) -> list[Place]:
    changed = {str(file.source.path) for file in plan.files}
    special = {CONF, DJANGO, FLASK, FLASK_CELERY}
    holders = {use.place for reading in plan.readings for use in reading.uses if use.form == "binding"}
    return sorted((p for p in holders - special if p.path in changed and p in plan.convention.styles), key=str)


def _module(plan: Plan, place: Place) -> Subject:
    style = plan.convention.styles[place]
    folder, name = _import_name(Path(place.path))
    module = f"{name}:{place.name}" if place.name else name
    words = {"module": module, "upper": style.reread, "namespace": style.namespace}
    return Subject(
        name=module,
        folder=folder,
        before={**words, "namespace": None if style.reread else style.namespace},
        after=words,
    )


def _import_name(path: Path) -> tuple[str, str]:
    folder = import_root(path.parent)
    parts = path.relative_to(folder).with_suffix("").parts
    return str(folder), ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _masked(key: str, text: str) -> str:
    if SECRET.search(key) and text not in {"None", "''"}:
        return "********"
    return LOGIN.sub(r"\1********@", text)[:ERROR_LENGTH]
