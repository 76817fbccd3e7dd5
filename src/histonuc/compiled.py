"""Compile a numerical function at its first call, and keep the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Numba's nopython mode without the interpreter's lock, so that threads run side by side.

    The machine code is cached beside the module or, where that cannot be written, in the user's
    cache folder; where neither can, each process compiles anew.
    """
    import numba

    options = {"nogil": True, "fastmath": False, "boundscheck": False}
    options["no_cfunc_wrapper"] = True  # nobody calls them from C, and it takes time to compile
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # "cannot cache function: no locator available"
        return cast(F, numba.njit(**options)(function))
