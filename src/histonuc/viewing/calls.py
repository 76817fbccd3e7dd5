"""One request of the page, read and bounded, and what its failure becomes."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from histonuc.slides import RegionError
from histonuc.viewing.errors import NotFoundError, RequestError, ShownError
from histonuc.viewing.library import Library
from histonuc.viewing.opened import OpenResult

log = logging.getLogger(__name__)

MAX_BODY = 1 << 20
"""Bytes of a request's body."""
_GONE = Response(status_code=499)
"""Nobody reads it: the page did not wait."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that may be answered.

    Attributes:
        library: what is shown.
        params: numbers in the route.
        query: what follows the question mark.
        body: of a POST; empty for GET.
    """

    library: Library
    params: Mapping[str, Any]
    query: QueryParams
    body: bytes

    @property
    def opened(self) -> OpenResult:
        """The result or slide that the route names."""
        return self.library.open(self.params["slide"])

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            RequestError: something else.
        """
        try:
            content = json.loads(self.body or b"{}")
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise RequestError("Expected a JSON object.")
        return content


Handler = Callable[[Call], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def answering(
    handler: Handler,
    library: Library,
    limiter: anyio.CapacityLimiter,
    max_body: int = MAX_BODY,
) -> Endpoint:
    """A handler as Starlette calls it: in a thread, when its turn comes, with one error text.

    Args:
        handler: answers; may take its time.
        library: what is shown.
        limiter: how many are answered at once.
        max_body: bytes of a body.
    """

    async def answer(request: Request) -> Response:
        body = await _read_body(request, max_body)
        if body is None:
            return error_reply(413, f"Expected at most {max_body >> 20} MiB.")
        call = Call(
            library=library, params=request.path_params, query=request.query_params, body=body
        )
        async with limiter:
            if await request.is_disconnected():
                return _GONE
            return await anyio.to_thread.run_sync(partial(_reply, handler, call))

    return answer


def error_reply(status: int, text: str, **more: str) -> JSONResponse:
    """One error for the page."""
    return JSONResponse({"error": text, **more}, status)


async def _read_body(request: Request, most: int) -> bytes | None:
    """The whole body; None where it is larger than that."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def _reply(handler: Handler, call: Call) -> Response:
    try:
        return handler(call)
    except ShownError as error:
        return error_reply(409, str(error), word=error.word)
    except RegionError:
        return error_reply(409, "This part of the slide cannot be read.", word="unreadable")
    except OSError as error:
        log.warning("%s", error)
        return error_reply(409, "The file does not answer at the moment.", word="unreadable")
    except NotFoundError:
        return error_reply(404, "There is nothing here.")
    except RequestError as error:
        return error_reply(400, str(error))
    except Exception:
        log.exception("a request failed")
        return error_reply(500, "This did not work; the terminal says why.")
