"""index.csv of a folder of labelled images: one row an image."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from histonuc.files import is_text

COLUMNS = (
    "dataset",
    "name",
    "height",
    "width",
    "nuclei",
    "organ",
    "patient",
    "mpp",
    "split",
    "marked",
)
"""What is read of index.csv; columns of other names are free."""
REQUIRED_COLUMNS = ("name", "height", "width")
"""What every index.csv must have."""

_LARGEST = 2**31 - 1
_DELIMITERS = ",;\t"


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One image of index.csv.

    Attributes:
        directory: folder that holds the index.
        dataset: name of the data set, which is that of its folder.
        name: name of the image's files, without suffix.
        height: height in pixels.
        width: width in pixels.
        nuclei: number of nuclei as stated; None where the index does not state it.
        organ: organ as written.
        patient: name of the patient; empty when not known.
        mpp: microns per pixel, NaN when not stated.
        split: split as written; empty when not stated.
        is_sparse: whether points mark some of its nuclei only.
        others: values of all other columns, as written.
        where: file and line, for errors.
    """

    directory: Path
    dataset: str
    name: str
    height: int
    width: int
    nuclei: int | None = None
    organ: str = ""
    patient: str = ""
    mpp: float = math.nan
    split: str = ""
    is_sparse: bool = False
    others: Mapping[str, str]
    where: str


def read_indexes(directories: Sequence[Path], only: Sequence[str]) -> list[IndexRow]:
    """The rows of index.csv of every directory, or those of the data sets in `only`.

    Raises:
        ValueError: an index is missing, lacks columns or holds a value that is none; an image
            listed twice; a data set in two directories; or a data set of `only` that is in none.
    """
    rows = [row for directory in directories for row in _read_index(directory)]
    known = sorted({row.dataset for row in rows})
    if unknown := sorted(set(only) - set(known)):
        places = ", ".join(str(directory / "index.csv") for directory in directories)
        raise ValueError(f"--only: {places} has no {unknown}; it has {known}")
    rows = [row for row in rows if not only or row.dataset in only]
    home: dict[str, Path] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if home.setdefault(row.dataset, row.directory) != row.directory:
            raise ValueError(
                f"{home[row.dataset]} and {row.directory} both have a data set {row.dataset!r}: "
                "rename one of the folders, and in its index.csv"
            )
        if (row.dataset, row.name) in seen:
            file = row.directory / "index.csv"
            raise ValueError(f"{file} lists {row.dataset}/{row.name} twice: remove one of the rows")
        seen.add((row.dataset, row.name))
    return rows


def _read_index(directory: Path) -> list[IndexRow]:
    file = directory / "index.csv"
    if not file.is_file():
        raise ValueError(
            f"{directory} has no index.csv: make one with the columns {', '.join(COLUMNS)}, of "
            f"which {', '.join(REQUIRED_COLUMNS)} must be there"
        )
    table = read_csv(file, REQUIRED_COLUMNS)
    if not table:
        raise ValueError(f"{file} lists no images: add one row an image")
    only_set = "" if "dataset" in table[0][1] else _only_data_set(directory)
    return [_parse(directory, {"dataset": only_set} | row, where) for where, row in table]


def read_csv(file: Path, required: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table with a header, each with its place for errors.

    Blanks around values are dropped. Cells are separated by comma, semicolon or tab, as programs of
    different languages save them.

    Raises:
        ValueError: no UTF-8 table, a column missing, or a row with more cells than the header.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header = stream.readline()
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=header.count)
            reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            if missing := [name for name in required if name not in names]:
                raise ValueError(f"{file}: expected the columns {tuple(required)}, no {missing}")
            reader.fieldnames = names
            rows = []
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                if None in row:
                    raise ValueError(
                        f"{where}: expected {len(names)} cells, got more: put a text that contains "
                        f"{delimiter!r} in quotes"
                    )
                rows.append((where, {name: (text or "").strip() for name, text in row.items()}))
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}: expected a UTF-8 CSV table ({error}): save it again") from None


def _only_data_set(directory: Path) -> str:
    """Name of the one folder that an index without the column `dataset` can speak of."""
    found = sorted(path.name for path in directory.iterdir() if (path / "images").is_dir())
    if len(found) != 1:
        raise ValueError(
            f"{directory / 'index.csv'} has no column `dataset`, so {directory} must hold one "
            f"folder with `images` inside; it holds {found}"
        )
    return found[0]


def _parse(directory: Path, row: Mapping[str, str], where: str) -> IndexRow:
    if not (row["dataset"] and row["name"]):
        raise ValueError(f"{where}: expected a dataset and a name, got {dict(row)}: fill them in")
    stated = {name: row.get(name, "") for name in COLUMNS}
    return IndexRow(
        directory=directory,
        dataset=_plain_name(row["dataset"], where),
        name=_plain_name(row["name"], where),
        height=_whole_number(row["height"], "height", where),
        width=_whole_number(row["width"], "width", where),
        nuclei=_whole_number(stated["nuclei"], "nuclei", where) if stated["nuclei"] else None,
        organ=stated["organ"],
        patient=stated["patient"],
        mpp=_number(stated["mpp"], "mpp", where) if stated["mpp"] else math.nan,
        split=stated["split"],
        is_sparse=_is_some(stated["marked"], where),
        others={name: text for name, text in row.items() if name not in COLUMNS},
        where=where,
    )


def _is_some(text: str, where: str) -> bool:
    """Whether a cell says that some of the nuclei are marked; all are where it is empty."""
    if text not in ("", "all", "some"):
        raise ValueError(f"{where}: expected all or some as marked, got {text!r}: correct it")
    return text == "some"


def _plain_name(name: str, where: str) -> str:
    """A name of a file or folder, accents composed, which cannot lead out of its folder."""
    name = unicodedata.normalize("NFC", name)
    if name in (".", "..") or "/" in name or "\\" in name or not is_text(name):
        raise ValueError(
            f"{where}: expected the names of a folder and a file, without / or \\, got {name!r}: "
            "correct it"
        )
    return name


def _number(text: str, name: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and (number > 0 or (number == 0 and name == "nuclei"))):
        raise ValueError(f"{where}: expected a number above 0 as {name}, got {text!r}: correct it")
    return number


def _whole_number(text: str, name: str, where: str) -> int:
    number = _number(text, name, where)
    if number != int(number) or number > _LARGEST:
        raise ValueError(f"{where}: expected a whole number as {name}, got {text!r}: correct it")
    return int(number)
