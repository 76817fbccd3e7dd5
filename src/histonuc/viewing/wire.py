"""Arrays as bytes for the page: a header of JSON, then the arrays, little-endian.

Bytes 0 to 3 are ``HNV1``, bytes 4 to 7 the length of the header (uint32, a multiple of 8); each
array begins at a multiple of 8 bytes, so that the page can use it where it lies.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"HNV1"
_TYPES = {"u1": "u8", "u2": "u16", "u4": "u32", "i2": "i16", "f4": "f32"}
_ALIGNED = 8


def pack(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of some arrays, with facts about them in the header.

    Args:
        facts: JSON-able.
        arrays: by name, of any shape; uint8, uint16, uint32, int16 or float32.
    """
    listed, pieces, offset = [], [], 0
    for name, array in arrays.items():
        kind = array.dtype.str[1:]
        data = np.ascontiguousarray(array, f"<{kind}").tobytes()
        listed.append(
            {"name": name, "type": _TYPES[kind], "length": int(array.size), "offset": offset}
        )
        padding = -len(data) % _ALIGNED
        pieces += [data, bytes(padding)]
        offset += len(data) + padding
    header = json.dumps({**facts, "arrays": listed}, allow_nan=False).encode()
    header += b" " * (-len(header) % _ALIGNED)
    return b"".join([MAGIC, struct.pack("<I", len(header)), header, *pieces])


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Inverse of `pack`; the arrays are flat.

    Raises:
        ValueError: no such bytes.

    >>> facts, arrays = unpack(pack({"z": 1}, {"id": np.array([7, 9], np.uint32)}))
    >>> facts["z"], arrays["id"].tolist()
    (1, [7, 9])
    """
    if data[:4] != MAGIC:
        raise ValueError(f"expected {MAGIC.decode()} at the beginning")
    (length,) = struct.unpack_from("<I", data, 4)
    facts = json.loads(data[8 : 8 + length])
    kinds = {name: f"<{kind}" for kind, name in _TYPES.items()}
    arrays = {
        one["name"]: np.frombuffer(
            data, kinds[one["type"]], one["length"], 8 + length + one["offset"]
        )
        for one in facts.pop("arrays")
    }
    return facts, arrays
