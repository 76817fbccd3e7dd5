"""A word means one number, whichever command shows it, and the official one comes first."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation.glossary import COMPARE, SCORES, glossary_rows
from histonuc.evaluation.table_files import Column, Table, to_csv, to_latex


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Score folders of two predictions of one store, as `histonuc evaluate` writes them."""
    root = tmp_path_factory.mktemp("names")
    write_synthetic(root / "raw", tiles=40, folds=1, tile_px=64, seed=3)
    prepare_pannuke(root / "raw", root / "store")
    store = Store.open(root / "store")
    truth = np.stack([store.official_mask(tile) for tile in store.select()])
    for name, shift in (("near", 1), ("far", 2)):
        guess = np.roll(truth, shift, 1)
        guess[::3, 30:, :, :5] = 0  # some missed, so that pooled scores and averages differ
        np.save(root / f"{name}.npy", guess)
        arguments = ["--predictions", str(root / f"{name}.npy"), "--data", str(root / "store")]
        assert cli.run(["evaluate", *arguments, "--out", str(root / name)]) == 0
    return root / "near", root / "far"


def read(folder: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return scores


def test_pq_of_a_class_is_the_official_one_in_every_command(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, table = read(folders[0]), pq.read_table(folders[0] / "tiles.parquet")
    assert cli.run(["compare", *map(str, folders), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    compared = json.loads((tmp_path / "compare.json").read_text())["comparisons"][0]
    assert cli.run(["report", "--scores", str(folders[0]), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert cli.run(["merge-scores", str(folders[0]), "--out", str(tmp_path / "merged")]) == 0
    printed = capsys.readouterr().out
    differing = 0
    for name, row in scores["per_class"].items():
        official = [value for value in table[f"pq/{name}"].to_pylist() if value is not None]
        if not official:
            continue
        assert row["pq"] == pytest.approx(np.mean(official))
        assert compared["per_class"][name]["first"] == pytest.approx(row["pq"])
        assert re.search(rf"^{name} +{row['pq']:.4f} ", shown, re.M)
        assert re.search(rf"^{name} +\d+ +{row['pq']:.4f} +{row['pq_pooled']:.4f} ", printed, re.M)
        assert f"{name}</td><td>{row['num_nuclei']}</td><td>{row['pq']:.3f}</td>" in page
        differing += abs(row["pq"] - row["pq_pooled"]) > 1e-3
    assert differing, "the two would not be told apart"


def test_scores_over_all_tiles_are_the_same_in_evaluate_and_compare(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    assert cli.run(["compare", *map(str, folders), "--out", str(tmp_path)]) == 0
    compared = json.loads((tmp_path / "compare.json").read_text())["comparisons"][0]
    assert set(compared["overall"]) == set(COMPARE)
    for number, folder in (("first", folders[0]), ("second", folders[1])):
        scores = read(folder)
        for key, row in compared["overall"].items():
            assert row[number] == pytest.approx(scores["overall"][key], abs=1e-12), key
        for tissue, rows in compared["per_tissue"].items():
            for key, row in rows.items():
                expected = scores["per_tissue"][tissue][key]
                assert row[number] == pytest.approx(expected, abs=1e-12), (tissue, key)


def list_numbers(scores: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Section letter of the glossary and key of every score in scores.json."""
    for section, letter in (("per_class", "c"), ("per_tissue", "t"), ("per_source", "t")):
        for row in scores[section].values():
            yield from ((letter, key) for key, value in row.items() if not isinstance(value, dict))
    yield from (("o", key) for key in scores["overall"])


def test_every_score_of_the_file_is_in_the_glossary_and_the_other_way_round(
    folders: tuple[Path, Path],
) -> None:
    counts = ("num_tiles", "num_nuclei", "num_images", "tp", "fp", "fn")
    found = {(letter, key) for letter, key in list_numbers(read(folders[0])) if key not in counts}
    assert found == {(letter, key) for key, score in SCORES.items() for letter in score.where}
    names = [score.name for score in SCORES.values()]
    assert len(names) == len(set(names))


def test_the_tables_hold_the_numbers_of_scores_json(folders: tuple[Path, Path]) -> None:
    scores = read(folders[0])
    folder = folders[0] / "tables"
    with (folder / "classes.csv").open(newline="") as stream:
        rows = {row["class"]: row for row in csv.DictReader(stream)}
    assert list(rows) == list(scores["per_class"])
    for name, row in rows.items():
        for key in ("pq", "pq_pooled", "f1"):
            value = scores["per_class"][name][key]
            low, _ = scores["intervals"]["per_class"][name][key] or (None, None)
            assert row[key] == ("" if value is None else repr(value))
            assert row[f"{key}_low"] == ("" if low is None else repr(low))
    with (folder / "overall.csv").open(newline="") as stream:
        overall = {row["name"]: row for row in csv.DictReader(stream)}
    assert float(overall["bpq"]["value"]) == scores["overall"]["bpq"]
    assert overall["bpq"]["score"] == "bPQ"
    assert list(overall)[:2] == ["bpq", "mpq"]
    latex = (folder / "classes.tex").read_text()
    heading = "class & nuclei & PQ & pooled PQ & pooled DQ & pooled SQ & Dice & IoU \\\\"
    assert heading in latex.splitlines()
    row = scores["per_class"]["Connective"]
    low, high = scores["intervals"]["per_class"]["Connective"]["pq"]
    start = f"Connective & {row['num_nuclei']} & {row['pq']:.3f} ({low:.3f} to {high:.3f}) & "
    assert any(line.startswith(start) for line in latex.splitlines())


def test_names_are_escaped_in_latex_and_missing_values_shown() -> None:
    table = Table(
        name="t",
        columns=(
            Column(key="class", name="class"),
            Column(key="pq", name="PQ", parts=("_mean", "_sd")),
            Column(key="hidden", name="", in_latex=False),
        ),
        rows=[
            (("A_b & 5 %",), (0.5, 0.25), (1,)),
            (("C",), (0.5, None), (2,)),
            (("D",), (None, None), (3,)),
        ],
    )
    assert to_latex(table).splitlines()[1:] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"class & PQ \\",
        r"\midrule",
        r"A\_b \& 5 \% & 0.500 $\pm$ 0.250 \\",
        r"C & 0.500 \\",
        r"D & – \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert to_csv(table) == "class,pq_mean,pq_sd,hidden\nA_b & 5 %,0.5,0.25,1\nC,0.5,,2\nD,,,3\n"


def test_the_docs_have_every_score_with_its_formula_and_place() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert "\n".join(glossary_rows()) in page, "print the rows of glossary_rows() into the page"
