"""Arrays of a Zarr folder, checked before any of them is opened and unpacked within bounds.

A chunk may be packed with a codec that runs code when it is unpacked (pickle), and a few bytes may
unpack to gigabytes. So the files that describe an array are read here first: only numbers and the
codecs listed are let through, and those that compress are replaced by decoders that stop in time.
Needs the extra `zarr`.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.abc import Codec
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.storage import LocalStore, WrapperStore

from histonuc.slides.limits import MAX_WHOLE_BYTES, check_regular, read_bounded
from histonuc.slides.protocol import RefusedError

MAX_CHUNK_BYTES = 1 << 26
"""Bytes of one chunk, unpacked (64 MiB)."""
MAX_SHARD_CHUNKS = 1 << 20
"""Chunks in one shard."""
_COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
_V2_CODECS = frozenset(_COMPRESSORS)
_V3_CODECS = frozenset((*_COMPRESSORS, "bytes", "crc32c", "sharding_indexed", "transpose"))
_INDEX_CODECS = frozenset(("bytes", "crc32c"))
_NUMBERS = re.compile(r"[<>|][biuf]\d+|bool|u?int(8|16|32|64)|float(16|32|64)")
"""Types of Zarr 2 and 3 that are numbers."""


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """How an array is cut into pieces.

    Attributes:
        shape: of what is unpacked at once.
        limit: bytes that unpacking a chunk may give, at any step.
        is_sharded: many chunks share a file, of which only those needed are read.
    """

    shape: tuple[int, ...]
    limit: int
    is_sharded: bool


def read_document(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object beside the pixels; empty where there is no such file.

    Raises:
        RefusedError: the file is no regular one, or too large.
        ValueError: it holds anything else.
    """
    if not (folder / name).exists():
        return {}
    content = json.loads(read_bounded(folder / name))
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected an object")
    return content


def read_attributes(folder: Path) -> Mapping[str, Any]:
    """The attributes of a group, those of OME-NGFF 0.5 taken out of their shell."""
    described = read_document(folder, "zarr.json")
    attributes = described.get("attributes", {}) if described else read_document(folder, ".zattrs")
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def check_array(folder: Path) -> Chunks:
    """Check what an array consists of, by its description alone.

    Raises:
        RefusedError: it holds anything but numbers, is packed with a codec that is not known to be
            harmless, or in chunks that take too much memory.
        ValueError: its description is damaged.
    """
    described = read_document(folder, "zarr.json")
    if described:
        dtype, shape = (
            described["data_type"],
            described["chunk_grid"]["configuration"]["chunk_shape"],
        )
        _check_codecs(described["codecs"], _V3_CODECS, folder)
        sharding = [one for one in described["codecs"] if _name(one) == "sharding_indexed"]
        # Whatever stands beside it makes whole shards be unpacked.
        is_sharded = bool(sharding) and len(described["codecs"]) == 1
    else:
        described = read_document(folder, ".zarray")
        dtype, shape, sharding, is_sharded = described["dtype"], described["chunks"], [], False
        packed = [described["compressor"], *(described.get("filters") or ())]
        _check_codecs([one for one in packed if one is not None], _V2_CODECS, folder)
    if not isinstance(dtype, str) or _NUMBERS.fullmatch(dtype) is None:
        raise RefusedError(f"its array {folder.name} holds {dtype!r}, expected numbers")
    if sharding:
        inner = sharding[0]["configuration"]["chunk_shape"]
        if math.prod(-(-a // b) for a, b in zip(shape, inner, strict=True)) > MAX_SHARD_CHUNKS:
            raise RefusedError(f"a shard holds more than {MAX_SHARD_CHUNKS} chunks: rewrite it")
        shape = inner if is_sharded else shape
    num_bytes = math.prod(shape) * int(re.sub(r"\D", "", dtype) or 1)
    if num_bytes > MAX_CHUNK_BYTES:
        raise RefusedError(
            f"it comes in chunks of {' x '.join(map(str, shape))}, each of which can only be "
            f"unpacked as a whole: expected at most {MAX_CHUNK_BYTES >> 20} MiB; write it anew in "
            "smaller chunks, of 1024 x 1024 pixels for example"
        )
    return Chunks(shape=tuple(shape), limit=2 * num_bytes + (1 << 20), is_sharded=is_sharded)


def _check_codecs(codecs: Sequence[Any], known: frozenset[str], folder: Path) -> None:
    for codec in codecs:
        name = _name(codec)
        if name not in known:
            raise RefusedError(
                f"its array {folder.name} is packed with {name!r}, expected one of "
                f"{', '.join(sorted(known))}: write it anew"
            )
        if name == "sharding_indexed":
            _check_codecs(codec["configuration"]["codecs"], known - {name}, folder)
            _check_codecs(codec["configuration"]["index_codecs"], _INDEX_CODECS, folder)


def _name(codec: Any) -> str:
    """Of Zarr 3 (``name``, or the name alone) or of Zarr 2 (``id``)."""
    return codec if isinstance(codec, str) else str(codec.get("name", codec.get("id")))


def open_array(root: Path, path: str, chunks: Chunks) -> Any:
    """An array that was checked, as a `zarr.Array` that keeps to the bounds.

    Absent chunks are white as in other readers, where the writer has them black or unset: it leaves
    out what the scanner did not visit.

    Args:
        root: the folder of the picture.
        path: of the array in it.
        chunks: what `check_array` gave.
    """
    store = _RegularFiles(LocalStore(root, read_only=True))
    store.max_bytes = MAX_WHOLE_BYTES if chunks.is_sharded else chunks.limit
    array = zarr.open_array(store, path=path, mode="r")
    metadata = array.metadata
    if metadata.zarr_format == 3:
        metadata = replace(metadata, codecs=tuple(_bounded(metadata.codecs, chunks.limit)))
    elif metadata.compressor is not None:
        kind = metadata.compressor.codec_id
        metadata = replace(metadata, compressor=_BoundedV2(kind, chunks.limit))
    if not array.fill_value:
        metadata = replace(metadata, fill_value=_white(array.dtype))
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))


def _white(dtype: np.dtype[Any]) -> Any:
    return dtype.type(dtype.kind == "b" or 255)


def _bounded(codecs: Sequence[Any], limit: int) -> Iterator[Any]:
    """Codecs of Zarr 3, those that compress replaced."""
    for codec in codecs:
        name = codec.to_dict()["name"]
        if name in _COMPRESSORS:
            yield _Bounded(kind=name, limit=limit)
        elif isinstance(codec, ShardingCodec):
            yield ShardingCodec(
                chunk_shape=codec.chunk_shape,
                codecs=tuple(_bounded(codec.codecs, limit)),
                index_codecs=codec.index_codecs,
                index_location=codec.index_location,
            )
        else:
            yield codec


class _RegularFiles(WrapperStore):  # type: ignore[misc]  # zarr has no types for mypy here
    """A folder of which only regular files of a reasonable size are read."""

    max_bytes: int

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        file = Path(self._store.root) / key
        if file.exists():
            check_regular(file)
            if byte_range is None and file.stat().st_size > self.max_bytes:
                raise ValueError(f"{key} has {file.stat().st_size} bytes, too many for a chunk")
        return await self._store.get(key, prototype, byte_range)


@dataclass(frozen=True, kw_only=True)
class _Bounded(BytesBytesCodec):  # type: ignore[misc]
    """A decoder for Zarr 3 that gives up above a number of bytes."""

    kind: str
    limit: int
    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        content = await asyncio.to_thread(unpack, self.kind, chunk_bytes.to_bytes(), self.limit)
        return chunk_spec.prototype.buffer.from_bytes(content)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        raise NotImplementedError


class _BoundedV2(Codec):  # type: ignore[misc]
    """The same for Zarr 2."""

    codec_id = "histonuc-bounded"

    def __init__(self, kind: str, limit: int) -> None:
        self.kind, self.limit = kind, limit

    def encode(self, buf: Any) -> Any:
        raise NotImplementedError

    def decode(self, buf: Any, out: Any = None) -> NDArray[np.uint8]:
        return np.frombuffer(unpack(self.kind, bytes(buf), self.limit), np.uint8)


def unpack(kind: str, packed: bytes, limit: int) -> bytes:
    """Decompress a chunk.

    Args:
        kind: one of blosc, gzip, lz4, zlib and zstd.
        packed: as it is stored.
        limit: bytes to make room for; more is an error.

    Raises:
        ValueError, RuntimeError: it is damaged, or gives more.
    """
    import imagecodecs

    if kind == "gzip":
        return _gunzip(packed, limit)
    if kind == "lz4":  # with its size in front, as numcodecs writes it
        return bytes(imagecodecs.lz4_decode(packed, header=True, out=limit))
    return bytes(getattr(imagecodecs, f"{kind}_decode")(packed, out=limit))


def _gunzip(packed: bytes, limit: int) -> bytes:
    """Decompress gzip of one member or of several, which few decoders know."""
    parts, left = [], limit
    while packed:
        stream = zlib.decompressobj(wbits=31)
        part = stream.decompress(packed, left + 1)
        left -= len(part)
        if left < 0 or not stream.eof:
            raise ValueError("a chunk is cut off, or holds more than its size")
        parts.append(part)
        packed = stream.unused_data
    return b"".join(parts)
