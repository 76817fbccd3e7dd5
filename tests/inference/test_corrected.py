"""Counts of slides, classes and regions are those of the corrected nuclei; corrections survive."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from histonuc import cli
from histonuc.corrections import (
    CorrectionLog,
    Operation,
    Target,
    read_corrections,
    read_table_facts,
)
from histonuc.exports import read_table
from histonuc.exports.summary import read_summary
from histonuc.inference import recounting
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import PredictSummary, predict
from histonuc.nuclei import Nuclei

Run = Callable[..., PredictSummary]


@pytest.fixture
def run(tmp_path: Path, blobs: np.ndarray, pixel_model) -> Run:
    """Predicts two images with two regions, one of which lies in the other."""
    images = [tmp_path / "one.png", tmp_path / "other.png"]
    for image in images:
        cv2.imwrite(str(image), blobs[:300, :300, ::-1])
    shapes = {"whole": shapely.box(0, 0, 300, 300), "left": shapely.box(0, 0, 150, 300)}
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(shape)),
            "properties": {"name": name},
        }
        for name, shape in shapes.items()
    ]
    (tmp_path / "r.geojson").write_text(json.dumps(features))
    settings = {"mpp": 0.25, "tile_px": 192, "regions": tmp_path / "r.geojson"}

    def run(model=pixel_model, **more) -> PredictSummary:
        options = PredictOptions(**settings, **more)
        return predict(images, tmp_path / "out", options, model=model)

    return run


def correct(folder: Path) -> tuple[Nuclei, list[int]]:
    """Delete a nucleus of the left region, and make the next one a plasma cell."""
    table = folder / "nuclei.parquet"
    facts, nuclei = read_table_facts(table), read_table(table)
    rows = np.flatnonzero(nuclei.centroid[:, 0] < 150)[:2].tolist()
    operation = partial(Operation, by="ann", table=facts.sha256, model=facts.model_sha256)
    targets = [
        Target(
            id=i + 1,
            class_name=nuclei.label_space.classes[int(nuclei.class_index[i])],
            x=float(nuclei.centroid[i, 0]),
            y=float(nuclei.centroid[i, 1]),
            ring=nuclei.contour(i),
        )
        for i in rows
    ]
    CorrectionLog(folder).append(
        operation(do="delete", nuclei=(targets[0],)),
        operation(do="classify", nuclei=(targets[1],), fields={"class": "Plasma cell"}),
    )
    return nuclei, rows


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_counts_with_and_without_corrections(run: Run, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    run()
    files = [out / "summary.csv", out / "one/regions.csv", out / "one/summary.json"]
    before = [path.read_bytes() for path in files]
    assert cli.run(["summarise", str(out)]) == 0
    assert [path.read_bytes() for path in files] == before  # nothing was corrected
    correct(out / "one")
    capsys.readouterr()
    assert cli.run(["summarise", str(out)]) == 0
    assert "one.png: 2 nuclei corrected by ann" in capsys.readouterr().out
    typed, rows = pq.read_table(out / "summary.parquet"), read_rows(out / "summary.csv")
    assert typed["num_corrected"].to_pylist() == [2, 0]
    assert [row["corrected_by"] for row in rows] == ["ann", ""]
    assert [row["num_nuclei_Plasma cell"] for row in rows] == ["1", ""]
    whole, left = read_rows(out / "one/regions.csv")
    assert whole["num_nuclei_Plasma cell"] == left["num_nuclei_Plasma cell"] == "1"
    num = len(read_table(out / "one/nuclei.parquet")) - 1
    assert int(rows[0]["num_nuclei"]) == int(whole["num_nuclei"]) == num
    assert float(rows[0]["density_per_mm2"]) == pytest.approx(num / float(rows[0]["analysed_mm2"]))
    assert files[2].read_bytes() == before[2]  # the record is that of the prediction
    assert cli.run(["summarise", str(out), "--uncorrected"]) == 0
    assert [path.read_bytes() for path in files] == before


def test_classes_given_by_hand_are_no_guess(run: Run, tmp_path: Path, capsys, monkeypatch) -> None:
    run()
    folder = tmp_path / "out" / "one"
    correct(folder)
    monkeypatch.setattr(
        recounting,
        "read_summary",
        lambda place: replace(read_summary(place), classes_extrapolated=True),
    )
    capsys.readouterr()
    assert cli.run(["summarise", str(folder)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "%" in line]
    told = {line[2:28].strip(): line.endswith("a guess") for line in lines}
    assert told.pop("Plasma cell") is False
    assert told
    assert all(told.values())


def test_resume_and_overwrite_keep_the_corrections(run: Run, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "out/one"
    run()
    correct(folder)
    log = (folder / "corrections.jsonl").read_bytes()
    for more in ({}, {"overwrite": True}):
        summary = run(**more)
        assert "  one.png: 2 nuclei corrected by ann" in summary.lines()
        assert (folder / "corrections.jsonl").read_bytes() == log
        assert read_rows(tmp_path / "out/summary.csv")[0]["num_corrected"] == "2"
        assert read_rows(folder / "regions.csv")[0]["num_nuclei_Plasma cell"] == "1"
    record = json.loads((tmp_path / "out/summary.json").read_text())
    assert record["corrected"][0]["people"] == {"ann": 2}
    assert cli.run(["info", str(folder)]) == 0
    assert "2 nuclei corrected by ann" in capsys.readouterr().out


def test_regions_that_are_gone_are_told(run: Run, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "out/one"
    run()
    correct(folder)
    moved = (tmp_path / "r.geojson").rename(tmp_path / "moved.geojson")
    assert cli.run(["summarise", str(folder)]) == 0
    assert "the counts of the regions are those of the prediction" in capsys.readouterr().out
    assert "num_nuclei_Plasma cell" not in read_rows(folder / "regions.csv")[0]
    assert cli.run(["summarise", str(folder), "--regions", str(moved)]) == 0
    assert read_rows(folder / "regions.csv")[0]["num_nuclei_Plasma cell"] == "1"


def test_a_new_prediction_is_matched_by_overlap(run: Run, tmp_path: Path, pixel_model) -> None:
    folder = tmp_path / "out/one"
    run()
    nuclei, (deleted, classified) = correct(folder)
    other = type(pixel_model)(mpp=0.3)  # other outlines and other numbers
    other.sha256 = "1" * 64
    run(other)
    again = read_table(folder / "nuclei.parquet")
    found = read_corrections(folder)
    assert found is not None
    corrections = found.corrections
    assert corrections.unmatched == ()
    for row, numbers in ((deleted, corrections.deleted), (classified, corrections.classes)):
        (number,) = numbers
        assert np.hypot(*(again.centroid[number - 1] - nuclei.centroid[row])) < 2


def test_what_a_new_prediction_lacks_is_listed(run: Run, tmp_path: Path, blobs, capsys) -> None:
    folder = tmp_path / "out/one"
    run()
    nuclei, (deleted, _) = correct(folder)
    image = blobs[:300, :300].copy()
    x0, y0, x1, y1 = nuclei.box[deleted].astype(int)
    image[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = (230, 180, 210)
    cv2.imwrite(str(tmp_path / "one.png"), image[..., ::-1])
    run()
    assert cli.run(["corrections", "show", str(folder)]) == 0
    told = capsys.readouterr().out
    x, y = nuclei.centroid[deleted]
    assert f"ann, {CorrectionLog(folder).read().operations[0].time}: delete" in told
    assert f"of the nucleus at {x:.0f}, {y:.0f}" in told


def test_a_damaged_log_fails_its_own_input_only(run: Run, tmp_path: Path) -> None:
    run()
    (tmp_path / "out/one/corrections.jsonl").write_text("wild\n")
    summary = run()
    assert [Path(item.source).name for item in summary.items] == ["other.png"]
    assert "holds no corrections that can be read" in summary.failed[0]["error"]
