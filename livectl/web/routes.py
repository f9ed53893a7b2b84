"""Answers each address of the page: HTML, JSON, metrics and a probe, all out of the readings that are kept."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge

from livectl.errors import UnfinishedError, UsageError
from livectl.live.store_order import OrderPlace
from livectl.units import format_instant
from livectl.web import (
    access,
    api,
    auth,
    check_in_routes,
    days,
    error_pages,
    events,
    feeds,
    job_routes,
    look,
    manage_routes,
    push_routes,
    pushed_routes,
    said,
    schedule_changes,
    selection,
    views,
)
from livectl.web.cache import ResponseBody, make_body
from livectl.web.changes import Changes
from livectl.web.error_pages import BLUEPRINT_NAME, HTML, JSON, translations
from livectl.web.events import EventHub
from livectl.web.i18n import HOUR
from livectl.web.job_data import JobReadings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from werkzeug.wrappers import Response as WerkzeugResponse

    from livectl.web.auth import AccessToken
    from livectl.web.changes import PageTools
    from livectl.web.data import PageData, StreamerPage
    from livectl.web.said import Said
    from livectl.web.selection import StreamerFilter
    from livectl.web.streamer_list import StreamerList


MANIFEST = {
    "name": "livectl",
    "short_name": "livectl",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#f7f7f5",
    "theme_color": "#17181b",
    "icons": [
        {"src": "assets/favicon.svg", "sizes": "any", "type": "image/svg+xml"},
        {"src": "assets/icon-192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "assets/icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "any maskable"},
    ],
}
MAX_BODY_BYTES = 65_536  # a token is some dozens; nothing else is sent here
IMAGE_CACHING = "private, max-age=604800, immutable"  # an address with another mark is another image
PAGE_WORDS, MAX_PAGE = {"limit", "after"}, 1000  # of JSON in pages: streamers
DAY_STEP_SECONDS = 60.0
CLOCK_STEP_SECONDS = 10.0  # pages show minutes, so that their clock may go in steps: within one a page stays the same


def build_blueprint(
    page_data: PageData, tokens: Sequence[AccessToken], tools: PageTools | None = None, *, whole_app: bool = False
) -> Blueprint:
    """The page. As a whole app, which no other app is around, it answers to the names of this machine alone unless
    there is a token, and every address is its own. Without tools nothing can be changed there."""
    flask_blueprint = Blueprint(
        BLUEPRINT_NAME, __name__, template_folder="templates", static_folder="static", static_url_path="/assets"
    )
    _refuse_requests(flask_blueprint, local_only=whole_app and not tokens)
    access.let_in(flask_blueprint, tokens, is_local=whole_app and tools is not None)
    error_pages.answer_every_error(flask_blueprint, whole_app=whole_app)
    _serve_pages(flask_blueprint, page_data)
    _serve_look(flask_blueprint)
    _serve_events(flask_blueprint, page_data)
    _serve_feeds(flask_blueprint, page_data)
    _serve_parts(flask_blueprint)
    _serve_images(flask_blueprint, page_data)
    _serve_json(flask_blueprint, page_data)
    _serve_probes(flask_blueprint, page_data)
    readings = JobReadings(page_data.source, page_data.clock)
    job_routes.serve_job_pages(
        flask_blueprint, page_data, readings, tools, lambda context: _respond(_render_html(context), HTML)
    )
    flask_blueprint.context_processor(lambda: {"has_care": tools is not None, "has_push": tools is not None})
    flask_blueprint.context_processor(lambda: {"said": said.find(request)})
    flask_blueprint.after_request(lambda response: said.forget_if_told(response, request))
    if tools is not None:
        changes = Changes(page_data, readings, tools)
        manage_routes.serve_changes(flask_blueprint, changes)
        schedule_changes.serve_schedule_changes(flask_blueprint, changes)
        push_routes.serve_push(flask_blueprint, page_data, tools)
        check_in_routes.serve_check_ins(flask_blueprint, page_data, tools)
        pushed_routes.serve_pushed(flask_blueprint, page_data, tools)
    return flask_blueprint


def _refuse_requests(flask_blueprint: Blueprint, *, local_only: bool) -> None:
    """Refuses what no visitor sends, before anything is read or looked up."""

    @flask_blueprint.before_request
    def refuse_long_body() -> None:
        if "Transfer-Encoding" in request.headers:
            raise LengthRequired
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge

    @flask_blueprint.before_request
    def refuse_other_hosts() -> Response | None:
        is_for_all = access.endpoint() in access.WORLD_ENDPOINTS
        if local_only and not is_for_all and not auth.is_local_request(request):
            return error_pages.respond(HTTPStatus.MISDIRECTED_REQUEST, "error_421")
        return None

    flask_blueprint.after_request(add_headers)


def add_headers(response: Response) -> Response:
    policy = auth.CONTENT_POLICY.format(styles=look.stylesheet_hash())
    for name, value in {"Content-Security-Policy": policy, **auth.SECURITY_HEADERS}.items():
        response.headers.setdefault(name, value)
    response.vary.update(["Accept-Language", "Cookie"])
    return response


def _serve_pages(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/")
    def index() -> Response:
        translate, streamer_filter = translations(), selection.parse_filter(request.args)
        arrangement = selection.parse_arrangement(request.args)
        streamers, now = page_data.streamers.get(), _rounded_now(page_data)
        found = _find_among_many(page_data, streamer_filter, arrangement.sort)
        made_from = (streamers.news_digest, now, page_data.zone, _failing_targets(page_data), page_data.image_version)

        def make() -> ResponseBody:
            matching = found or streamer_filter.apply(streamers)
            context = views.streamer_list(streamers, matching, streamer_filter, arrangement, translate, now, page_data)
            return _render_html(context)

        response_body = page_data.bodies.get(
            ("wall", streamer_filter, arrangement, *_seen_by()),
            (*made_from, found and found.news_digest),
            make,
            (streamers.page_digest, found and found.page_digest),
        )
        return _respond(response_body, HTML)

    @flask_blueprint.get("/streamers/<platform>/<path:name>")
    def streamer(platform: str, name: str) -> Response:
        streamer_page = _streamer_page(page_data, platform, name)
        context = views.streamer(streamer_page, translations(), _rounded_now(page_data), page_data)
        return _respond(_render_html(context), HTML)

    @flask_blueprint.get("/day")
    def day() -> Response:
        streamers, now = page_data.streamers.get(), page_data.clock() // DAY_STEP_SECONDS * DAY_STEP_SECONDS
        shown = days.parse_date(request.args.get("date", ""), now, page_data.zone)
        streamer_filter = selection.parse_filter(request.args)
        found = _find_among_many(page_data, streamer_filter)

        def make() -> ResponseBody:
            matching = found or streamer_filter.apply(streamers)
            return _render_html(views.day(page_data, matching, shown, translations(), now))

        made_from = (streamers.news_digest, now, page_data.zone, page_data.image_version)
        response_body = page_data.bodies.get(("day", shown, streamer_filter, *_seen_by()), made_from, make)
        return _respond(response_body, HTML)


def _serve_look(flask_blueprint: Blueprint) -> None:
    @flask_blueprint.get("/look")
    def choose() -> WerkzeugResponse:
        """Another theme or language, for this browser alone."""
        chosen = look.look_of(request).with_choice(request.args.get("theme"), request.args.get("lang"))
        back = look.own_path(request.args.get("back", "")) or url_for(f"{BLUEPRINT_NAME}.index")
        response = redirect(back, HTTPStatus.SEE_OTHER)
        look.keep(response, request, chosen)
        return response


def _serve_events(flask_blueprint: Blueprint, page_data: PageData) -> None:
    hub = EventHub({views.STREAMERS_TOPIC: page_data.news})

    @flask_blueprint.get("/events")
    def news() -> Response:
        """Where the server can keep no connection open, or keeps many, browsers look for themselves."""
        keep_open = request.environ.get(events.KEEP_OPEN)
        if keep_open is None or request.method != "GET" or not hub.has_room:
            return Response(status=HTTPStatus.NO_CONTENT)
        keep_open(hub)
        response = Response(iter([events.GREETING]), mimetype="text/event-stream")
        response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        return response


def _serve_feeds(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/feed.atom")
    def atom() -> Response:
        translate, now = translations(), page_data.clock()
        entries = feeds.feed_entries(page_data.changes.get(), translate)
        text = render_template(
            "livectl/feed.xml",
            t=translate,
            entries=entries,
            updated=entries[0].at if entries else format_instant(now // HOUR * HOUR),
            own=url_for(".atom", _external=True),
            page=url_for(".index", _external=True),
        )
        return _respond(make_body(text.encode()), "application/atom+xml")

    @flask_blueprint.get("/calendar.ics")
    def calendar() -> Response:
        translate, streamer_filter = translations(), selection.parse_filter(request.args)
        now, found = page_data.clock() // HOUR * HOUR, _find_among_many(page_data, streamer_filter)

        def make() -> ResponseBody:
            records = found or streamer_filter.apply(page_data.streamers.get())
            known = page_data.habits([*records.live, *records.others], now)
            coming = feeds.occasions(known, translate, now)
            return make_body(feeds.write_calendar(coming, translate("calendar_title"), now))

        key = ("calendar", streamer_filter, translate.language)
        return _respond(page_data.bodies.get(key, (now, page_data.zone), make), "text/calendar")


def _serve_parts(flask_blueprint: Blueprint) -> None:
    """What makes the page an app on a phone or desktop."""

    @flask_blueprint.get("/manifest.webmanifest")
    def manifest() -> Response:
        return Response(msgspec.json.encode(MANIFEST), mimetype="application/manifest+json")

    @flask_blueprint.get("/sw.js")
    def service_worker() -> Response:
        """Beside the pages: it serves what lies below its own address."""
        response = Response(look.static_text("sw.js"), mimetype="text/javascript")
        response.headers["Cache-Control"] = "no-cache"
        return response


def _seen_by() -> tuple[str | bool | Said | None, ...]:
    """What distinguishes one visitor's page from another's."""
    seen_in = (translations().language, look.look_of(request).theme, look.is_again(request), request.script_root)
    return access.visitor().name, access.visitor().csrf, said.find(request), *seen_in


def _serve_images(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/image/<any(cover, avatar):kind>/<platform>/<path:name>")
    def image(kind: str, platform: str, name: str) -> Response:
        found = page_data.image(kind, platform, name)
        if found is None:
            abort(HTTPStatus.NOT_FOUND)
        response = Response(found.data, mimetype=found.mimetype)
        response.set_etag(found.mark)
        named = request.args.get("v") == found.mark
        response.headers["Cache-Control"] = IMAGE_CACHING if named else "private, no-cache"
        response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response.make_conditional(request)  # type: ignore[return-value]


def _serve_json(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/api/live")
    def api_live() -> Response:
        everybody, streamer_filter = request.args.get("all", "") in {"1", "true"}, selection.parse_filter(request.args)
        streamers = page_data.streamers.get()
        if streamers.is_part or not request.args.keys().isdisjoint(PAGE_WORDS):
            return _api_page(page_data, streamer_filter, everybody=everybody)
        key = ("api", everybody, streamer_filter)
        response_body = page_data.bodies.get(
            key, streamers.digest, lambda: make_body(api.live(streamer_filter.apply(streamers), everybody=everybody))
        )
        return _respond(response_body, JSON)

    @flask_blueprint.get("/api/streamers/<platform>/<path:name>")
    def api_streamer(platform: str, name: str) -> Response:
        return _respond(make_body(api.streamer(_streamer_page(page_data, platform, name))), JSON)

    @flask_blueprint.get("/api/jobs")
    def api_jobs() -> Response:
        return _respond(make_body(api.jobs(page_data.jobs.get(), page_data.targets.get())), JSON)

    @flask_blueprint.get("/api/schedule")
    def api_schedule() -> Response:
        return _respond(make_body(api.schedule(page_data.beat_schedule.get())), JSON)


def _api_page(page_data: PageData, streamer_filter: StreamerFilter, *, everybody: bool) -> Response:
    try:
        place = OrderPlace.parse(request.args.get("after", ""))
        most = _read_limit(request.args.get("limit", ""))
    except UsageError as error:
        return Response(api.error(error), HTTPStatus.BAD_REQUEST, mimetype=JSON)
    page = page_data.page_after(place, most, streamer_filter, everybody=everybody)
    return _respond(make_body(api.live_page(page)), JSON)


def _read_limit(text: str) -> int:
    if not text:
        return MAX_PAGE
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= MAX_PAGE):
        raise UsageError(f"limit is a number from 1 to {MAX_PAGE}", "Without it, so many come at most.")
    return int(text)


def _serve_probes(flask_blueprint: Blueprint, page_data: PageData) -> None:
    from livectl.web import metrics

    page_metrics = metrics.Metrics(page_data)

    @flask_blueprint.get("/metrics")
    def metrics_page() -> Response:
        encoded, content_type = page_metrics.render(request.headers.get("Accept", ""))
        return Response(encoded, content_type=content_type)

    @flask_blueprint.get("/healthz")
    def healthz() -> Response:
        page_data.streamers.get()
        return Response(b'{"status": "ok"}\n', mimetype=JSON)


def _streamer_page(page_data: PageData, platform: str, name: str) -> StreamerPage:
    streamer_page = page_data.streamer_page(platform, name)
    if not streamer_page.exists:
        abort(error_pages.respond(HTTPStatus.NOT_FOUND, "unknown_streamer"))
    return streamer_page


def _respond(response_body: ResponseBody, mimetype: str) -> Response:
    """The whole body, or 304 when the visitor has it already."""
    response = Response(response_body.data, mimetype=mimetype)
    response.set_etag(response_body.etag)
    response.headers["Cache-Control"] = "private, no-cache"
    return response.make_conditional(request)  # type: ignore[return-value]


def _render_html(context: tuple[str, dict[str, Any]]) -> ResponseBody:
    template, variables = context
    variables = look.page_variables(request, variables["t"], variables.get("back", "")) | {"watched": True} | variables
    return make_body(render_template(f"livectl/{template}", **variables).encode())


def _find_among_many(
    page_data: PageData, streamer_filter: StreamerFilter, sort: str = selection.SORTS[0]
) -> StreamerList | None:
    try:
        return page_data.find_among_many(streamer_filter, sort)
    except UnfinishedError:
        abort(error_pages.respond(HTTPStatus.TOO_MANY_REQUESTS, "error_busy"))


def _failing_targets(page_data: PageData) -> tuple[str, ...]:
    return tuple(status.name for status in page_data.targets.get() if status.state.troubled_since)


def _rounded_now(page_data: PageData) -> float:
    return page_data.clock() // CLOCK_STEP_SECONDS * CLOCK_STEP_SECONDS
