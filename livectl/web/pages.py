"""The pages: an address each, answered from what is kept of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for

from livectl.errors import LivectlError
from livectl.web import api, gate, view, wall, wording
from livectl.web.bodies import Body, body

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as Answer

    from livectl.web.site import Portrait, Site
    from livectl.web.wording import Words

NAME = "livectl"
JSON, HTML = "application/json", "text/html"
OPEN_TO_ALL = {"static", "enter", "healthz"}  # what a visitor without the token may ask for
FOR_PROGRAMS = {"metrics_page", "healthz"}
RETRY_SECONDS = "2"  # a store that was away is back at any moment
MOMENT_SECONDS = 10.0
HTTP_AWAY, HTTP_NO_ENTRY = 503, 401


def blueprint(site: Site, token: str | None) -> Blueprint:
    made = Blueprint(NAME, __name__, template_folder="templates", static_folder="static", static_url_path="/assets")
    _serve_pages(made, site)
    _serve_json(made, site)
    _serve_probes(made, site)
    _guard(made, token)
    return made


def _serve_pages(made: Blueprint, site: Site) -> None:
    @made.get("/")
    def index() -> Response:
        words, chosen = _words(), wall.choice(request.args)
        shown, now = site.wall.get(), _moment(site)
        key = ("wall", words.language, chosen, request.script_root)
        made = site.bodies.get(
            key, (shown.shown, now, _failing(site)), lambda: _html(view.wall(shown, chosen, words, now, site))
        )
        return _answer(made, HTML)

    @made.get("/streamers/<platform>/<path:name>")
    def streamer(platform: str, name: str) -> Response:
        found = _portrait(site, platform, name)
        return _answer(_html(view.streamer(found, _words(), _moment(site), site.zone)), HTML)

    @made.get("/jobs")
    def jobs() -> Response:
        words = _words()
        return _answer(_html(view.jobs(site, words, site.clock())), HTML)


def _serve_json(made: Blueprint, site: Site) -> None:
    @made.get("/api/live")
    def api_live() -> Response:
        everybody, chosen = request.args.get("all", "") in {"1", "true"}, wall.choice(request.args)
        shown = site.wall.get()
        key = ("api", everybody, chosen)
        made = site.bodies.get(key, shown.digest, lambda: body(api.live(chosen.of(shown), everybody=everybody)))
        return _answer(made, JSON)

    @made.get("/api/streamers/<platform>/<path:name>")
    def api_streamer(platform: str, name: str) -> Response:
        return _answer(body(api.streamer(*_portrait(site, platform, name), site.clock())), JSON)

    @made.get("/api/jobs")
    def api_jobs() -> Response:
        return _answer(body(api.jobs(site.jobs.get(), site.alerts.get())), JSON)

    @made.get("/api/schedule")
    def api_schedule() -> Response:
        return _answer(body(api.schedule(site.timetable.get())), JSON)


def _serve_probes(made: Blueprint, site: Site) -> None:
    from livectl.web import metrics

    measures = metrics.Measures(site)

    @made.get("/metrics")
    def metrics_page() -> Response:
        data, kind = measures.written(request.headers.get("Accept", ""))
        return Response(data, content_type=kind)

    @made.get("/healthz")
    def healthz() -> Response:
        site.wall.get()
        return Response(b'{"status": "ok"}\n', mimetype=JSON)


def _guard(made: Blueprint, token: str | None) -> None:
    @made.before_request
    def let_in() -> Response | None:
        if token is None or _part() in OPEN_TO_ALL or gate.knows(request, token):
            return None
        return _no_entry(wrong=False)

    @made.post("/enter")
    def enter() -> Answer:
        if token is None or not gate.is_token(request.form.get("token", "").strip(), token):
            return _no_entry(wrong=True)
        answer = redirect(url_for(f"{NAME}.index"), 303)
        gate.admit(answer, request, token)  # type: ignore[arg-type]
        return answer

    @made.errorhandler(LivectlError)
    def in_trouble(error: LivectlError) -> Response:
        answer = _refusal(error, HTTP_AWAY, "away.html", why=error.message)
        answer.headers["Retry-After"] = RETRY_SECONDS
        return answer

    @made.errorhandler(404)
    def nothing_here(_: Exception) -> Response:
        return _refusal(LivectlError(_words()("unknown_streamer")), 404, "nothing.html")

    @made.after_request
    def dressed(answer: Response) -> Response:
        answer.headers.update(gate.HEADERS)
        answer.vary.update(["Accept-Language", "Cookie"])
        return answer


def _no_entry(*, wrong: bool) -> Response:
    answer = _refusal(
        LivectlError("a token is wanted", "Authorization: Bearer …"), HTTP_NO_ENTRY, "enter.html", wrong=wrong
    )
    answer.headers["WWW-Authenticate"] = 'Bearer realm="livectl"'
    return answer


def _refusal(error: LivectlError, status: int, template: str, **shown: Any) -> Response:
    part = _part()
    if part.startswith("api_") or part in FOR_PROGRAMS:
        return Response(api.error(error), status, mimetype=JSON)
    words = _words()
    return Response(render_template(f"livectl/{template}", t=words, **shown), status, mimetype=HTML)


def _part() -> str:
    """Which of the addresses below was asked for, wherever they are mounted."""
    return (request.endpoint or "").rpartition(".")[2]


def _portrait(site: Site, platform: str, name: str) -> Portrait:
    found = site.portrait(platform, name)
    if not found.exists:
        abort(404)
    return found


def _answer(made: Body, kind: str) -> Response:
    """The whole body, or word that it has not changed."""
    answer = Response(made.data, mimetype=kind)
    answer.set_etag(made.etag)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer.make_conditional(request)  # type: ignore[return-value]


def _html(page: tuple[str, dict[str, Any]]) -> Body:
    template, shown = page
    return body(render_template(f"livectl/{template}", **shown).encode())


def _words() -> Words:
    return wording.of(request.accept_languages.best_match(["en", "zh-Hans", "zh-CN", "zh-SG", "zh"], "en"))


def _failing(site: Site) -> tuple[str, ...]:
    return tuple(one["name"] for one in site.alerts.get() if one["failing_since"])


def _moment(site: Site) -> float:
    """Pages tell time in minutes: one that is this little late stays the same for as long."""
    return site.clock() // MOMENT_SECONDS * MOMENT_SECONDS
