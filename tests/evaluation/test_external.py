"""Predictions made elsewhere: every format scores as the truth it was written from."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histonuc import commands
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation import (
    Evaluation,
    TileSelection,
    evaluate_predictions,
    merge_scores,
    score_files,
    score_tables,
    summarise,
)
from histonuc.metrics.counts import nanmean
from histonuc.metrics.official import official_counts
from histonuc.metrics.panoptic import PanopticCounts

from ..data.test_folder_refusals import claim_size
from ..fuzzing import (
    assert_clear,
    frugal_outcome,
    little_memory,
    mutate_bytes,
    mutate_json,
    no_hang,
)
from .prediction_folders import save, write_json, write_labels


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("external")
    write_synthetic(root / "raw", tiles=6, folds=2, tile_px=96, seed=2)
    masks = next((root / "raw" / "Fold 1").rglob("masks.npy"))
    array = np.load(masks)
    moved = np.roll(array[..., 0], (1, 2), (1, 2))  # a channel laid over the others
    array[..., 0] = moved
    array[..., 5] = ~array[..., :5].any(3)
    np.save(masks, array)
    prepare_pannuke(root / "raw", root / "store")
    return Store.open(root / "store")


@pytest.fixture(scope="module")
def tiles(store: Store) -> np.ndarray:
    return store.select([1])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".npy"])
def test_label_images_of_the_truth_score_one(
    store: Store, tiles: np.ndarray, tmp_path: Path, suffix: str
) -> None:
    evaluation = evaluate_predictions(
        store, tiles, write_labels(store, tiles, tmp_path / "p", suffix)
    )
    summary = summarise(evaluation)
    assert summary["bpq"] == pytest.approx(1, abs=1e-5)
    assert summary["dice"] == 1
    assert summary["bce"] is None
    scores = score_tables(evaluation)
    assert scores["calibration"]["class"]["ece"] is None
    assert scores["overall"]["soft_dice"] is None
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_label_images_may_have_suffixes_in_capitals(
    store: Store, tiles: np.ndarray, tmp_path: Path, suffix: str
) -> None:
    folder = write_labels(store, tiles, tmp_path / "p", suffix)
    for file in list(folder.rglob(f"*{suffix}")):
        file.rename(file.with_suffix(suffix.upper()))
    assert summarise(evaluate_predictions(store, tiles, folder))["bpq"] == pytest.approx(
        1, abs=1e-5
    )


def test_label_images_without_types_are_scored_without_classes(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    folder = write_labels(store, tiles, tmp_path / "p") / "instances"
    scores = score_tables(evaluate_predictions(store, tiles, folder))
    assert scores["no_classes"] == "the predictions have none"
    assert scores["overall"]["mpq"] is None
    assert scores["overall"]["bpq"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("cellvit", [False, True])
def test_json_of_the_truth_scores_nearly_one(
    store: Store, tiles: np.ndarray, tmp_path: Path, cellvit: bool
) -> None:
    folder = write_json(store, tiles, tmp_path / "p", cellvit=cellvit)
    summary = summarise(evaluate_predictions(store, tiles, folder))
    # One outline a nucleus: parts that a neighbour cuts off are lost.
    assert summary["bpq"] > 0.95
    assert summary["mpq"] > 0.9


def test_types_are_mapped_by_number_or_name(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    folder = write_labels(store, tiles, tmp_path / "p")
    turned = dict(zip("12345", np.roll(store.label_space.classes, 1).tolist(), strict=True))
    right = summarise(evaluate_predictions(store, tiles, folder))["mpq"]
    wrong = evaluate_predictions(store, tiles, folder, type_map=turned)
    assert right > 0.9
    assert summarise(wrong)["mpq"] == 0
    assert score_tables(wrong)["overall"]["bpq"] == pytest.approx(1, abs=1e-5)
    assert score_tables(wrong)["errors"]["truth"]["found"] == 0


def test_an_npy_scores_as_the_official_masks_do(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    truth = np.stack([store.official_mask(tile) for tile in tiles])
    guess = np.roll(truth, (1, 1), (1, 2))
    guess[..., 2] = np.roll(guess[..., 2], 3, 1)
    np.save(tmp_path / "masks.npy", guess)
    evaluation = evaluate_predictions(store, tiles, tmp_path / "masks.npy")
    by_tissue: dict[str, PanopticCounts] = {}
    for i, tile in enumerate(tiles):
        counts = official_counts(truth[i], guess[i])
        name = store.tissue(tile)
        by_tissue[name] = by_tissue.get(name, PanopticCounts.zero(5)) + counts
    assert any(store.covered(tile) is not None for tile in tiles)  # channels do overlap
    overall = score_tables(evaluation)["overall"]
    assert overall["mpq"] == pytest.approx(nanmean([c.image_mpq for c in by_tissue.values()]))
    total = sum(by_tissue.values(), PanopticCounts.zero(5))
    assert evaluation.total.panoptic.to_dict() == total.to_dict()


def test_scores_of_tiles_in_any_pieces_are_the_same(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    folder = write_labels(store, tiles, tmp_path / "p")
    parts: list[Evaluation] = [
        evaluate_predictions(store, tiles[k : k + 1], folder) for k in (2, 0, 1)
    ]
    whole = evaluate_predictions(store, tiles, folder)
    assert score_tables(parts[0] + parts[1] + parts[2]) == score_tables(whole)


def test_parts_of_an_npy_score_as_the_whole(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    masks = np.stack([np.roll(store.official_mask(tile), i, 1) for i, tile in enumerate(tiles)])
    np.save(tmp_path / "masks.npy", masks)

    def score(name: str, part: str = "") -> Path:
        selection = TileSelection(folds=(1,), part=part)
        score_files(tmp_path / "masks.npy", store, selection, tmp_path / name)
        return tmp_path / name

    _, merged = merge_scores([score("b", "2/2"), score("a", "1/2")], tmp_path / "merged")
    whole = json.loads((score("whole") / "scores.json").read_text())
    assert merged["overall"] == whole["overall"]
    assert merged["num_tiles"] == len(tiles)


def test_the_command_writes_scores_and_the_columns_of_a_comparison(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    folder = write_labels(store, tiles, tmp_path / "p")
    outcome = commands.evaluate(
        data=store.path,
        out=tmp_path / "s",
        folds=(1,),
        predictions=folder,
        types=dict(zip("12345", store.label_space.classes, strict=True)),
    )
    assert outcome.data["model"]["name"] == "p"
    table = pq.read_table(tmp_path / "s" / "tiles.parquet")
    names = ["name", "source", "tissue", "fold", "bpq", "mpq", "foreground_dice", "aji"]
    names += [f"pq/{name}" for name in store.label_space.classes]
    assert set(names) <= set(table.column_names)
    held = np.array([store.official_mask(tile)[..., :5].any((0, 1)) for tile in tiles])
    for j, name in enumerate(store.label_space.classes):
        assert [v is not None for v in table[f"pq/{name}"].to_pylist()] == held[:, j].tolist()
    with pytest.raises(ValueError, match="either a model or --predictions"):
        commands.evaluate(data=store.path, out=tmp_path / "s")
    with pytest.raises(ValueError, match="--types names the classes of --predictions"):
        commands.evaluate("m", data=store.path, out=tmp_path / "s", types={"1": "Dead"})


def _float_image(folder: Path, name: str) -> None:
    tifffile.imwrite(folder / f"{name}.tif", np.zeros((96, 96), np.float32))


def _small_image(folder: Path, name: str) -> None:
    save(np.zeros((64, 96)), folder / f"{name}.png")


def _broken_image(folder: Path, name: str) -> None:
    (folder / f"{name}.png").write_bytes(b"no picture")


def _huge_image(folder: Path, name: str) -> None:
    save(np.zeros((96, 96)), folder / f"{name}.png")
    file = folder / f"{name}.png"
    file.write_bytes(claim_size(file.read_bytes(), 9_000))


def _huge_tiff(folder: Path, name: str) -> None:
    save(np.zeros((96, 96)), folder / f"{name}.tif")
    with tifffile.TiffFile(folder / f"{name}.tif", mode="r+") as tiff:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[tag].overwrite(65_000)


def _huge_npy(folder: Path, name: str) -> None:
    with (folder / f"{name}.npy").open("wb") as stream:
        header = {"descr": "<i4", "fortran_order": False, "shape": (1 << 16, 1 << 16)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(4 * 96 * 96))


def _other_json(folder: Path, name: str) -> None:
    (folder / f"{name}.json").write_text('{"type": "FeatureCollection"}')


def _unknown_type(folder: Path, name: str) -> None:
    nucleus = {"contour": [[1, 1], [5, 1], [5, 5]], "type": 9}
    (folder / f"{name}.json").write_text(json.dumps({"nuc": {"1": nucleus}}))


def _bad_contour(folder: Path, name: str) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"nuc": {"1": {"contour": [1, 2]}}}))


def _far_contour(folder: Path, name: str) -> None:
    contour = [[0, -(2**31)], [9, 2**31], [-9, 2**31]]
    (folder / f"{name}.json").write_text(json.dumps({"nuc": {"1": {"contour": contour}}}))


def _colour_tiff(folder: Path, name: str) -> None:
    tifffile.imwrite(folder / f"{name}.tif", np.zeros((96, 96, 3), np.uint8), photometric="rgb")


def _archive(folder: Path, name: str) -> None:
    with (folder / f"{name}.npy").open("wb") as stream:
        np.savez(stream, labels=np.zeros((96, 96), np.int32))


@no_hang
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder, name: None, "every tile that is scored needs one"),
        (_float_image, "expected one channel of whole numbers"),
        (_small_image, "expected 96 x 96 pixels like the tile, got 64 x 96"),
        (_broken_image, "damaged or no label image"),
        (_huge_image, "expected 96 x 96 pixels like the tile, got 9000 x 9000"),
        (_huge_tiff, "expected 96 x 96 pixels like the tile, got 65000 x 65000"),
        (_huge_npy, r"\.npy is truncated: expected 17,179,869,312 bytes"),
        (_colour_tiff, r"expected one channel of whole numbers from 0, got \(96, 96, 3\)"),
        (_archive, r"\.npy is damaged or no NumPy array"),
        (_far_contour, "expected a contour .* got points far outside the tile"),
        (_other_json, r"no JSON of HoVer-Net .* or CellViT"),
        (_unknown_type, "type 9 is no class of the store .*--binary-only"),
        (_bad_contour, r"expected a contour of \(x, y\) points"),
    ],
)
def test_bad_predictions_are_named(
    store: Store,
    tiles: np.ndarray,
    tmp_path: Path,
    write: Callable[[Path, str], None],
    message: str,
) -> None:
    write(tmp_path, store.name(int(tiles[0])))
    with little_memory(), pytest.raises(ValueError, match=message):
        evaluate_predictions(store, tiles, tmp_path)


def test_other_bad_predictions_are_named(store: Store, tiles: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing at"):
        evaluate_predictions(store, tiles, tmp_path / "none")
    with pytest.raises(ValueError, match=r"\['Tumour'\] are none of"):
        evaluate_predictions(store, tiles, tmp_path, type_map={"1": "Tumour"})
    np.save(tmp_path / "p.npy", np.zeros((len(tiles) + 1, 96, 96, 6)))
    with pytest.raises(ValueError, match="one row a tile of the folds that are scored"):
        evaluate_predictions(store, tiles, tmp_path / "p.npy")
    with pytest.raises(ValueError, match="cannot be mapped"):
        evaluate_predictions(store, tiles, tmp_path / "p.npy", type_map={"1": "Dead"})


KINDS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "instances/{}.png": (write_labels, {}),
    "types/{}.png": (write_labels, {}),
    "instances/{}.tif": (write_labels, {"suffix": ".tif"}),
    "types/{}.tif": (write_labels, {"suffix": ".tif"}),
    "instances/{}.npy": (write_labels, {"suffix": ".npy"}),
    "types/{}.npy": (write_labels, {"suffix": ".npy"}),
    "{}.json": (write_json, {}),
    "{}.json of CellViT": (write_json, {"cellvit": True}),
}


def fuzz(file: Path, score: Callable[[], Evaluation]) -> None:
    """Damage a file again and again: it is scored or refused with one clear error."""
    content, rng, errors = file.read_bytes(), random.Random(file.name), 0
    mutations = [mutate_bytes, mutate_json] if file.suffix == ".json" else [mutate_bytes]
    for number in range(50):
        file.write_bytes(mutations[number % len(mutations)](content, rng))
        result = frugal_outcome(score)
        if isinstance(result, ValueError):
            errors += 1
            assert_clear(result, file.name)
        else:
            assert 0 <= summarise(result)["dice"] <= 1
    assert errors


@no_hang
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # libraries warn about what they then read
def test_mutated_predictions_are_scored_or_refused(
    store: Store, tiles: np.ndarray, tmp_path: Path, kind: str
) -> None:
    write, options = KINDS[kind]
    folder = write(store, tiles[:1], tmp_path / "p", **options)
    file = folder / kind.partition(" ")[0].format(store.name(int(tiles[0])))
    fuzz(file, lambda: evaluate_predictions(store, tiles[:1], folder))


@no_hang
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f2", "<f16", "<i4", ">u2"])
@pytest.mark.filterwarnings("ignore")
def test_an_npy_of_any_number_type_mutated_or_not(
    store: Store, tiles: np.ndarray, tmp_path: Path, dtype: str
) -> None:
    file = tmp_path / "masks.npy"
    np.save(file, np.stack([store.official_mask(tile) for tile in tiles[:1]]).astype(dtype))

    def score() -> Evaluation:
        return evaluate_predictions(store, tiles[:1], file)

    assert summarise(score())["mpq"] == pytest.approx(1, abs=1e-5)
    fuzz(file, score)


def test_an_unknown_type_is_fine_without_classes(
    store: Store, tiles: np.ndarray, tmp_path: Path
) -> None:
    for tile in tiles:
        _unknown_type(tmp_path, store.name(int(tile)))
    scores = score_tables(evaluate_predictions(store, tiles, tmp_path, binary_only=True))
    assert scores["num_nuclei_predicted"] == len(tiles)
    assert scores["no_classes"] == "left out by --binary-only"
    assert not math.isnan(scores["overall"]["bpq"])
