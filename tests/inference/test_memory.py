"""Threads share two heaps once they are told to."""

import os
import platform
import subprocess
import sys

import pytest

# glibc writes one line "<heap nr=...>" for each of its arenas.
COUNT = """
import ctypes, threading
from histonuc.inference.memory import share_arenas
if {shared}:
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(6)
def allocate():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
"""


def count_arenas(shared: bool, **environment: str) -> int:
    code = COUNT.format(shared=shared)
    told = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
    kept = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_two_arenas_unless_the_environment_says_otherwise() -> None:
    assert count_arenas(False) > 2
    assert count_arenas(True) == 2
    assert count_arenas(True, MALLOC_ARENA_MAX="3") == 3
