"""Label images that lost the numbers of their nuclei, and files that are found whatever their name."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.data.folder_index import COLUMNS
from histonuc.data.store import Store

SIDE = 96


def draw_nuclei(num: int, *, size: int = 3) -> np.ndarray:
    """Squares of `size` pixels, numbered 1..num row by row, three pixels apart."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    each = SIDE // (size + 3)
    for i in range(num):
        y, x = (size + 3) * (i // each), (size + 3) * (i % each)
        labels[y : y + size, x : x + size] = i + 1
    return labels


def write_image(folder: Path, mask: np.ndarray, nuclei: int | str = "", name: str = "a") -> Path:
    """A data set of one image; its mask, and its index."""
    for kind in ("images", "instances"):
        (folder / "lab" / kind).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "lab" / "images" / f"{name}.png")
    file = folder / "lab" / "instances" / f"{name}.png"
    Image.fromarray(mask).save(file)
    write_index(folder, name=name, nuclei=nuclei)
    return file


def write_index(folder: Path, **values: object) -> None:
    row = {"dataset": "lab", "name": "a", "height": SIDE, "width": SIDE, "mpp": 0.25} | values
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerow(row)


def run(folder: Path, *options: str) -> int:
    out = str(folder / "out")
    return cli.run(["prepare", "folder", str(folder), "--out", out, "--overwrite", *options])


def refuse(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run(folder, *options) == 2
    assert not (folder / "out").exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


# ---- masks without numbers


@pytest.mark.parametrize("nuclei", ["", 1, 12])
@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_two_values_is_no_single_nucleus(tmp_path, capsys, value, nuclei) -> None:
    mask = ((draw_nuclei(12) > 0) * value).astype(np.uint8)
    write_image(tmp_path, mask, nuclei)
    message = refuse(tmp_path, capsys)
    assert f"one value ({value}) in 12 parts: this is a mask of nuclei, not one nucleus" in message
    assert "--connected-components lab" in message


def test_connected_components_number_the_parts(tmp_path) -> None:
    truth = draw_nuclei(12)
    write_image(tmp_path, ((truth > 0) * 255).astype(np.uint8), 12)
    assert run(tmp_path, "--connected-components", "lab") == 0
    assert np.array_equal(Store.open(tmp_path / "out").instances(0), truth)


def test_a_mask_of_one_bit_is_read_too(tmp_path) -> None:
    write_image(tmp_path, draw_nuclei(12) > 0)
    assert run(tmp_path, "--connected-components", "lab") == 0
    assert Store.open(tmp_path / "out").tiles["num_nuclei"].to_pylist() == [12]


def test_parts_that_touch_stay_apart_where_their_values_differ(tmp_path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:8, 4:8], mask[4:8, 8:12] = 1, 2
    mask[30:34, 4:8] = 1
    write_image(tmp_path, mask)
    assert run(tmp_path, "--connected-components", "lab") == 0
    instances = Store.open(tmp_path / "out").instances(0)
    assert [instances[4, 4], instances[4, 8], instances[30, 4]] == [1, 2, 3]


def test_the_number_of_parts_is_compared_as_well(tmp_path, capsys) -> None:
    write_image(tmp_path, ((draw_nuclei(12) > 0) * 255).astype(np.uint8), 13)
    message = refuse(tmp_path, capsys, "--connected-components", "lab")
    assert "12 nuclei where index.csv states 13" in message


def test_connected_components_of_a_data_set_that_is_not_there(tmp_path, capsys) -> None:
    write_image(tmp_path, draw_nuclei(12))
    message = refuse(tmp_path, capsys, "--connected-components", "labb")
    assert "--connected-components: no data set ['labb'] among those read" in message


@pytest.mark.parametrize("nuclei", ["", 3])
def test_a_mask_of_classes_is_no_mask_of_nuclei(tmp_path, capsys, nuclei) -> None:
    truth = draw_nuclei(30, size=5)
    classes = np.where(truth > 0, truth % 3 + 1, 0).astype(np.uint8)
    write_image(tmp_path, classes, nuclei)
    assert "3 values in 30 parts: these look like classes" in refuse(tmp_path, capsys)


# ---- numbers that were changed


@pytest.mark.parametrize("nuclei", ["", 255, 256])
def test_ids_that_began_again_at_256_are_noticed(tmp_path, capsys, nuclei) -> None:
    truth = draw_nuclei(256, size=2)
    assert truth.max() == 256
    wrapped = np.where(truth == 256, 1, truth).astype(np.uint8)
    write_image(tmp_path, wrapped, nuclei)
    message = refuse(tmp_path, capsys) if nuclei != 255 else ""
    if nuclei == 255:  # stated as such, with one nucleus in two parts: the index is believed
        assert run(tmp_path) == 0
    else:
        assert "255 values in 256 parts: 8 bits hold 255 numbers" in message


def test_many_ids_that_began_again_are_noticed_whatever_the_index_says(tmp_path, capsys) -> None:
    truth = draw_nuclei(169, size=4).astype(np.int32)
    wrapped = (truth % 60).astype(np.uint8)
    write_image(tmp_path, wrapped, 59)
    assert "59 values in 167 parts" in refuse(tmp_path, capsys)


def test_a_jpeg_under_a_png_s_name_is_refused(tmp_path, capsys) -> None:
    file = write_image(tmp_path, draw_nuclei(49), 49)
    Image.fromarray(draw_nuclei(49).astype(np.uint8)).save(file, "JPEG", quality=95)
    assert "a.png: JPEG changes numbers, so it cannot hold labels" in refuse(tmp_path, capsys)


@pytest.mark.parametrize("nuclei", ["", 16])
def test_what_was_a_jpeg_once_is_noticed(tmp_path, capsys, nuclei) -> None:
    file = write_image(tmp_path, draw_nuclei(16, size=18), nuclei)
    Image.fromarray(draw_nuclei(16, size=18).astype(np.uint8) * 9).save(file, "JPEG", quality=90)
    with Image.open(file) as image:
        decoded = np.asarray(image)
    Image.fromarray(decoded).save(file)
    assert "specks: numbers were mixed at the edges" in refuse(tmp_path, capsys)


def test_a_tiff_compressed_as_jpeg_is_refused(tmp_path, capsys) -> None:
    file = write_image(tmp_path, draw_nuclei(9))
    file.unlink()
    labels = Image.fromarray(draw_nuclei(9).astype(np.uint8))
    labels.save(file.with_suffix(".tif"), compression="jpeg")
    assert "a.tif: JPEG changes numbers" in refuse(tmp_path, capsys)


def test_labels_on_a_second_page_are_refused(tmp_path, capsys) -> None:
    file = write_image(tmp_path, draw_nuclei(9), 9)
    file.unlink()
    empty, labels = (Image.fromarray(x) for x in (draw_nuclei(0), draw_nuclei(9)))
    empty.save(file.with_suffix(".tif"), save_all=True, append_images=[labels])
    assert "a.tif has 2 pages: expected one" in refuse(tmp_path, capsys)


def test_another_number_of_nuclei_than_stated_is_refused(tmp_path, capsys) -> None:
    write_image(tmp_path, draw_nuclei(9), 10)
    assert "a.png: 9 nuclei where index.csv states 10" in refuse(tmp_path, capsys)
    write_image(tmp_path, draw_nuclei(9), 0)
    assert "9 nuclei where index.csv states 0" in refuse(tmp_path, capsys)


# ---- names


@pytest.mark.parametrize(
    "values",
    [
        {"name": "../../../x"},
        {"name": ".."},
        {"name": "/etc/passwd"},
        {"name": "..\\x"},
        {"dataset": "../lab"},
        {"dataset": "."},
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, capsys, values) -> None:
    write_image(tmp_path, draw_nuclei(9))
    write_image(tmp_path / "lab", draw_nuclei(9), name="x")  # what it would lead to
    write_index(tmp_path, **values)
    message = refuse(tmp_path, capsys)
    assert (
        "index.csv, line 2: expected the names of a folder and a file, without / or \\" in message
    )


@pytest.mark.parametrize("suffix", [".PNG", ".TIF", ".Tiff"])
def test_suffixes_in_any_case(tmp_path, suffix) -> None:
    file = write_image(tmp_path, draw_nuclei(9), 9)
    for kind in ("images", "instances"):
        old = tmp_path / "lab" / kind / file.name
        with Image.open(old) as image:
            image.save(old.with_suffix(suffix))
        old.unlink()
    assert run(tmp_path) == 0


def test_two_files_that_may_be_meant_are_refused(tmp_path, capsys) -> None:
    file = write_image(tmp_path, draw_nuclei(9), 9)
    Image.fromarray(draw_nuclei(8)).save(file.with_suffix(".TIF"))
    assert "which one is it?" in refuse(tmp_path, capsys)


@pytest.mark.parametrize(("of_file", "of_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_the_same_in_files_and_tables(tmp_path, of_file, of_table) -> None:
    name = "Müller é"
    write_image(tmp_path, draw_nuclei(9), 9, name=unicodedata.normalize(of_file, name))
    write_index(tmp_path, name=unicodedata.normalize(of_table, name), nuclei=9)
    assert run(tmp_path) == 0
    assert Store.open(tmp_path / "out").name(0) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_other_languages(tmp_path, delimiter) -> None:
    write_image(tmp_path, draw_nuclei(9), 9)
    file = tmp_path / "index.csv"
    file.write_text(file.read_text().replace(",", delimiter))
    assert run(tmp_path) == 0


def test_a_row_with_too_many_cells_is_refused(tmp_path, capsys) -> None:
    write_image(tmp_path, draw_nuclei(9), 9)
    with (tmp_path / "index.csv").open("a") as stream:
        stream.write("lab,b,96,96,9,fat, white,,0.25,train,\n")
    assert "line 3: expected 10 cells, got more: put a text that" in refuse(tmp_path, capsys)
