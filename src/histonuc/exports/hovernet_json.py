"""The JSON of HoVer-Net and the programs that took it over, into nuclei.

Graham et al. 2019 (vqdang/hover_net, ``infer/wsi.py``): ``{"mag": ..., "nuc": {"1": {"centroid",
"contour", "type", "type_prob", ...}}}``. Contours run through pixel centres there: they are moved
by half a pixel and stay half a pixel smaller all around than ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histonuc.exports.reading import Outlined, to_nuclei
from histonuc.exports.rings import to_ring
from histonuc.files import reading
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace


def read_hovernet_json(
    path: Path,
    *,
    label_space: LabelSpace,
    types: Mapping[int, str],
    mpp: float = float("nan"),
) -> Nuclei:
    """Read the nuclei of one image.

    Args:
        path: JSON.
        label_space: classes wanted.
        types: the file's type number -> name in the label space.
        mpp: microns per pixel of the image.

    Raises:
        ValueError: no such JSON, or a type that `types` lacks.
    """
    with reading(path, "JSON of HoVer-Net"):
        outlines = [
            Outlined(
                ring=to_ring(row["contour"]) + 0.5,
                class_name=_read_type(row["type"]),
                score=row.get("type_prob"),
            )
            for row in json.loads(path.read_bytes())["nuc"].values()
        ]
        return to_nuclei(
            outlines,
            label_space=label_space,
            class_map={str(number): name for number, name in types.items()},
            mpp=mpp,
            origin=path.name,
        )


def _read_type(value: Any) -> str:
    """A type's number as text; some programs write it as text or with a fraction of 0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"expected a whole number as type, got {value!r}")
    return str(value)
