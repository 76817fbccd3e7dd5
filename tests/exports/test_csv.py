import csv

import numpy as np
import pytest

from histonuc.exports import to_table
from histonuc.exports.csv import write_csv

from .conftest import few_cases


@few_cases
def test_pandas_reads_back_every_value(nuclei_of, tmp_path_factory, seed, num, mpp, features):
    pandas = pytest.importorskip("pandas", reason="pip install pandas to check the files")
    nuclei = nuclei_of(seed, num, mpp, features=features)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_csv(nuclei, path)
    read = pandas.read_csv(path, float_precision="round_trip")
    table = to_table(nuclei).drop_columns(["geometry"])
    assert set(read.columns) == set(table.column_names)
    assert len(read) == len(nuclei)
    assert read["class"].tolist() == table["class"].to_pylist()
    assert read["slide"].isna().all()
    for name in set(table.column_names) - {"class", "slide"}:
        expected = table[name].to_numpy()
        assert np.array_equal(read[name].to_numpy(expected.dtype), expected, equal_nan=True), name


def test_csv_has_a_row_a_nucleus_and_no_contour(nuclei_of, with_extra, tmp_path):
    nuclei = nuclei_of()
    write_csv(nuclei, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["x"]) for row in rows] == nuclei.centroid[:, 0].tolist()
    assert "geometry" not in rows[0]
    write_csv(nuclei_of(mpp=float("nan")), tmp_path / "b.csv")
    with (tmp_path / "b.csv").open(newline="") as stream:
        assert {row["area_um2"] for row in csv.DictReader(stream)} == {""}
    table, _ = with_extra
    write_csv(table, tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [str(11 + i) for i in range(len(nuclei))]
    assert [row["entropy"] for row in rows][:3] == ["0", "", "0.25"]
    assert {(row["slide"], row["stain"]) for row in rows} == {("slide.svs", "H")}
    assert [float(row["x_um"]) for row in rows] == (0.25 * nuclei.centroid[:, 0]).tolist()
