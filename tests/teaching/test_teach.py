"""From clicks to a classifier, and to new classes of results: through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.corrections import read_corrections
from histonuc.exports import TABLE_FILE, read_table
from histonuc.exports.embeddings import EMBEDDINGS_FILE, read_embeddings
from histonuc.exports.source import open_source
from histonuc.exports.summary import read_summary
from histonuc.teaching import read_classifier, read_features
from histonuc.teaching.labels import read_labels

from .labelling import Labeller, draw, is_red


@pytest.fixture
def results(predicted, tmp_path) -> tuple[Path, list[Path]]:
    """The results of three images, two of which have thirty labels each."""
    out, images = predicted
    shutil.copytree(out, tmp_path / "out")
    for name, image in zip("ab", images, strict=False):
        folder = tmp_path / "out" / name
        Labeller(folder).label(is_red(folder, image), range(0, 60, 2))
    return tmp_path / "out", images


def teach(out: Path, *words: str) -> dict:
    mine = out.parent / "mine"
    assert cli.run(["teach", str(out), "--out", str(mine), *words]) == 0
    return json.loads((mine / "report.json").read_text())


def test_sixty_clicks_colour_three_images(results, capsys) -> None:
    out, images = results
    report = teach(out)
    assert report["num_labels"] == 60
    assert report["classes"]["Red"] + report["classes"]["Blue"] == 60
    assert report["cross_validation"]["macro_f1"] > 0.95
    low, high = report["cross_validation"]["interval"]
    assert 0.8 < low <= report["cross_validation"]["macro_f1"] <= high
    assert len(report["learning_curve"]) >= 2
    assert "would help" in report["advice"]
    text = capsys.readouterr().out
    assert "cross-validated by square" in text
    mine = out.parent / "mine"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    line = ["classify", str(out), "--classifier", str(mine), "--out", str(out.parent / "new")]
    assert cli.run(line) == 0
    assert "with them: histonuc summarise" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    _, sha256 = read_classifier(mine)
    for name, image in zip("abc", images, strict=True):
        folder = out.parent / "new" / name
        nuclei, old = read_table(folder / TABLE_FILE), read_table(out / name / TABLE_FILE)
        red = nuclei.class_index == nuclei.label_space.classes.index("Red")
        assert (red == is_red(folder, image)).mean() > 0.98
        np.testing.assert_array_equal(nuclei.points, old.points)
        for column in old.features:
            np.testing.assert_array_equal(nuclei.features[column], old.features[column])
        facts, result = open_source(folder / TABLE_FILE).facts, read_summary(folder)
        assert facts["classifier_sha256"] == result.classifier_sha256 == sha256
        assert facts["model_sha256"] == result.fingerprint["model_sha256"]
        assert sum(row.num_nuclei for row in result.classes.values()) == len(nuclei)
        assert result.classes["Red"].num_nuclei == red.sum()
        assert (folder / "overview.jpg").is_file()
        assert (folder / EMBEDDINGS_FILE).is_file()
        found = read_corrections(folder)
        assert (found is None) == (name == "c")
        if found is not None:  # they stay on top
            assert len(found.corrections.classes) == 30
            assert not found.corrections.unmatched


def test_a_classifier_that_is_there_stays_unless_it_may_go(results, capsys) -> None:
    out, _ = results
    assert teach(out)["filled_up"] == {}  # a model of one class tells none apart
    file = out.parent / "mine" / "classifier.safetensors"
    before = file.read_bytes()
    Labeller(out / "a").do("classify", 101, 103, **{"class": "Red"})
    capsys.readouterr()
    assert cli.run(["teach", str(out), "--out", str(file.parent)]) == 2
    assert "holds a classifier already" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert teach(out, "--overwrite")["num_labels"] == 62
    assert file.read_bytes() != before


def test_a_class_of_two_labels_is_told(results, capsys) -> None:
    out, _ = results
    labeller = Labeller(out / "a")
    labeller.do("define_class", name="Plasma cell", colour="#00ff00", digit=None)
    labeller.do("classify", 101, 103, **{"class": "Plasma cell"})
    note = "class Plasma cell has only 2 labels: too few to judge"
    assert note in teach(out)["notes"]
    text = capsys.readouterr().out
    assert note in text
    assert "62 labelled nuclei of 2 results" in text
    assert "class Red" not in text


def test_corrections_of_the_new_result_stay_when_it_is_made_again(results, capsys) -> None:
    out, _ = results
    teach(out)
    new = out.parent / "new"
    line = ["classify", str(out), "--classifier", str(out.parent / "mine"), "--out", str(new)]
    assert cli.run(line) == 0
    Labeller(new / "a").do("delete", 100)
    Labeller(new / "c").do("delete", 7)
    Labeller(out / "a").do("delete", 101)
    assert cli.run(line) == 0
    assert read_corrections(new / "a").corrections.deleted == {100, 101}
    assert len(read_corrections(new / "a").corrections.classes) == 30
    assert read_corrections(new / "c").corrections.deleted == {7}
    assert read_corrections(out / "a").corrections.deleted == {101}
    (new / "a" / "corrections.jsonl").write_text("no corrections\n")
    table = (new / "a" / TABLE_FILE).read_bytes()
    capsys.readouterr()
    assert cli.run([line[0], str(out / "a"), *line[2:]]) == 2
    assert "holds no corrections that can be read" in capsys.readouterr().err
    assert (new / "a" / TABLE_FILE).read_bytes() == table


def test_predict_with_a_classifier_is_predict_then_classify(
    results, colour_model, tmp_path
) -> None:
    out, images = results
    teach(out)
    mine, new = tmp_path / "mine", tmp_path / "new"
    line = ["classify", str(out), "--classifier", str(mine), "--out", str(new)]
    assert cli.run(line) == 0
    again = ["predict", str(images[2]), "--model", str(colour_model), "--mpp", "0.25"]
    again += ["--classifier", str(mine), "--out", str(tmp_path / "direct")]
    assert cli.run(again) == 0
    first, second = (read_table(folder / "c" / TABLE_FILE) for folder in (new, tmp_path / "direct"))
    np.testing.assert_array_equal(first.class_probabilities, second.class_probabilities)
    np.testing.assert_array_equal(first.points, second.points)
    record = json.loads((tmp_path / "direct" / "summary.json").read_text())
    assert set(record["items"][0]["classes"]) == {"Red", "Blue"}
    table = tmp_path / "direct" / "c" / TABLE_FILE
    content = table.read_bytes()
    assert cli.run(again) == 0  # finished before: nothing is done
    assert table.read_bytes() == content
    summary = json.loads((tmp_path / "direct" / "summary.json").read_text())
    assert summary["skipped"] == [str(images[2])]


def test_a_kill_between_predict_and_classify_is_made_good(
    results, colour_model, tmp_path, monkeypatch
) -> None:
    from histonuc.teaching import predicting

    out, images = results
    teach(out)
    line = ["predict", str(images[2]), "--model", str(colour_model), "--mpp", "0.25"]
    line += ["--classifier", str(tmp_path / "mine"), "--out", str(tmp_path / "direct")]

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predicting, "classify_result", killed)
        assert cli.run(line) == 130
    assert read_table(tmp_path / "direct" / "c" / TABLE_FILE).label_space.classes == ("Nucleus",)
    assert cli.run(line) == 0
    space = read_table(tmp_path / "direct" / "c" / TABLE_FILE).label_space
    assert set(space.classes) == {"Red", "Blue"}


def test_results_without_embeddings_get_them_from_the_slide(results, capsys) -> None:
    out, _ = results
    folder = out / "a"
    num = len(read_table(folder / TABLE_FILE))
    before = read_embeddings(folder / EMBEDDINGS_FILE, num).values.astype(float)
    (folder / EMBEDDINGS_FILE).unlink()
    assert teach(out)["cross_validation"]["macro_f1"] > 0.95
    made = read_embeddings(folder / EMBEDDINGS_FILE, num).values.astype(float)
    assert np.abs(made - before).max() < 0.5  # of 255: the same pixels
    (folder / EMBEDDINGS_FILE).unlink()
    summary = (folder / "summary.json").read_text()
    source = Path(json.loads(summary)["fingerprint"]["source"])
    source.rename(source.with_suffix(".gone"))
    try:
        line = ["teach", str(out), "--out", str(out.parent / "mine"), "--overwrite"]
        assert cli.run(line) == 2
        assert "is not there to make them from" in capsys.readouterr().err
        assert teach(out, "--no-embeddings", "--overwrite")["model_sha256"] == ""
    finally:
        source.with_suffix(".gone").rename(source)


def test_what_was_corrected_in_a_classified_result_stays_when_it_is_classified_again(
    results,
) -> None:
    out, _ = results
    teach(out)
    new = out.parent / "new"
    line = ["classify", str(out), "--classifier", str(out.parent / "mine"), "--out", str(new)]
    assert cli.run(line) == 0
    Labeller(new / "a").do("delete", 5)
    Labeller(out / "a").do("delete", 7)
    assert cli.run(line) == 0
    found = read_corrections(new / "a")
    assert found is not None
    assert found.corrections.deleted == {5, 7}


def test_held_out_nuclei_judge_and_never_teach(results) -> None:
    out, images = results
    red = is_red(out / "b", images[1])
    labeller = Labeller(out / "b")
    labeller.do("hold_out", *range(201, 221))
    wrong = ~red  # said the wrong way round: were they taught, it would show
    labeller.label(wrong, range(200, 220))
    report = teach(out)
    assert report["num_labels"] == 60
    assert report["held_out"]["num"] == 20
    assert report["held_out"]["accuracy"] < 0.05
    assert report["cross_validation"]["macro_f1"] > 0.95


def test_held_out_nuclei_of_a_class_that_is_not_taught_count_as_wrong(results) -> None:
    out, images = results
    labeller, red = Labeller(out / "b"), is_red(out / "b", images[1])
    labeller.do("define_class", name="Green", colour="#00ff00", digit=None)
    labeller.do("hold_out", *range(201, 221))
    labeller.label(red, range(200, 215))
    labeller.do("classify", *range(216, 221), **{"class": "Green"})
    held_out = teach(out)["held_out"]
    assert held_out["num"] == 20
    assert held_out["accuracy"] <= 15 / 20
    assert held_out["classes"]["Green"]["f1"] == 0


def test_a_complete_field_teaches_all_that_lies_in_it(results) -> None:
    out, _ = results
    labeller = Labeller(out / "c")
    ring = [200, 200, 500, 200, 500, 500, 200, 500]
    labeller.do("field", ring=ring, complete=True)
    x, y = labeller.nuclei.centroid.T
    inside = int(((x >= 200) & (x < 500) & (y >= 200) & (y < 500)).sum())
    assert inside > 10
    report = teach(out)
    assert report["classes"]["Nucleus"] == inside
    assert report["by"] == "slide"


def test_uncertain_nuclei_of_a_field_teach_nothing(predicted, colour_model, tmp_path) -> None:
    line = ["predict", str(predicted[1][0]), "--model", str(colour_model), "--mpp", "0.25"]
    assert cli.run([*line, "--out", str(tmp_path), "--min-class-probability", "1"]) == 0
    labeller = Labeller(tmp_path / "a")
    assert set(labeller.nuclei.label_space.classes) == {"Nucleus", "Uncertain"}
    uncertain = labeller.nuclei.class_index == 1
    labeller.do("field", ring=[0, 0, 1000, 0, 1000, 800, 0, 800], complete=True)
    found = read_labels(tmp_path / "a")
    assert found is not None
    assert len(found.taught) == (~uncertain).sum()
    assert "Uncertain" not in found.taught.values()
    first, second = (np.flatnonzero(~uncertain)[:2] + 1).tolist()
    labeller.do("hold_out", second)
    labeller.do("classify", first, second, **{"class": "Uncertain"})  # a person does not know
    found = read_labels(tmp_path / "a")
    assert found is not None
    assert first not in found.taught
    assert found.held_out == {}


def test_what_cannot_be_taught_is_refused_in_words(predicted, tmp_path, capsys) -> None:
    shutil.copytree(predicted[0], tmp_path / "out")
    line = ["teach", str(tmp_path / "out"), "--out", str(tmp_path / "mine")]
    assert cli.run(line) == 2
    assert "no labels in" in capsys.readouterr().err
    folder = tmp_path / "out" / "a"
    Labeller(folder).do("classify", 1, 2, 3, **{"class": "Red"})
    assert cli.run(line) == 2
    assert "needs two classes of 2 or more labelled nuclei each, got 1" in capsys.readouterr().err
    assert cli.run(["classify", str(folder), "--classifier", str(folder), "--out", "x"]) == 2
    assert "no file at" in capsys.readouterr().err


def test_another_model_is_refused_before_anything_is_done(results, tmp_path, capsys) -> None:
    out, images = results
    teach(out)
    line = ["predict", str(images[0]), "--classifier", str(tmp_path / "mine"), "--mpp", "0.25"]
    assert cli.run([*line, "--out", str(tmp_path / "other")]) == 2
    assert "was taught with the model colours" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_slide_unlike_those_that_taught_is_told(results, colour_model, tmp_path) -> None:
    import cv2

    out, _ = results
    teach(out)
    image = draw(tmp_path / "in" / "green.png", 7)
    pixels = cv2.imread(str(image))
    dark = pixels[..., 2] < 120
    pixels[dark] = (20, 110, 40)
    cv2.imwrite(str(image), pixels)
    line = ["predict", str(image), "--model", str(colour_model), "--mpp", "0.25", "--classifier"]
    assert cli.run([*line, str(tmp_path / "mine"), "--out", str(tmp_path / "new")]) == 0
    result = read_summary(tmp_path / "new" / "green")
    assert result.classes_extrapolated
    assert "classes were learned on a, b" in result.class_note
    line = ["classify", str(out / "c"), "--classifier", str(tmp_path / "mine")]
    assert cli.run([*line, "--out", str(tmp_path / "like")]) == 0
    assert not read_summary(tmp_path / "like" / "c").classes_extrapolated


def test_features_of_a_result_are_those_of_its_table(predicted) -> None:
    folder = predicted[0] / "a"
    features, nuclei = read_features(folder), read_table(folder / TABLE_FILE)
    np.testing.assert_allclose(features.measured[:, 0], nuclei.area_um2, rtol=1e-5)
    np.testing.assert_allclose(features.centroid_um, nuclei.centroid * 0.25)
    distance = np.sort(np.linalg.norm(features.centroid_um[0] - features.centroid_um, axis=1))[10]
    np.testing.assert_allclose(features.measured[0, 15], np.log(distance), rtol=1e-5)


def test_anndata_holds_the_embeddings_of_corrected_nuclei(predicted, tmp_path) -> None:
    anndata = pytest.importorskip("anndata")
    folder = tmp_path / "a"
    shutil.copytree(predicted[0] / "a", folder)
    labeller = Labeller(folder)
    labeller.do("delete", 3)
    ring = [10, 10, 20, 10, 20, 20, 10, 20]
    labeller.do("add", ring=ring, **{"class": "Red"})
    assert cli.run(["export", str(folder), "--to", "anndata"]) == 0
    table = anndata.read_h5ad(folder / "nuclei.h5ad")
    num = len(labeller.nuclei)
    values = read_embeddings(folder / EMBEDDINGS_FILE, num).values
    ids = table.obs["id"].to_numpy()
    assert ids.tolist() == [i for i in range(1, num + 2) if i != 3]
    np.testing.assert_array_equal(table.obsm["X_embedding"][:-1], np.delete(values, 2, axis=0))
    assert np.isnan(table.obsm["X_embedding"][-1]).all()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of processes that are ending
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_workers_give_the_same_embeddings(predicted, colour_model, tmp_path) -> None:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    out, images = predicted
    line = ["predict", str(images[0]), "--model", str(colour_model), "--out", str(tmp_path)]
    line += ["--mpp", "0.25", "--embeddings", "--cluster", "local:1"]
    assert cli.run(line) == 0
    files = [(folder / "a" / EMBEDDINGS_FILE).read_bytes() for folder in (out, tmp_path)]
    assert files[0] == files[1]
