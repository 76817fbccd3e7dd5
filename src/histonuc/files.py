"""Files appear whole or not at all: write beside the place, then rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    draft = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8)."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


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
    draft = path.with_name(f".writing-{os.getpid()}-{path.name}")
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(path, ignore_errors=True)  # a folder that is not empty cannot be renamed over
        os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
