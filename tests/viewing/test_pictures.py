"""Tiles of the slide's picture, whatever its file has."""

import errno
import json

import cv2
import numpy as np
import pytest
import tifffile

from histonuc.slides import RegionError
from histonuc.slides.pyramid import Pyramid
from histonuc.viewing import pictures
from histonuc.viewing.pictures import SlidePicture
from histonuc.viewing.serving import serve

from .conftest import Client
from .made_result import SIZE, draw_slide


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def wanted(level, column, row):
    """What a tile shows: the drawn slide made smaller, white beyond it."""
    side = 512 << level
    canvas = np.full((side, side, 3), 255, np.uint8)
    part = draw_slide()[row * side : (row + 1) * side, column * side : (column + 1) * side]
    canvas[: part.shape[0], : part.shape[1]] = part
    return cv2.resize(canvas, (512, 512), interpolation=cv2.INTER_AREA).astype(int)


def test_the_last_level_is_one_tile(client) -> None:
    levels = client.json("/api/slides/0")["picture_levels"]
    assert levels == {"tile_px": 512, "count": 4, "format": "image/jpeg"}
    for size, count in (((512, 1), 1), ((513, 1), 2), ((100_000, 9), 9)):
        picture = SlidePicture.__new__(SlidePicture)
        picture.slide = type("Sized", (), {"size": size})()
        assert picture.num_levels == count


@pytest.mark.parametrize("level", range(4))
def test_tiles_show_their_place(level, client) -> None:
    side = 512 << level
    for column in range(-(-SIZE[0] // side)):
        for row in range(-(-SIZE[1] // side)):
            status, data, headers = client.ask(f"/api/slides/0/tiles/{level}/{column}/{row}")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            away = np.abs(decoded(data) - wanted(level, column, row))
            assert away.shape == (512, 512, 3)
            assert away.mean() < 2


@pytest.mark.parametrize("place", ["0/5/0", "0/0/4", "4/0/0", "99999999999/0/0", "0/99999999999/0"])
def test_beyond_the_grid_there_is_nothing(place, client) -> None:
    assert client.ask(f"/api/slides/0/tiles/{place}")[0] == 404


@pytest.mark.parametrize("tile", [None, (256, 256)])
def test_a_slide_without_small_levels_is_read_once_for_its_large_tiles(
    tile, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(pictures, "_QUICK_READ_PX", 1 << 18)
    monkeypatch.setattr(pictures, "OVERVIEW_PX", 1024)
    tifffile.imwrite(tmp_path / "flat.tif", draw_slide(), tile=tile)
    picture = SlidePicture(tmp_path / "flat.tif")
    for level in range(4):
        side = 512 << level
        for column in range(-(-SIZE[0] // side)):
            away = np.abs(decoded(picture.tile(level, column, 0)) - wanted(level, column, 0))
            assert away.mean() < 3
    assert (picture._overview is None) == (max(SIZE) <= 512)


def test_huge_tiles_of_a_slide_without_levels_are_enlarged(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "_MAX_READ_PX", 1 << 17)
    monkeypatch.setattr(pictures, "OVERVIEW_PX", 500)
    tifffile.imwrite(tmp_path / "flat.tif", draw_slide(), tile=(256, 256))
    picture = SlidePicture(tmp_path / "flat.tif")
    away = np.abs(decoded(picture.tile(0, 1, 1)) - wanted(0, 1, 1))
    assert np.median(away) < 2


def test_a_crop_has_any_size_and_may_reach_beyond(client) -> None:
    status, data, _ = client.ask(
        "/api/slides/0/crop?x=-64&y=16&w=128&h=64&width=256&height=128&format=png"
    )
    assert status == 200
    image = decoded(data)
    assert image.shape == (128, 256, 3)
    assert (image[:, :124] == 255).all()
    expected = cv2.resize(draw_slide()[16:80, :64], (128, 128), interpolation=cv2.INTER_LINEAR)
    assert np.abs(image[:, 132:] - expected[:, 4:].astype(int)).mean() < 2
    assert (
        client.ask("/api/slides/0/crop?x=0&y=0&w=9.5&h=9.5&width=9&height=9")[1][:2] == b"\xff\xd8"
    )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "x=0&y=0&w=1&h=1&width=1",
        "x=0&y=0&w=0&h=1&width=1&height=1",
        "x=0&y=0&w=-1&h=1&width=1&height=1",
        "x=nan&y=0&w=1&h=1&width=1&height=1",
        "x=0&y=inf&w=1&h=1&width=1&height=1",
        "x=0&y=0&w=1e300&h=1&width=1&height=1",
        "x=0&y=0&w=1&h=1&width=4097&height=1",
        "x=0&y=0&w=1&h=1&width=4096&height=4096",
        "x=0&y=0&w=1&h=1&width=1.5&height=1",
    ],
)
def test_other_crops_are_refused(query, client) -> None:
    assert client.ask(f"/api/slides/0/crop?{query}")[0] == 400


def test_the_thumbnail_is_small(client) -> None:
    _, data, _ = client.ask("/api/slides/0/thumbnail")
    assert decoded(data).shape == (348, 512, 3)


def test_a_tile_shows_what_can_be_read_of_it(made, monkeypatch) -> None:
    read = Pyramid.read

    def fail(self, x, y, w, h, out_w, out_h):
        if x < 700 < x + w and y < 900 < y + h:
            raise RegionError("damaged", (x, y, x + w, y + h))
        return read(self, x, y, w, h, out_w, out_h)

    picture = SlidePicture(made.slide)
    monkeypatch.setattr(Pyramid, "read", fail)
    for level in (1, 2):
        image, px = decoded(picture.tile(level, 0, 0)), (700 >> level, 900 >> level)
        assert np.abs(image[px[1], px[0]] - 200).max() < 12
        away = np.abs(image - wanted(level, 0, 0)).mean(axis=-1)
        assert (away > 20).mean() < 1.3 * (64 / 512) ** 2


def test_a_damaged_part_is_said_and_the_rest_is_shown(made, monkeypatch) -> None:
    with serve([made.slide]) as viewer:
        client = Client(viewer)
        assert client.ask("/api/slides/0/tiles/0/0/0")[0] == 200

        def fail(self, x, y, w, h, out_w, out_h):
            raise RegionError(f"{made.slide} is damaged", (x, y, x + w, y + h))

        monkeypatch.setattr("histonuc.slides.pyramid.Pyramid.read", fail)
        status, content, _ = client.ask("/api/slides/0/tiles/0/1/0")
        assert (status, json.loads(content)["word"]) == (409, "unreadable")
        assert str(made.slide).encode() not in content


def test_storage_that_does_not_answer_is_said(made, monkeypatch) -> None:
    with serve([made.slide]) as viewer:
        client = Client(viewer)
        client.json("/api/slides/0")

        def fail(self, x, y, w, h, out_w, out_h):
            raise OSError(errno.ESTALE, "stale", str(made.slide))

        monkeypatch.setattr("histonuc.slides.pyramid.Pyramid.read", fail)
        status, content, _ = client.ask("/api/slides/0/tiles/0/1/0")
        assert (status, json.loads(content)["word"]) == (409, "unreadable")
        assert str(made.slide).encode() not in content


def test_ink_is_found_anew(tmp_path, client) -> None:
    from histonuc.viewing.areas import _trace

    mask = np.zeros((20, 30), bool)
    mask[5:10, 10:20] = True
    ((ring,),) = _trace(mask, (300, 200))
    assert np.min(ring, axis=0).tolist() == [105, 55]
    assert np.max(ring, axis=0).tolist() == [195, 95]


def test_real_slides_have_tiles(shared_slides) -> None:
    for name in ("cmu-1-small-region.svs", "small_dicom.dcm"):
        if name.endswith("dcm"):
            pytest.importorskip("highdicom")
        picture = SlidePicture(shared_slides / name)
        top = decoded(picture.tile(picture.num_levels - 1, 0, 0))
        side = 512 << (picture.num_levels - 1)
        whole = picture.slide.read(0, 0, side, side, 512, 512).astype(int)
        assert np.abs(top - whole).mean() < 4
