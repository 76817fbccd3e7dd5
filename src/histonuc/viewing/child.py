"""One command line of `histonuc` that ends with the program that started it.

Run as ``python -m histonuc.viewing.child WORDS`` with a pipe as standard input into which nobody
writes: it closes when the program at its other end is gone, even one that was killed.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

_NICENESS = 5
"""The page goes on answering while all cores compute."""
_ENDED = 1


def main() -> None:
    """Run the command line; the process ends with standard input."""
    threading.Thread(target=_end_with_input, name="histonuc-child", daemon=True).start()
    if sys.platform != "win32":
        os.nice(_NICENESS)
    runpy.run_module("histonuc", run_name="__main__")


def _end_with_input() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the end of the interpreter would wait for
        pass
    os._exit(_ENDED)


if __name__ == "__main__":
    main()
