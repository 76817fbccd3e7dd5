"""A tiny store and a tiny trunk, for trainings that take a second."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.data.augment_config import AugmentConfig
from histonuc.data.records import TileRecord
from histonuc.data.writer import StoreWriter
from histonuc.models.zoo import TRUNKS
from histonuc.taxonomy import PANNUKE
from histonuc.training.config import TrainConfig


def write_store(path: Path, folds: Sequence[int], mistaken: Sequence[int] = ()) -> Path:
    """A tile for each of `folds`: a dark square (one class) and a bright square (another).

    Args:
        path: of the store.
        folds: by tile.
        mistaken: tiles whose two classes are swapped.
    """
    rng = np.random.default_rng(0)
    with StoreWriter(path, PANNUKE, source="test") as writer:
        for tile, fold in enumerate(folds):
            instances = np.zeros((32, 32), np.int32)
            image = np.full((32, 32, 3), 128, np.uint8)
            for value, (grey, y) in enumerate(((30, 3), (230, 18)), start=1):
                x = int(rng.integers(2, 18))
                instances[y : y + 10, x : x + 10] = value
                image[y : y + 10, x : x + 10] = grey
            types = np.array([2, 1] if tile in mistaken else [1, 2])
            writer.add(
                TileRecord(
                    image=image,
                    instances=instances,
                    types=types,
                    candidates=(1 << (types - 1)).astype(np.uint32),
                    original_ids=np.array([1, 2]),
                    channels=np.array([-1, -1]),
                    fold=fold,
                    name=f"tile{tile}",
                    tissue="Breast" if tile % 8 else "Colon",
                    source="test",
                    mpp=0.25,
                )
            )
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """16 tiles to train on and 8 to validate on."""
    return write_store(tmp_path_factory.mktemp("training") / "store", [1] * 16 + [2] * 8)


@pytest.fixture(scope="session")
def three_folds(tmp_path_factory) -> Path:
    """8 tiles in each of the folds 1, 2 and 3."""
    return write_store(tmp_path_factory.mktemp("rotations") / "store", [1] * 8 + [2] * 8 + [3] * 8)


@pytest.fixture(scope="session")
def doubtful(tmp_path_factory) -> Path:
    """As `three_folds`, a quarter of the tiles of each with their classes swapped."""
    folder = tmp_path_factory.mktemp("doubtful") / "store"
    return write_store(folder, [1] * 8 + [2] * 8 + [3] * 8, mistaken=range(0, 24, 4))


@pytest.fixture
def tiny_trunk(monkeypatch) -> Iterator[None]:
    """The trunks of tiny.py for trainings in this process, on one thread as there."""
    program = runpy.run_path(str(Path(__file__).parent / "tiny.py"), run_name="tiny")
    monkeypatch.setitem(TRUNKS, "tiny", program["Tiny"])
    monkeypatch.setitem(TRUNKS, "steady", program["Steady"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def settings(data, tiny_trunk, tmp_path) -> Callable[..., TrainConfig]:
    """Settings of a training of 4 steps an epoch, with changes; `out` is a new folder's name."""

    def make(out: str = "run", **changes: object) -> TrainConfig:
        values: dict[str, object] = {
            "trunk": "tiny",
            "representation": "semantic",
            "tile_px": 32,
            "batch_size": 4,
            "max_lr": 0.01,
            "accelerator": "cpu",
            "epochs": 1,
            "first_cycle_epochs": 4.0,
            "warmup_epochs": 1.0,
            "log_every": 1,
            "augment": AugmentConfig.off(),
        }
        return TrainConfig(**({"data": data, "out": tmp_path / out} | values | changes))  # type: ignore[arg-type]

    return make
