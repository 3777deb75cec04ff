"""The worklist's routes: a page for those who log in, the same as JSON for them and for who holds the key."""

import asyncio
import hmac
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hospital import logs
from hospital.audit import messages
from hospital.audit.trail import AuditTrail
from hospital.database import now
from hospital.http_server import asked_page
from hospital.parts import Parts
from hospital.worklist import entries, page
from hospital.worklist.accounts import Accounts, Lockout
from hospital.worklist.entries import Entry, Page
from hospital.worklist.guard import Guard
from hospital.worklist.sessions import Session, Sessions
from hospital.worklist.settings import Worklist

_MOST_FORM_BYTES = 4096
_FORM_SECONDS = 10.0
_WRONG = "Name or password is wrong."
_STALE = "The form was too old. Please try again."
_NOT_AUDITED = "The audit trail cannot be written, so nothing is shown. Please call the administrator."
_KEY_USER = "HOSPITAL_WORKLIST_KEY"


@dataclass
class Access:
    """Who may see the worklist, and where it is noted that they did; the key may be exchanged meanwhile."""

    accounts: Accounts
    lockout: Lockout
    sessions: Sessions
    trail: AuditTrail
    key: str = ""

    @classmethod
    def by(cls, settings: Worklist, accounts: Accounts, trail: AuditTrail, key: str = "") -> "Access":
        """With the limits that the configuration sets."""
        return cls(
            accounts,
            Lockout(settings.attempts, settings.lockout_minutes * 60),
            Sessions(settings.idle_minutes * 60, settings.session_hours * 3600),
            trail,
            key,
        )


def create_app(parts: Parts, settings: Worklist, access: Access) -> Guard:
    """The application."""
    pages = _Pages(parts, settings, access)
    routes = [
        Route("/livez", lambda _: Response(status_code=200)),
        Route("/", lambda _: RedirectResponse("worklist", 303)),
        Route("/worklist", pages.worklist),
        Route("/worklist.json", pages.worklist_json),
        Route("/login", pages.login, methods=["GET"]),
        Route("/login", pages.log_in, methods=["POST"]),
        Route("/logout", pages.log_out, methods=["POST"]),
        Route("/web/{name}", _asset),
    ]
    failed = {
        OSError: lambda *_: PlainTextResponse(_NOT_AUDITED, 503),
        SQLAlchemyError: lambda *_: PlainTextResponse("The database does not answer. Please try again.", 503),
        ClientDisconnect: lambda *_: Response(status_code=400),
    }
    return Guard(Starlette(routes=routes, exception_handlers=failed))


class _Pages:
    """What is answered; each function takes a request."""

    def __init__(self, parts: Parts, settings: Worklist, access: Access) -> None:
        self._parts, self._settings, self._access = parts, settings, access
        self._by_key = Session(_KEY_USER, 0, 0)

    def worklist(self, request: Request) -> Response:
        session = self._session(request, uses="x-refresh" not in request.headers)
        if session is None:
            return RedirectResponse("login", 303)
        shown = self._shown(request)
        self._audit(request, session, shown)
        token = self._access.sessions.form_token(_token(request))
        return HTMLResponse(page.worklist(shown, self._settings, session.user, token, now()))

    def worklist_json(self, request: Request) -> Response:
        session = self._key_holder(request) or self._session(request, uses="x-refresh" not in request.headers)
        if session is None:
            return JSONResponse({"code": "unauthorized"}, 401, {"www-authenticate": "Bearer"})
        shown = self._shown(request)
        self._audit(request, session, shown)
        told = {"studies": [self._told(one) for one in shown.entries], "page": shown.number, "pages": shown.pages}
        return JSONResponse({**told, "total": shown.total, "at": now()})

    def login(self, request: Request) -> Response:
        if self._session(request, uses=False) is not None:
            return RedirectResponse("worklist", 303)
        return self._asked(request)

    async def log_in(self, request: Request) -> Response:
        form = await _form(request)
        if form is None:
            return PlainTextResponse("The form is too large or came too slowly.", 413)
        return await run_in_threadpool(self._log_in, request, form)

    def _log_in(self, request: Request, form: dict[str, str]) -> Response:
        access, address, name = self._access, _address(request), form.get("name", "")[:64]
        if not access.sessions.is_form_token(request.cookies.get(_cookie(request, "login"), ""), form.get("token", "")):
            return self._asked(request, 403, _STALE)
        seconds = access.lockout.begin(name, address)
        if seconds:
            self._note(request, name, messages.SERIOUS_FAILURE, "locked out")
            told = f"Too many failed attempts. Try again in {max(1, round(seconds / 60))} min."
            return self._asked(request, 429, told, name, {"retry-after": str(max(1, round(seconds)))})
        if not access.accounts.holds(name, form.get("password", "")):
            last = access.lockout.is_locked(name)
            outcome = messages.SERIOUS_FAILURE if last else messages.MINOR_FAILURE
            self._note(request, name, outcome, "wrong name or password")
            logs.event("login_failed", address=address)
            return self._asked(request, 401, _WRONG, name)
        access.lockout.succeeded(name, address)
        self._note(request, name)
        access.sessions.end(_token(request))
        answer = RedirectResponse("worklist", 303)
        _set_cookie(request, answer, "session", access.sessions.open(name))
        answer.delete_cookie(_cookie(request, "login"), path="/", secure=_is_secure(request), httponly=True)
        return answer

    async def log_out(self, request: Request) -> Response:
        form = await _form(request) or {}
        return await run_in_threadpool(self._log_out, request, form)

    def _log_out(self, request: Request, form: dict[str, str]) -> Response:
        token, sessions = _token(request), self._access.sessions
        if not sessions.is_form_token(token, form.get("token", "")):
            return PlainTextResponse(_STALE, 403)
        ended = sessions.end(token)
        if ended is not None:
            gateway = self._access.trail.gateway
            self._access.trail.record(messages.authentication(ended.user, _address(request), gateway, ends=True))
        answer = RedirectResponse("login", 303)
        answer.delete_cookie(_cookie(request, "session"), path="/", secure=_is_secure(request), httponly=True)
        return answer

    def _asked(
        self, request: Request, status: int = 200, trouble: str = "", name: str = "", headers: Any = None
    ) -> Response:
        """The form, for the browser that asks: its token belongs to a cookie that only this browser has."""
        cookie = request.cookies.get(_cookie(request, "login"), "") or self._access.sessions.new_cookie()
        content = page.login(self._access.sessions.form_token(cookie), trouble, name)
        answer = HTMLResponse(content, status, headers)
        _set_cookie(request, answer, "login", cookie)
        return answer

    def _session(self, request: Request, uses: bool) -> Session | None:
        """Whose request it is; a user who was taken out of the file is nobody at once."""
        found = self._access.sessions.find(_token(request), uses)
        return found if found is not None and self._access.accounts.is_known(found.user) else None

    def _key_holder(self, request: Request) -> Session | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        key = self._access.key
        holds = scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode())
        return self._by_key if key and holds else None

    def _shown(self, request: Request) -> Page:
        return entries.page(self._parts, asked_page(request), self._settings.page_size)

    def _audit(self, request: Request, session: Session, shown: Page) -> None:
        """Note the view, and each study that this login had not been shown; a mere refresh adds only what is new."""
        address, gateway = _address(request), self._access.trail.gateway
        fresh = [one for one in shown.entries if one.key not in session.seen]
        asked = f"{request.url.path}?page={shown.number}"
        viewed = [messages.worklist_query(session.user, address, gateway, asked)]
        events = [] if "x-refresh" in request.headers and not fresh else viewed
        events += [messages.procedure_shown(session.user, address, _study(one)) for one in fresh]
        self._access.trail.record(*events)
        session.seen.update(one.key for one in fresh)

    def _note(self, request: Request, name: str, outcome: int = messages.SUCCESS, why: str = "") -> None:
        """Note a login, or that it failed."""
        gateway = self._access.trail.gateway
        self._access.trail.record(messages.authentication(name, _address(request), gateway, outcome=outcome, why=why))

    def _told(self, one: Entry) -> dict[str, Any]:
        """An entry as JSON: the keys of the operation's /worklist.json, and what is told here alone."""
        return {
            "study_uid": one.study_uid,
            "version": one.version,
            "state": one.state,
            "suspicion": one.suspicion or None,
            "probability": one.probability,
            "statement": one.statement,
            "model": one.model,
            "views": list(one.views),
            "patient": one.patient,
            "images": one.images,
            "answered": one.answered,
            "reasons": [asdict(reason) for reason in one.reasons],
            "first_received_at": one.first_received_at,
            "received_at": one.last_received_at,
            "made_at": one.made_at,
            "delivery": one.delivery,
            "viewer": self._settings.viewer_link(
                one.study_uid, one.patient.get("accession_number", ""), one.patient.get("id", "")
            )
            or None,
        }


def _asset(request: Request) -> Response:
    found = page.assets().get(request.path_params["name"])
    if found is None:
        return Response(status_code=404)
    return Response(found.content, media_type=found.media_type)


async def _form(request: Request) -> dict[str, str] | None:
    """The first value of each field; None for a body that is too large or too slow."""
    content = b""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > _MOST_FORM_BYTES:
                    return None
    except TimeoutError:
        return None
    try:
        fields = parse_qs(content.decode(), keep_blank_values=True, max_num_fields=8)
    except ValueError:  # UnicodeDecodeError is one
        return {}
    return {name: values[0] for name, values in fields.items()}


def _study(one: Entry) -> messages.Study:
    patient = one.patient
    return messages.Study(
        one.study_uid, patient.get("id", ""), patient.get("name", ""), patient.get("accession_number", "")
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _cookie(request: Request, name: str) -> str:
    """A cookie's name; over TLS with the prefix that ties it to this host (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-worklist-{name}" if _is_secure(request) else f"worklist-{name}"


def _token(request: Request) -> str:
    return request.cookies.get(_cookie(request, "session"), "")


def _set_cookie(request: Request, answer: Response, name: str, value: str) -> None:
    answer.set_cookie(
        _cookie(request, name), value, path="/", secure=_is_secure(request), httponly=True, samesite="lax"
    )
