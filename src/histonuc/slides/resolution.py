"""Microns per pixel as files state them: units of length, and what a microscope may have made."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

PLAUSIBLE_MPP = (0.05, 5.0)
"""Microns per pixel that a microscope gives. What lies outside is the resolution of a printer or of
a screen (300 dpi are 85 microns), a placeholder, or a slip in the unit."""
INCH_UM = 25_400.0
_SYMBOL_UM = {
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    "μm": 1.0,
    "um": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "thou": 25.4,
    "mil": 25.4,
    "in": INCH_UM,
}
"""Symbols of OME and ImageJ; case counts, a Mm is a million metres."""
_WORD_UM = {
    "picometer": 1e-6,
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "decimeter": 1e5,
    "meter": 1e6,
    "inch": INCH_UM,
}
"""Names of OME-NGFF (those of UDUNITS-2), in British spelling and in the plural as well."""
_APERIO_MPP = re.compile(r"\|\s*MPP\s*=\s*(\d+(?:\.\d+)?)")
_APERIO_SIZES = re.compile(r"(?<=[\s\]>])(\d+)x(\d+)(?=[\s\],]|$)")
"""The size of the scan, in brackets that of what was cut out of it, after an arrow what became of
it. The size of a tile stands in parentheses."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large pixels are, and what says so.

    Attributes:
        mpp_xy: microns per level-0 pixel along x and y.
        source: where the file states it, for people: "OME-XML: PhysicalSizeX and PhysicalSizeY".
    """

    mpp_xy: tuple[float, float]
    source: str


def plausible_scale(mpp_xy: Sequence[float | None], source: str) -> Scale | None:
    """The scale that a file states, when a microscope may have made it.

    Args:
        mpp_xy: microns per pixel along x and y; None for what it does not state.
        source: see `Scale`.

    >>> plausible_scale((0.25, 0.25), "the file").mpp_xy
    (0.25, 0.25)
    >>> plausible_scale((352.8, 352.8), "72 dpi"), plausible_scale((0.5, None), "half of it")
    (None, None)
    """
    low, high = PLAUSIBLE_MPP
    x, y = mpp_xy
    if x is None or y is None or not (low <= x <= high and low <= y <= high):
        return None
    return Scale(mpp_xy=(float(x), float(y)), source=source)


def unit_um(unit: str) -> float | None:
    r"""Microns in a unit of length; None for one that is not known, pixels among them.

    The two micro signs and the two signs of the ångström count as one, and so do the escapes that
    ImageJ writes.

    >>> [unit_um(unit) for unit in ("\u00b5m", "\u03bcm", "\\u00B5m", "micron", "Micrometres")]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> unit_um("thou"), unit_um("\u212b"), unit_um("pixel"), unit_um("Mm")
    (25.4, 0.0001, None, None)
    """
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit.strip())
    text = unicodedata.normalize("NFKC", text)
    if text in _SYMBOL_UM:
        return _SYMBOL_UM[text]
    word = text.lower().replace("metre", "meter")
    return _WORD_UM.get(word) or _WORD_UM.get(word.removesuffix("s").removesuffix("e"))


def aperio_scale(description: str, width: int, height: int) -> Scale | None:
    r"""The scale of a picture that Aperio's software cut out of a slide and saved as a TIFF.

    It copies the slide's microns per pixel, also where the picture was made smaller. A picture of
    another size than the description says was changed by someone else, and how is not known.

    Args:
        description: the tag ImageDescription.
        width: of the picture.
        height: of it.

    >>> crop = "Aperio Image Library v8\r\n9999x9999 [0,0 512x512] RAW|AppMag = 40|MPP = 0.25"
    >>> aperio_scale(crop, 512, 512).mpp_xy, aperio_scale(crop, 256, 256)
    ((0.25, 0.25), None)
    >>> aperio_scale("Aperio\r\n9999x9999 [0,0 512x512] -> 256x256 - |MPP = 0.25", 256, 256).mpp_xy
    (0.5, 0.5)
    """
    stated = _APERIO_MPP.search(description)
    head, arrow, after = re.split(r"[|;]", description)[0].partition("->")
    sizes = [(int(w), int(h)) for w, h in _APERIO_SIZES.findall(head)]
    made = [(int(w), int(h)) for w, h in _APERIO_SIZES.findall(arrow + after)] or sizes
    is_whole = bool(sizes) and made[-1] == (width, height)
    if not description.startswith("Aperio") or stated is None or not is_whole:
        return None
    mpp, (taken_x, taken_y) = float(stated[1]), sizes[-1]
    mpp_xy = (mpp * taken_x / width, mpp * taken_y / height)
    return plausible_scale(mpp_xy, "Aperio's description: MPP")
