"""Compile a numerical function at its first call, and keep the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

Whole = int | np.integer[Any]
"""A whole number in compiled code: for a literal a function would be compiled once more."""


def compiled(function: F) -> F:
    """Numba's nopython mode without the interpreter's lock, so that threads run side by side.

    The machine code is cached beside the module or, where that cannot be written, in the user's
    cache folder; where neither can, each process compiles anew.
    """
    return _compile(function, for_python=True)


def compiled_part(function: F) -> F:
    """The same for a function that only compiled ones call: quicker to compile."""
    return _compile(function, for_python=False)


def _compile(function: F, *, for_python: bool) -> F:
    import numba

    options = {"nogil": True, "fastmath": False, "boundscheck": False}
    # Nobody calls them from C, and what is not made takes no time to compile.
    options |= {"no_cfunc_wrapper": True, "no_cpython_wrapper": not for_python}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # "cannot cache function: no locator available"
        return cast(F, numba.njit(**options)(function))
