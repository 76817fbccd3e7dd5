"""What a process of `histonuc predict`, and a worker of its cluster, tells its allocator."""

from __future__ import annotations

import ctypes
import os
import platform

_M_ARENA_MAX = -8
"""Of glibc's ``malloc.h``."""
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads of this process share two heaps, where the C library is glibc.

    By itself it keeps one for each thread, and in each what the largest tiles left. Call it before
    threads start, and from programs only: it is the whole process's. What the environment says
    about arenas stands.
    """
    told = {"MALLOC_ARENA_MAX", "GLIBC_TUNABLES"} & os.environ.keys()
    if platform.libc_ver()[0] == "glibc" and not told:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
