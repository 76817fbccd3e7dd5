"""The web application: every route, and what answers it."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from histonuc.viewing import handlers
from histonuc.viewing.calls import Endpoint, Handler, answering, error_reply
from histonuc.viewing.library import Library
from histonuc.viewing.page_files import INDEX, PAGE_FILES, PAGE_FOLDER
from histonuc.viewing.security import Guard

_AT_ONCE = 3
"""Answers of one kind that are made at the same time: each may take a core and some memory."""
_SLIDE = "/api/slides/{slide:int}"
_PLACE = "{level:int}/{column:int}/{row:int}"
PICTURES: dict[str, Handler] = {
    f"{_SLIDE}/thumbnail": handlers.answer_thumbnail,
    f"{_SLIDE}/tiles/{_PLACE}": handlers.answer_tile,
    f"{_SLIDE}/crop": handlers.answer_crop,
}
"""Routes that read the slide, by GET."""
NUCLEI: dict[str, Handler] = {
    f"{_SLIDE}/squares/{_PLACE}": handlers.answer_square,
}
"""Routes that read the table, by GET."""
FACTS: dict[str, Handler] = {
    "/api/ping": handlers.answer_ping,
    "/api/slides": handlers.answer_list,
    _SLIDE: handlers.answer_slide,
}
"""Other routes by GET."""
QUESTIONS: dict[str, Handler] = {
    f"{_SLIDE}/density": handlers.answer_density,
    f"{_SLIDE}/counts": handlers.answer_counts,
    f"{_SLIDE}/histogram": handlers.answer_histogram,
}
"""Routes by POST."""


def make_app(library: Library, token: str, touch: Callable[[], None] = lambda: None) -> ASGIApp:
    """The application for a server such as uvicorn.

    Args:
        library: what is shown.
        token: that every request below ``/api/`` has to have.
        touch: called at every request that was not refused.
    """
    routes = [Route("/", _page_file(INDEX), methods=["GET"])]
    routes += [Route(f"/page/{name}", _page_file(name), methods=["GET"]) for name in PAGE_FILES]
    for group, method in ((PICTURES, "GET"), (NUCLEI, "GET"), (FACTS, "GET"), (QUESTIONS, "POST")):
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        for path, handler in group.items():
            routes.append(Route(path, answering(handler, library, limiter), methods=[method]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _explain})
    app.router.redirect_slashes = False

    async def touching(scope: Scope, receive: Receive, send: Send) -> None:
        touch()
        await app(scope, receive, send)

    return Guard(touching, token)


def _page_file(name: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return FileResponse(PAGE_FOLDER / name, media_type=PAGE_FILES[name])

    return answer


def _explain(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return error_reply(
        status, "There is nothing here." if status == 404 else "This cannot be done."
    )
