"""Checksums inside model files, so that a flipped bit is an error and not another model.

Every format that histonuc writes carries text by name: ONNX and OpenVINO in their metadata, the
header of safetensors too. One of these texts is the SHA-256 of the file, counted as if it were all
zeros itself; of OpenVINO's two files the ``.xml`` has it, of both.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import re
from importlib.resources import files
from pathlib import Path

log = logging.getLogger(__name__)

CHECKSUM_KEY = "histonuc_sha256"
"""Key of the checksum in the metadata of a model file."""
UNSIGNED = "0" * 64
"""What stands under the key until `sign_file` is called."""
WEIGHTS = Path(str(files("histonuc.weights")))
"""The models of the package. Their checksums are in their cards."""
_PLACE = re.compile(CHECKSUM_KEY.encode() + rb".{1,16}?([0-9a-f]{64})", re.DOTALL)
"""The key, what the format has between key and text, and the checksum."""


def sign_file(path: Path) -> None:
    """Write the checksum of a model file into it, where the metadata has a place for it.

    Args:
        path: a file with `CHECKSUM_KEY` in its metadata; of an OpenVINO model the ``.xml``.
    """
    place, digest = _digest(path)
    assert place is not None, "the metadata has no place for a checksum"
    with path.open("r+b") as stream:
        stream.seek(place[0])
        stream.write(digest.encode())


def check_file(path: Path) -> None:
    """Refuse a model file that is not as it was written.

    A file without a checksum, as older versions wrote them, is passed with a warning.

    Args:
        path: the file; of an OpenVINO model the ``.xml``.

    Raises:
        ValueError: another content than the checksum's, or no ``.bin`` beside an ``.xml``.
    """
    place, digest = _digest(path)
    if place is not None:
        with path.open("rb") as stream:
            stream.seek(place[0])
            intact = stream.read(len(UNSIGNED)) == digest.encode()
    elif path.resolve().parent == WEIGHTS.resolve():
        card = WEIGHTS / f"{path.name.partition('.')[0]}.md"
        intact = digest in card.read_text(encoding="utf-8")
    else:
        intact = True
        log.warning("%s has no checksum: damage to it would not be noticed; write it anew", path)
    if not intact:
        raise ValueError(f"{path} is damaged: its content does not agree with its checksum")


def _digest(path: Path) -> tuple[tuple[int, int] | None, str]:
    """Where a file's checksum stands, from byte to byte, and what it should be, in hex."""
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise ValueError(f"{path}: its weights are missing, expected at {weights}")
    if not path.stat().st_size:
        return None, hashlib.sha256().hexdigest()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        match = _PLACE.search(whole)
        place = None if match is None else match.span(1)
        del match  # it holds on to the map
        start, end = place or (len(whole), len(whole))
        with memoryview(whole) as content, content[:start] as before, content[end:] as after:
            state = hashlib.sha256(before)
            state.update(UNSIGNED.encode() if place else b"")
            state.update(after)
    if path.suffix == ".xml":
        with weights.open("rb") as stream:
            state.update(hashlib.file_digest(stream, "sha256").digest())
    return place, state.hexdigest()
