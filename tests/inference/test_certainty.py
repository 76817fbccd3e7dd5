"""What a user is told of classes that a model cannot be sure of, through the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from histonuc.cli import run
from histonuc.exports import read_table
from histonuc.exports.geojson_reader import read_geojson
from histonuc.inference import pictures as pictures_module
from histonuc.models.model import ModelSpec
from histonuc.models.outputs import Outputs
from histonuc.nuclei import CLASS_TRUST
from histonuc.representations.cells import Cells

from .conftest import PixelModel

UNCERTAIN = "Uncertain"
LINE = (
    "classes were learned on colon; {} % of these nuclei look unlike those: treat the classes as a "
    "guess, the outlines are not affected"
)


class RednessTrust:
    """Trust of nuclei whose only feature is how red they are: 0.8 for red ones, else 0.01."""

    num_features = 1

    def judge(self, features):
        return np.where(features[:, 0] > 0.5, 0.8, 0.01).astype(np.float32)


class TrustingModel(PixelModel):
    """A model that tells how far its classes can be trusted."""

    def __init__(self, **facts) -> None:
        super().__init__()
        self.spec = replace(self.spec, learned_on="colon", **facts)
        self.trust = RednessTrust()

    def outputs(self, images):
        maps = self.maps(images)
        return Outputs(maps=maps, features=(Cells(values=maps[:, 1:2], stride=1),))


@pytest.fixture
def predicted(tmp_path, monkeypatch, capsys):
    """A function that predicts an image through the command line: its folder and what was said."""

    def predict(model, pixels, *flags, code=0):
        if not (tmp_path / "image.png").exists():
            Image.fromarray(pixels).save(tmp_path / "image.png")
        monkeypatch.setattr("histonuc.inference.predict.load_model", lambda *_, **__: model)
        given = ["predict", str(tmp_path / "image.png"), "--out", str(tmp_path / "out")]
        assert run([*given, "--mpp", "0.25", *flags]) == code
        said = capsys.readouterr()
        return tmp_path / "out" / "image", said.out + said.err

    return predict


@pytest.fixture
def red(make_blobs):
    """Discs of which a third are blue."""
    pixels = make_blobs((700, 500), 120)
    blue = (pixels == (60, 40, 110)).all(-1)
    blue[:, 466:] = False
    pixels[(pixels == (60, 40, 110)).all(-1)] = (90, 40, 60)
    pixels[blue] = (60, 40, 110)
    return pixels


@pytest.fixture
def blue(make_blobs):
    """Discs that are all blue."""
    pixels = make_blobs((700, 500), 120)
    pixels[(pixels == (90, 40, 60)).all(-1)] = (60, 40, 110)
    return pixels


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_tissue_that_was_never_learned_is_told_everywhere(predicted, blue, monkeypatch):
    notes = []
    with_legend = pictures_module.with_legend

    def noted(*args, **facts):
        notes.append(args[5] if len(args) > 5 else facts["note"])
        return with_legend(*args, **facts)

    monkeypatch.setattr(pictures_module, "with_legend", noted)
    folder, said = predicted(TrustingModel(), blue)
    line = LINE.format(100)
    assert said.rstrip().endswith(line)
    assert "Inflammatory                    120  100.0%" in said
    assert "a guess" in said
    assert notes == [line, line]  # overview and detail
    summary = summary_of(folder)
    assert summary["class_note"] == line
    assert summary["classes_extrapolated"] is True
    assert summary["median_class_trust"] == pytest.approx(0.01)
    assert summary["share_unlike"] == 1
    (row,) = rows_of(folder.parent / "summary.csv")
    assert row["classes_extrapolated"] == "true"
    assert float(row["share_unlike"]) == 1


def test_a_tissue_that_was_learned_is_no_guess(predicted, red):
    folder, said = predicted(TrustingModel(), red)
    summary = summary_of(folder)
    assert summary["classes_extrapolated"] is False
    assert 0 < summary["share_unlike"] < 0.5
    assert said.rstrip().endswith(
        f"{100 * summary['share_unlike']:.0f} % of these nuclei look unlike those"
    )
    assert "guess" not in said
    # The model's own threshold decides.
    folder, said = predicted(TrustingModel(trust_threshold=0.9), red, "--overwrite")
    assert summary_of(folder)["classes_extrapolated"] is True
    assert "treat the classes as a guess" in said


def test_a_model_that_cannot_tell_says_nothing(predicted, red, capsys):
    folder, said = predicted(PixelModel(), red)
    summary = summary_of(folder)
    assert summary["classes_extrapolated"] is summary["median_class_trust"] is None
    assert summary["share_unlike"] is None
    assert "learned" not in said
    assert UNCERTAIN not in summary["classes"]
    table = pq.read_table(folder / "nuclei.parquet")
    assert CLASS_TRUST not in table.column_names
    assert f"p_{UNCERTAIN}" not in table.column_names
    (row,) = rows_of(folder.parent / "summary.csv")
    assert row["classes_extrapolated"] == ""
    _, said = predicted(PixelModel(), red, "--min-class-trust", "0.1", code=2)
    assert "--min-class-trust 0.1: this model does not tell" in said


def test_the_column_is_in_every_format(predicted, red, tmp_path):
    anndata = pytest.importorskip("anndata")
    folder, _ = predicted(TrustingModel(), red)
    trust = pq.read_table(folder / "nuclei.parquet")[CLASS_TRUST]
    assert str(trust.type) == "float"
    assert set(np.round(trust.to_numpy(), 6)) == {np.float32(0.8), np.float32(0.01)}
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    assert [f["properties"]["measurements"]["Class trust"] for f in features] == pytest.approx(
        trust.to_pylist()
    )
    assert np.array_equal(
        read_geojson(folder / "nuclei.geojson").features[CLASS_TRUST], trust.to_numpy()
    )
    for kind in ("csv", "anndata", "coco"):
        assert run(["export", str(folder), "--to", kind]) in (0, None)
    rows = rows_of(folder / "nuclei.csv")
    assert [float(row[CLASS_TRUST]) for row in rows] == pytest.approx(trust.to_pylist())
    cells = anndata.read_h5ad(folder / "nuclei.h5ad")
    assert cells.obs[CLASS_TRUST].to_numpy() == pytest.approx(trust.to_numpy())
    assert CLASS_TRUST not in cells.var_names


@pytest.mark.parametrize("asked", ["option", "model"])
def test_nuclei_of_little_trust_are_uncertain(predicted, red, asked):
    anndata = pytest.importorskip("anndata")
    model = TrustingModel(min_class_trust=0.5 if asked == "model" else 0.0)
    flags = ["--min-class-trust", "0.5"] if asked == "option" else []
    folder, said = predicted(model, red, *flags)
    table = pq.read_table(folder / "nuclei.parquet")
    low = table[CLASS_TRUST].to_numpy() < 0.5
    assert 10 < low.sum() < 60
    names = np.array(table["class"].to_pylist())
    assert ((names == UNCERTAIN) == low).all()
    assert (table["class_index"].to_numpy()[low] == len(model.spec.label_space)).all()
    # What the model thinks stays.
    assert (table["p_Inflammatory"].to_numpy()[low] > 0.8).all()
    shares = [table[f"p_{name}"].to_numpy() for name in model.spec.label_space.classes]
    assert np.sum(shares, axis=0) == pytest.approx(1, abs=1e-5)
    assert (table[f"p_{UNCERTAIN}"].to_numpy() == low).all()
    counted = summary_of(folder)["classes"][UNCERTAIN]
    assert counted["num_nuclei"] == low.sum()
    assert counted["share"] == pytest.approx(low.mean())
    assert f"  {UNCERTAIN:<26}{low.sum():>9,}{low.mean():>8.1%}" in said
    (row,) = rows_of(folder.parent / "summary.csv")
    assert int(row[f"num_nuclei_{UNCERTAIN}"]) == low.sum()
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    shown = [feature["properties"]["classification"] for feature in features]
    assert [one["name"] for one in shown] == names.tolist()
    assert {tuple(one["color"]) for one in shown if one["name"] == UNCERTAIN} == {(150, 150, 150)}
    nuclei = read_table(folder / "nuclei.parquet")
    assert nuclei.label_space.classes[-1] == UNCERTAIN
    assert np.array_equal(nuclei.class_index == len(model.spec.label_space), low)
    for kind in ("anndata", "coco"):
        assert run(["export", str(folder), "--to", kind]) in (0, None)
    coco = json.loads((folder / "nuclei.coco.json").read_text())
    assert coco["categories"][-1]["name"] == UNCERTAIN
    last = coco["categories"][-1]["id"]
    assert sum(one["category_id"] == last for one in coco["annotations"]) == low.sum()
    assert (anndata.read_h5ad(folder / "nuclei.h5ad").obs["class"] == UNCERTAIN).sum() == low.sum()
    assert run(["info", str(folder)]) in (0, None)


def test_improbable_classes_are_uncertain_and_the_option_is_part_of_the_result(predicted, red):
    model = TrustingModel()
    shares = []
    for least in ("0", "0.85", "1"):
        folder, _ = predicted(model, red, "--min-class-probability", least)
        classes = summary_of(folder)["classes"]
        shares.append(classes[UNCERTAIN]["share"] if UNCERTAIN in classes else 0.0)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert all(one <= other for one, other in pairwise(shares))
    before = model.num_images
    predicted(model, red, "--min-class-probability", "1")
    assert model.num_images == before  # finished
    _, said = predicted(model, red, "--min-class-probability", "2", code=2)
    assert "--min-class-probability 2: expected 0 to 1" in said


def test_drawn_regions_count_the_uncertain(predicted, red, tmp_path):
    ring = [[0, 0], [700, 0], [700, 500], [0, 500], [0, 0]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"name": "all"}, "geometry": shape}
    (tmp_path / "regions.geojson").write_text(json.dumps(feature))
    flags = ["--regions", str(tmp_path / "regions.geojson"), "--min-class-trust", "0.5"]
    folder, _ = predicted(TrustingModel(), red, *flags)
    (row,) = rows_of(folder / "regions.csv")
    counts = summary_of(folder)["classes"]
    assert int(row[f"num_nuclei_{UNCERTAIN}"]) == counts[UNCERTAIN]["num_nuclei"] > 0


def test_specs_refuse_what_cannot_be():
    spec = TrustingModel(trust_threshold=0.2, min_class_trust=0.1).spec
    assert ModelSpec.from_json(spec.to_json()) == spec
    for wrong in (
        {"trust_threshold": 1.5},
        {"min_class_trust": float("nan")},
        {"learned_on": "x" * 101},
    ):
        with pytest.raises(ValueError, match=r"expected|at most"):
            replace(spec, **wrong)
