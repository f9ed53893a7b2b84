"""Answers each address of the page: HTML, JSON, metrics and a probe, all out of the readings that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for

from livectl.errors import LivectlError
from livectl.web import api, auth, data, i18n, views
from livectl.web.cache import ResponseBody, make_body

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as WerkzeugResponse

    from livectl.web.data import PageData, StreamerPage
    from livectl.web.i18n import Translations


BLUEPRINT_NAME = "livectl"
JSON, HTML = "application/json", "text/html"
PUBLIC_ENDPOINTS = {"static", "enter", "healthz"}  # open to a visitor without the token
PROGRAM_ENDPOINTS = {"metrics_page", "healthz"}  # like those below /api, they answer errors in JSON
RETRY_AFTER_SECONDS = "2"  # a store that was away may be back at any moment
CLOCK_STEP_SECONDS = 10.0  # pages show minutes, so that their clock may go in steps: within one a page stays the same
HTTP_SEE_OTHER, HTTP_UNAUTHORIZED, HTTP_NOT_FOUND, HTTP_UNAVAILABLE = 303, 401, 404, 503


def build_blueprint(page_data: PageData, token: str | None) -> Blueprint:
    flask_blueprint = Blueprint(
        BLUEPRINT_NAME, __name__, template_folder="templates", static_folder="static", static_url_path="/assets"
    )
    _serve_pages(flask_blueprint, page_data)
    _serve_json(flask_blueprint, page_data)
    _serve_probes(flask_blueprint, page_data)
    _guard(flask_blueprint, token)
    return flask_blueprint


def _serve_pages(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/")
    def index() -> Response:
        translate, streamer_filter = _translations(), data.parse_filter(request.args)
        streamers, now = page_data.streamers.get(), _rounded_now(page_data)
        key = ("wall", translate.language, streamer_filter, request.script_root)
        response_body = page_data.bodies.get(
            key,
            (streamers.page_digest, now, _failing_targets(page_data)),
            lambda: _render_html(views.streamer_list(streamers, streamer_filter, translate, now, page_data)),
        )
        return _respond(response_body, HTML)

    @flask_blueprint.get("/streamers/<platform>/<path:name>")
    def streamer(platform: str, name: str) -> Response:
        streamer_page = _streamer_page(page_data, platform, name)
        return _respond(
            _render_html(views.streamer(streamer_page, _translations(), _rounded_now(page_data), page_data.zone)), HTML
        )

    @flask_blueprint.get("/jobs")
    def jobs() -> Response:
        translate = _translations()
        return _respond(_render_html(views.jobs(page_data, translate, page_data.clock())), HTML)


def _serve_json(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/api/live")
    def api_live() -> Response:
        everybody, streamer_filter = request.args.get("all", "") in {"1", "true"}, data.parse_filter(request.args)
        streamers = page_data.streamers.get()
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


def _guard(flask_blueprint: Blueprint, token: str | None) -> None:
    @flask_blueprint.before_request
    def require_token() -> Response | None:
        if token is None or _endpoint() in PUBLIC_ENDPOINTS or auth.is_authorized(request, token):
            return None
        return _unauthorized(wrong=False)

    @flask_blueprint.post("/enter")
    def enter() -> WerkzeugResponse:
        if token is None or not auth.token_matches(request.form.get("token", "").strip(), token):
            return _unauthorized(wrong=True)
        response = redirect(url_for(f"{BLUEPRINT_NAME}.index"), HTTP_SEE_OTHER)
        auth.set_auth_cookie(response, request, token)  # type: ignore[arg-type]
        return response

    @flask_blueprint.errorhandler(LivectlError)
    def handle_livectl_error(error: LivectlError) -> Response:
        response = _error_response(error, HTTP_UNAVAILABLE, "away.html", why=error.message)
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
        return response

    @flask_blueprint.errorhandler(HTTP_NOT_FOUND)
    def handle_not_found(_: Exception) -> Response:
        return _error_response(LivectlError(_translations()("unknown_streamer")), HTTP_NOT_FOUND, "nothing.html")

    @flask_blueprint.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(auth.SECURITY_HEADERS)
        response.vary.update(["Accept-Language", "Cookie"])
        return response


def _unauthorized(*, wrong: bool) -> Response:
    response = _error_response(
        LivectlError("a token is wanted", "Authorization: Bearer …"), HTTP_UNAUTHORIZED, "enter.html", wrong=wrong
    )
    response.headers["WWW-Authenticate"] = 'Bearer realm="livectl"'
    return response


def _error_response(error: LivectlError, status: int, template: str, **variables: Any) -> Response:
    endpoint = _endpoint()
    if endpoint.startswith("api_") or endpoint in PROGRAM_ENDPOINTS:
        return Response(api.error(error), status, mimetype=JSON)
    translate = _translations()
    return Response(render_template(f"livectl/{template}", t=translate, **variables), status, mimetype=HTML)


def _endpoint() -> str:
    """The name of the view that answers this request, without that of the blueprint it is mounted with."""
    return (request.endpoint or "").rpartition(".")[2]


def _streamer_page(page_data: PageData, platform: str, name: str) -> StreamerPage:
    streamer_page = page_data.streamer_page(platform, name)
    if not streamer_page.exists:
        abort(HTTP_NOT_FOUND)
    return streamer_page


def _respond(response_body: ResponseBody, mimetype: str) -> Response:
    """The whole body, or 304 when the visitor has it already."""
    response = Response(response_body.data, mimetype=mimetype)
    response.set_etag(response_body.etag)
    response.headers["Cache-Control"] = "private, no-cache"
    return response.make_conditional(request)  # type: ignore[return-value]


def _render_html(context: tuple[str, dict[str, Any]]) -> ResponseBody:
    template, variables = context
    return make_body(render_template(f"livectl/{template}", **variables).encode())


def _translations() -> Translations:
    return i18n.translations_for(request.accept_languages.best_match(["en", "zh-Hans", "zh-CN", "zh-SG", "zh"], "en"))


def _failing_targets(page_data: PageData) -> tuple[str, ...]:
    return tuple(status.name for status in page_data.targets.get() if status.state.failing_since)


def _rounded_now(page_data: PageData) -> float:
    return page_data.clock() // CLOCK_STEP_SECONDS * CLOCK_STEP_SECONDS
