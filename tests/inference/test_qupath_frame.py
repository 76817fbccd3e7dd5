"""A slide whose content starts off the origin: GeoJSON in the frame of QuPath's picture."""

import json

import numpy as np
import pytest

from histonuc import cli
from histonuc.exports import read_table
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict

from ..slides.conftest import write_scn
from .conftest import draw_blobs

CORNER = (1024, 768)


def vertices(path):
    """All vertices (n, 2) of the outlines of a GeoJSON file."""
    features = json.loads(path.read_text())["features"]
    return np.concatenate([f["geometry"]["coordinates"][0][:-1] for f in features])


@pytest.fixture
def slide(tmp_path):
    write_scn(tmp_path / "case.scn", corner=CORNER, tissue=draw_blobs((512, 512), 40))
    return tmp_path / "case.scn"


@pytest.mark.parametrize(("frame", "origin"), [("qupath", CORNER), ("slide", (0, 0))])
def test_geojson_and_summary_say_where_positions_begin(pixel_model, slide, tmp_path, frame, origin):
    out = tmp_path / "out"
    (item,) = predict([slide], out, PredictOptions(frame=frame), model=pixel_model).items
    assert item.num_nuclei > 0
    assert item.geojson_origin_px == origin
    assert item.bounds_xyxy == (*CORNER, CORNER[0] + 512, CORNER[1] + 512)
    nuclei = read_table(out / "case" / "nuclei.parquet")  # level-0 pixels, whatever the frame
    assert (nuclei.points >= CORNER).all()
    assert np.allclose(
        vertices(out / "case" / "nuclei.geojson") + origin, nuclei.points, atol=0.006
    )


def test_export_knows_the_frame_from_the_table(pixel_model, slide, tmp_path):
    out, file = tmp_path / "out", tmp_path / "out" / "case" / "nuclei.geojson"
    predict([slide], out, PredictOptions(geojson=False), model=pixel_model)
    points = read_table(out / "case" / "nuclei.parquet").points
    for options, origin in (([], CORNER), (["--frame", "slide"], (0, 0))):
        assert cli.run(["export", str(out), "--to", "geojson", *options]) == 0
        assert np.allclose(vertices(file) + origin, points, atol=0.006)
    # And the same command of `predict`, asked for GeoJSON, writes it as it would have at first.
    predict([slide], out, PredictOptions(), model=pixel_model)
    (out / "case" / "nuclei.geojson").unlink()
    predict([slide], out, PredictOptions(), model=pixel_model)
    assert np.allclose(vertices(file) + CORNER, points, atol=0.006)
