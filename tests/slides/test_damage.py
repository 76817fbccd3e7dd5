"""Damaged files: one clear error or a valid read, and what is whole beside the damage is read."""

import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from histonuc.slides import RegionError, open_slide

from ..fuzzing import assert_clear, mutate_bytes, no_hang
from .conftest import (
    KINDS,
    levels_of,
    write_pyramid,
    write_slide,
)

NUM_MUTATIONS = 40


@pytest.fixture
def levels():
    return levels_of(300, 200, (1, 2, 4))


def only_value_errors(read, *args):
    """What `read` returns, or the one-line message of its ValueError."""
    try:
        return read(*args)
    except ValueError as error:
        return str(error)


def read_all(path):
    """Everything a user may ask of a slide; only clear ValueErrors may come out."""
    slide = only_value_errors(open_slide, path)
    if isinstance(slide, str):
        assert_clear(slide, path.name)
        return
    with slide:
        assert slide.thumbnail(64).dtype == np.uint8
        for window in ((0, 0, 64, 64, 64, 64), (-9, 50, 250, 150, 70, 50)):
            image = only_value_errors(slide.read, *window)
            assert not isinstance(image, str) or f"at ({window[0]}, {window[1]})" in image
        for name in slide.associated():
            only_value_errors(slide.read_associated, name)


@no_hang
@pytest.mark.parametrize(
    "kind", [*KINDS, "a.png", "a.jpg", "a.jp2", "a.bmp", "cmyk.tif", "plain.tif"]
)
@pytest.mark.filterwarnings("ignore")  # libraries warn about what they then survive
def test_mutated_files_give_an_error_or_pixels(tmp_path, levels, kind):
    rng = random.Random(kind)
    whole = tmp_path / "whole"
    whole.mkdir()
    if kind in KINDS:
        source = write_slide(kind, whole, levels)
    elif kind == "plain.tif":
        source = whole / kind
        write_pyramid(source, levels[:1], tile=None)
    else:
        source = whole / kind
        mode = "CMYK" if kind == "cmyk.tif" else "RGB"
        Image.fromarray(levels[0]).convert(mode).save(source)
    for number in range(NUM_MUTATIONS):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        target = folder / source.name
        if target.is_dir():  # any file of a Zarr folder; sizes in its metadata stay as they are
            files = [file for file in target.rglob("*") if file.is_file()]
            target = rng.choice(sorted(files))
        target.write_bytes(mutate_bytes(target.read_bytes(), rng))
        read_all(folder / source.name)
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_nothing_in_the_file(tmp_path, levels, kind):
    path = write_slide(kind, tmp_path, levels)
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    else:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{path.name} is damaged"):
        open_slide(path)


def damage_first_tile(path, kind, level):
    """Zeros over what stores the first tile of the finest level, uncompressed tiles excepted."""
    import tifffile

    if kind == "slide.dcm":
        content = bytearray(path.read_bytes())
        place = content.find(b"\xff\x4f\xff\x51")  # start of the first JPEG 2000 frame
        content[place : place + 60] = bytes(60)
        path.write_bytes(content)
    elif kind.endswith(".zarr"):
        chunk = path / ("0/c/0/0/0/0/0" if kind == "v3.zarr" else "0/0.0.0.0.0")
        chunk.write_bytes(bytes(40))
    else:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            offset, num = page.dataoffsets[0], page.databytecounts[0]
        content = bytearray(path.read_bytes())
        content[offset : offset + num] = bytes(num)
        path.write_bytes(content)


CORRUPTIBLE = ("generic.tif", "jpeg2000.tif", "ome.tif", "v2.zarr", "v3.zarr", "slide.dcm")


@pytest.mark.parametrize("kind", CORRUPTIBLE)
def test_a_corrupt_tile_costs_its_own_window_only(tmp_path, levels, kind):
    path = write_slide(kind, tmp_path, levels)
    damage_first_tile(path, kind, levels[0])
    with open_slide(path) as slide:
        with pytest.raises(RegionError) as caught:
            slide.read(10, 10, 40, 30, 40, 30)
        assert caught.value.box_xyxy == (10, 10, 50, 40)
        good = slide.read(64, 64, 100, 100, 100, 100)
        assert np.array_equal(good, levels[0][64:164, 64:164])
        assert np.array_equal(slide.read(0, 0, 128, 128, 64, 64), levels[1][:64, :64])


@pytest.fixture
def corrupt_svs(tmp_path, shared_slides):
    """A real slide, 2220 × 2967, whose tile at (720, 960) is damaged."""
    import tifffile

    source = shared_slides / "cmu-1-small-region.svs"
    with tifffile.TiffFile(source) as tiff:
        page = tiff.pages[0]
        tiles_x = -(-page.imagewidth // page.tilewidth)
        index = (960 // page.tilelength) * tiles_x + 720 // page.tilewidth
        offset, num = page.dataoffsets[index], page.databytecounts[index]
        box = (index % tiles_x * page.tilewidth, index // tiles_x * page.tilelength)
        side = page.tilewidth
    content = bytearray(source.read_bytes())
    content[offset : offset + num] = bytes(num)
    path = tmp_path / "corrupt.svs"
    path.write_bytes(content)
    return path, box, side


def test_openslide_goes_on_after_an_error(corrupt_svs, shared_slides):
    path, (x, y), side = corrupt_svs
    with open_slide(path) as slide, open_slide(shared_slides / "cmu-1-small-region.svs") as whole:
        with pytest.raises(RegionError):
            slide.read(x, y, 50, 50, 50, 50)
        window = (x + side, y, 90, 90, 90, 90)
        assert np.array_equal(slide.read(*window), whole.read(*window))
        assert len(slide.associated()) == 3
        assert slide.read_associated("thumbnail").ndim == 3


def test_threads_beside_an_error_are_not_disturbed(corrupt_svs):
    path, (x, y), side = corrupt_svs
    stop, errors = threading.Event(), []
    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:

        def read_good(_):
            while not stop.is_set():
                try:
                    slide.read(x + side, y, 40, 40, 40, 40)
                except RegionError as error:
                    errors.append(error)

        readers = [pool.submit(read_good, i) for i in range(3)]
        for _ in range(20):
            with pytest.raises(RegionError):
                slide.read(x, y, 50, 50, 50, 50)
        stop.set()
        for reader in readers:
            reader.result()
    assert not errors


@pytest.mark.parametrize("kind", ["v2.zarr", "v3.zarr"])
def test_a_zarr_slide_that_vanishes_is_no_glass(tmp_path, levels, kind):
    path = write_slide(kind, tmp_path, levels)
    with open_slide(path) as slide:
        shutil.rmtree(path)
        with pytest.raises(RegionError, match="no folder at"):
            slide.read(10, 10, 40, 30, 40, 30)
