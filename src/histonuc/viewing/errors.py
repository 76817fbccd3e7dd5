"""What the page is told where something cannot be answered; no text here has a path in it."""

from __future__ import annotations


class ShownError(ValueError):
    """Something that cannot be shown.

    Attributes:
        word: says why, in one word: ``damaged``, ``unfinished``, ``missing`` or ``unreadable``.
    """

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


class RequestError(ValueError):
    """A request that is not as the protocol says."""


class NotFoundError(ValueError):
    """A slide, square, tile or nucleus that is not there."""
