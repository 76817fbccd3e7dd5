"""Where the frames of a DICOM slide's file lie: in the file, and in the whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.protocol import RefusedError

UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")
"""How a JPEG begins, and a JPEG 2000 picture, bare or in its container."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """Where each frame lies in the file, in one piece or, compressed, in several.

    Attributes:
        pieces: int64 (m, 2), offset and length of each.
        first: int64 (n + 1,), frame i is the pieces from ``first[i]`` up to ``first[i + 1]``.
    """

    pieces: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first) - 1

    def read(self, stream: BinaryIO, index: int) -> bytes:
        """The content of one frame."""
        content = []
        for offset, length in self.pieces[self.first[index] : self.first[index + 1]].tolist():
            stream.seek(offset)
            content.append(stream.read(length))
        return b"".join(content)


def find_spans(stream: BinaryIO, facts: Any) -> Spans:
    """The frames of a file whose stream stands at its pixel data.

    Raises:
        RefusedError: frames come in pieces and nothing says where one ends.
    """
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    start = stream.tell()
    explicit = stream.read(6)[4:6].isalpha()  # the tag, then OB or OW, two bytes, four of length
    header = 12 if explicit else 8
    num = int(facts.get("NumberOfFrames", 1))
    if num > stream.seek(0, 2):
        raise ValueError(f"a file too small for {num} frames")
    if facts.file_meta.TransferSyntaxUID in UNCOMPRESSED:
        length = int(facts.Rows) * int(facts.Columns) * int(facts.SamplesPerPixel)
        offsets = start + header + np.arange(num, dtype=np.int64) * length
        pieces = np.stack([offsets, np.full(num, length, np.int64)], axis=1)
        return Spans(pieces=pieces, first=np.arange(num + 1))
    stream.seek(start + header)
    table = parse_basic_offsets(stream)
    if "ExtendedOffsetTable" in facts:
        table = np.frombuffer(facts.ExtendedOffsetTable, "<u8").tolist()
    _, items = parse_fragments(stream)
    pieces = np.zeros((len(items), 2), np.int64)
    for row, item in zip(pieces, items, strict=True):
        stream.seek(item + 4)
        row[:] = item + 8, int.from_bytes(stream.read(4), "little")
    return Spans(pieces=pieces, first=_group(stream, pieces, table, num))


def _group(
    stream: BinaryIO, pieces: NDArray[np.int64], table: Sequence[int], num: int
) -> NDArray[np.int64]:
    """Which piece each frame begins with, and their number at the end.

    Args:
        stream: of the file.
        pieces: of all frames.
        table: offset of each frame from the first piece's header, as far as the file says.
        num: frames.
    """
    if len(pieces) == num:
        return np.arange(num + 1)
    starts = pieces[:, 0] - pieces[0, 0] if len(pieces) else np.zeros(0, np.int64)
    if len(table) == num:
        first = np.flatnonzero(np.isin(starts, np.asarray(table, np.int64)))
    else:
        heads = []
        for offset, _ in pieces.tolist():
            stream.seek(offset)
            heads.append(stream.read(6).startswith(_STARTS))
        first = np.flatnonzero(heads)
    if len(first) != num or num == 0 or first[0] != 0:
        raise RefusedError(
            f"its {num} frames come in {len(pieces)} pieces and its offset table does not say "
            "which belong together: write it anew with one piece a frame"
        )
    return np.append(first, len(pieces))


def find_places(facts: Any) -> NDArray[np.int64]:
    """Left and top (n, 2) of each frame in the whole picture.

    Raises:
        ValueError: fewer frames than the picture needs.
    """
    functional = facts.get("PerFrameFunctionalGroupsSequence")
    if functional and "PlanePositionSlideSequence" in functional[0]:
        positions = [group.PlanePositionSlideSequence[0] for group in functional]
        return np.array(
            [
                (
                    p.ColumnPositionInTotalImagePixelMatrix - 1,
                    p.RowPositionInTotalImagePixelMatrix - 1,
                )
                for p in positions
            ],
            np.int64,
        )
    num_x = -(-int(facts.TotalPixelMatrixColumns) // int(facts.Columns))
    num_y = -(-int(facts.TotalPixelMatrixRows) // int(facts.Rows))
    num, start = int(facts.get("NumberOfFrames", 1)), 0
    if "ConcatenationUID" in facts:  # the frames go on where those of the file before end
        start = int(facts.get("ConcatenationFrameOffsetNumber", 0))
    elif num_x * num_y > num:
        raise ValueError("fewer frames than the picture needs")
    row, column = np.divmod(np.arange(start, min(start + num, num_x * num_y)), max(num_x, 1))
    return np.stack([column * int(facts.Columns), row * int(facts.Rows)], axis=1)
