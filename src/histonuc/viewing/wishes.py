"""What the page asks to be corrected, as operations of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections import Corrections, Operation, Target
from histonuc.corrections.classes import MAX_CLASSES
from histonuc.viewing.errors import RequestError
from histonuc.viewing.index import DELETED
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.shapes import check_outline, join_outlines, split_outline
from histonuc.viewing.table import NucleusTable

MAX_NUCLEI = 20_000
"""Of one operation: each is written down with its outline."""
_MAX_POINTS = 5_000
_MAX_TEXT = 2_000
_FARTHEST_PX = 2.0**21
_LARGEST_FIELD_PX = 1 << 14


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What wishes are about.

    Attributes:
        table: the nuclei as corrected until now.
        corrections: what was done until now.
        size_px: width and height of the slide.
        mpp: microns per pixel, the usual ones where unknown.
    """

    table: NucleusTable
    corrections: Corrections
    size_px: tuple[int, int]
    mpp: float


def read_wish(wish: Mapping[str, Any], scene: Scene) -> Operation:
    """The operation that a request of the page asks for.

    Args:
        wish: the request; ``docs/reference/viewer-protocol.md`` says what it holds.
        scene: what it is about.

    Raises:
        RequestError: it cannot be done, or is not as the protocol says.
    """
    do = wish.get("do")
    if not isinstance(do, str) or do not in _READERS:
        raise RequestError(f"Expected do to be one of {', '.join(_READERS)}.")
    return _READERS[do](wish, scene)


def list_targets(numbers: Sequence[int], scene: Scene) -> tuple[Target, ...]:
    """Nuclei as the log names them, as they are now.

    Args:
        numbers: their numbers.
        scene: where they are.

    Raises:
        RequestError: one of them is not there.
    """
    index, classes = scene.table.index(), scene.table.label_space.classes
    targets = []
    for number in numbers:
        row = number - 1
        if not 0 <= row < len(index) or index.kind[row] == DELETED:
            raise RequestError(f"Nucleus {number} is not there any more.")
        x, y = index.x[row] / FIXED, index.y[row] / FIXED
        targets.append(
            Target(
                id=scene.corrections.reference(number),
                class_name=classes[index.kind[row]],
                x=float(x),
                y=float(y),
                ring=scene.table.outline(row),
            )
        )
    return tuple(targets)


def _classify(wish: Mapping[str, Any], scene: Scene) -> Operation:
    name = wish.get("class")
    if name is not None and name not in scene.table.label_space.classes:
        raise RequestError("There is no such class: define it first.")
    return Operation(do="classify", nuclei=_nuclei(wish, scene), fields={"class": name})


def _delete(wish: Mapping[str, Any], scene: Scene) -> Operation:
    return Operation(do="delete", nuclei=_nuclei(wish, scene))


def _add(wish: Mapping[str, Any], scene: Scene) -> Operation:
    name = wish.get("class")
    if name not in scene.table.label_space.classes:
        raise RequestError("Choose the class of the new nucleus first.")
    return Operation(do="add", fields={"ring": _outline(wish, scene), "class": name})


def _redraw(wish: Mapping[str, Any], scene: Scene) -> Operation:
    nuclei = _nuclei(wish, scene, 1)
    return Operation(do="redraw", nuclei=nuclei, fields={"ring": _outline(wish, scene)})


def _split(wish: Mapping[str, Any], scene: Scene) -> Operation:
    nuclei = _nuclei(wish, scene, 1)
    parts = split_outline(nuclei[0].ring, _points(wish.get("line")), scene.mpp)
    rings = [part.ravel().tolist() for part in parts]
    return Operation(do="split", nuclei=nuclei, fields={"rings": rings})


def _join(wish: Mapping[str, Any], scene: Scene) -> Operation:
    nuclei = _nuclei(wish, scene)
    ring = join_outlines([one.ring for one in nuclei], scene.mpp)
    return Operation(do="join", nuclei=nuclei, fields={"ring": ring.ravel().tolist()})


def _define_class(wish: Mapping[str, Any], scene: Scene) -> Operation:
    name = " ".join(_text(wish, "name", 80).split())
    classes = scene.table.label_space.classes
    if name not in classes and len(classes) >= MAX_CLASSES:
        raise RequestError(f"A result holds at most {MAX_CLASSES} classes.")
    fields = {"name": name, "colour": wish.get("colour"), "digit": wish.get("digit")}
    return Operation(do="define_class", fields=fields)


def _field(wish: Mapping[str, Any], scene: Scene) -> Operation:
    complete, key = wish.get("complete"), wish.get("field")
    if type(complete) is not bool:
        raise RequestError("Expected complete to be true or false.")
    if key is not None:
        known = [one.ring for one in scene.corrections.fields if one.key == key]
        if not known:
            raise RequestError("There is no such field.")
        ring = known[0]
    else:
        ring = _points(wish.get("ring"))
        size = np.array(scene.size_px)
        ring = np.asarray(np.round(np.clip(ring, 0, size), 2), np.float64)
        extent = np.ptp(ring, axis=0)
        if not ((extent >= 8) & (extent <= _LARGEST_FIELD_PX)).all():
            raise RequestError("A field needs an area inside the slide, of some 128 µm a side.")
    return Operation(do="field", fields={"ring": ring.ravel().tolist(), "complete": complete})


def _comment(wish: Mapping[str, Any], scene: Scene) -> Operation:
    text = _text(wish, "text", _MAX_TEXT)
    if wish.get("nuclei"):
        return Operation(do="comment", nuclei=_nuclei(wish, scene, 1), fields={"text": text})
    place = _points([wish.get("place")])[0].tolist()
    return Operation(do="comment", fields={"text": text, "place": place})


def _choose(wish: Mapping[str, Any], scene: Scene) -> Operation:
    number, key = _numbers(wish, 1)[0], wish.get("operation")
    for conflict in scene.corrections.conflicts:
        for operation in conflict.operations:
            if (conflict.id, operation.key) == (number, key):
                found = [
                    target
                    for target in operation.nuclei
                    if target.id == scene.corrections.reference(number)
                ]
                nuclei = tuple(found) or list_targets([number], scene)
                return Operation(do="choose", nuclei=nuclei[:1], fields={"operation": key})
    raise RequestError("There is no such choice.")


def _undo(wish: Mapping[str, Any], scene: Scene) -> Operation:
    return _again("undo", scene.corrections.can_undo, "There is nothing to undo.")


def _redo(wish: Mapping[str, Any], scene: Scene) -> Operation:
    return _again("redo", scene.corrections.can_redo, "There is nothing to redo.")


def _again(do: str, key: str, otherwise: str) -> Operation:
    if not key:
        raise RequestError(otherwise)
    return Operation(do=do, fields={"operation": key})


_READERS = {
    "classify": _classify,
    "delete": _delete,
    "add": _add,
    "redraw": _redraw,
    "split": _split,
    "join": _join,
    "define_class": _define_class,
    "field": _field,
    "comment": _comment,
    "choose": _choose,
    "undo": _undo,
    "redo": _redo,
}


def _nuclei(wish: Mapping[str, Any], scene: Scene, most: int = MAX_NUCLEI) -> tuple[Target, ...]:
    return list_targets(_numbers(wish, most), scene)


def _numbers(wish: Mapping[str, Any], most: int) -> list[int]:
    numbers = wish.get("nuclei")
    if not isinstance(numbers, list) or not all(type(one) is int for one in numbers):
        raise RequestError("Expected nuclei to be a list of their numbers.")
    numbers = list(dict.fromkeys(numbers))
    if not 1 <= len(numbers) <= most:
        wanted = "one nucleus" if most == 1 else f"1 to {most:,} nuclei"
        raise RequestError(f"Expected {wanted}, got {len(numbers):,}.")
    return numbers


def _outline(wish: Mapping[str, Any], scene: Scene) -> list[float]:
    clicked = wish.get("clicked")
    is_clicked = clicked if isinstance(clicked, bool) else None
    points = _points(wish.get("ring"))
    ring = check_outline(points, scene.size_px, scene.mpp, is_clicked=is_clicked)
    values: list[float] = ring.ravel().tolist()
    return values


def _points(value: Any) -> NDArray[np.float64]:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not 1 <= len(points) <= _MAX_POINTS:
        raise RequestError("Expected points [x, y] in pixels of the slide.")
    if not (np.abs(points) <= _FARTHEST_PX).all():
        raise RequestError("Expected finite positions in pixels of the slide.")
    return points


def _text(wish: Mapping[str, Any], name: str, most: int) -> str:
    text = wish.get(name)
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        raise RequestError(f"Expected {name} to be a text of 1 to {most:,} letters.")
    return text.encode("utf-8", "replace").decode().strip()
