"""Every format holds what people corrected, and the prediction on request."""

import csv
import json

import pytest

from histonuc import cli
from histonuc.corrections import CorrectionLog
from histonuc.exports.geojson_reader import read_geojson
from histonuc.exports.geoparquet import read_geoparquet

from .drawn import maker, square, write_row

FILES = {
    "geojson": "nuclei.geojson",
    "geojson.gz": "nuclei.geojson.gz",
    "geoparquet": "nuclei.geoparquet",
    "csv": "nuclei.csv",
    "coco": "nuclei.coco.json",
    "ome-tiff": "nuclei.ome.tif",
}


@pytest.fixture
def folder(tmp_path):
    folder = write_row(tmp_path / "slide")
    make = maker(folder)
    CorrectionLog(folder).append(
        make("classify", 1, **{"class": "Plasma cell"}),
        make("delete", 2),
        make("redraw", 3, ring=square(50, 10, 8)),
        make("join", 4, 5, ring=square(70, 10, 30)),
        make("add", ring=square(200, 50), **{"class": "Connective"}),
    )
    return folder


def read_counts(name, path):
    if name.startswith("geojson"):
        nuclei = read_geojson(path)
        return len(nuclei), sorted(nuclei.label_space.classes[j] for j in nuclei.class_index)
    if name == "geoparquet":
        nuclei = read_geoparquet(path)
        assert nuclei.texts["corrected"].tolist()[:2] == ["class", "outline"]
        return len(nuclei), sorted(nuclei.label_space.classes[j] for j in nuclei.class_index)
    if name == "csv":
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["id"] for row in rows] == ["1", "3", "6", "7", "8"]
        assert {row["corrected_by"] for row in rows} == {"ann", ""}
        return len(rows), sorted(row["class"] for row in rows)
    if name == "coco":
        found = json.loads(path.read_text())
        names = {one["id"]: one["name"] for one in found["categories"]}
        classes = [names[one["category_id"]] for one in found["annotations"]]
        return len(classes), sorted(classes)
    import numpy as np
    import tifffile

    ids = set(np.unique(tifffile.imread(path))) - {0}
    assert ids == {1, 3, 6, 7, 8}
    return len(ids), None


@pytest.mark.parametrize("name", FILES)
def test_exports(folder, name, capsys):
    assert cli.run(["export", str(folder), "--to", name]) == 0
    assert "6 nuclei corrected by ann" in capsys.readouterr().out
    num, classes = read_counts(name, folder / FILES[name])
    assert num == 5
    expected = ["Connective", "Connective", "Connective", "Epithelial or neoplastic", "Plasma cell"]
    assert classes is None or classes == expected
    assert cli.run(["export", str(folder), "--to", name, "--uncorrected"]) == 0
    assert "corrected" not in capsys.readouterr().out
    uncorrected = (folder / FILES[name]).read_bytes()
    (folder / "corrections.jsonl").unlink()
    assert cli.run(["export", str(folder), "--to", name]) == 0
    if name != "ome-tiff":  # its identifier is another one each time
        assert (folder / FILES[name]).read_bytes() == uncorrected


def test_corrections_that_are_all_undone_change_nothing(folder):
    log = CorrectionLog(folder)
    make = maker(folder)
    for operation in log.read().operations:
        log.append(make("undo", operation=operation.key))
    for name in ("csv", "geojson.gz"):
        assert cli.run(["export", str(folder), "--to", name]) == 0
        corrected = (folder / FILES[name]).read_bytes()
        assert cli.run(["export", str(folder), "--to", name, "--uncorrected"]) == 0
        assert (folder / FILES[name]).read_bytes() == corrected


def test_anndata(folder):
    anndata = pytest.importorskip("anndata")
    assert cli.run(["export", str(folder), "--to", "anndata"]) == 0
    table = anndata.read_h5ad(folder / "nuclei.h5ad")
    assert table.obs["corrected"].tolist() == ["class", "outline", "", "joined", "added"]
    assert table.obs["class"].cat.categories[-1] == "Plasma cell"


def test_a_damaged_log_is_one_clear_message(folder, capsys):
    (folder / "corrections.jsonl").write_bytes(b"\x00\xff wild\n[1, 2]\n")
    assert cli.run(["export", str(folder), "--to", "csv"]) == 2
    assert "holds no corrections that can be read" in capsys.readouterr().err
