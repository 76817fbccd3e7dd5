"""Plain npy files: check the header, then map rows of them without loading the rest."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.files import reading

_HEADER_BYTES = 1 << 16
"""Several times what numpy takes for a header that is safe to read."""


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
    with reading(path, "NumPy array file (.npy)"), path.open("rb") as stream:
        head = BytesIO(stream.read(_HEADER_BYTES))
        version = np.lib.format.read_magic(head)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read(head)
        offset = head.tell()
        if dtype.itemsize == 0 or min(shape, default=0) < 0:
            raise ValueError(f"an array of shape {shape} with {dtype.itemsize} bytes a value")
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
