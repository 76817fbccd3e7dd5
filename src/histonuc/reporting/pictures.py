"""Tiles as inline SVG: the image once, the outlines of nuclei as vector paths in class colours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.contours import trace_contours
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import LabelSpace

UNKNOWN_COLOUR = (130, 130, 130)
"""RGB of a nucleus without a class."""
_JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image and the outlines drawn on it.

    Attributes:
        identity: id of the image element, unique on the page.
        layer: tells the outlines apart where several pictures show the same image.
        width: width of the image in pixels.
        height: height of the image in pixels.
        data_uri: the image; empty when it stands earlier on the page under the same identity.
        paths: (colour, SVG path) pairs.
        title: what it shows, for readers who cannot see it.
    """

    identity: str
    layer: str
    width: int
    height: int
    data_uri: str
    paths: tuple[tuple[str, str], ...]
    title: str


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """An RGB image (H, W, 3) as a data URI."""
    done, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    assert done, "OpenCV could not encode a JPEG"
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def class_colour(space: LabelSpace, type_id: int) -> str:
    """CSS colour of a class + 1; grey for 0, unknown."""
    red, green, blue = space.colours[type_id - 1] if type_id > 0 else UNKNOWN_COLOUR
    return f"#{red:02x}{green:02x}{blue:02x}"


def outline_paths(
    labels: NDArray[np.int32], types: NDArray[np.integer], space: LabelSpace
) -> tuple[tuple[str, str], ...]:
    """Outlines of a label image as one SVG path a class.

    Args:
        labels: int32 (H, W), 0 = background; ids need not be consecutive.
        types: class + 1 by id, 0 = unknown.
        space: the classes.
    """
    dense, ids = make_consecutive(labels)
    points, offsets = trace_contours(dense, len(ids))
    rings: dict[int, list[str]] = {}
    for index, type_id in enumerate(types[ids].tolist()):
        ring = _cut_corners(points[offsets[index] : offsets[index + 1]])
        text = " ".join(f"{x:g},{y:g}" for x, y in ring)
        rings.setdefault(type_id, []).append(f"M{text}Z")
    return tuple(
        (class_colour(space, type_id), "".join(parts)) for type_id, parts in sorted(rings.items())
    )


def _cut_corners(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixel stairs become slopes: every corner is cut half a pixel before and after it.

    Sides shorter than a pixel, where a nucleus touches itself, are cut at their middle.
    """
    ahead = np.clip(np.roll(ring, -1, axis=0) - ring, -1, 1)
    behind = np.roll(ahead, 1, axis=0)
    both = np.stack([ring - 0.5 * behind, ring + 0.5 * ahead], axis=1).reshape(-1, 2)
    return both[np.any(both != np.roll(both, 1, axis=0), axis=1)]


def legend(space: LabelSpace, *, unknown: bool) -> Sequence[tuple[str, str]]:
    """(colour, name) pairs of the classes."""
    entries = [(class_colour(space, 1 + j), name) for j, name in enumerate(space.classes)]
    return [*entries, (class_colour(space, 0), "class unknown")] if unknown else entries
