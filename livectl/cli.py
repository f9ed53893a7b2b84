"""Runs the command line: finds the command, adds the global options, turns errors into text and exit codes."""

from __future__ import annotations

import importlib
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import click

from livectl import __version__
from livectl.context import CommandContext, from_process
from livectl.errors import EXIT_DONE, EXIT_INTERRUPTED, LivectlError, SettingsError, UsageError
from livectl.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

# group -> name -> (module, first sentence of its help). A module is imported when its command is called or its
# help is read.
COMMAND_GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "init": ("init", "Write commented livectl.yaml, schedules.yaml and follows.yaml."),
        "up": ("up", "Start broker, worker and beat in one, and keep them running."),
        "stop": ("stop", "Stop what was started with --detach."),
        "restart": ("restart", "Stop what was started with --detach, and start it again."),
        "web": ("web", "Serve the page that shows who is live."),
        "push": ("push", "Let platforms tell of go-lives by themselves: no wait until they are asked."),
    },
    "Streamers": {
        "live": ("live", "Show who is live, as workers last found it."),
        "check": ("check", "Ask after streamers, now."),
        "follow": ("follow", "Change and show the list of streamers you follow."),
        "open": ("open", "Open the page of a stream in the browser."),
        "history": ("history", "Show the sessions of a streamer, and when they usually stream."),
        "submit": ("submit", "Send a whole follow list to the workers, and watch it being asked."),
        "alerts": ("alerts", "Show where alerts go and how they fare; send a sample."),
        "platforms": ("platforms", "List what can be followed, and how each is asked."),
    },
    "Jobs": {
        "call": ("call", "Send a task, after looking whether it can arrive."),
        "status": ("status", "Tell where a job is, in one honest word."),
        "results": ("results", "List recent jobs, the newest first."),
        "retry": ("retry", "Send a job that has ended once more."),
        "revoke": ("revoke", "Take jobs back: out of their queue, and from the workers."),
        "dead": ("dead", "List, show, retry and drop dead letters."),
    },
    "Workers and queues": {
        "worker": ("worker", "Start a worker: the stock Celery worker, started right."),
        "workers": ("workers", "Show who runs what; look into workers, change, drain and stop them."),
        "queues": ("queues", "Show how deep the queues are; look into, move and empty them."),
        "events": ("events", "Show what workers tell of jobs and themselves, a line an event."),
        "shell": ("shell", "Open a Python shell with the app and its tasks."),
        "top": ("top", "Show queues, workers, jobs and schedules on one screen, with a key for each action."),
        "flower": ("flower", "Serve Flower on the app: loopback, read-only."),
    },
    "Schedules": {
        "beat": ("beat", "Start a beat; as many as you like may run."),
        "runs": ("runs", "List the runs of schedules: due, begun, and how they ended."),
        "schedules": ("schedules", "The schedule: validate, list, next, run, pause, resume, diff."),
    },
    "Care": {
        "doctor": ("doctor", "Name what is wrong, with evidence and cure."),
        "health": ("health", "Probe a worker, a beat, the broker or the store, fast and cheap."),
        "audit": ("audit", "Show who changed what, and how that went."),
        "store": ("store", "Look after the store: what is in it, check, migrate, export and import it."),
        "migrate": ("migrate", "Show, prove and write the change from old Celery settings to new ones."),
        "deploy": ("deploy", "Print the files for systemd, Docker, Kubernetes or launchd."),
        "completion": ("completion", "Complete commands, names and ids at a press of Tab: bash, zsh, fish."),
        "docs": ("docs", "Show the documents: how to start, to follow, to migrate, to mend."),
        "help": ("help", "Show the help of livectl, or of a command."),
    },
}
COMMANDS = {name: entry for group in COMMAND_GROUPS.values() for name, entry in group.items()}
HELP_OF_HELP = "Show the help of livectl, or of a command."
WHOLE_SENTENCE_CHARS = 1000  # Click would cut the first sentence of a help at so many


class GlobalOption(click.Option):
    """An option that every command takes, before or after its name. The top help alone lists it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if isinstance(ctx.command, LazyGroup) else None


def global_options() -> list[click.Option]:
    """New ones, for one command."""

    def set_on_context(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(CommandContext), str(option.name), value)

    def show_help(ctx: click.Context, _option: click.Parameter, value: Any) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()

    def option(*declarations: str, callback: Any = set_on_context, **attributes: Any) -> click.Option:
        return GlobalOption(declarations, callback=callback, expose_value=False, **attributes)

    return [
        option("-A", "--app", metavar="APP", help="Celery app to work on: proj, proj.celery, pkg.mod:app."),
        option("--config", type=click.Path(), metavar="PATH", help="Settings file, instead of ./livectl.yaml."),
        option("--json", is_flag=True, help="One JSON value on stdout, for programs."),
        option("--wide", is_flag=True, help="Tables with every column, and nothing shortened."),
        option("-v", "--verbose", is_flag=True, help="Say more; a traceback with an error."),
        option("-q", "--quiet", is_flag=True, help="Say nothing but the answer and errors."),
        option("-h", "--help", "shows_help", is_flag=True, is_eager=True, callback=show_help, help=HELP_OF_HELP),
    ]


# The name that an option had in livectl 0.1, without its dashes -> the name it has. It is taken for one release more.
OLD_OPTION_NAMES = {"schedule": "schedules"}
# What Celery calls an option, where livectl has another word for it.
CELERY_OPTION_NAMES = {
    "--countdown": "--in",
    "--delay": "--in",
    "--eta": "--at",
    "--hostname": "--name",
    "--events": "--task-events",
}
MIN_OPTION_SIMILARITY = 0.75  # of difflib's measure: one letter wrong in a name of four
MIN_CUT_CHARS = 5  # of an option that was cut short, its dashes included


class LazyGroup(click.Group):
    """Lists commands from the table alone, and imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, summary = COMMANDS[cmd_name]
            command: click.Command = importlib.import_module(f"livectl.commands.{module}").command
            self.add_command(_prepare_command(command, summary), cmd_name)
        return self.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the table, too: click would import every command for its help."""
        from click.shell_completion import CompletionItem

        named = [(name, summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete)]
        items = [CompletionItem(name, help=summary) for name, summary in named]
        return [*items, *super(click.Group, self).shell_complete(ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in COMMAND_GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{NAME_CHARS}}", summary) for name, (_, summary) in commands.items()])
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        with formatter.section("Global options, before or after the command"):
            formatter.write_dl([record for record in records if record])


NAME_CHARS = max(map(len, COMMANDS))  # the summaries of all groups begin in one column


def _prepare_command(command: click.Command, summary: str) -> click.Command:
    """Gives a command, and its subcommands, the global options; puts its sentence of the table first in its help."""
    command.help = f"{summary}\n\n{cleandoc(command.help or '')}"
    _add_global_options(command)
    return command


def _add_global_options(command: click.Command) -> None:
    used = {word for parameter in command.params for word in parameter.opts}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and isinstance(parameter.type, click.IntRange):
            parameter.metavar = parameter.metavar or "N"
    command.params += [option for option in global_options() if not used.intersection(option.opts)]
    command.add_help_option = False
    command.epilog = GLOBAL_OPTIONS_LINE
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            subcommand.short_help = f"{subcommand.get_short_help_str(WHOLE_SENTENCE_CHARS).rstrip('.')}."
            _add_global_options(subcommand)


GLOBAL_OPTIONS_LINE = "Global options, such as -A and --json: livectl --help"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    params=list(global_options()),
    add_help_option=False,
    context_settings={
        "max_content_width": 100,
        "token_normalize_func": lambda name: OLD_OPTION_NAMES.get(name, name),
    },
)
@click.version_option(__version__, message="livectl %(version)s")
@click.pass_context
def root(ctx: click.Context) -> None:
    """Run Celery well, and know which of the streamers you follow is live.

    Without a command it says what is going on, or how to begin.

    Exit codes: 0 yes or done, 1 no or failed, 2 usage, 3 settings or file,
    4 broker or store, 5 platform could not be asked, 6 not finished yet.
    """
    if ctx.invoked_subcommand is None:
        from livectl.commands import overview

        overview.show(ctx.ensure_object(CommandContext))


def main(argv: Sequence[str], command_context: CommandContext | None = None) -> int:
    """Runs one call and returns its exit code. Every error that leaves a command ends here."""
    context = command_context or from_process()
    context.json = "--json" in argv  # Click may meet a usage error before it calls the callback of --json
    try:
        code = root.main(list(argv), prog_name="livectl", standalone_mode=False, obj=context)
    except LivectlError as error:
        _print_traceback(context)
        context.report_error(error)
        return error.code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _report_usage_error(context, error)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_DONE
    except Exception as error:
        _print_traceback(context)
        livectl_error = _from_unforeseen(error)
        context.report_error(livectl_error)
        return livectl_error.code
    return code if isinstance(code, int) else EXIT_DONE


def _from_unforeseen(error: Exception) -> LivectlError:
    """What an error that no code foresaw means: a server, a file of the user's, or a bug."""
    from livectl import server_check

    if server_error := server_check.from_client_error(error):
        return server_error
    if isinstance(error, OSError) and error.filename is not None:
        return SettingsError(f"{error.filename}: {error.strerror}", "Look at that file or folder, and whose it is.")
    return LivectlError(f"stumbled over its own feet: {type(error).__name__}: {error}", "A bug; -v shows where.")


def _report_usage_error(context: CommandContext, error: click.ClickException) -> int:
    click_context = error.ctx if isinstance(error, click.UsageError) else None
    path = click_context.command_path if click_context else "livectl"
    message, hints = error.format_message(), [f"See `{path} --help`."]
    if isinstance(error, click.NoSuchOption) and click_context:
        message, hints = f"No such option {error.option_name!r}.", [*_option_hints(click_context, error), *hints]
    usage_error = UsageError(message, " ".join(hints))
    context.report_error(usage_error)
    return usage_error.code


def _option_hints(click_context: click.Context, error: click.NoSuchOption) -> list[str]:
    """Which option was meant, or where an option of Celery's own stands."""
    parameters = click_context.command.params
    names = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
    if error.option_name == "--args" and any(parameter.name == "args" for parameter in parameters):
        return ["Arguments stand behind the task's name, each as a word."]
    if meant := _meant_option(error.option_name, names):
        return [f"Did you mean {meant}?"]
    takes_celery_options = any(parameter.name == "extra" for parameter in parameters)
    place = f"Options of Celery's own stand behind --: `{click_context.command_path} -- {error.option_name}`."
    return [place] if takes_celery_options else []


def _meant_option(word: str, names: list[str]) -> str | None:
    """The option of this name in Celery, that was cut short, or misspelt by a letter or two."""
    if not word.startswith("--"):
        return None
    if (name := CELERY_OPTION_NAMES.get(word)) in names:
        return name
    begun = [name for name in names if name.startswith(word)] if len(word) >= MIN_CUT_CHARS else []
    near = nearest(word[2:], [name[2:] for name in names], cutoff=MIN_OPTION_SIMILARITY)
    return begun[0] if len(begun) == 1 else f"--{near}" if near else None


def _print_traceback(context: CommandContext) -> None:
    if context.verbose:
        import traceback

        from livectl.redaction import hide_secrets

        context.err.write(hide_secrets(traceback.format_exc()))
