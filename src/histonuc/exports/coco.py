"""COCO instance JSON: for detection frameworks and annotation tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.exports.digits import (
    NUMBER_BYTES,
    Buffer,
    put_coordinate,
    put_number,
    put_text,
    put_whole,
)
from histonuc.exports.facts import check_facts, to_facts
from histonuc.exports.reading import (
    Outlined,
    choose_mpp,
    choose_space,
    to_class_name,
    to_nuclei,
)
from histonuc.exports.rings import largest, to_ring
from histonuc.exports.source import Batch, Source, open_source
from histonuc.files import reading, replacing
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace


def write_coco(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write one image with polygons, boxes, areas and scores; category ``j + 1`` is class ``j``.

    Coordinates are level-0 pixels to 0.01 px. Class probabilities stand in the field
    ``probabilities``, which COCO's readers pass over.
    """
    source = open_source(nuclei)
    width, height = source.size
    head = {
        "info": {"description": "histonuc", "histonuc": to_facts(source.label_space, source.mpp)},
        "images": [
            {
                "id": 1,
                "file_name": str(source.facts.get("source", "image")),
                "width": width,
                "height": height,
            }
        ],
        "categories": [
            {"id": j + 1, "name": name, "supercategory": "nucleus"}
            for j, name in enumerate(source.label_space.classes)
        ],
    }
    with replacing(path) as draft, draft.open("wb") as stream:
        stream.write(json.dumps(head, separators=(",", ":"))[:-1].encode())
        stream.write(b',\n"annotations":[\n')
        is_first = True
        for batch in source.batches():
            written = _annotations(batch)
            stream.write((written[2:] if is_first else written).data)
            is_first = False
        stream.write(b"\n]}\n")


def _annotations(batch: Batch) -> Buffer:
    """Text of the annotations of a batch, each with a comma and a new line before it."""
    nuclei = batch.nuclei
    box = nuclei.box
    values = np.column_stack(
        [box[:, :2], box[:, 2:] - box[:, :2], nuclei.area_px, nuclei.score, nuclei.centroid]
    )
    num_numbers = 2 * len(nuclei.points) + (10 + len(nuclei.label_space)) * len(nuclei)
    out = np.empty((NUMBER_BYTES + 1) * num_numbers + 200 * len(nuclei), np.uint8)
    end = _put_annotations(
        out,
        batch.ids.astype(np.int64),
        nuclei.class_index,
        np.ascontiguousarray(nuclei.points),
        nuclei.offsets,
        values,
        nuclei.class_probabilities.astype(np.float64),
    )
    return out[:end]


def _text(text: str) -> Buffer:
    return np.frombuffer(text.encode(), np.uint8)


_ID = _text(',\n{"id":')
_CATEGORY = _text(',"image_id":1,"iscrowd":0,"category_id":')
_SEGMENTATION = _text(',"segmentation":[[')
_BOX = _text(']],"bbox":[')
_AREA = _text('],"area":')
_SCORE = _text(',"score":')
_CENTROID = _text(',"centroid":[')
_PROBABILITIES = _text('],"probabilities":[')
_END = _text("]}")
_COMMA = 44


@compiled
def _put_list(out: Buffer, at: int, values: NDArray[np.float64]) -> int:
    for k in range(len(values)):
        at = put_number(out, at, values[k])
        out[at] = _COMMA
        at += 1
    return at - 1


@compiled
def _put_annotations(
    out: Buffer,
    ids: NDArray[np.int64],
    class_index: NDArray[np.int64],
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    values: NDArray[np.float64],
    probabilities: NDArray[np.float64],
) -> int:
    at = 0
    for i in range(len(ids)):
        at = put_whole(out, put_text(out, at, _ID), ids[i])
        at = put_whole(out, put_text(out, at, _CATEGORY), class_index[i] + 1)
        at = put_text(out, at, _SEGMENTATION)
        for j in range(offsets[i], offsets[i + 1]):
            at = put_coordinate(out, at, points[j, 0])
            out[at] = _COMMA
            at = put_coordinate(out, at + 1, points[j, 1])
            out[at] = _COMMA
            at += 1
        at = _put_list(out, put_text(out, at - 1, _BOX), values[i, :4])
        at = put_number(out, put_text(out, at, _AREA), values[i, 4])
        at = put_number(out, put_text(out, at, _SCORE), values[i, 5])
        at = _put_list(out, put_text(out, at, _CENTROID), values[i, 6:])
        at = _put_list(out, put_text(out, at, _PROBABILITIES), probabilities[i])
        at = put_text(out, at, _END)
    return at


def read_coco(
    path: Path,
    *,
    label_space: LabelSpace | None = None,
    class_map: Mapping[str, str] | None = None,
    mpp: float | None = None,
) -> Nuclei:
    """Read the polygons of a COCO file of one image.

    Args:
        path: JSON; run-length masks are refused.
        label_space: classes wanted; the file's own when histonuc wrote it.
        class_map: name of a category -> name in the label space, where they differ.
        mpp: microns per pixel; the file's own, or unknown, when not given.

    Raises:
        ValueError: no COCO file of polygons of one image, or a class that is not known.
    """
    with reading(path, "COCO file of polygons"):
        content = json.loads(path.read_bytes())
        facts = content.get("info", {}).get("histonuc")
        facts = None if facts is None else check_facts(facts)
        names = {row["id"]: row["name"] for row in content["categories"]}
        if len({row["image_id"] for row in content["annotations"]}) > 1:
            raise ValueError(f"{path} holds several images: expected one")
        space = choose_space(label_space, facts, path)
        return to_nuclei(
            [_read_annotation(row, names, space) for row in content["annotations"]],
            label_space=space,
            class_map=class_map,
            mpp=choose_mpp(mpp, facts),
            origin=path.name,
        )


def _read_annotation(
    row: Mapping[str, Any], names: Mapping[Any, Any], space: LabelSpace
) -> Outlined:
    """One object.

    Args:
        row: as the file has it.
        names: of the categories, by their ids.
        space: classes wanted.
    """
    if row["category_id"] not in names:
        raise ValueError(f"an annotation of category {row['category_id']!r}, which is not listed")
    probabilities = row.get("probabilities") or ()
    x, y = row.get("centroid") or (None, None)
    return Outlined(
        ring=largest([_read_part(part) for part in _parts_of_polygon(row["segmentation"])]),
        class_name=to_class_name(names[row["category_id"]]),
        probabilities=dict(zip(space.classes, probabilities, strict=bool(probabilities))),
        score=row.get("score"),
        centroid=(x, y),
        area_px=row.get("area"),
    )


def _parts_of_polygon(segmentation: Any) -> list[Any]:
    if isinstance(segmentation, dict):
        raise TypeError("a run-length mask, expected polygons")
    if not isinstance(segmentation, list):
        raise TypeError(f"expected a list of polygons as segmentation, got {segmentation!r}")
    is_flat = bool(segmentation) and not isinstance(segmentation[0], list)  # as some programs do
    return [segmentation] if is_flat else segmentation


def _read_part(part: Any) -> NDArray[np.float64]:
    if not isinstance(part, list) or len(part) % 2:
        raise TypeError("expected a polygon as a list x, y, x, y, ...")
    return to_ring(list(zip(part[::2], part[1::2], strict=True)))
