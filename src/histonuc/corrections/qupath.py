"""What a person changed in QuPath, as operations: our GeoJSON, corrected there and exported."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.checking import check_class_name
from histonuc.corrections.classes import MAX_CLASSES
from histonuc.corrections.operations import Operation, Target, flatten_ring, tidy_ring
from histonuc.corrections.shapes import measure_area
from histonuc.corrections.shown import ShownNuclei
from histonuc.exports.geojson_reader import iterate_features, outline_ring
from histonuc.exports.measurements import AREA_PX, CENTROID_PX, probability_name
from histonuc.exports.reading import SAME_AREA, to_class_name
from histonuc.exports.rings import open_ring
from histonuc.files import reading
from histonuc.plain_text import counted
from histonuc.taxonomy import default_colour

ROUNDING_PX = 0.02
"""Outlines in GeoJSON are rounded to 0.01 px."""
_SAME_PLACE_PX = 0.5
_TOO_MANY = 0.5
"""A larger share of missing or moved nuclei is a slip: a file of some objects, another slide."""
_LARGE = 10
"""An annotation so many times larger than the largest nucleus is a region, no nucleus."""
_COMPLETE, _IGNORED = "complete", "ignore"
"""How the class of an annotation begins that is a field of truth, or that is to be passed over."""
_OUR_BITS, _ID_BITS = 1 << 63, 32


@dataclass(kw_only=True)
class QuPathChanges:
    """What a file says that is not so in the result.

    Attributes:
        classes: name of a class -> the nuclei that have it now.
        redrawn: nuclei with another outline.
        deleted: nuclei that are not in the file.
        added: name of the class, outline and identifier in QuPath of new nuclei.
        fields: borders of new annotations whose class begins with "Complete".
        colours: colour of each class in the file, "#rrggbb".
        num_objects: number of objects in the file.
        num_gone: number of them that are of nuclei which were deleted since.
        num_unclassified: number of new objects without a class.
        names: names of classes in the file, as they are there.
        left_out: reason -> number of objects that are no nuclei.
    """

    classes: dict[str, list[Target]] = field(default_factory=dict)
    redrawn: list[tuple[Target, NDArray[np.float64]]] = field(default_factory=list)
    deleted: list[Target] = field(default_factory=list)
    added: list[tuple[str, NDArray[np.float64], str]] = field(default_factory=list)
    fields: list[NDArray[np.float64]] = field(default_factory=list)
    colours: dict[str, str] = field(default_factory=dict)
    num_objects: int = 0
    num_gone: int = 0
    num_unclassified: int = 0
    names: set[str] = field(default_factory=set)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count an object that is no nucleus."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def counts(self) -> dict[str, int]:
        """What was changed, by kind."""
        return {
            "with another class": sum(map(len, self.classes.values())),
            "with another outline": len(self.redrawn),
            "deleted": len(self.deleted),
            "added": len(self.added),
            "fields marked complete": len(self.fields),
        }


def read_changes(
    path: Path,
    shown: ShownNuclei,
    *,
    origin: tuple[float, float],
    class_map: Mapping[str, str],
    is_part: bool,
) -> QuPathChanges:
    """Compare a file that QuPath exported with the result.

    Nuclei are known by their identifiers. The measurements in the file say how each was when it
    was exported, so that what was corrected elsewhere since stays.

    Args:
        path: ``*.geojson`` or ``*.geojson.gz``.
        shown: the nuclei of the result as they are now.
        origin: level-0 pixel (x, y) that positions in the file are measured from.
        class_map: name in the file -> name of the class.
        is_part: whether the file holds some of the objects only, so that none is deleted.

    Raises:
        ValueError: no GeoJSON of polygons, a file of other nuclei, or new ones without a class.
    """
    changes, seen = QuPathChanges(), set[int]()
    reader = _Reader(changes=changes, shown=shown, origin=origin, class_map=class_map)
    with reading(path, "GeoJSON of polygons"):
        for feature in iterate_features(path):
            changes.num_objects += 1
            if (number := reader.read(feature)) is not None:
                seen.add(number)
        if changes.num_unclassified:
            verb = "has" if changes.num_unclassified == 1 else "have"
            new = counted(changes.num_unclassified, "new object")
            raise ValueError(
                f"{path}: {new} {verb} no class: give one in QuPath, or say it with --unclassified"
            )
        _check_moved(path, changes, len(seen))
        if not is_part:
            _find_deleted(path, changes, shown, seen)
    return changes


def to_operations(changes: QuPathChanges, shown: ShownNuclei, common: Operation) -> list[Operation]:
    """The operations that make the result as the file is.

    Args:
        changes: what `read_changes` found.
        shown: the nuclei of the result.
        common: an operation whose person, table and model all have.

    Raises:
        ValueError: more classes than a table can hold.
    """

    def make(do: str, nuclei: Iterable[Target] = (), **fields: Any) -> Operation:
        return replace(common, do=do, nuclei=tuple(nuclei), fields=fields)

    added_to = [*changes.classes, *(name for name, _, _ in changes.added)]
    known, named = len(shown.classes), list(dict.fromkeys([*shown.classes, *added_to]))
    if len(named) > MAX_CLASSES:
        raise ValueError(
            f"the file and the result name {len(named)} classes, and a table holds {MAX_CLASSES}: "
            "say with --class-map which of them are one"
        )
    operations = []
    for number, name in enumerate(named[known:], known):
        red, green, blue = default_colour(number)
        colour = changes.colours.get(name, f"#{red:02x}{green:02x}{blue:02x}")
        operations.append(make("define_class", name=name, colour=colour, digit=None))
    operations += [make("redraw", [t], ring=flatten_ring(r)) for t, r in changes.redrawn]
    operations += [make("classify", t, **{"class": name}) for name, t in changes.classes.items()]
    operations += [make("delete", changes.deleted)] if changes.deleted else []
    for name, ring, identifier in changes.added:
        added = {"class": name, "object": identifier}
        operations.append(make("add", (), ring=flatten_ring(ring), **added))
    operations += [make("field", ring=flatten_ring(r), complete=True) for r in changes.fields]
    return operations


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Compares one object after the other; see `read_changes`."""

    changes: QuPathChanges
    shown: ShownNuclei
    origin: tuple[float, float]
    class_map: Mapping[str, str]

    def read(self, feature: Mapping[str, Any]) -> int | None:
        """Note what an object changes; the number of its nucleus where it has one."""
        properties = feature.get("properties") or {}
        name = to_class_name(properties.get("classification"))
        self.changes.names.add(name)
        name = self.class_map.get(name, name)
        if name:
            check_class_name(name)
        self._note_colour(name, properties.get("classification"))
        ring = outline_ring(feature.get("nucleusGeometry") or feature["geometry"])
        ring = ring + np.array(self.origin, np.float64)
        identifier = str(feature.get("id", ""))
        number = self.shown.objects.get(identifier) or find_number(identifier)
        if number is None or number > self.shown.last_number:
            is_drawn = properties.get("objectType") != "detection"
            self._read_new(name, ring, identifier, is_drawn=is_drawn)
            return None
        if number not in self.shown:
            self.changes.num_gone += 1
            return number
        self._compare(number, name, ring, properties.get("measurements") or {})
        return number

    def _compare(self, number: int, name: str, ring: NDArray[np.float64], measured: Any) -> None:
        if isinstance(measured, list):  # QuPath before 0.4
            measured = {row["name"]: row["value"] for row in measured}
        target = self.shown.target(number)
        if name and name not in (target.class_name, self._exported_class(measured)):
            self.changes.classes.setdefault(name, []).append(target)
        if not len(ring):  # a centroid
            return
        if not _is_same(ring, target.ring) and not self._is_as_exported(ring, measured):
            self.changes.redrawn.append((target, tidy_ring(ring)))

    def _read_new(
        self, name: str, ring: NDArray[np.float64], identifier: str, *, is_drawn: bool
    ) -> None:
        if is_drawn and name.lower().startswith(_COMPLETE) and len(ring):
            known = [flatten_ring(f.ring) for f in self.shown.corrections.fields if f.complete]
            if flatten_ring(ring := tidy_ring(ring)) not in known:
                self.changes.fields.append(ring)
        elif name.lower().startswith(_IGNORED):
            self.changes.leave_out("of a class that is ignored")
        elif not len(ring):
            self.changes.leave_out("without an outline")
        elif is_drawn and measure_area(ring) > _LARGE * self.shown.largest_area:
            self.changes.leave_out("much larger than a nucleus")
        elif not name:
            self.changes.num_unclassified += 1
        else:
            self.changes.added.append((name, tidy_ring(ring), identifier))

    def _note_colour(self, name: str, classification: Any) -> None:
        if not name or name in self.changes.colours or not isinstance(classification, dict):
            return
        colour = classification.get("color")
        if isinstance(colour, list) and len(colour) == 3:
            values = [int(np.clip(int(value), 0, 255)) for value in colour]
            self.changes.colours[name] = "#{:02x}{:02x}{:02x}".format(*values)

    def _exported_class(self, measured: Mapping[str, Any]) -> str:
        """The class that a nucleus had when it was exported; empty where the file does not say."""
        found = {
            name: value
            for name in self.shown.classes
            if isinstance(value := measured.get(probability_name(name)), (int, float))
        }
        return max(found, key=found.__getitem__) if found else ""

    def _is_as_exported(self, ring: NDArray[np.float64], measured: Mapping[str, Any]) -> bool:
        """Whether an outline is still the one that its measurements were made of."""
        values = [measured.get(name) for name in (AREA_PX, *CENTROID_PX)]
        if not all(isinstance(value, (int, float)) for value in values):
            return False
        import shapely

        polygon = shapely.make_valid(shapely.Polygon(ring - np.array(self.origin)))
        area, x, y = map(float, values)  # type: ignore[arg-type]
        centre = polygon.centroid
        return bool(
            abs(polygon.area - area) <= SAME_AREA * area
            and np.hypot(centre.x - x, centre.y - y) <= _SAME_PLACE_PX
        )


def find_number(identifier: str) -> int | None:
    """Number of the nucleus whose identifier we wrote; None for one that QuPath made.

    >>> find_number("3ff00000-0000-4000-8000-00000000002a")
    42
    >>> find_number("3ff00000-0000-4000-b1c2-00000000002a") is None
    True
    """
    try:
        low = uuid.UUID(identifier).int & ((1 << 64) - 1)
    except ValueError:
        return None
    number = low ^ _OUR_BITS
    return number if 0 < number < 1 << _ID_BITS else None


def _find_deleted(path: Path, changes: QuPathChanges, shown: ShownNuclei, seen: set[int]) -> None:
    """Note the nuclei that are not in the file, but not those that were made since."""
    last = max([shown.num_nuclei, *seen])
    missing = [number for number in shown.numbers() if number not in seen and number <= last]
    if len(missing) > _TOO_MANY * max(len(shown), 1):
        raise ValueError(
            f"{path} lacks {len(missing):,} of {len(shown):,} nuclei: if only some objects were "
            "exported, give --part; if it is of another result, choose that one"
        )
    changes.deleted += [shown.target(number) for number in missing]


def _check_moved(path: Path, changes: QuPathChanges, num_seen: int) -> None:
    if len(changes.redrawn) > _TOO_MANY * num_seen:
        raise ValueError(
            f"{path}: {len(changes.redrawn):,} of {num_seen:,} outlines are elsewhere than in the "
            "result: is it of another slide, or is --frame slide to be given?"
        )


def _is_same(ring: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two outlines are one but for rounding; either may be closed, or begin elsewhere."""
    import shapely

    opened = open_ring(ring)
    if opened.shape == other.shape and np.abs(opened - other).max() <= ROUNDING_PX:
        return True
    one, two = (shapely.make_valid(shapely.Polygon(points)) for points in (ring, other))
    return bool(one.symmetric_difference(two).area <= SAME_AREA * two.area)
