import csv
from typing import get_args, get_type_hints

import pytest

from histonuc import commands, extras
from histonuc.exports import FORMATS, export_folder, write_table
from histonuc.exports.csv import write_csv
from histonuc.exports.geojson_reader import read_geojson

PLAIN = ("geojson", "geojson.gz", "geoparquet", "csv", "coco", "ome-tiff")


def test_export_one_prediction_or_a_folder_of_them(nuclei_of, assert_equal, tmp_path):
    for name in ("a", "b"):
        write_table(nuclei_of(), tmp_path / "out" / name / "nuclei.parquet")
    written = export_folder(tmp_path / "out", "csv")
    assert written == [tmp_path / "out" / name / "nuclei.csv" for name in ("a", "b")]
    (one,) = export_folder(tmp_path / "out" / "b", "geojson.gz")
    assert_equal(read_geojson(one), nuclei_of(), points_px=0.00501, centroid_px=1e-4)


@pytest.mark.parametrize("to", PLAIN)
@pytest.mark.parametrize("num", [7, 0])
def test_every_plain_format_is_written_without_an_extra(nuclei_of, tmp_path, monkeypatch, to, num):
    monkeypatch.setattr(extras, "is_installed", lambda extra: False)
    write_table(nuclei_of(num=num), tmp_path / "nuclei.parquet")
    (written,) = export_folder(tmp_path, to)
    assert written.stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {"nuclei.parquet", written.name}


@pytest.mark.parametrize(("to", "extra"), [("ome-zarr", "zarr"), ("anndata", "spatial")])
def test_a_missing_extra_is_named(nuclei_of, tmp_path, monkeypatch, to, extra):
    monkeypatch.setattr(extras, "is_installed", lambda extra: False)
    write_table(nuclei_of(), tmp_path / "nuclei.parquet")
    with pytest.raises(ValueError, match=rf"--to {to} needs .* pip install 'histonuc\[{extra}\]'"):
        export_folder(tmp_path, to)


def test_centroids_have_a_file_of_their_own(nuclei_of, tmp_path):
    write_table(nuclei_of(), tmp_path / "nuclei.parquet")
    (written,) = export_folder(tmp_path, "geojson", centroids=True)
    assert written == tmp_path / "centroids.geojson"


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="no prediction in"):
        export_folder(tmp_path)
    with pytest.raises(ValueError, match="choose from geojson"):
        export_folder(tmp_path, "xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="--centroids: only geojson"):
        export_folder(tmp_path, "csv", centroids=True)
    for to, slide in (("dicom", None), ("csv", tmp_path)):
        with pytest.raises(ValueError, match=r"--slide SLIDE\.dcm"):
            export_folder(tmp_path, to, slide=slide)


def test_the_command_offers_every_format():
    assert get_args(get_type_hints(commands.export)["to"]) == FORMATS


def test_csv_has_a_row_a_nucleus_and_no_contour(nuclei_of, with_extra, tmp_path):
    nuclei = nuclei_of()
    write_csv(nuclei, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["x"]) for row in rows] == nuclei.centroid[:, 0].tolist()
    assert "contour" not in rows[0]
    write_csv(nuclei_of(mpp=float("nan")), tmp_path / "b.csv")
    with (tmp_path / "b.csv").open(newline="") as stream:
        assert {row["area_um2"] for row in csv.DictReader(stream)} == {""}
    table, _ = with_extra
    write_csv(table, tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [str(11 + i) for i in range(len(nuclei))]
    assert [row["entropy"] for row in rows][:3] == ["0", "", "0.25"]
