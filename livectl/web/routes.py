"""Answers each address of the page: HTML, JSON, metrics and a probe, all out of the readings that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge

from livectl.web import api, auth, data, error_pages, job_views, views
from livectl.web.cache import ResponseBody, make_body
from livectl.web.error_pages import BLUEPRINT_NAME, HTML, HTTP_TOO_MANY, JSON, translations

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as WerkzeugResponse

    from livectl.web.data import PageData, StreamerPage


PUBLIC_ENDPOINTS = {"static", "enter", "entered", "healthz"}  # open to a visitor without the token
MAX_BODY_BYTES = 65_536  # a token is some dozens; nothing else is sent here
CLOCK_STEP_SECONDS = 10.0  # pages show minutes, so that their clock may go in steps: within one a page stays the same
HTTP_SEE_OTHER, HTTP_UNAUTHORIZED, HTTP_NOT_FOUND, HTTP_MISDIRECTED = 303, 401, 404, 421


def build_blueprint(page_data: PageData, token: str | None, *, whole_app: bool = False) -> Blueprint:
    """The page. As a whole app, which no other app is around, it answers to the names of this machine alone unless
    there is a token, and every address is its own."""
    flask_blueprint = Blueprint(
        BLUEPRINT_NAME, __name__, template_folder="templates", static_folder="static", static_url_path="/assets"
    )
    _refuse_requests(flask_blueprint, local_only=whole_app and token is None)
    _require_token(flask_blueprint, token)
    error_pages.answer_every_error(flask_blueprint, whole_app=whole_app)
    _serve_pages(flask_blueprint, page_data)
    _serve_json(flask_blueprint, page_data)
    _serve_probes(flask_blueprint, page_data)
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
        if local_only and _endpoint() != "static" and not auth.is_local_request(request):
            return error_pages.respond(HTTP_MISDIRECTED, "error_421")
        return None

    flask_blueprint.after_request(add_headers)


def add_headers(response: Response) -> Response:
    response.headers.update(auth.SECURITY_HEADERS)
    response.vary.update(["Accept-Language", "Cookie"])
    return response


def _serve_pages(flask_blueprint: Blueprint, page_data: PageData) -> None:
    @flask_blueprint.get("/")
    def index() -> Response:
        translate, streamer_filter = translations(), data.parse_filter(request.args)
        streamers, now = page_data.streamers.get(), _rounded_now(page_data)
        key = ("wall", translate.language, streamer_filter, request.script_root)
        response_body = page_data.bodies.get(
            key,
            (streamers.page_digest, now, page_data.zone, _failing_targets(page_data)),
            lambda: _render_html(views.streamer_list(streamers, streamer_filter, translate, now, page_data)),
        )
        return _respond(response_body, HTML)

    @flask_blueprint.get("/streamers/<platform>/<path:name>")
    def streamer(platform: str, name: str) -> Response:
        streamer_page = _streamer_page(page_data, platform, name)
        return _respond(
            _render_html(views.streamer(streamer_page, translations(), _rounded_now(page_data), page_data.zone)), HTML
        )

    @flask_blueprint.get("/jobs")
    def jobs() -> Response:
        translate = translations()
        return _respond(_render_html(job_views.jobs(page_data, translate, page_data.clock())), HTML)


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


def _require_token(flask_blueprint: Blueprint, token: str | None) -> None:
    """Lets in who has the token, and slows down who guesses it."""
    guess_limit = auth.GuessLimit()

    @flask_blueprint.before_request
    def require_token() -> Response | None:
        if token is None or _endpoint() in PUBLIC_ENDPOINTS:
            return None
        return _check_credential(auth.credential(request), token, guess_limit)

    @flask_blueprint.get("/enter")
    def entered() -> WerkzeugResponse:
        """Whoever asks for the address of the form again, as a browser does after a wrong token."""
        return redirect(url_for(f"{BLUEPRINT_NAME}.index"), HTTP_SEE_OTHER)

    @flask_blueprint.post("/enter")
    def enter() -> WerkzeugResponse:
        guess = auth.Credential.of_token(request.form.get("token", "").strip())
        if token is not None and (refused := _check_credential(guess, token, guess_limit)):
            return refused
        response = redirect(url_for(f"{BLUEPRINT_NAME}.index"), HTTP_SEE_OTHER)
        if token is not None:
            guess_limit.admit(auth.set_auth_cookie(response, request, token).nonce)  # type: ignore[arg-type]
        return response


def _check_credential(credential: auth.Credential | None, token: str, guess_limit: auth.GuessLimit) -> Response | None:
    """Why the visitor is not let in; None for one who is."""
    address = request.remote_addr or ""
    if credential is None:
        return _unauthorized(wrong=False)
    is_admitted = not credential.is_token and guess_limit.is_admitted(credential.nonce)
    if not is_admitted and (wait_s := guess_limit.wait_s(address)):
        response = error_pages.respond(HTTP_TOO_MANY, "error_429", "enter.html", seconds=wait_s)
        response.headers["Retry-After"] = str(wait_s)
        return response
    if credential.matches(token):
        if not credential.is_token:
            guess_limit.admit(credential.nonce)
        return None
    guess_limit.note_wrong(address)
    response = _unauthorized(wrong=credential.is_token)
    if not credential.is_token:  # else the browser would send it again and again, and be taken for one who guesses
        auth.drop_auth_cookie(response, request)
    return response


def _unauthorized(*, wrong: bool) -> Response:
    response = error_pages.respond(HTTP_UNAUTHORIZED, "error_401", "enter.html", wrong=wrong)
    response.headers["WWW-Authenticate"] = 'Bearer realm="livectl"'
    return response


def _endpoint() -> str:
    """The name of the view that answers this request, without that of the blueprint it is mounted with."""
    return (request.endpoint or "").rpartition(".")[2]


def _streamer_page(page_data: PageData, platform: str, name: str) -> StreamerPage:
    streamer_page = page_data.streamer_page(platform, name)
    if not streamer_page.exists:
        abort(error_pages.respond(HTTP_NOT_FOUND, "unknown_streamer"))
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


def _failing_targets(page_data: PageData) -> tuple[str, ...]:
    return tuple(status.name for status in page_data.targets.get() if status.state.troubled_since)


def _rounded_now(page_data: PageData) -> float:
    return page_data.clock() // CLOCK_STEP_SECONDS * CLOCK_STEP_SECONDS
