"""Commands that make stores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histonuc.commands.outcome import Outcome
from histonuc.plain_text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histonuc.data.store import Store
    from histonuc.inference.progress import Meter


def prepare_pannuke(
    raw: Path,
    *,
    out: Path,
    folds: tuple[int, ...] = (),
    mpp: float = 0.25,
    label_space: str = "pannuke",
    overwrite: bool = False,
) -> Outcome:
    """Read PanNuke's official folds, check them, and write a store.

    Args:
        raw: Folder that holds the unpacked folds, in any of the layouts found in the wild.
        out: Store to write; must not exist.
        folds: Folds to read; all that are found when not given.
        mpp: Microns per pixel of the tiles.
        label_space: Classes of the store: pannuke (five), four, three or nucleus.
        overwrite: Replace an existing store.
    """
    from histonuc.data import pannuke

    result = pannuke.prepare_pannuke(
        raw, out, folds=folds, mpp=mpp, label_space=label_space, overwrite=overwrite
    )
    return Outcome(lines=result.lines(), data=result.to_dict())


def prepare_folder(
    directories: tuple[Path, ...],
    *,
    out: Path,
    only: tuple[str, ...] = (),
    label_space: str = "pannuke",
    classes: tuple[str, ...] = (),
    num_folds: int = 3,
    mpp: dict[str, float] | None = None,
    connected_components: tuple[str, ...] = (),
    seed: int = 0,
    overwrite: bool = False,
) -> Outcome:
    """Read folders of labelled images (index.csv, images, and instances or points) into one store.

    Args:
        directories: Folders with an index.csv and one folder a data set.
        out: Store to write; must not exist.
        only: Names of the data sets to read; all when not given.
        label_space: Classes of the store: pannuke, four, three, nucleus, or the name in the classes
            file of a data set, whose own classes are then kept.
        classes: Files that say what the classes of the data sets mean, or names of those that ship
            with histonuc; classes.yaml beside index.csv when not given.
        num_folds: Folds to split into, by patient (or image), stratified by data set. A data set
            with a column split keeps its own.
        mpp: Microns per pixel of a data set that does not state it: --mpp.nuinsseg 0.17.
        connected_components: Data sets whose masks do not number the nuclei: each connected part of
            equal values becomes a nucleus.
        seed: Seed of the split.
        overwrite: Replace an existing store.
    """
    from histonuc.data import folder

    options = folder.FolderOptions(
        only=only,
        label_space=label_space,
        classes=classes,
        num_folds=num_folds,
        mpp=mpp or {},
        seed=seed,
        connected_components=connected_components,
    )
    result = folder.prepare_folder(directories, out, options, overwrite=overwrite)
    return Outcome(lines=result.lines(), data=result.to_dict())


def prepare_outline(
    data: Path,
    *,
    model: str = "default",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    flips: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Let a model outline the nuclei that a store's points mark, for training on their classes.

    Args:
        data: Store with points, as `histonuc prepare folder` writes it; the outlines are written
            into it, beside the points.
        model: A run folder, a checkpoint, an exported model file, or a shipped model's name.
        device: auto, cpu, cuda:0 or mps.
        precision: As for `histonuc predict`.
        flips: As for `histonuc predict`.
        overwrite: Replace the outlines that are there.
    """
    from histonuc.data import outlining
    from histonuc.data.store import Store
    from histonuc.evaluation.predictions import outline_tiles
    from histonuc.inference.progress import open_meter
    from histonuc.models.loading import load_model

    store = Store.open(data)
    tiles = outlining.find_tiles(store, overwrite=overwrite)
    loaded = load_model(model, device, precision, flips=flips)
    facts = {"name": loaded.name, "precision": loaded.precision, "flips": flips}
    found = outline_tiles(
        store, tiles, loaded.maps, representation=loaded.representation, mpp=loaded.spec.mpp
    )
    with open_meter(1) as meter:
        meter.start("outlining", len(tiles))
        result = outlining.outline_points(store, _counting(found, store, meter), model=facts)
    return Outcome(lines=result.lines(), data=result.to_dict())


def prepare_corrections(
    results: tuple[Path, ...],
    *,
    geojson: Path | None = None,
    out: Path | None = None,
    by: str = "",
    frame: Literal["qupath", "slide"] = "qupath",
    class_map: dict[str, str] | None = None,
    unclassified: str = "",
    part: bool = False,
    slides: Path | None = None,
    num_folds: int = 3,
    unlabelled: int = 20,
    overwrite: bool = False,
) -> Outcome:
    """Read corrections made in QuPath (--geojson), or make a store of corrections (--out).

    With --geojson, what was changed in QuPath since the export is added to the corrections of the
    result. With --out, complete fields become tiles with outlines, and other nuclei that have a
    class by hand become labels of their class alone. Tiles of other tissue, without labels, keep a
    network that is fine-tuned from forgetting.

    Args:
        results: Folder of one result of `histonuc predict`; with --out also several, or a folder of
            many.
        geojson: File that QuPath exported, of nuclei that came from this result.
        out: Store to write; must not exist.
        by: With --geojson: your name; that of your login when not given.
        frame: With --geojson: what its positions are measured from, as for `histonuc export`.
        class_map: With --geojson: class of the result for a class in the file:
            --class-map.Tumor "Epithelial or neoplastic".
        unclassified: With --geojson: class of new objects that have none.
        part: With --geojson: the file holds some of the objects only: those not in it stay.
        slides: With --out: folder in which slides are looked for that are not where they were.
        num_folds: With --out: folds to split into.
        unlabelled: With --out: tiles without labels, at most, of all slides together; 0 for none.
        overwrite: With --out: replace an existing store.
    """
    from histonuc.commands import corrected_data

    if (geojson is None) == (out is None):
        raise ValueError("expected either --geojson FILE to read, or --out DATA to write")
    if geojson is not None:
        if len(results) != 1:
            raise ValueError(f"--geojson belongs to one result, got {len(results)}")
        mapped = (class_map or {}) | ({"": unclassified} if unclassified else {})
        return corrected_data.read_qupath(
            results[0], geojson, by=by, frame=frame, class_map=mapped, is_part=part
        )
    assert out is not None, "one of them is given"
    return corrected_data.write_store(
        results,
        out,
        slides=slides,
        num_folds=num_folds,
        num_unlabelled=unlabelled,
        overwrite=overwrite,
    )


def _counting(
    found: Iterable[tuple[int, NDArray[np.int32]]], store: Store, meter: Meter
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """The same label images, told to the meter on the way."""
    for tile, labels in found:
        mpp = store.mpp(tile)
        area_mm2 = labels.size * mpp**2 / 1e6 if math.isfinite(mpp) else 0.0
        meter.advance(1, int(labels.max(initial=0)), area_mm2)
        yield tile, labels


def synth(
    *,
    out: Path,
    tiles: int = 200,
    folds: int = 3,
    tile_px: int = 256,
    seed: int = 0,
) -> Outcome:
    """Draw H&E-like tiles with exact labels in PanNuke's official layout.

    Args:
        out: Folder to write the folds into.
        tiles: Tiles in all, spread over the folds.
        folds: Number of folds.
        tile_px: Side of a tile in pixels.
        seed: The same seed draws the same tiles.
    """
    from histonuc.data.synthetic import write_synthetic

    write_synthetic(out, tiles=tiles, seed=seed, folds=folds, tile_px=tile_px)
    return Outcome(
        lines=[
            f"drew {counted(tiles, 'tile')} in {counted(folds, 'fold')} into {out}",
            f"next: histonuc prepare pannuke {out} --out DATA",
        ],
        data={"out": str(out), "tiles": tiles, "folds": folds},
    )
