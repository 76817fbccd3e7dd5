"""What other programs write in their own ways: read as it is meant, or one clear error."""

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc import cli
from histonuc.exports import open_source, read_table, to_table
from histonuc.exports.coco import read_coco
from histonuc.exports.geojson_reader import read_geojson
from histonuc.exports.geoparquet import read_geoparquet
from histonuc.exports.hovernet_json import read_hovernet_json
from histonuc.exports.label_image import read_label_image
from histonuc.exports.reading import Outlined, to_nuclei
from histonuc.taxonomy import PANNUKE

from ..fuzzing import assert_clear, outcome

TRIANGLE = [[0, 0], [9, 0], [9, 9], [0, 0]]
NAMES = [
    ("Dead", "Dead"),
    ({"name": "Dead"}, "Dead"),
    ({"names": ["Dead"], "color": [1, 2, 3]}, "Dead"),
    ('{"name": "Dead", "color": [1, 2, 3]}', "Dead"),  # as GDAL and geopandas write objects
]


def write_geojson(path, classification, geometry=None, **measurements):
    feature = {
        "type": "Feature",
        "geometry": geometry or {"type": "Polygon", "coordinates": [TRIANGLE]},
        "properties": {"classification": classification, "measurements": measurements},
    }
    path.write_text(json.dumps([feature]))
    return path


@pytest.mark.parametrize(("classification", "name"), NAMES)
def test_geojson_with_the_class_as_text_or_object(tmp_path, classification, name):
    path = write_geojson(tmp_path / "a.geojson", classification)
    read = read_geojson(path, label_space=PANNUKE)
    assert [PANNUKE.classes[j] for j in read.class_index] == [name]


@pytest.mark.parametrize("classification", [7, ["Dead"], '{"name": ', '{"name": 3}', True])
def test_geojson_with_another_class_is_one_clear_error(tmp_path, classification):
    path = write_geojson(tmp_path / "a.geojson", classification)
    with pytest.raises(ValueError, match="damaged or no GeoJSON of polygons") as error:
        read_geojson(path, label_space=PANNUKE)
    assert_clear(error.value, path.name)


def test_a_measurement_that_is_no_number_is_named(tmp_path):
    path = write_geojson(tmp_path / "a.geojson", "Dead", **{"Nucleus: Solidity": "0.9"})
    with pytest.raises(ValueError, match=r"expected a number as solidity, got '0\.9'"):
        read_geojson(path, label_space=PANNUKE)


@pytest.mark.parametrize(("classification", "name"), NAMES)
def test_geoparquet_with_the_class_as_geopandas_takes_it_from_geojson(
    tmp_path, classification, name
):
    geo = json.dumps({"primary_column": "geometry", "columns": {"geometry": {}}})
    shape = shapely.to_wkb(shapely.Polygon(TRIANGLE))
    table = pa.table({"classification": [classification], "geometry": [shape]})
    pq.write_table(table.replace_schema_metadata({"geo": geo}), tmp_path / "a.parquet")
    read = read_geoparquet(tmp_path / "a.parquet", label_space=PANNUKE)
    assert [PANNUKE.classes[j] for j in read.class_index] == [name]
    assert not read.texts


def test_geoparquet_without_classes_or_of_points_says_so(tmp_path):
    geo = json.dumps({"primary_column": "geometry", "columns": {"geometry": {}}})
    for name, columns, said in (
        ("a", {"geometry": [shapely.to_wkb(shapely.Polygon(TRIANGLE))]}, "a column 'class'"),
        ("b", {"class": ["Dead"], "geometry": [shapely.to_wkb(shapely.Point(1, 2))]}, "no outline"),
    ):
        table = pa.table(columns).replace_schema_metadata({"geo": geo})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        with pytest.raises(ValueError, match=said) as error:
            read_geoparquet(tmp_path / f"{name}.parquet", label_space=PANNUKE)
        assert_clear(error.value, f"{name}.parquet")


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"segmentation": {"counts": [1], "size": [1, 1]}}, "a run-length mask"),
        ({"segmentation": []}, "1 objects have no outline"),
        ({"segmentation": [[0, 0, 9]]}, "expected a polygon as a list x, y, x, y"),
        ({"segmentation": "none"}, "expected a list of polygons"),
        ({"category_id": 5}, "category 5, which is not listed"),
        ({"score": "high"}, "expected a number as score"),
    ],
)
def test_coco_that_cannot_be_read_says_why(tmp_path, annotation, said):
    row = {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]} | annotation
    content = {"categories": [{"id": 1, "name": "Dead"}], "annotations": [row]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as error:
        read_coco(tmp_path / "a.json", label_space=PANNUKE)
    assert_clear(error.value, "a.json")


def test_coco_with_a_flat_polygon_is_read(tmp_path):
    row = {"image_id": 1, "category_id": 1, "segmentation": [0, 0, 9, 0, 9, 9], "score": None}
    content = {"categories": [{"id": 1, "name": "Dead"}], "annotations": [row]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = read_coco(tmp_path / "a.json", label_space=PANNUKE)
    assert (read.points.tolist(), read.score.tolist()) == ([[0, 0], [9, 0], [9, 9]], [1])


@pytest.mark.parametrize("kind", [2, "2", 2.0])
def test_hovernet_types_as_text_and_contours_as_opencv_gives_them(tmp_path, kind):
    contour = [[[0, 0]], [[4, 0]], [[4, 4]]]
    (tmp_path / "a.json").write_text(json.dumps({"nuc": {"1": {"contour": contour, "type": kind}}}))
    read = read_hovernet_json(tmp_path / "a.json", label_space=PANNUKE, types={2: "Dead"})
    assert read.class_index.tolist() == [3]
    assert read.points.tolist() == [[0.5, 0.5], [4.5, 0.5], [4.5, 4.5]]


@pytest.mark.parametrize("kind", [None, [1], 2.5])
def test_other_hovernet_types_are_one_clear_error(tmp_path, kind):
    row = {"contour": [[0, 0], [4, 0], [4, 4]], "type": kind}
    (tmp_path / "a.json").write_text(json.dumps({"nuc": {"1": row}}))
    with pytest.raises(ValueError, match="expected a whole number as type") as error:
        read_hovernet_json(tmp_path / "a.json", label_space=PANNUKE, types={})
    assert_clear(error.value, "a.json")


def test_a_label_image_of_an_absurd_size_is_refused_before_it_is_read(tmp_path):
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint32))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("ImageWidth", "ImageLength"):
            tag = file.pages[0].tags[name]
            content[tag.valueoffset : tag.valueoffset + 4] = (60_000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="60000 x 60000") as error:
        read_label_image(path, label_space=PANNUKE, classes={})
    assert_clear(error.value, "a.tif")


ABSURD = {
    "image_size": [
        [10**12, 10**12],
        [0, 5],
        [-3, 4],
        ["a", 2],
        [1.5, 2],
        7,
        None,
        [float("nan"), 1],
    ],
    "mpp": [-1, 0, "0.25", True, float("inf"), [0.25]],
    "mpp_xy": [[0.25], [0.25, -1], 3],
    "bounds_xyxy": [[0, 0], [0, 0, 10**9, 1], "all"],
    "source": [3, ["a.svs"]],
}


@pytest.mark.parametrize(
    ("fact", "value"), [(fact, value) for fact, values in ABSURD.items() for value in values]
)
def test_tables_that_say_absurd_things_of_themselves(nuclei_of, tmp_path, capsys, fact, value):
    table = to_table(nuclei_of(), {"image_size": [1400, 300]})
    facts = json.loads(table.schema.metadata[b"histonuc"]) | {fact: value}
    metadata = table.schema.metadata | {b"histonuc": json.dumps(facts)}
    path = tmp_path / "nuclei.parquet"
    pq.write_table(table.replace_schema_metadata(metadata), path)
    for read in (read_table, open_source):
        with pytest.raises(ValueError, match=rf"no table of nuclei: expected .*{fact}") as error:
            read(path)
        assert_clear(error.value, path.name)
    assert cli.run(["export", str(tmp_path), "--to", "ome-tiff"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is damaged or no table of nuclei: expected ")


coordinates = st.tuples(st.integers(0, 6), st.integers(0, 6))


@given(st.lists(coordinates, min_size=3, max_size=9), st.sampled_from([1.0, 0.013, 0.25]))
def test_outlines_that_touch_or_cross_themselves_become_simple(ring, scale):
    outline = Outlined(ring=np.array(ring, np.float64) * scale + 1000.1, class_name="Dead")
    read = partial(to_nuclei, label_space=PANNUKE, class_map=None, mpp=0.25, origin="a.json")
    nuclei = outcome(read, [outline])
    if isinstance(nuclei, ValueError):
        assert "no area" in str(nuclei) or "no outline" in str(nuclei)
        return
    polygon = shapely.Polygon(nuclei.contour(0))
    assert polygon.is_valid
    assert shapely.Polygon(np.round(nuclei.contour(0), 2)).is_valid
    assert polygon.exterior.is_ccw  # clockwise with y down
    whole = shapely.Polygon(outline.ring)
    if whole.is_valid and shapely.Polygon(np.round(outline.ring, 2)).is_valid:
        assert polygon.equals(whole)  # what was simple stays as it is
