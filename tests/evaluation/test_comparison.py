"""Score folders compared tile by tile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histonuc import cli
from histonuc.evaluation.comparison import compare, comparison_lines
from histonuc.evaluation.folder import write_head
from histonuc.evaluation.model_scores import load_model_scores
from histonuc.evaluation.rotations import write_summary
from histonuc.evaluation.tile_scores import (
    BY_CLASS,
    NUMBERS,
    TEXTS,
    TileScore,
    TileScores,
    write_tile_scores,
)

TISSUES = ["Colon"] * 6 + ["Skin"] * 4
BPQ = np.linspace(0.2, 0.8, 10)


def blank_score(tile: int, num_classes: int) -> TileScore:
    """A tile that has no score."""
    texts, numbers = dict.fromkeys(TEXTS, ""), dict.fromkeys(NUMBERS, 0)
    scores = {name: float("nan") for name, kind in NUMBERS.items() if kind is np.float64}
    by_class = {name: (0,) * num_classes for name in BY_CLASS} | {
        "pq": (float("nan"),) * num_classes
    }
    return TileScore(**texts | numbers | scores | by_class | {"tile": tile})  # type: ignore[arg-type]


def write(folder: Path, **changes: Any) -> Path:
    """A score folder of ten tiles, with the columns given added or put in place."""
    columns = {
        "name": [f"tile{i}" for i in range(10)],
        "source": ["pannuke"] * 10,
        "tissue": TISSUES,
        "fold": [3] * 10,
        "num_truth": [7] * 10,
        **{name: [2] * 10 for name in ("tp", "fp", "fn")},
        "bpq": BPQ,
    } | changes
    classes = [name.removeprefix("pq/") for name in columns if name.startswith("pq/")]
    classes = classes or ["Nucleus"]
    rows = TileScores.from_rows([blank_score(i, len(classes)) for i in range(10)], len(classes))
    for name, values in columns.items():
        if name in TEXTS:
            rows.texts[name][:] = values
        elif name.startswith("pq/"):
            rows.numbers["pq"][:, classes.index(name.removeprefix("pq/"))] = values
        else:
            rows.numbers[name] = values
    folder.mkdir(parents=True)
    write_tile_scores(rows, classes, folder)
    write_head(
        {"format": 5, "labels": "outlines", "label_space": {"name": "own", "classes": classes}},
        folder,
    )
    return folder


def test_differences_of_all_scores_there_are(tmp_path) -> None:
    dead = np.full(10, np.nan)
    dead[[1, 8]] = 0.5
    first = write(tmp_path / "a", mpq=BPQ, **{"pq/Dead": dead, "pq/Epithelial": BPQ})
    order = np.random.default_rng(0).permutation(10)  # rows are matched by name, not by place
    better = {"bpq": BPQ + 0.1, "mpq": BPQ, "pq/Dead": dead - 0.5, "pq/Epithelial": BPQ + 0.01}
    names = [f"tile{i}" for i in order]
    second = write(
        tmp_path / "b",
        name=names,
        tissue=[TISSUES[i] for i in order],
        **{name: values[order] for name, values in better.items()},
        fn=[4] * 10,
    )
    result = compare([first, second])
    (comparison,) = result["comparisons"]
    assert list(comparison["overall"]) == ["bpq", "mpq", "f1_images"]
    assert comparison["overall"]["f1_images"]["first"] == 0.5
    assert comparison["overall"]["f1_images"]["second"] == pytest.approx(0.4)
    bpq = comparison["overall"]["bpq"]
    assert bpq["first"] == pytest.approx((BPQ[:6].mean() + BPQ[6:].mean()) / 2)
    assert bpq["difference"] == pytest.approx(0.1)
    assert bpq["p"] < 0.01
    assert comparison["overall"]["mpq"]["difference"] == 0
    assert comparison["overall"]["mpq"]["p"] == 1
    assert list(comparison["per_tissue"]) == ["Colon", "Skin"]
    skin = comparison["per_tissue"]["Skin"]["bpq"]
    assert skin["first"] == pytest.approx(BPQ[6:].mean())
    assert skin["num_images"] == 4
    assert skin["p"] == pytest.approx(2 / 16, abs=0.02)
    assert skin["p_holm"] == pytest.approx(max(skin["p"], 2 * 2 / 64), abs=0.02)
    by_class = comparison["per_class"]
    assert list(by_class) == ["Dead", "Epithelial"]
    assert by_class["Dead"]["difference"] == -0.5  # over images, not over tissues
    assert by_class["Dead"]["num_images"] == 2
    assert by_class["Epithelial"]["p_holm"] == pytest.approx(2 * by_class["Epithelial"]["p"])
    text = "\n".join(comparison_lines(result))
    assert "mPQ of tissue" in text
    assert "Epithelial" in text
    assert result == compare([first, second])
    json.dumps(result, allow_nan=False)


def test_every_later_model_is_compared_with_the_first(tmp_path) -> None:
    folders = [write(tmp_path / name, bpq=BPQ + add) for name, add in (("a", 0), ("b", 0.1))]
    folders.append(write(tmp_path / "c", bpq=BPQ - 0.1, foreground_dice=BPQ))
    one, two = compare(folders)["comparisons"]
    assert (one["first"], one["second"]) == (str(folders[0]), str(folders[1]))
    assert two["second"] == str(folders[2])
    assert two["overall"]["bpq"]["difference"] == pytest.approx(-0.1)
    assert two["not_compared"] == ["foreground_dice_images"]
    assert one["not_compared"] == []


def test_a_tile_that_only_one_model_has_a_score_of_is_left_out_and_told(tmp_path) -> None:
    holed = BPQ.copy()
    holed[9] = np.nan
    first, second = write(tmp_path / "a"), write(tmp_path / "b", bpq=holed)
    row = compare([first, second])["comparisons"][0]["per_tissue"]["Skin"]["bpq"]
    assert (row["num_images"], row["num_one_sided"]) == (3, 1)
    assert row["first"] == pytest.approx(BPQ[6:9].mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": [f"tile{i}" for i in range(3, 13)]},
            r"3 of 10 tiles are only in \S+a \(pannuke/tile0, pannuke/tile1, pannuke/tile2\); "
            r"3 of 10 tiles are only in \S+b",
        ),
        ({"source": ["other"] * 10}, r"10 of 10 tiles .* \(pannuke/tile0, .*, \.\.\.\)"),
        ({"num_truth": [7] * 9 + [8]}, "number of true nuclei of tile pannuke/tile9 is 7 in"),
        ({"tissue": ["Skin"] * 10}, "tissue of tile pannuke/tile0 is 'Colon' in"),
        ({"name": ["tile0", *(f"tile{i}" for i in range(9))]}, "names several tiles pannuke/tile0"),
    ],
)
def test_scores_of_other_tiles_are_refused(tmp_path, changes, message) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", **changes)
    with pytest.raises(ValueError, match=message):
        compare([first, second])


def test_a_tissue_of_one_tile_has_no_interval_and_that_is_said(tmp_path) -> None:
    tissues = [*TISSUES[:-1], "Lung"]
    first = write(tmp_path / "a", tissue=tissues)
    second = write(tmp_path / "b", tissue=tissues, bpq=BPQ + 0.1)
    result = compare([first, second])
    row = result["comparisons"][0]["per_tissue"]["Lung"]["bpq"]
    assert (row["low"], row["high"], row["p"]) == (None, None, 1)
    assert "1 of the tissues have one tile and add no spread" in comparison_lines(result)[1]


def test_folders_without_scores_are_refused(tmp_path) -> None:
    first = write(tmp_path / "a")
    with pytest.raises(ValueError, match=r"expected two or more score folders .* got 1"):
        compare([first])
    with pytest.raises(ValueError, match=r"holds no scores\.json with tiles\.parquet"):
        compare([first, tmp_path])
    second = write(tmp_path / "b")
    (second / "scores.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"has format 1, this version reads 5"):
        compare([first, second])
    (second / "scores.json").write_text("{")
    with pytest.raises(ValueError, match=r"scores\.json is damaged or no scores"):
        compare([first, second])
    third = write(tmp_path / "c", bpq=[None] * 10, tp=[0] * 10, fp=[0] * 10, fn=[0] * 10)
    with pytest.raises(ValueError, match="have no score in common"):
        compare([first, third])


def test_a_tile_that_two_rotations_test_counts_once(tmp_path) -> None:
    holed = BPQ + 0.1
    holed[0] = np.nan
    for rotation, bpq in ((1, BPQ), (2, holed)):
        write(tmp_path / f"rotation-{rotation}" / "scores", bpq=bpq)
    names = [f"other{i}" for i in range(10)]
    write(tmp_path / "rotation-3" / "scores", name=names)
    rows = [{"folder": f"rotation-{i}"} for i in (1, 2, 3)]
    write_summary({"rotations": rows}, tmp_path)
    scores = load_model_scores(tmp_path)
    assert len(scores.tiles) == 20
    own = dict(zip((name for _, name in scores.tiles), scores.columns["bpq"], strict=True))
    assert own["other3"] == BPQ[3]
    assert own["tile3"] == pytest.approx(BPQ[3] + 0.05)
    assert own["tile0"] == BPQ[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ["tile0"] * 10}, r"rotation-2/scores/tiles\.parquet names several tiles"),
        ({"pq/Dead": BPQ}, r"one rotation was scored for Nucleus, another for Dead"),
    ],
)
def test_rotations_that_cannot_be_joined_are_refused(tmp_path, changes, message) -> None:
    for rotation, own in ((1, {}), (2, changes)):
        write(tmp_path / f"rotation-{rotation}" / "scores", **own)
    write_summary({"rotations": [{"folder": f"rotation-{i}"} for i in (1, 2)]}, tmp_path)
    with pytest.raises(ValueError, match=message):
        load_model_scores(tmp_path)


def test_the_command_prints_tables_and_writes_them_with_a_figure(tmp_path, capsys) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", bpq=BPQ + 0.1)
    assert cli.run(["compare", str(first), str(second)]) == 0
    assert "+0.1000" in capsys.readouterr().out
    out = tmp_path / "out"
    arguments = ["compare", str(first), str(second), "--out", str(out), "--seed", "3", "--json"]
    assert cli.run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "compare.json").read_text())
    assert sorted(file.name for file in out.iterdir()) == [
        "compare.json",
        "compare.png",
        "compare.svg",
        "tables",
    ]
