"""What a folder of saved predictions says about itself: its format, classes and tiles.

Files of other programs have no manifest: their tiles are then found by name or by order, and their
classes are taken for the store's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histonuc.files import read_json, reading, write_json
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store

MANIFEST_FILE = "histonuc-predictions.json"
MASKS_FILE = "masks.npy"
"""The predictions themselves in PanNuke's format."""
PIXELS_FOLDER = "pixels"
"""Images of the most probable channel of each pixel, which label images do not tell."""

SaveAs = Literal["labels", "hovernet", "pannuke"]
"""Formats of saved predictions: label images with classes, HoVer-Net's JSON, PanNuke's npy."""

_FORMAT = 1
_KIND = "list of saved predictions"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of saved predictions.

    Attributes:
        save_as: their format.
        label_space: their classes; None where they have none.
        tiles: source and name of each tile; in PanNuke's format in the order of the rows.
        stems: what the files of each tile are called, without suffix.
    """

    save_as: SaveAs
    label_space: LabelSpace | None
    tiles: tuple[tuple[str, str], ...]
    stems: tuple[str, ...]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of a folder of predictions."""
    space = manifest.label_space
    record = {
        "format": _FORMAT,
        "save_as": manifest.save_as,
        "label_space": None if space is None else space.to_dict(),
        "tiles": [
            {"source": source, "name": name, "file": stem}
            for (source, name), stem in zip(manifest.tiles, manifest.stems, strict=True)
        ],
    }
    write_json(record, folder / MANIFEST_FILE)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of predictions; None where there is none.

    Args:
        path: folder of predictions, or the npy in it.

    Raises:
        ValueError: a damaged one.
    """
    folder = path.parent if path.is_file() and path.name == MASKS_FILE else path
    file = folder / MANIFEST_FILE
    if not file.is_file():
        return None
    record = read_json(file, _KIND)
    with reading(file, _KIND):
        if record["format"] != _FORMAT:
            raise ValueError(
                f"{file} has format {record['format']}, this version reads {_FORMAT}: save the "
                "predictions again"
            )
        space = record["label_space"]
        return Manifest(
            save_as=record["save_as"],
            label_space=None if space is None else LabelSpace.from_dict(space),
            tiles=tuple((str(tile["source"]), str(tile["name"])) for tile in record["tiles"]),
            stems=tuple(_check_stem(tile["file"]) for tile in record["tiles"]),
        )


def _check_stem(stem: str) -> str:
    """A name of files inside the folder, and not one that leads out of it."""
    if Path(stem).is_absolute() or ".." in Path(stem).parts:
        raise ValueError(f"the name {stem!r} leads out of the folder")
    return stem


def find_rows(manifest: Manifest, path: Path, store: Store, tiles: Sequence[int]) -> list[int]:
    """Where the predictions of tiles stand in the manifest.

    Args:
        manifest: what the predictions say about themselves.
        path: where they are, for the error.
        store: whose tiles they are of.
        tiles: rows of the store.

    Raises:
        ValueError: there is none of some of the tiles.
    """
    rows = {tile: row for row, tile in enumerate(manifest.tiles)}
    keys = [(store.source(tile), store.name(tile)) for tile in tiles]
    missing = [key for key in keys if key not in rows]
    if missing:
        first, known = "/".join(missing[0]), "/".join(manifest.tiles[0]) if manifest.tiles else "-"
        raise ValueError(
            f"--predictions: {path} has none of {len(missing)} of the {len(keys)} tiles that are "
            f"scored, such as {first}; it has those of {len(rows)} tiles, such as {known}. Score "
            "the folds and data sets that they were saved from"
        )
    return [rows[key] for key in keys]
