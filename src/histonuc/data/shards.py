"""The arrays of a store: equal tiles one behind the other in npy files, each with a checksum."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHARD = re.compile(r"fold\d+/\d+x\d+(-int32|-points|-unlabelled)?(-ignore)?")


class ShardWriter:
    """Growing npy files of equal tiles; closing writes the count into their headers.

    Args:
        folder: folder to make, one file an array in it.
        arrays: by file name, arrays as they will be appended.
    """

    def __init__(self, folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        folder.mkdir(parents=True)
        self._count = 0
        self._kinds = {name: (array.dtype, array.shape) for name, array in arrays.items()}
        self._files = {name: (folder / f"{name}.npy").open("wb") for name in arrays}
        self._write_headers()

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> tuple[int, dict[str, int]]:
        """Write one tile; the row it has, and the checksum of its bytes by array."""
        checksums = {}
        for name, array in arrays.items():
            content = np.ascontiguousarray(array).data
            self._files[name].write(content)
            checksums[name] = zlib.crc32(content)
        self._count += 1
        return self._count - 1, checksums

    def close(self) -> None:
        """Write the number of tiles into the headers and close the files."""
        if any(not file.closed for file in self._files.values()):
            self._write_headers()
        for file in self._files.values():
            file.close()

    def _write_headers(self) -> None:
        # NumPy pads a header for any length of the first axis: rewriting it moves no data.
        for name, file in self._files.items():
            dtype, shape = self._kinds[name]
            end = file.tell()
            file.seek(0)
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (self._count, *shape),
            }
            np.lib.format.write_array_header_1_0(file, header)
            file.seek(max(end, file.tell()))


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardReader:
    """Tiles of a store's arrays, memory-mapped; each is checked when it is first read.

    Attributes:
        folder: folder of the store.
    """

    folder: Path
    _maps: dict[tuple[str, str], NDArray[Any]] = field(default_factory=dict, repr=False)
    _checked: set[tuple[str, str, int]] = field(default_factory=set, repr=False)

    def read(self, shard: str, name: str, row: int, checksum: int) -> NDArray[Any]:
        """One tile of an array, a read-only view of the memory map.

        Args:
            shard: folder of the array, as the table of tiles states it.
            name: "images", "instances" or "ignore".
            row: place of the tile in the array.
            checksum: CRC-32 that the tile's bytes should have.

        Raises:
            ValueError: no such array, or other bytes than those that were written.
        """
        file = self.folder / shard / f"{name}.npy"
        if (name, shard) not in self._maps:
            if not _SHARD.fullmatch(shard):  # it must not lead out of the store
                raise ValueError(
                    f"{self.folder} names the shard {shard!r}: prepare the store again"
                )
            try:
                mapped = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ValueError(f"{file} is damaged ({error}): prepare the store again") from None
            self._maps[name, shard] = np.asarray(mapped)
        tile: NDArray[Any] = self._maps[name, shard][row]
        if (name, shard, row) not in self._checked:
            if zlib.crc32(np.ascontiguousarray(tile).data) != checksum:
                raise ValueError(
                    f"{file} is damaged (row {row} is not as it was written): prepare the store "
                    "again"
                )
            self._checked.add((name, shard, row))
        return tile
