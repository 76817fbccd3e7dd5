"""Drawn regions by name: each nucleus gets its region, each region its counts, as QuPath means them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely

from histonuc import cli
from histonuc.data.synthetic import draw_tile
from histonuc.exports.summary import read_summary
from histonuc.exports.table import read_table
from histonuc.inference import drawn_reader
from histonuc.inference.drawn_reader import read_regions
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict

SIZE = (700, 500)
OPTIONS = {"mpp": 0.25, "tile_px": 256}
CORE, MARGIN, ELSEWHERE = shapely.box(200, 150, 400, 350), shapely.box(100, 50, 500, 450), (600, 10)


def feature(shape: shapely.Geometry, name: str = "", classification: Any = None) -> dict[str, Any]:
    properties = {"name": name} if name else {}
    if classification is not None:
        properties["classification"] = classification
    geometry = json.loads(shapely.to_geojson(shape))
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def write(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture
def image(tmp_path: Path, blobs: np.ndarray) -> Path:
    path = tmp_path / "blobs.png"
    cv2.imwrite(str(path), blobs[..., ::-1])
    return path


def test_nested_regions_name_nuclei_and_count_them(
    image: Path, tmp_path: Path, pixel_model
) -> None:
    path = write(
        tmp_path / "r.geojson",
        feature(MARGIN, "margin", {"name": "Tumor"}),
        feature(CORE, "core", {"name": "Necrosis"}),
    )
    options = PredictOptions(regions=path, **OPTIONS)
    (result,) = predict([image], tmp_path / "out", options, model=pixel_model).items
    nuclei = read_table(tmp_path / "out/blobs/nuclei.parquet")
    in_core = shapely.contains_xy(CORE, nuclei.centroid)
    assert 5 < in_core.sum() < len(nuclei)
    assert (nuclei.texts["region"] == np.where(in_core, "core", "margin")).all()
    assert (nuclei.texts["region_class"] == np.where(in_core, "Necrosis", "Tumor")).all()
    margin, core = result.regions
    assert (margin.name, margin.class_name) == ("margin", "Tumor")
    assert margin.num_nuclei == len(nuclei)  # those of the core lie in it as well
    assert core.num_nuclei == in_core.sum()
    assert core.area_mm2 == pytest.approx(200 * 200 * 0.25**2 / 1e6)
    assert core.density_per_mm2 == pytest.approx(core.num_nuclei / core.analysed_mm2)
    assert sum(core.num_by_class.values()) == core.num_nuclei
    assert result.tissue_mm2 == pytest.approx(400 * 400 * 0.25**2 / 1e6)
    assert read_summary(tmp_path / "out/blobs").regions == result.regions


def test_each_region_has_a_row_of_the_csv(tmp_path: Path) -> None:
    tissue = draw_tile(np.random.default_rng(0), "Colon", 512)[0]
    cv2.imwrite(str(tmp_path / "tile.png"), tissue[..., ::-1])
    left, right = shapely.box(0, 0, 256, 512), shapely.box(256, 0, 512, 512)
    regions = write(tmp_path / "r.geojson", feature(left, "left, upper"), feature(right, "right"))
    line = ["predict", str(tmp_path / "tile.png"), "--out", str(tmp_path / "out"), "--mpp", "0.25"]
    assert cli.run([*line, "--regions", str(regions)]) == 0
    with (tmp_path / "out/tile/regions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["region"] for row in rows] == ["left, upper", "right"]
    nuclei = read_table(tmp_path / "out/tile/nuclei.parquet")
    for row in rows:
        assert int(row["num_nuclei"]) == (nuclei.texts["region"] == row["region"]).sum() > 0
        by_class = [int(row[f"num_nuclei_{name}"]) for name in nuclei.label_space.classes]
        assert sum(by_class) == int(row["num_nuclei"])
    assert cli.run([*line, "--overwrite"]) == 0
    assert not (tmp_path / "out/tile/regions.csv").exists()


def test_ignored_regions_are_taken_away(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.geojson",
        feature(MARGIN, classification={"name": "Tumor"}),
        feature(CORE, classification={"name": "Ignore*"}),
    )
    regions = read_regions(path, SIZE)
    assert [region.name for region in regions.named] == ["Tumor"]
    assert regions.tissue.area_px == MARGIN.area - CORE.area
    assert regions.pair(np.array([[300.0, 250.0], [150.0, 100.0]]))[0].tolist() == [1]
    assert not regions.tissue.mask[250, 300]


@pytest.mark.parametrize("classification", ["Tumor", '{"name": "Tumor"}', {"names": ["Tumor"]}])
def test_classes_are_read_in_every_form(tmp_path: Path, classification: Any) -> None:
    path = write(tmp_path / "r.geojson", feature(CORE, classification=classification))
    assert read_regions(path, SIZE).named[0].class_name == "Tumor"


def test_names_are_unique(tmp_path: Path) -> None:
    shapes = [feature(CORE, "a"), feature(MARGIN, "a"), feature(CORE), feature(CORE, "", "Tumor")]
    names = [one.name for one in read_regions(write(tmp_path / "r.geojson", *shapes), SIZE).named]
    assert names == ["a", "a 2", "region 3", "Tumor"]


def test_positions_are_measured_from_the_origin_of_the_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", feature(shapely.box(0, 0, 100, 100)))
    regions = read_regions(path, SIZE, (300, 200))
    assert regions.named[0].area.bounds == (300, 200, 400, 300)


def test_a_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_reader, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="expected at most 0 MB of regions"):
        read_regions(write(tmp_path / "r.geojson", feature(CORE)), SIZE)
