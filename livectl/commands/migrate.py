"""Renames old Celery settings in source files to new ones."""

from __future__ import annotations

from pathlib import Path

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Exit with 1 when there is something to change.")
@click.option("--write", is_flag=True, help="Write the changes; originals stay in git or in a numbered backup.")
@click.option("--prove", is_flag=True, help="Import the project before and after, and compare every setting.")
@click.option("--guesses", is_flag=True, help="Rename also what Celery never read, so that it counts.")
@click.option("--no-backup", is_flag=True, help="Write no backups, even where git does not have the original.")
@click.option("--namespace", metavar="NAME|none", help="What the names begin with, where the project does not say.")
@pass_command_context
def command(
    context: CommandContext,
    paths: tuple[Path, ...],
    *,
    check: bool,
    write: bool,
    prove: bool,
    guesses: bool,
    no_backup: bool,
    namespace: str | None,
) -> int:
    """Reads the Python files given, and those of the project around them. Finds out how
    Celery is told of its settings (a namespace, Django, Flask, a celeryconfig module,
    app.conf), and renames exactly the tokens that are settings, in every file that
    uses them. Nothing is run unless --prove or -A says so, nothing written unless
    --write does.

    \b
    Examples:
      livectl migrate .                    what would change, and why
      livectl migrate . --prove --write    write it, once proved equal
      livectl migrate . --check            for a build: 1 when there is work
    """
    from livectl import extras

    extras.require("migrate", "`migrate` reads Python code with libcst")
    from livectl.ops.migration import migrate

    options = migrate.MigrateOptions(
        paths=list(paths),
        namespace=namespace,
        check=check,
        write=write,
        prove=prove,
        guesses=guesses,
        backup=not no_backup,
    )
    with context.working("reading the project" + (", and proving it equal" if prove else "")):
        given = bool(context.given_app)
        outcome = migrate.migrate(options, context.environ, context.cwd, app=context.app, app_given=given)
    context.show(migrate.build_view(outcome, context.cwd))
    return migrate.exit_code(outcome, options)
