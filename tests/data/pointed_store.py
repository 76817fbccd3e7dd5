"""Small stores of tiles with points, and with outlines beside them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from histonuc.data.outlining import outline_points
from histonuc.data.store import Store
from histonuc.nuclei import PointLabels

from .small_store import record, write

SIDE = 64
PLACES = ((12, 12), (12, 40), (40, 12), (44, 44))
"""(x, y) of the pixel in the middle of each nucleus."""
RADIUS = 6
SETS = (0b00001, 0b00010, 0b10001, 0b11111)
"""Candidate sets of the points: Neoplastic, Inflammatory, either kind of epithelial, any."""


def draw_nuclei(places: Sequence[tuple[int, int]] = PLACES) -> np.ndarray:
    """Label image of discs, numbered in the order of their places."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number, place in enumerate(places, start=1):
        cv2.circle(labels, place, RADIUS, number, cv2.FILLED)
    return labels


def draw_image(labels: np.ndarray, seed: int) -> np.ndarray:
    """Dark nuclei on a bright ground, which differs from tile to tile."""
    pixels = np.random.default_rng(seed).integers(180, 220, (*labels.shape, 3))
    pixels[labels > 0] -= 120
    return pixels.astype(np.uint8)


def mark(shift: tuple[float, float] = (0.0, 0.0), sets: Sequence[int] = SETS) -> PointLabels:
    """A point for each nucleus, off its middle by `shift`."""
    position = np.array(PLACES, np.float64) + 0.5 + shift
    return PointLabels(position=position, candidates=np.array(sets, np.uint32))


def point_record(points: PointLabels, **changes: Any) -> Any:
    nothing = np.zeros((SIDE, SIDE), np.int32)
    seed = int(changes.pop("seed", 0))
    values = {"image": draw_image(draw_nuclei(), seed), "points": points, "source": "clicks"}
    return record(nothing, (), **(values | changes))


def outlined_record(**changes: Any) -> Any:
    labels = draw_nuclei()
    seed = int(changes.pop("seed", 0))
    values = {"image": draw_image(labels, seed), "source": "outlines"}
    return record(labels, (1, 2, 5, 0), **(values | changes))


def write_pointed(path: Path, *, outlined: bool = True, marked: bool = True) -> Store:
    """A store of folds 1 and 2 with two tiles with points in each, and two with outlines.

    Args:
        path: of the store.
        outlined: whether tiles with outlines are there too.
        marked: whether the points' nuclei are outlined, by their true discs.
    """
    records = [
        point_record(mark(), name=f"points {k}", fold=1 + k % 2, seed=k, mpp=0.5) for k in range(4)
    ]
    if outlined:
        records += [
            outlined_record(name=f"outlines {k}", fold=1 + k % 2, seed=10 + k, mpp=0.5)
            for k in range(4)
        ]
    store = write(path, *records)
    if marked:
        tiles = store.select(labels="points").tolist()
        outline_points(store, [(tile, draw_nuclei()) for tile in tiles], model={"name": "truth"})
    return Store.open(path)
