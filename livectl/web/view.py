"""What each template is given: readings turned into words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import url_for

from livectl.live.views import hours
from livectl.live.views.sights import instant, moment
from livectl.web import heat
from livectl.web.cards import Maker
from livectl.web.wording import local

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from livectl.model import Job, Session
    from livectl.web.site import Portrait, Site
    from livectl.web.wall import Choice, Wall
    from livectl.web.wording import Words

MEBIBYTE = 1024 * 1024
SESSIONS_SHOWN = 100
HOUR_LABELS = range(0, hours.HOURS, hours.LABELLED)


class Moment(msgspec.Struct, frozen=True):
    """A point in time in words, exactly, and for programs."""

    words: str
    long: str
    iso: str | None


class Broadcast(msgspec.Struct, frozen=True):
    """A session as a row of a table."""

    started: Moment
    length: str
    title: str
    category: str


Page = tuple[str, dict[str, Any]]


def wall(shown: Wall, chosen: Choice, words: Words, now: float, site: Site) -> Page:
    fitting = chosen.of(shown)
    maker = Maker(words, now, site.zone, _page_of())
    draw = site.drawings.draw
    return "wall.html", {
        "t": words,
        "zone": site.zone,
        "chosen": chosen,
        "platforms": [(name, words.platform(name)) for name in shown.platforms],
        "tags": shown.tags,
        "live": [draw("card", maker.card(one), words) for one in fitting.live],
        "others": [draw("row", maker.card(one), words) for one in fitting.others],
        "notices": [said for one in shown.health if (said := maker.notice(one))] + _unsent(site, words, now),
        "live_count": len(shown.live),
        "all_count": len(shown.live) + len(shown.others),
    }


def streamer(found: Portrait, words: Words, now: float, zone: str) -> Page:
    map_ = found.heat
    days = words.days()
    usual = [f"{days[day]} {hour:02}:00" for day, hour in map_.usual]
    return "streamer.html", {
        "t": words,
        "zone": zone,
        "card": Maker(words, now, zone, _page_of()).card(found.known),
        "followed": found.known.streamer is not None,
        "sessions": [_broadcast(one, words, now, zone) for one in reversed(found.past[-SESSIONS_SHOWN:])],
        "cells": heat.cells(map_),
        "map": heat,
        "weeks": f"{map_.weeks:g}",
        "days": days,
        "hours": HOUR_LABELS,
        "usual": ", ".join(usual),
    }


def jobs(site: Site, words: Words, now: float) -> Page:
    found, timetable = site.jobs.get(), site.timetable.get()

    def at(moment: datetime | str | None) -> Moment | None:
        return _around(moment, words, now, site.zone)

    return "jobs.html", {
        "t": words,
        "zone": site.zone,
        "found": found,
        "alerts": [one | {"sent_at": at(one["sent_at"]), "retry_at": at(one["retry_at"])} for one in site.alerts.get()],
        "timetable": timetable,
        "looked_in": words.ago(max(0.0, now - timetable.looked_in)) if timetable.looked_in else "",
        "rows": [row | {"last": at(row["last"]), "next": at(row["next"])} for row in timetable.rows],
        "jobs": [(one, at(one.finished_at or one.started_at), outcome(one)) for one in found.recent.found or []],
        "dead": [(one, at(one.at)) for one in found.dead.found or []],
        "mebibytes": lambda size: f"{size / MEBIBYTE:.0f} MB" if size else "",
    }


def _unsent(site: Site, words: Words, now: float) -> list[str]:
    """The targets that have not taken anything for a while."""
    failing = [(one["name"], moment(one["failing_since"])) for one in site.alerts.get()]
    return [words("failing", name=name, span=words.span(max(0.0, now - since))) for name, since in failing if since]


def outcome(one: Job) -> str:
    """A job's error, or its result where it has one to show."""
    if one.error:
        return one.error
    if one.result is None:
        return ""
    return one.result if isinstance(one.result, str) else msgspec.json.encode(one.result, enc_hook=str).decode()


def _broadcast(one: Session, words: Words, now: float, zone: str) -> Broadcast:
    length = words.span(max(0.0, (one.ended_at or now) - one.started_at))
    return Broadcast(
        started=Moment(local(one.started_at, zone), local(one.started_at, zone), instant(one.started_at)),
        length=length if one.ended_at else words("still_on", span=length),
        title=one.title,
        category=one.category,
    )


def _around(moment: datetime | str | None, words: Words, now: float, zone: str) -> Moment | None:
    """A moment near now, as far from it as it is."""
    from datetime import datetime

    if moment is None:
        return None
    seconds = (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).timestamp()
    said = words.ahead(seconds - now) if seconds > now else words("ago", span=words.seconds(now - seconds))
    return Moment(said, local(seconds, zone), instant(seconds))


def _page_of() -> Callable[[str, str], str]:
    """The address of a streamer's page. Thousands are wanted at once, which Flask's own way takes too long for."""
    base = url_for(".index")
    return lambda platform, name: f"{base}streamers/{quote(platform, safe='')}/{quote(name)}"
