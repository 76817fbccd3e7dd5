"""Text that every terminal, pipe and file takes: odd file names, signs an encoding lacks."""

from __future__ import annotations

import codecs
import unicodedata
from typing import TextIO

_HANDLER = "histonuc.spelled"
_SPELLED = {"²": "2", "³": "3", "×": "x", "µ": "u", "μ": "u", "…": "...", "–": "-", "—": "-"}
"""Signs of our own output in ASCII letters."""


def readable(name: str) -> str:
    r"""A file name or path as valid text of one line.

    Names on Linux are bytes: what is no UTF-8 comes from Python as half characters that no file
    and few terminals take, and line ends or commands to the terminal are possible. Such bytes
    become ``%B0``, as in addresses of the web. All other names stay as they are.

    >>> readable("n°_3.png"), readable("n\udcb0_3.png"), readable("new\nline.png")
    ('n°_3.png', 'n%B0_3.png', 'new%0Aline.png')
    """
    return "".join(map(_escape, name))


def _escape(letter: str) -> str:
    category = unicodedata.category(letter)
    if category == "Cs":  # half a character: what `os.fsdecode` makes of a byte
        return f"%{ord(letter) & 0xFF:02X}"
    if category in ("Cc", "Zl", "Zp"):
        return "".join(f"%{byte:02X}" for byte in letter.encode())
    return letter


def counted(number: int, what: str) -> str:
    """A number and what it counts, a noun and words before it, in the singular or the plural.

    >>> counted(1, "labelled nucleus"), counted(1200, "labelled nucleus"), counted(0, "class")
    ('1 labelled nucleus', '1,200 labelled nuclei', '0 classes')
    """
    return f"{number:,} {what if number == 1 else _make_plural(what)}"


def _make_plural(what: str) -> str:
    for ending, plural in (("us", "i"), ("ss", "sses"), ("x", "xes")):
        if what.endswith(ending):
            return what.removesuffix(ending) + plural
    return f"{what}s"


def never_fail(stream: TextIO) -> None:
    """Let a stream write what its encoding lacks in other letters: ``mm2`` in place of ``mm²``."""
    codecs.register_error(_HANDLER, _spell)
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:  # not where a program put an object of its own
        reconfigure(errors=_HANDLER)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    spelled = (_SPELLED.get(letter) or ascii(letter)[1:-1] for letter in missing)
    return "".join(spelled), error.end
