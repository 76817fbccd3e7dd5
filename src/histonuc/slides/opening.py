"""Which reader opens what."""

from __future__ import annotations

import os
from pathlib import Path

from histonuc.extras import is_installed, require
from histonuc.files import one_line
from histonuc.slides.colour import with_srgb
from histonuc.slides.dicom_reader import is_dicom, open_dicom
from histonuc.slides.image_reader import open_image
from histonuc.slides.limits import check_regular
from histonuc.slides.openslide_reader import open_with_openslide
from histonuc.slides.pixels import pick_scene
from histonuc.slides.protocol import Contents, RefusedError, Slide
from histonuc.slides.pyramid import Pyramid
from histonuc.slides.tiff_reader import open_tiff
from histonuc.slides.zarr_reader import is_zarr, open_zarr

SLIDE_SUFFIXES = frozenset((".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide"))
DICOM_SUFFIXES = frozenset((".dcm",))
TIFF_SUFFIXES = frozenset((".tif", ".tiff", ".btf", ".tf8", ".qptiff"))
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".jp2", ".bmp"))
ZARR_SUFFIXES = frozenset((".zarr",))
KNOWN_SUFFIXES = SLIDE_SUFFIXES | DICOM_SUFFIXES | TIFF_SUFFIXES | IMAGE_SUFFIXES | ZARR_SUFFIXES
"""What a folder is searched for."""
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF and a BigTIFF begin, of either byte order."""
_TIFF_IN_NAME_ONLY = frozenset((".vsi",))
"""Begin like a TIFF and hold a small picture as one; the slide's pixels lie in files beside."""


def open_slide(
    path: str | os.PathLike[str], *, scene: int | None = None, icc: bool = False, lazy: bool = False
) -> Slide:
    """Open a slide or image by its kind.

    Args:
        path: a slide of any scanner OpenSlide knows, a DICOM file, a TIFF, an OME-Zarr folder, a
            PNG, JPEG, JPEG 2000 or BMP. DICOM and TIFF may have any name.
        scene: which picture of a file that holds several.
        icc: turn colours into sRGB by the profile inside the file.
        lazy: decode an image that is held in memory when it is first read, and not now.

    Returns:
        The slide, for a ``with`` statement, which closes it.

    Raises:
        ValueError: missing, empty, damaged, of an unknown kind, of 16 bits, fluorescence, several
            scenes and none chosen, or too large to be decoded. The message says what to do.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"no file at {path}")
    if is_slide_folder(path):
        require("zarr", f"reading {path.name}")
    try:
        contents = _open(path, scene)
        try:
            slide = Pyramid(with_srgb(contents) if icc else contents)
            if contents.load is not None and not lazy:
                contents.load()
            return slide
        except BaseException:
            contents.close()
            raise
    except (RefusedError, ImportError) as error:
        raise ValueError(f"{path}: {error}") from None
    except (MemoryError, OSError) as error:
        raise ValueError(f"{path} is damaged, or cannot be read: {one_line(error)}") from None
    except Exception as error:  # readers trust what files say about themselves
        raise ValueError(f"{path} is damaged: {one_line(error)}") from error


def is_slide_folder(path: Path) -> bool:
    """Whether a folder is one picture rather than a folder of pictures."""
    return path.is_dir() and (path.suffix.lower() in ZARR_SUFFIXES or is_zarr(path))


def _open(path: Path, scene: int | None) -> Contents:
    if is_slide_folder(path):
        return open_zarr(path, scene)
    check_regular(path)
    if path.is_dir():
        raise RefusedError("a folder, expected a slide or image")
    if path.stat().st_size == 0:
        raise ValueError("it is empty (0 bytes)")
    suffix = _kind(path)
    if suffix in TIFF_SUFFIXES:
        return open_tiff(path, scene)
    pick_scene([path.name], scene)
    if suffix in DICOM_SUFFIXES:
        return _open_dicom(path)
    if suffix == ".mrxs":
        data = path.with_suffix("")
        return open_with_openslide(path, data if data.is_dir() else None)
    if suffix in SLIDE_SUFFIXES:
        return open_with_openslide(path, path.parent)
    if suffix in IMAGE_SUFFIXES:
        return open_image(path)
    raise RefusedError(
        f"cannot read {suffix!r} files, and by its content it is no DICOM or TIFF; "
        f"known are {sorted(KNOWN_SUFFIXES)}"
    )


def _kind(path: Path) -> str:
    """A suffix, in lower case, that tells the kind of a file: by its content, or else its name.

    Every scanner's TIFF has a suffix of its own, and programs give those to TIFFs of any kind.
    """
    suffix = path.suffix.lower()
    if suffix in _TIFF_IN_NAME_ONLY:
        return suffix
    if suffix not in TIFF_SUFFIXES and is_dicom(path):  # a file may be both
        return ".dcm"
    with path.open("rb") as stream:
        return ".tif" if stream.read(4) in _TIFF_STARTS else suffix


def _open_dicom(path: Path) -> Contents:
    """OpenSlide knows the standard best; pydicom reads what it refuses."""
    from openslide import OpenSlideError

    try:
        return open_with_openslide(path, path.parent)
    except (OpenSlideError, RefusedError) as error:
        if not is_installed("dicom"):
            raise RefusedError(
                f"OpenSlide cannot open it ({error}); pydicom may: pip install 'histonuc[dicom]'"
            ) from None
        return open_dicom(path)
