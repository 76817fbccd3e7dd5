import csv
import gzip
import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports import (
    export_folder,
    from_table,
    read_geojson,
    read_table,
    table_facts,
    to_table,
    write_csv,
    write_geojson,
    write_table,
)
from histonuc.nuclei import Instances, Nuclei
from histonuc.taxonomy import PANNUKE


def random_nuclei(seed=0, num=7, mpp=0.25):
    """Blobs of a random label image, with random class probabilities."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((60, 60), np.int32)
    for i in range(num):
        x, y = rng.integers(0, 50, 2)
        labels[y : y + rng.integers(2, 10), x : x + rng.integers(2, 10)] = i + 1
    ids, labels = np.unique(labels, return_inverse=True)
    n = len(ids) - 1
    instances = Instances(
        labels=labels.reshape(60, 60).astype(np.int32),
        class_probabilities=rng.dirichlet(np.ones(5), n).astype(np.float32),
        score=rng.uniform(0, 1, n).astype(np.float32),
    )
    nuclei = Nuclei.from_instances(instances, PANNUKE)
    return nuclei.moved(0.499 / 0.25, (1234.5, 99.25), mpp)


def assert_equal(one, other):
    assert len(one) == len(other)
    for name in ("points", "offsets", "centroid", "class_probabilities", "score"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b), name
    assert one.label_space == other.label_space
    assert one.mpp == other.mpp or (math.isnan(one.mpp) and math.isnan(other.mpp))


MPPS = st.sampled_from([0.25, 0.499, float("nan")])


@given(seed=st.integers(0, 999), num=st.integers(0, 12), mpp=MPPS)
def test_table_reads_back_equal(seed, num, mpp):
    nuclei = random_nuclei(seed, num, mpp) if num else Nuclei.empty(PANNUKE, mpp)
    assert_equal(from_table(to_table(nuclei)), nuclei)


@given(seed=st.integers(0, 999), num=st.integers(0, 6), mpp=MPPS)
def test_geojson_reads_back_equal(tmp_path_factory, seed, num, mpp):
    nuclei = random_nuclei(seed, num, mpp) if num else Nuclei.empty(PANNUKE, mpp)
    path = tmp_path_factory.mktemp("geo") / f"a.geojson{'.gz' if seed % 2 else ''}"
    write_geojson(nuclei, path)
    assert_equal(read_geojson(path), nuclei)


def test_columns_mean_what_they_say(tmp_path):
    nuclei = random_nuclei()
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
    facts = table_facts(table)
    assert facts["image_size"] == [60, 60]
    assert facts["mpp"] == 0.25


def test_without_mpp_the_area_in_microns_is_null(tmp_path):
    table = to_table(random_nuclei(mpp=float("nan")))
    assert table["area_um2"].null_count == len(table)
    assert table["area_px"].null_count == 0


def test_sliced_and_chunked_tables_are_read_right():
    nuclei = random_nuclei()
    table = to_table(nuclei)
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    assert_equal(from_table(chunked), nuclei)
    assert_equal(from_table(table.slice(2, 3)), nuclei.select([2, 3, 4]))


def test_geojson_is_what_qupath_reads(tmp_path):
    nuclei = random_nuclei()
    write_geojson(nuclei, tmp_path / "a.geojson")
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    feature = collection["features"][0]
    ring = feature["geometry"]["coordinates"][0]
    assert feature["geometry"]["type"] == "Polygon"
    assert ring[0] == ring[-1]
    assert shapely.Polygon(ring).area == pytest.approx(nuclei.area_px[0])
    index = int(nuclei.class_index[0])
    assert feature["properties"]["objectType"] == "detection"
    assert feature["properties"]["classification"] == {
        "name": PANNUKE.classes[index],
        "color": list(PANNUKE.colours[index]),
    }
    measurements = feature["properties"]["measurements"]
    assert all(isinstance(value, float) for value in measurements.values())
    assert measurements["area µm²"] == pytest.approx(nuclei.area_px[0] / 16)
    assert len({f["id"] for f in collection["features"]}) == len(nuclei)


def test_geojson_of_nothing_is_valid(tmp_path):
    write_geojson(Nuclei.empty(PANNUKE), tmp_path / "a.geojson")
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []


def test_geojson_gz_is_the_same_text_and_the_same_bytes_each_time(tmp_path):
    nuclei = random_nuclei()
    for name in ("a.geojson", "a.geojson.gz", "b.geojson.gz"):
        write_geojson(nuclei, tmp_path / name)
    packed = (tmp_path / "a.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.geojson").read_bytes()
    assert packed == (tmp_path / "b.geojson.gz").read_bytes()


def test_csv_has_a_row_a_nucleus_and_no_contour(tmp_path):
    nuclei = random_nuclei()
    write_csv(nuclei, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["x"]) for row in rows] == nuclei.centroid[:, 0].tolist()
    assert "contour" not in rows[0]
    write_csv(random_nuclei(mpp=float("nan")), tmp_path / "b.csv")
    with (tmp_path / "b.csv").open(newline="") as stream:
        assert {row["area_um2"] for row in csv.DictReader(stream)} == {""}


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.geojson"
    write_geojson(random_nuclei(), path)
    before = path.read_bytes()
    broken = replace(random_nuclei(), score=np.zeros(2, np.float32))
    with pytest.raises((IndexError, ValueError)):
        write_geojson(broken, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.geojson"]


def test_export_one_prediction_or_a_folder_of_them(tmp_path):
    for name in ("a", "b"):
        write_table(random_nuclei(), tmp_path / "out" / name / "nuclei.parquet")
    written = export_folder(tmp_path / "out", "csv")
    assert written == [tmp_path / "out" / name / "nuclei.csv" for name in ("a", "b")]
    (one,) = export_folder(tmp_path / "out" / "b", "geojson.gz")
    assert_equal(read_geojson(one), random_nuclei())


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="no prediction in"):
        export_folder(tmp_path)
    with pytest.raises(ValueError, match="choose from geojson"):
        export_folder(tmp_path, "xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="histonuc predict"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="damaged"):
        read_table(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not a table of nuclei"):
        read_table(tmp_path / "other.parquet")
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(ValueError, match="no GeoJSON that histonuc wrote"):
        read_geojson(tmp_path / "a.geojson")
