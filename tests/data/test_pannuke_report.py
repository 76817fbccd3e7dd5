"""What `prepare pannuke` counts, compares and finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histonuc.data import findings
from histonuc.data.checks import FoldTally
from histonuc.data.findings import OFFICIAL_COUNTS, OFFICIAL_TISSUE_IMAGES, compare_with_official
from histonuc.data.label_checks import count_parts
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import TISSUES

from .official_folds import assert_holds, draw_fold, write_fold


def test_tables_and_checks_by_hand(tmp_path):
    masks = np.zeros((4, 8, 8, 6))
    masks[0, 0:2, 0:2, 0] = 5  # Neoplastic 5, hidden wholly by ...
    masks[0, 0:3, 0:3, 3] = 5  # ... Dead 5, same id: 4 overlapping pixels
    masks[1, 0, 0, 1] = masks[1, 7, 7, 1] = 4  # Inflammatory 4 in two parts
    masks[1, 4, 4, 1] = 6
    masks[3, 0, :, 2] = 1
    masks[..., 5] = (masks[..., :5] == 0).all(-1)
    masks[3, 5, 5, 5] = 0  # the background map disagrees here
    arrays = {
        "images": np.full((4, 8, 8, 3), 99.0),
        "masks": masks,
        "types": np.array(["Colon", "Colon", "Head & Neck", "Brain"]),
    }
    write_fold(tmp_path / "raw", 1, arrays)
    write_fold(tmp_path / "raw", 2, draw_fold(2))
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    tables = report.to_dict()["tables"]
    by_class = {name: row["fold 1"] for name, row in tables["nuclei"].items()}
    assert by_class == {
        "Neoplastic": 1,  # hidden, and counted
        "Inflammatory": 2,
        "Connective": 1,
        "Dead": 1,
        "Epithelial": 0,
        "all": 5,
    }
    by_tissue = {name: row["fold 1"] for name, row in tables["images"].items() if row["fold 1"]}
    assert by_tissue == {"Colon": 2, "HeadNeck": 1, "Brain": 1, "all": 4}
    assert all(row["all"] == row["fold 1"] + row["fold 2"] for row in tables["nuclei"].values())
    assert {name: row["fold 1"] for name, row in tables["checks"].items()} == {
        "empty images": 1,
        "ids reused across channels": 1,
        "overlapping pixels": 4,
        "images with overlaps": 1,
        "nuclei hidden wholly": 1,
        "nuclei in several parts": 1,
        "images with channel 5 inverted": 0,
        "pixels where channel 5 disagrees": 1,
        "images with fractions, rounded": 0,
    }
    assert "tissues read: 'Head & Neck' as 'HeadNeck'" in report.findings
    assert "tissues that are none of PanNuke's nineteen, kept: Brain" in report.findings
    assert "not compared with the official counts" in report.official[0]
    lines = "\n".join(report.lines())
    assert "Inflammatory" in lines
    assert lines.endswith(f"wrote {tmp_path / 'out'}")
    store = Store.open(tmp_path / "out")
    assert store.tiles["num_nuclei"].to_pylist()[:4] == [1, 2, 0, 1]
    assert [store.tissue(i) for i in range(4)] == ["Colon", "Colon", "HeadNeck", "Brain"]
    assert_holds(store, 1, arrays)


@pytest.mark.parametrize(
    ("spelled", "official"),
    [
        ("HeadNeck", "HeadNeck"),
        ("Head & Neck", "HeadNeck"),
        ("head_and_neck", "HeadNeck"),
        ("Adrenal Gland", "Adrenal_gland"),
        ("Adrenal_gland", "Adrenal_gland"),
        ("Bile-duct", "Bile-duct"),
        ("bile_duct", "Bile-duct"),
        ("Colorectal", "Colon"),
        ("breast", "Breast"),
    ],
)
def test_tissue_spellings(tmp_path, spelled, official):
    write_fold(tmp_path / "raw", 1, draw_fold(1, tiles=1) | {"types": np.array([spelled])})
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert Store.open(tmp_path / "out").tissue(0) == official


def test_tissues_may_be_bytes(tmp_path):
    arrays = draw_fold(1, tiles=2)
    write_fold(tmp_path / "raw", 1, arrays | {"types": np.array([b"Colon", b"Skin"])})
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert Store.open(tmp_path / "out").tissue(1) == "Skin"


def test_inverted_background_is_told_and_kept(tmp_path):
    arrays = draw_fold(3, tiles=4)
    arrays["masks"][..., 5] = 1 - arrays["masks"][..., 5]
    write_fold(tmp_path / "raw", 1, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert any("channel 5 is 1 on nuclei" in text and "4 of 4" in text for text in report.findings)
    store = Store.open(tmp_path / "out")
    assert_holds(store, 1, arrays)
    assert len(np.load(tmp_path / "raw/fold1/masks.npy")) == 4
    # Not stored pixel by pixel: the rule is turned round instead.
    assert (tmp_path / "out" / "overlaps.parquet").stat().st_size < 10_000
    assert set(store.tiles["background"].to_pylist()) == {0}


def test_class_masks_without_ids_are_told(tmp_path):
    arrays = draw_fold(3, tiles=4)
    arrays["masks"] = np.minimum(arrays["masks"], 1)
    arrays["masks"][0, 0, 0, 1] = arrays["masks"][0, -1, -1, 1] = 1
    write_fold(tmp_path / "raw", 1, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert any("instance ids were lost" in text for text in report.findings)


def test_fractions_in_images_are_rounded_and_told(tmp_path):
    arrays = draw_fold(3, tiles=2)
    arrays["images"][1, 0, 0, 0] = 99.6
    write_fold(tmp_path / "raw", 1, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    checks = report.to_dict()["tables"]["checks"]
    assert checks["images with fractions, rounded"]["fold 1"] == 1
    assert Store.open(tmp_path / "out").image(1)[0, 0, 0] == 100


def official_tally(number: int, spellings: dict[str, int]) -> FoldTally:
    counts = OFFICIAL_COUNTS[number]
    tally = FoldTally(number=number, images=counts.images)
    tally.nuclei = np.array(counts.nuclei)
    tally.visible = np.array(counts.nuclei)
    tally.images_with = np.array(counts.images_with)
    tally.facts["empty images"] = counts.empty
    tally.spellings.update(spellings)
    return tally


def test_official_counts_add_up():
    totals = [sum(counts.nuclei) for counts in OFFICIAL_COUNTS.values()]
    assert totals == [63218, 59872, 66654]
    assert sum(totals) == 189_744
    assert sum(counts.images for counts in OFFICIAL_COUNTS.values()) == 7901
    assert sum(OFFICIAL_TISSUE_IMAGES.values()) == 7901
    assert set(OFFICIAL_TISSUE_IMAGES) == set(TISSUES)


def test_comparison_with_the_official_counts():
    tallies = [official_tally(k, {}) for k in (1, 2, 3)]
    tallies[0].spellings.update(OFFICIAL_TISSUE_IMAGES)
    assert compare_with_official(tallies) == [
        *[f"fold {k} agrees with the official counts" for k in (1, 2, 3)],
        "images of each tissue agree with the official counts",
    ]
    tallies[0].facts["empty images"] = 115
    tallies[1].nuclei[3] = tallies[1].visible[3] = 880
    tallies[2].spellings["Colon"] += 1
    lines = compare_with_official(tallies)
    assert lines[0] == "fold 1 differs from the official counts: empty images 115 (official 116)"
    assert lines[1] == "fold 2 differs from the official counts: Dead nuclei 880 (official 884)"
    assert lines[3].endswith("differ from the official counts: Colon 1,441 (official 1,440)")


def test_hidden_nuclei_do_not_count_as_a_difference():
    tally = official_tally(1, {})
    tally.nuclei[0] += 2  # two more, which later channels hide
    assert compare_with_official([tally]) == ["fold 1 agrees with the official counts"]


def test_only_folds_of_official_size_are_compared(tmp_path, monkeypatch):
    small = findings.OfficialCounts(
        images=3, empty=0, nuclei=(0, 0, 0, 0, 0), images_with=(0, 0, 0, 0, 0)
    )
    monkeypatch.setitem(findings.OFFICIAL_COUNTS, 2, small)
    for k in (1, 2):
        write_fold(tmp_path / "raw", k, draw_fold(k))
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert len(report.official) == 1
    assert report.official[0].startswith("fold 2 differs from the official counts: ")


@given(
    hnp.arrays(
        np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 4)
    )
)
def test_parts_of_nuclei_against_a_loop(instances):
    instances, _ = make_consecutive(instances)
    parts = [
        cv2.connectedComponents((instances == i).astype(np.uint8), connectivity=4)[0] - 1
        for i in range(1, int(instances.max()) + 1)
    ]
    assert count_parts(instances).tolist() == parts
