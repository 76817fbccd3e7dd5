"""Slides and images of every kind behind one protocol: `open_slide` gives a `Slide`."""

from histonuc.inference.slides.dicom_reader import series_uid
from histonuc.inference.slides.opening import KNOWN_SUFFIXES, is_slide_folder, open_slide
from histonuc.inference.slides.pixels import PLAUSIBLE_MPP
from histonuc.inference.slides.protocol import RegionError, Slide
from histonuc.inference.slides.pyramid import PlainImage, fit

__all__ = [
    "KNOWN_SUFFIXES",
    "PLAUSIBLE_MPP",
    "PlainImage",
    "RegionError",
    "Slide",
    "fit",
    "is_slide_folder",
    "open_slide",
    "series_uid",
]
