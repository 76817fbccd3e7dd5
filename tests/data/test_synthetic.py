"""Drawn tissue: official layout, exact labels, class-typical nuclei, PanNuke's imbalance."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import draw_tile, write_synthetic
from histonuc.data.tissue_drawing import CONNECTIVE, DEAD, EPITHELIAL, INFLAMMATORY, NEOPLASTIC
from histonuc.taxonomy import TISSUES


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_tile(np.random.default_rng((7, i)), TISSUES[i % 19]) for i in range(150)]


def nuclei(drawn, kind: int) -> list[tuple[float, float]]:
    """Area and elongation of the nuclei of a class that no border cuts."""
    found = []
    for _, mask in drawn:
        channel = mask[..., kind]
        for value in np.unique(channel[channel > 0]):
            ys, xs = np.nonzero(channel == value)
            if min(ys.min(), xs.min()) > 0 and max(ys.max(), xs.max()) < 255 and len(ys) > 30:
                spread = np.linalg.eigvalsh(np.cov(np.stack([xs, ys])))
                found.append((len(ys), float(np.sqrt(spread[1] / max(spread[0], 1e-3)))))
    return found


def test_channel_5_is_the_background_and_ids_are_unique(drawn) -> None:
    for image, mask in drawn:
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(mask[..., 5], (mask[..., :5] == 0).all(-1))
        ids = [set(np.unique(mask[..., c])) - {0} for c in range(5)]
        assert sum(len(part) for part in ids) == len(set().union(*ids))


def test_classes_have_their_size_and_shape(drawn) -> None:
    area = {kind: np.median([a for a, _ in nuclei(drawn, kind)]) for kind in range(5)}
    long = {kind: np.median([e for _, e in nuclei(drawn, kind)]) for kind in range(5)}
    assert area[NEOPLASTIC] > 1.3 * area[EPITHELIAL] > 1.3 * 1.3 * area[INFLAMMATORY]
    assert area[DEAD] < area[INFLAMMATORY]
    assert long[CONNECTIVE] > 2 > long[EPITHELIAL] > long[INFLAMMATORY]


def test_shares_are_about_pannukes(drawn) -> None:
    counts = np.array([[len(np.unique(mask[..., c])) - 1 for c in range(5)] for _, mask in drawn])
    share = counts.sum(0) / counts.sum()
    np.testing.assert_allclose(share[[0, 1, 2, 4]], [0.41, 0.17, 0.27, 0.14], atol=0.09)
    assert 0 < share[DEAD] < 0.04
    assert 0 < (counts[:, DEAD] > 0).mean() < 0.1
    assert 0 < (counts.sum(1) == 0).mean() < 0.08


def test_nuclei_touch_and_overlap(drawn) -> None:
    overlapping = sum(int(((mask[..., :5] > 0).sum(-1) > 1).sum()) for _, mask in drawn)
    assert overlapping > 100
    touching = 0
    for _, mask in drawn[:40]:
        flat = mask[..., :5].max(-1)
        right = (flat[:, :-1] != flat[:, 1:]) & (flat[:, :-1] > 0) & (flat[:, 1:] > 0)
        touching += int(right.sum())
    assert touching > 200


def test_colour_alone_does_not_tell_the_class(drawn) -> None:
    """The best threshold on a nucleus's mean darkness leaves many of two classes mixed up."""
    darkness: dict[int, list[float]] = {NEOPLASTIC: [], EPITHELIAL: []}
    for image, mask in drawn:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        for kind, values in darkness.items():
            channel = mask[..., kind]
            values += [float(grey[channel == v].mean()) for v in np.unique(channel[channel > 0])]
    a, b = (np.array(darkness[kind]) for kind in (NEOPLASTIC, EPITHELIAL))
    best = max(
        max(((a < t).mean() + (b >= t).mean()) / 2, ((a >= t).mean() + (b < t).mean()) / 2)
        for t in np.linspace(40, 220, 60)
    )
    assert best < 0.8


def test_folds_are_written_as_officially_and_reproducibly(tmp_path) -> None:
    for name in ("one", "two"):
        write_synthetic(tmp_path / name, tiles=24, seed=3, folds=3, tile_px=96)
    folder = tmp_path / "one" / "Fold 2"
    images = np.load(folder / "images" / "fold2" / "images.npy", mmap_mode="r", allow_pickle=False)
    masks = np.load(folder / "masks" / "fold2" / "masks.npy", mmap_mode="r", allow_pickle=False)
    types = np.load(folder / "images" / "fold2" / "types.npy", allow_pickle=False)
    assert images.shape == (8, 96, 96, 3)
    assert masks.shape == (8, 96, 96, 6)
    assert images.dtype == masks.dtype == np.float64
    assert list(types) == sorted(types)
    assert set(types) <= set(TISSUES)
    again = tmp_path / "two" / "Fold 2" / "images" / "fold2" / "images.npy"
    assert again.read_bytes() == (folder / "images" / "fold2" / "images.npy").read_bytes()


def test_a_prepared_store_rebuilds_the_masks_bit_for_bit(tmp_path) -> None:
    write_synthetic(tmp_path / "raw", tiles=6, seed=0, folds=2, tile_px=128)
    prepare_pannuke(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    masks = np.concatenate(
        [np.load(tmp_path / f"raw/Fold {k}/masks/fold{k}/masks.npy") for k in (1, 2)]
    )
    for tile in range(6):
        rebuilt = store.official_mask(tile)
        assert rebuilt.dtype == masks.dtype
        np.testing.assert_array_equal(rebuilt, masks[tile])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tiles": 2, "folds": 3}, "at least one tile a fold"),
        ({"tiles": 6, "tile_px": 32}, "--tile-px: expected 64 or more"),
    ],
)
def test_bad_numbers_are_refused(tmp_path, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        write_synthetic(tmp_path / "raw", **settings)
    assert not (tmp_path / "raw").exists()


def test_an_occupied_folder_is_left_alone(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="not empty"):
        write_synthetic(tmp_path, tiles=3)
