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
    return _compile(function, {})


def compiled_kernel(function: F) -> F:
    """The same for a function that makes no arrays: a tenth quicker to compile."""
    return _compile(function, {"_nrt": False})


def compiled_part(function: F) -> F:
    """The same for one that only compiled functions call."""
    return _compile(function, {"_nrt": False, "no_cpython_wrapper": True})


def _compile(function: F, options: dict[str, bool]) -> F:
    import numba

    # Nobody calls them from C, and what is not made takes no time to compile.
    options = {"nogil": True, "no_cfunc_wrapper": True, **options}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # "cannot cache function: no locator available"
        return cast(F, numba.njit(**options)(function))
