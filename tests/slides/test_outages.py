"""Slides that go away, change or are damaged while they are analysed: nothing finished is lost."""

import errno
import os
import shutil
import threading
from contextlib import ExitStack, contextmanager

import numpy as np
import openslide
import pytest

from histonuc.inference import slide as slide_module
from histonuc.inference import tiles as tiles_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.plan import make_plan
from histonuc.inference.predict import predict
from histonuc.inference.progress import Tally
from histonuc.inference.results import ResultFolder
from histonuc.inference.sources import check_reachable
from histonuc.inference.tiles import TileResult, make_parts
from histonuc.slides import RegionError, open_slide
from histonuc.slides.tiff_segments import SegmentReader

from .conftest import (
    levels_of,
    write_dicom,
    write_ome,
    write_pyramid,
    write_zarr,
)
from .test_damage import damage_first_tile


@pytest.fixture
def losing(tmp_path, pixel_model, make_blobs, monkeypatch, request):
    """A slide, and a function that takes it away for the length of a block."""
    kind = request.param
    path = tmp_path / f"a.{kind}"
    if kind == "zarr":
        write_zarr(path, [make_blobs((1500, 1200), 1000)])
    elif kind == "tif":
        image = make_blobs((1500, 1200), 1000)
        write_pyramid(path, [image, image[::2, ::2]])
    else:
        shutil.copy(request.getfixturevalue("shared_slides") / "cmu-1-small-region.svs", path)

    def not_there(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def cut(*_):
        raise openslide.OpenSlideError("Short read of TIFF")

    @contextmanager
    def lose():
        with monkeypatch.context() as patch:
            if kind == "zarr":  # its mount is gone
                away = path.rename(tmp_path / "away")
            elif kind == "tif":  # its mount does not answer
                patch.setattr(SegmentReader, "segment", not_there)
            else:  # it is emptied; OpenSlide's cache holds all of so small a slide
                content, time_ns = path.read_bytes(), path.stat().st_mtime_ns
                path.write_bytes(b"")
                patch.setattr(openslide.OpenSlide, "read_region", cut)
            yield
            if kind == "zarr":
                away.rename(path)
            elif kind == "svs":
                path.write_bytes(content)
                os.utime(path, ns=(time_ns, time_ns))

    return path, lose


@pytest.mark.parametrize(
    ("losing", "reason"),
    [
        ("zarr", "No such file"),
        ("tif", "Stale file handle: a drive or network share does not answer"),
        ("svs", "is empty now"),
    ],
    indirect=["losing"],
)
def test_a_slide_that_is_away_for_a_while_costs_no_finished_part(
    tmp_path, pixel_model, monkeypatch, losing, reason
):
    monkeypatch.setattr(slide_module, "choose_probes", lambda *_: [])  # it runs the network too
    monkeypatch.setattr(tiles_module, "PART_TILES", 2)
    (path, lose), maps = losing, pixel_model.maps

    def run(out):
        tile_px = 512 if path.suffix == ".svs" else 256
        return predict([path], out, PredictOptions(tile_px=tile_px, mpp=0.25), model=pixel_model)

    (whole,) = run(tmp_path / "whole").items
    pixel_model.num_images = 0
    with monkeypatch.context() as patch, ExitStack() as meanwhile:
        lock = threading.Lock()

        def maps_and_loss(images):
            with lock:
                if pixel_model.num_images == 12:
                    meanwhile.enter_context(lose())
                return maps(images)

        patch.setattr(pixel_model, "maps", maps_and_loss)
        (failure,) = run(tmp_path / "out").failed
    assert reason in failure["error"]
    (item,) = run(tmp_path / "out").items
    assert item.tiles_resumed > 0
    assert item.num_nuclei == whole.num_nuclei > 100
    assert not item.skipped_regions


def test_one_bad_sector_is_damage_and_a_drive_that_does_not_answer_is_not(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(4096))
    check_reachable(path)

    def not_there(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write_pyramid(path, levels_of(300, 200, (1, 2)))
    with open_slide(path) as slide:
        monkeypatch.setattr(SegmentReader, "segment", not_there)
        with pytest.raises(RegionError, match="Input/output error"):
            slide.read(0, 0, 64, 64, 64, 64)
    check_reachable(path)
    monkeypatch.setattr(os, "posix_fadvise", not_there, raising=False)  # any access fails
    with pytest.raises(OSError, match="Input/output error"):
        check_reachable(path)


def test_regions_that_can_be_read_again_are_not_left_out_for_ever(
    tmp_path, pixel_model, make_blobs, monkeypatch
):
    image = make_blobs((700, 500), 300)
    path = tmp_path / "a.tif"
    write_pyramid(path, [image, image[::2, ::2]])

    def run(out):
        (item,) = predict(
            [path], out, PredictOptions(tile_px=200, mpp=0.25), model=pixel_model
        ).items
        return item

    whole = run(tmp_path / "whole")
    segment = SegmentReader.segment
    with monkeypatch.context() as patch:

        def failing(reader, page, index):
            if index == 0 and page.imagewidth == 700:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return segment(reader, page, index)

        patch.setattr(SegmentReader, "segment", failing)
        holed = run(tmp_path / "out")
        assert holed.skipped_regions
        assert holed.num_nuclei < whole.num_nuclei
        num_images = pixel_model.num_images
        assert run(tmp_path / "out") == holed  # still damaged: finished is finished
        assert pixel_model.num_images == num_images
    mended = run(tmp_path / "out")
    assert not mended.skipped_regions
    assert mended.num_nuclei == whole.num_nuclei


def test_a_part_with_holes_is_done_again(tmp_path, pixel_model, make_blobs):
    path = tmp_path / "a.tif"
    write_pyramid(path, [make_blobs((300, 200), 50)])
    with open_slide(path) as slide:
        settings = {"mpp_xy": (0.25, 0.25), "model_mpp": 0.25, "tile_px": 200, "margin_um": 8}
        plan = make_plan(slide, **settings)
        part, *_ = make_parts(plan.tiles)
    folder = ResultFolder(tmp_path / "out")
    folder.begin({})
    empty = Tally(label_space=pixel_model.spec.label_space, mpp=0.25).empty
    facts = {"tile": part.tiles[0], "nuclei": empty, "owned": np.zeros(0, bool)}
    blank = TileResult(status="blank", **facts)
    folder.save_part(part, [blank])
    assert folder.has_part(part)
    (loaded,) = folder.load_part(part, empty)
    assert (loaded.tile, loaded.status) == (blank.tile, "blank")
    folder.save_part(part, [blank, TileResult(status="unreadable", reason="no", **facts)])
    assert not folder.has_part(part)


def test_a_slide_that_grew_while_it_was_analysed_is_not_finished(
    tmp_path, pixel_model, make_blobs, monkeypatch
):
    path, maps = tmp_path / "a.tif", pixel_model.maps
    image = make_blobs((700, 500), 300)
    write_pyramid(path, [image, image[::2, ::2]])

    def grow(images):
        with path.open("ab") as stream:
            stream.write(b"more")
        return maps(images)

    with monkeypatch.context() as patch:
        patch.setattr(pixel_model, "maps", grow)
        (failure,) = predict(
            [path], tmp_path / "out", PredictOptions(mpp=0.25), model=pixel_model
        ).failed
    assert "was changed while it was analysed" in failure["error"]
    assert not (tmp_path / "out" / "a" / "summary.json").exists()
    (item,) = predict([path], tmp_path / "out", PredictOptions(mpp=0.25), model=pixel_model).items
    assert item.tiles_resumed == 0


def test_the_pipeline_skips_and_reports_what_it_cannot_read(
    tmp_path, pixel_model, make_blobs, run_on
):
    image = make_blobs((700, 500), 300)
    write_pyramid(tmp_path / "a.tif", [image, image[::2, ::2]])

    def run():
        path, out = tmp_path / "a.tif", tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        with open_slide(path) as slide:
            return run_on(slide, path, pixel_model, out, tile_px=200, margin_um=8)

    _, all_nuclei, none = run()
    assert not none
    damage_first_tile(tmp_path / "a.tif", "a.tif", image)
    plan, some_nuclei, skipped = run()
    touching = [tile for tile in plan.tiles if tile.window.x0 < 64 and tile.window.y0 < 64]
    assert [region.box_xyxy for region in skipped] == [tuple(tile.core) for tile in touching]
    assert 0.5 * len(all_nuclei) < len(some_nuclei) < len(all_nuclei)


def test_a_slide_that_cannot_be_read_anywhere_fails(tmp_path, pixel_model, make_blobs, run_on):
    write_dicom(tmp_path / "a.dcm", make_blobs((128, 128), 20))
    content = (tmp_path / "a.dcm").read_bytes().replace(b"\xff\x4f\xff\x51", bytes(4))
    (tmp_path / "a.dcm").write_bytes(content)
    with open_slide(tmp_path / "a.dcm") as slide:
        settings = {"tile_px": 100, "margin_um": 4}
        assert make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, **settings).tiles
        with pytest.raises(ValueError, match="none of the"):
            run_on(slide, tmp_path / "a.dcm", pixel_model, tmp_path / "out", **settings)


def test_a_prediction_reports_skipped_regions_and_odd_pixels(
    tmp_path, pixel_model, make_blobs, monkeypatch
):
    image = make_blobs((700, 500), 300)
    for name, mpp in (("a.tif", (0.25, 0.26)), ("b.tif", (0.25, 0.6))):
        write_ome(tmp_path / name, [image, image[::2, ::2]], mpp=mpp)
        damage_first_tile(tmp_path / name, name, image)
    summary = predict(
        [tmp_path / "a.tif", tmp_path / "b.tif"],
        tmp_path / "out",
        PredictOptions(tile_px=512),
        model=pixel_model,
    )
    (item,) = summary.items
    assert [region.box_xyxy[:2] for region in item.skipped_regions] == [(0, 0)]
    assert item.left_out_mm2 > 0
    assert "cannot read the window" in item.skipped_regions[0].reason
    assert any("1 of 2 regions could not be read" in line for line in summary.lines())
    assert any("0.25 x 0.26 microns" in line for line in summary.lines())
    (failure,) = summary.failed
    assert "0.25 x 0.6 microns, expected squares" in failure["error"]
