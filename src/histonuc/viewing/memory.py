"""Memory that is let go of goes back to the machine: a viewer may be open all day."""

from __future__ import annotations

import ctypes
import os
import platform

from histonuc.inference.cluster import share_arenas

_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20
"""Of glibc's `mallopt`: blocks above this size are the machine's again once they are freed."""


def return_memory() -> None:
    """Let this process keep no memory that it does not use, where the C library is glibc.

    Call it before threads start, and from programs only: it is the whole process's. What the
    environment says of it stands.
    """
    import pyarrow as pa

    share_arenas()
    told = {"MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys()
    if platform.libc_ver()[0] == "glibc" and not told:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
