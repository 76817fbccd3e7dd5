"""Files are written whole or not at all, and what others wrote is read with distrust."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SEAL = "own_sha256"
"""Key of a record's checksum of all its other content."""
DRAFT_PREFIX = ".writing-"
"""How the name of a file begins that is not finished."""
STORAGE_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("ENXIO", "ENODEV", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "ESTALE")
    if hasattr(errno, name)
)
"""Numbers of errors of a drive or network share, which say nothing of the file. EIO is not among
them: it may be one bad sector."""


def draft_of(path: Path) -> Path:
    """A name beside `path` that nobody else writes to.

    Containers on shared storage may have the same process id: the number after it is random.
    """
    return path.with_name(f"{DRAFT_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder, but not in folders inside it.

    Call it where nobody else writes: whoever writes there at that moment fails.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> for name in (".writing-7-0badcafe-nuclei.parquet", "nuclei.parquet"):
    ...     _ = (folder / name).write_text("")
    >>> remove_drafts(folder)
    >>> [path.name for path in folder.iterdir()]
    ['nuclei.parquet']
    """
    for draft in list(folder.glob(f"{DRAFT_PREFIX}*")):
        if draft.is_dir():  # of `replacing_folder`
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to `path` when the block ends well and removed when it does not.

    Missing folders are made. The draft keeps the suffix: some libraries choose the format by it.

    >>> from tempfile import mkdtemp
    >>> target = Path(mkdtemp()) / "table.csv"
    >>> with replacing(target) as draft:
    ...     _ = draft.write_text("a,b")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('a,b', 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        yield draft
        _flush(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _flush(file: Path) -> None:
    """Wait until a file's content is on the disk, where it survives the loss of power."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8)."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write JSON that `read_json` takes back.

    Raises:
        ValueError: NaN or infinite numbers.
    """
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that becomes `path` when the block ends well, as `replacing` does.

    >>> from tempfile import mkdtemp
    >>> target = Path(mkdtemp()) / "labels.zarr"
    >>> for text in ("old", "new"):
    ...     with replacing_folder(target) as draft:
    ...         _ = (draft / "zarr.json").write_text(text)
    >>> (target / "zarr.json").read_text(), len(list(target.parent.iterdir()))
    ('new', 1)
    """
    draft = draft_of(path)
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(path, ignore_errors=True)  # a folder that is not empty cannot be renamed over
        os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-able record with the checksum of its own content, so that damage is noticed.

    >>> sealed = seal({"num_nuclei": 7})
    >>> is_sealed(sealed), is_sealed(sealed | {"num_nuclei": 9})
    (True, False)
    """
    content = {name: value for name, value in record.items() if name != _SEAL}
    return {**content, _SEAL: hashlib.sha256(json.dumps(content).encode()).hexdigest()}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record is as `seal` left it."""
    return bool(record.get(_SEAL) == seal(record)[_SEAL])


def check_seal(record: Mapping[str, Any], path: Path) -> None:
    """Refuse a record that is not as it was written.

    Raises:
        ValueError: with its file.
    """
    if not is_sealed(record):
        raise ValueError(f"{path} was changed or damaged since it was written")


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Whatever goes wrong while a file of others is read, as one clear ValueError of one line.

    Decoders trust what files say about themselves, so damage ends in any error at all. A ValueError
    that names the file passes as it is.

    Args:
        path: the file.
        kind: what it should hold, after "no": "GeoJSON of polygons".

    Raises:
        ValueError: no such file, or the block failed.

    >>> with reading(Path("/"), "folder of slides"):
    ...     {}["slide"]
    Traceback (most recent call last):
    ValueError: / is damaged or no folder of slides: KeyError 'slide'
    """
    if not path.exists():
        raise ValueError(f"no file at {path}")
    try:
        yield
    except Exception as error:
        if type(error) is ValueError and path.name in str(error):  # not one of a library
            raise
        is_bare = isinstance(error, LookupError)  # these only quote what is missing
        reason = f"{type(error).__name__} {one_line(error)}" if is_bare else one_line(error)
        raise ValueError(f"{path} is damaged or no {kind}: {reason}") from None


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """The object that a JSON file holds, as it can be written again: no NaN, no half characters.

    Args:
        path: the file.
        kind: what it should hold, as for `reading`.

    Raises:
        ValueError: no such file, or anything else in it.
    """
    with reading(path, kind):
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, got {type(content).__name__}")
        return content


def log_failure(path: Path, error: Exception, log: logging.Logger) -> str:
    """Why one file of many failed, in one line, for `failure_lines`.

    What is nobody's fault but ours leaves a traceback in the log at once; the rest is told once, at
    the end.

    Args:
        path: the file, for the log.
        error: what went wrong.
        log: where a traceback goes.
    """
    if not isinstance(error, (ValueError, OSError, MemoryError)):
        log.error("%s failed", path, exc_info=error)
        return f"{type(error).__name__}: {one_line(error)}"
    reason = one_line(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        reason += ": what is finished is kept; make room and run the same command again"
    elif number in STORAGE_ERRORS:
        reason += (
            ": a drive or network share does not answer; what is finished is kept: "
            "run the same command again"
        )
    return reason


def failure_lines(failed: Sequence[Mapping[str, str]]) -> list[str]:
    """Which files of many failed and why, for people: each in one line that names its path once.

    Args:
        failed: for each its ``source``, a path, and ``error``, the reason.

    >>> failure_lines([{"source": "in/a.svs", "error": "a.svs is damaged: no tiles"}])
    ['1 failed:', '  in/a.svs is damaged: no tiles']
    """
    lines = [f"{len(failed)} failed:"] if failed else []
    for failure in failed:
        source, error = failure["source"], failure["error"]
        if error.startswith(name := Path(source).name):
            error = source + error.removeprefix(name)
        before, found, after = error.partition(source)
        told = f"{before}{source}{after.replace(source, name)}" if found else f"{source}: {error}"
        lines.append(f"  {told}")
    return lines


def find_named(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    """The file of a name in a folder, however its accents are coded and its suffix is written.

    macOS and many archives store an accent as a letter of its own (NFD), most tables do not (NFC).
    Where two names differ in the case of the suffix only, the one in small letters is meant.

    Args:
        folder: where to look; none need be there.
        stem: the name without its suffix.
        suffixes: in small letters, the preferred one first.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> (folder / "cafe\u0301.PNG").touch()
    >>> find_named(folder, "caf\u00e9", (".tif", ".png")).suffix
    '.PNG'
    """
    exact = (folder / f"{stem}{suffix}" for suffix in suffixes)
    if (found := next(filter(Path.is_file, exact), None)) is not None:
        return found
    wanted = unicodedata.normalize("NFC", stem)
    files = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
    named = [file for file in files if unicodedata.normalize("NFC", file.stem) == wanted]
    for suffix in suffixes:
        for file in named:
            if file.suffix.lower() == suffix and file.is_file():
                return file
    return None


def is_text(name: str) -> bool:
    r"""Whether a name has no control characters, line ends or broken code points, as damage makes.

    >>> is_text("Adrenal gland"), is_text("a\nb")
    (True, False)
    """
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


def one_line(error: BaseException) -> str:
    """What an error says, or its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
