"""Microns per pixel of an input: where they come from, and whether they can be right."""

from __future__ import annotations

import math
from pathlib import Path

from histonuc.models.model import Model
from histonuc.slides import Slide

SQUARE, FAR_FROM_SQUARE = 1.02, 2.0
"""Pixels longer along one axis by more than these factors are worth a note, or refused."""
COARSE = 2.2
"""An image this many times coarser than the model's resolution lacks what the model looks for."""
TILE_PX = 4096
"""An image with a longer side is no tile of a data set but a slide, or most of one."""
DIAMETER_UM = (3.0, 10.0)
"""Median diameters of a slide's nuclei outside this range are no tissue's: the scale is wrong."""
_ENOUGH_NUCLEI = 50


def resolve_mpp(
    slide: Slide, source: Path, given: float | None, runtime: Model, warnings: list[str]
) -> tuple[tuple[float, float], str]:
    """Microns per level-0 pixel along x and y, and their source.

    It is ``given``, ``assumed``, or what in the file states them, see `Slide.mpp_source`.

    Raises:
        ValueError: neither is there, and the input is no tile; or pixels are far from square.
    """
    stated = given if given is not None else slide.mpp
    if stated is not None and stated > COARSE * runtime.spec.mpp:
        warnings.append(
            f"at {stated:.3g} mpp the image is {stated / runtime.spec.mpp:.1f} times coarser than "
            f"the model's {runtime.spec.mpp:g}: expect nuclei to be missed and merged"
        )
    if given is not None:
        if slide.mpp is not None and abs(math.log(given / slide.mpp)) > 0.1:
            warnings.append(f"the file states {slide.mpp:.4g} mpp, --mpp says {given:.4g}")
        return (given, given), "given"
    if slide.mpp is not None and slide.mpp_xy is not None:
        ratio = max(slide.mpp_xy) / min(slide.mpp_xy)
        both = " x ".join(f"{value:.4g}" for value in slide.mpp_xy)
        if ratio > FAR_FROM_SQUARE:
            raise ValueError(
                f"{source.name} has pixels of {both} microns, expected squares or nearly so: "
                "give --mpp if one of the two is wrong, or resample the image"
            )
        if ratio > SQUARE:
            warnings.append(
                f"pixels of {both} microns are made square for the network: "
                "give --mpp if one of the two is wrong"
            )
        return slide.mpp_xy, slide.mpp_source
    if not _is_tile(slide):
        raise ValueError(
            f"{source.name} does not state its microns per pixel: "
            "give --mpp, e.g. --mpp 0.25 for 40x or --mpp 0.5 for 20x"
        )
    warnings.append(
        "the image does not state its microns per pixel: assumed the model's "
        f"{runtime.spec.mpp:g}; areas and densities depend on it; give --mpp if you know better"
    )
    return (runtime.spec.mpp, runtime.spec.mpp), "assumed"


def _is_tile(slide: Slide) -> bool:
    """Whether an input is likely a tile of a data set: a small image of a kind slides never have.

    Scanners and their software write TIFFs, at any scale, and those have tags for it.
    """
    is_tiff = any(name.startswith("tiff.") for name in slide.properties)
    return slide.is_plain and not is_tiff and max(slide.size) <= TILE_PX


def scale_warning(diameter_um: float, num_nuclei: int, mpp: float) -> str:
    """A sentence when a slide's nuclei have a size that no tissue's have; empty otherwise.

    Args:
        diameter_um: the median one.
        num_nuclei: how many there are.
        mpp: microns per pixel they were measured with.
    """
    if num_nuclei < _ENOUGH_NUCLEI:
        return ""
    low, high = DIAMETER_UM
    if low <= diameter_um <= high:
        return ""
    return (
        f"half of the nuclei measure under {diameter_um:.1f} µm across, expected {low:g} to "
        f"{high:g}: are the pixels really {mpp:.3g} microns? if not, give --mpp"
    )
