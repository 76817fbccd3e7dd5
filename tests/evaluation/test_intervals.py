"""Intervals of scores.json, against draws by plain loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from histonuc.evaluation.intervals import score_intervals
from histonuc.evaluation.tile_scores import TileScore, TileScores

NAN = float("nan")


def make_tiles(seed: int = 0) -> list[TileScore]:
    """Tiles of two sources; the tissue Skin has a single one, Lung of source b has no mPQ."""
    rng = np.random.default_rng(seed)
    tiles = []
    for i, (source, tissue) in enumerate(
        [("a", "Colon")] * 8 + [("a", "Lung")] * 5 + [("b", "Lung")] * 4 + [("b", "Skin")]
    ):
        tp, fp, fn = (int(n) for n in rng.integers(1, 20, 3))
        bpq, mpq, bpq_strict, mpq_strict = rng.random(4)
        tile = TileScore(
            tile=i,
            name=str(i),
            source=source,
            tissue=tissue,
            fold=3,
            num_truth=tp + fn,
            num_predicted=tp + fp,
            tp=tp,
            fp=fp,
            fn=fn,
            tp_centroid=tp + 1,
            class_known=tp,
            bpq=bpq,
            mpq=NAN if (source, tissue) == ("b", "Lung") else mpq,
            bpq_strict=bpq_strict,
            mpq_strict=mpq_strict,
            foreground_dice=0.8,
            aji=float(rng.random()),
            aji_plus=float(rng.random()),
            dice_ensemble=float(rng.random()),
            pq=(float(rng.random()), NAN if tissue == "Lung" else float(rng.random())),
            class_tp=(tp // 2, 0 if tissue == "Lung" else tp - tp // 2),
            class_fp=(fp // 2, fp - fp // 2),
            class_fn=(fn // 2, 0 if tissue == "Lung" else fn - fn // 2),
            centroid_tp=(tp // 3, 0 if tissue == "Lung" else tp // 3),
            centroid_fp=(fp, fp),
            centroid_fn=(2 * fn, 0 if tissue == "Lung" else fn),
        )
        tiles.append(tile)
    return tiles


def table(tiles: list[TileScore]) -> TileScores:
    return TileScores.from_rows(tiles, 2)


def intervals(tiles: list[TileScore]) -> dict[str, Any]:
    return score_intervals(table(tiles), ["Neoplastic", "Dead"])


def drawn_ends(tiles: list[TileScore], score, strata) -> list[float]:
    """Ends from 4,000 draws of n - 1 of each stratum's n tiles."""
    rng = np.random.default_rng(5)
    groups = [[t for t in tiles if strata(t) == s] for s in sorted({strata(t) for t in tiles})]
    draws = [
        score([own[i] for own in groups for i in rng.integers(len(own), size=max(len(own) - 1, 1))])
        for _ in range(4000)
    ]
    return np.nanpercentile(draws, [2.5, 97.5]).tolist()


def mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else NAN


def over_tissues(name: str):
    def score(tiles: list[TileScore]) -> float:
        names = sorted({tile.tissue for tile in tiles})
        return mean([mean([getattr(t, name) for t in tiles if t.tissue == own]) for own in names])

    return score


def over_images(name: str):
    return lambda tiles: mean([getattr(tile, name) for tile in tiles])


def pooled(tiles: list[TileScore]) -> float:
    below = sum(tile.tp + (tile.fp + tile.fn) / 2 for tile in tiles)
    return sum(tile.bpq * (tile.tp + (tile.fp + tile.fn) / 2) for tile in tiles) / below


def share(above: str, *below: str):
    def score(tiles: list[TileScore]) -> float:
        total = sum(getattr(tile, name) for tile in tiles for name in below)
        return sum(getattr(tile, above) for tile in tiles) / total

    return score


@pytest.mark.parametrize(
    ("key", "score"),
    [
        *((name, over_tissues(name)) for name in ("bpq", "mpq", "bpq_strict", "mpq_strict")),
        *((f"{name}_images", over_images(name)) for name in ("bpq", "mpq", "bpq_strict")),
        *((name, over_images(name)) for name in ("aji", "aji_plus", "dice_ensemble")),
        ("f1_images", lambda tiles: mean([t.tp / (t.tp + (t.fp + t.fn) / 2) for t in tiles])),
        ("bpq_pooled", pooled),
        ("precision", share("tp", "tp", "fp")),
        ("recall", share("tp", "tp", "fn")),
        ("recall_centroid", share("tp_centroid", "num_truth")),
        ("precision_centroid", share("tp_centroid", "num_predicted")),
    ],
)
def test_ends_are_those_of_plain_draws_within_tissues(key, score) -> None:
    tiles = make_tiles()
    expected = drawn_ends(tiles, score, lambda tile: tile.tissue)
    assert intervals(tiles)[key] == pytest.approx(expected, abs=0.015)


def sum_of_class(tiles: list[TileScore], j: int, name: str) -> float:
    if name == "iou":
        both = ((t.pq[j], t.class_tp[j] + (t.class_fp[j] + t.class_fn[j]) / 2) for t in tiles)
        return sum(pq * n for pq, n in both if not np.isnan(pq))
    return sum(getattr(t, f"class_{name}")[j] for t in tiles)


def ratio_of_class(tiles: list[TileScore], j: int, above: str, **weights: float) -> float:
    """A sum over those matched and so much of the others."""
    more = (weight * sum_of_class(tiles, j, name) for name, weight in weights.items())
    below = sum_of_class(tiles, j, "tp") + sum(more)
    return sum_of_class(tiles, j, above) / below if below else NAN


def class_pq(j: int):
    return lambda tiles: ratio_of_class(tiles, j, "iou", fp=0.5, fn=0.5)


def has_nuclei(tiles: list[TileScore], j: int) -> bool:
    return any(t.class_tp[j] + t.class_fn[j] for t in tiles)


def mean_of_classes(tiles: list[TileScore]) -> float:
    return mean([class_pq(j)(tiles) for j in (0, 1) if has_nuclei(tiles, j)])


def test_of_classes_and_their_mean_they_are_those_of_plain_draws() -> None:
    tiles = make_tiles()
    found = intervals(tiles)

    def check(interval: list[float], score, own=tiles, within=0.015) -> None:
        assert interval == pytest.approx(drawn_ends(own, score, lambda t: t.tissue), abs=within)

    check(found["mpq_pooled"], mean_of_classes)
    for j, name in enumerate(("Neoplastic", "Dead")):
        of_class = found["per_class"][name]
        check(of_class["pq_pooled"], class_pq(j))
        check(of_class["pq"], lambda tiles, j=j: mean([t.pq[j] for t in tiles]))
        check(of_class["f1"], lambda own, j=j: ratio_of_class(own, j, "tp", fp=0.5, fn=0.5))
        check(of_class["precision"], lambda own, j=j: ratio_of_class(own, j, "tp", fp=1))
        check(of_class["recall"], lambda own, j=j: ratio_of_class(own, j, "tp", fn=1))
        check(
            of_class["sq_pooled"], lambda own, j=j: ratio_of_class(own, j, "iou"), within=0.05
        )  # 1.2
    # In lungs, false positives alone: Dead does not count in the mean.
    lungs = [tile for tile in tiles if tile.tissue == "Lung"]
    check(found["per_tissue"]["Lung"]["mpq_pooled"], class_pq(0), lungs)
    assert found["per_tissue"]["Skin"]["mpq_pooled"] is None
    assert not any("/" in name for name in found)


def test_by_tissue_and_by_source_they_have_the_names_of_those_tables() -> None:
    tiles = make_tiles()
    found = intervals(tiles)
    colon = [tile for tile in tiles if tile.tissue == "Colon"]
    expected = drawn_ends(colon, over_images("bpq"), lambda tile: tile.tissue)
    assert found["per_tissue"]["Colon"]["bpq"] == pytest.approx(expected, abs=0.015)
    of_b = [tile for tile in tiles if tile.source == "b"]
    expected = drawn_ends(of_b, pooled, lambda tile: tile.tissue)
    assert found["per_source"]["b"]["bpq_pooled"] == pytest.approx(expected, abs=0.015)
    assert found["per_source"]["b"]["mpq"] is None  # one image has it
    assert set(found["per_tissue"]["Skin"].values()) == {None}


def test_the_order_of_tiles_does_not_matter() -> None:
    tiles = make_tiles()
    assert intervals(tiles[::-1]) == intervals(tiles)


def test_without_classes_there_are_none_of_theirs() -> None:
    tiles = [replace(tile, mpq=NAN, mpq_strict=NAN) for tile in make_tiles()]
    found = intervals(tiles)
    assert found["mpq"] is None
    assert found["mpq_images"] is None
    assert found["bpq"] is not None


def test_tissues_of_one_image_each_give_no_interval() -> None:
    tiles = [replace(tile, tissue=str(i), source="a") for i, tile in enumerate(make_tiles())]
    found = intervals(tiles)
    for group in (found, found["per_source"]["a"], found["per_tissue"]["0"]):
        assert {group[name] for name in ("bpq", "bpq_pooled", "aji") if name in group} == {None}
