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

from histonuc.exports.measurements import own_names
from histonuc.exports.reading import (
    Outlined,
    choose_mpp,
    choose_space,
    known_classes,
    largest,
    to_nuclei,
    to_ring,
)
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
) -> Nuclei:
    """Read polygons with classes, a feature at a time.

    Takes a FeatureCollection or an array of features. A class that is not the most probable one
    was changed by a person: it gets probability 1. An object without measurements was drawn by
    one: score 1. Of cells the nucleus is read. Of several parts the largest is kept; holes are
    filled. Measurements of other names become features as they are, also where the outline was
    changed since.

    Args:
        path: ``*.geojson`` or ``*.geojson.gz``.
        label_space: classes wanted; the file's own when histonuc wrote it (QuPath drops it).
        class_map: name in the file -> name in the label space, where they differ; the empty name
            stands for objects without a class.
        mpp: microns per level-0 pixel; the file's own, or unknown, when not given.

    Raises:
        ValueError: no GeoJSON of polygons, or a class that is not known.
    """
    with reading(path, "GeoJSON of polygons"):
        with _open_text(path) as stream:
            facts, features = _head_and_features(stream)
            space = choose_space(label_space, facts, path)
            own = own_names(known_classes(space, facts, class_map))
            outlines = [_outlined(feature, space, own) for feature in features]
        return to_nuclei(
            outlines,
            label_space=space,
            class_map=class_map,
            mpp=choose_mpp(mpp, facts),
            origin=path.name,
            feature_names=(facts or {}).get("feature_names", ()),
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
) -> tuple[dict[str, Any] | None, Iterator[dict[str, Any]]]:
    """What histonuc says before the features, if it wrote the file, and the features."""
    text = stream.read(_CHUNK)
    if text.lstrip().startswith("["):
        return None, _features(stream, text[text.index("[") + 1 :])
    while (found := _FEATURES.search(text)) is None:
        more = stream.read(_CHUNK)
        if not more:
            raise json.JSONDecodeError("no features", text[:80], 0)
        text += more
    head = json.loads(text[: found.start()].rstrip().rstrip(",") + "}")
    return head.get("histonuc"), _features(stream, text[found.end() :])


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


def _outlined(feature: Mapping[str, Any], space: LabelSpace, own: frozenset[str]) -> Outlined:
    properties = feature.get("properties") or {}
    measured = properties.get("measurements") or {}
    if isinstance(measured, list):  # QuPath before 0.4
        measured = {row["name"]: row["value"] for row in measured}
    has_centroid = "x px" in measured and "y px" in measured
    return Outlined(
        ring=outline_ring(feature.get("nucleusGeometry") or feature["geometry"]),
        class_name=class_name(properties.get("classification")),
        probabilities={c: measured[f"p {c}"] for c in space.classes if f"p {c}" in measured},
        score=measured.get("score", 1.0),
        centroid=(measured["x px"], measured["y px"]) if has_centroid else None,
        area_px=measured.get("area px"),
        features={name: value for name, value in measured.items() if name not in own},
    )


def outline_ring(geometry: Mapping[str, Any]) -> NDArray[np.float64]:
    """Outer ring; empty for points and lines, which `to_nuclei` counts and refuses."""
    if geometry["type"] == "Polygon":
        return to_ring(geometry["coordinates"][0])
    if geometry["type"] == "MultiPolygon":
        return largest([to_ring(part[0]) for part in geometry["coordinates"]])
    return np.zeros((0, 2))


def class_name(classification: Mapping[str, Any] | None) -> str:
    """The name, or the names that QuPath gives a derived class ("Tumor: Positive")."""
    if not classification:
        return ""
    return classification.get("name") or ": ".join(classification.get("names") or ())
