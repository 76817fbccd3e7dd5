import gzip
import json
import uuid
import warnings
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc import cli
from histonuc.exports import write_table
from histonuc.exports.geojson import write_geojson
from histonuc.exports.geojson_reader import read_geojson
from histonuc.exports.measurements import measurement_names
from histonuc.exports.source import open_source
from histonuc.inference.features import FEATURES
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import NUCLEUS, PANNUKE

from .conftest import FEATURES as NAMES

MPPS = st.sampled_from([0.25, 0.499, float("nan")])


@given(seed=st.integers(0, 999), num=st.integers(0, 6), mpp=MPPS, features=NAMES)
def test_reads_back_equal(nuclei_of, assert_equal, tmp_path_factory, seed, num, mpp, features):
    nuclei = nuclei_of(seed, num, mpp, features=features)
    path = tmp_path_factory.mktemp("geo") / f"a.geojson{'.gz' if seed % 2 else ''}"
    write_geojson(nuclei, path)
    assert_equal(read_geojson(path), nuclei, points_px=0.00501, centroid_px=1e-4)
    whole = nuclei_of(seed, num, mpp, scale=1, origin=(1e5, 7.25))
    write_geojson(whole, path)
    assert_equal(read_geojson(path), whole, centroid_px=1e-3)


def test_is_what_qupath_reads(nuclei_of, tmp_path):
    nuclei = nuclei_of()
    write_geojson(nuclei, tmp_path / "a.geojson")
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(nuclei)
    feature = collection["features"][0]
    ring = feature["geometry"]["coordinates"][0]
    assert feature["type"] == "Feature"
    assert feature["geometry"]["type"] == "Polygon"
    assert ring[0] == ring[-1]
    assert shapely.Polygon(ring).area == pytest.approx(nuclei.area_px[0], rel=0.01)
    index = int(nuclei.class_index[0])
    assert feature["properties"]["objectType"] == "detection"
    assert feature["properties"]["classification"] == {
        "name": PANNUKE.classes[index],
        "color": list(PANNUKE.colours[index]),
    }
    measurements = feature["properties"]["measurements"]
    assert all(isinstance(value, float | int) for value in measurements.values())
    assert measurements["Nucleus: Area µm^2"] == pytest.approx(nuclei.area_px[0] / 16)
    assert measurements["Detection probability"] == pytest.approx(nuclei.score[0])
    ids = [uuid.UUID(feature["id"]) for feature in collection["features"]]
    assert {(i.version, i.variant) for i in ids} == {(4, uuid.RFC_4122)}
    assert len(set(ids)) == len(nuclei)


@pytest.mark.parametrize("centroids", [False, True])
def test_gdal_reads_valid_geometry_and_the_same_classes(nuclei_of, tmp_path, centroids):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies' own deprecations
        geopandas = pytest.importorskip("geopandas", reason="pip install geopandas to check")
    nuclei = nuclei_of(num=12, features=["red_od"])
    write_geojson(nuclei, tmp_path / "a.geojson", centroids=centroids)
    frame = geopandas.read_file(tmp_path / "a.geojson")
    assert len(frame) == len(nuclei)
    assert set(frame.geom_type) == {"Point" if centroids else "Polygon"}
    assert frame.is_valid.all()
    names = [row["name"] for row in frame["classification"]]
    assert names == [PANNUKE.classes[j] for j in nuclei.class_index]
    if not centroids:
        area = [row["Nucleus: Area px^2"] for row in frame["measurements"]]
        assert shapely.area(frame.geometry.to_numpy()) == pytest.approx(area, rel=0.01)


def test_further_columns_are_measurements_and_missing_values_are_left_out(with_extra, tmp_path):
    table, _ = with_extra
    write_geojson(table, tmp_path / "a.geojson")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    measured = [feature["properties"]["measurements"] for feature in features]
    assert [row.get("entropy") for row in measured][:3] == [0, None, 0.25]
    assert [row["neighbours"] for row in measured] == list(range(len(measured)))
    assert "stain" not in measured[0]


def test_centroids_are_points_and_no_nuclei_to_read_back(nuclei_of, tmp_path):
    nuclei = nuclei_of()
    write_geojson(nuclei, tmp_path / "a.geojson", centroids=True)
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    points = [feature["geometry"]["coordinates"] for feature in features]
    assert {feature["geometry"]["type"] for feature in features} == {"Point"}
    assert np.allclose(points, nuclei.centroid, atol=0.00501)
    with pytest.raises(ValueError, match="have no outline"):
        read_geojson(tmp_path / "a.geojson")


def test_nothing_is_valid(tmp_path):
    write_geojson(Nuclei.empty(PANNUKE), tmp_path / "a.geojson")
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []


def test_batches_do_not_show(nuclei_of, tmp_path):
    nuclei = nuclei_of(num=12)
    source = open_source(nuclei)
    write_geojson(nuclei, tmp_path / "a.geojson")
    write_geojson(replace(source, read=lambda _: source.read(2)), tmp_path / "b.geojson")
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()


def test_gz_is_the_same_text_and_the_same_bytes_each_time(nuclei_of, tmp_path):
    for name in ("a.geojson", "a.geojson.gz", "b.geojson.gz"):
        write_geojson(nuclei_of(), tmp_path / name)
    packed = (tmp_path / "a.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.geojson").read_bytes()
    assert packed == (tmp_path / "b.geojson.gz").read_bytes()


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(nuclei_of, tmp_path):
    path = tmp_path / "a.geojson"
    write_geojson(nuclei_of(), path)
    before = path.read_bytes()
    broken = replace(nuclei_of(), centroid=np.zeros((2, 2)))
    with pytest.raises((IndexError, ValueError)):
        write_geojson(broken, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.geojson"]


def corrected(features):
    """As QuPath writes it after a person re-classified, drew, and reshaped one nucleus each."""
    features[0]["properties"]["classification"] = {"names": ["Dead"], "color": [1, 2, 3]}
    drawn = {"type": "MultiPolygon", "coordinates": [[[[0, 0], [0, 4], [9, 4], [0, 0]]], [SQUARE]]}
    features.append(
        {
            "type": "Feature",
            "geometry": drawn,
            "properties": {"classification": {"name": "Connective"}},
        }
    )
    features[1]["geometry"]["coordinates"] = [SQUARE]
    return features


SQUARE = [[10, 10], [10, 20], [20, 20], [20, 10], [10, 10]]  # counter-clockwise on the screen


@pytest.mark.parametrize("as_array", [True, False])
def test_corrections_in_qupath_come_back(nuclei_of, tmp_path, as_array):
    nuclei = nuclei_of(features=["red_od"])
    write_geojson(nuclei, tmp_path / "a.geojson")
    features = corrected(json.loads((tmp_path / "a.geojson").read_text())["features"])
    content = features if as_array else {"type": "FeatureCollection", "features": features}
    (tmp_path / "b.geojson").write_text(json.dumps(content, indent=1))
    with pytest.raises(ValueError, match="give label_space"):
        read_geojson(tmp_path / "b.geojson")
    read = read_geojson(tmp_path / "b.geojson", label_space=PANNUKE, mpp=0.25)
    assert len(read) == len(nuclei) + 1
    assert read.class_probabilities[0].tolist() == [0, 0, 0, 1, 0]
    assert read.class_probabilities[-1].tolist() == [0, 0, 1, 0, 0]
    assert read.score[-1] == 1
    assert np.array_equal(read.score[:-1], nuclei.score)
    for i in (1, -1):
        ring = read.contour(len(read) - 1 if i == -1 else i)
        assert sorted(ring.tolist()) == sorted(SQUARE[:-1])
        assert shapely.Polygon(ring).exterior.is_ccw  # clockwise with y down
        assert read.centroid[i].tolist() == [15, 15]
    assert np.array_equal(read.class_probabilities[2:-1], nuclei.class_probabilities[2:])
    assert list(read.features) == ["red_od"]
    expected = [*nuclei.features["red_od"], np.nan]  # nobody measured what was drawn
    assert np.array_equal(read.features["red_od"], expected, equal_nan=True)


def test_classes_are_known_or_mapped(nuclei_of, tmp_path):
    nuclei = nuclei_of()
    write_geojson(nuclei, tmp_path / "a.geojson")
    with pytest.raises(ValueError, match=r"a\.geojson has classes that nucleus does not: '"):
        read_geojson(tmp_path / "a.geojson", label_space=NUCLEUS)
    everything = dict.fromkeys(PANNUKE.classes, "Nucleus")
    read = read_geojson(tmp_path / "a.geojson", label_space=NUCLEUS, class_map=everything)
    assert (read.class_probabilities == 1).all()
    assert not read.features  # not the probabilities of other classes
    with pytest.raises(ValueError, match="class_map sends 'Dead' to 'dead'"):
        read_geojson(tmp_path / "a.geojson", class_map={"Dead": "dead"})


def test_features_of_any_length_are_read_in_small_pieces(nuclei_of, tmp_path, monkeypatch):
    from histonuc.exports import geojson_reader

    write_geojson(nuclei_of(), tmp_path / "a.geojson")
    whole = read_geojson(tmp_path / "a.geojson")
    monkeypatch.setattr(geojson_reader, "_CHUNK", 7)
    assert np.array_equal(read_geojson(tmp_path / "a.geojson").points, whole.points)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no",
        "{}",
        '{"features": [{"type": "Feature"',
        '[{"geometry": {"type": "Polygon", "coordinates": []}}]',
        '[{"geometry": null}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, "a"]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1]]]}}]',
        "[1]",
    ],
)
def test_what_is_no_geojson_is_said_to_be_none(tmp_path, content):
    (tmp_path / "a.geojson").write_text(content)
    with pytest.raises(ValueError, match="GeoJSON"):
        read_geojson(tmp_path / "a.geojson", label_space=PANNUKE)
    with pytest.raises(ValueError, match="no file"):
        read_geojson(tmp_path / "b.geojson")


@pytest.mark.parametrize("centroids", [False, True])
def test_positions_are_measured_from_where_qupaths_picture_begins(
    nuclei_of, assert_equal, tmp_path, centroids
):
    nuclei = nuclei_of()
    write_table(nuclei, tmp_path / "nuclei.parquet", {"bounds_xyxy": [1024, 48, 1536, 300]})

    def written(frame):
        command = ["export", str(tmp_path), "--to", "geojson", "--frame", frame]
        assert cli.run(command + ["--centroids"] * centroids) == 0
        path = tmp_path / f"{'centroids' if centroids else 'nuclei'}.geojson"
        features = json.loads(path.read_text())["features"]
        return path, [np.array(row["geometry"]["coordinates"]) for row in features], features

    _, whole, first = written("slide")
    path, cropped, second = written("qupath")
    for a, b in zip(whole, cropped, strict=True):
        assert np.allclose(a - b, [1024, 48])
    assert [row["id"] for row in first] == [row["id"] for row in second]
    shift = [
        [row["properties"]["measurements"][f"Nucleus: Centroid {axis} px"] for axis in "XY"]
        for row in (first[0], second[0])
    ]
    assert np.allclose(np.subtract(*shift), [1024, 48])
    if not centroids:
        assert_equal(read_geojson(path), nuclei, points_px=0.00501, centroid_px=1e-3)
        path.write_text(json.dumps(second))  # QuPath drops what stands before the features
        read = read_geojson(path, label_space=PANNUKE, mpp=0.25, origin=(1024, 48))
        assert_equal(read, nuclei, points_px=0.00501, centroid_px=1e-3)


def test_measurements_have_qupaths_names(nuclei_of, tmp_path):
    nuclei = nuclei_of(features=[*FEATURES, "Cell: Area µm^2", "Nucleus: Area µm^2"])
    write_geojson(nuclei, tmp_path / "a.geojson")
    feature = json.loads((tmp_path / "a.geojson").read_text())["features"][0]
    names = set(feature["properties"]["measurements"])
    assert names <= {*measurement_names(open_source(nuclei))}
    assert {"Nucleus: Area µm^2", "Nucleus: Length µm", "Nucleus: Circularity"} <= {
        *measurement_names(open_source(nuclei))
    }
    # What stands in the file under a name already is not written once more, nor read as a feature.
    assert len(measurement_names(open_source(nuclei))) == 10 + len(FEATURES) + 1
    assert list(read_geojson(tmp_path / "a.geojson").features) == [*FEATURES, "Cell: Area µm^2"]
