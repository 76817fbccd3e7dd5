"""A store scored in pieces and merged is, byte by byte, the store scored at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation import evaluate_maps, load_scores, merge_scores, score_tables, write_scores
from histonuc.evaluation.folder import write_head
from histonuc.evaluation.selection import take_part
from histonuc.representations.semantic import Semantic

NUM_TILES = 9
FILES = ("counts.npz", "panels.npz", "tiles.parquet")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("pieces")
    write_synthetic(root / "raw", tiles=NUM_TILES, folds=3, tile_px=96, seed=4)
    prepare_pannuke(root / "raw", root / "store")
    return Store.open(root / "store")


@pytest.fixture(scope="module")
def whole(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return score(store, range(NUM_TILES), tmp_path_factory.mktemp("whole") / "scores")


@pytest.fixture(scope="module")
def thirds(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("thirds")
    tiles = store.select()
    return [score(store, take_part(tiles, f"{k}/3").tolist(), root / str(k)) for k in (1, 2, 3)]


def score(store: Store, tiles: Sequence[int], out: Path, model: str = "grey") -> Path:
    """With a network that takes dark pixels for nuclei, so that every sum has something in it."""

    def predict(images: np.ndarray) -> np.ndarray:
        dark = 1 - images.mean(3) / 255
        rest = [dark * share for share in (0.5, 0.2, 0.15, 0.1, 0.05)]
        return np.stack([1 - dark, *rest], axis=1).astype(np.float32)

    evaluation = evaluate_maps(
        store,
        tiles,
        predict,
        representation=Semantic(num_classes=5),
        label_space=store.label_space,
        mpp=0.25,
    )
    write_scores(evaluation, out, model={"name": model}, data={"store": "DATA", "part": "k/n"})
    return out


def content(folder: Path) -> dict[str, Any]:
    """Of scores.json but for the time, and so for the checksum."""
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    del scores["created"], scores["own_sha256"]
    return scores


def assert_same(merged: Path, whole: Path) -> None:
    expected = content(whole)
    del expected["data"]["part"]
    assert content(merged) == expected
    for name in FILES:
        assert (merged / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("seed", range(4))
def test_any_pieces_in_any_order_make_the_whole(
    seed: int, store: Store, whole: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.integers(1 + seed, size=NUM_TILES)
    pieces = [
        score(store, rng.permutation(np.flatnonzero(owner == k)).tolist(), tmp_path / str(k))
        for k in np.unique(owner)
    ]
    merge_scores(rng.permutation(pieces).tolist(), tmp_path / "merged")
    assert_same(tmp_path / "merged", whole)


def test_what_is_merged_can_be_merged_again(
    thirds: list[Path], whole: Path, tmp_path: Path
) -> None:
    merge_scores([thirds[2], thirds[0]], tmp_path / "two")
    merge_scores([tmp_path / "two", thirds[1]], tmp_path / "merged")
    assert_same(tmp_path / "merged", whole)


def test_what_is_written_is_read_back(whole: Path, tmp_path: Path) -> None:
    evaluation, scores = load_scores(whole)
    read_back = json.loads(json.dumps(score_tables(evaluation)))
    assert read_back == {key: scores[key] for key in read_back}
    assert [record.tile for record in evaluation.tiles] == list(range(NUM_TILES))


def test_processes_score_pieces_of_predictions(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    for name in ("instances", "types"):
        (folder / name).mkdir(parents=True)
    for tile in store.select():
        labels = np.roll(store.instances(tile), 2, axis=1)
        for name, array in (("instances", labels), ("types", store.types(tile)[labels])):
            file = folder / name / f"{store.name(tile)}.png"
            Image.fromarray(array.astype(np.uint16)).save(file)
    words = ["evaluate", "--predictions", str(folder), "--data", str(store.path), "--out"]
    command = [sys.executable, "-m", "histonuc", *words]
    running = [
        subprocess.Popen([*command, str(tmp_path / out), *folds], stderr=subprocess.PIPE)
        for out, folds in (("a", ["--folds", "3", "1"]), ("b", ["--folds", "2"]))
    ]
    assert cli.run([*words, str(tmp_path / "whole")]) == 0
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    merged = tmp_path / "merged"
    pieces = [str(tmp_path / name) for name in ("b", "a")]
    assert cli.run(["merge-scores", *pieces, "--out", str(merged)]) == 0
    assert content(merged) == content(tmp_path / "whole")
    assert content(merged)["data"]["folds"] == [1, 2, 3]
    for name in FILES:
        assert (merged / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_tile_in_two_pieces_is_refused(
    store: Store, thirds: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = score(store, [1, 2], tmp_path / "other")
    arguments = ["merge-scores", str(thirds[0]), str(other), str(thirds[2])]
    assert cli.run([*arguments, "--out", str(tmp_path / "merged")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: tile 2 (")
    assert f"is in both {other} and {thirds[2]}" in line
    assert not (tmp_path / "merged").exists()
    with pytest.raises(ValueError, match=r"tile 0 .* is in both"):
        merge_scores([thirds[0], thirds[0]], tmp_path / "merged")
    with pytest.raises(ValueError, match="got none"):
        merge_scores([], tmp_path / "merged")


def test_pieces_of_different_models_and_label_spaces_are_refused(
    store: Store, thirds: list[Path], tmp_path: Path
) -> None:
    other = score(store, [1, 4, 7], tmp_path / "other", model="another")
    with pytest.raises(ValueError, match=r"the model differs: .*grey.*another"):
        merge_scores([thirds[0], other], tmp_path / "merged")
    edit(other, lambda scores: scores["label_space"].update(name="mine"))
    with pytest.raises(ValueError, match="the label space differs"):
        merge_scores([thirds[0], other], tmp_path / "merged")


def test_other_formats_and_versions_are_refused(thirds: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(thirds[1], tmp_path / "other"))
    edit(other, lambda scores: scores["versions"].update(histonuc="0.0"))
    with pytest.raises(ValueError, match=r"the version differs: .* 0\.0 in"):
        merge_scores([thirds[0], other], tmp_path / "merged")
    edit(other, lambda scores: scores.update(format=0))
    with pytest.raises(ValueError, match=r"scores\.json has format 0, this version reads 5"):
        merge_scores([thirds[0], other], tmp_path / "merged")
    other = Path(shutil.copytree(thirds[1], tmp_path / "counts"))
    with np.load(other / "counts.npz") as archive:
        arrays = dict(archive)
    arrays["about"] = np.array(str(arrays["about"]).replace('"format": 1', '"format": 7'))
    np.savez(other / "counts.npz", **arrays)
    edit(other, lambda scores: None)
    with pytest.raises(ValueError, match=r"counts\.npz has format 7, this version reads 1"):
        merge_scores([thirds[0], other], tmp_path / "merged")


@pytest.mark.parametrize(
    ("name", "damage"),
    list(product([*FILES, "scores.json"], ["cut", "flip", "other", "gone"])),
)
def test_damaged_files_are_refused(
    name: str, damage: str, thirds: list[Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(thirds[0], tmp_path / "damaged"))
    file = folder / name
    raw = file.read_bytes()
    middle = len(raw) // 2
    if damage == "cut":
        file.write_bytes(raw[:middle])
    elif damage == "flip":
        file.write_bytes(raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :])
    elif damage == "other":
        file.write_bytes(b"something else")
    else:
        file.unlink()
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        merge_scores([folder, thirds[1]], tmp_path / "merged")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_counts_of_other_classes_and_a_shortened_table_are_refused(
    store: Store, thirds: list[Path], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    folder = Path(shutil.copytree(thirds[0], tmp_path / "a"))
    classes = store.label_space.classes[:4]
    edit(
        folder,
        lambda scores: scores["label_space"].update(classes=classes, colours=[], meanings=[]),
    )
    with pytest.raises(ValueError, match=r"counts\.npz is damaged .* expected int64 \(\d, 5\)"):
        load_scores(folder)
    folder = Path(shutil.copytree(thirds[0], tmp_path / "b"))
    pq.write_table(pq.read_table(folder / "tiles.parquet")[1:], folder / "tiles.parquet")
    with pytest.raises(ValueError, match=r"tiles\.parquet was changed or damaged since scores"):
        load_scores(folder)


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/2/3", ""])
def test_parts_that_are_none_are_refused(part: str) -> None:
    with pytest.raises(ValueError, match="--part: expected K/N"):
        take_part(np.arange(9), part)
    with pytest.raises(ValueError, match="there are only 2 tiles"):
        take_part(np.arange(2), "3/3")


@pytest.mark.parametrize("num", [1, 2, 7])
def test_parts_are_all_tiles_once(num: int) -> None:
    tiles = np.arange(10, 30)
    parts = [take_part(tiles, f"{k}/{num}") for k in range(1, num + 1)]
    assert sorted(np.concatenate(parts)) == tiles.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    scores = json.loads((folder / "scores.json").read_text())
    change(scores)
    write_head(scores, folder)
