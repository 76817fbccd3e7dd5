"""What a file of nuclei says of itself, as JSON: written by us, and read with distrust.

``label_space`` and ``mpp`` are always there. Tables of `histonuc predict` also hold ``source`` (the
slide's name), ``image_size`` (width and height in level-0 pixels), ``mpp_xy``, ``bounds_xyxy`` (the
part that the scanner visited, in level-0 pixels), ``model``, ``model_sha256`` and ``version``, and
``classifier`` and ``classifier_sha256`` where one of `histonuc teach` gave the classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

Frame = Literal["qupath", "slide"]
"""What positions in files for QuPath are measured from: ``qupath``, the corner of the part that the
scanner visited, which QuPath shows alone, or ``slide``, that of the whole slide, as in the table.
They differ on few slides."""
METADATA_KEY = b"histonuc"
"""Key of the facts in the schema metadata of a Parquet file."""
LARGEST_PX = 2**20
"""No slide is wider or higher, in pixels: a larger size is damage, and would fill the memory."""


class SlideFacts(TypedDict, total=False):
    """What a file says of the slide and of the run, as far as it is known."""

    source: str
    image_size: Sequence[int]
    mpp_xy: Sequence[float]
    bounds_xyxy: Sequence[int]
    model: str
    model_sha256: str
    classifier: str
    classifier_sha256: str
    version: str
    feature_names: Sequence[str]
    origin_px: Sequence[int]


class Facts(SlideFacts):
    """The same with what is always there; mpp is None where it is unknown."""

    label_space: dict[str, object]
    mpp: float | None


def to_facts(label_space: LabelSpace, mpp: float) -> Facts:
    """Label space and microns per level-0 pixel; an unknown mpp (NaN) is None."""
    return {"label_space": label_space.to_dict(), "mpp": None if math.isnan(mpp) else mpp}


def from_facts(facts: Facts) -> tuple[LabelSpace, float]:
    """Inverse of `to_facts`."""
    mpp = facts["mpp"]
    return LabelSpace.from_dict(facts["label_space"]), float("nan") if mpp is None else float(mpp)


def schema_facts(schema: pa.Schema) -> Facts:
    """The facts in the schema metadata of a table of nuclei.

    Raises:
        ValueError: no table of nuclei, or facts that cannot be right.
    """
    metadata = schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise ValueError("the schema has no metadata 'histonuc'")
    return check_facts(json.loads(metadata[METADATA_KEY]))


def check_facts(facts: Any) -> Facts:
    """The same facts.

    Raises:
        ValueError: one of them cannot be right.
    """
    if not isinstance(facts, dict):
        raise ValueError(f"expected an object in the metadata 'histonuc', got {_shown(facts)}")
    if facts.get("mpp") is not None and not _are_numbers([facts["mpp"]], low=1e-6, high=1e6):
        raise ValueError(f"expected mpp in microns per pixel, got {_shown(facts['mpp'])}")
    if "mpp_xy" in facts and not _are_numbers(facts["mpp_xy"], 2, low=1e-6, high=1e6):
        raise ValueError(f"expected two microns per pixel in mpp_xy, got {_shown(facts['mpp_xy'])}")
    if "image_size" in facts and not _are_pixels(facts["image_size"], 2, low=1):
        raise ValueError(
            f"expected image_size to be a width and height of 1 to {LARGEST_PX} pixels, got "
            f"{_shown(facts['image_size'])}"
        )
    if "origin_px" in facts and not _are_pixels(facts["origin_px"], 2):
        raise ValueError(f"expected two positions in origin_px, got {_shown(facts['origin_px'])}")
    if "bounds_xyxy" in facts and not _are_pixels(facts["bounds_xyxy"], 4):
        raise ValueError(
            f"expected four positions of 0 to {LARGEST_PX} pixels in bounds_xyxy, got "
            f"{_shown(facts['bounds_xyxy'])}"
        )
    if not isinstance(facts.get("source", ""), str):
        raise ValueError(f"expected the name of a slide in source, got {_shown(facts['source'])}")
    checked = cast(Facts, facts)
    from_facts(checked)
    return checked


def mpp_xy(facts: Facts) -> tuple[float, float]:
    """Microns per level-0 pixel along x and y: ``mpp`` where nothing else is known, or NaN."""
    mpp = float("nan") if facts["mpp"] is None else facts["mpp"]
    x, y = facts.get("mpp_xy", (mpp, mpp))
    return float(x), float(y)


def _are_numbers(values: Any, count: int = 1, *, low: float, high: float) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and low <= value <= high for value in values)
    )


def _are_pixels(values: Any, count: int, low: int = 0) -> bool:
    return _are_numbers(values, count, low=low, high=LARGEST_PX) and all(
        value == int(value) for value in values
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
