"""Proves a migration: compares Celery's effective configuration before and after, setting by setting."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct, structs

from livectl.ops.migration.file_scan import CONF, DJANGO, FLASK, FLASK_CELERY, SettingsHolder
from livectl.ops.migration.names import ADDRESS_KEYS, KEYS, SPLIT_KEYS
from livectl.ops.migration.project import find_import_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.ops.migration.file_scan import FileScan
    from livectl.ops.migration.plan import MigrationPlan

PROBE_PATH = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 120.0  # importing a large Django project takes tens of seconds on a slow disk
SECRET = re.compile(r"KEY|PASS|TOKEN|SECRET|CREDENTIAL", re.IGNORECASE)
LOGIN = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")
MAX_ERROR_CHARS = 300
ADDRESS_SETTINGS = {"broker_read_url", "broker_write_url", "(broker address)"}


class Proof(Struct, frozen=True, kw_only=True):
    """How the settings of one subject compare before and after."""

    subject: str
    outcome: Literal["equal", "different", "unknown"]
    compared: int = 0
    non_default: int = 0  # settings compared that differ from Celery's default
    different: list[SettingDifference] = []
    newly_read: list[SettingDifference] = []  # settings that Celery did not read before, and reads now
    unstable: list[str] = []  # settings that differ from one start to the next
    problem: str = ""


class SettingDifference(NamedTuple):
    """One setting that is not the same before and after; secrets are masked."""

    key: str
    before: str
    after: str


class ProofSubject(Struct, frozen=True, kw_only=True):
    """An app, or a module as its loader reads it, and the requests that resolve it."""

    name: str
    folder: str
    before: dict[str, Any]
    after: dict[str, Any]


def prove(plan: MigrationPlan, environ: Mapping[str, str], cwd: Path, app: str | None) -> list[Proof]:
    """Resolves every subject twice in processes of their own. Imports the project's code; writes nothing."""
    subjects = [_given_app_subject(app, cwd)] if app else _find_subjects(plan)
    overlay = {str(file.source.path): base64.b64encode(file.after).decode() for file in plan.files}
    return [_prove_subject(plan, subject, overlay, environ, cwd) for subject in subjects]


def _prove_subject(
    plan: MigrationPlan, subject: ProofSubject, overlay: dict[str, str], environ: Mapping[str, str], cwd: Path
) -> Proof:
    def resolve(request: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
        full_request = {**request, "keys": sorted(KEYS), "folder": subject.folder, "overlay": files}
        return _run_probe(full_request, environ, cwd if request.get("given") else Path(subject.folder))

    before = resolve(subject.before, {})
    after = resolve(subject.after, overlay)
    if "error" in after or ("error" in before and not before["refused"]):
        worse = "error" in after and "error" not in before
        problem = _mask("", (after if "error" in after else before)["error"])
        return Proof(subject=subject.name, outcome="different" if worse else "unknown", problem=problem)
    if "error" in before:
        problem = f"until now Celery refused these settings: {_mask('', before['error']).split(',')[0]}"
        return _equal_proof(subject, after, compared=len(after["settings"]), problem=problem)
    proof = _compare(plan, subject, before, after)
    return _drop_unstable(proof, before, resolve(subject.before, {})) if proof.different else proof


def _equal_proof(subject: ProofSubject, after: dict[str, Any], *, compared: int, problem: str = "") -> Proof:
    return Proof(
        subject=subject.name, outcome="equal", compared=compared, non_default=len(after["set"]), problem=problem
    )


def _compare(plan: MigrationPlan, subject: ProofSubject, before: dict[str, Any], after: dict[str, Any]) -> Proof:
    old, new = before["settings"], after["settings"]
    keys = sorted((old.keys() | new.keys()) - _restated_keys(plan))
    differences = [
        SettingDifference(key, _mask(key, old.get(key, "None")), _mask(key, new.get(key, "None")))
        for key in keys
        if old.get(key, "None") != new.get(key, "None")
    ]
    newly_read = _newly_read(plan, set(before["set"]))
    different = [difference for difference in differences if difference.key not in newly_read]
    return structs.replace(
        _equal_proof(subject, after, compared=len(keys)),
        outcome="different" if different else "equal",
        different=different,
        newly_read=[difference for difference in differences if difference.key in newly_read],
    )


def _restated_keys(plan: MigrationPlan) -> set[str]:
    """Settings that are compared by their effect, which the probe reports under a name in brackets."""
    split = {key for old, parts in SPLIT_KEYS.items() for key in (old, *parts)}
    if not plan.renaming.broker_url_composed:
        return split
    return split | {*ADDRESS_KEYS, "broker_url", "broker_read_url", "broker_write_url"}


def _drop_unstable(proof: Proof, before: dict[str, Any], repeated: dict[str, Any]) -> Proof:
    """Takes settings out of the comparison that differ between two starts of the same code."""
    settings = repeated.get("settings", {})
    unstable = [row.key for row in proof.different if settings.get(row.key) != before["settings"].get(row.key)]
    different = [row for row in proof.different if row.key not in unstable]
    outcome = "different" if different else "equal"
    return structs.replace(proof, outcome=outcome, different=different, unstable=unstable)


def _newly_read(plan: MigrationPlan, already: set[str]) -> set[str]:
    """Settings that are written in the files, and for which Celery took its default until now."""
    newly_read = plan.renaming.newly_read - already
    derived = {
        "broker_url": ADDRESS_SETTINGS,
        "task_default_queue": {"task_default_exchange", "task_default_routing_key"},
    }
    return newly_read.union(*(derived[key] for key in newly_read & derived.keys()))


def _run_probe(request: dict[str, Any], environ: Mapping[str, str], folder: Path) -> dict[str, Any]:
    python = _find_python(Path(request["folder"]))
    try:
        completed = subprocess.run(
            [python, str(PROBE_PATH)],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            cwd=folder,
            env={**environ, "PYTHONHASHSEED": "0"},
            timeout=PROBE_SECONDS,
        )
        reply: dict[str, Any] = json.loads(completed.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS:.0f} s", "refused": False}
    except (OSError, ValueError) as error:
        return {"error": f"the process that was to resolve it failed: {error}", "refused": False}
    return reply


def _find_python(folder: Path) -> str:
    """The Python of the project's virtual environment if it has one, else this one."""
    for name in (".venv", "venv"):
        python_path = folder / name / "bin" / "python"
        if python_path.exists():
            return str(python_path)
    return sys.executable


# Subjects


def _given_app_subject(app: str, cwd: Path) -> ProofSubject:
    request = {"app": app, "given": True}
    return ProofSubject(name=f"app {app}", folder=str(cwd), before=request, after=request)


def _find_subjects(plan: MigrationPlan) -> list[ProofSubject]:
    """The project's apps; where there is none, the modules and classes with settings."""
    apps = [scan for scan in plan.scans if scan.module_app_count and _is_concerned(plan, scan)]
    holders = _changed_holders(plan)
    if not apps:
        return [_module_subject(plan, holder) for holder in holders]
    flask_holders = [holder for holder in holders if holder.name and FLASK in plan.convention.styles]
    return [
        *(_app_subject(scan) for scan in apps),
        *(_module_subject(plan, holder) for holder in flask_holders),
    ]


def _is_concerned(plan: MigrationPlan, scan: FileScan) -> bool:
    """Whether an app is among the files given, or reads settings that are changed there."""
    touched = {plan.convention.family(holder) for holder in plan.changed_holders}
    reads = {plan.convention.family(call.holder) for call in scan.calls}
    return str(scan.source.path) in plan.own_paths or bool(reads & touched)


def _app_subject(scan: FileScan) -> ProofSubject:
    """The app by its own name: beside it there may be one of Flask that is called `app`."""
    folder, name = _import_name(scan.source.path)
    name = f"{name}:{scan.app_names[0]}" if scan.app_names else name
    return ProofSubject(name=f"app {name}", folder=folder, before={"app": name}, after={"app": name})


def _changed_holders(plan: MigrationPlan) -> list[SettingsHolder]:
    changed = {str(file.source.path) for file in plan.files}
    special = {CONF, DJANGO, FLASK, FLASK_CELERY}
    holders = {use.holder for scan in plan.scans for use in scan.uses if use.form == "binding"}
    return sorted(
        (holder for holder in holders - special if holder.path in changed and holder in plan.convention.styles), key=str
    )


def _module_subject(plan: MigrationPlan, holder: SettingsHolder) -> ProofSubject:
    style = plan.convention.styles[holder]
    folder, name = _import_name(Path(holder.path))
    module = f"{name}:{holder.name}" if holder.name else name
    request = {"module": module, "upper": style.reread, "namespace": style.namespace}
    return ProofSubject(
        name=module,
        folder=folder,
        before={**request, "namespace": None if style.reread else style.namespace},
        after=request,
    )


def _import_name(path: Path) -> tuple[str, str]:
    folder = find_import_root(path.parent)
    parts = path.relative_to(folder).with_suffix("").parts
    return str(folder), ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _mask(key: str, text: str) -> str:
    if SECRET.search(key) and text not in {"None", "''"}:
        return "********"
    return LOGIN.sub(r"\1********@", text)[:MAX_ERROR_CHARS]
