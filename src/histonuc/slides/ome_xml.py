"""What the OME-XML of a TIFF says: its pictures, their scale, and the files they lie in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from histonuc.slides.limits import check_regular
from histonuc.slides.protocol import RefusedError
from histonuc.slides.resolution import Scale, plausible_scale, unit_um
from histonuc.slides.tiff_directories import MAX_PAGES, check_directories

_BESIDE = re.compile(
    r"(?:.*[\s\[(])?(?:label|macro|overview|thumbnail)(?:[\s_]image)?[\])]?", re.IGNORECASE
)
"""Names of pictures that are no tissue, as Bio-Formats and scanners give them: "label image",
"CMU-1.svs [macro]"; but not "macrodissected" or "unlabelled"."""


@dataclass(frozen=True, kw_only=True)
class OmeImage:
    """One picture of an OME-TIFF as its XML describes it.

    Attributes:
        name: empty where it has none.
        scale: None where it has none that a microscope may have made.
        objective: nominal magnification; None where it is not given.
        channels: names of the separate channels, as far as it gives them.
        colours: of the separate channels as RRGGBB, as far as it gives them.
    """

    name: str
    scale: Scale | None
    objective: float | None
    channels: tuple[str, ...]
    colours: tuple[str, ...]

    @property
    def is_beside(self) -> bool:
        """Whether its name is that of a picture beside the tissue."""
        return _BESIDE.fullmatch(self.name.strip()) is not None


def read_images(xml: str, path: Path) -> list[OmeImage]:
    """The pictures that an OME-XML describes.

    Args:
        xml: the description inside the file.
        path: of the file. Others that hold a part of its pictures are looked at.

    Raises:
        RefusedError: a file of the set is missing, or not one to open.
        xml.etree.ElementTree.ParseError: the XML is damaged.
    """
    root = ElementTree.fromstring(xml)
    _check_files(root, path)
    objectives = {
        one.get("ID"): _number(one.get("NominalMagnification"))
        for one in root.iter()
        if _tag(one) == "Objective"
    }
    return [_image(element, objectives) for element in _children(root, "Image")]


def _image(element: Element, objectives: dict[str | None, float | None]) -> OmeImage:
    pixels = next(_children(element, "Pixels"))
    settings = [one.get("ID") for one in _children(element, "ObjectiveSettings")]
    channels = list(_children(pixels, "Channel"))
    return OmeImage(
        name=element.get("Name", ""),
        scale=_scale(pixels),
        objective=objectives.get(settings[0]) if settings else None,
        channels=tuple(one.attrib["Name"] for one in channels if "Name" in one.attrib),
        colours=tuple(
            f"{int(one.attrib['Color']) & 0xFFFFFFFF:08X}"[:6]
            for one in channels
            if "Color" in one.attrib
        ),
    )


def _scale(pixels: Element) -> Scale | None:
    sides = []
    for axis in "XY":
        size = _number(pixels.get(f"PhysicalSize{axis}"))
        unit = unit_um(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        sides.append(None if size is None or unit is None else size * unit)
    return plausible_scale(sides, "OME-XML: PhysicalSizeX and PhysicalSizeY")


def _check_files(root: Element, path: Path) -> None:
    """Make sure that all files that hold pixels of a set are there and can be opened."""
    for binary in _children(root, "BinaryOnly"):
        raise RefusedError(
            f"its pictures are described in another file, {binary.get('MetadataFile')}: write them "
            "as one OME-TIFF, for example with bfconvert"
        )
    names: dict[str, None] = {}
    for uuid in root.iter():
        name = uuid.get("FileName") if _tag(uuid) == "UUID" else None
        is_here = uuid.text == root.get("UUID") or (name or "").lower() == path.name.lower()
        if name is not None and not is_here:
            names[name] = None
    if len(names) >= MAX_PAGES:
        raise RefusedError(f"it is one of {len(names) + 1} files of a set, expected fewer")
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise RefusedError(
            f"its pixels are said to lie in {outside[0]!r}: expected a file in the same folder"
        )
    missing = [name for name in names if not (path.parent / name).exists()]
    if missing:
        raise RefusedError(
            f"it is one of {len(names) + 1} files of a set of which {', '.join(missing[:3])} "
            f"{'is' if len(missing) == 1 else 'are'} missing in its folder: put all of them there"
        )
    for name in names:
        check_regular(path.parent / name)
        check_directories(path.parent / name)


def _children(element: Element, tag: str) -> Iterator[Element]:
    """Those of one kind; every version of OME-XML has a namespace of its own."""
    return (child for child in element if _tag(child) == tag)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
