"""Classes files: what the class numbers and names of a data set mean.

    name: mylab                       # of the label space that the classes make
    datasets: [site_a, site_b]        # optional: the data sets it speaks of, all when not given
    mpp: 0.25                         # optional: microns per pixel where index.csv states none
    mpp_note: from the scanner's log  # optional: where that figure comes from
    organ: Colon                      # optional: where index.csv states none
    split: check                      # optional: never to train on
    classes:
      - {number: 1, name: Tumour, colour: "#ff3333", candidates: [Neoplastic]}
      - {number: 2, name: Epithelium, candidates: [Neoplastic, Epithelial]}
      - {number: 0, name: not labelled, candidates: any}

`number` is what the images in ``types/`` hold, `name` what points and outlines are called by;
number 0 stands for nuclei without a class. `candidates` are the classes of PanNuke that such a
nucleus may be. `organ` in a row limits it to images whose organ contains that word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from histonuc.files import is_text
from histonuc.taxonomy import LABEL_SPACES, PANNUKE, LabelSpace, default_colour, translate
from histonuc.yaml_reader import read_yaml

CHECK = "check"
"""The split of data that are for checking a finished model, never for training one."""
SHIPPED = Path(__file__).parents[1] / "configs" / "classes"
"""Folder of the files that come with the package."""

_FILE_KEYS = ("name", "datasets", "mpp", "mpp_note", "organ", "split", "classes")
_CLASS_KEYS = ("number", "name", "colour", "candidates", "organ")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LARGEST = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class SourceClass:
    """One row of a classes file.

    Attributes:
        number: what the class is called in images of types; 0 stands for nuclei without a class.
        name: what it is called in points and outlines.
        colour: RGB (0..255), None where the file states none.
        candidates: PanNuke's classes that such a nucleus may be, empty when it may be any; None
            where the file does not say.
        organ: the row is for images whose organ contains this word, in any case; empty for all.
    """

    number: int
    name: str
    colour: tuple[int, int, int] | None
    candidates: tuple[str, ...] | None
    organ: str


@dataclass(frozen=True, kw_only=True)
class ClassesFile:
    """A classes file; see the module's text for its keys.

    Attributes:
        path: path of the file.
        name: name of the label space that its classes make.
        datasets: the data sets it speaks of, empty for all.
        mpp: microns per pixel of images for which the index states none; None where not given.
        mpp_note: where `mpp` comes from.
        organ: organ of the images for which the index states none.
        split: "check" for data that are never trained on, else empty.
        classes: its rows, in order.
    """

    path: Path
    name: str
    datasets: tuple[str, ...]
    mpp: float | None
    mpp_note: str
    organ: str
    split: str
    classes: tuple[SourceClass, ...]

    @cached_property
    def names(self) -> dict[int, str]:
        """Name by number, in the file's order."""
        return {row.number: row.name for row in self.classes}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number by name."""
        return {name: number for number, name in self.names.items()}

    @cached_property
    def label_space(self) -> LabelSpace:
        """The classes of the file as a label space of its own; number 0 is no class of it.

        Raises:
            ValueError: no class, or more than a label space holds.
        """
        rows = {row.number: row for row in reversed(self.classes) if row.number > 0}
        ordered = [rows[number] for number in self.names if number > 0]
        try:
            return LabelSpace(
                name=self.name,
                classes=tuple(row.name for row in ordered),
                colours=tuple(row.colour or default_colour(j) for j, row in enumerate(ordered)),
                meanings=tuple(row.candidates or () for row in ordered),
            )
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def candidate_set(self, number: int, space: LabelSpace, organ: str) -> int:
        """Candidate set of a nucleus.

        Args:
            number: number of its class in this file.
            space: the label space wanted. In the file's own each class is one class; the sets of
                others come from `candidates`; in the space of another data set nothing is known.
            organ: organ of its image.

        Raises:
            ValueError: the file does not list the number, or not what it means in `space`.
        """
        matching = [row for row in self.classes if row.number == number and _applies(row, organ)]
        if not matching:
            if number == 0:
                return space.any_class
            raise ValueError(
                f"class number {number} is not in {self.path}, which lists {self.names}: add it "
                "there, or correct the labels"
            )
        row = max(matching, key=lambda row: bool(row.organ))  # what speaks of the organ goes first
        if space.name == self.name and space.name not in LABEL_SPACES:
            return 1 << (space.classes.index(row.name)) if number > 0 else space.any_class
        if len(space) == 1 or space.name not in LABEL_SPACES:
            return space.any_class
        if row.candidates is None:
            raise ValueError(
                f"{self.path} does not say what {row.name!r} is among "
                f"{', '.join(PANNUKE.classes)}: write it as `candidates: [...]`, or `candidates: "
                f"any`; or keep your own classes with --label-space {self.name}"
            )
        return translate(row.candidates, space)


def read_classes(path: Path) -> ClassesFile:
    """Read and check a classes file.

    Raises:
        ValueError: no YAML, a key that is not known, or a value that is none of what its key holds.
    """
    record = read_yaml(path, "classes file")
    _check_keys(record, _FILE_KEYS, str(path))
    name = _text(record.get("name"), "name", str(path))
    if name in LABEL_SPACES and path.parent != SHIPPED:
        raise ValueError(f"{path}: the name {name!r} is taken by one of histonuc's: choose another")
    rows = record.get("classes")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: expected `classes`, a list of one row a class, got {rows!r}")
    datasets = record.get("datasets", [])
    if not isinstance(datasets, list):
        raise ValueError(f"{path}: expected `datasets` as a list of names, got {datasets!r}")
    split = record.get("split", "")
    if split not in ("", CHECK):
        raise ValueError(f"{path}: expected `split: {CHECK}` or none, got {split!r}")
    classes = tuple(_read_row(row, f"{path}, class {i}") for i, row in enumerate(rows, 1))
    _check_unique(classes, path)
    return ClassesFile(
        path=path,
        name=name,
        datasets=tuple(_text(dataset, "datasets", str(path)) for dataset in datasets),
        mpp=_mpp(record["mpp"], path) if "mpp" in record else None,
        mpp_note=_text(record.get("mpp_note", "stated"), "mpp_note", str(path)),
        organ=_text(record["organ"], "organ", str(path)) if "organ" in record else "",
        split=split,
        classes=classes,
    )


def _read_row(row: Any, where: str) -> SourceClass:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected number, name, colour and candidates, got {row!r}")
    _check_keys(row, _CLASS_KEYS, where)
    number = row.get("number")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _LARGEST:
        raise ValueError(f"{where}: expected a whole number from 0 as `number`, got {number!r}")
    return SourceClass(
        number=number,
        name=_text(row.get("name"), "name", where),
        colour=_colour(row["colour"], where) if "colour" in row else None,
        candidates=_candidates(row["candidates"], where) if "candidates" in row else None,
        organ=_text(row["organ"], "organ", where) if "organ" in row else "",
    )


def _candidates(value: Any, where: str) -> tuple[str, ...]:
    if value == "any":
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not set(map(str, names)) <= {*PANNUKE.classes}:
        raise ValueError(
            f"{where}: expected `candidates` from {', '.join(PANNUKE.classes)}, or any, got "
            f"{value!r}"
        )
    return tuple(names)


def _colour(value: Any, where: str) -> tuple[int, int, int]:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise ValueError(f'{where}: expected `colour` as "#rrggbb", in quotes, got {value!r}')
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def _mpp(value: Any, path: Path) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise ValueError(f"{path}: expected microns per pixel above 0 as `mpp`, got {value!r}")
    return float(value)


def _text(value: Any, key: str, where: str) -> str:
    """A name as it is compared: accents composed, no blanks around it."""
    text = unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else ""
    if not text or not is_text(text):
        raise ValueError(f"{where}: expected a text as `{key}`, got {value!r}")
    return text


def _check_keys(record: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    unknown = [key for key in record if key not in known]
    if unknown:
        raise ValueError(f"{where}: {unknown} is not known; there are {', '.join(known)}")


def _check_unique(classes: Sequence[SourceClass], path: Path) -> None:
    """Refuse a number with two names, a name with two numbers, and a row that is there twice."""
    if len({(row.number, row.organ.lower()) for row in classes}) < len(classes):
        raise ValueError(f"{path} lists a number twice: each class has one row (an organ)")
    pairs = {(row.number, row.name) for row in classes}
    for place, kind in enumerate(("number", "name")):
        value, uses = Counter(pair[place] for pair in pairs).most_common(1)[0]
        if uses > 1:
            raise ValueError(f"{path}: the {kind} {value!r} stands for two classes")


def _applies(row: SourceClass, organ: str) -> bool:
    return row.organ.lower() in organ.lower()
