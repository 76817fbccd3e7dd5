import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports import from_table, read_table, to_table, write_table
from histonuc.exports.table import schema_facts
from histonuc.taxonomy import PANNUKE

MPPS = st.sampled_from([0.25, 0.499, float("nan")])


@given(seed=st.integers(0, 999), num=st.integers(0, 12), mpp=MPPS)
def test_table_reads_back_equal(nuclei_of, assert_equal, seed, num, mpp):
    nuclei = nuclei_of(seed, num, mpp)
    assert_equal(from_table(to_table(nuclei)), nuclei)


def test_columns_mean_what_they_say(nuclei_of, tmp_path):
    nuclei = nuclei_of()
    write_table(nuclei, tmp_path / "a.parquet", {"image_size": [60, 60]})
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("id").type == pa.uint32()
    assert table["id"].to_pylist() == list(range(1, len(nuclei) + 1))
    assert table.schema.field("class_index").type == pa.int8()
    assert table.schema.field("contour").type == pa.list_(pa.float64())
    names = [PANNUKE.classes[i] for i in table["class_index"].to_pylist()]
    assert table["class"].to_pylist() == names
    row = table.slice(2, 1).to_pylist()[0]
    ring = shapely.Polygon(np.reshape(row["contour"], (-1, 2)))
    assert ring.bounds == (row["x_min"], row["y_min"], row["x_max"], row["y_max"])
    assert ring.area == pytest.approx(row["area_px"])
    assert row["area_um2"] == pytest.approx(row["area_px"] * 0.25**2)
    assert sum(row[f"p_{name}"] for name in PANNUKE.classes) == pytest.approx(1, abs=1e-6)
    facts = schema_facts(table.schema)
    assert facts["image_size"] == [60, 60]
    assert facts["mpp"] == 0.25


def test_without_mpp_the_area_in_microns_is_null(nuclei_of):
    table = to_table(nuclei_of(mpp=float("nan")))
    assert table["area_um2"].null_count == len(table)
    assert table["area_px"].null_count == 0


def test_sliced_and_chunked_tables_are_read_right(nuclei_of, assert_equal):
    nuclei = nuclei_of()
    table = to_table(nuclei)
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    assert_equal(from_table(chunked), nuclei)
    assert_equal(from_table(table.slice(2, 3)), nuclei.select([2, 3, 4]))


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="histonuc predict"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="damaged"):
        read_table(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="no table of nuclei"):
        read_table(tmp_path / "other.parquet")
