"""Stores that are damaged or changed: no flipped bit becomes a label."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histonuc import cli
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.files import file_sha256, seal
from histonuc.nuclei import PointLabels

from ..fuzzing import assert_clear, mutate_bytes, mutate_json, no_hang, outcome
from .small_store import record, write


def test_no_store_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match=r"is no store.*histonuc prepare"):
        Store.open(tmp_path)


def test_another_format_is_refused(tmp_path):
    write(tmp_path / "s", record())
    file = tmp_path / "s" / "store.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match="store format 99, this version reads 2"):
        Store.open(tmp_path / "s")
    file.write_text("{")
    with pytest.raises(ValueError, match=r"store\.json is damaged or no description"):
        Store.open(tmp_path / "s")


@no_hang
@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_json])
def test_a_mutated_description_is_read_or_refused(tmp_path, mutate):
    write(tmp_path / "s", record())
    file = tmp_path / "s" / "store.json"
    content, rng, errors = file.read_bytes(), random.Random(0), 0
    for _ in range(200):
        file.write_bytes(mutate(content, rng))
        result = outcome(Store.open, tmp_path / "s")
        if isinstance(result, ValueError):
            errors += 1
            assert_clear(result, file.name)
        else:
            assert all(isinstance(fold, int) for fold in result.folds)
            assert len(result.label_space) == len(result.label_space.classes)
    assert errors


TABLES = ("tiles", "nuclei", "points", "overlaps")


def write_all_tables(out: Path) -> Store:
    """A store with rows in every table."""
    marks = PointLabels(position=np.array([[1.5, 0.25]]), candidates=np.array([4], np.uint32))
    overlaps = np.array([[0, 1, 4, 9]])
    return write(
        out,
        record(overlaps=overlaps, channels=np.array([0, 4]), background=1),
        record(np.zeros((3, 4)), (), points=marks),
    )


def read_everything(path: Path) -> None:
    store = Store.open(path)
    store.covered(0)
    store.points(1)
    for tile in range(2):
        store.image(tile)
    store.instances(0)


@no_hang
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_lost_its_end_or_a_bit_is_named(tmp_path, name):
    write_all_tables(tmp_path / "s")
    file = tmp_path / "s" / f"{name}.parquet"
    content, rng = file.read_bytes(), random.Random(name)
    damaged = [content[: rng.randrange(len(content))] for _ in range(10)]
    for _ in range(30):  # also where Parquet itself would notice nothing
        flipped = bytearray(content)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    for changed in (b"", *damaged):
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=rf"{name}\.parquet is damaged or no table") as caught:
            read_everything(tmp_path / "s")
        assert_clear(caught.value, file.name)
    file.write_bytes(content)
    read_everything(tmp_path / "s")


@pytest.mark.parametrize(
    ("place", "tile"),
    [("fold1/3x4/images", 0), ("fold1/3x4/instances", 0), ("fold1/3x4-points/images", 1)],
)
def test_a_flipped_bit_of_an_image_or_an_instance_map_is_named(tmp_path, place, tile):
    write_all_tables(tmp_path / "s")
    file = tmp_path / "s" / f"{place}.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    store = Store.open(tmp_path / "s")
    read = store.image if place.endswith("images") else store.instances
    with pytest.raises(
        ValueError, match=rf"{place}\.npy is damaged \(row 0 is not as it was written"
    ):
        read(tile)


def test_a_bit_that_flips_in_a_table_ends_a_training(tmp_path, capsys):
    write_synthetic(tmp_path / "raw", tiles=3, seed=0, tile_px=64)
    data = tmp_path / "data"
    assert cli.run(["prepare", "pannuke", str(tmp_path / "raw"), "--out", str(data)]) == 0
    content = bytearray((data / "nuclei.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (data / "nuclei.parquet").write_bytes(content)
    small = ["--trunk", "unet", "--trunk-options.width", "4", "--tile-px", "64"]
    size = ["--batch-size", "1", "--epochs", "1", "--workers", "0", "--accelerator", "cpu"]
    line = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *small, *size]
    assert cli.run(line) == 2
    assert "nuclei.parquet is damaged or no table of a store" in capsys.readouterr().err


def test_a_shard_outside_the_store_is_not_read(tmp_path):
    """A table whose author made the checksums fit."""
    write(tmp_path / "s", record())
    write(tmp_path / "other", record())
    file = tmp_path / "s" / "tiles.parquet"
    table = pq.read_table(file)
    outside = pa.array(["../other/fold1/3x4"])
    pq.write_table(table.set_column(table.column_names.index("shard"), "shard", outside), file)
    description = json.loads((tmp_path / "s" / "store.json").read_text())
    description["sha256"][file.name] = file_sha256(file)
    (tmp_path / "s" / "store.json").write_text(json.dumps(seal(description)))
    with pytest.raises(ValueError, match=r"names the shard '\.\./other"):
        Store.open(tmp_path / "s").image(0)


def test_a_truncated_shard_is_named(tmp_path):
    store = write(tmp_path / "s", record())
    file = tmp_path / "s" / "fold1" / "3x4" / "images.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"images\.npy is damaged"):
        store.image(0)
