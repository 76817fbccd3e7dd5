import numpy as np
import pytest
import tifffile
from PIL import Image

from histonuc.data.resampling import resample
from histonuc.inference.scale import TILE_PX, resolve_scale
from histonuc.inference.sources import find_inputs
from histonuc.slides import PlainImage, fit, open_slide


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def whole(slide):
    return slide.read(0, 0, *slide.size, *slide.size)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "zstd"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiff_reads_back(tmp_path, pixels, compression, tile):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression, tile=tile, photometric="rgb")
    with open_slide(path) as slide:
        assert slide.size == (60, 40)
        assert slide.mpp is None
        assert np.array_equal(whole(slide), pixels)


def test_png_with_alpha_is_flattened_on_white(tmp_path, pixels):
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:20] = 255
    Image.fromarray(np.concatenate([pixels, alpha], -1)).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        image = whole(slide)
    assert np.array_equal(image[:20], pixels[:20])
    assert (image[20:] == 255).all()


def test_grey_becomes_rgb(tmp_path, pixels):
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", grey)
    tifffile.imwrite(tmp_path / "inverse.tif", 255 - grey, photometric="miniswhite")
    for name in ("a.png", "a.tif", "inverse.tif"):
        with open_slide(tmp_path / name) as slide:
            assert np.array_equal(whole(slide), np.repeat(grey[..., None], 3, -1)), name


def test_planar_tiff_is_read_as_rgb(tmp_path, pixels):
    planes = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(whole(slide), pixels)


def test_jpeg_is_read(tmp_path):
    Image.new("RGB", (30, 20), (200, 100, 150)).save(tmp_path / "a.JPG", format="JPEG")
    with open_slide(tmp_path / "a.JPG") as slide:
        assert np.abs(whole(slide).astype(int) - (200, 100, 150)).max() <= 3


def test_more_than_8_bits_is_refused_with_the_reason(tmp_path):
    deep = np.zeros((8, 8, 3), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    Image.fromarray(deep[..., 0]).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        with pytest.raises(ValueError, match="8 bits"):
            open_slide(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.svs"])
@pytest.mark.parametrize("content", [b"", b"not an image at all", b"II*\0\x08\0\0\0"])
def test_damaged_files_are_one_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        open_slide(tmp_path / name)


@pytest.mark.parametrize("tag", [256, 257, 277, 322])
def test_damaged_tags_are_one_clear_error(tmp_path, pixels, tag):
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="deflate", tile=(16, 16))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        place = tiff.pages[0].tags[tag].offset
    content[place + 4 : place + 8] = (3).to_bytes(4, "little")  # three values instead of one
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif"):
        open_slide(tmp_path / "a.tif")


def test_truncated_files_are_one_clear_error(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="deflate")
    for name in ("a.png", "a.tif"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match="damaged"):
            open_slide(tmp_path / name)


def test_a_bomb_is_refused_and_says_what_to_do(tmp_path, monkeypatch, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="pyramidal"):
        open_slide(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.btf", "a.tf8", "a.ptif", "a.lsm", "a", "1.2.3"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [True, False])
def test_a_tiff_of_any_name_is_recognised(tmp_path, pixels, name, order, big):
    tifffile.imwrite(
        tmp_path / name, pixels, photometric="rgb", bigtiff=big, byteorder=order, metadata=None
    )
    with open_slide(tmp_path / name) as slide:
        assert np.array_equal(whole(slide), pixels)


def test_bmp_is_read(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    with open_slide(tmp_path / "a.bmp") as slide:
        assert np.array_equal(whole(slide), pixels)


def test_a_folder_is_searched_for_every_suffix_that_is_read(tmp_path):
    names = ["a.bmp", "a.btf", "a.qptiff", "a.tf8"]
    for name in (*names, "a.vsi", "a"):
        (tmp_path / name).write_bytes(b"II*\0")
    assert [path.name for path in find_inputs([tmp_path])[0]] == names


def test_the_small_picture_of_a_vsi_is_not_taken_for_its_slide(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.vsi", pixels)
    with pytest.raises(ValueError, match=r"cannot read '\.vsi'"):
        open_slide(tmp_path / "a.vsi")


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        open_slide(tmp_path / "none.png")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"cannot read '\.txt'"):
        open_slide(tmp_path / "a.txt")
    (tmp_path / "a").write_text("hello")
    with pytest.raises(ValueError, match="no DICOM or TIFF"):
        open_slide(tmp_path / "a")


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        (40_000, "CENTIMETER", 0.25),
        (50_800, "INCH", 0.5),
        (72, "INCH", None),  # what editors write when they know nothing
        (40_000, "NONE", None),
    ],
)
def test_tiff_resolution_counts_when_it_is_plausible(tmp_path, pixels, resolution, unit, mpp):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, resolution=(resolution, resolution), resolutionunit=unit
    )
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp == (mpp if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize(
    ("name", "size", "assumed"),
    [
        ("tile.png", (1000, TILE_PX), True),
        ("tile.jpg", (1000, 1000), True),
        ("large.png", (10, TILE_PX + 1), False),
        ("small.tif", (100, 100), False),
        ("cmyk.tif", (100, 100), False),
    ],
)
def test_a_scale_is_assumed_for_small_images_that_are_no_tiff(
    tmp_path, pixel_model, name, size, assumed
):
    path = tmp_path / name
    Image.new("CMYK" if name == "cmyk.tif" else "RGB", size).save(path)
    with open_slide(path) as slide:
        given = resolve_scale(slide, name, 0.5, pixel_model)
        assert (given.mpp_xy, given.source) == ((0.5, 0.5), "given")
        if assumed:
            found = resolve_scale(slide, name, None, pixel_model)
            assert (found.mpp_xy, found.source) == ((0.25, 0.25), "assumed")
            assert "--mpp" in found.warnings[0]
        else:
            with pytest.raises(ValueError, match=rf"{name} does not state.*--mpp 0\.25"):
                resolve_scale(slide, name, None, pixel_model)


def test_beyond_the_border_is_white(pixels):
    window = PlainImage(pixels).read(-10, -5, 80, 50, 80, 50)
    assert np.array_equal(window[5:45, 10:70], pixels)
    assert (window[:5] == 255).all()
    assert (window[:, :10] == 255).all()
    assert (window[45:] == 255).all()
    assert (PlainImage(pixels).read(500, 500, 9, 9, 9, 9) == 255).all()


def test_shrinking_averages_and_enlarging_interpolates():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, ::2] = 200
    assert (resample(image, 2, 2) == 100).all()
    enlarged = resample(image, 8, 8)
    assert enlarged.shape == (8, 8, 3)
    assert 0 < enlarged[0, 2, 0] < 200
    assert resample(image, 4, 4).tolist() == image.tolist()


def test_fit_never_enlarges():
    assert fit((10, 20), 100) == (10, 20)
    assert fit((1, 100_000), 100) == (1, 100)


def test_a_real_slide(shared_slides):
    with open_slide(shared_slides / "cmu-1-small-region.svs") as slide:
        assert slide.size == (2220, 2967)
        assert slide.levels == ((2220, 2967),)
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.mpp == pytest.approx(0.499)
        assert not slide.is_plain
        native = slide.read(900, 1000, 200, 100, 200, 100)
        doubled = slide.read(900, 1000, 200, 100, 400, 200)
        # Bilinear up and area down blurs a little; another place would differ by tens.
        assert np.abs(resample(doubled, 200, 100).astype(int) - native).mean() < 5
        corner = slide.read(2200, 2950, 40, 40, 40, 40)
        assert (corner[20:, 20:] == 255).all()
        thumbnail = slide.thumbnail(300)
        assert thumbnail.shape == (300, 224, 3)
        strips = resample(slide.read(0, 0, 2220, 2967, 2220, 2967), 224, 300)
        assert np.abs(thumbnail.astype(int) - strips).mean() < 2


def test_slides_that_state_no_mpp_say_so(shared_slides):
    with open_slide(shared_slides / "tcga-cr-7395-01a-01-ts1.svs") as slide:
        assert slide.mpp is None
        assert slide.thumbnail(400).shape == (321, 400, 3)
    with pytest.raises(ValueError, match=r"broken\.svs is damaged"):
        open_slide(shared_slides / "broken.svs")


def test_a_pyramidal_tiff_is_read_from_the_nearest_finer_level(tmp_path):
    path = tmp_path / "pyramid.tif"
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate"}
    with tifffile.TiffWriter(path) as tiff:  # each level in a grey of its own
        tiff.write(np.full((512, 512, 3), 100, np.uint8), **options)
        tiff.write(np.full((256, 256, 3), 150, np.uint8), subfiletype=1, **options)
    with open_slide(path) as slide:
        assert not slide.is_plain
        assert slide.size == (512, 512)
        assert slide.levels == ((512, 512), (256, 256))
        assert slide.read(0, 0, 256, 256, 256, 256).mean() == 100
        assert slide.read(0, 0, 256, 256, 200, 200).mean() == 100
        assert slide.read(0, 0, 256, 256, 128, 128).mean() == 150
        assert slide.read(0, 0, 256, 256, 60, 60).mean() == 150


def test_jpeg_2000_of_any_length_is_read(tmp_path, pixels):
    """The length of the file stands among what the decoder is told, as 16 bits may."""
    path = tmp_path / "a.jp2"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    for num in (16_000, 21_616):
        path.write_bytes(content.ljust(num, b"\0"))
        with open_slide(path) as slide:
            assert np.array_equal(whole(slide), pixels)
