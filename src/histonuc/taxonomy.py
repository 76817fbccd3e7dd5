"""Classes, tissues, colours, and the candidate sets that let data sets with different classes meet.

A *label space* is an ordered tuple of class names. A nucleus carries the *set* of classes it may
be, as a bit mask: bit ``j`` is set when class ``j`` of the label space is possible. A nucleus of
PanNuke has one bit; one of CoNSeP's epithelial nuclei has the bits of Neoplastic and Epithelial;
a nucleus without any class label has all bits set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes a data set or a model knows, in the order of its channels.

    Attributes:
        name: short identifier, written into stores, checkpoints and model files.
        classes: class names; class ``j`` is ``classes[j]``, its stored type is ``j + 1``.
        colours: one RGB triple (0..255) a class; filled from a palette when empty.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 31:
            raise ValueError(f"a label space holds 1 to 31 classes, got {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class names must be unique, got {self.classes}")
        if not self.colours:
            colours = tuple(_PALETTE[j % len(_PALETTE)] for j in range(len(self.classes)))
            object.__setattr__(self, "colours", colours)
        if len(self.colours) != len(self.classes):
            raise ValueError(f"expected {len(self.classes)} colours, got {len(self.colours)}")

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
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> LabelSpace:
        """Inverse of `to_dict`."""
        classes: list[str] = list(record["classes"])  # type: ignore[call-overload]
        colours: list[list[int]] = list(record.get("colours") or [])  # type: ignore[call-overload]
        return cls(
            name=str(record["name"]),
            classes=tuple(classes),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in colours),
        )


PANNUKE = LabelSpace(
    name="pannuke",
    classes=("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"),
    colours=_PALETTE[:5],
)
"""PanNuke's five classes in the order of the official mask channels."""

CONSEP = LabelSpace(
    name="consep",
    classes=("Other", "Inflammatory", "Epithelial", "Spindle-shaped"),
    colours=(_PALETTE[7], _PALETTE[1], _PALETTE[0], _PALETTE[2]),
)
"""CoNSeP's four merged classes as HoVer-Net publishes them (its types 1 to 4)."""

NUCLEUS = LabelSpace(name="nucleus", classes=("Nucleus",), colours=((0, 150, 255),))
"""One class: for data without class labels."""

THREE = LabelSpace(
    name="three",
    classes=("Epithelial or neoplastic", "Inflammatory", "Connective"),
    colours=(_PALETTE[0], _PALETTE[1], _PALETTE[2]),
)
"""What CoNSeP and unclassified sets together can teach: no Dead, Neoplastic not told apart."""

LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space for space in (PANNUKE, CONSEP, THREE, NUCLEUS)
}

_PANNUKE_IN_THREE = {
    "Neoplastic": "Epithelial or neoplastic",
    "Epithelial": "Epithelial or neoplastic",
    "Inflammatory": "Inflammatory",
    "Connective": "Connective",
}

_MEANINGS = {
    "Epithelial or neoplastic": ("Neoplastic", "Epithelial"),
    "Nucleus": PANNUKE.classes,
    **{name: (name,) for name in PANNUKE.classes},
}
_CONSEP_MEANINGS = {
    "Inflammatory": ("Inflammatory",),
    "Epithelial": ("Neoplastic", "Epithelial"),  # healthy and malignant merged
    "Spindle-shaped": ("Connective",),
}
"""What classes mean in PanNuke's names; "Other" may be anything and means nothing."""


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
    """What each class means, in PanNuke's names; the name itself where it is none of ours."""
    if space.classes == CONSEP.classes:
        return [frozenset(_CONSEP_MEANINGS.get(name, ())) for name in space.classes]
    return [frozenset(_MEANINGS.get(name, (name,))) for name in space.classes]


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


# What each data set of the `prepare folder` layout knows, in names of PANNUKE, keyed by the data
# set's own type number. Type 0 in this table stands for every nucleus without a type.
CANDIDATE_MAPS: dict[str, dict[int, tuple[str, ...]]] = {
    "consep": {
        1: ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"),  # "other"
        2: ("Inflammatory",),
        3: ("Neoplastic", "Epithelial"),  # healthy and malignant merged
        4: ("Connective",),
    },
    "nuinsseg": {0: ("Inflammatory", "Connective", "Dead", "Epithelial")},  # normal organs
    "pannuke3": {
        1: ("Neoplastic",),
        2: ("Inflammatory",),
        3: ("Connective",),
        4: ("Dead",),
        5: ("Epithelial",),
    },
}


def candidate_set(dataset: str, type_id: int, space: LabelSpace, organ: str = "") -> int:
    """Candidate bit mask of a nucleus of `dataset` whose own type number is `type_id`.

    Own class spaces (``consep`` in ``CONSEP``, ``pannuke*`` in ``PANNUKE``) map one to one. Other
    data sets go through `CANDIDATE_MAPS`; what is not listed there may be any class.

    Args:
        dataset: name in the ``dataset`` column of ``index.csv``.
        type_id: 0 when the nucleus has no type, else the data set's own number.
        space: the label space wanted.
        organ: nuinsseg's melanoma tiles are the only ones of that set that may be Neoplastic.

    >>> candidate_set("consep", 3, PANNUKE), candidate_set("monuseg", 0, PANNUKE)
    (17, 31)
    """
    if (space.name == dataset or (space is PANNUKE and dataset.startswith("pannuke"))) and (
        1 <= type_id <= len(space)
    ):
        return 1 << (type_id - 1)
    names = CANDIDATE_MAPS.get(dataset, {}).get(type_id)
    melanoma = dataset == "nuinsseg" and "melanoma" in organ.lower()
    if names is None or melanoma or space.name not in (PANNUKE.name, THREE.name):
        return space.any_class
    if space.name == THREE.name:
        if not all(name in _PANNUKE_IN_THREE for name in names):
            return space.any_class  # Dead has no place in this space: nothing is known
        names = tuple({_PANNUKE_IN_THREE[name]: None for name in names})
    return space.candidates(names)
