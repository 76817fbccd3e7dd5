"""Counts in regions against Shapely by brute force, and regions from and to files."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histonuc.inference.drawn import Region
from histonuc.taxonomy import THREE
from histonuc.viewing.errors import RequestError
from histonuc.viewing.filters import Filters
from histonuc.viewing.regions import MAX_VERTICES, count_regions, parse_regions

from .made_result import MPP, SIZE
from .test_counting import passing

WHOLE = [[0, 0], [SIZE[0], 0], [SIZE[0], SIZE[1]], [0, SIZE[1]]]
COORDINATE = st.one_of(
    st.integers(-100, 2600).map(float),  # some nuclei lie on whole pixels, and so on the edges
    st.floats(-100, 2600, allow_nan=False),
)
RING = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=40)


def brute_force(nuclei, area, passes=None):
    inside = shapely.contains_xy(area, nuclei.centroid)
    inside &= True if passes is None else passes
    return [
        (int(of.sum()), nuclei.area_um2[of].sum())
        for of in (inside & (nuclei.class_index == kind) for kind in range(3))
    ]


def assert_same(counted, expected):
    assert list(counted.counts) == [count for count, _ in expected]
    assert counted.area_sums == pytest.approx([area for _, area in expected], rel=1e-5)


@given(rings=st.lists(RING, min_size=1, max_size=3))
@settings(max_examples=60)
def test_counts_are_those_of_shapely(rings, table, made) -> None:
    body = {"regions": [{"polygons": [[ring] for ring in rings]}]}
    area = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in rings])
    if shapely.intersection(area, shapely.box(0, 0, *SIZE)).area == 0:
        with pytest.raises(RequestError, match="no area"):
            parse_regions(body, SIZE)
        return
    (region,) = parse_regions(body, SIZE)
    (counted,) = count_regions(table, [region], (MPP, MPP))
    assert_same(counted, brute_force(made.nuclei, region.area))
    assert counted.area_mm2 == pytest.approx(region.area.area * MPP**2 / 1e6)


def test_nuclei_on_the_outline_lie_outside(table, made) -> None:
    x, y = np.round(made.nuclei.centroid[0])
    assert (made.nuclei.centroid == np.round(made.nuclei.centroid)).all(axis=1).sum() > 10
    for box in ((x, y - 50, x + 50, y + 50), (x - 50, y, x + 50, y + 50), (0, 0, x, y)):
        region = Region(name="", class_name="", area=shapely.box(*box))
        (counted,) = count_regions(table, [region])
        assert_same(counted, brute_force(made.nuclei, region.area))
        assert counted.area_mm2 is None


def test_a_fine_outline_with_a_hole(table, made) -> None:
    angle = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    wave = 1 + 0.1 * np.sin(61 * angle)
    ring = np.stack([1250 + 1200 * wave * np.cos(angle), 850 + 800 * wave * np.sin(angle)], axis=1)
    hole = (ring - (1250, 850)) / 3 + (1250, 850)
    record = {"name": "a", "rings": [ring.tolist(), hole.tolist()]}
    (region,) = parse_regions({"regions": [record]}, SIZE)
    (counted,) = count_regions(table, [region], (MPP, MPP))
    assert_same(counted, brute_force(made.nuclei, region.area))
    assert 500 < counted.num_nuclei < len(made.nuclei)


def test_filters_are_obeyed(table, made) -> None:
    filters = Filters(classes=frozenset([0, 1]), ranges={"circularity": (0.2, None)})
    given = {"classes": [0, 1], "ranges": {"circularity": [0.2, None]}}
    region = Region(name="", class_name="", area=shapely.box(300, 200, 1900, 1500))
    (counted,) = count_regions(table, [region], None, filters)
    assert_same(counted, brute_force(made.nuclei, region.area, passing(made.nuclei, given)))


def test_the_answer_has_densities_and_mean_areas(client, made) -> None:
    body = {
        "regions": [{"name": "all", "class_name": "Tumor", "rings": [WHOLE]}, {"rings": [WHOLE]}]
    }
    first, second = client.json("/api/slides/0/regions/count", body)["regions"]
    area_mm2 = SIZE[0] * SIZE[1] * MPP**2 / 1e6
    inside = shapely.contains_xy(shapely.box(0, 0, *SIZE), made.nuclei.centroid)
    nuclei = made.nuclei.select(inside)
    assert (first["name"], first["class_name"], second["name"]) == ("all", "Tumor", "region 2")
    assert first["area_mm2"] == pytest.approx(area_mm2)
    assert first["num_nuclei"] == len(nuclei)
    assert first["density_per_mm2"] == pytest.approx(len(nuclei) / area_mm2)
    assert first["mean_area_um2"] == pytest.approx(nuclei.area_um2.mean(), rel=1e-5)
    for kind, found in enumerate(first["classes"]):
        of = nuclei.select(nuclei.class_index == kind)
        assert found["num_nuclei"] == len(of)
        assert found["share"] == pytest.approx(len(of) / len(nuclei))
        assert found["density_per_mm2"] == pytest.approx(len(of) / area_mm2)
        assert found["mean_area_um2"] == pytest.approx(of.area_um2.mean(), rel=1e-5)


def test_a_region_without_nuclei_divides_by_nothing(client) -> None:
    body = {"regions": [{"rings": [WHOLE]}], "filters": {"classes": []}}
    (found,) = client.json("/api/slides/0/regions/count", body)["regions"]
    assert (found["num_nuclei"], found["mean_area_um2"], found["density_per_mm2"]) == (0, None, 0)
    assert [one["share"] for one in found["classes"]] == [None, None, None]


@pytest.mark.parametrize(
    "regions",
    [
        [],
        201 * [{"rings": [WHOLE]}],
        ["a"],
        [{}],
        [{"rings": []}],
        [{"rings": [[]]}],
        [{"rings": [[[0, 0], [1, 1]]]}],
        [{"rings": [[[0, 0], [1, 1], [1]]]}],
        [{"rings": [[[0, 0], [1, 1], [1, "a"]]]}],
        [{"rings": [[[0, 0], [1, 1], [1, None]]]}],
        [{"rings": [[[0, 0], [1, 1], [1, 1e300]]]}],
        [{"rings": [[[0, 0], [1, 1], [2, 2]]]}],
        [{"rings": [[[-9, -9], [-1, -9], [-1, -1]]]}],
        [{"polygons": [[[0, 0], [1, 0], [1, 1]]]}],
        [{"rings": [WHOLE], "name": "x" * 201}],
        [{"rings": [WHOLE], "name": 7}],
        [{"rings": [(MAX_VERTICES // 4 + 1) * WHOLE]}],
    ],
    ids=range(17),
)
def test_other_regions_are_refused(regions, client) -> None:
    status, content, _ = client.ask("/api/slides/0/regions/count", {"regions": regions})
    assert status == 400
    assert json.loads(content)["error"].endswith(".")


def test_exported_regions_can_be_imported_again(client) -> None:
    ring = [[100.5, 100], [900, 200.25], [700, 900]]
    sent = {
        "name": "core",
        "class_name": "Tumor",
        "rings": [ring, [[500, 300], [600, 400], [550, 450]]],
    }
    _, text, headers = client.ask("/api/slides/0/regions/export", {"regions": [sent]})
    assert headers["content-disposition"] == 'attachment; filename="regions.geojson"'
    (feature,) = json.loads(text)["features"]
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"] == {"name": "Tumor"}
    (counted,) = client.json("/api/slides/0/regions/count", {"regions": [sent]})["regions"]
    measured = feature["properties"]["measurements"]
    assert measured["Num Nuclei"] == counted["num_nuclei"] > 0
    assert measured["Inflammatory per mm^2"] == counted["classes"][1]["density_per_mm2"]
    (found,) = client.json("/api/slides/0/regions/import", text)["regions"]
    assert (found["name"], found["class_name"]) == ("core", "Tumor")
    (again,) = parse_regions({"regions": [found]}, SIZE)
    (before,) = parse_regions({"regions": [sent]}, SIZE)
    assert again.area.equals(before.area)


def test_the_table_has_a_row_for_each_region(client) -> None:
    body = {"regions": [{"name": 'a "b", c', "rings": [WHOLE]}, {"rings": [WHOLE]}]}
    _, text, headers = client.ask("/api/slides/0/regions/export?format=csv", body)
    assert headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    counted = client.json("/api/slides/0/regions/count", body)["regions"]
    assert [row["region"] for row in rows] == ['a "b", c', "region 2"]
    page = (Path(__file__).parents[2] / "docs/reference/columns.md").read_text(encoding="utf-8")
    section = page.partition("## regions.csv of the viewer\n")[2].partition("\n## ")[0]
    names = {re.sub("|".join(THREE.classes), "CLASS", name) for name in rows[0]}
    assert names == set(re.findall(r"`([^`]+)`", section))
    for row, found in zip(rows, counted, strict=True):
        assert int(row["num_nuclei"]) == found["num_nuclei"]
        assert float(row["mean_area_um2_Connective"]) == found["classes"][2]["mean_area_um2"]


def test_what_is_left_out_of_a_file_is_said(client) -> None:
    point = {"type": "Point", "coordinates": [5, 5]}
    polygon = {"type": "Polygon", "coordinates": [[*WHOLE, WHOLE[0]]]}
    answer = client.json("/api/slides/0/regions/import", [point, polygon])
    assert len(answer["regions"]) == 1
    assert answer["note"] == "the file: of 2 shapes left out: 1 without an area"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"type":"Polygon"}', b"[]", b"[" * 100_000]
)
def test_other_files_are_refused(content, client) -> None:
    status, reply, _ = client.ask("/api/slides/0/regions/import", content)
    assert status == 400
    assert "This file" in json.loads(reply)["error"]
