"""Slides and images of every kind behind one protocol: `open_slide` gives a `Slide`."""

from histonuc.slides.dicom_reader import series_uid
from histonuc.slides.limits import check_regular
from histonuc.slides.opening import KNOWN_SUFFIXES, is_slide_folder, open_slide
from histonuc.slides.protocol import RegionError, Slide
from histonuc.slides.pyramid import PlainImage, fit
from histonuc.slides.resolution import PLAUSIBLE_MPP

__all__ = [
    "KNOWN_SUFFIXES",
    "PLAUSIBLE_MPP",
    "PlainImage",
    "RegionError",
    "Slide",
    "check_regular",
    "fit",
    "is_slide_folder",
    "open_slide",
    "series_uid",
]
