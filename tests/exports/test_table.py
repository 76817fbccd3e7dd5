from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports import from_table, open_source, read_table, to_table, write_table
from histonuc.exports.table import schema_facts
from histonuc.exports.wkb import polygon_wkb, wkb_polygons
from histonuc.taxonomy import PANNUKE

from .conftest import FEATURES

MPPS = st.sampled_from([0.25, 0.499, float("nan")])


@given(seed=st.integers(0, 999), num=st.integers(0, 12), mpp=MPPS, features=FEATURES)
def test_table_reads_back_equal(nuclei_of, assert_equal, seed, num, mpp, features):
    nuclei = nuclei_of(seed, num, mpp, features=features)
    assert_equal(from_table(to_table(nuclei)), nuclei)


def test_further_numeric_columns_are_features(with_extra):
    table, nuclei = with_extra
    features = read_table(table).features
    assert list(features) == ["entropy", "neighbours"]
    assert features["entropy"][:3].tolist() == pytest.approx([0, np.nan, 0.25], nan_ok=True)
    assert features["neighbours"].tolist() == list(range(len(nuclei)))


def test_whole_numbers_too_large_for_a_float_are_rounded(nuclei_of, tmp_path):
    nuclei = nuclei_of()
    table = to_table(nuclei).append_column("hash", pa.array([2**53 + 1] * len(nuclei)))
    pq.write_table(table, tmp_path / "a.parquet")
    assert (read_table(tmp_path / "a.parquet").features["hash"] == 2**53).all()
    (batch,) = open_source(tmp_path / "a.parquet").batches()
    assert (batch.extra == 2**53).all()


def test_the_table_is_geoparquet(nuclei_of, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    nuclei = nuclei_of()
    write_table(nuclei, tmp_path / "a.parquet")
    frame = geopandas.read_parquet(tmp_path / "a.parquet")
    assert frame.crs is None
    assert np.allclose(frame.area, nuclei.area_px)
    assert np.array_equal(frame.bounds.to_numpy(), nuclei.box)


def test_outlines_come_back_from_wkb_in_pieces(nuclei_of):
    nuclei = nuclei_of()
    data, starts = polygon_wkb(nuclei.points, nuclei.offsets)
    texts = [data[a:b].tobytes() for a, b in pairwise(starts)]
    column = pa.chunked_array([pa.array(texts[:3])[1:], pa.array([], pa.binary()), texts[3:]])
    points, offsets = wkb_polygons(column)
    assert np.array_equal(points, nuclei.select(np.arange(1, len(nuclei))).points)
    assert np.array_equal(np.diff(offsets), np.diff(nuclei.offsets)[1:])
    assert wkb_polygons(pa.chunked_array([], pa.binary()))[1].tolist() == [0]


@pytest.mark.parametrize(
    "shape",
    [
        shapely.Point(1, 2),
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]),
        shapely.box(0, 0, 9, 9) - shapely.box(2, 2, 3, 3),
    ],
)
def test_other_shapes_than_rings_are_refused(shape):
    with pytest.raises(ValueError, match="polygons of one ring"):
        wkb_polygons(pa.chunked_array([[shapely.to_wkb(shape)]]))


def test_columns_mean_what_they_say(nuclei_of, tmp_path):
    nuclei = nuclei_of()
    write_table(nuclei, tmp_path / "a.parquet", {"image_size": [60, 60]})
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("id").type == pa.uint32()
    assert table["id"].to_pylist() == list(range(1, len(nuclei) + 1))
    assert table.schema.field("class_index").type == pa.int8()
    assert table.schema.field("geometry").type == pa.binary()
    names = [PANNUKE.classes[i] for i in table["class_index"].to_pylist()]
    assert table["class"].to_pylist() == names
    row = table.slice(2, 1).to_pylist()[0]
    ring = shapely.from_wkb(row["geometry"])
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
    nuclei = nuclei_of(features=["red_od"])
    table = to_table(nuclei)
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    assert_equal(from_table(chunked), nuclei)
    assert_equal(from_table(table.slice(2, 3)), nuclei.select([2, 3, 4]))


def test_a_flipped_bit_among_the_values_is_noticed(nuclei_of, tmp_path):
    path = tmp_path / "a.parquet"
    write_table(nuclei_of(num=50), path)
    column = pq.read_metadata(path).row_group(0).column(3)  # a data page of measurements
    content = bytearray(path.read_bytes())
    end = column.data_page_offset + column.total_compressed_size
    for place in (end - 1, end - 9):
        damaged = content.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        for read in (read_table, lambda path: list(open_source(path).batches())):
            with pytest.raises(ValueError, match=r"a\.parquet is damaged"):
                read(path)


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="histonuc predict"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="damaged"):
        read_table(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="no table of nuclei"):
        read_table(tmp_path / "other.parquet")
