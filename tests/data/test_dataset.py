"""Training crops: deterministic by key, balanced on demand, complete over processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.data.augment_config import AugmentConfig
from histonuc.data.dataset import BatchKeys, Sampling, TileDataset, balanced_order, crop_labels
from histonuc.data.records import TileRecord
from histonuc.data.store import Store
from histonuc.data.writer import StoreWriter
from histonuc.nuclei import TileLabels
from histonuc.representations import build_representation
from histonuc.taxonomy import PANNUKE


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """40 tiles: Breast but for one of Liver; one Dead nucleus in all."""
    path: Path = tmp_path_factory.mktemp("data") / "store"
    rng = np.random.default_rng(0)
    with StoreWriter(path, PANNUKE, source="test") as writer:
        for tile in range(40):
            instances = np.zeros((64, 64), np.int32)
            instances[5:15, 5:15], instances[30:45, 20:50] = 1, 2
            types = np.array([1, 4 if tile == 7 else 2])
            writer.add(
                TileRecord(
                    image=rng.integers(0, 256, (64, 64, 3), np.uint8),
                    instances=instances,
                    types=types,
                    candidates=(1 << (types - 1)).astype(np.uint32),
                    original_ids=np.array([1, 2]),
                    channels=np.array([-1, -1]),
                    fold=1 + tile % 2,
                    name=f"tile{tile}",
                    tissue="Liver" if tile == 3 else "Breast",
                    source="b" if tile == 9 else "a",
                    mpp=0.25,
                )
            )
    return Store.open(path)


def dataset(store: Store, **changes) -> TileDataset:
    settings = {"tile_px": 32, "mpp": 0.25, "augment": AugmentConfig()} | changes
    settings = {"sampling": Sampling(seed=3)} | settings
    encode = build_representation("semantic", 5).encode
    return TileDataset(store, store.select([1]), encode, **settings)


def test_a_crop_depends_on_its_key_alone(store) -> None:
    one, other = dataset(store), pickle.loads(pickle.dumps(dataset(store)))
    for key in (0, len(one) + 5, 2 * len(one) - 1):
        a, b = one[key], other[key]
        assert a["tile"] == b["tile"]
        torch.testing.assert_close(a["image"], b["image"])
        for name in a["targets"]:
            torch.testing.assert_close(a["targets"][name], b["targets"][name])
    assert a["image"].shape == (3, 32, 32)
    assert a["image"].dtype == torch.uint8
    assert a["targets"]["candidates"].shape == (32, 32)


def test_epochs_and_seeds_differ(store) -> None:
    one = dataset(store)
    assert not torch.equal(one[0]["image"], one[len(one)]["image"])
    assert not torch.equal(one[0]["image"], dataset(store, sampling=Sampling(seed=4))[0]["image"])


def test_an_epoch_covers_every_tile_area_once(store) -> None:
    data = dataset(store)
    assert len(data) == 20 * 4  # 64² tiles hold four crops of 32²
    order = data._make_order(0)
    assert np.bincount(order).tolist() == [4] * 20


def test_tiles_of_another_scale_are_resampled(store) -> None:
    fine = dataset(store, mpp=0.5, augment=AugmentConfig.off())
    assert len(fine) == 20  # a crop covers 64 source pixels
    labels = fine[0]["targets"]["candidates"]
    small = (labels > 1).float().mean().item()
    assert small == pytest.approx((100 + 450) / 64**2, rel=0.15)


def test_two_processes_see_what_one_sees_with_twice_the_batch() -> None:
    both = list(BatchKeys(50, 8, epoch=2, first_batch=1, rank=0, world=1))
    parts = [list(BatchKeys(50, 4, epoch=2, first_batch=1, rank=r, world=2)) for r in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == both
    assert both[0][0] == 2 * 50 + 8
    assert len(both) == len(BatchKeys(50, 8, epoch=2, first_batch=1, rank=0, world=1)) == 5


def test_balancing_draws_rare_tissues_and_classes_more_often(store) -> None:
    tiles, crops = store.select(), np.ones(40, np.int64)

    def share(index: int, balance: tuple[float, float, float]) -> float:
        order = balanced_order(
            store, tiles, crops, num_samples=4000, epoch=0, sampling=Sampling(balance=balance)
        )
        return float(np.mean(order == index))

    assert share(3, (0, 0, 0)) == pytest.approx(1 / 40)
    assert share(3, (1, 0, 0)) == pytest.approx(1 / 2, abs=0.05)  # two tissues, equally often
    # Dead is 1 of 80 nuclei; the commonest rarest class (2) is 39 of 80: 39 times likelier.
    assert share(7, (0, 1, 0)) == pytest.approx(39 / (39 + 39), abs=0.05)
    assert share(7, (0, 0.5, 0)) == pytest.approx(39**0.5 / (39**0.5 + 39), abs=0.03)


def test_source_weights_change_how_often_data_sets_are_drawn(store) -> None:
    def draw(**weights: float) -> np.ndarray:
        return balanced_order(
            store,
            store.select(),
            np.ones(40, np.int64),
            num_samples=4000,
            epoch=0,
            sampling=Sampling(source_weights=weights),
        )

    assert np.mean(draw(b=39) == 9) == pytest.approx(1 / 2, abs=0.03)
    assert set(draw(a=0)) == {9}


def test_the_order_is_seeded_and_changes_with_the_epoch(store) -> None:
    arguments = {"num_samples": 60, "sampling": Sampling(seed=1)}
    tiles, crops = store.select(), np.ones(40, np.int64)
    first = balanced_order(store, tiles, crops, epoch=0, **arguments)
    np.testing.assert_array_equal(first, balanced_order(store, tiles, crops, epoch=0, **arguments))
    assert not np.array_equal(first, balanced_order(store, tiles, crops, epoch=1, **arguments))
    assert len(np.unique(first[:40])) == 40


def test_crop_labels_renumber_and_keep_candidates() -> None:
    instances = np.array([[0, 5], [2, 5]], np.int32)
    candidates = np.array([0, 1, 2, 4, 8, 16], np.uint32)
    nothing = np.zeros((2, 2), bool)
    truth = TileLabels(instances=instances, candidates=candidates, ignore=nothing)
    labels = crop_labels(truth, instances, nothing)
    assert labels.instances.tolist() == [[0, 2], [1, 2]]
    assert labels.candidates.tolist() == [0, 2, 16]
