"""Gigapixel slides of real tissue in a few megabytes: a BigTIFF whose tiles share their bytes.

Real images (1024 px squares of ../shared/data) are laid out in blobs on glass. Every distinct tile
is compressed once and the tile offsets of the pyramid point to it as often as it occurs, so 64
gigapixels are written in seconds, yet a reader decodes every tile as in any scanner's file.

    python benchmarks/synthetic_slide.py OUT.tif --gigapixels 1 --tissue 0.5
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TILE, BLOCK, STEP = 256, 1024, 4
"""Pixels of a tile and of a square of tissue, and the factor between two levels."""
GLASS = 242


def layout(columns: int, rows: int, tissue: float, num_kinds: int, seed: int = 0) -> NDArray:
    """Kind of each block int (rows, columns): 0 glass, 1..num_kinds tissue, in round blobs."""
    rng = np.random.default_rng(seed)
    height = cv2.GaussianBlur(
        rng.normal(size=(rows, columns)), (0, 0), max(1.0, min(rows, columns) / 16)
    )
    is_tissue = height >= np.quantile(height, 1 - tissue)
    return np.where(is_tissue, rng.integers(1, num_kinds + 1, (rows, columns)), 0)


def write_slide(path: Path, squares: list[NDArray[np.uint8]], kinds: NDArray, mpp: float) -> None:
    """Write the pyramid.

    Args:
        path: ``*.tif``.
        squares: real tissue uint8 (BLOCK, BLOCK, 3); kind k of `kinds` is ``squares[k - 1]``.
        kinds: int (rows, columns), from `layout`.
        mpp: stated in the file's resolution tags.
    """
    kinds = np.pad(kinds, [(0, -n % STEP) for n in kinds.shape])  # whole tiles at the third level
    pictures = [np.full((BLOCK, BLOCK, 3), GLASS, np.uint8), *squares]
    with path.open("wb") as stream:
        stream.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        levels = [_finest(stream, pictures, kinds)]
        small = [_shrink(picture) for picture in pictures]  # one tile of the second level each
        index = _store(stream, small)
        levels.append((kinds.shape[1] * TILE, kinds.shape[0] * TILE, index[kinds]))
        quarter = [_shrink(picture) for picture in small]
        image = np.concatenate(
            [np.concatenate([quarter[k] for k in row], axis=1) for row in kinds], axis=0
        )
        while True:
            rows, columns = (-(-n // TILE) for n in image.shape[:2])
            missing = rows * TILE - image.shape[0], columns * TILE - image.shape[1]
            padded = np.pad(
                image, [(0, missing[0]), (0, missing[1]), (0, 0)], constant_values=GLASS
            )
            tiles = padded.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2)
            places = _store(stream, tiles.reshape(-1, TILE, TILE, 3)).reshape(rows, columns, 2)
            levels.append((image.shape[1], image.shape[0], places))
            if max(image.shape[:2]) <= 2 * BLOCK:
                break
            image = _shrink(image)
        _write_directories(stream, levels, mpp)


def _finest(stream, pictures, kinds):
    index = np.stack(
        [
            _store(stream, [p[y : y + TILE, x : x + TILE] for y in _starts() for x in _starts()])
            for p in pictures
        ]
    ).reshape(len(pictures), STEP, STEP, 2)
    grid = index[kinds]  # (rows, columns, STEP, STEP, 2)
    rows, columns = kinds.shape
    places = grid.swapaxes(1, 2).reshape(rows * STEP, columns * STEP, 2)
    return columns * BLOCK, rows * BLOCK, places


def _starts():
    return range(0, BLOCK, TILE)


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (max(1, image.shape[1] // STEP), max(1, image.shape[0] // STEP))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _store(stream, tiles) -> NDArray[np.uint64]:
    """Offset and size (n, 2) of each tile, compressed as JPEG."""
    import imagecodecs

    places = []
    for tile in tiles:
        data = imagecodecs.jpeg_encode(np.ascontiguousarray(tile), level=85)
        places.append((stream.tell(), len(data)))
        stream.write(data)
    return np.array(places, np.uint64)


def _write_directories(stream, levels, mpp: float) -> None:
    next_pointer = 8
    for width, height, places in levels:
        resolution = round(1e4 / mpp * width / levels[0][0] * 1000), 1000  # pixels a centimetre
        tags: list[tuple[int, int, list[int]]] = [  # code, type (3 short, 4 long, 16 long8), values
            (254, 4, [int(width != levels[0][0])]),
            (256, 4, [width]),
            (257, 4, [height]),
            (258, 3, [8, 8, 8]),
            (259, 3, [7]),
            (262, 3, [6]),
            (277, 3, [3]),
            (282, 5, list(resolution)),
            (283, 5, list(resolution)),
            (284, 3, [1]),
            (296, 3, [3]),
            (322, 4, [TILE]),
            (323, 4, [TILE]),
            (324, 16, places[..., 0].ravel()),
            (325, 16, places[..., 1].ravel()),
            (530, 3, [2, 2]),
        ]
        entries = b""
        for code, kind, values in tags:
            dtype = {3: "<u2", 4: "<u4", 5: "<u4", 16: "<u8"}[kind]
            data = np.asarray(values).astype(dtype).tobytes()
            count = 1 if kind == 5 else len(values)
            if len(data) > 8:
                stream.seek(0, 2)
                field = struct.pack("<Q", stream.tell())
                stream.write(data)
            else:
                field = data.ljust(8, b"\0")
            entries += struct.pack("<HHQ", code, kind, count) + field
        stream.seek(0, 2)
        here = stream.tell()
        stream.write(struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0))
        stream.seek(next_pointer)
        stream.write(struct.pack("<Q", here))
        next_pointer = here + 8 + len(entries)


def read_squares(data: Path, count: int = 24) -> list[NDArray[np.uint8]]:
    """Real tissue at 0.25 mpp, 1000 px images mirrored to BLOCK px."""
    sets = (data / name / "images" for name in ("monuseg", "consep"))
    files = [file for folder in sets for file in sorted(folder.glob("*.jpg"))]
    step = max(1, len(files) // count)
    squares = []
    for file in files[::step][:count]:
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        missing = [(0, BLOCK - n) for n in image.shape[:2]]
        squares.append(np.pad(image, [*missing, (0, 0)], "reflect"))
    return squares


def build(path: Path, data: Path, gigapixels: float, tissue: float, mpp: float = 0.25) -> float:
    """Write a slide of about so many gigapixels and return its tissue area in mm²."""
    side = max(STEP, round((gigapixels * 1e9) ** 0.5 / BLOCK))
    squares = read_squares(data)
    kinds = layout(side, side, tissue, len(squares))
    write_slide(path, squares, kinds, mpp)
    return float((kinds > 0).sum()) * (BLOCK * mpp / 1000) ** 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gigapixels", type=float, default=1.0)
    parser.add_argument("--tissue", type=float, default=0.5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    args = parser.parse_args()
    area = build(args.out, args.data, args.gigapixels, args.tissue)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, tissue {area:.1f} mm²")
