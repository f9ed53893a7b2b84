"""`livectl deploy`: files that their readers take, for the settings at hand, without a secret."""

from __future__ import annotations

import io
import json
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from livectl import cli
from livectl.commands import deploy
from livectl.commands.deploy import Site
from livectl.context import CommandContext

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = {"FROM", "RUN", "COPY", "ARG", "ENV", "WORKDIR", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK"}
INSTRUCTIONS |= {"ENTRYPOINT", "CMD"}
PROJ = Site(
    app="proj.web:app",
    words=("/home/ada/my venv/bin/livectl",),
    folder="/home/ada/100% proj",
    home="/home/ada/.local/state/livectl",
    user="ada",
    secrets=("PHONE_URL",),
    own_broker=False,
    queue="celery",
    source=False,
)
HUSH = "hush-hush-hush-hush"
SETTINGS = f"""
broker: redis://:{HUSH}@example.org/0
alerts: {{phone: {{url: env:PHONE_URL}}, hook: {{webhook: 'https://example.org/{HUSH}'}}}}
web: {{token: {HUSH}}}
"""


def deploy_files(kind: str, site: Site) -> list[str]:
    return list(deploy.render(kind, site).values())


def run(cwd: Path, *argv: str, **environ: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    assert cli.main(argv, CommandContext({"HOME": str(cwd), **environ}, cwd, out, err)) == 0, err.getvalue()
    return out.getvalue()


@pytest.mark.parametrize("kind", deploy.KINDS)
def test_the_files_of_the_repository_are_those_of_the_templates(kind: str) -> None:
    for file, text in deploy.render(kind, Site()).items():
        assert (ROOT / file).read_text() == text, "`make deploy-files` renews them"


@pytest.mark.parametrize("kind", deploy.KINDS)
def test_what_is_at_hand_is_in_them_and_no_secret_is(kind: str, tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text(SETTINGS)
    out = run(tmp_path, "deploy", kind, LIVECTL_STORE=f"redis://:{HUSH}@example.org/1")
    assert HUSH not in out
    if kind not in {"dockerfile", "procfile"}:
        assert "LIVECTL_STORE, PHONE_URL" in out
    if kind in {"systemd", "launchd"}:
        assert str(tmp_path) in out
    assert "valkey" not in out
    assert json.loads(run(tmp_path, "deploy", kind, "--json"))["files"]


@pytest.mark.parametrize("site", [Site(), PROJ], ids=["own", "app"])
def test_systemd_takes_the_units(site: Site, tmp_path: Path) -> None:
    for text in deploy_files("systemd", site):
        keys = [line.partition("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#")]
        assert {"User", "KillMode", "ProtectSystem", "NoNewPrivileges", "CapabilityBoundingSet"} <= set(keys)
        if not (analyze := shutil.which("systemd-analyze")):
            continue
        here = text.replace(site.words[0], "/bin/true")
        unit = tmp_path / text.partition("\n")[0].rpartition("/")[2]
        unit.write_text(here)
        verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
        assert [line for line in verified.stderr.splitlines() if unit.name in line] == []
        scored = subprocess.run(
            [analyze, "security", "--offline=yes", "--threshold=25", unit], capture_output=True, text=True, check=False
        )
        assert scored.returncode == 0, scored.stdout + scored.stderr


@pytest.mark.parametrize("site", [Site(), PROJ], ids=["own", "app"])
def test_docker_takes_the_file(site: Site) -> None:
    (text,) = deploy_files("dockerfile", site)
    lines = [line for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]
    words = [line.partition(" ")[::2] for line in lines]
    assert {instruction for instruction, _ in words} <= INSTRUCTIONS
    of = dict(words)  # the last of each counts
    assert of["USER"] == "livectl"
    assert json.loads(of["ENTRYPOINT"])[0] == "livectl"
    assert json.loads(of["CMD"]) == ["up"]
    assert json.loads(of["HEALTHCHECK"].partition(" CMD ")[2])[-2:] == ["health", "worker"]


@pytest.mark.parametrize("site", [Site(), PROJ], ids=["own", "app"])
def test_compose_has_two_beats_a_worker_and_a_page_each_with_a_check_that_livectl_knows(site: Site) -> None:
    (text,) = deploy_files("compose", site)
    file = yaml.safe_load(text)
    services = file["services"]
    assert set(services) == {"worker", "beat-1", "beat-2", "page", *(["valkey"] if site.own_broker else [])}
    assert set(file.get("volumes", {})) == ({"valkey-data"} if site.own_broker else set())
    for name, service in services.items():
        kind, *check = service["healthcheck"]["test"]
        assert kind == "CMD"
        if name != "valkey":
            check_words(service["command"])
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        if check[0] == "livectl":
            check_words(check[1:])


def test_kubernetes_takes_the_objects() -> None:
    for site in (Site(), PROJ):
        (text,) = deploy_files("kubernetes", site)
        objects = list(yaml.safe_load_all(text))
        deployments = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Deployment"}
        assert [one["kind"] for one in objects].count("PodDisruptionBudget") == 2
        for spec in deployments.values():
            check_deployment(spec)
        for one in objects:
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
            if one["kind"] == "PodDisruptionBudget":
                selectors = [spec["selector"] for spec in deployments.values()]
                assert one["spec"]["selector"] in selectors
        (scaled,) = (one["spec"] for one in objects if one["kind"] == "ScaledObject")
        assert scaled["scaleTargetRef"]["name"] in deployments
        metric = re.search(r"livectl_\w+", scaled["triggers"][0]["metadata"]["query"])
        assert metric
        assert f'"{metric[0]}"' in (ROOT / "livectl/web/metrics.py").read_text()


def check_deployment(spec: dict[str, Any]) -> None:
    pod = spec["template"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["securityContext"]["runAsNonRoot"] is True
    check_words(container["args"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "exec" in container[probe]:
            check_words(container[probe]["exec"]["command"][1:])
        else:
            assert container[probe]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize("site", [Site(), PROJ], ids=["own", "app"])
def test_launchd_and_a_process_manager_start_what_there_is(site: Site) -> None:
    (text,) = deploy_files("launchd", site)
    agent = plistlib.loads(text.encode())
    assert agent["WorkingDirectory"] == site.folder
    check_words(agent["ProgramArguments"][1:])
    (text,) = deploy_files("procfile", site)
    for line in text.splitlines():
        check_words(shlex.split(line.replace("$PORT", "9000"))[2:])


def check_words(words: list[str]) -> None:
    """They are a command of livectl, and options that it has."""
    import click

    context: click.Context | None = None
    command: click.Command = cli.root
    args, obj = list(words), CommandContext({}, ROOT, io.StringIO(), io.StringIO())
    while True:
        context = command.make_context("livectl", args, parent=context, obj=obj)
        if not isinstance(command, click.Group):
            return
        _, found, args = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found
        command = found


def test_the_way_to_livectl_is_that_of_this_python(tmp_path: Path) -> None:
    assert str(Path(sys.executable).parent) in run(tmp_path, "deploy", "systemd")


@pytest.mark.parametrize(
    ("broker", "has_valkey"),
    [("redis://127.0.0.1:1", True), ("redis://example.org", False), ("amqp://127.0.0.1:1", False)],
)
def test_an_app_gets_a_broker_where_its_own_is_a_redis_of_this_machine(
    broker: str,
    has_valkey: bool,
    tmp_path: Path,
) -> None:
    name = "deployed_" + "".join(filter(str.isalnum, broker))
    (tmp_path / f"{name}.py").write_text(f"import celery\napp = celery.Celery(broker='{broker}')\n")
    text = run(tmp_path, "-A", name, "deploy", "compose")
    assert ("valkey-data" in text) == has_valkey
    assert ("CELERY_BROKER_URL" in text) == has_valkey
