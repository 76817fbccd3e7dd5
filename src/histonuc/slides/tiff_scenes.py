"""Which pages of a TIFF are which picture: tissue with its levels, or something beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from histonuc.slides.ome_xml import OmeImage, read_images
from histonuc.slides.protocol import RefusedError
from histonuc.slides.resolution import Scale, aperio_scale, plausible_scale, unit_um

_UNITS = {2: "inch", 3: "centimeter"}
"""Values of the tag ResolutionUnit that are a length."""
_APERIO_OBJECTIVE = re.compile(r"\|\s*AppMag\s*=\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One picture of tissue.

    Attributes:
        name: for people, with its size.
        levels: pages of each level, the finest first: one, or one for each channel.
        scale: where the file states one.
        objective: nominal magnification where the file states it.
        channels: names of the separate channels, as far as the file gives them.
        colours: of the separate channels as RRGGBB, as far as the file gives them.
    """

    name: str
    levels: tuple[tuple[Any, ...], ...]
    scale: Scale | None
    objective: float | None = None
    channels: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()


Found = tuple[list[Scene], dict[str, Any]]
"""The pictures of tissue, and a page for each picture beside them, by name."""


def find_scenes(tiff: Any, path: Path) -> Found:
    """The pictures of an open TIFF.

    Args:
        tiff: a `tifffile.TiffFile`.
        path: of the file.

    Raises:
        RefusedError: stacks of focus or time, or a set of files of which one is missing.
    """
    if tiff.is_ome:
        return _ome_scenes(tiff, path)
    if tiff.is_qpi:
        return _qpi_scenes(tiff)
    return _page_scenes(tiff)


def _page_scenes(tiff: Any) -> Found:
    """Scenes of a TIFF without a description: a page, and those after it that are it, reduced.

    Pages much smaller that do not fit are pictures beside the tissue.
    """
    pages = [page.aspage() for page in tiff.pages]
    if not pages:
        raise ValueError("it has no page")
    groups: list[list[Any]] = []
    beside: dict[str, Any] = {}
    for page in pages:
        if groups and _is_reduced(groups[-1], page):
            groups[-1].append(page)
        elif groups and page.imagewidth * page.imagelength * 4 < _area(groups[0][0]):
            beside[f"page {page.index}"] = page
        else:
            groups.append([page])
    imagej_unit = str((tiff.imagej_metadata or {}).get("unit", "")) if tiff.is_imagej else ""
    scenes = [
        Scene(
            name=_size_text(group[0]),
            levels=tuple((page,) for page in group),
            scale=_page_scale(group[0], imagej_unit),
            objective=_aperio_objective(group[0]),
        )
        for group in groups
    ]
    return scenes, beside


def _area(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _size_text(page: Any) -> str:
    return f"{page.imagewidth} x {page.imagelength}"


def _is_reduced(levels: Sequence[Any], page: Any) -> bool:
    """Whether a page is a smaller copy of the level before it, as far as sizes tell."""
    base, last = levels[0], levels[-1]
    if page.imagewidth >= last.imagewidth or page.imagelength >= last.imagelength:
        return False
    scale_x, scale_y = base.imagewidth / page.imagewidth, base.imagelength / page.imagelength
    # Rounding makes a side a pixel longer or shorter.
    slack = 1 / min(page.imagewidth, page.imagelength)
    return bool(abs(scale_x / scale_y - 1) <= 2 * slack and page.shaped[-1] == base.shaped[-1])


def _ome_scenes(tiff: Any, path: Path) -> Found:
    images = read_images(tiff.ome_metadata, path)
    found = list(tiff.series)
    if len(found) != len(images):
        raise RefusedError(
            f"only {len(found)} of the {len(images)} pictures that its OME-XML describes can be "
            "read: write it anew, for example with bfconvert"
        )
    largest = max(_area(series.keyframe) for series in found)
    scenes: list[Scene] = []
    beside: dict[str, Any] = {}
    for number, (series, image) in enumerate(zip(found, images, strict=True)):
        name = image.name or f"image {number}"
        if image.is_beside and _area(series.keyframe) < largest:
            beside[name] = series.pages[0].aspage()
        else:
            scenes.append(_ome_scene(series, image, name))
    return scenes, beside


def _ome_scene(series: Any, image: OmeImage, name: str) -> Scene:
    if not set(series.axes) <= set("CYXS"):
        raise RefusedError(
            f"the image {name!r} has the axes {series.axes}: expected one plane of focus and "
            "one time; export one"
        )
    levels = tuple(tuple(level.pages) for level in series.levels)
    if any(page is None for level in levels for page in level):
        raise RefusedError(f"the image {name!r} lacks a part of its pixels: export it anew")
    page = levels[0][0].keyframe
    return Scene(
        name=f"{name}, {_size_text(page)}",
        levels=levels,
        scale=image.scale or _tag_scale(page),
        objective=image.objective,
        channels=image.channels,
        colours=image.colours,
    )


def _qpi_scenes(tiff: Any) -> Found:
    """The one scene of a QPTIFF (PerkinElmer, Akoya): RGB, or a grey page for each channel."""
    tissue, *others = tiff.series
    page = tissue.keyframe
    channels = [_qpi_channel(one) for one in tissue.pages] if page.samplesperpixel == 1 else []
    scene = Scene(
        name=_size_text(page),
        levels=tuple(tuple(level.pages) for level in tissue.levels),
        scale=_tag_scale(page),
        channels=tuple(name for name, _ in channels),
        colours=tuple(colour for _, colour in channels),
    )
    return [scene], {series.name: series.pages[0] for series in others}


def _qpi_channel(page: Any) -> tuple[str, str]:
    """What a page of a QPTIFF shows, and in which colour (RRGGBB), empty where it does not say."""
    facts = ElementTree.fromstring(page.description or "<none/>")
    colour = facts.findtext("Color", "")
    name = facts.findtext("Name") or facts.findtext("Biomarker") or "unnamed"
    return name, "".join(f"{int(part):02X}" for part in colour.split(",")) if colour else ""


def _page_scale(page: Any, imagej_unit: str) -> Scale | None:
    """What a page's description says, by Aperio or ImageJ, or else its tags."""
    described = aperio_scale(page.description, page.imagewidth, page.imagelength)
    if described is not None or not unit_um(imagej_unit):
        return described or _tag_scale(page)
    return _density_scale(page, imagej_unit, f"ImageJ's unit ({imagej_unit}) and resolution tags")


def _tag_scale(page: Any) -> Scale | None:
    """What the resolution tags say, where their unit is one of length."""
    unit = _UNITS.get(int(page.resolutionunit), "")
    return _density_scale(page, unit, "TIFF tags: XResolution and YResolution")


def _density_scale(page: Any, unit: str, source: str) -> Scale | None:
    """The scale out of the tags' pixels in a unit of length."""
    length_um = unit_um(unit)
    x, y = (float(value) for value in page.resolution)
    if length_um is None or not (x > 0 and y > 0):
        return None
    return plausible_scale((length_um / x, length_um / y), source)


def _aperio_objective(page: Any) -> float | None:
    found = _APERIO_OBJECTIVE.search(page.description)
    is_aperio = page.description.startswith("Aperio")
    return float(found[1]) if is_aperio and found is not None else None
