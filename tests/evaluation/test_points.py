"""Scoring points: detection and classes against brute force, candidate sets, tables, comparison."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment

from histonuc import cli
from histonuc.data.store import Store
from histonuc.evaluation import TileSelection, evaluate_function, summarise
from histonuc.evaluation.classes import ALL_OPEN, choose_classes, join_open_classes
from histonuc.nuclei import PointLabels
from histonuc.taxonomy import PANNUKE, THREE, LabelSpace

from ..data.pointed_store import (
    PLACES,
    SIDE,
    draw_nuclei,
    mark,
    point_record,
    write_pointed,
)
from ..data.small_store import write

MPP = 0.5
RADIUS_PX = 6.0


def evaluate(*arguments: object) -> int:
    return cli.run(["evaluate", *map(str, arguments)])


def write_predictions(folder: Path, name: str, labels: np.ndarray, types: np.ndarray) -> None:
    """Label image and class image; `types` are class + 1 by id, from 0."""
    for kind, array in (("instances", labels), ("types", np.asarray(types)[labels])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        kinds = {"instances": np.uint16, "types": np.uint8}
        Image.fromarray(array.astype(kinds[kind])).save(folder / kind / f"{name}.png")


def read_scores(folder: Path) -> dict:
    return json.loads((folder / "scores.json").read_text())


def random_tiles(seed: int, num: int) -> list[tuple[PointLabels, np.ndarray, np.ndarray]]:
    """Points of one class, of either kind of epithelium or of any, and predicted squares."""
    rng = np.random.default_rng(seed)
    tiles = []
    for _ in range(num):
        count = int(rng.integers(1, 15))
        points = PointLabels(
            position=rng.uniform(0, SIDE, (count, 2)),
            candidates=rng.choice(np.array([2, 4, 17, 31], np.uint32), count),
        )
        labels = np.zeros((SIDE, SIDE), np.int32)
        for number in range(1, 16):
            y, x = rng.integers(0, SIDE - 5, 2)
            if not labels[y : y + 5, x : x + 5].any():
                labels[y : y + 5, x : x + 5] = number
        types = np.concatenate([[0], rng.choice([1, 2, 3, 4, 5], 15)])
        tiles.append((points, labels, types))
    return tiles


def count_by_hand(tiles: list) -> dict[str, float]:
    """hover_net's formulas, with the sets as classes: E(pithelium of either kind), I, C."""
    names = {17: "E", 2: "I", 4: "C", 31: "?"}
    predicted_names = {1: "E", 2: "I", 3: "C", 4: "D", 5: "E"}
    pairs, missed, spurious = [], [], []
    for points, labels, types in tiles:
        ids = [int(k) for k in np.unique(labels) if k]
        centroid = np.array([np.argwhere(labels == k)[:, ::-1].mean(0) + 0.5 for k in ids])
        away = np.linalg.norm(points.position[:, None] - centroid[None], axis=2)
        rows, columns = linear_sum_assignment(away)
        good = away[rows, columns] <= RADIUS_PX
        true = [names[int(c)] for c in points.candidates]
        found = [predicted_names[int(types[k])] for k in ids]
        pairs += [(true[r], found[c]) for r, c in zip(rows[good], columns[good], strict=True)]
        missed += [true[r] for r in range(len(true)) if r not in rows[good]]
        spurious += [found[c] for c in range(len(found)) if c not in columns[good]]
    tp, fp, fn = len(pairs), len(spurious), len(missed)
    known = [(t, p) for t, p in pairs if t != "?"]
    scores = {
        "f1_centroid": 2 * tp / (2 * tp + fp + fn),
        "precision_centroid": tp / (tp + fp),
        "recall_centroid": tp / (tp + fn),
        "class_accuracy_centroid": np.mean([t == p for t, p in known]),
    }
    for name in "EIC":
        right = sum(t == p == name for t, p in known)
        wrong = sum((t == name) != (p == name) for t, p in known)
        unpaired = missed.count(name) + spurious.count(name)
        scores[name] = 2 * right / (2 * right + 2 * wrong + unpaired)
    scores["class_f1_centroid"] = np.mean([scores[name] for name in "EIC"])
    return scores


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_are_those_of_brute_force(tmp_path, seed) -> None:
    tiles = random_tiles(seed, 4)
    records = [
        point_record(points, name=f"t{k}", mpp=MPP, seed=k)
        for k, (points, _, _) in enumerate(tiles)
    ]
    write(tmp_path / "store", *records)
    for k, (_, labels, types) in enumerate(tiles):
        write_predictions(tmp_path / "predicted", f"t{k}", labels, types)
    line = ["--predictions", tmp_path / "predicted", "--data", tmp_path / "store"]
    assert evaluate(*line, "--out", tmp_path / "out") == 0
    scores, wanted = read_scores(tmp_path / "out"), count_by_hand(tiles)
    overall, by_class = scores["overall"], scores["per_class"]
    assert {name: overall[name] for name in wanted if len(name) > 1} == pytest.approx(
        {name: value for name, value in wanted.items() if len(name) > 1}
    )
    assert list(by_class) == ["Neoplastic or Epithelial", "Inflammatory", "Connective", "Dead"]
    found = [row["f1_centroid"] for row in by_class.values()][:3]
    assert found == pytest.approx([wanted[name] for name in "EIC"])
    assert scores["labels"] == "points"
    assert scores["num_nuclei"] == sum(len(points) for points, _, _ in tiles)
    assert overall["tp"] + overall["fn"] == scores["num_nuclei"]
    assert overall["tp"] + overall["fp"] == scores["num_nuclei_predicted"]
    matrix = np.array(scores["confusion_nuclei"]["by_centroid"])
    assert matrix.sum() == overall["tp"] + overall["fp"] + overall["fn"]
    row = next(iter(by_class.values()))
    assert (row["tp"], row["tp"] + row["fn"]) == (matrix[1, 1], matrix[1].sum())
    assert overall["bpq"] is overall["aji"] is overall["foreground_dice"] is overall["f1"] is None


def test_what_lies_beside_sparse_points_is_neither_right_nor_wrong(tmp_path, capsys) -> None:
    tiles = random_tiles(3, 4)
    for name, is_sparse in (("all", False), ("some", True)):
        records = [
            replace(point_record(points, name=f"t{k}", mpp=MPP, seed=k), is_sparse=is_sparse)
            for k, (points, _, _) in enumerate(tiles)
        ]
        write(tmp_path / name, *records)
        for k, (_, labels, types) in enumerate(tiles):
            write_predictions(tmp_path / "predicted", f"t{k}", labels, types)
        line = ["--predictions", tmp_path / "predicted", "--data", tmp_path / name]
        assert evaluate(*line, "--out", tmp_path / f"{name}-scores") == 0
    said = capsys.readouterr().out.splitlines()[-8:]
    assert not any("spurious" in line or "F1" in line for line in said)
    dense, sparse = (read_scores(tmp_path / f"{name}-scores") for name in ("all", "some"))
    assert (dense["labels"], sparse["labels"]) == ("points", "sparse points")
    one, other = dense["overall"], sparse["overall"]
    for name in ("recall_centroid", "class_accuracy_centroid", "tp", "fn"):
        assert one[name] == other[name]
    assert one["fp"] > other["fp"] == 0
    for name in ("f1_centroid", "precision_centroid", "class_f1_centroid", "f1_centroid_images"):
        assert one[name] is not None
        assert other[name] is None
    matrices = [np.array(s["confusion_nuclei"]["by_centroid"]) for s in (dense, sparse)]
    np.testing.assert_array_equal(matrices[0][1:], matrices[1][1:])
    assert not matrices[1][0].any()
    for row in sparse["per_class"].values():
        assert row["f1_centroid"] is row["count_mae"] is None
    assert sparse["intervals"]["f1_centroid"] is None
    assert sparse["intervals"]["recall_centroid"] == dense["intervals"]["recall_centroid"]
    folder = str(tmp_path / "some-scores")
    assert cli.run(["compare", folder, folder]) == 0
    assert cli.run(["report", "--scores", folder, "--out", str(tmp_path / "report.html")]) == 0
    assert cli.run(["info", str(tmp_path / "some")]) == 0
    assert "points" in capsys.readouterr().out


def test_tiles_with_all_nuclei_marked_are_scored_before_those_with_some(tmp_path) -> None:
    points = random_tiles(4, 1)[0][0]
    records = [point_record(points, name=f"t{k}", mpp=MPP, seed=k) for k in range(3)]
    records[1] = replace(records[1], is_sparse=True)
    write(tmp_path / "store", *records)
    store = Store.open(tmp_path / "store")
    assert TileSelection().find_tiles(store).tolist() == [0, 2]
    assert [store.is_sparse(tile) for tile in range(3)] == [False, True, False]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Four tiles with points, two with outlines; predictions that are right but for one class."""
    store = write_pointed(tmp_path / "store", marked=False)
    for tile in range(len(store)):
        types = [0, 1, 2, 5, 3]  # inside every set
        if tile == 0:
            types[1] = 3
        write_predictions(tmp_path / "right", store.name(tile), draw_nuclei(), types)
    return tmp_path


def test_a_prediction_inside_the_set_is_right(scored, capsys) -> None:
    line = ["--predictions", scored / "right", "--data", scored / "store", "--sources", "clicks"]
    assert evaluate(*line, "--out", scored / "out") == 0
    printed = capsys.readouterr().out
    assert "4 tiles, 16 points, 16 found, 0 missed, 0 spurious" in printed
    assert "F1 by centroid 1.0000   precision by centroid 1.0000" in printed
    # Of twelve points of known class eleven are right; "any" counts for detection only.
    assert f"class accuracy {11 / 12:.4f}" in printed
    assert "Neoplastic or Epithelial: Neoplastic, Epithelial" in printed
    rows = read_scores(scored / "out")["per_class"]
    assert rows["Neoplastic or Epithelial"]["class_accuracy_centroid"] == pytest.approx(7 / 8)
    assert rows["Neoplastic or Epithelial"]["f1_centroid"] == pytest.approx(14 / (14 + 2))
    assert rows["Inflammatory"]["f1_centroid"] == 1
    with (scored / "out" / "tables" / "classes.csv").open(newline="") as stream:
        table = {row["class"]: row for row in csv.DictReader(stream)}
    assert float(table["Inflammatory"]["f1_centroid"]) == 1
    assert "f1_centroid_low" in table["Inflammatory"]


def test_a_prediction_outside_the_reach_finds_nothing(tmp_path) -> None:
    near = write(tmp_path / "near", point_record(mark((5.9, 0.0)), mpp=MPP))
    far = write(tmp_path / "far", point_record(mark((6.1, 0.0)), mpp=MPP))
    write_predictions(tmp_path / "predicted", "tile", draw_nuclei(), np.array([0, 1, 2, 5, 3]))
    found = []
    for store in (near, far):
        line = ["--predictions", tmp_path / "predicted", "--data", store.path]
        assert evaluate(*line, "--out", tmp_path / "out") == 0
        found.append(read_scores(tmp_path / "out")["overall"]["recall_centroid"])
    assert found == [1, 0]


def test_outlines_are_scored_where_there_are_any(scored, capsys) -> None:
    line = ["--predictions", scored / "right", "--data", scored / "store"]
    assert evaluate(*line, "--out", scored / "out") == 0
    scores = read_scores(scored / "out")
    assert (scores["labels"], scores["num_tiles"]) == ("outlines", 4)
    assert scores["overall"]["bpq"] == pytest.approx(1)
    assert scores["overall"]["class_accuracy_centroid"] == 1
    said = capsys.readouterr().err
    assert said.count("4 tiles with points and no outlines: left out") == 1


def test_parts_of_the_points_are_merged(scored) -> None:
    line = ["--predictions", scored / "right", "--data", scored / "store", "--sources", "clicks"]
    assert evaluate(*line, "--out", scored / "whole") == 0
    for part in ("1/2", "2/2"):
        assert evaluate(*line, "--part", part, "--out", scored / part[0]) == 0
    pieces = [str(scored / part) for part in "12"]
    assert cli.run(["merge-scores", *pieces, "--out", str(scored / "merged")]) == 0
    whole, merged = read_scores(scored / "whole"), read_scores(scored / "merged")
    assert {**merged, "created": 0, "own_sha256": 0} == {**whole, "created": 0, "own_sha256": 0}
    outlined = ["--predictions", scored / "right", "--data", scored / "store"]
    assert evaluate(*outlined, "--out", scored / "outlined") == 0
    pieces = [str(scored / "whole"), str(scored / "outlined")]
    assert cli.run(["merge-scores", *pieces, "--out", str(scored / "none")]) == 2


def test_models_are_compared_on_points(scored, capsys) -> None:
    store = Store.open(scored / "store")
    for tile in range(len(store)):
        labels = draw_nuclei(PLACES[:3] if tile % 2 else PLACES)
        write_predictions(scored / "worse", store.name(tile), labels, np.array([0, 1, 1, 5, 3]))
    for name in ("right", "worse"):
        line = ["--predictions", scored / name, "--data", store.path, "--sources", "clicks"]
        assert evaluate(*line, "--out", scored / f"of {name}") == 0
    folders = [str(scored / f"of {name}") for name in ("right", "worse")]
    capsys.readouterr()
    assert cli.run(["compare", *folders, "--json"]) == 0
    (comparison,) = json.loads(capsys.readouterr().out)["comparisons"]
    overall, by_class = comparison["overall"], comparison["per_class"]
    assert list(overall) == ["f1_centroid_images", "class_accuracy_centroid_images"]
    assert overall["f1_centroid_images"]["second"] == pytest.approx((1 + 6 / 7) / 2)
    assert by_class["Inflammatory"]["first"] == 1
    assert by_class["Inflammatory"]["second"] == 0
    assert comparison["class_score"] == "f1_centroid"
    assert cli.run(["compare", *folders]) == 0
    assert "F1 by centroid of class" in capsys.readouterr().out


def test_the_report_shows_points(scored) -> None:
    line = ["--predictions", scored / "right", "--data", scored / "store", "--sources", "clicks"]
    assert evaluate(*line, "--out", scored / "out") == 0
    page = scored / "report.html"
    assert cli.run(["report", "--scores", str(scored / "out"), "--out", str(page)]) == 0
    text = page.read_text()
    assert "4 tiles, 16 points; 16 found" in text
    assert "Paired by centroid." in text
    assert "<th>F1 by centroid</th><th>95 % interval</th><th>class accuracy</th>" in text
    assert "4 points, 4 found" in text
    assert "Confusion of pixels" not in text
    assert "Paired by IoU" not in text


def test_saved_predictions_of_points_score_the_same(tmp_path) -> None:
    store = write_pointed(tmp_path / "store", marked=False)
    line = ["--data", store.path, "--sources", "clicks", "--out", tmp_path / "out"]
    assert evaluate("default", *line, "--save-predictions", tmp_path / "saved") == 0
    first = read_scores(tmp_path / "out")
    assert evaluate("--predictions", tmp_path / "saved", *line) == 0
    again = read_scores(tmp_path / "out")
    assert again["per_class"] == first["per_class"]
    assert again["confusion_nuclei"] == first["confusion_nuclei"]
    assert first["num_nuclei_predicted"] > 0


def test_a_function_is_scored_on_points(scored) -> None:
    def segment(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = draw_nuclei()
        return labels, np.array([0, 5, 2, 1, 3])[labels]

    evaluation = evaluate_function(scored / "store", segment, sources=["clicks"], with_classes=True)
    assert summarise(evaluation) == {
        "f1_centroid": 1,
        "class_f1_centroid": 1,
        "class_accuracy_centroid": 1,
    }


# ---- classes


def join(predicted: LabelSpace, *candidates: int):
    classes = choose_classes(PANNUKE, predicted)
    return join_open_classes(classes, PANNUKE, np.array(candidates, np.uint32))


def test_classes_that_points_leave_open_are_one() -> None:
    four = LabelSpace(name="four", classes=tuple(c for c in PANNUKE.classes if c != "Dead"))
    joined = join(four, 17, 4, 2, 31)
    names = ("Neoplastic or Epithelial", "Inflammatory", "Connective")
    assert joined.label_space.classes == names
    sets = np.array([17, 4, 2, 31, 1, 8], np.uint32)
    assert joined.merge_types(sets).tolist() == [1, 3, 2, 0, 1, 0]
    assert joined.reorder_types(np.arange(5)).tolist() == [0, 1, 2, 3, 1]
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    assert joined.reorder_probabilities(probabilities, 1) == pytest.approx(
        np.array([[0.5, 0.2, 0.3]])
    )
    assert join(THREE, 17, 4, 2, 31).label_space == THREE  # already one in the model
    apart = join(PANNUKE, 1, 16, 2)
    assert apart.label_space == PANNUKE
    chain = join(PANNUKE, 0b00011, 0b00110, 8, 16)
    assert chain.label_space.classes[0] == "Neoplastic or Inflammatory or Connective"


def test_points_that_tell_no_classes_apart_leave_them_out() -> None:
    assert join(PANNUKE, 31).no_classes == ALL_OPEN
    assert join(THREE, 0b00111, 31).no_classes == ALL_OPEN
    assert join(PANNUKE, 0b01111, 0b11000).no_classes == ALL_OPEN


def test_points_without_classes_score_detection_alone(tmp_path, capsys) -> None:
    store = write(tmp_path / "store", point_record(mark(sets=(31, 31, 31, 31)), mpp=MPP))
    line = ["--data", store.path, "--out", tmp_path / "out"]
    assert evaluate("default", *line) == 0
    assert "no class scores: the points leave them open" in capsys.readouterr().out
    assert read_scores(tmp_path / "out")["overall"]["class_accuracy_centroid"] is None


# ---- real points


def test_the_shipped_model_on_points_of_real_images(shared_data, tmp_path) -> None:
    points = shared_data.parent / "points"
    out = tmp_path / "store"
    line = ["prepare", "folder", str(points), "--only", "crchisto", "--out", str(out)]
    assert cli.run(line) == 0
    arguments = ["compact-offset-5", "--data", out, "--folds", 3, "--part", "1/4"]
    assert evaluate(*arguments, "--out", tmp_path / "scores") == 0
    scores = read_scores(tmp_path / "scores")
    assert (scores["labels"], scores["num_tiles"]) == ("points", 3)
    overall = scores["overall"]
    assert overall["recall_centroid"] > 0.9
    assert overall["class_accuracy_centroid"] > 0.8
