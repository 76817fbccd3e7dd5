"""Plain npy files: check the header, then map rows of them without loading the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class NpyFile:
    """A plain array on disk, known by its header; nothing of it is loaded."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows of the first axis, memory-mapped; the pages go with the last reference."""
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        window = np.memmap(
            self.path,
            self.dtype,
            "r",
            offset=self.offset + start * row_bytes,
            shape=(stop - start, *self.shape[1:]),
        )
        return np.asarray(window)


def inspect_npy(path: Path) -> NpyFile:
    """Read and check the header of a plain C-ordered npy file.

    Raises:
        ValueError: no npy file, pickled objects inside, or shorter than its header says.
    """
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran_order, dtype = read(stream)
        except (ValueError, KeyError, EOFError) as error:
            raise ValueError(
                f"{path}: expected a NumPy array file (.npy), got something else ({error}): "
                "unpack or copy it again"
            ) from None
        offset = stream.tell()
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds pickled Python objects, which are never loaded: save it again as a "
            "plain array, numpy.save(path, array.astype(str)) for types, a number type otherwise"
        )
    if fortran_order and len(shape) > 1:
        raise ValueError(
            f"{path} is stored in Fortran order, in which tiles cannot be read one by one: save "
            "it again with numpy.save(path, numpy.ascontiguousarray(array))"
        )
    expected, size = offset + prod(shape) * dtype.itemsize, path.stat().st_size
    if size < expected:
        raise ValueError(
            f"{path} is truncated: expected {expected:,} bytes for {shape} {dtype}, got {size:,}: "
            "unpack or copy it again"
        )
    return NpyFile(path=path, shape=shape, dtype=dtype, offset=offset)
