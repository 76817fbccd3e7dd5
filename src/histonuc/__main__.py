"""The program ``histonuc``, which is ``python -m histonuc`` as well."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: the command line of `cli`, with Ctrl-C while it is imported as well."""
    try:
        from histonuc import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    finally:
        # A program run by ``python -m`` that met Ctrl-C inside `exec`, with which dataclasses are
        # made, dies of the signal at its end, though it was handled. Another `exec` undoes this.
        exec("")


if __name__ == "__main__":
    main()
