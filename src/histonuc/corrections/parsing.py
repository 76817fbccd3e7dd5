"""The lines of a log, as far as they can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from histonuc.corrections.checking import parse_line
from histonuc.corrections.operations import FORMAT, Operation
from histonuc.files import one_line

_MERGER = "histonuc"
"""Who wrote the lines that only say that the lines before them are known."""
_WHOLE = b'"crc":'
"""What only a line has that was written to its end, or nearly so."""


@dataclass(frozen=True, kw_only=True)
class LogContent:
    """What a log holds.

    Attributes:
        operations: in the order of the file, those of an unknown kind included; each key once.
        notes: sentences about what is in the file and not applied.
    """

    operations: tuple[Operation, ...] = ()
    notes: tuple[str, ...] = ()


class LogParser:
    """Reads the lines of a log as they come.

    Args:
        path: of the log, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._operations: list[Operation] = []
        self._notes: list[str] = []
        self._seen: set[str] = set()
        self._num_lines = 0

    def feed(self, content: bytes) -> None:
        """Read some whole lines more."""
        for line in content.splitlines(keepends=True):
            self._num_lines += 1
            if line.strip():
                self._read(line)

    def content(self, rest: bytes = b"") -> LogContent:
        """What was read so far.

        Args:
            rest: what follows the last whole line.

        Raises:
            ValueError: no line at all is an operation.
        """
        notes = list(self._notes)
        if rest.strip():
            notes.append(_describe_rest(self._num_lines + 1, rest))
        if self._notes and not self._operations:
            raise ValueError(
                f"{self._path} holds no corrections that can be read ({notes[0]}): restore it "
                "from a copy, or move it away to begin anew"
            )
        return LogContent(operations=tuple(self._operations), notes=tuple(notes))

    def _read(self, line: bytes) -> None:
        try:
            operation = parse_line(line.decode())
        except ValueError as error:
            reason = f"is damaged and not applied: {one_line(error)}"
            self._notes.append(f"line {self._num_lines} {reason}")
            return
        if not operation.is_known:
            self._notes.append(_describe_unknown(self._num_lines, operation))
        if operation.key in self._seen:
            return
        if operation.after and operation.after not in self._seen and self._operations:
            # The line before cannot be read: it knew of the one before that.
            operation = replace(operation, after=self._operations[-1].key)
        self._seen.add(operation.key)
        self._operations.append(operation)


def split_whole(content: bytes) -> tuple[bytes, bytes]:
    """The whole lines, and what follows them; a last line that lacks its end only is whole."""
    end = content.rfind(b"\n") + 1
    rest = content[end:]
    return (content, b"") if rest and not is_cut(rest) else (content[:end], rest)


def is_cut(rest: bytes) -> bool:
    """Whether what follows the last end of a line is the beginning of one that was being written.

    It is not where it is a whole line but for its end, or that line with another damage.
    """
    return _WHOLE not in rest and not rest.rstrip().endswith(b"}")


def parents_of(operation: Operation) -> tuple[str, ...]:
    """Keys of the operations that the writer of this one knew of at the last."""
    is_merge = operation.is_known and operation.do == "merge"
    heads = tuple(operation.fields["heads"]) if is_merge else ()
    return (*((operation.after,) if operation.after else ()), *heads)


def find_heads(operations: Sequence[Operation]) -> list[str]:
    """Keys of the operations that no other one knows of, in order."""
    known = {parent for operation in operations for parent in parents_of(operation)}
    return [operation.key for operation in operations if operation.key not in known]


def merge_line(heads: Sequence[str], operations: Sequence[Operation]) -> Operation:
    """A line that knows of all lines before it, the same whoever writes it.

    Args:
        heads: keys that no operation knows of.
        operations: of the log.
    """
    known = sorted(heads)
    times = [operation.time for operation in operations if operation.key in known]
    return Operation(
        do="merge",
        fields={"heads": known},
        by=_MERGER,
        key=hashlib.sha256(" ".join(known).encode()).hexdigest()[:16],
        time=max(times, default=""),
    )


def _describe_rest(number: int, rest: bytes) -> str:
    return f"line {number} was cut off by a crash ({len(rest)} bytes) and is not applied"


def _describe_unknown(number: int, operation: Operation) -> str:
    what = (
        f"of format {operation.format}"
        if operation.format > FORMAT
        else f"of a kind that is not known, {operation.do!r}"
    )
    return f"line {number} is {what}, by a later version of histonuc: it is kept and not applied"
