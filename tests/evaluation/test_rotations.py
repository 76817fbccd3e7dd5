"""Rotations of the folds, and scores as mean and spread."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from histonuc.evaluation.rotations import (
    CROSSVAL_FILE,
    OFFICIAL,
    SYMMETRIC,
    read_summary,
    rotation_lines,
    rotation_tables,
    spread,
    summarise_rotations,
    write_summary,
)
from histonuc.evaluation.table_files import write_tables

TISSUE = {"bpq": 0.5, "mpq": None, "foreground_dice": 0.75, "dice_per_class": {"Dead": 0.25}}
CLASS = {"pq": 0.5, "pq_pooled": 0.25, "dice": None}


def scores(bpq: float, **tissues: object) -> dict[str, object]:
    return {
        "label_space": {"name": "one", "classes": ["Dead"]},
        "no_classes": None,
        "overall": {"bpq": bpq, "mpq": None, "dice": 1, "foreground_dice": bpq, "note": "text"},
        "per_class": {"Dead": CLASS},
        "per_tissue": tissues,
        "per_source": {"pannuke": TISSUE},
    }


def test_the_rotations_are_the_published_ones_and_the_symmetric_ones() -> None:
    assert [(r.train, r.validate, r.test) for r in OFFICIAL] == [(1, 2, 3), (2, 1, 3), (3, 2, 1)]
    for part in ("train", "validate", "test"):
        assert sorted(getattr(r, part) for r in SYMMETRIC) == [1, 2, 3]
    for rotation in (*OFFICIAL, *SYMMETRIC):
        assert {rotation.train, rotation.validate, rotation.test} == {1, 2, 3}


def test_mean_and_spread_of_every_number() -> None:
    parts = [scores(0.5, Skin=TISSUE), scores(0.7, Skin=TISSUE), scores(0.9, Colon=TISSUE)]
    summary = summarise_rotations(OFFICIAL, parts)
    bpq = summary["overall"]["bpq"]
    assert bpq["values"] == [0.5, 0.7, 0.9]
    assert bpq["mean"] == statistics.mean(bpq["values"])
    assert bpq["sd"] == statistics.stdev(bpq["values"])
    assert summary["overall"]["mpq"] == {"mean": None, "sd": None, "values": [None] * 3}
    assert "note" not in summary["overall"]
    assert list(summary["per_tissue"]) == ["Colon", "Skin"]
    assert summary["per_tissue"]["Colon"]["bpq"] == {
        "mean": 0.5,
        "sd": None,  # one rotation has no spread
        "values": [None, None, 0.5],
    }
    assert summary["per_tissue"]["Skin"]["dice_per_class"]["Dead"]["sd"] == 0
    assert [row["folder"] for row in summary["rotations"]] == [
        "rotation-1-2-3",
        "rotation-2-1-3",
        "rotation-3-2-1",
    ]
    text = "\n".join(rotation_lines(summary))
    assert "bPQ 0.7000 ± 0.2000   mPQ -" in text
    assert "Colon" in text
    assert "0.5000 ± 0.0000" in text


def test_runs_without_class_scores_say_why() -> None:
    part = {**scores(0.5, Skin=TISSUE), "no_classes": "left out"}
    text = "\n".join(rotation_lines(summarise_rotations(OFFICIAL, [part] * 3)))
    assert "no class scores: left out" in text


def test_spread_of_places_that_only_one_has() -> None:
    assert spread([{"a": {"b": 1.0}}, {}, {}])["a"]["b"]["values"] == [1.0, None, None]
    assert spread([{"a": [1, 2]}, {"a": [3, 4]}]) == {}


def test_a_rotation_s_folder_is_inside(tmp_path) -> None:
    for folder in ("../../elsewhere", "/elsewhere", ".."):
        write_summary({"rotations": [{"folder": folder}]}, tmp_path)
        with pytest.raises(ValueError, match=rf"crossval\.json: the folder '{folder}' leads out"):
            read_summary(tmp_path / CROSSVAL_FILE)
    write_summary({"rotations": [{"folder": "rotation-1"}]}, tmp_path)
    assert read_summary(tmp_path / CROSSVAL_FILE)["rotations"] == [{"folder": "rotation-1"}]


def test_tables_hold_mean_and_spread(tmp_path: Path) -> None:
    parts = [scores(0.5, Skin=TISSUE), scores(0.7, Skin=TISSUE), scores(0.9, Colon=TISSUE)]
    write_tables(rotation_tables(summarise_rotations(OFFICIAL, parts)), tmp_path)
    folder = tmp_path / "tables"
    assert (folder / "overall.csv").read_text().splitlines()[:2] == [
        "name,score,value_mean,value_sd",
        f"bPQ,bpq,{statistics.mean([0.5, 0.7, 0.9])},{statistics.stdev([0.5, 0.7, 0.9])}",
    ]
    assert r"bPQ & 0.700 $\pm$ 0.200 \\" in (folder / "overall.tex").read_text()
    header, row = (folder / "classes.csv").read_text().splitlines()
    assert header == "class,pq_mean,pq_sd,pq_pooled_mean,pq_pooled_sd,dice_mean,dice_sd"
    assert row == "Dead,0.5,0.0,0.25,0.0,,"
    without = [{**part, "no_classes": "left out"} for part in parts]
    write_tables(rotation_tables(summarise_rotations(OFFICIAL, without)), tmp_path / "b")
    assert not (tmp_path / "b" / "tables" / "classes.csv").exists()
