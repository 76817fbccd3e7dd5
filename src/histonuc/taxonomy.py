"""Classes, tissues, colours, and the candidate sets that let data sets with different classes meet.

A *label space* is an ordered tuple of class names. A nucleus carries the *set* of classes it may
be, as a bit mask: bit ``j`` is set when class ``j`` of the label space is possible. A nucleus of
PanNuke has one bit; one of CoNSeP's epithelial nuclei has the bits of Neoplastic and Epithelial;
a nucleus without any class label has all bits set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_PALETTE = (
    (255, 51, 51),
    (51, 160, 255),
    (38, 180, 75),
    (250, 190, 0),
    (255, 125, 216),
    (145, 30, 180),
    (0, 190, 190),
    (128, 100, 60),
)

UNCERTAIN = "Uncertain"
"""The class of nuclei whose class is not known well enough to be said."""
OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that people with any colour vision can tell apart (Okabe & Ito 2008)."""


def default_colour(index: int) -> tuple[int, int, int]:
    """RGB (0..255) of the class with this index, where nobody chose one."""
    return _PALETTE[index % len(_PALETTE)]


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes a data set or a model knows, in the order of its channels.

    Attributes:
        name: short identifier, written into stores, checkpoints and model files.
        classes: class names; class ``j`` is ``classes[j]``, its stored type is ``j + 1``.
        colours: one RGB triple (0..255) a class; filled from a palette when empty.
        meanings: for each class the names of PanNuke's classes that its nuclei belong to, empty
            where they may belong to any; empty as a whole where nothing is known of them. Two
            spaces that differ in nothing else are equal.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()
    meanings: tuple[tuple[str, ...], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 31:
            raise ValueError(f"a label space holds 1 to 31 classes, got {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class names must be unique, got {self.classes}")
        if not self.colours:
            colours = tuple(default_colour(j) for j in range(len(self.classes)))
            object.__setattr__(self, "colours", colours)
        if len(self.colours) != len(self.classes):
            raise ValueError(f"expected {len(self.classes)} colours, got {len(self.colours)}")
        if len(self.meanings) not in (0, len(self.classes)):
            raise ValueError(f"expected {len(self.classes)} meanings, got {len(self.meanings)}")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def any_class(self) -> int:
        """The candidate set of a nucleus about whose class nothing is known."""
        return (1 << len(self.classes)) - 1

    def candidates(self, names: Sequence[str]) -> int:
        """Bit mask of the named classes.

        >>> PANNUKE.candidates(["Neoplastic", "Epithelial"])
        17
        """
        mask = 0
        for name in names:
            if name not in self.classes:
                raise ValueError(f"unknown class {name!r}; {self.name} has {list(self.classes)}")
            mask |= 1 << self.classes.index(name)
        return mask

    def to_dict(self) -> dict[str, object]:
        """Plain dict for JSON and YAML; `from_dict` reads it back."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "colours": [list(colour) for colour in self.colours],
            **({"meanings": [list(names) for names in self.meanings]} if self.meanings else {}),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> LabelSpace:
        """Inverse of `to_dict`; takes what versions before 0.2 wrote, which has no meanings."""
        classes: list[str] = list(record["classes"])  # type: ignore[call-overload]
        colours: list[list[int]] = list(record.get("colours") or [])  # type: ignore[call-overload]
        groups: list[list[str]] = list(record.get("meanings") or [])  # type: ignore[call-overload]
        return cls(
            name=str(record["name"]),
            classes=tuple(classes),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in colours),
            meanings=tuple(tuple(map(str, names)) for names in groups),
        )


PANNUKE = LabelSpace(
    name="pannuke",
    classes=("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"),
    colours=_PALETTE[:5],
    meanings=(("Neoplastic",), ("Inflammatory",), ("Connective",), ("Dead",), ("Epithelial",)),
)
"""PanNuke's five classes in the order of the official mask channels."""

NUCLEUS = LabelSpace(
    name="nucleus", classes=("Nucleus",), colours=((0, 150, 255),), meanings=(PANNUKE.classes,)
)
"""One class: for data without class labels."""

THREE = LabelSpace(
    name="three",
    classes=("Epithelial or neoplastic", "Inflammatory", "Connective"),
    colours=(_PALETTE[0], _PALETTE[1], _PALETTE[2]),
    meanings=(("Neoplastic", "Epithelial"), ("Inflammatory",), ("Connective",)),
)
"""What CoNSeP and unclassified sets together can teach: no Dead, Neoplastic not told apart."""

FOUR = LabelSpace(
    name="four",
    classes=("Neoplastic", "Inflammatory", "Connective", "Epithelial"),
    colours=(_PALETTE[0], _PALETTE[1], _PALETTE[2], _PALETTE[4]),
    meanings=(("Neoplastic",), ("Inflammatory",), ("Connective",), ("Epithelial",)),
)
"""PanNuke's classes but Dead, which no data set but PanNuke teaches."""

LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space for space in (PANNUKE, FOUR, THREE, NUCLEUS)
}
"""The label spaces that are made of PanNuke's classes. Those of data sets come from classes files,
see `histonuc.data.classes`."""


def translate(names: Sequence[str], space: LabelSpace) -> int:
    """Candidate set, in a label space of `LABEL_SPACES`, of a nucleus that is known in PanNuke's.

    Args:
        names: the classes of PanNuke that the nucleus may be; empty when it may be any.
        space: the label space wanted. Where one of the names belongs to none of its classes,
            nothing is known: the nucleus may be any.

    >>> translate(["Neoplastic", "Epithelial"], PANNUKE), translate(["Connective"], THREE)
    (17, 4)
    >>> translate(["Dead", "Connective"], THREE) == THREE.any_class
    True
    """
    mask = 0
    for name in names:
        bits = sum(1 << j for j, meaning in enumerate(space.meanings) if name in meaning)
        if bits == 0:
            return space.any_class
        mask |= bits
    return mask or space.any_class


def find_comprised(fine: LabelSpace, coarse: LabelSpace) -> tuple[int, ...] | None:
    """Which classes of one label space each class of another comprises.

    Args:
        fine: the classes that may be merged.
        coarse: the classes that they are merged into.

    Returns:
        For each class of `coarse` the bit mask of the classes of `fine` that it comprises; None
        where a class of `coarse` comprises none of them.

    >>> find_comprised(PANNUKE, THREE), find_comprised(THREE, PANNUKE)
    ((17, 2, 4), None)
    """
    parts, wholes = _list_meanings(fine), _list_meanings(coarse)
    masks = tuple(
        sum(1 << j for j, part in enumerate(parts) if part and part <= whole) for whole in wholes
    )
    return masks if all(masks) else None


def _list_meanings(space: LabelSpace) -> list[frozenset[str]]:
    """What each class means, in PanNuke's names; the name itself where that is not known."""
    known = LABEL_SPACES.get(space.name)
    meanings = space.meanings
    if not meanings and known is not None and known.classes == space.classes:
        meanings = known.meanings  # of a model made before label spaces kept them
    return [frozenset(names) for names in meanings or [(name,) for name in space.classes]]


TISSUES = (
    "Adrenal_gland",
    "Bile-duct",
    "Bladder",
    "Breast",
    "Cervix",
    "Colon",
    "Esophagus",
    "HeadNeck",
    "Kidney",
    "Liver",
    "Lung",
    "Ovarian",
    "Pancreatic",
    "Prostate",
    "Skin",
    "Stomach",
    "Testis",
    "Thyroid",
    "Uterus",
)
"""PanNuke's 19 tissues, official spelling."""

_TISSUE_ALIASES = {
    "adrenal": "Adrenal_gland",
    "adrenalgland": "Adrenal_gland",
    "bileduct": "Bile-duct",
    "colorectal": "Colon",
    "colon": "Colon",
    "headneck": "HeadNeck",
    "headandneck": "HeadNeck",
    "oesophagus": "Esophagus",
    "ovary": "Ovarian",
    "pancreas": "Pancreatic",
}
_TISSUE_BY_KEY = {re.sub(r"[^a-z]", "", t.lower()): t for t in TISSUES} | _TISSUE_ALIASES


def canonical_tissue(name: str) -> str:
    """Official spelling of a tissue; a name that is none of the 19 begins with a capital.

    >>> tuple(map(canonical_tissue, ("Head & Neck", "adrenal gland", "brain")))
    ('HeadNeck', 'Adrenal_gland', 'Brain')
    """
    stripped = name.strip()
    official = _TISSUE_BY_KEY.get(re.sub(r"[^a-z]", "", name.lower()))
    return official or stripped[:1].upper() + stripped[1:]
