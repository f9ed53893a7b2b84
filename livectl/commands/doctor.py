"""Names what is wrong with an app, its servers and its workers."""

from __future__ import annotations

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.option("--ignore", multiple=True, metavar="ID", help="Leave a finding out; may be said several times.")
@click.option("--settings", is_flag=True, help="Show instead the settings in force and where each comes from.")
@pass_command_context
def command(context: CommandContext, /, *, ignore: tuple[str, ...], settings: bool) -> int:
    """Looks at settings, servers, workers, queues, beats, results and streamers, at once and within seconds. A finding
    has an id, its evidence and its cure; `livectl docs doctor ID` says more of each. -v shows what is well too.
    Nothing of yours is changed or sent; what tries whether a server takes anything is taken back at once. Exit 1 when
    something is bad; what is only worth a warning is exit 0.

    \b
    Examples:
      livectl doctor
      livectl -A proj doctor --ignore redis-forgets --json
      livectl -A proj doctor --settings
    """
    from msgspec import structs

    from livectl.doctor import collect, report

    with context.working("looking at everything"):
        facts = collect.collect_facts(context.app, lambda: context.settings, context.environ, context.cwd)
        facts = structs.replace(facts, app_source=context.app_source)
        findings = report.run_checks(facts, ignore=ignore, include_ok=context.verbose)
    context.show(report.settings_view(facts) if settings else report.findings_view(findings, facts))
    return 1 if any(finding.level == "bad" for finding in findings) else 0
