"""TIFFs: slides by OpenSlide where it knows the scanner, the rest by tifffile.

OME-TIFF with its pyramids in sub-IFDs, generic pyramids, single levels of any size, several scenes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from histonuc.slides.image_reader import open_image
from histonuc.slides.openslide_reader import open_with_openslide
from histonuc.slides.pixels import (
    MAX_PLAIN_PIXELS,
    check_channels,
    check_depth,
    pick_scene,
    plausible_mpp,
)
from histonuc.slides.protocol import RGB, Contents, RefusedError
from histonuc.slides.pyramid import array_level
from histonuc.slides.tiff_segments import (
    SegmentReader,
    can_window,
    check_colours,
    check_samples,
    page_rgb,
    tiff_level,
)

WHOLE_PIXELS = 1 << 26
"""Single-level TIFFs up to this size are read whole, larger ones by windows."""
_PHOTOMETRIC = (0, 1, 2, 6)  # grey (white or black is zero), RGB, YCbCr
_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # ResolutionUnit inch, centimetre
_OME_UNIT_UM = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_BESIDE = ("label", "macro", "overview", "thumbnail")


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """One picture of tissue: its levels, each of one page or one for each channel."""

    name: str
    levels: tuple[tuple[Any, ...], ...]
    mpp_xy: tuple[float, float] | None
    channels: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()


def open_tiff(path: Path, scene: int | None = None) -> Contents:
    """Open a TIFF.

    Raises:
        RefusedError: several scenes and none chosen, or no bright-field RGB of 8 bits.
    """
    import openslide

    if openslide.OpenSlide.detect_format(str(path)) not in (None, "generic-tiff"):
        return open_with_openslide(path)
    import tifffile

    with contextlib.ExitStack() as stack:
        tiff = stack.enter_context(tifffile.TiffFile(path))
        find = _ome_scenes if tiff.is_ome else _qpi_scenes if tiff.is_qpi else _page_scenes
        scenes, beside = find(tiff)
        chosen = scenes[pick_scene([one.name for one in scenes], scene)]
        contents = _contents(path, tiff, chosen, beside)
        if not contents.is_plain:
            stack.pop_all()
        return contents


def _contents(path: Path, tiff: Any, scene: _Scene, beside: Mapping[str, Any]) -> Contents:
    page = scene.levels[0][0].keyframe
    num_pixels, num_channels = _area(page), len(scene.levels[0])
    if num_channels > 1 or page.samplesperpixel == 1:
        check_channels(num_channels, scene.channels, scene.colours)
    if page.photometric not in _PHOTOMETRIC:  # palettes, CMYK, Lab
        return replace(open_image(path), mpp_xy=scene.mpp_xy, properties=_properties(page))
    for pages in scene.levels:
        check_samples(pages)
    if page.dtype is not None:
        check_depth(page.dtype)
    by_windows = len(scene.levels) > 1 or num_pixels > WHOLE_PIXELS or num_channels > 1
    by_windows = by_windows and all(can_window(part) for level in scene.levels for part in level)
    if not by_windows and num_pixels > MAX_PLAIN_PIXELS:
        raise RefusedError(
            f"it has {num_pixels / 1e9:.1f} gigapixels in one piece: "
            "convert it to a pyramidal tiled TIFF"
        )
    reader = SegmentReader(tiff.filehandle)
    if by_windows:
        levels = tuple(tiff_level(pages, reader) for pages in scene.levels)
    else:
        levels = (array_level(_whole(page)),)
    return Contents(
        levels=levels,
        reader="tifffile",
        mpp_xy=scene.mpp_xy,
        is_plain=not by_windows,
        properties=_properties(page),
        associated={name: partial(_whole, part) for name, part in beside.items()}
        if by_windows
        else {},
        icc_profile=page.iccprofile,
        close=tiff.close,
    )


def _whole(page: Any) -> RGB:
    check_colours(page)
    pixels = page.asarray()
    check_depth(pixels.dtype)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4):
        raise RefusedError(
            f"it has no picture of tissue: expected 1 to 4 channels, got the axes {page.axes}"
        )
    return page_rgb(page, pixels)


def _page_scenes(tiff: Any) -> tuple[list[_Scene], dict[str, Any]]:
    """Scenes of a TIFF without a description: a page, and those after it that are it, reduced.

    Pages much smaller that do not fit are pictures beside the tissue.
    """
    pages = [page.aspage() for page in tiff.pages]
    groups: list[list[Any]] = []
    beside: dict[str, Any] = {}
    for page in pages:
        if groups and _is_reduced(groups[-1], page):
            groups[-1].append(page)
        elif groups and page.imagewidth * page.imagelength * 4 < _area(groups[0][0]):
            beside[f"page {page.index}"] = page
        else:
            groups.append([page])
    scenes = [
        _Scene(
            name=f"{group[0].imagewidth} x {group[0].imagelength}",
            levels=tuple((page,) for page in group),
            mpp_xy=_tag_mpp(group[0]),
        )
        for group in groups
    ]
    return scenes, beside


def _area(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _is_reduced(levels: Sequence[Any], page: Any) -> bool:
    """Whether a page is a smaller copy of the level before it, as far as sizes tell."""
    base, last = levels[0], levels[-1]
    if page.imagewidth >= last.imagewidth or page.imagelength >= last.imagelength:
        return False
    scale_x, scale_y = base.imagewidth / page.imagewidth, base.imagelength / page.imagelength
    # Rounding makes a side a pixel longer or shorter.
    slack = 1 / min(page.imagewidth, page.imagelength)
    return bool(abs(scale_x / scale_y - 1) <= 2 * slack and page.shaped[-1] == base.shaped[-1])


def _ome_scenes(tiff: Any) -> tuple[list[_Scene], dict[str, Any]]:
    import tifffile

    described = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
    images = described if isinstance(described, list) else [described]
    scenes: list[_Scene] = []
    beside: dict[str, Any] = {}
    for number, (series, image) in enumerate(zip(tiff.series, images, strict=True)):
        name = str(series.name or image.get("Name") or f"image {number}")
        if any(word in name.lower() for word in _BESIDE):
            beside[name] = series.pages[0].aspage()
            continue
        if not set(series.axes) <= set("CYXS"):
            raise RefusedError(
                f"the image {name!r} has the axes {series.axes}: expected one plane of focus and "
                "one time; export one"
            )
        channels = image["Pixels"].get("Channel", [])
        channels = channels if isinstance(channels, list) else [channels]
        first = series.levels[0].pages[0].keyframe
        scenes.append(
            _Scene(
                name=f"{name}, {first.imagewidth} x {first.imagelength}",
                levels=tuple(tuple(level.pages) for level in series.levels),
                mpp_xy=_ome_mpp(image["Pixels"]) or _tag_mpp(first),
                channels=tuple(str(one["Name"]) for one in channels if "Name" in one),
                colours=tuple(
                    f"{int(one['Color']) & 0xFFFFFFFF:08X}"[:6]
                    for one in channels
                    if "Color" in one
                ),
            )
        )
    return scenes, beside


def _qpi_scenes(tiff: Any) -> tuple[list[_Scene], dict[str, Any]]:
    """The one scene of a QPTIFF (PerkinElmer, Akoya): RGB, or a grey page for each channel."""
    tissue, *others = tiff.series
    page = tissue.keyframe
    channels = [_qpi_channel(one) for one in tissue.pages] if page.samplesperpixel == 1 else []
    scene = _Scene(
        name=f"{page.imagewidth} x {page.imagelength}",
        levels=tuple(tuple(level.pages) for level in tissue.levels),
        mpp_xy=_tag_mpp(page),
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


def _ome_mpp(pixels: Mapping[str, Any]) -> tuple[float, float] | None:
    steps = []
    for axis in "XY":
        unit_um = _OME_UNIT_UM.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        size = pixels.get(f"PhysicalSize{axis}")
        steps.append(None if unit_um is None or size is None else float(size) * unit_um)
    return plausible_mpp(*steps)


def _tag_mpp(page: Any) -> tuple[float, float] | None:
    """Microns per pixel from the resolution tags, when their unit is absolute and it is likely."""
    unit_um = _UNIT_UM.get(int(page.resolutionunit))
    x, y = (float(value) for value in page.resolution)
    if unit_um is None or not (x > 0 and y > 0):
        return None
    return plausible_mpp(unit_um / x, unit_um / y)


def _properties(page: Any) -> dict[str, str]:
    named = {"make": 271, "model": 272, "software": 305, "date": 306}
    found = {name: page.tags.valueof(code) for name, code in named.items()}
    return {f"tiff.{name}": str(value) for name, value in found.items() if value} | {
        "tiff.compression": page.compression.name,
        "tiff.tile": f"{page.tilewidth} x {page.tilelength}" if page.is_tiled else "strips",
    }
