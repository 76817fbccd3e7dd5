"""Folders of labelled images: candidate sets, folds by patient, and one clear error a defect."""

from __future__ import annotations

import csv
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histonuc.data.folder import assign_folds, prepare_folder
from histonuc.data.folder_files import INDEX_COLUMNS, IndexRow
from histonuc.data.store import Store
from histonuc.taxonomy import CONSEP, PANNUKE, THREE

from ..fuzzing import assert_clear, frugal_outcome, little_memory, mutate_bytes, no_hang

SIDE = 12

INSTANCES = np.zeros((SIDE, SIDE), np.uint16)
INSTANCES[1:4, 1:4] = 300  # ids are not consecutive
INSTANCES[6:9, 1:4] = 7
INSTANCES[6:9, 8:10] = 9
INSTANCES[11, 11] = 9  # in two parts

TYPES = np.zeros((SIDE, SIDE), np.uint8)
TYPES[1:4, 1:4] = 3
TYPES[3, 1:4] = 2  # a minority of the pixels
TYPES[6, 1] = 4  # most of the nucleus has no type


def write_set(
    folder: Path,
    dataset: str = "consep",
    names: tuple[str, ...] = ("a",),
    *,
    types: np.ndarray | None = TYPES,
    **changes: Any,
) -> None:
    """Add a data set of equal images to a folder, and its rows to index.csv."""
    rng = np.random.default_rng(0)
    for kind in ("images", "instances", *([] if types is None else ["types"])):
        (folder / dataset / kind).mkdir(parents=True, exist_ok=True)
    rows = []
    for name in names:
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / dataset / "images" / f"{name}.png")
        Image.fromarray(INSTANCES).save(folder / dataset / "instances" / f"{name}.png")
        if types is not None:
            Image.fromarray(types).save(folder / dataset / "types" / f"{name}.png")
        row = {"dataset": dataset, "name": name, "height": SIDE, "width": SIDE, "nuclei": 3}
        rows.append(row | {"organ": "Colon", "patient": "", "mpp": 0.25} | changes)
    is_new = not (folder / "index.csv").exists()
    with (folder / "index.csv").open("a", newline="") as stream:
        writer = csv.DictWriter(stream, [*INDEX_COLUMNS, "nuclei"])
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def prepare(folder: Path, **options: Any) -> Store:
    prepare_folder(folder, folder / "out", **options)
    return Store.open(folder / "out")


# ---- what is read


def test_images_and_instances_come_in_exactly(tmp_path):
    write_set(tmp_path)
    store = prepare(tmp_path)
    with Image.open(tmp_path / "consep/images/a.png") as image:
        assert np.array_equal(store.image(0), np.asarray(image))
    instances = store.instances(0)
    assert np.array_equal(instances > 0, INSTANCES > 0)
    assert store.nuclei["original_id"].to_pylist() == [7, 9, 300]
    for new, old in ((1, 7), (2, 9), (3, 300)):
        assert np.array_equal(instances == new, old == INSTANCES)  # 9: two parts, one nucleus
    assert store.nuclei["channel"].to_pylist() == [-1, -1, -1]
    assert (store.name(0), store.source(0), store.tissue(0), store.mpp(0)) == (
        *("a", "consep", "Colon"),
        0.25,
    )


@pytest.mark.parametrize(
    ("space", "candidates", "types"),
    [
        # ids 7, 9, 300 have CoNSeP's types 4 (spindle-shaped), none, 3 (epithelial, by majority)
        ("pannuke", [["Connective"], PANNUKE.classes, ["Neoplastic", "Epithelial"]], [3, 0, 0]),
        ("consep", [["Spindle-shaped"], CONSEP.classes, ["Epithelial"]], [4, 0, 3]),
        ("three", [["Connective"], THREE.classes, ["Epithelial or neoplastic"]], [3, 0, 1]),
    ],
)
def test_types_become_candidate_sets(tmp_path, space, candidates, types):
    write_set(tmp_path)
    store = prepare(tmp_path, label_space=space)
    assert store.label_space.name == space
    sets = [store.label_space.candidates(names) for names in candidates]
    assert store.labels(0).candidates.tolist() == [0, *sets]
    assert store.types(0).tolist() == [0, *types]


def test_one_class_space_and_data_without_types(tmp_path):
    write_set(tmp_path, "monuseg", types=None)
    assert prepare(tmp_path, label_space="nucleus").types(0).tolist() == [0, 1, 1, 1]
    store = prepare(tmp_path, overwrite=True)
    assert store.labels(0).candidates.tolist() == [0, 31, 31, 31]
    assert store.types(0).tolist() == [0, 0, 0, 0]


def test_normal_organs_are_not_neoplastic_but_melanoma_may_be(tmp_path):
    write_set(tmp_path, "nuinsseg", ("k",), types=None, organ="kidney", mpp="")
    write_set(tmp_path, "nuinsseg", ("m",), types=None, organ="melanoma", mpp="")
    store = prepare(tmp_path)
    assert store.labels(0).candidates[1] == PANNUKE.any_class & ~1
    assert store.labels(1).candidates[1] == PANNUKE.any_class
    assert [store.tissue(0), store.tissue(1)] == ["Kidney", "Melanoma"]


def test_every_nucleus_a_pixel_and_no_background(tmp_path):
    write_set(tmp_path, types=None)
    full = np.arange(5, 5 + SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(full).save(tmp_path / "consep/instances/a.png")
    store = prepare(tmp_path)
    assert np.array_equal(store.instances(0), full - 4)


def test_an_image_without_nuclei(tmp_path):
    write_set(tmp_path)
    Image.fromarray(INSTANCES * 0).save(tmp_path / "consep/instances/a.png")
    store = prepare(tmp_path)
    assert store.labels(0).candidates.tolist() == [0]
    assert store.nuclei.num_rows == 0


def test_grey_and_transparent_images_become_rgb(tmp_path):
    write_set(tmp_path, names=("grey", "rgba"))
    for name, mode in (("grey", "L"), ("rgba", "RGBA")):
        file = tmp_path / "consep/images" / f"{name}.png"
        with Image.open(file) as image:
            converted = image.convert(mode)
        converted.save(file)
    store = prepare(tmp_path)
    assert {store.image(i).shape for i in (0, 1)} == {(SIDE, SIDE, 3)}


def test_only_some_data_sets(tmp_path):
    for name in ("consep", "tnbc", "glioma"):
        write_set(tmp_path, name)
    store = prepare(tmp_path, only=["tnbc", "consep"])
    assert sorted(store.tiles["source"].to_pylist()) == ["consep", "tnbc"]


# ---- scale


def test_scale_is_given_stated_or_estimated(tmp_path):
    write_set(tmp_path, "consep")
    write_set(tmp_path, "nuinsseg", mpp="")
    write_set(tmp_path, "tnbc", mpp="")
    report = prepare_folder(tmp_path, tmp_path / "out", mpp={"tnbc": 0.5})
    store = Store.open(tmp_path / "out")
    assert {store.source(i): store.mpp(i) for i in range(3)} == {
        "consep": 0.25,
        "nuinsseg": 0.17,
        "tnbc": 0.5,
    }
    assert any("nuinsseg: scale not stated, 0.17 mpp estimated" in text for text in report.findings)
    assert "tnbc: 0.5 mpp, as given" in report.findings
    assert prepare(tmp_path, overwrite=True, mpp={"tnbc": 1, "nuinsseg": 0.2}).mpp(1) == 0.2


def test_no_scale_is_an_error_that_says_what_to_give(tmp_path):
    write_set(tmp_path, "mine", mpp="")
    assert_refused(tmp_path, r"mine/a: index\.csv states no mpp: .*--mpp\.mine VALUE")
    assert_refused(tmp_path, r"--mpp: no data set \['minee'\]", mpp={"minee": 0.25})
    assert_refused(tmp_path, r"--mpp: expected microns", mpp={"mine": 0.0})


# ---- folds


def rows_of(groups: list[tuple[str, str, int]]) -> list[IndexRow]:
    return [
        IndexRow(
            dataset=dataset,
            name=str(i),
            height=1,
            width=1,
            nuclei=nuclei,
            organ="",
            patient=patient,
            mpp=1,
        )
        for i, (dataset, patient, nuclei) in enumerate(groups)
    ]


GROUPS = st.lists(
    st.tuples(st.sampled_from("AB"), st.sampled_from(["", "p", "q", "r"]), st.integers(0, 99)),
    min_size=1,
    max_size=30,
)


@given(groups=GROUPS, num_folds=st.integers(1, 4), seed=st.integers(0, 9))
def test_patients_never_part_and_nothing_is_lost(groups, num_folds, seed):
    rows = rows_of(groups)
    folds = assign_folds(rows, num_folds, seed)
    assert len(folds) == len(rows)
    assert set(folds) <= set(range(1, num_folds + 1))
    for dataset, patient in {(row.dataset, row.patient) for row in rows if row.patient}:
        own = [
            fold
            for row, fold in zip(rows, folds, strict=True)
            if (row.dataset, row.patient) == (dataset, patient)
        ]
        assert len(set(own)) == 1
    assert assign_folds(rows, num_folds, seed) == folds


def test_folds_balance_nuclei_within_each_data_set():
    rng = np.random.default_rng(1)
    rows = rows_of([(name, "", int(rng.integers(1, 400))) for name in "AB" for _ in range(40)])
    folds = np.array(assign_folds(rows, 3, 0))
    for name in "AB":
        own = np.array([row.nuclei * (row.dataset == name) for row in rows])
        loads = [own[folds == k].sum() for k in (1, 2, 3)]
        assert max(loads) - min(loads) <= max(own)


def test_large_groups_are_placed_first():
    rows = rows_of([("A", "", nuclei) for nuclei in (10, 10, 10, 10, 43)])
    for seed in range(20):
        folds = assign_folds(rows, 2, seed)
        assert folds.count(folds[4]) == 1  # 43 alone against 4 * 10


def test_the_split_does_not_depend_on_the_order_of_rows_but_on_the_seed():
    rows = rows_of([("A", "", 5) for _ in range(20)])
    folds = assign_folds(rows, 3, 0)
    assert assign_folds(rows[::-1], 3, 0) == folds[::-1]
    assert assign_folds(rows, 3, 1) != folds


def test_folds_of_a_store(tmp_path):
    write_set(tmp_path, names=tuple("abcdef"))
    assert prepare(tmp_path, num_folds=2).folds == [1, 2]
    with pytest.raises(ValueError, match="--num-folds: expected at least 1, got 0"):
        prepare_folder(tmp_path, tmp_path / "out", num_folds=0, overwrite=True)


# ---- the report


def test_report_counts_what_is_known_of_the_classes(tmp_path):
    write_set(tmp_path, names=("a", "b"))
    write_set(tmp_path, "mine")  # has types, which no label space knows
    report = prepare_folder(tmp_path, tmp_path / "out", num_folds=1)
    rows = report.to_dict()["tables"]["data set"]
    assert rows["consep"] == {
        **{"images": 2, "fold 1": 2, "nuclei": 6},
        **{"one class": 2, "several": 2, "any class": 2},
    }
    assert rows["all"]["nuclei"] == 9
    assert any(text.startswith("mine: 2 nuclei have a class") for text in report.findings)
    assert report.lines()[-1] == f"wrote {tmp_path / 'out'}"


def test_tissues_outside_the_nineteen_are_told(tmp_path):
    write_set(tmp_path, organ="Brain")
    write_set(tmp_path, "tnbc", organ="")
    report = prepare_folder(tmp_path, tmp_path / "out")
    assert any(text.endswith("kept: Brain, unknown") for text in report.findings)


# ---- bad input


def assert_refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        prepare_folder(folder, folder / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()
    assert not list(folder.glob(".out*"))


def test_no_index(tmp_path):
    assert_refused(tmp_path, r"has no index\.csv: make one with the columns dataset, name")


@pytest.mark.parametrize("column", INDEX_COLUMNS)
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
    (tmp_path / "index.csv").write_text(",".join(INDEX_COLUMNS) + "\n")
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
        assert prepare(tmp_path).labels(0).candidates.tolist() == [0, *[PANNUKE.any_class] * 3]


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


# ---- the real tiles


def test_real_tiles(shared_data, tmp_path):
    names = ["pannuke3", "nucls15", "tnbc"]
    report = prepare_folder(shared_data, tmp_path / "out", only=names)
    with (shared_data / "index.csv").open(newline="") as stream:
        index = {(row["dataset"], row["name"]): row for row in csv.DictReader(stream)}
    store = Store.open(tmp_path / "out")
    assert len(store) == 3 + 15 + 37
    for tile in range(len(store)):
        row = index[store.source(tile), store.name(tile)]
        labels = store.labels(tile)
        assert int(labels.instances.max()) == len(labels.candidates) - 1 == int(row["nuclei"])
        assert labels.instances.shape == (int(row["height"]), int(row["width"]))
    table = report.to_dict()["tables"]["data set"]
    assert table["pannuke3"]["one class"] == 125
    assert (table["nucls15"]["any class"], table["tnbc"]["any class"]) == (640, 3157)
    patients = {}
    for row in store.tiles.to_pylist():
        if row["source"] == "tnbc":
            patients.setdefault(row["patient"], set()).add(row["fold"])
    assert len(patients) == 8
    assert all(len(folds) == 1 for folds in patients.values())
