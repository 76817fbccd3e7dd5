"""GeoJSON for QuPath: detections with class, colour and measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.exports.digits import (
    NUMBER_BYTES,
    Buffer,
    put_coordinate,
    put_number,
    put_text,
    put_uuid,
)
from histonuc.exports.facts import Frame, to_facts
from histonuc.exports.measurements import measurement_names, measurements, written_features
from histonuc.exports.source import Batch, Source, open_source
from histonuc.files import replacing
from histonuc.nuclei import Nuclei

_GZIP_LEVEL = 1  # level 6 takes several times as long and saves a fifth of the bytes


def write_geojson(
    nuclei: Nuclei | Source | Path,
    path: Path,
    *,
    centroids: bool = False,
    frame: Frame = "qupath",
) -> None:
    """Write a FeatureCollection of QuPath detections, one a line.

    Coordinates are level-0 pixels to 0.01 px; measurements have nine digits, which float32 comes
    back from unchanged, and those without a value are left out.

    Args:
        nuclei: what to write.
        path: ``*.geojson``, or ``*.geojson.gz`` to compress.
        centroids: points at the centroids instead of outlines.
        frame: what positions are measured from.
    """
    source = open_source(nuclei)
    with open_geojson(path, source, centroids=centroids, frame=frame) as append:
        for batch in source.batches():
            append(batch)


@contextmanager
def open_geojson(
    path: Path, source: Source, *, centroids: bool = False, frame: Frame = "qupath"
) -> Iterator[Callable[[Batch], None]]:
    """A function that appends batches; the file appears when the block ends well.

    The text does not depend on how the nuclei are cut into batches.

    Args:
        path: see `write_geojson`.
        source: what the batches are of: label space, mpp and names count, its nuclei do not.
        centroids: see `write_geojson`.
        frame: see `write_geojson`.
    """
    origin = source.origin if frame == "qupath" else (0, 0)
    # Named here as well: features without a value, and those of no nuclei, are nowhere else.
    facts = to_facts(source.label_space, source.mpp) | {
        "feature_names": written_features(source),
        "origin_px": origin,
    }
    text = _make_fragments(source)
    with replacing(path) as draft, _open_bytes(path, draft) as stream:
        head = f'{{"type":"FeatureCollection","histonuc":{json.dumps(facts)},\n"features":[\n'
        stream.write(head.encode())
        is_first = True

        def append(batch: Batch) -> None:
            nonlocal is_first
            written = text.features(batch, source, origin, centroids)
            stream.write((written[2:] if is_first else written).data)
            is_first = is_first and len(batch.ids) == 0

        yield append
        stream.write(b"\n]}\n")


@contextmanager
def _open_bytes(path: Path, draft: Path) -> Iterator[IO[bytes]]:
    """`draft` for writing; compressed when `path` ends in ``.gz``, the same bytes each time."""
    import gzip

    with draft.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
            yield packed  # type: ignore[misc]


class _Fragments:
    """The constant texts between the numbers of a source's features."""

    def __init__(self, classes: list[bytes], keys: list[bytes]) -> None:
        self.class_text, self.class_offsets = _join_texts(classes)
        self.key_text, self.key_offsets = _join_texts(keys)
        self.longest_record = 300 + max(map(len, classes)) + sum(map(len, keys))
        self.longest_record += NUMBER_BYTES * (len(keys) + 2)

    def features(
        self, batch: Batch, source: Source, origin: tuple[int, int], centroids: bool
    ) -> Buffer:
        """Text of the features of a batch, each with a comma and a new line before it."""
        nuclei = batch.nuclei
        if centroids:
            points, offsets = nuclei.centroid, np.arange(len(nuclei) + 1)
        else:
            points, offsets = nuclei.points, nuclei.offsets
        num_points = len(points) + len(nuclei)  # rings are closed by their first point
        longest = self.longest_record * len(nuclei) + (2 * NUMBER_BYTES + 4) * num_points
        out = np.empty(longest, np.uint8)
        end = _put_features(
            out,
            points - np.array(origin, np.float64),
            offsets,
            not centroids,
            _uuid_halves(batch),
            nuclei.class_index,
            self.class_text,
            self.class_offsets,
            measurements(batch, source, origin),
            self.key_text,
            self.key_offsets,
        )
        return out[:end]


def _make_fragments(source: Source) -> _Fragments:
    space = source.label_space
    classes = [
        json.dumps({"name": name, "color": list(colour)}, separators=(",", ":")).encode()
        for name, colour in zip(space.classes, space.colours, strict=True)
    ]
    keys = [json.dumps(name).encode() + b":" for name in measurement_names(source)]
    return _Fragments(classes, keys)


def _join_texts(texts: list[bytes]) -> tuple[Buffer, NDArray[np.int64]]:
    """Texts one after the other, and where each begins."""
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), offsets


def _uuid_halves(batch: Batch) -> NDArray[np.uint64]:
    """Halves (n, 2) of ids that are the same on every run: QuPath reads ids as UUIDs."""
    x_bits = np.ascontiguousarray(batch.nuclei.centroid[:, 0]).view(np.uint64)
    high = (x_bits & ~np.uint64(0xF000)) | np.uint64(0x4000)  # version 4
    low = batch.ids.astype(np.uint64) | np.uint64(1 << 63)  # variant 1
    return np.stack([high, low], axis=1)


def _text(text: str) -> Buffer:
    return np.frombuffer(text.encode(), np.uint8)


_ID = _text(',\n{"type":"Feature","id":"')
_POLYGON = _text('","geometry":{"type":"Polygon","coordinates":[[')
_POLYGON_END = _text("]]")
_POINT = _text('","geometry":{"type":"Point","coordinates":')
_CLASS = _text('},"properties":{"objectType":"detection","classification":')
_MEASUREMENTS = _text(',"measurements":{')
_END = _text("}}}")
_OPEN, _COMMA, _CLOSE = 91, 44, 93


@compiled
def _put_point(out: Buffer, at: int, x: float, y: float) -> int:
    out[at] = _OPEN
    at = put_coordinate(out, at + 1, x)
    out[at] = _COMMA
    at = put_coordinate(out, at + 1, y)
    out[at] = _CLOSE
    return at + 1


@compiled
def _put_ring(out: Buffer, at: int, points: NDArray[np.float64], start: int, end: int) -> int:
    at = put_text(out, at, _POLYGON)
    for j in range(start, end):
        at = _put_point(out, at, points[j, 0], points[j, 1])
        out[at] = _COMMA
        at += 1
    at = _put_point(out, at, points[start, 0], points[start, 1])
    return put_text(out, at, _POLYGON_END)


@compiled
def _put_features(
    out: Buffer,
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    is_ring: bool,
    uuids: NDArray[np.uint64],
    class_index: NDArray[np.int64],
    class_text: Buffer,
    class_offsets: NDArray[np.int64],
    values: NDArray[np.float64],
    key_text: Buffer,
    key_offsets: NDArray[np.int64],
) -> int:
    at = 0
    for i in range(len(class_index)):
        at = put_text(out, at, _ID)
        at = put_uuid(out, at, uuids[i, 0], uuids[i, 1])
        if is_ring:
            at = _put_ring(out, at, points, offsets[i], offsets[i + 1])
        else:
            at = put_text(out, at, _POINT)
            at = _put_point(out, at, points[i, 0], points[i, 1])
        at = put_text(out, at, _CLASS)
        j = class_index[i]
        at = put_text(out, at, class_text[class_offsets[j] : class_offsets[j + 1]])
        at = put_text(out, at, _MEASUREMENTS)
        is_first = True
        for k in range(values.shape[1]):
            if not np.isfinite(values[i, k]):
                continue
            if not is_first:
                out[at] = _COMMA
                at += 1
            is_first = False
            at = put_text(out, at, key_text[key_offsets[k] : key_offsets[k + 1]])
            at = put_number(out, at, values[i, k])
        at = put_text(out, at, _END)
    return at
