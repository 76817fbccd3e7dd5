"""Who may ask: only the page itself, on this machine, with the token of the link."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/api/"
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
"""Any port: a tunnel may have another than the server."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every reply."""


class Guard:
    """Refuses whoever is not the page, before anything else looks at a request.

    Args:
        app: what answers the others.
        token: of the link.
        writing: routes, as Starlette writes them, a POST to which writes something: they need
            ``Origin``, which a browser always sends with one.
    """

    def __init__(self, app: ASGIApp, token: str, writing: Iterable[str]) -> None:
        self._app, self._token = app, token.encode()
        self._writing = [compile_path(route)[0] for route in writing]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # nothing else is spoken here: the server closes the connection
        refusal = self._refuse(scope)
        answer = self._app if refusal is None else refusal

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await answer(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        """The reply to who may not ask; None for who may."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
            return _error(403, "Open the viewer by the link that the terminal shows.")
        if any(origin != f"http://{hosts[0]}" for origin in headers.get("origin", [])):
            return _error(403, "Other pages may not ask here.")
        is_api = scope["path"].startswith(API)
        sites = ("same-origin",) if is_api else ("same-origin", "none")
        if any(site not in sites for site in headers.get("sec-fetch-site", [])):
            return _error(403, "Other pages may not ask here.")
        if scope["method"] not in (("GET", "POST") if is_api else ("GET",)):
            return _error(405, "Only GET and POST are answered.")
        is_writing = any(route.match(scope["path"]) for route in self._writing)
        if scope["method"] == "POST" and is_writing and len(headers.get("origin", [])) != 1:
            return _error(403, "Only the page of the viewer may correct.")
        return self._check_token(headers) if is_api else None

    def _check_token(self, headers: Mapping[str, list[str]]) -> JSONResponse | None:
        given = headers.get("authorization", [])
        expected = b"Bearer " + self._token
        if len(given) == 1 and hmac.compare_digest(given[0].encode("latin-1"), expected):
            return None
        return _error(401, "Open the viewer by the link that the terminal shows.")


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)
