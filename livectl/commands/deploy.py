"""Prints the files that run livectl on a server, in containers or in a cluster, for the settings at hand."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from livectl import __version__
from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.address import Address
    from livectl.ops.deployment import Deployment

# kind -> file name in the repository's own set -> template
KINDS: dict[str, dict[str, str]] = {
    "systemd": {
        "deploy/systemd/livectl.service": "service.j2",
        "deploy/systemd/livectl-worker@.service": "worker_service.j2",
    },
    "compose": {"compose.yaml": "compose.j2"},
    "dockerfile": {"Dockerfile": "dockerfile.j2"},
    "kubernetes": {"deploy/kubernetes/livectl.yaml": "kubernetes.j2"},
    "launchd": {"deploy/launchd/io.livectl.livectl.plist": "launchd.j2"},
    "procfile": {"Procfile": "procfile.j2"},
}
SECRET_VARIABLES = ("LIVECTL_BROKER", "LIVECTL_STORE", "LIVECTL_RESULTS", "LIVECTL_TOKEN", "CELERY_BROKER_URL")
HOMES = ("/home/", "/root", "/Users/")
SERVICE_USER = "livectl"


class Site(NamedTuple):
    """Where and as whom livectl is to run. No secret is in here: of those, the names alone."""

    app: str | None = None
    words: tuple[str, ...] = ("/opt/livectl/bin/livectl",)  # that start livectl
    folder: str = "/srv/livectl"  # of the settings file, or the app
    home: str = "/var/lib/livectl"
    config: str = ""  # of a settings file that is not in the folder
    user: str = SERVICE_USER
    secrets: tuple[str, ...] = ()  # names of environment variables
    own_broker: bool = True  # none is set, or one that only this machine reaches
    own_results: bool = False  # and an app keeps results, which then have to be there as well
    queue: str = "livectl"
    source: bool = True  # the image is built from the repository

    @property
    def name(self) -> str:
        """What units and objects are called: of letters, digits and dashes."""
        return f"livectl-{re.sub('[^a-z0-9]+', '-', self.app.lower()).strip('-')}" if self.app else "livectl"


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--generic", is_flag=True, help="For a machine of its own: user livectl, /srv/livectl, /var/lib/livectl.")
@pass_command_context
def command(context: CommandContext, /, *, kind: str, generic: bool) -> None:
    """Settings file, folder, state directory, user, app and the way to livectl are those of this call. No secret is
    printed: where each goes is said at the top of the file.

    \b
    Examples:
      livectl deploy systemd
      livectl -A proj deploy compose
      livectl deploy kubernetes --generic
    """
    from livectl.render import View

    texts = render(kind, Site() if generic else site_at_hand(context))
    context.show(View({"files": texts}, lambda: "\n".join(texts.values()).rstrip("\n")))


def render(kind: str, site: Site) -> dict[str, str]:
    """The text of each file, by its place in a repository."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("livectl", "templates/deploy"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - none of these is HTML
    )
    environment.filters |= {"word": _systemd_word, "percent": lambda text: text.replace("%", "%%")}
    return {file: environment.get_template(template).render(_values(site)) for file, template in _templates(kind, site)}


def _templates(kind: str, site: Site) -> Iterator[tuple[str, str]]:
    for file, template in KINDS[kind].items():
        yield file.replace("livectl-worker@", f"{site.name}-worker@").replace("/livectl.", f"/{site.name}."), template


def _values(site: Site) -> dict[str, Any]:
    app_words = ["-A", site.app] if site.app else []
    words = [*site.words, *app_words]
    return {
        **site._asdict(),
        "name": site.name,
        "words": words,
        "version": __version__,
        "intro": f"For livectl {__version__}; made by `livectl deploy`, which makes it anew.",
        "app_json": "".join(f", {json.dumps(word)}" for word in app_words),
        "app_words": "".join(f"{json.dumps(word)}, " for word in app_words),
        "app_option": f"-A {site.app} " if site.app else "",
        "of_app": f" for {site.app}" if site.app else "",
        "command": " ".join(map(_systemd_word, words)),
        "in_homes": any(f"{place}/".startswith(HOMES) for place in (site.folder, site.home, site.words[0])),
        "needed": tuple(name for name in ("LIVECTL_BROKER", "LIVECTL_TOKEN") if name not in site.secrets),
        "args": {"worker": "[worker]", "beat": "[beat]", "page": '[web, --host, 0.0.0.0, --port, "8787"]'},
    }


def _systemd_word(text: str) -> str:
    """A word of a unit: systemd expands % and splits at spaces."""
    text = text.replace("%", "%%")
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s\"'\\;$]", text) else text


def site_at_hand(context: CommandContext) -> Site:
    """The place of this call."""
    settings = context.settings
    folder = context.cwd if context.app or not settings.file else settings.folder
    user = getpass.getuser()
    deployed = _app_deployment(context)
    named = settings.broker is not None or bool(context.environ.get("CELERY_BROKER_URL"))
    own_broker = not named and (deployed is None or _is_of_this_machine(deployed.broker))
    return Site(
        app=context.app,
        words=_livectl_words(),
        folder=str(folder.resolve()),
        home=str(settings.home.resolve()),
        config="" if settings.file is None or settings.file.parent == folder else str(settings.file.resolve()),
        user=SERVICE_USER if user == "root" else user,
        secrets=tuple(_secret_names(context)),
        own_broker=own_broker,
        own_results=own_broker and deployed is not None and deployed.keeps_results,
        queue=next(iter(deployed.layout.queues), "celery") if deployed else "celery" if context.app else "livectl",
        source=False,
    )


def _app_deployment(context: CommandContext) -> Deployment | None:
    """Where an app has its servers; nothing for livectl's own, and for an app that cannot be loaded here."""
    try:
        return context.deployment if context.app else None
    except LivectlError:
        return None


def _is_of_this_machine(broker: Address | None) -> bool:
    """Whether a Redis in its place is what the app would find elsewhere."""
    from livectl.web import auth

    if broker is None or not broker.is_redis:  # none that is known, or RabbitMQ
        return False
    return bool(broker.scheme == "unix" or auth.is_loopback(broker.host))


def _livectl_words() -> tuple[str, ...]:
    script = Path(sys.executable).parent / "livectl"
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "livectl")


def _secret_names(context: CommandContext) -> Iterator[str]:
    """The variables that the settings file reads, and those of this environment that go before it."""
    from livectl import yamlfile

    names = {name for name in SECRET_VARIABLES if context.environ.get(name)}
    if file := context.settings.file:
        names |= set(_env_names(yamlfile.load(file, file.name).value))
    yield from sorted(names)


def _env_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _env_names(item)
    elif isinstance(value, str) and value.startswith("env:"):
        yield value.removeprefix("env:").strip()


if __name__ == "__main__":  # renews the files of the repository in this folder
    for kind in KINDS:
        for file, text in render(kind, Site()).items():
            path = Path(sys.argv[1], file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
