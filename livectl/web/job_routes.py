"""Answers the pages about jobs, queues, schedules, targets, doctor's findings and the audit log."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import abort, request

from livectl import audit
from livectl.errors import LivectlError, ServerError, UsageError
from livectl.models import JobState
from livectl.ops.jobs import dead_letters
from livectl.web import error_pages, job_data, job_views, look, push_routes
from livectl.web.error_pages import translations
from livectl.web.job_data import Examiner, JobReadings
from livectl.web.job_views import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Blueprint, Response

    from livectl.ops.jobs.status import JobStatus
    from livectl.web.changes import PageTools
    from livectl.web.data import PageData
    from livectl.web.views import TemplateContext

AUDIT_ROWS = 50
MAX_AUDIT_PAGES = 200  # all that is kept


def serve_job_pages(
    flask_blueprint: Blueprint,
    page_data: PageData,
    readings: JobReadings,
    tools: PageTools | None,
    show: Callable[[TemplateContext], Response],
) -> None:
    """The pages; those of doctor and of the audit log only where livectl serves the page itself."""

    def shown() -> Shown:
        return Shown(page_data, translations())

    @flask_blueprint.get("/jobs")
    def jobs() -> Response:
        return show(job_views.jobs(shown(), readings, job_data.parse_filter(request.args)))

    @flask_blueprint.get("/jobs/<job_id>")
    def job(job_id: str) -> Response:
        return show(job_views.job(shown(), _find_job(readings, job_id)))

    @flask_blueprint.get("/queues")
    def queues() -> Response:
        return show(job_views.queues(shown(), readings))

    @flask_blueprint.get("/schedules")
    def schedules() -> Response:
        return show(job_views.schedules(shown()))

    @flask_blueprint.get("/dead")
    def dead() -> Response:
        return show(job_views.dead(shown()))

    @flask_blueprint.get("/dead/<path:letter_id>")
    def dead_letter(letter_id: str) -> Response:
        return show(_letter_page(shown(), readings, letter_id))

    @flask_blueprint.get("/alerts")
    def alerts() -> Response:
        browsers = push_routes.read_browsers(page_data) if tools else None
        return show(job_views.alerts(shown(), browsers))

    if tools is not None:
        _serve_care(flask_blueprint, page_data, tools, show)


def _find_job(readings: JobReadings, job_id: str) -> JobStatus:
    try:
        status = readings.job(job_id)
    except UsageError:
        abort(error_pages.respond(HTTPStatus.NOT_FOUND, "unknown_job"))
    if status.job.state is JobState.UNKNOWN and status.complete:
        abort(error_pages.respond(HTTPStatus.NOT_FOUND, "unknown_job"))
    return status


def _letter_page(shown: Shown, readings: JobReadings, letter_id: str) -> TemplateContext:
    try:
        letter = readings.letter(letter_id)
    except ServerError:
        raise
    except LivectlError:
        abort(error_pages.respond(HTTPStatus.NOT_FOUND, "unknown_letter"))
    return job_views.letter(shown, letter, can_resend=dead_letters.can_resend(letter))


def _serve_care(
    flask_blueprint: Blueprint, page_data: PageData, tools: PageTools, show: Callable[[TemplateContext], Response]
) -> None:
    examiner = Examiner(tools.examine, page_data.clock)

    @flask_blueprint.get("/doctor")
    def doctor() -> Response:
        """A look at the page lets doctor look; that the page looks again by itself does not."""
        examination = examiner.last() if look.is_again(request) else examiner.look()
        return show(job_views.doctor(Shown(page_data, translations()), examination))

    @flask_blueprint.get("/audit")
    def audit_log() -> Response:
        text = request.args.get("page", "")
        page = min(int(text), MAX_AUDIT_PAGES) if text.isascii() and text.isdecimal() and int(text[:4]) else 1
        offset = (page - 1) * AUDIT_ROWS
        entries = page_data.source.read_deployment(lambda _, store: audit.read(store, AUDIT_ROWS + 1, offset=offset))
        context = job_views.audit(
            Shown(page_data, translations()), entries[:AUDIT_ROWS], page, more=len(entries) > AUDIT_ROWS
        )
        return show(context)
