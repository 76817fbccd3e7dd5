"""`corrections.jsonl`: a log that is only ever appended to, so that no crash loses a correction."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from histonuc.corrections.checking import check_operation
from histonuc.corrections.operations import FORMAT, Operation, new_key, now
from histonuc.corrections.parsing import (
    LogContent,
    LogParser,
    find_heads,
    merge_line,
    split_whole,
)

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

CORRECTIONS_FILE = "corrections.jsonl"
"""Name of the log in the folder of a result."""
_LOCKED_BYTE = 1 << 30
"""Where Windows locks the file: beyond its end, so that others may read it meanwhile."""
_TAIL_BYTES = 256

log = logging.getLogger(__name__)


class CorrectionLog:
    """The corrections of one result. Nothing is written by opening.

    What was read is kept, and only what others or this object wrote since is read again.

    Args:
        place: folder of the result, or the log's own file.
    """

    def __init__(self, place: Path) -> None:
        self.path = place if place.suffix == ".jsonl" else place / CORRECTIONS_FILE
        self._forget()

    def read(self) -> LogContent:
        """All operations; none where there is no file.

        Raises:
            ValueError: no line of the file is an operation.
            OSError: it cannot be read.
        """
        if not self.path.exists():
            self._forget()
            return LogContent()
        with self.path.open("rb") as stream:
            return self._read(stream)[0]

    def append(self, *operations: Operation) -> tuple[Operation, ...]:
        """Write operations to the end; they are on the disk when this returns.

        A line that a crash cut off is removed before, and the program's log says so. Several
        processes may append at the same time.

        Args:
            operations: those without a key get one, with the time and the key of the line before.

        Returns:
            The operations as they are in the log.

        Raises:
            ValueError: an operation cannot be right, or the file is no log; nothing is written.
            OSError: the disk is full or gone.
        """
        checked = [check_operation(one) if one.is_known else one for one in operations]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("ab+") as stream, _locked(stream):
            before, rest = self._read(stream)
            self._mend(stream, rest)
            written = _chain(checked, before.operations)
            stream.seek(0, os.SEEK_END)
            stream.write("".join(one.to_line() for one in written).encode())
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            _flush_folder(self.path.parent)
        return tuple(written[len(written) - len(operations) :])

    def _forget(self) -> None:
        self._parser = LogParser(self.path)
        self._inode, self._size, self._tail = 0, 0, b""

    def _read(self, stream: IO[bytes]) -> tuple[LogContent, bytes]:
        """What the log holds, and what follows its last whole line."""
        inode = os.fstat(stream.fileno()).st_ino
        stream.seek(max(self._size - len(self._tail), 0))
        is_whole = self._tail.endswith(b"\n") or not self._tail  # else somebody was still writing
        if self._inode != inode or stream.read(len(self._tail)) != self._tail or not is_whole:
            self._forget()  # it is another file, or was changed
            stream.seek(0)
        whole, rest = split_whole(stream.read())
        self._parser.feed(whole)
        self._inode, self._size = inode, self._size + len(whole)
        self._tail = (self._tail + whole)[-_TAIL_BYTES:]
        return self._parser.content(rest), rest

    def _mend(self, stream: IO[bytes], rest: bytes) -> None:
        """End the last line, or remove what a crash left of one."""
        if rest:
            stream.truncate(self._size)
            message = "%s: removed the last %d bytes, which a crash cut off"
            log.warning(message, self.path, len(rest))
        elif self._tail and not self._tail.endswith(b"\n"):
            stream.write(b"\n")


def user_name() -> str:
    """The name that corrections have where no other is given: that of the login."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in a container
        return "unknown"


def _chain(operations: Sequence[Operation], before: Sequence[Operation]) -> list[Operation]:
    """The operations with keys and times, each knowing the one before it, the first all heads."""
    written: list[Operation] = []
    heads = find_heads(before)
    if len(heads) > 1 and any(not operation.key for operation in operations):
        written.append(merge_line(heads, before))
        heads = [written[0].key]
    last = heads[-1] if heads else ""
    for operation in operations:
        if not operation.key:
            time = operation.time or now()
            operation = replace(operation, key=new_key(), after=last, time=time, format=FORMAT)
            last = operation.key
        written.append(operation)
    return written


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
