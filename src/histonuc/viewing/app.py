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

from histonuc.viewing import correct_handlers, handlers, list_handlers
from histonuc.viewing.calls import MAX_BODY, Endpoint, Handler, answering, error_reply
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
    f"{_SLIDE}/areas": list_handlers.answer_areas,
}
"""Routes that read the slide, by GET."""
NUCLEI: dict[str, Handler] = {
    f"{_SLIDE}/squares/{_PLACE}": handlers.answer_square,
    f"{_SLIDE}/squares/{{level:int}}": handlers.answer_squares,
    f"{_SLIDE}/nuclei/{{nucleus:int}}": list_handlers.answer_nucleus,
}
"""Routes that read the table, by GET."""
FACTS: dict[str, Handler] = {
    "/api/ping": handlers.answer_ping,
    "/api/slides": handlers.answer_list,
    _SLIDE: handlers.answer_slide,
    f"{_SLIDE}/corrections": correct_handlers.answer_corrections,
    f"{_SLIDE}/teach": correct_handlers.answer_lesson,
    f"{_SLIDE}/tune": correct_handlers.answer_tuning,
}
"""Other routes by GET."""
QUESTIONS: dict[str, Handler] = {
    f"{_SLIDE}/density": handlers.answer_density,
    f"{_SLIDE}/counts": handlers.answer_counts,
    f"{_SLIDE}/histogram": handlers.answer_histogram,
    f"{_SLIDE}/list": list_handlers.answer_page,
}
"""Routes that count all nuclei, by POST."""
REGIONS: dict[str, Handler] = {
    f"{_SLIDE}/regions/count": list_handlers.answer_region_counts,
    f"{_SLIDE}/regions/export": list_handlers.answer_region_export,
    f"{_SLIDE}/regions/import": list_handlers.answer_region_import,
}
"""Routes that take regions, by POST."""
CORRECTIONS: dict[str, Handler] = {
    f"{_SLIDE}/corrections": correct_handlers.answer_correct,
    f"{_SLIDE}/next": correct_handlers.answer_next,
    f"{_SLIDE}/teach": correct_handlers.answer_teach,
    f"{_SLIDE}/tune": correct_handlers.answer_tune,
}
"""Routes that write into the folder of a result, or beside it, by POST."""
MAX_REGIONS_BODY = 16 << 20
"""Bytes of regions in one request."""
_GROUPS = (
    (PICTURES, "GET", MAX_BODY),
    (NUCLEI, "GET", MAX_BODY),
    (FACTS, "GET", MAX_BODY),
    (QUESTIONS, "POST", MAX_BODY),
    (REGIONS, "POST", MAX_REGIONS_BODY),
    (CORRECTIONS, "POST", MAX_BODY),
)


def make_app(library: Library, token: str, touch: Callable[[], None] = lambda: None) -> ASGIApp:
    """The application for a server such as uvicorn.

    Args:
        library: what is shown.
        token: that every request below ``/api/`` has to have.
        touch: called at every request that was not refused.
    """
    routes = [Route("/", _page_file(INDEX), methods=["GET"])]
    routes += [Route(f"/page/{name}", _page_file(name), methods=["GET"]) for name in PAGE_FILES]
    for group, method, most in _GROUPS:
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        for path, handler in group.items():
            routes.append(Route(path, answering(handler, library, limiter, most), methods=[method]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _explain})
    app.router.redirect_slashes = False

    async def touching(scope: Scope, receive: Receive, send: Send) -> None:
        touch()
        await app(scope, receive, send)

    return Guard(touching, token, CORRECTIONS)


def _page_file(name: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return FileResponse(PAGE_FOLDER / name, media_type=PAGE_FILES[name])

    return answer


def _explain(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return error_reply(
        status, "There is nothing here." if status == 404 else "This cannot be done."
    )
