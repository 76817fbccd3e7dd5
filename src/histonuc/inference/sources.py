"""Which files a prediction is about, and where the results of each go."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from histonuc.exports.cohort import COHORT_CSV, COHORT_PARQUET
from histonuc.exports.summary import SUMMARY_FILE
from histonuc.files import one_line
from histonuc.inference.results import PICTURES, ResultFolder
from histonuc.plain_text import readable
from histonuc.slides import KNOWN_SUFFIXES, check_regular, is_slide_folder, series_uid

_BLOCKS, _BLOCK_BYTES = 64, 1 << 20
_PLACES = 16
"""Places of a file that are read to see whether its storage answers."""


def find_inputs(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Files to predict: those given, and all of known kinds in the folders given.

    The pictures of an earlier prediction are not inputs: results may lie among the images.

    Returns:
        The files, and why there are none at the other paths.

    Raises:
        ValueError: nothing at any of them.
    """
    if not paths:
        raise ValueError("expected images, slides or folders to predict, got none")
    found: dict[str, Path] = {}
    missing: dict[Path, str] = {}
    for path in paths:
        try:
            for file in _files_at(path):
                found.setdefault(os.path.abspath(file), file)
        except (OSError, ValueError) as error:
            missing[path] = one_line(error)
    if not found:
        raise ValueError("; ".join(missing.values()))
    return list(found.values()), missing


def _files_at(path: Path) -> list[Path]:
    """The files of one path.

    Raises:
        OSError, ValueError: there are none.
    """
    if not path.exists():
        raise ValueError(f"nothing at {path}")
    if not path.is_dir():
        check_regular(path)
        return [path]
    if is_slide_folder(path):
        return [path]
    inside = list(_one_a_series(_walk(path)))
    if not inside:
        raise ValueError(f"no images or slides in {path}: known are {sorted(KNOWN_SUFFIXES)}")
    return inside


def name_folders(sources: Sequence[Path], out: Path) -> list[ResultFolder]:
    """A folder in `out` for each source: its stem, numbered when another source has the same.

    What an earlier run made of another source, finished or not, is never written over.

    >>> folders = name_folders([Path("a/x.png"), Path("b/x.svs")], Path("out"))
    >>> [str(folder.path) for folder in folders]
    ['out/x', 'out/x-2']
    """
    taken = {SUMMARY_FILE, COHORT_CSV, COHORT_PARQUET}
    folders = []
    for source in sources:
        stem = readable(source.stem)
        name, number = stem, 1
        # File systems may not tell cases apart.
        while (
            name.lower() in taken
            or _holds_slide(out / name, source)
            or _is_of_another(out / name, source)
        ):
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        folders.append(ResultFolder(out / name))
    return folders


class Fingerprint(TypedDict):
    """What tells a source file from others: its path, its size, and when it was changed.

    The checksum is there where further files belong to the slide.
    """

    source: str
    bytes: int
    modified_ns: int
    files_sha256: NotRequired[str]


def fingerprint(source: Path) -> Fingerprint:
    """What tells a source file from others and from its own later versions.

    Where further files belong to the slide, a checksum of their names, sizes and times is added.
    """
    stat = source.stat()
    facts: Fingerprint = {
        "source": readable(str(source.resolve())),
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
    }
    start = source.absolute() if source.is_dir() else source.absolute().parent
    if others := sorted(
        (file.path.removeprefix(str(start)), file.stat().st_size, file.stat().st_mtime_ns)
        for file in _other_files(source.absolute())
    ):
        facts["files_sha256"] = hashlib.sha256(repr(others).encode()).hexdigest()
    return facts


def check_unchanged(source: Path, before: Mapping[str, Any]) -> None:
    """Make sure that a source is what it was.

    Args:
        source: a file or folder.
        before: its `fingerprint` of then, and other facts.

    Raises:
        OSError: it is another now, as when a scanner was still writing it, or is gone.
    """
    now = fingerprint(source)
    was = {name: before[name] for name in (*now, "files_sha256") if name in before}
    if now != was:
        raise OSError(
            f"{source} was changed while it was analysed: run the same command again when "
            "nothing writes to it any more"
        )


def check_reachable(source: Path) -> None:
    """Make sure that a slide's storage answers: a mount may be gone.

    Args:
        source: a file or folder.

    Raises:
        OSError: it cannot be read anywhere, or is empty now.
    """
    if source.is_dir():
        if not any(source.iterdir()):
            raise FileNotFoundError(f"{source} is empty: it may be a mount that is gone")
        return
    with source.open("rb", buffering=0) as stream:
        size = source.stat().st_size
        if size == 0:
            raise FileNotFoundError(f"{source} is empty now: it was whole before")
        if hasattr(os, "posix_fadvise"):  # what is in memory says nothing of the storage
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for place in range(_PLACES):
            stream.seek(size * place // _PLACES)
            stream.read(1)


def content_sha256(source: Path) -> str:
    """SHA-256 of the bytes of a file's size (8, little-endian) and of its content.

    Of more than 64 MiB, 64 blocks of 1 MiB stand for the content, spread evenly from the first to
    the last: a slide need not be read twice. Of a folder that is one slide (Zarr), the sorted names
    and sizes of its files.
    """
    digest = hashlib.sha256()
    if source.is_dir():
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(source)} {file.stat().st_size}\n".encode())
        return digest.hexdigest()
    size = source.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    count = min(_BLOCKS, -(-size // _BLOCK_BYTES))
    with source.open("rb") as stream:
        for i in range(count):
            whole = size <= _BLOCKS * _BLOCK_BYTES
            stream.seek(i * _BLOCK_BYTES if whole else i * (size - _BLOCK_BYTES) // (count - 1))
            digest.update(stream.read(_BLOCK_BYTES))
    return digest.hexdigest()


def _walk(folder: Path, seen: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """Inputs in a folder and its folders, but for those that are one slide themselves.

    Links to folders are followed. A link may lead back up or to a folder that is searched anyway:
    every folder is searched once.
    """
    seen = set() if seen is None else seen
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    linked = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not is_slide_folder(entry):
            if entry.is_symlink():
                linked.append(entry)
            else:
                yield from _walk(entry, seen)
        elif _is_input(entry):
            yield entry
    for entry in linked:  # last: a folder is named by the path without a link where there is one
        yield from _walk(entry, seen)


def _one_a_series(files: Iterator[Path]) -> Iterator[Path]:
    """One file of every DICOM slide, which lies in a folder as one file for each level."""
    seen: set[tuple[Path, bytes]] = set()
    for file in files:
        series = series_uid(file) if file.suffix.lower() == ".dcm" else None
        if series is None or (file.parent, series) not in seen:
            yield file
        if series is not None:
            seen.add((file.parent, series))


def _other_files(source: Path) -> Iterator[os.DirEntry[str]]:
    """The files that a slide consists of beside the one that is named; those inside a folder."""
    suffix = source.suffix.lower()
    if source.is_dir():
        yield from _files_under(source)
    elif suffix == ".mrxs" and source.with_suffix("").is_dir():
        yield from _files_under(source.with_suffix(""))
    elif suffix in (".vms", ".vmu"):
        with source.open("rb") as stream:
            index = stream.read(_BLOCK_BYTES)
        yield from (file for file in _files_beside(source) if os.fsencode(file.name) in index)
    elif suffix == ".dcm" or suffix not in KNOWN_SUFFIXES:  # DICOM may have any name
        series = series_uid(source)
        for file in _files_beside(source) if series is not None else ():
            is_like = file.name.lower().endswith(".dcm") or suffix != ".dcm"
            if is_like and _series_uid(file.path, file.stat().st_mtime_ns) == series:
                yield file


_OF_FILE_MANAGERS = (".ds_store", "thumbs.db", "desktop.ini")
"""Files that appear in a folder when a person looks into it."""


def _files_under(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_under(entry.path)
            elif entry.is_file() and entry.name.lower() not in _OF_FILE_MANAGERS:
                yield entry


def _files_beside(source: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(source.parent) as entries:
        yield from (file for file in entries if file.is_file() and file.name != source.name)


@cache
def _series_uid(file: str, modified_ns: int) -> bytes | None:
    """`series_uid`, kept: each slide of a folder asks for that of every file there."""
    return series_uid(Path(file))


def _is_input(file: Path) -> bool:
    if file.name.startswith(".") or file.suffix.lower() not in KNOWN_SUFFIXES:
        return False
    if file.exists() and not (file.is_file() or file.is_dir()):
        return False  # a pipe or a device: reading it may never end
    is_result = file.name in PICTURES and ResultFolder(file.parent).table.is_file()
    return not is_result


def _holds_slide(folder: Path, source: Path) -> bool:
    """Whether a folder is that of an MRXS slide's data, which has the slide's name."""
    data = source.with_suffix("")
    return source.suffix.lower() == ".mrxs" and data.is_dir() and folder.resolve() == data.resolve()


def _is_of_another(folder: Path, source: Path) -> bool:
    """Whether results or parts lie in `folder` that are not of `source`, moved or changed."""
    before = ResultFolder(folder).read_key()
    if before is None:
        return False
    try:
        now = fingerprint(source)
    except OSError:  # gone: that is told when its turn comes
        return False
    same_place = before.get("source") == now["source"]
    same_file = all(before.get(fact) == value for fact, value in now.items() if fact != "source")
    return not (same_place or same_file)
