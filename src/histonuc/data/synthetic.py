"""`histonuc synth`: procedurally drawn tissue in PanNuke's official layout, with exact labels.

Not a substitute for tissue. It is for tests, for trying the whole line without a download, and for
experiments whose truth must be exact (a class of 1.5 %, overlaps, empty tiles).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.tissue_drawing import (
    CONNECTIVE,
    DEAD,
    EPITHELIAL,
    INFLAMMATORY,
    NEOPLASTIC,
    TileCanvas,
)
from histonuc.files import replacing_folder
from histonuc.taxonomy import TISSUES

SCENES = ("tumour", "gland", "stroma", "immune", "empty")

_OFFICIAL_TILES = {"Breast": 2351, "Colon": 1440, "Adrenal_gland": 437, "Esophagus": 424}
_OFFICIAL_TILES |= {"Bile-duct": 420, "HeadNeck": 384, "Cervix": 293}
_USUAL_TILES = 180
"""Tiles of the other tissues, roughly."""
_DEAD_SHARE = 0.035
"""Share of tiles with Dead nuclei: 232 of 7,901 officially."""


def scene_weights(tissue: str) -> NDArray[np.float64]:
    """Probabilities of `SCENES` in a tissue: each its own mix, together about PanNuke's."""
    index = TISSUES.index(tissue)
    lean = np.sin(2.4 * index + np.arange(5)) * 0.35  # a fixed, tissue-specific lean
    weights = np.array([0.43, 0.20, 0.18, 0.16, 0.03]) * np.exp(lean * [1, 1, 1, 1, 0])
    return np.asarray(weights / weights.sum())


def draw_tile(
    rng: np.random.Generator, tissue: str, tile_px: int = 256
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """One tile.

    Args:
        rng: source of all randomness.
        tissue: one of `TISSUES`.
        tile_px: side in pixels, at 0.25 mpp.

    Returns:
        image uint8 (S, S, 3) and official mask int32 (S, S, 6): ids in channels 0..4, unique over
        the channels; channel 5 is 1 where no nucleus is.
    """
    canvas = TileCanvas(rng, tile_px)
    scene = SCENES[rng.choice(len(SCENES), p=scene_weights(tissue))]
    amount = canvas.size**2 / 304**2  # numbers below are for a 256 px tile
    if scene == "empty":
        if rng.random() < 0.5:
            canvas.clear((canvas.size / 2, canvas.size / 2), (canvas.size, canvas.size), 0.0)
        return canvas.finish()
    if scene == "tumour":
        _nests(canvas, int(rng.integers(15, 42) * amount))
    elif scene == "gland":
        _glands(canvas, int(rng.integers(1, 4)))
    elif scene == "immune":
        _clusters(canvas, INFLAMMATORY, int(rng.integers(12, 34) * amount))
    if rng.random() < _DEAD_SHARE / (1 - 0.03):
        _clusters(canvas, DEAD, int(rng.integers(8, 20) * amount))
    if rng.random() < 0.35:
        _clusters(canvas, INFLAMMATORY, int(rng.integers(2, 10) * amount))
    fewer = 0.5 if scene in ("tumour", "gland") else 1.0
    _spindles(canvas, int(rng.integers(5, 22) * fewer * amount))
    if rng.random() < 0.25:
        canvas.add_red_cells(int(rng.integers(2, 12)))
    return canvas.finish()


def _nests(canvas: TileCanvas, number: int) -> None:
    """Crowded neoplastic nuclei in solid nests."""
    rng = canvas.rng
    region = canvas.noise(60) > rng.uniform(-0.35, 0.15)
    canvas.paint_region(region, rng.uniform(0.22, 0.42), rng.uniform(0.08, 0.2))
    ys, xs = np.nonzero(region)
    for _ in range(number * 3 if len(ys) else 0):
        spot = int(rng.integers(len(ys)))
        number -= canvas.add_nucleus(NEOPLASTIC, xs[spot], ys[spot])
        if number <= 0:
            return


def _glands(canvas: TileCanvas, number: int) -> None:
    """Epithelial nuclei in rows around lumens, pointing outwards."""
    rng = canvas.rng
    glands = [
        (*rng.uniform(0.15, 0.85, 2) * canvas.size, *rng.uniform(18, 48, 2), rng.uniform(0, np.pi))
        for _ in range(number)
    ]
    # All tissue first: a gland painted later would cover its neighbour's nuclei, not their labels.
    for x, y, long, short, tilt in glands:
        grid_y, grid_x = np.mgrid[: canvas.size, : canvas.size]
        u = (grid_x - x) * np.cos(tilt) + (grid_y - y) * np.sin(tilt)
        v = -(grid_x - x) * np.sin(tilt) + (grid_y - y) * np.cos(tilt)
        region = (u / (long + _WALL_PX)) ** 2 + (v / (short + _WALL_PX)) ** 2 < 1
        canvas.paint_region(region, rng.uniform(0.25, 0.45), rng.uniform(0.08, 0.16))
    for x, y, long, short, tilt in glands:
        canvas.clear((x, y), (long, short), tilt)
    for gland in glands:
        _line_with_nuclei(canvas, *gland)


_WALL_PX = 24.0
"""Height of a gland's epithelium."""


def _line_with_nuclei(
    canvas: TileCanvas, x: float, y: float, long: float, short: float, tilt: float
) -> None:
    rng = canvas.rng
    places = np.pi * (long + short + _WALL_PX) / 17
    theta = rng.uniform(0, 2 * np.pi)
    for _ in range(int(places)):
        theta += 2 * np.pi / places * rng.uniform(0.8, 1.2)
        offset = _WALL_PX * rng.uniform(0.5, 0.8)
        du, dv = (long + offset) * np.cos(theta), (short + offset) * np.sin(theta)
        dx = du * np.cos(tilt) - dv * np.sin(tilt)
        dy = du * np.sin(tilt) + dv * np.cos(tilt)
        outwards = float(np.arctan2(dy, dx)) + 0.2 * rng.standard_normal()
        canvas.add_nucleus(EPITHELIAL, x + dx, y + dy, outwards)


def _clusters(canvas: TileCanvas, kind: int, number: int) -> None:
    """Round cells scattered about one or two foci."""
    rng = canvas.rng
    foci = rng.uniform(0.15, 0.85, (int(rng.integers(1, 3)), 2)) * canvas.size
    spread = rng.uniform(22, 60)
    for _ in range(number * 3):
        x, y = foci[rng.integers(len(foci))] + spread * rng.standard_normal(2)
        number -= canvas.add_nucleus(kind, float(x), float(y))
        if number <= 0:
            return


def _spindles(canvas: TileCanvas, number: int) -> None:
    """Connective nuclei along the fibres."""
    rng = canvas.rng
    for _ in range(number * 2):
        x, y = rng.uniform(0, canvas.size, 2)
        angle = canvas.fibre + 0.25 * rng.standard_normal()
        number -= canvas.add_nucleus(CONNECTIVE, float(x), float(y), float(angle))
        if number <= 0:
            return


def write_synthetic(
    out: Path, *, tiles: int = 200, seed: int = 0, folds: int = 3, tile_px: int = 256
) -> None:
    """Write folds as PanNuke publishes them: float64 npy files, rows sorted by tissue.

    Args:
        out: folder for ``Fold 1/images/fold1/images.npy``, ``types.npy``,
            ``Fold 1/masks/fold1/masks.npy``, ...
        tiles: number of tiles in all folds together.
        seed: tile ``i`` of a seed is the same whatever the number of tiles.
        folds: number of folds.
        tile_px: side of a tile.

    Raises:
        ValueError: numbers that make no folds, or `out` is not empty.
    """
    if folds < 1 or tiles < folds:
        raise ValueError(f"expected at least one tile a fold, got {tiles} tiles in {folds} folds")
    if tile_px < 64:
        raise ValueError(f"--tile-px: expected 64 or more, got {tile_px}")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: choose another --out")
    tissues = [_draw_tissue(seed, tile) for tile in range(tiles)]
    with replacing_folder(out) as draft:
        for fold in range(1, folds + 1):
            chosen = [tile for tile in range(tiles) if tile % folds == fold - 1]
            chosen.sort(key=lambda tile: (tissues[tile], tile))
            _write_fold(draft, fold, chosen, tissues, seed, tile_px)


def _draw_tissue(seed: int, tile: int) -> str:
    """Half by the official numbers, half equally, so that small sets hold every tissue."""
    rng = np.random.default_rng((seed, 0, tile))
    if tile < len(TISSUES):
        return TISSUES[tile]
    official = np.array([_OFFICIAL_TILES.get(tissue, _USUAL_TILES) for tissue in TISSUES], float)
    weights = official / official.sum() + 1 / len(TISSUES)
    return TISSUES[rng.choice(len(TISSUES), p=weights / weights.sum())]


def _write_fold(
    out: Path, fold: int, tiles: list[int], tissues: list[str], seed: int, tile_px: int
) -> None:
    images_folder = out / f"Fold {fold}" / "images" / f"fold{fold}"
    masks_folder = out / f"Fold {fold}" / "masks" / f"fold{fold}"
    images_folder.mkdir(parents=True)
    masks_folder.mkdir(parents=True)
    shape = (len(tiles), tile_px, tile_px)
    images = np.lib.format.open_memmap(
        images_folder / "images.npy", "w+", np.dtype(np.float64), (*shape, 3)
    )
    masks = np.lib.format.open_memmap(
        masks_folder / "masks.npy", "w+", np.dtype(np.float64), (*shape, 6)
    )
    for row, tile in enumerate(tiles):
        rng = np.random.default_rng((seed, 1, tile))
        images[row], masks[row] = draw_tile(rng, tissues[tile], tile_px)
    images.flush()
    masks.flush()
    np.save(images_folder / "types.npy", np.array([tissues[tile] for tile in tiles], dtype="<U13"))
