"""Points matched to nuclei, the outlines of what they mark, and crops of such tiles."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc import cli
from histonuc.data.augment_config import AugmentConfig
from histonuc.data.dataset import Sampling, TileDataset, balanced_order
from histonuc.data.outlining import outline_points
from histonuc.data.point_matching import match_points
from histonuc.data.store import Store
from histonuc.nuclei import PointLabels
from histonuc.representations import build_representation

from .pointed_store import (
    PLACES,
    SETS,
    draw_nuclei,
    mark,
    outlined_record,
    point_record,
    write_pointed,
)
from .small_store import write


def match_by_brute_force(labels: np.ndarray, position: np.ndarray, radius: float) -> list[int]:
    """All pairs, those of a nucleus that holds the point first, then by distance."""
    pairs = []
    for point, (x, y) in enumerate(position.tolist()):
        for number in np.unique(labels[labels > 0]).tolist():
            rows, columns = np.nonzero(labels == number)
            if labels[int(y), int(x)] == number:
                away = np.hypot(rows.mean() + 0.5 - y, columns.mean() + 0.5 - x)
                pairs.append((0, float(away), point, number))
            else:
                away = np.hypot(rows + 0.5 - y, columns + 0.5 - x).min()
                if away <= radius:
                    pairs.append((1, float(away), point, number))
    found = [0] * len(position)
    for _, _, point, number in sorted(pairs):
        if found[point] == 0 and number not in found:
            found[point] = number
    return found


@given(st.integers(0, 10_000))
def test_points_mark_the_nucleus_that_holds_them_or_the_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 6, (5, 5)), np.ones((3, 3))).astype(np.int32)
    position = rng.uniform(0, 15, (rng.integers(0, 9), 2))
    radius = float(rng.uniform(1, 5))
    found = match_points(labels, position, radius)
    assert found.nucleus.tolist() == match_by_brute_force(labels, position, radius)
    held = [labels[int(y), int(x)] for x, y in position.tolist()]
    is_inside = (found.nucleus > 0) & (found.nucleus == held)
    assert found.is_inside.tolist() == is_inside.tolist()


def test_points_outside_the_image_count_as_those_at_its_rim() -> None:
    labels = np.zeros((4, 4), np.int32)
    labels[0, :2] = 1
    position = np.array([[-0.4, 0.5], [4.5, 4.5]])
    assert match_points(labels, position, 2.0).nucleus.tolist() == [1, 0]


def test_what_points_mark_is_kept_beside_them(tmp_path) -> None:
    store = write_pointed(tmp_path / "store")
    tiles = store.select(labels="points").tolist()
    for tile in tiles:
        labels = store.labels(tile)
        assert labels.class_only
        assert np.array_equal(labels.instances, draw_nuclei())
        assert labels.candidates.tolist() == [0, *SETS]
        assert labels.ignore.all()
        with pytest.raises(ValueError, match="has points and no outlines"):
            store.instances(tile)  # nor is it scored by them
    assert not store.labels(int(store.select()[0])).class_only
    first = np.array(tiles[:1])
    assert store.class_counts(first, points=True).tolist() == [[1, 1, 0, 0, 0]]
    assert not store.class_counts(first).any()
    assert store.point_outlines is not None
    assert store.point_outlines.model == {"name": "truth"}


def test_numbers_of_points_not_of_nuclei_are_kept(tmp_path) -> None:
    store = write(tmp_path / "store", point_record(mark(), mpp=0.5))
    backwards = draw_nuclei(PLACES[::-1])
    backwards[backwards == 4] = 0  # no nucleus at the first point
    report = outline_points(store, [(0, backwards)], model={})
    instances = Store.open(store.path).labels(0).instances
    wanted = draw_nuclei()
    wanted[wanted == 1] = 0
    assert np.array_equal(instances, wanted)
    assert report.to_dict()["tables"]["data set"]["clicks"] == {
        "points": 4,
        "in a nucleus": 3,
        "within 3 µm of one": 0,
        "without": 1,
    }
    assert "clicks/tile (1)" in report.findings[0]
    with (store.path / "outlines" / "without_nucleus.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [
            {"dataset": "clicks", "name": "tile", "x": "12.0", "y": "12.0", "class": "Neoplastic"}
        ]


@pytest.mark.parametrize(("shift", "found"), [(8.0, 4), (11.9, 4), (14.0, 0)])
def test_a_click_beside_a_nucleus_marks_it_within_three_microns(tmp_path, shift, found) -> None:
    # At 0.5 mpp 3 µm are 6 px, and a disc reaches 6 px from the middle of its middle pixel.
    store = write(tmp_path / "store", point_record(mark((shift, 0.0)), mpp=0.5))
    report = outline_points(store, [(0, draw_nuclei())], model={})
    row = report.to_dict()["tables"]["data set"]["clicks"]
    assert (row["within 3 µm of one"], row["without"]) == (found, 4 - found)
    assert any("the model finds 0% of the nuclei" in text for text in report.findings) == (
        not found
    )


def test_the_command_outlines_with_a_model(tmp_path, capsys) -> None:
    store = write_pointed(tmp_path / "store", marked=False)
    line = ["prepare", "outline", str(store.path), "--model", "compact-offset-5"]
    assert cli.run([*line, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["tables"]["data set"]["clicks"]
    assert row["points"] == 16
    labels = Store.open(store.path).labels(0)
    assert set(np.unique(labels.instances)) <= {0, 1, 2, 3, 4}
    assert len(np.unique(labels.instances)) - 1 == (row["points"] - row["without"]) / 4
    assert row["points"] - row["without"] >= 4
    before = (store.path / "outlines" / "outlines.json").read_text()
    assert cli.run(line) == 2
    assert "give --overwrite to replace them" in capsys.readouterr().err
    assert cli.run([*line, "--overwrite"]) == 0
    assert (store.path / "outlines" / "outlines.json").read_text() == before
    assert not list(store.path.glob(".*"))


def test_a_store_without_points_is_refused(tmp_path, capsys) -> None:
    store = write(tmp_path / "store", outlined_record())
    assert cli.run(["prepare", "outline", str(store.path)]) == 2
    assert "has no points: its tiles have outlines" in capsys.readouterr().err


def test_an_outlining_that_fails_leaves_the_store_as_it_was(tmp_path) -> None:
    store = write_pointed(tmp_path / "store")
    before = sorted(path for path in store.path.rglob("*"))

    def fail():
        yield 0, draw_nuclei()
        raise ValueError("the model broke")

    with pytest.raises(ValueError, match="the model broke"):
        outline_points(store, fail(), model={})
    assert sorted(path for path in store.path.rglob("*")) == before
    assert Store.open(store.path).labels(0).class_only


@pytest.mark.parametrize("name", ["instances.npy", "tiles.parquet", "outlines.json"])
def test_damaged_outlines_are_refused(tmp_path, name) -> None:
    store = write_pointed(tmp_path / "store")
    (file,) = {*(store.path / "outlines").rglob(name)} & {
        store.path / "outlines" / name,
        store.path / "outlines" / "fold1" / "64x64" / name,
    }
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    damaged = Store.open(store.path)
    with pytest.raises(ValueError, match=name):
        _ = [damaged.labels(tile) for tile in range(4)]


def test_outlines_of_another_store_are_refused(tmp_path) -> None:
    store = write_pointed(tmp_path / "store")
    other = write_pointed(tmp_path / "other", outlined=False, marked=False)
    shutil.copytree(store.path / "outlines", other.path / "outlines")
    with pytest.raises(ValueError, match="is of another store"):
        Store.open(other.path).labels(0)


# ---- crops


def crops(store: Store, tiles: np.ndarray, augment: AugmentConfig) -> TileDataset:
    encode = build_representation("offset", 5).encode
    settings = {"tile_px": 32, "mpp": 0.5, "augment": augment, "sampling": Sampling()}
    return TileDataset(store, tiles, encode, **settings)


def test_augmentation_carries_the_marks_along(tmp_path) -> None:
    store = write_pointed(tmp_path / "store")
    geometry = AugmentConfig(stain=0, brightness=0, blur=0, noise=0, jpeg=0, stain_transfer=0)
    dataset = crops(store, store.select(labels="points"), geometry)
    seen = 0
    for key in range(12):
        item = dataset[key]
        targets = {name: value.numpy() for name, value in item["targets"].items()}
        marked = targets["candidates"] > 0
        assert np.array_equal(targets["class_weight"] > 0, marked)
        assert targets["ignore"].all()
        assert not targets["weight"].any()
        # Nuclei are dark in the image: the marks lie on them, wherever the warp took them.
        dark = item["image"].numpy().mean(0) < 130
        assert (dark != marked).mean() < 0.06
        seen += int(marked.any())
    assert seen > 6


def test_tiles_of_both_kinds_are_drawn_by_their_classes(tmp_path) -> None:
    few = PointLabels(position=np.array([[20.0, 20.0]]), candidates=np.array([8], np.uint32))
    records = [outlined_record(name=f"{k}") for k in range(9)] + [point_record(few, name="Dead")]
    store = write(tmp_path / "store", *records)
    outline_points(store, [(9, draw_nuclei())], model={})
    store = Store.open(store.path)
    tiles, once = store.select(labels=None), np.ones(10, np.int64)
    sampling = Sampling(balance=(0, 1.0, 0))
    order = balanced_order(store, tiles, once, num_samples=2000, epoch=0, sampling=sampling)
    assert (order == 9).mean() > 0.3  # of 28 nuclei of known class one is Dead
