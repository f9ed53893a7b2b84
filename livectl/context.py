"""Holds what every command of one call needs: global options, settings, app, servers and output streams."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

from livectl.errors import FileError, LivectlError
from livectl.pools import LOG_LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from celery import Celery

    from livectl.address import Address
    from livectl.live.store import Store
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.sender import JobSender
    from livectl.render import View
    from livectl.settings import Settings
    from livectl.settings_watch import SettingsWatch
    from livectl.terminal import FullScreen, Progress


class CommandContext:
    """One call of livectl. Settings, deployment and app are read on first need: help works with a broken file."""

    def __init__(self, environ: Mapping[str, str], cwd: Path, out: TextIO, err: TextIO) -> None:
        self.environ = environ
        self.cwd = cwd
        self.out = out
        self.err = err
        self.given_app: str | None = None  # by -A
        self.config: str | None = None
        self.json = False
        self.quiet = False
        self.verbose = False
        self.wide = False
        self._progress: Progress | None = None
        self._has_begun = False  # to answer in pages

    @cached_property
    def settings(self) -> Settings:
        from livectl import settings

        return settings.load(self.environ, self.cwd, file=self.config)

    @property
    def app(self) -> str | None:
        """The app to work on: of -A, else of LIVECTL_APP, else of the settings file; None means livectl's own."""
        return self.given_app or self.environ.get("LIVECTL_APP") or self._app_of_settings[0] or None

    @app.setter
    def app(self, name: str | None) -> None:
        self.given_app = name

    @property
    def app_source(self) -> str:
        """Who names the app: `-A`, the variable, or the line of the settings; empty for livectl's own."""
        if self.given_app or self.environ.get("LIVECTL_APP"):
            return "-A" if self.given_app else "LIVECTL_APP"
        return self._app_of_settings[1] if self.app else ""

    @cached_property
    def _app_of_settings(self) -> tuple[str | None, str]:
        """The app that the file names, and where; a mistake elsewhere in it is told by whoever needs the rest."""
        from livectl import settings
        from livectl.errors import SettingsError

        try:
            return self.settings.app, self.settings.sources["app"]
        except SettingsError:
            return settings.load_usable(self.environ, self.cwd, file=self.config).app, settings.SETTINGS_FILE

    def watch_settings(self, check: Callable[[Settings], None]) -> SettingsWatch:
        """The settings of a process that stays, which takes over what changes in them, and says so."""
        from livectl.settings_watch import SettingsWatch

        watch = SettingsWatch(self.environ, self.cwd, self.config, check=check, say=lambda level, line: self.say(line))
        self.settings = watch.started
        return watch

    @property
    def home(self) -> Path:
        """The state directory, whatever the settings file holds."""
        from livectl import settings

        return settings.find_home(self.environ, self.cwd)

    def usable_settings(self) -> Settings:
        """As much of the settings as can be used, for what must work beside broken ones. Says when that is not all."""
        from livectl import settings
        from livectl.errors import SettingsError

        try:
            return self.settings
        except SettingsError as error:
            self.say(
                f"{error.message.splitlines()[0]}\n  What cannot be read of the settings is as if it were not set."
            )
            return settings.load_usable(self.environ, self.cwd, file=self.config)

    @cached_property
    def deployment(self) -> Deployment:
        """Where the app of `-A`, or livectl's own, keeps its messages, results and state."""
        return self.find_deployment()

    def find_deployment(self) -> Deployment:
        """Looks for the deployment again: the embedded broker may have moved."""
        from livectl.ops import deployment

        with self.working("loading the app"):
            return deployment.find(self.app, self.settings, self.cwd)

    @cached_property
    def celery_app(self) -> Celery:
        """The app of `-A`; without it livectl's own, made of these settings."""
        if self.app is not None:
            from livectl.ops import deployment

            return deployment.load_app(self.app, self.cwd)
        from livectl import celeryapp

        return celeryapp.create_app(self.settings)

    @cached_property
    def sending_app(self) -> Celery:
        """The same app, for a command that sends jobs: on Redis it sends each of them once."""
        from livectl.ops.transport import safe_transport

        safe_transport.choose(self.celery_app, self.settings)
        return self.celery_app

    def load_tasks(self) -> Mapping[str, Any]:
        """The tasks of the app by name; imports the modules that hold them."""
        from livectl.ops import apps
        from livectl.ops.schedules.options import KnownTasks

        with self.working("loading the app and its tasks"):
            return KnownTasks(apps.load_tasks(self.celery_app, self.cwd), self.settings.tasks)

    def job_sender(self) -> JobSender:
        """Sends jobs of the app."""
        from livectl.ops.jobs.sender import JobSender

        return JobSender(self.deployment, self.sending_app, self.load_tasks(), self.settings.tasks)

    @property
    def own_store(self) -> Address:
        """The store that livectl's own settings name, whatever `-A` says; else it is beside the broker."""
        from livectl.ops.processes import embedded_broker

        return self.settings.store or embedded_broker.resolve_addresses(self.settings).store

    def open_own_store(self, *, silent: bool = False) -> Store | None:
        """The store, to record in; None, and the reason on stderr unless `silent`, when it cannot be reached."""
        from livectl import redis_client
        from livectl.live.store import Store

        try:
            address = self.own_store
            with redis_client.explained(address):
                store = Store(redis_client.open_store(address))
                store.prepare(self.settings.polling.shards)
        except LivectlError as error:
            if not silent:
                self.say(f"nothing is recorded: {error.message}")
            return None
        return store

    def prepare_own_store(self) -> None:
        """Makes the store ready for livectl's own workers and beats; raises what would keep them from their work."""
        from livectl.live import store_upkeep

        store_upkeep.prepare(self.own_store, self.settings.polling.shards)

    def note_change(self, change: str, subject: str, outcome: Literal["done", "nothing", "failed"] = "done") -> None:
        """Notes in the audit log what a command changed. A store that is away costs the note alone."""
        import getpass
        import socket

        from livectl import audit
        from livectl.errors import LivectlError

        with suppress(LivectlError, OSError, KeyError):
            store = self.deployment.store if self.app else self.own_store
            who = f"{getpass.getuser()}@{socket.gethostname()}"
            if store is not None:
                entry = audit.AuditEntry(change=change, subject=subject, outcome=outcome, address=who, by="terminal")
                audit.note(store, entry)

    def display_path(self, path: Path) -> str:
        """A path as messages write it: from the folder of the call on, where it is in there."""
        return str(path.relative_to(self.cwd) if path.is_relative_to(self.cwd) else path)

    def say_needs_restart(self, folder: Path) -> None:
        """Names what runs on other settings than those of this folder, after a change of them."""
        from livectl import settings
        from livectl.errors import SettingsError
        from livectl.ops.processes import running_settings

        try:
            changed = settings.load(self.environ, folder, file=self.config)
        except SettingsError:
            return
        for line in running_settings.describe_outdated(changed, folder):
            self.say(f"Counts after a restart only: {line}")

    def show(self, view: View, *, paged: bool = False) -> None:
        """Writes the answer to stdout: one JSON value for programs, a table or a sentence for people.

        With `paged` a pager shows what a terminal has no room for.
        """
        from livectl import render, terminal

        if self.json:
            text = render.as_json(view)
        else:
            colour, width = terminal.has_colour(self.out, self.environ), terminal.find_width(self.out, self.environ)
            text = render.as_text(view, colour=colour, width=width, wide=self.wide)
        self._make_room()
        if paged and not self.json and terminal.is_too_long(text, self.out, self.environ):
            click.echo_via_pager(text)  # it asks for colours of `less`, and takes them out for others
            return
        self.out.write(terminal.encodable(text, self.out.encoding))
        self.out.flush()

    def show_pages(self, pages: Iterable[View]) -> None:
        """Writes an answer to stdout that is too long to be held: each page as soon as it is there, for programs all of
        them as one JSON array. An error on the way is told on stderr, and leaves what was written.
        """
        from livectl import render, terminal

        colour, width = terminal.has_colour(self.out, self.environ), terminal.find_width(self.out, self.environ)
        text_format = render.TextFormat(width, colour, self.wide)
        self.write(render.json_pieces(pages) if self.json else render.text_pieces(pages, text_format))

    def write(self, pieces: Iterable[str]) -> None:
        """Writes each piece of an answer to stdout as soon as it is there."""
        from livectl import terminal

        for piece in pieces:
            self._make_room()
            self._has_begun = True
            self.out.write(terminal.encodable(piece, self.out.encoding))
            self.out.flush()

    def open_screen(self) -> FullScreen | None:
        """The terminal, to redraw an answer on; None where there is none, or a program reads."""
        from livectl import terminal

        if self.json or not terminal.is_terminal(self.out, self.environ):
            return None
        return terminal.FullScreen(self.out, sys.stdin, self.environ, wide=self.wide)

    @contextmanager
    def working(self, text: str) -> Iterator[Callable[[float, float], None]]:
        """Says on a terminal what is waited for, once that takes more than a second.

        Yields the function that says how far it is: so much done, of so much.
        """
        from livectl import terminal

        if self.quiet or self._progress or not terminal.is_terminal(self.err, self.environ):
            yield lambda done, total: None
            return
        self._progress = terminal.Progress(self.err, self.environ, text)
        try:
            yield self._progress.advance
        finally:
            self._progress.end()
            self._progress = None

    def _make_room(self) -> None:
        """Before something is written, the line that says what is waited for goes."""
        if self._progress:
            self._progress.clear()

    def say(self, text: str) -> None:
        """Writes a remark to stderr, unless `--quiet`; a remark is never part of the answer."""
        if not self.quiet:
            self._print_words(text)

    def say_unset_secrets(self, *sections: str) -> None:
        """Names what is unset in this environment: it costs only what needs it."""
        for line in self.settings.describe_unset(*sections):
            self.say(f"{line} here: what needs it is left out")

    def check_targets(self) -> None:
        """Raises SettingsError for mistakes in the targets of alerts, and names what the others lack here."""
        from livectl.live.alerts import targets

        targets.check_targets(self.settings)
        for line in targets.describe_missing(self.settings):
            self.say(line)

    def report_error(self, error: LivectlError) -> None:
        """Says the error, in words that quote a server or an exception without the secrets in them."""
        from livectl.redaction import hide_secrets

        error.message = hide_secrets(error.message)
        if self.json and not self._has_begun:
            from livectl import render

            self.out.write(render.error_json(error))
            return
        has_positions = isinstance(error, FileError)  # its lines begin with file:line:column, for editors to jump to
        self._print_words(error.message if has_positions else f"livectl: {error.message}")
        if error.hint:
            self._print_words(f"  {error.hint}")

    def _print_words(self, text: str) -> None:
        """Writes to stderr; on a terminal lines end between words."""
        self._make_room()
        if self.err.isatty():
            from livectl import render, terminal

            width = terminal.find_width(self.err, self.environ)
            text = "\n".join(render.Paragraph(text, hanging="  ").lines(render.TextFormat(width)))
        print(text, file=self.err, flush=True)


pass_command_context = click.make_pass_decorator(CommandContext)

loglevel_option = partial(  # of every command that starts a process of Celery's
    click.option,
    "-l",
    "--loglevel",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
)


def from_process() -> CommandContext:
    """The context of this process: its environment, folder and streams."""
    import os

    return CommandContext(os.environ, Path.cwd(), sys.stdout, sys.stderr)
