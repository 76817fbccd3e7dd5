import itertools
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports.geoparquet import read_geoparquet, write_geoparquet
from histonuc.exports.wkb import polygon_wkb
from histonuc.taxonomy import NUCLEUS, PANNUKE

from .conftest import FEATURES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies' own deprecations
    geopandas = pytest.importorskip("geopandas", reason="pip install geopandas to check the files")


@given(
    seed=st.integers(0, 999),
    num=st.integers(0, 6),
    mpp=st.sampled_from([0.25, float("nan")]),
    features=FEATURES,
)
def test_reads_back_equal(nuclei_of, assert_equal, tmp_path_factory, seed, num, mpp, features):
    nuclei = nuclei_of(seed, num, mpp, features=features)
    path = tmp_path_factory.mktemp("geo") / "a.geoparquet"
    write_geoparquet(nuclei, path)
    assert_equal(read_geoparquet(path), nuclei)


@given(seed=st.integers(0, 999), num=st.integers(0, 6))
def test_wkb_is_what_shapely_writes(nuclei_of, seed, num):
    nuclei = nuclei_of(seed, num)
    data, starts = polygon_wkb(nuclei.points, nuclei.offsets)
    ours = [bytes(data[a:b]) for a, b in itertools.pairwise(starts)]
    assert ours == [shapely.Polygon(nuclei.contour(i)).wkb for i in range(len(nuclei))]


def test_geopandas_reads_it_with_all_columns(with_extra, tmp_path):
    table, nuclei = with_extra
    write_geoparquet(table, tmp_path / "a.geoparquet")
    frame = geopandas.read_parquet(tmp_path / "a.geoparquet")
    assert frame.crs is None
    assert frame["id"].tolist() == list(range(11, 11 + len(nuclei)))
    assert frame["class"].tolist() == [PANNUKE.classes[j] for j in nuclei.class_index]
    assert np.allclose(frame.area, nuclei.area_px)
    assert frame["neighbours"].tolist() == list(range(len(nuclei)))
    assert frame["entropy"].isna().tolist()[:3] == [False, True, False]
    left, top, right, bottom = nuclei.box[0]
    some = geopandas.read_parquet(tmp_path / "a.geoparquet", bbox=(left, top, right, bottom))
    assert 0 < len(some) < len(nuclei)  # the covering is understood
    assert pq.ParquetFile(tmp_path / "a.geoparquet").metadata.metadata[b"geo"]


def test_corrections_in_geopandas_come_back(nuclei_of, tmp_path):
    nuclei = nuclei_of(features=["red_od"])
    write_geoparquet(nuclei, tmp_path / "a.geoparquet")
    frame = geopandas.read_parquet(tmp_path / "a.geoparquet")
    frame.loc[0, "class"] = "necrotic"
    frame.loc[frame.index[::-1]].iloc[::-1].to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="give label_space"):
        read_geoparquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"'necrotic' \(1\)"):
        read_geoparquet(tmp_path / "b.parquet", label_space=PANNUKE)
    read = read_geoparquet(
        tmp_path / "b.parquet", label_space=PANNUKE, class_map={"necrotic": "Dead"}
    )
    assert read.class_probabilities[0].tolist() == [0, 0, 0, 1, 0]
    assert np.array_equal(read.class_probabilities[1:], nuclei.class_probabilities[1:])
    assert np.array_equal(read.points, nuclei.points)
    assert list(read.features) == ["red_od"]
    assert np.array_equal(read.features["red_od"], nuclei.features["red_od"], equal_nan=True)
    everything = dict.fromkeys(PANNUKE.classes, "Nucleus")
    mapped = read_geoparquet(tmp_path / "a.geoparquet", label_space=NUCLEUS, class_map=everything)
    assert list(mapped.features) == ["red_od"]  # and no probabilities of other classes


def test_other_tables_are_refused(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"no")
    for name in "ab":
        with pytest.raises(ValueError, match="no GeoParquet of classified polygons"):
            read_geoparquet(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match="no file at"):
        read_geoparquet(tmp_path / "c.parquet")
