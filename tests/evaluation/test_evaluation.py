"""Evaluation of a perfect and of broken models on a small store held in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histonuc.data.resampling import resample_labels
from histonuc.evaluation import (
    Evaluation,
    TileScore,
    TileScores,
    evaluate_maps,
    load_panels,
    score_lines,
    score_tables,
    summarise,
    write_scores,
)
from histonuc.evaluation.panels import PANEL_PX, choose_panels
from histonuc.nuclei import TileLabels
from histonuc.representations import build_representation
from histonuc.representations.semantic import Semantic
from histonuc.taxonomy import NUCLEUS, LabelSpace

SPACE = LabelSpace(name="two", classes=("Round", "Long"))
MPP = 0.25


class MemoryStore:
    """What `evaluate` asks of a store: a few tiles with square and oblong nuclei."""

    label_space = SPACE

    has_outlines = staticmethod(lambda tile: True)

    def size(self, tile: int) -> tuple[int, ...]:
        return self._instances[tile].shape

    def __init__(self, num: int = 6, side: int = 48, mpp: float = MPP) -> None:
        self._mpp = mpp
        rng = np.random.default_rng(0)
        self._instances, self._types, self._images = [], [], []
        for tile in range(num):
            labels, types = np.zeros((side, side), np.int32), [0]
            for y in range(2, side - 12, 14):
                for x in range(2, side - 14, 16):
                    if tile == 1 or rng.random() < 0.3:  # tile 1 is empty
                        continue
                    long = rng.random() < 0.5
                    types.append(2 if long else 1)
                    labels[y : y + (6 if long else 10), x : x + (13 if long else 10)] = (
                        len(types) - 1
                    )
            self._instances.append(labels)
            self._types.append(np.array(types, np.int32))
            self._images.append(rng.integers(0, 256, (side, side, 3), np.uint8))
        self.tiles = pa.table(
            {
                "name": [f"tile {i}" for i in range(num)],
                "source": ["a" if i < 4 else "b" for i in range(num)],
                "tissue": ["Breast" if i % 2 else "Colon" for i in range(num)],
                "fold": [1 + i % 3 for i in range(num)],
            }
        )

    def image(self, tile: int) -> np.ndarray:
        return self._images[tile]

    def instances(self, tile: int) -> np.ndarray:
        return self._instances[tile]

    def ignore(self, tile: int) -> np.ndarray:
        return np.zeros(self.size(tile), bool)

    def types(self, tile: int) -> np.ndarray:
        return self._types[tile]

    def covered(self, tile: int) -> None:
        return None

    def mpp(self, tile: int) -> float:
        return self._mpp

    def truth_maps(self, image: np.ndarray, order: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
        """Perfect maps of the tile with this image; channel k is the store's channel order[k]."""
        tile = next(i for i, own in enumerate(self._images) if np.array_equal(own, image))
        truth = self._types[tile][self._instances[tile]]
        return np.stack([truth == channel for channel in order]).astype(np.float32)


def perfect(store: MemoryStore, order: tuple[int, ...] = (0, 1, 2)) -> Callable[..., Any]:
    return lambda images: np.stack([store.truth_maps(image, order) for image in images])


def run(store: MemoryStore, predict: Callable[..., Any], **options: Any) -> Evaluation:
    settings: dict[str, Any] = {
        "tiles": np.arange(store.tiles.num_rows),
        "representation": Semantic(num_classes=2),
        "label_space": SPACE,
        "mpp": MPP,
    } | options
    tiles = settings.pop("tiles")
    return evaluate_maps(store, tiles, predict, **settings)  # type: ignore[arg-type]


def test_a_perfect_model_scores_one_everywhere() -> None:
    store = MemoryStore()
    evaluation = run(store, perfect(store))
    summary = summarise(evaluation)
    for name in ("bpq", "mpq", "dice", "iou", "foreground_dice", "pixel_accuracy"):
        assert summary[name] == pytest.approx(1, abs=2e-6), name
    assert summary["bce"] == pytest.approx(0, abs=1e-5)
    scores = score_tables(evaluation)
    assert scores["num_tiles"] == 6
    assert scores["num_nuclei"] == sum(len(store.types(i)) - 1 for i in range(6))
    assert set(scores["per_tissue"]) == {"Breast", "Colon"}
    assert set(scores["per_source"]) == {"a", "b"}
    assert scores["per_source"]["a"]["num_tiles"] == 4
    assert np.trace(scores["confusion"]["pixels"]["counts"]) == 6 * 48 * 48
    assert math.isnan(evaluation.tiles[1].bpq)  # the empty tile


def test_a_model_that_finds_nothing_scores_zero() -> None:
    store = MemoryStore()

    def nothing(images: np.ndarray) -> np.ndarray:
        maps = np.zeros((len(images), 3, *images.shape[1:3]), np.float32)
        maps[:, 0] = 1
        return maps

    evaluation = run(store, nothing)
    assert summarise(evaluation)["bpq"] == 0
    assert summarise(evaluation)["mpq"] == 0
    assert evaluation.total.panoptic.tp[0] == 0
    assert "0 found" in score_lines(score_tables(evaluation))[0]


def test_official_averages_weigh_tissues_alike() -> None:
    store = MemoryStore()

    def only_colon(images: np.ndarray) -> np.ndarray:
        maps = np.stack([store.truth_maps(image) for image in images])
        for own, image in zip(maps, images, strict=True):
            tile = next(i for i in range(6) if np.array_equal(store.image(i), image))
            if tile % 2:
                own[0], own[1:] = 1, 0
        return maps

    tiles = [0, 2, 4, 3]  # three of Colon, one of Breast
    overall = score_tables(run(store, only_colon, tiles=tiles))["overall"]
    assert overall["bpq"] == pytest.approx((1 + 0) / 2, abs=1e-5)
    assert overall["bpq_images"] == pytest.approx(3 / 4, abs=1e-5)


def test_evaluations_of_parts_add_up_to_the_whole() -> None:
    store = MemoryStore()
    rng = np.random.default_rng(1)
    noise = {i: rng.random((3, 48, 48), np.float32) for i in range(6)}

    def noisy(images: np.ndarray) -> np.ndarray:
        tiles = [next(i for i in range(6) if np.array_equal(store.image(i), im)) for im in images]
        maps = np.stack([store.truth_maps(store.image(i)) + 1.5 * noise[i] for i in tiles])
        return maps / maps.sum(1, keepdims=True)

    whole = run(store, noisy)
    parts = run(store, noisy, tiles=[4, 1]) + run(store, noisy, tiles=[0, 5, 2, 3])
    assert score_tables(parts) == score_tables(whole)
    assert {p.record.tile: p.reason for p in parts.panels} == {
        p.record.tile: p.reason for p in whole.panels
    }


def test_what_is_held_on_the_way_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(num=30)
    expected = run(store, perfect(store))
    monkeypatch.setattr("histonuc.evaluation.evaluate._ROWS", 4)
    monkeypatch.setattr("histonuc.evaluation.evaluate._POOL", 9)
    found = run(store, perfect(store))
    assert repr(list(found.tiles)) == repr(list(expected.tiles))  # NaN
    assert [p.record.tile for p in found.panels] == [p.record.tile for p in expected.panels]
    assert [p.reason for p in found.panels] == [p.reason for p in expected.panels]


def test_a_table_gives_back_its_rows() -> None:
    rows = [_score(i, i / 7, f"tissue {i}", num_truth=300 + i) for i in (4, 0, 9)]
    table = TileScores.concat(
        [TileScores.from_rows(rows[:1], 2), TileScores.from_rows(rows[1:], 2)]
    )
    assert list(table) == rows
    assert list(table.sorted_by_tile()) == [rows[1], rows[0], rows[2]]
    assert table.texts["tissue"] == ["tissue 4", "tissue 0", "tissue 9"]
    assert table.numbers["pq"].tolist() == [[i / 7, i / 7] for i in (4, 0, 9)]
    assert list(TileScores.from_rows([], 2)) == []
    assert table.numbers.nbytes / len(table) < 250


def test_classes_in_another_order_are_put_in_the_stores() -> None:
    store = MemoryStore()
    swapped = LabelSpace(name="swapped", classes=("Long", "Round"))
    evaluation = run(store, perfect(store, (0, 2, 1)), label_space=swapped)
    assert summarise(evaluation)["mpq"] == pytest.approx(1, abs=1e-5)
    assert summarise(evaluation)["dice"] == 1
    panel = evaluation.panels[0]
    np.testing.assert_array_equal(
        panel.truth_types[panel.truth], panel.prediction_types[panel.prediction]
    )


def test_other_classes_are_refused_or_scored_binary() -> None:
    store = MemoryStore()

    def one_class(images: np.ndarray) -> np.ndarray:
        maps = np.stack([store.truth_maps(image) for image in images])
        return np.stack([maps[:, 0], maps[:, 1] + maps[:, 2]], axis=1)

    options = {"representation": Semantic(num_classes=1), "label_space": NUCLEUS}
    with pytest.raises(ValueError, match=r"--label-space nucleus.*--binary-only"):
        run(store, one_class, **options)
    evaluation = run(store, one_class, binary_only=True, **options)
    scores = score_tables(evaluation)
    assert scores["overall"]["bpq"] == pytest.approx(1, abs=1e-5)
    assert scores["overall"]["foreground_dice"] == 1
    assert scores["overall"]["mpq"] is None
    assert scores["overall"]["dice"] is None
    assert "the model knows Nucleus" in scores["no_classes"]
    assert "no class scores" in score_lines(score_tables(evaluation))[-1]
    json.dumps(scores, allow_nan=False)


def test_no_tiles_is_an_error() -> None:
    store = MemoryStore()
    with pytest.raises(ValueError, match="no tiles to evaluate"):
        run(store, perfect(store), tiles=[])


@pytest.mark.parametrize(("mpp", "side"), [(0.5, 96), (0.125, 24), (0.2525, 48)])
def test_the_model_sees_its_own_resolution_and_is_scored_at_the_datas(
    mpp: float, side: int
) -> None:
    store = MemoryStore(num=3, mpp=mpp)
    seen = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.extend(images.shape[1:3])
        maps = []
        for tile in range(len(images)):
            truth = store.truth_maps(store.image(tile))
            resized = [cv2.resize(m, images.shape[2:0:-1]) for m in truth]
            maps.append(np.stack(resized))
        return np.stack(maps)

    evaluation = run(store, predict)
    assert set(seen) == {side}
    assert evaluation.total.pixels.foreground.sum() == 3 * 48 * 48
    assert summarise(evaluation)["bpq"] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("mpp", [0.5, 0.2, 0.125])
@pytest.mark.parametrize("name", ["hover", "star", "offset"])
def test_instances_are_decoded_at_the_models_resolution(name: str, mpp: float) -> None:
    store = MemoryStore(num=2, side=96, mpp=mpp)
    representation = build_representation(name, 2, min_area_px=4)

    def predict(images: np.ndarray) -> np.ndarray:
        side = images.shape[1]
        assert side == round(96 * mpp / 0.25)
        maps = []
        for tile in range(len(images)):
            instances = resample_labels(store.instances(tile), side, side)
            candidates = np.array([0, 1, 2], np.uint32)[store.types(tile)]
            truth = TileLabels(
                instances=instances,
                candidates=candidates,
                ignore=np.zeros(instances.shape, bool),
            )
            geometry = representation.encode(truth)["geometry"]
            kinds = candidates[instances]
            maps.append(np.stack([instances > 0, *geometry, kinds == 1, kinds == 2]))
        return np.stack(maps).astype(np.float32)

    evaluation = run(store, predict, tiles=[0], representation=representation)
    panoptic = evaluation.total.panoptic
    assert panoptic.fp[0] == panoptic.fn[0] == 0
    # Nuclei of 6 to 13 px at 0.125 mpp are 3 to 7 px for the model.
    assert summarise(evaluation)["bpq"] > (0.9 if mpp > 0.125 else 0.7)


def test_batches_hold_tiles_of_one_size_and_progress_is_told() -> None:
    store = MemoryStore()
    big = MemoryStore(num=6, side=400)
    for tile in (2, 3):
        store._images[tile] = big._images[tile]
        store._instances[tile], store._types[tile] = big._instances[tile], big._types[tile]
    sizes, told = [], []

    def predict(images: np.ndarray) -> np.ndarray:
        sizes.append(images.shape[:2])
        return perfect(store)(images)

    evaluation = run(store, predict, progress=lambda row, area: told.append((row.tile, area)))
    assert sizes == [(2, 48), (2, 400), (2, 48)]
    assert [tile for tile, _ in told] == list(range(6))
    assert told[2][1] == pytest.approx((400 * MPP / 1000) ** 2)
    panel = next(p for p in evaluation.panels if p.record.tile == 2)
    assert panel.image.shape == (PANEL_PX, PANEL_PX, 3)
    np.testing.assert_array_equal(panel.truth, store.instances(2)[72 : 72 + 256, 72 : 72 + 256])


def test_written_scores_are_read_back(tmp_path: Path) -> None:
    store = MemoryStore()
    evaluation = run(store, perfect(store, (0, 2, 1)))  # spurious and missed of each class differ
    out = tmp_path / "deep" / "scores"
    scores = write_scores(evaluation, out, model={"name": "m"}, data={"store": "s"})
    assert json.loads((out / "scores.json").read_text()) == scores
    assert scores["data"] == {"store": "s", "folds": [1, 2, 3], "sources": ["a", "b"]}
    table = pq.read_table(out / "tiles.parquet")
    assert table["tile"].to_pylist() == list(range(6))
    assert table["bpq"].null_count == 1
    for name, row in scores["per_class"].items():
        for count in ("tp", "fp", "fn"):
            assert sum(table[f"{count}/{name}"].to_pylist()) == row[count]
    panels = load_panels(out / "panels.npz")
    assert repr([p.record for p in panels]) == repr([p.record for p in evaluation.panels])  # NaN
    np.testing.assert_array_equal(panels[0].prediction, evaluation.panels[0].prediction)
    files = ["counts.npz", "panels.npz", "scores.json", "tables", "tiles.parquet"]
    assert sorted(p.name for p in out.iterdir()) == files


def test_a_file_that_holds_no_panels_is_named(tmp_path: Path) -> None:
    file = tmp_path / "panels.npz"
    np.savez(file, other=np.zeros(1))
    with pytest.raises(ValueError, match=r"panels\.npz is damaged or no panels"):
        load_panels(file)


def _score(tile: int, bpq: float, tissue: str = "Breast", num_truth: int = 20) -> TileScore:
    return TileScore(
        tile=tile,
        name=f"t{tile}",
        source="s",
        tissue=tissue,
        fold=1,
        num_truth=num_truth,
        num_predicted=1,
        tp=1,
        fp=0,
        fn=0,
        tp_centroid=1,
        class_known=1,
        bpq=bpq,
        **dict.fromkeys(("mpq", "bpq_strict", "mpq_strict", "foreground_dice"), bpq),
        **dict.fromkeys(("aji", "aji_plus", "dice_ensemble"), bpq),
        pq=(bpq, bpq),
        **dict.fromkeys(("class_tp", "centroid_tp"), (1, 0)),
        **dict.fromkeys(("class_fp", "class_fn", "centroid_fp", "centroid_fn"), (0, 0)),
    )


def test_panels_are_the_best_the_worst_and_each_tissue() -> None:
    records = [_score(i, i / 100, "Breast") for i in range(50)]
    records += [_score(60, 0.2, "Skin"), _score(61, 0.0, "Lung", num_truth=0)]
    chosen = choose_panels(records)
    assert {t for t, why in chosen.items() if why == "best"} == {49, 48, 47}
    assert {t for t, why in chosen.items() if why == "worst"} == {0, 1, 2}
    assert chosen[60] == "tissue"
    assert 61 not in chosen  # nothing to see
    assert len(chosen) == 8


def test_a_tile_with_few_nuclei_is_neither_best_nor_worst() -> None:
    records = [_score(i, 0.5) for i in range(6)] + [_score(9, 0.0, num_truth=1)]
    assert choose_panels(records).get(9) != "worst"


def test_a_tile_once_left_out_is_never_chosen_later() -> None:
    rng = np.random.default_rng(0)
    records: list[TileScore] = []
    dropped: set[int] = set()
    for tile in range(200):
        size = int(rng.integers(1, 30))
        records.append(_score(tile, rng.random(), f"tissue {rng.integers(30)}", size))
        chosen = set(choose_panels(records))
        assert not chosen & dropped
        dropped |= {r.tile for r in records} - chosen


def test_adding_evaluations_of_other_classes_is_refused() -> None:
    store = MemoryStore()
    evaluation = run(store, perfect(store))
    with pytest.raises(ValueError, match="different label spaces"):
        _ = evaluation + replace(evaluation, label_space=NUCLEUS)
