"""Regions from GeoJSON and masks: only their nuclei are reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from histonuc.exports.table import read_table
from histonuc.inference.drawn_reader import find_regions, read_regions
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict

SIZE = (700, 500)
TRIANGLE = [[50, 50], [650, 80], [300, 460], [50, 50]]
HOLE = [[300, 150], [380, 150], [380, 230], [300, 230], [300, 150]]
OPTIONS = PredictOptions(mpp=0.25, tile_px=256)


@pytest.fixture
def image(tmp_path, blobs):
    path = tmp_path / "in" / "blobs.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), blobs[..., ::-1])
    return path


def write(path, *polygons):
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": rings}}
        for rings in polygons
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_only_nuclei_of_the_region_are_reported(image, tmp_path, pixel_model):
    path = write(tmp_path / "one.geojson", [TRIANGLE, HOLE])
    predict([image], tmp_path / "all", OPTIONS, model=pixel_model)
    (item,) = predict(
        [image], tmp_path / "some", replace(OPTIONS, regions=path), model=pixel_model
    ).items
    everywhere = read_table(tmp_path / "all/blobs/nuclei.parquet")
    area = shapely.Polygon(TRIANGLE, [HOLE])
    wanted = everywhere.centroid[shapely.contains_xy(area, everywhere.centroid)]
    found = read_table(tmp_path / "some/blobs/nuclei.parquet").centroid
    assert 10 < len(found) < len(everywhere)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)])
    assert item.tissue_mm2 == pytest.approx(area.area * 0.25**2 * 1e-6)


def test_a_mask_in_a_folder_does_the_same(image, tmp_path, pixel_model):
    mask = np.zeros((250, 350), np.uint8)
    mask[:125] = 255
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/blobs.png"), mask)
    (item,) = predict(
        [image], tmp_path / "out", replace(OPTIONS, regions=tmp_path / "masks"), model=pixel_model
    ).items
    found = read_table(tmp_path / "out/blobs/nuclei.parquet")
    assert 50 < len(found) < 300
    assert found.centroid[:, 1].max() < 250
    assert item.tissue_mm2 == pytest.approx(0.5 * item.image_mm2)


def test_other_regions_are_another_result(image, tmp_path, pixel_model):
    path = write(tmp_path / "one.geojson", [TRIANGLE])
    predict([image], tmp_path / "out", replace(OPTIONS, regions=path), model=pixel_model)
    assert predict(
        [image], tmp_path / "out", replace(OPTIONS, regions=path), model=pixel_model
    ).skipped
    write(path, [HOLE])
    assert not predict(
        [image], tmp_path / "out", replace(OPTIONS, regions=path), model=pixel_model
    ).skipped


def test_what_is_no_region_is_refused(image, tmp_path, pixel_model):
    broken, outside = tmp_path / "broken.geojson", tmp_path / "outside.geojson"
    broken.write_text('{"features": [{"geometry": 3}]}')
    write(outside, [[[900, 900], [950, 900], [950, 950], [900, 900]]])
    cv2.imwrite(str(tmp_path / "tall.png"), np.ones((400, 100), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    ignored = {
        "type": "Feature",
        "geometry": json.loads(shapely.to_geojson(shapely.box(0, 0, 9, 9))),
    }
    ignored["properties"] = {"classification": {"name": "Ignore*"}}
    (tmp_path / "ignored.geojson").write_text(json.dumps(ignored))
    for name, reason in (
        ("broken.geojson", "no GeoJSON of polygons"),
        ("outside.geojson", "no region inside"),
        ("tall.png", "proportions"),
        ("text.png", "no PNG"),
        ("ignored.geojson", "not all of a class that is ignored"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_regions(tmp_path / name, SIZE)
    with pytest.raises(ValueError, match="no such file or folder"):
        predict(
            [image], tmp_path / "out", PredictOptions(regions=tmp_path / "none"), model=pixel_model
        )
    (tmp_path / "empty").mkdir()
    (failure,) = predict(
        [image], tmp_path / "out", PredictOptions(regions=tmp_path / "empty")
    ).failed
    assert r"expected a file, or a folder with blobs.geojson" in failure["error"]


def test_shapes_that_are_left_out_are_told(tmp_path):
    path = tmp_path / "some.geojson"
    away = [[900, 900], [950, 900], [950, 950], [900, 900]]
    bow_tie = [[0, 0], [50, 50], [50, 0], [0, 50], [0, 0]]
    geometries = [
        shapely.Polygon(TRIANGLE),
        shapely.Polygon(bow_tie),
        shapely.box(-100, -100, 1, 1),  # a corner is inside
        shapely.Polygon(away),
        shapely.MultiPolygon([shapely.Polygon(away)]),
        shapely.Point(10, 10),
        shapely.LineString([[10, 10], [90, 90]]),
        shapely.GeometryCollection([shapely.Point(600, 20), shapely.box(590, 10, 610, 30)]),
    ]
    features = [{"geometry": json.loads(shapely.to_geojson(one))} for one in geometries]
    path.write_text(json.dumps({"features": features}))
    regions = read_regions(path, SIZE)
    (warning,) = regions.warnings
    assert warning == f"{path}: of 8 shapes left out: 2 without an area, 2 outside the slide"
    assert regions.pair(np.array([[600.0, 20], [10.0, 40]]))[0].tolist() == [0]
    assert read_regions(write(tmp_path / "good.geojson", [TRIANGLE]), SIZE).warnings == ()


def rgba(colours, opacity):
    return np.dstack([colours.astype(np.uint8), opacity.astype(np.uint8)])


LABELS = np.zeros((50, 70), np.uint16)
LABELS[:20, :30], LABELS[30:, 40:] = 7, 300
SHOWN = LABELS > 0
DARK = np.zeros((50, 70, 3), np.uint8)
DARK[SHOWN] = (1, 0, 0)  # grey would be 0
MASKS = {
    "labels of 16 bits": LABELS,
    "labels of 8 bits": LABELS.astype(np.uint8),
    "labels in one of three channels": np.dstack([LABELS * 0, LABELS * 0, LABELS]),
    "dark colours": DARK,
    "opaque": rgba(DARK, SHOWN * 0 + 255),
    "transparent and white beside": rgba(DARK * 0 + 255, SHOWN * 255),
    "transparent and black beside": rgba(DARK, SHOWN * 255),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_a_mask_is_what_is_not_black(tmp_path, name, suffix):
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(cv2.imencode(".png", MASKS[name])[1].tobytes())
    np.testing.assert_array_equal(read_regions(path, SIZE).tissue.mask, SHOWN)


def test_opacity_alone_is_no_region(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), rgba(DARK * 0, SHOWN * 0 + 255))
    with pytest.raises(ValueError, match="no region inside"):
        read_regions(tmp_path / "a.png", SIZE)


def test_a_folder_is_searched_whatever_the_case_of_suffixes(tmp_path):
    for name in ("a.PNG", "a.GeoJSON", "b.x.PNG", "c.Png"):
        (tmp_path / name).write_text("")
    for source, found in (("a.svs", "a.GeoJSON"), ("b.x.tif", "b.x.PNG"), ("c.svs", "c.Png")):
        assert find_regions(tmp_path, Path(source)).name == found
    (tmp_path / "e\u0301.geojson").write_text("")  # as macOS stores the name: e, then the accent
    assert find_regions(tmp_path, Path("\u00e9.svs")).name == "e\u0301.geojson"
    for source in ("A.svs", "b.svs"):
        with pytest.raises(ValueError, match="no regions for"):
            find_regions(tmp_path, Path(source))


@pytest.mark.parametrize("wrap", ["Feature", "geometry", "list of geometries"])
@pytest.mark.parametrize("kind", ["Polygon", "MultiPolygon", "GeometryCollection"])
def test_geojson_without_a_collection(tmp_path, wrap, kind):
    parts = [shapely.Polygon(TRIANGLE), shapely.box(600, 400, 650, 450)]
    several = shapely.MultiPolygon(parts)
    shape = {
        "Polygon": parts[0],
        "MultiPolygon": several,
        "GeometryCollection": shapely.GeometryCollection([several, shapely.Point(3, 3)]),
    }[kind]
    geometry = json.loads(shapely.to_geojson(shape))
    content = {
        "Feature": {"type": "Feature", "properties": {}, "geometry": geometry},
        "geometry": geometry,
        "list of geometries": [geometry],
    }[wrap]
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_regions(tmp_path / "a.json", SIZE).tissue.area_px == pytest.approx(shape.area)


def test_overlapping_and_thin_regions(tmp_path):
    square = [[10, 10], [200, 10], [200, 200], [10, 200], [10, 10]]
    thin = [[400, 0], [400.4, 0], [400.4, 500], [400, 500], [400, 0]]
    regions = read_regions(write(tmp_path / "two.geojson", [square], [square], [thin]), SIZE)
    assert regions.tissue.fraction == pytest.approx((190**2 + 0.4 * 500) / (700 * 500))
    assert regions.tissue.mask[:, 400].all()
    point, region = regions.pair(np.array([[100.0, 100.0], [400.2, 250.0], [500, 250]]))
    assert sorted(zip(point.tolist(), region.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2)]
