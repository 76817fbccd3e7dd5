"""Folders that are refused: one clear error a defect, nothing left behind."""

from __future__ import annotations

import csv
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc.data.folder_index import REQUIRED_COLUMNS

from ..fuzzing import assert_clear, frugal_outcome, little_memory, mutate_bytes, no_hang
from .labelled_folder import INSTANCES, SIDE, assert_refused, prepare, write_set


def test_no_index(tmp_path):
    assert_refused(tmp_path, r"has no index\.csv: make one with the columns dataset, name")


@pytest.mark.parametrize("column", REQUIRED_COLUMNS)
def test_missing_columns_are_named(tmp_path, column):
    write_set(tmp_path)
    file = tmp_path / "index.csv"
    with file.open(newline="") as stream:
        rows = [{k: v for k, v in row.items() if k != column} for row in csv.DictReader(stream)]
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert_refused(tmp_path, rf"index\.csv: expected the columns .* no \['{column}'\]")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"height": "tall"},
            r"index\.csv, line 2: expected a number above 0 as height, got 'tall'",
        ),
        ({"width": ""}, r"line 2: expected a number above 0 as width, got ''"),
        ({"mpp": "0"}, r"line 2: expected a number above 0 as mpp, got '0'"),
        ({"mpp": "-1"}, "as mpp"),
        ({"nuclei": "many"}, "as nuclei"),
        ({"nuclei": "1e300"}, "expected a whole number as nuclei, got '1e300'"),
        ({"height": 0.5}, "expected a whole number as height, got '0.5'"),
        ({"name": ""}, r"line 2: expected a dataset and a name"),
        ({"name": "a\nb"}, r"line 3: expected the names of a folder and a file, .*'a\\nb'"),
        (
            {"height": SIDE + 1},
            r"a\.png: expected 13 x 12 pixels as index\.csv states, got 12 x 12",
        ),
    ],
)
def test_bad_values_in_the_index_are_named(tmp_path, changes, match):
    write_set(tmp_path, **changes)
    assert_refused(tmp_path, match)


def test_a_number_of_nuclei_is_optional(tmp_path):
    write_set(tmp_path, nuclei="")
    assert len(prepare(tmp_path)) == 1


def test_an_index_that_is_no_text(tmp_path):
    write_set(tmp_path)
    (tmp_path / "index.csv").write_bytes(b"dataset,name\xff\xfe\n")
    assert_refused(tmp_path, "expected a UTF-8 CSV table")


def test_an_image_listed_twice_and_an_empty_index(tmp_path):
    write_set(tmp_path, names=("a", "a"))
    assert_refused(tmp_path, "lists consep/a twice")
    (tmp_path / "index.csv").write_text(",".join(REQUIRED_COLUMNS) + "\n")
    assert_refused(tmp_path, "lists no images")


def test_unknown_names_list_the_choices(tmp_path):
    write_set(tmp_path)
    assert_refused(tmp_path, r"--only: .* has no \['tnbc'\]; it has \['consep'\]", only=["tnbc"])
    assert_refused(
        tmp_path, r"--label-space 'lizard': choose from \['pannuke'", label_space="lizard"
    )


@pytest.mark.parametrize("kind", ["images", "instances", "types"])
def test_missing_and_damaged_files_are_named(tmp_path, kind):
    write_set(tmp_path, names=("a", "b"))
    file = tmp_path / "consep" / kind / "b.png"
    whole = file.read_bytes()
    file.unlink()
    assert_refused(tmp_path, rf"consep/{kind} has no b\.png .*which index\.csv lists")
    for part in (whole[: len(whole) // 2], whole[:3], b""):
        file.write_bytes(part)
        assert_refused(tmp_path, rf"{kind}/b\.png is damaged or no image")


def test_a_truncated_jpeg_is_not_filled_with_grey(tmp_path):
    write_set(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    (tmp_path / "consep/images/a.png").unlink()
    file = tmp_path / "consep/images/a.jpg"
    Image.fromarray(noise).save(file, quality=95)
    file.write_bytes(file.read_bytes()[:-100])
    assert_refused(tmp_path, r"a\.jpg is damaged or no image")


def recode(file: Path, suffix: str) -> Path:
    """The image in another format, in place of the one there."""
    with Image.open(file) as image:
        image.save(file.with_suffix(suffix))
    if suffix != file.suffix:
        file.unlink()
    return file.with_suffix(suffix)


MUTATED = [
    *("index.csv", "images/a.png", "images/a.jpg", "images/a.tif"),
    *("instances/a.png", "instances/a.tif", "types/a.png"),
]


@no_hang
@pytest.mark.parametrize("name", MUTATED)
@pytest.mark.filterwarnings("ignore")  # Pillow warns about what it then reads
def test_mutated_files_are_read_or_refused(tmp_path, name):
    write_set(tmp_path, names=("a", "b"))
    file = tmp_path / name
    if name != "index.csv":
        file = recode((tmp_path / "consep" / name).with_suffix(".png"), file.suffix)
    content, rng, errors = file.read_bytes(), random.Random(name), 0
    for _ in range(80):
        file.write_bytes(mutate_bytes(content, rng))
        result = frugal_outcome(prepare, tmp_path, overwrite=True)
        if isinstance(result, ValueError):
            errors += 1
            assert_clear(result, file.name)
        else:
            for tile in range(len(result)):
                assert len(result.types(tile)) == result.instances(tile).max() + 1
        assert not list(tmp_path.glob(".out*"))
    assert errors


def claim_size(png: bytes, side: int) -> bytes:
    """A PNG whose header states another width and height, with the right checksum."""
    header = b"IHDR" + struct.pack(">II", side, side) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


@pytest.mark.parametrize("kind", ["images", "instances", "types"])
def test_an_image_that_claims_to_be_huge_is_not_decoded(tmp_path, kind):
    write_set(tmp_path)
    file = tmp_path / "consep" / kind / "a.png"
    file.write_bytes(claim_size(file.read_bytes(), 13_000))
    with little_memory():
        assert_refused(tmp_path, r"a\.png: expected 12 x 12 pixels .* got 13000 x 13000")


def test_huge_numbers_of_types_cost_no_memory(tmp_path):
    write_set(tmp_path, types=None)
    types = np.zeros((SIDE, SIDE), np.int32)
    types[6, 1] = 2**31 - 1
    (tmp_path / "consep" / "types").mkdir()
    Image.fromarray(types).save(tmp_path / "consep/types/a.tif")
    with little_memory():
        assert_refused(tmp_path, r"consep/a: class number 2147483647 is not in .*consep\.yaml")


@pytest.mark.parametrize("kind", ["instances", "types"])
def test_label_images_must_fit(tmp_path, kind):
    write_set(tmp_path)
    file = tmp_path / "consep" / kind / "a.png"
    Image.fromarray(np.zeros((SIDE, SIDE - 1), np.uint8)).save(file)
    assert_refused(tmp_path, rf"{kind}/a\.png: expected 12 x 12 pixels like its image, got 12 x 11")
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(file)
    assert_refused(tmp_path, rf"{kind}/a\.png: expected one channel of whole numbers")


def test_16_bit_images_are_refused(tmp_path):
    write_set(tmp_path)
    Image.fromarray(INSTANCES).save(tmp_path / "consep/images/a.png")
    assert_refused(tmp_path, r"images/a\.png: expected 8 bits a channel")


def test_an_existing_store_is_kept_unless_told(tmp_path):
    write_set(tmp_path)
    prepare(tmp_path)
    with pytest.raises(ValueError, match="exists already"):
        prepare(tmp_path)
    assert len(prepare(tmp_path, overwrite=True)) == 1
