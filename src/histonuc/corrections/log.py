"""`corrections.jsonl`: a log that is only ever appended to, so that no crash loses a correction."""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from histonuc.corrections.operations import (
    FORMAT,
    Operation,
    check_operation,
    new_key,
    now,
    parse_line,
)
from histonuc.files import one_line

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

CORRECTIONS_FILE = "corrections.jsonl"
"""Name of the log in the folder of a result."""
_LOCKED_BYTE = 1 << 30
"""Where Windows locks the file: beyond its end, so that others may read it meanwhile."""
MERGER = "histonuc"
"""Who wrote the lines that only say that the lines before them are known."""
_WHOLE = b'"crc":'
"""What only a line has that was written to its end, or nearly so."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LogContent:
    """What a log holds.

    Attributes:
        operations: in the order of the file, those of an unknown kind included.
        notes: sentences about what is in the file and not applied.
    """

    operations: tuple[Operation, ...] = ()
    notes: tuple[str, ...] = ()


class CorrectionLog:
    """The corrections of one result. Nothing is written by opening.

    Args:
        place: folder of the result, or the log's own file.
    """

    def __init__(self, place: Path) -> None:
        self.path = place if place.suffix == ".jsonl" else place / CORRECTIONS_FILE

    def read(self) -> LogContent:
        """All operations; none where there is no file.

        Raises:
            ValueError: the file holds no operation at all, but something else.
            OSError: it cannot be read.
        """
        if not self.path.exists():
            return LogContent()
        return parse_log(self.path.read_bytes(), self.path)

    def append(self, *operations: Operation) -> tuple[Operation, ...]:
        """Write operations to the end; they are on the disk when this returns.

        A line that a crash cut off is removed before, and the log says so. Several processes may
        append at the same time.

        Args:
            operations: those without a key get one, with the time and the key of the line before.

        Returns:
            The operations as they are in the log.

        Raises:
            ValueError: an operation cannot be right; nothing is written then.
            OSError: the disk is full or gone.
        """
        for operation in operations:
            if operation.is_known:
                check_operation(operation)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("ab+") as stream, _locked(stream):
            stream.seek(0)
            content = stream.read()
            before = parse_log(content, self.path).operations
            self._mend(stream, content)
            written = _chain(operations, before)
            stream.seek(0, os.SEEK_END)
            stream.write("".join(one.to_line() for one in written).encode())
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            _flush_folder(self.path.parent)
        return tuple(one for one in written if one.do != "merge" or one in operations)

    def _mend(self, stream: IO[bytes], content: bytes) -> None:
        """End the last line, or remove what a crash left of it."""
        start = content.rfind(b"\n") + 1
        if start == len(content):
            return
        if not _looks_cut(content[start:]):
            stream.write(b"\n")
            return
        stream.truncate(start)
        log.warning(
            "%s: removed the last %d bytes, which a crash cut off", self.path, len(content) - start
        )


def parse_log(content: bytes, path: Path) -> LogContent:
    """Read the bytes of a log.

    Args:
        content: of the file.
        path: for messages.

    Raises:
        ValueError: it holds no operation at all, but something else.
    """
    operations: list[Operation] = []
    notes: list[str] = []
    seen: set[str] = set()
    lines = content.split(b"\n")
    cut = lines.pop()
    lines += [cut] if cut else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            operation = parse_line(line.decode())
        except (ValueError, RecursionError) as error:
            notes.append(_describe_damage(number, line, error, is_cut=line is cut))
            continue
        if not operation.is_known:
            notes.append(_describe_unknown(number, operation))
        if operation.key in seen:
            continue
        if operation.after and operation.after not in seen and operations:
            # The line before it is damaged, or the file was put together by hand.
            operation = replace(operation, after=operations[-1].key)
        seen.add(operation.key)
        operations.append(operation)
    if notes and not operations and not (len(lines) == 1 and cut and _looks_cut(cut)):
        raise ValueError(
            f"{path} holds no corrections that can be read ({notes[0]}): restore it from a copy, "
            "or move it away to begin anew"
        )
    return LogContent(operations=tuple(operations), notes=tuple(notes))


def find_heads(operations: Sequence[Operation]) -> list[str]:
    """Keys of the operations that no other one knows of, in the order of the file."""
    known = {parent for operation in operations for parent in parents_of(operation)}
    return [operation.key for operation in operations if operation.key not in known]


def parents_of(operation: Operation) -> tuple[str, ...]:
    """Keys of the operations that the writer of this one knew of at the last."""
    heads = tuple(operation.fields["heads"]) if _is_merge(operation) else ()
    return (*((operation.after,) if operation.after else ()), *heads)


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
        by=MERGER,
        key=hashlib.sha256(" ".join(known).encode()).hexdigest()[:16],
        time=max(times, default=""),
    )


def user_name() -> str:
    """The name that corrections have where no other is given: that of the login."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in a container
        return "unknown"


def _is_merge(operation: Operation) -> bool:
    return operation.is_known and operation.do == "merge"


def _chain(operations: Sequence[Operation], before: Sequence[Operation]) -> list[Operation]:
    """The operations with keys and times, each knowing the one before it, the first all heads."""
    written: list[Operation] = []
    heads = find_heads(before)
    if len(heads) > 1 and any(not operation.key for operation in operations):
        merger = merge_line(heads, before)
        written.append(merger)
        heads = [merger.key]
    last = heads[-1] if heads else ""
    for operation in operations:
        if not operation.key:
            operation = replace(
                operation, key=new_key(), after=last, time=operation.time or now(), format=FORMAT
            )
            last = operation.key
        written.append(operation)
    return written


def _describe_damage(number: int, line: bytes, error: Exception, *, is_cut: bool) -> str:
    if is_cut and _looks_cut(line):
        return f"line {number} was cut off by a crash ({len(line)} bytes) and is not applied"
    return f"line {number} is damaged and not applied: {one_line(error)}"


def _describe_unknown(number: int, operation: Operation) -> str:
    what = (
        f"of format {operation.format}"
        if operation.format > FORMAT
        else f"of a kind that is not known, {operation.do!r}"
    )
    return f"line {number} is {what}, by a later version of histonuc: it is kept and not applied"


def _looks_cut(line: bytes) -> bool:
    """Whether a line without an end is the beginning of one that was being written."""
    return line.startswith(b"{") and _WHOLE not in line


def _flush_folder(folder: Path) -> None:
    """Wait until the name of a new file is on the disk; Windows cannot and need not."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(stream: IO[bytes]) -> Iterator[None]:
    """Nobody else writes meanwhile."""
    if sys.platform == "win32":
        stream.seek(_LOCKED_BYTE)
        msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            stream.flush()
            stream.seek(_LOCKED_BYTE)
            msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)
        return
    fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
    try:
        yield
    finally:
        stream.flush()
        fcntl.flock(stream.fileno(), fcntl.LOCK_UN)
