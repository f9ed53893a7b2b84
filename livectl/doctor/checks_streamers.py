"""Finds what keeps platforms from being asked, and alerts from reaching their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.models import Finding, State
from livectl.units import format_count, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.doctor.facts import Facts
    from livectl.models import PlatformHealth, StreamerRecord

MAX_ANSWERS_SHOWN = 4
MAX_STREAMERS_SHOWN = 10
MIN_WAIT_S = 60.0  # after a change of the follow list: workers take it over within seconds
MIN_LIST_UNREAD_S = 60.0  # lists are read anew within that
MIN_UNREACHED_S = 300.0  # beyond what a network mends by itself
MIN_UNREAD_S = 600.0  # of trouble with one streamer
PASSING_TROUBLES = {State.UNKNOWN, State.NETWORK, State.RATE_LIMITED, State.BLOCKED}  # that may be over by themselves
NO_FAULTS = {State.UPCOMING, State.RESTRICTED}  # they describe the streamer
NETWORK_CURE = "Look at this machine's network, and at network.proxy and network.connect_to in livectl.yaml."
EXIT_CURE = (
    "Look at that address or proxy, and at network.exits in livectl.yaml; who leaves by others is asked as ever."
)
LIST_HINT = "livectl live --all shows each"


def check_follow_list(facts: Facts) -> Iterator[Finding]:
    if facts.platforms.list_problem:
        yield Finding(
            id="follows-broken",
            level="bad",
            title="The follow list cannot be read",
            evidence=f"{facts.platforms.list_problem}\nthe last one that could be read stays in force",
            cure="Mend the place that is named; `livectl follow add` makes a file that is not there.",
        )


def check_unread_follow_list(facts: Facts) -> Iterator[Finding]:
    """Workers take a changed list over within seconds, if any runs."""
    platforms = facts.platforms
    if platforms.list_changed is None or facts.now - platforms.list_changed < MIN_WAIT_S:
        return
    yield Finding(
        id="follows-waiting",
        level="bad",
        title=f"{format_count(platforms.waiting, 'streamer')} on the follow list {_are(platforms.waiting)} not asked",
        evidence=f"{platforms.list_path} changed at {format_instant(platforms.list_changed)}, "
        "and no worker has read it since",
        cure="Start worker and beat (livectl up), where they read the same follow list.",
    )


def check_unresolved_follows(facts: Facts) -> Iterator[Finding]:
    lost = facts.platforms.unresolved
    if lost:
        passing = all(record.trouble in PASSING_TROUBLES and not _is_refused(record) for record in lost)
        yield Finding(
            id="follow-unresolved",
            level="warn" if passing else "bad",
            title=f"{format_count(len(lost) + facts.platforms.more_unresolved, 'line')} of the follow list "
            f"{'leads' if len(lost) == 1 else 'lead'} to nobody",
            evidence=_list_streamers(lost, facts.platforms.more_unresolved),
            cure="Mend the line, or take it out: livectl follow remove 'NAME', as it stands here.",
        )


def check_unread_streamers(facts: Facts) -> Iterator[Finding]:
    """Trouble of a whole platform is another finding's."""
    explained = {health.platform for health in _ways(facts) if _platform_trouble(health, facts.now)}
    unread = [
        record
        for record in facts.platforms.unread
        if record.trouble not in NO_FAULTS
        and record.platform not in explained
        and record.platform not in facts.platforms.without_key
        and facts.now - (record.troubled_since or facts.now) >= MIN_UNREAD_S
    ]
    if unread:
        is_part = not {record.platform for record in unread}.isdisjoint(facts.platforms.more_unread)
        count = format_count(len(unread), "streamer")
        yield Finding(
            id="streamers-unread",
            level="warn",
            title=f"{f'More than {count}' if is_part else count} could not be read for a while",
            evidence=_list_streamers(unread),
            cure="Who is gone can be taken out: livectl follow remove PLATFORM/ID.",
        )


def check_overdue_streamers(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        overdue = facts.now - (health.due_since or facts.now)
        is_listed = health.listed_until > facts.now  # then most are put off, and nobody waits
        is_excused = is_listed or health.exits or _platform_trouble(health, facts.now)
        if overdue > facts.platforms.slowest and not is_excused:
            yield Finding(
                id="streamers-overdue",
                level="bad",
                title=f"Streamers on {health.name} are not asked",
                evidence=f"{health.due} are due, the first since {format_instant(facts.now - overdue)}",
                cure="Start worker and beat (livectl up); where both run, more are followed than the budget bears.",
            )


def check_unreached_platforms(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        if health.unreached is not None:
            yield Finding(
                id="platform-unreached",
                level="bad" if facts.now - health.unreached >= MIN_UNREACHED_S else "warn",
                title=f"{health.name} is not reached",
                evidence=f"since {format_instant(health.unreached)} no request has reached it{_why(facts, health)}",
                cure=EXIT_CURE if health.exit else NETWORK_CURE,
            )
    for platform, first in _unreached_lookups(facts):
        since = first.troubled_since or facts.now
        yield Finding(
            id="platform-unreached",
            level="bad" if facts.now - since >= MIN_UNREACHED_S else "warn",
            title=f"{platform} is not reached",
            evidence=f"since {format_instant(since)} no name could be looked up there: {first.problem}",
            cure=NETWORK_CURE,
        )


def _unreached_lookups(facts: Facts) -> Iterator[tuple[str, StreamerRecord]]:
    """Platforms of which nobody could be looked up yet, each with who has waited the longest."""
    followed = {health.platform for health in facts.platforms.health}
    by_platform: dict[str, list[StreamerRecord]] = {}
    for record in facts.platforms.unresolved:
        if record.platform not in followed:
            by_platform.setdefault(record.platform, []).append(record)
    for platform, records in by_platform.items():
        if all(record.trouble is State.NETWORK and record.troubled_since for record in records):
            yield platform, min(records, key=lambda record: record.troubled_since or 0.0)


def check_unread_lists(facts: Facts) -> Iterator[Finding]:
    """Where a list cannot be read everybody is asked, once it is too old to believe in."""
    for health in facts.platforms.health:
        since = health.list_troubled
        if since and facts.now - since >= MIN_LIST_UNREAD_S and not _platform_trouble(health, facts.now):
            until = f"until {format_instant(health.listed_until)} most are not asked, then all are"
            yield Finding(
                id="list-unread",
                level="warn",
                title=f"The list of who is live on {health.platform} cannot be read",
                evidence=f"since {format_instant(since)}: {health.list_problem}; "
                f"{until if health.listed_until > facts.now else 'all are asked, which takes longer'}",
                cure="It is tried again by itself; if it stays so, upgrade livectl, or switch it off: "
                f"platforms: {{{health.platform}: {{listing: off}}}}.",
            )


def check_waiting_platforms(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        if health.wait_until and health.wait_until > facts.now and not health.step:
            yield Finding(
                id="platform-waits",
                level="warn",
                title=f"{health.name} wants to be left alone",
                evidence=f"nothing is asked before {format_instant(health.wait_until)}; "
                f"answers: {_format_answers(health.answers)}",
                cure="It is asked again by itself; if it comes back, lower its budget.",
            )


def check_platforms_that_emptied(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        if health.all_gone:
            yield Finding(
                id="platform-emptied",
                level="warn",
                title=f"Everybody on {health.name} seemed to go offline at once",
                evidence=f"at {format_instant(health.all_gone)}; it is not believed until somebody is seen live",
                cure="Look at one of them on the site; if they are live there, upgrade livectl, or report it.",
            )


def check_missing_keys(facts: Facts) -> Iterator[Finding]:
    for platform in facts.platforms.without_key:
        yield Finding(
            id="platform-key",
            level="bad",
            title=f"{platform} answers only with a key",
            evidence=f"streamers on {platform} are followed, and platforms.{platform} has no key",
            cure=f"Set client_id and client_secret under platforms.{platform}: `livectl docs platforms`.",
        )


def check_unset_secrets(facts: Facts) -> Iterator[Finding]:
    """What is unset for doctor may be set for a worker that another shell or a service started."""
    for line in facts.unset_secrets:
        yield Finding(
            id="secret-unset",
            level="bad",
            title="a secret of the settings is not set here",
            evidence=line,
            cure="Set it where workers and livectl start; until then what needs it is left out, and nothing else.",
        )


def check_misnamed_platforms(facts: Facts) -> Iterator[Finding]:
    for misnamed in facts.misnamed_platforms:
        yield Finding(
            id="platform-misnamed",
            level="warn",
            title=f"There is no platform {misnamed.name}",
            evidence=f"{misnamed.place} in livectl.yaml names it, and nothing comes of that",
            cure=misnamed.cure,
        )


def check_refused_keys(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        if health.auth_since and health.platform not in facts.platforms.without_key:
            yield Finding(
                id="platform-auth",
                level="bad",
                title=f"{health.name} refuses our key",
                evidence=f"since {format_instant(health.auth_since)}; nothing is asked until the key changes",
                cure=f"Make a new key and set it under platforms.{health.platform}.",
            )


def check_blocked_platforms(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        if health.step or (health.open_until and health.open_until > facts.now):
            since = f"since {format_instant(health.blocked)}; " if health.blocked else ""
            yield Finding(
                id="platform-blocked",
                level="warn",
                title=f"{health.name} blocks us",
                evidence=f"{since}nothing is asked before {format_instant(health.open_until or facts.now)}; "
                f"answers: {_format_answers(health.answers)}",
                cure="It is asked again by itself; if it stays so, ask less often (budget), with your own key, or "
                "by another exit (network.exits).",
            )


def check_push(facts: Facts) -> Iterator[Finding]:
    for health in facts.platforms.pushed:
        if (trouble := health.find_trouble(facts.now)) is None:
            continue
        evidence = trouble.evidence
        if health.problem:
            others = "others are asked" if health.is_heard(facts.now) else "all are asked"
            evidence = f"since {format_instant(health.problem_at or facts.now)}: {evidence}; {others}"
        yield Finding(id="push-silent", level="warn", title=trouble.title, evidence=evidence, cure=trouble.cure)


def check_parsers(facts: Facts) -> Iterator[Finding]:
    for health in _ways(facts):
        if health.parser_broken:
            yield Finding(
                id="parser-broken",
                level="bad",
                title=f"{health.name} answers in a shape that livectl does not know",
                evidence=f"since {format_instant(health.parser_broken)}; answers: {_format_answers(health.answers)}",
                cure="Upgrade livectl; if it is the newest, report it.",
            )


def check_failing_targets(facts: Facts) -> Iterator[Finding]:
    for failing in facts.alerts.failing:
        yield Finding(
            id="alerts-failing",
            level="bad",
            title=f"alerts do not reach {failing.target}",
            evidence=f"since {format_instant(failing.since)}{_tries_text(failing.tries)}: {failing.problem}",
            cure=f"Mend alerts.{failing.target} in livectl.yaml, and try it: livectl alerts test {failing.target}.",
        )


def check_watch_missing(facts: Facts) -> Iterator[Finding]:
    """Beats of livectl watch; where none runs, targets that listen to `job` hear nothing and seem to have no reason."""
    if facts.job_targets and not facts.beats.names:
        yield Finding(
            id="watch-missing",
            level="warn",
            title="Targets listen to `job`, and no beat of livectl's watches",
            evidence=f"alerts: {', '.join(facts.job_targets)} would not be told of runs that fail or are missed",
            cure="livectl beat, or a plain one with -S livectl.watching:WatchingScheduler.",
        )


def _format_answers(answers: dict[str, int]) -> str:
    """The most frequent answers, and how often each came."""
    ordered = sorted(answers.items(), key=lambda item: -item[1])
    texts = [f"{count} {State(state).words}" for state, count in ordered[:MAX_ANSWERS_SHOWN]]
    others = sum(count for _, count in ordered[MAX_ANSWERS_SHOWN:])
    return ", ".join([*texts, f"{others} others"] if others else texts)


def _tries_text(tries: int) -> str:
    return f", {tries} tries" if tries else ", given up"


def _is_refused(record: StreamerRecord) -> bool:
    """Whether a line cannot be read at all: it was never looked up, and stays so."""
    from livectl.live.follows.sync import NOT_LOOKED_UP

    return record.trouble is State.UNKNOWN and record.problem != NOT_LOOKED_UP


def _ways(facts: Facts) -> Iterator[PlatformHealth]:
    """How each platform fares, and each of network.exits there."""
    for health in facts.platforms.health:
        yield from health.ways


def _platform_trouble(health: PlatformHealth, now: float) -> bool:
    """Whether something keeps the whole platform from being read."""
    waits = health.wait_until is not None and health.wait_until > now
    troubles = (health.auth_since, health.unreached, health.parser_broken)
    return bool(health.step) or waits or any(since is not None for since in troubles)


def _why(facts: Facts, health: PlatformHealth) -> str:
    """What the last try said of one of its streamers."""
    problems = (record.problem for record in facts.platforms.unread if record.platform == health.platform)
    return next((f": {problem}" for problem in problems if problem), "")


def _list_streamers(records: Sequence[StreamerRecord], others: int = 0) -> str:
    """A line for each of the first, the longest in trouble; then how many more there are."""
    ordered = sorted(records, key=lambda record: record.troubled_since or 0.0)
    lines = [_trouble_line(record) for record in ordered[:MAX_STREAMERS_SHOWN]]
    more = len(records) - len(lines) + others
    return "\n".join([*lines, f"and {more:,} more: {LIST_HINT}"] if more else lines)


def _trouble_line(record: StreamerRecord) -> str:
    name = f"{record.platform}/{record.id}" if record.platform else record.id
    since = f"since {format_instant(record.troubled_since)}" if record.troubled_since else ""
    words = "" if record.trouble in {None, State.UNKNOWN} else record.trouble.words
    return ": ".join(filter(None, (name, f"{words} {since}".strip(), record.problem)))


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
