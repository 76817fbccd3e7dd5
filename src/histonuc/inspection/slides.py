"""What a slide or image is, without decoding a pixel of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histonuc.inspection.description import Description, to_lines
from histonuc.slides import Slide, open_slide

_MAX_LEVELS = 4
"""Levels that are named; of more only the first and the last."""


def describe_slide(path: Path, scene: int | None) -> Description:
    """Facts about a slide or image.

    Args:
        path: its file, or folder.
        scene: which picture of a file that holds several.

    Raises:
        ValueError: it cannot be opened, see `open_slide`.
    """
    with open_slide(path, scene=scene, lazy=True) as slide:
        facts: dict[str, Any] = {
            "kind": "slide or image",
            "reader": slide.reader,
            "vendor": slide.properties.get("openslide.vendor"),
            "size_px": list(slide.size),
            "size_mm": _size_mm(slide),
            "mpp": slide.mpp,
            "mpp_xy": None if slide.mpp_xy is None else list(slide.mpp_xy),
            "mpp_source": slide.mpp_source or None,
            "objective": slide.objective,
            "levels": [
                {"size_px": list(size), "downsample": scale}
                for size, scale in zip(slide.levels, slide.downsamples, strict=True)
            ],
            "bounds_xyxy": list(slide.bounds_xyxy),
            "associated": list(slide.associated()),
            "icc_profile": slide.icc_profile is not None,
            "notes": list(slide.notes),
            "properties": dict(slide.properties),
        }
        return Description(facts=facts, lines=to_lines(_rows(slide, path, facts)))


def _size_mm(slide: Slide) -> list[float] | None:
    if slide.mpp_xy is None:
        return None
    return [side * mpp / 1e3 for side, mpp in zip(slide.size, slide.mpp_xy, strict=True)]


def _rows(slide: Slide, path: Path, facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    vendor = f"{facts['vendor']}, " if facts["vendor"] else ""
    kind = "image" if slide.is_plain else "slide"
    yield kind, f"{path.name} ({vendor}read by {slide.reader})"
    size_mm = facts["size_mm"]
    in_mm = "" if size_mm is None else f", {size_mm[0]:.2f} x {size_mm[1]:.2f} mm"
    yield "size", f"{slide.size[0]:,} x {slide.size[1]:,} pixels{in_mm}"
    yield "scale", _scale_text(slide)
    yield "objective", "not stated" if slide.objective is None else f"{slide.objective:g}x"
    yield "levels", _levels_text(slide)
    if slide.bounds_xyxy != (0, 0, *slide.size):
        x0, y0, x1, y1 = slide.bounds_xyxy
        yield "scanned", f"{x1 - x0:,} x {y1 - y0:,} pixels at x {x0:,}, y {y0:,}"
    yield "beside", ", ".join(slide.associated())
    if slide.icc_profile is not None:
        yield "colours", "ICC profile, see --icc" if slide.icc_profile else "damaged ICC profile"
    for note in slide.notes:
        yield "note", note


def _scale_text(slide: Slide) -> str:
    if slide.mpp is None or slide.mpp_xy is None:
        return "not stated: give --mpp"
    x, y = (f"{value:.4g}" for value in slide.mpp_xy)
    return f"{x if x == y else f'{x} x {y}'} microns per pixel ({slide.mpp_source})"


def _levels_text(slide: Slide) -> str:
    """How many, and their sizes."""
    sizes = [f"{w:,} x {h:,}" for w, h in slide.levels]
    if len(sizes) > _MAX_LEVELS:
        sizes = [sizes[0], "…", sizes[-1]]
    return f"{len(slide.levels)}: {'; '.join(sizes)}"
