"""The orientation tag turns pictures of every reader that decodes them itself, in all eight ways."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from histonuc.slides import open_slide

from .conftest import levels_of, write_ome, write_pyramid


@pytest.fixture(scope="module")
def levels():
    return levels_of(300, 200, (1, 2))


def turned(picture, orientation):
    """What Pillow makes of it."""
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(picture)
    image.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(image))


def tagged(path, levels, orientation):
    """A file whose pixels are `levels` as stored, and that says how they are to be turned."""
    exif = Image.Exif()
    exif[274] = orientation
    tag = {"extratags": [(274, "H", 1, orientation, True)]}
    if path.suffix == ".tif" and "pyramid" in path.name:
        write_pyramid(path, levels, **tag)
    elif path.name == "a.ome.tif":
        write_ome(path, levels, **tag)
    elif path.suffix == ".tif":
        compression = "deflate" if "strips" in path.name else None
        tifffile.imwrite(path, levels[0], photometric="rgb", compression=compression, **tag)
    elif path.suffix == ".jpg":
        Image.fromarray(levels[0]).save(path, exif=exif, quality=95, subsampling=0)
    else:
        Image.fromarray(levels[0]).save(path, exif=exif)


KINDS = ("a.png", "a.jpg", "plain.tif", "strips.tif", "pyramid.tif", "a.ome.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", KINDS)
def test_pictures_are_turned_upright(tmp_path, levels, name, orientation):
    tagged(tmp_path / name, levels, orientation)
    wanted = turned(levels[0], orientation)
    with open_slide(tmp_path / name) as slide:
        assert slide.size == (wanted.shape[1], wanted.shape[0])
        assert slide.levels[-1] == turned(levels[len(slide.levels) - 1], orientation).shape[1::-1]
        for x, y, w, h in ((0, 0, *slide.size), (30, 50, 99, 77)):
            shown = slide.read(x, y, w, h, w, h).astype(int)
            assert np.abs(shown - wanted[y : y + h, x : x + w]).max() <= 3 * name.endswith("jpg")
        assert any("orientation tag" in note for note in slide.notes) == (orientation != 1)


@pytest.mark.parametrize("orientation", [0, 9, 60_000])
def test_what_is_no_orientation_turns_nothing(tmp_path, levels, orientation):
    tagged(tmp_path / "plain.tif", levels, orientation)
    with open_slide(tmp_path / "plain.tif") as slide:
        assert slide.size == (300, 200)
        assert not slide.notes


def test_sides_of_pixels_turn_with_them(tmp_path, levels):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(levels[0]).save(tmp_path / "a.png", exif=exif, dpi=(101_600, 50_800))
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.size == (200, 300)
        assert slide.mpp_xy == pytest.approx((0.5, 0.25))


def test_the_orientation_of_a_png_may_stand_behind_its_pixels(tmp_path, levels):
    tagged(tmp_path / "a.png", levels, 8)
    content = (tmp_path / "a.png").read_bytes()
    place = content.find(b"eXIf") - 4
    end = place + 12 + int.from_bytes(content[place : place + 4], "big")
    last = content.find(b"IEND") - 4
    moved = content[:place] + content[end:last] + content[place:end] + content[last:]
    (tmp_path / "a.png").write_bytes(moved)
    with open_slide(tmp_path / "a.png") as slide:
        assert np.array_equal(slide.read(0, 0, 200, 300, 200, 300), turned(levels[0], 8))
