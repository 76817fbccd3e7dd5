"""GeoJSON back into nuclei: what QuPath exports after a person corrected it."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import Facts, SlideFacts, check_facts
from histonuc.exports.measurements import (
    AREA_PX,
    CENTROID_PX,
    SCORE,
    column_name,
    probability_name,
    written_names,
)
from histonuc.exports.reading import (
    Outlined,
    choose_mpp,
    choose_space,
    known_classes,
    to_class_name,
    to_nuclei,
    to_number,
)
from histonuc.exports.rings import largest, to_ring
from histonuc.files import reading
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

_CHUNK = 1 << 22
_FEATURES = re.compile(r'"features"\s*:\s*\[')
_GAP = re.compile(r"[\s,]*")


def read_geojson(
    path: Path,
    *,
    label_space: LabelSpace | None = None,
    class_map: Mapping[str, str] | None = None,
    mpp: float | None = None,
    origin: tuple[float, float] | None = None,
) -> Nuclei:
    """Read polygons with classes, a feature at a time.

    Takes a FeatureCollection or an array of features. A class that is not the most probable one
    was changed by a person: it gets probability 1. An object without measurements was drawn by
    one: score 1. Of cells the nucleus is read. Of several parts the largest is kept; holes are
    filled. Further measurements become features as they are, also where the outline was changed
    since; those that QuPath names as histonuc does get the name of the table's column.

    Args:
        path: ``*.geojson`` or ``*.geojson.gz``.
        label_space: classes wanted; the file's own when histonuc wrote it (QuPath drops it).
        class_map: name in the file -> name in the label space, where they differ; the empty name
            stands for objects without a class.
        mpp: microns per level-0 pixel; the file's own, or unknown, when not given.
        origin: level-0 pixel (x, y) that the file's positions are measured from; the file's own, or
            (0, 0), when not given. QuPath drops it: `nuclei.parquet` has it as ``bounds_xyxy``.

    Raises:
        ValueError: no GeoJSON of polygons, or a class that is not known.
    """
    with reading(path, "GeoJSON of polygons"):
        with _open_text(path) as stream:
            facts, features = _head_and_features(stream)
            space = choose_space(label_space, facts, path)
            known = written_names(known_classes(space, facts, class_map))
            shift = np.array(origin or (facts or SlideFacts()).get("origin_px", (0, 0)), np.float64)
            outlines = [_read_feature(feature, space, known, shift) for feature in features]
        return to_nuclei(
            outlines,
            label_space=space,
            class_map=class_map,
            mpp=choose_mpp(mpp, facts),
            origin=path.name,
            feature_names=(facts or SlideFacts()).get("feature_names", ()),
        )


def iterate_features(path: Path) -> Iterator[dict[str, Any]]:
    """The features of a GeoJSON file, one at a time.

    Args:
        path: ``*.geojson`` or ``*.geojson.gz``: a FeatureCollection or an array of features.

    Raises:
        ValueError: no GeoJSON.
    """
    with reading(path, "GeoJSON of features"), _open_text(path) as stream:
        yield from _head_and_features(stream)[1]


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    with path.open("rb") as raw:
        packed: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(packed, encoding="utf-8-sig") as stream:
            yield stream


def _head_and_features(
    stream: IO[str],
) -> tuple[Facts | None, Iterator[dict[str, Any]]]:
    """What histonuc says before the features, if it wrote the file, and the features."""
    text = stream.read(_CHUNK)
    if text.lstrip().startswith("["):
        return None, _features(stream, text[text.index("[") + 1 :])
    while (found := _FEATURES.search(text)) is None:
        more = stream.read(_CHUNK)
        if not more:
            raise json.JSONDecodeError("no features", text[:80], 0)
        text += more
    facts = json.loads(text[: found.start()].rstrip().rstrip(",") + "}").get("histonuc")
    facts = None if facts is None else check_facts(facts)
    return facts, _features(stream, text[found.end() :])


def _features(stream: IO[str], text: str) -> Iterator[dict[str, Any]]:
    """Features of an array, of which no more than a chunk is in memory."""
    decoder, at = json.JSONDecoder(), 0
    while True:
        gap = _GAP.match(text, at)
        at = gap.end() if gap else at
        if text.startswith("]", at):
            return
        try:
            feature, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            more = stream.read(_CHUNK)
            if not more:
                raise
            text, at = text[at:] + more, 0
            continue
        yield feature


def _read_feature(
    feature: Mapping[str, Any],
    space: LabelSpace,
    known: frozenset[str],
    shift: NDArray[np.float64],
) -> Outlined:
    """One object.

    Args:
        feature: as the file has it.
        space: classes wanted.
        known: measurements that are no features.
        shift: added to positions (x, y).
    """
    properties = feature.get("properties") or {}
    measured = properties.get("measurements") or {}
    if isinstance(measured, list):  # QuPath before 0.4
        measured = {row["name"]: row["value"] for row in measured}
    probabilities = {name: measured.get(probability_name(name)) for name in space.classes}
    centroid = [to_number(measured.get(name), name) for name in CENTROID_PX]
    return Outlined(
        ring=outline_ring(feature.get("nucleusGeometry") or feature["geometry"]) + shift,
        class_name=to_class_name(properties.get("classification")),
        probabilities={name: p for name, p in probabilities.items() if p is not None},
        score=measured.get(SCORE),
        centroid=(centroid[0] + float(shift[0]), centroid[1] + float(shift[1])),
        area_px=measured.get(AREA_PX),
        features={
            column_name(name): value for name, value in measured.items() if name not in known
        },
    )


def outline_ring(geometry: Any) -> NDArray[np.float64]:
    """Outer ring; empty for points and lines, which `to_nuclei` counts and refuses."""
    if not isinstance(geometry, dict):
        raise TypeError(f"expected an object as geometry, got {geometry!r}")
    if geometry["type"] == "Polygon":
        return to_ring(geometry["coordinates"][0])
    if geometry["type"] == "MultiPolygon":
        return largest([to_ring(part[0]) for part in geometry["coordinates"]])
    return np.zeros((0, 2))
