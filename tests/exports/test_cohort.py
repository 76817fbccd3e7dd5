"""The table of a batch: one row a slide, typed, the same figures as in each summary."""

from __future__ import annotations

import csv
import json

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histonuc import cli

from ..inference.conftest import draw_blobs


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Results of two images, a blank one, and a damaged one."""
    folder = tmp_path_factory.mktemp("cohort")
    for number, name in enumerate(("a", "b")):
        image = draw_blobs((300, 200), 60, seed=number)
        cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
    cv2.imwrite(str(folder / "blank.png"), image * 0 + 244)
    (folder / "damaged.png").write_bytes(b"no image")
    assert cli.run(["predict", str(folder), "--out", str(folder / "out"), "--mpp", "0.25"]) == 1
    return folder / "out"


def test_each_slide_has_a_row_of_its_summary_s_figures(out) -> None:
    table = pq.read_table(out / "summary.parquet")
    rows = table.to_pylist()
    assert [row["slide"] for row in rows] == ["a.png", "b.png", "blank.png"]
    for row in rows:
        record = json.loads((out / row["slide"][:-4] / "summary.json").read_text())
        same = ("num_nuclei", "density_per_mm2", "tissue_mm2", "left_out_mm2", "image_mm2")
        for name in (*same, "source", "folder", "mpp", "mpp_source", "model", "version"):
            assert row[name] == record[name], name
        assert (row["width_px"], row["height_px"]) == tuple(record["size_px"]) == (300, 200)
        for label, found in record["classes"].items():
            for name in ("num_nuclei", "share", "density_per_mm2", "median_area_um2"):
                assert row[f"{name}_{label}"] == found[name]
        assert row["warnings"] == " | ".join(record["warnings"])
        assert row["num_warnings"] == len(record["warnings"])
    assert rows[0]["num_nuclei"] > 5
    assert rows[2]["median_area_um2_Connective"] is None
    assert rows[2]["num_warnings"] > 0


def test_columns_have_types(out) -> None:
    schema = pq.read_schema(out / "summary.parquet")
    for name in ("num_nuclei", "num_nuclei_Connective", "width_px", "num_warnings"):
        assert schema.field(name).type == pa.int64()
    for name in ("tissue_mm2", "share_Inflammatory", "median_area_um2_Connective", "mpp"):
        assert schema.field(name).type == pa.float64()


def test_csv_and_parquet_say_the_same(out) -> None:
    wanted = pq.read_table(out / "summary.parquet").to_pylist()
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(wanted) == 3
    for row, truth in zip(found, wanted, strict=True):
        assert list(row) == list(truth)
        for name, value in truth.items():
            if value is None:
                assert row[name] == ""
            elif isinstance(value, bool):
                assert row[name] == str(value).lower()
            elif isinstance(value, str):
                assert row[name] == value
            else:
                assert float(row[name]) == pytest.approx(value, rel=1e-12)
