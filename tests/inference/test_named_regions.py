"""Drawn regions by name: each nucleus gets its region, each region its counts, as QuPath means them."""

from __future__ import annotations

import csv
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely

from histonuc import cli
from histonuc.data.synthetic import draw_tile
from histonuc.exports.summary import SlideResult, read_summary
from histonuc.exports.table import read_table
from histonuc.inference import drawn_reader
from histonuc.inference.drawn_reader import read_regions
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict

from ..slides.conftest import write_scn

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


def test_a_region_has_the_area_of_its_tissue(
    tmp_path: Path, blobs: np.ndarray, pixel_model
) -> None:
    half = blobs.copy()
    half[:, 300:] = 244  # glass
    cv2.imwrite(str(tmp_path / "half.png"), half[..., ::-1])
    path = write(tmp_path / "r.geojson", feature(MARGIN, "both"), feature(CORE, "core"))
    options = PredictOptions(regions=path, **OPTIONS)
    (result,) = predict([tmp_path / "half.png"], tmp_path / "out", options, model=pixel_model).items
    for region, tissue_px in zip(result.regions, (200 * 400, 100 * 200), strict=True):
        assert region.tissue_mm2 == pytest.approx(tissue_px * 0.25**2 / 1e6, rel=0.05)
        assert region.analysed_mm2 == region.area_mm2
        assert region.density_per_tissue_mm2 == region.num_nuclei / region.tissue_mm2


def test_what_lies_under_ink_is_left_out_of_regions(
    tmp_path: Path, blobs: np.ndarray, pixel_model
) -> None:
    inked = blobs.copy()
    inked[:, 250:350] = inked[:, 250:350] * np.array([0.15, 0.6, 0.35])
    cv2.imwrite(str(tmp_path / "inked.png"), inked[..., ::-1])
    path = write(tmp_path / "r.geojson", feature(MARGIN, "region"))

    def run(**more: Any) -> SlideResult:
        options = PredictOptions(regions=path, **OPTIONS, **more)
        out = tmp_path / "out"
        return predict([tmp_path / "inked.png"], out, options, model=pixel_model).items[0]

    result = run()
    area_mm2 = 400 * 400 * 0.25**2 / 1e6
    assert result.ink_mm2 == pytest.approx(area_mm2 / 4, rel=0.3)
    assert result.tissue_mm2 + result.ink_mm2 == pytest.approx(area_mm2)
    (region,) = result.regions
    assert region.analysed_mm2 == pytest.approx(result.tissue_mm2, rel=0.01)
    assert region.area_mm2 == pytest.approx(area_mm2)
    x = read_table(tmp_path / "out/inked/nuclei.parquet").centroid[:, 0]
    assert not ((x > 260) & (x < 340)).any()
    whole = run(ink=False)
    assert whole.ink_mm2 == 0
    assert whole.tissue_mm2 == pytest.approx(area_mm2)
    assert whole.num_nuclei > result.num_nuclei


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "Ignore*"}},
        {"classification": "ignore*: pen"},
        {"name": "Ignore"},
    ],
)
def test_ignored_regions_are_taken_away(tmp_path: Path, properties: dict[str, Any]) -> None:
    path = write(
        tmp_path / "r.geojson",
        feature(MARGIN, classification={"name": "Tumor"}),
        feature(CORE) | {"properties": properties},
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


def test_regions_are_in_the_frame_of_qupath_unless_the_slide_s_is_asked_for(tmp_path: Path) -> None:
    tissue = draw_tile(np.random.default_rng(0), "Colon", 512)[0]
    write_scn(tmp_path / "a.scn", corner=(512, 256), side=512, whole=1024, tissue=tissue)
    regions = write(tmp_path / "r.geojson", feature(shapely.box(0, 0, 256, 512), "left"))
    line = ["predict", str(tmp_path / "a.scn"), "--out", str(tmp_path / "out")]
    assert cli.run([*line, "--regions", str(regions)]) == 0
    x, y = read_table(tmp_path / "out/a/nuclei.parquet").centroid.T
    assert len(x) > 5
    assert ((x > 512) & (x < 512 + 256) & (y > 256) & (y < 256 + 512)).all()
    first = json.loads((tmp_path / "out/a/nuclei.geojson").read_text())["features"][0]
    corner = np.array(first["geometry"]["coordinates"][0]).min(0)
    assert (corner < 512).all()
    # The same numbers, measured from the corner of the whole slide, lie on empty glass.
    assert cli.run([*line, "--regions", str(regions), "--frame", "slide"]) == 0
    assert read_summary(tmp_path / "out/a").num_nuclei == 0


def test_too_much_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "r.geojson", feature(CORE), feature(MARGIN))
    for bound, message in (("MAX_BYTES", "at most 0 MB of regions"), ("MAX_SHAPES", "2 shapes")):
        with monkeypatch.context() as patch:
            patch.setattr(drawn_reader, bound, 1)
            with pytest.raises(ValueError, match=message):
                read_regions(path, SIZE)


DAMAGED = {
    "deep": "[" * 100_000,
    "deep objects": '{"features":' * 5_000 + "1" + "}" * 5_000,
    "a number": "3",
    "no features": '{"features": null}',
    "a feature that is text": '{"features": ["core"]}',
    "a geometry that is text": '{"features": [{"geometry": "POLYGON"}]}',
    "text for numbers": '{"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5], ["a", 1]]]}',
    "no numbers": '{"type": "Polygon", "coordinates": [[[NaN, 1], [2, 3], [4, 5], [NaN, 1]]]}',
    "endless": '{"type": "Polygon", "coordinates": [[[Infinity, 1], [2, 3], [4, 5], [Infinity, 1]]]}',
    "far away": '{"type": "Polygon", "coordinates": [[[1e300, 0], [2e300, 3], [1e300, 5], [1e300, 0]]]}',
    "two points": '{"type": "Polygon", "coordinates": [[[1, 1], [2, 3]]]}',
    "properties that are text": '[{"geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": "a"}]',
    "cut": '{"type": "Polygon", "coordinates": [[[1, 1], [2, 3]',
    "not text": b"\xff\xfe\x00\x01",
    "empty": "",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_geojson_is_one_clear_error(tmp_path: Path, name: str) -> None:
    content = DAMAGED[name]
    path = tmp_path / "bad.geojson"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"bad\.geojson") as error:
        read_regions(path, SIZE)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + checksum


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_header(70_000, 50_000), "70,000 x 50,000 pixels"),
        (png_header(70, 50), "damaged or no PNG"),
        (png_header(0, 50), "0 x 50 pixels"),
        (b"\x89PNG\r\n\x1a\n", "damaged or no PNG"),
        (b"", "damaged or no PNG"),
        (b"GIF89a" + bytes(40), "damaged or no PNG"),
    ],
)
def test_absurd_masks_are_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_regions(tmp_path / "bad.png", SIZE)


def test_damaged_regions_fail_one_slide_by_the_command(tmp_path: Path, capsys) -> None:
    cv2.imwrite(str(tmp_path / "tile.png"), np.full((64, 64, 3), 200, np.uint8))
    (tmp_path / "r.geojson").write_text("[" * 100_000)
    line = ["predict", str(tmp_path / "tile.png"), "--out", str(tmp_path / "out"), "--mpp", "0.25"]
    assert cli.run([*line, "--regions", str(tmp_path / "r.geojson")]) == 1
    assert "is damaged or no GeoJSON of polygons" in "".join(capsys.readouterr())
