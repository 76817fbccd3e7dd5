"""What files say about themselves, and what is refused with its reason."""

import json
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from histonuc.inference.sources import find_inputs
from histonuc.inspection import describe
from histonuc.slides import open_slide
from histonuc.slides.dicom_reader import open_dicom
from histonuc.slides.pixels import to_rgb
from histonuc.slides.pyramid import Pyramid

from .conftest import (
    KINDS,
    levels_of,
    swapped_profile,
    write_aperio,
    write_dicom,
    write_ome,
    write_pyramid,
    write_qptiff,
    write_slide,
    write_sparse,
    write_zarr,
)


@pytest.fixture
def levels():
    return levels_of(300, 200, (1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_info_tells_size_levels_and_reader(tmp_path, levels, kind):
    facts = describe(write_slide(kind, tmp_path, levels)).facts
    assert facts["size_px"] == [300, 200]
    assert facts["levels"] == [
        {"size_px": [300, 200], "downsample": 1},
        {"size_px": [150, 100], "downsample": 2},
    ]
    stated = kind in ("aperio.svs", "vectra.qptiff", "ome.tif", "v2.zarr", "v3.zarr", "slide.dcm")
    assert facts["mpp"] == (0.25 if stated else None)
    assert facts["reader"] in ("OpenSlide", "tifffile", "zarr", "pydicom")


def test_pixels_that_are_not_square(tmp_path, levels):
    write_ome(tmp_path / "a.tif", levels, mpp=(0.25, 0.26))
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp_xy == (0.25, 0.26)
        assert slide.mpp == pytest.approx((0.25 * 0.26) ** 0.5)


def test_scenes_are_listed_and_chosen(tmp_path, levels):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        write_ome(path, levels, name="first", tiff=tiff)
        write_ome(path, [255 - levels[0]], name="second", tiff=tiff)
        write_ome(path, [levels[1]], name="label image", tiff=tiff)
    with pytest.raises(ValueError, match=r"2 scenes.*--scene.*0: first.*1: second"):
        open_slide(path)
    with pytest.raises(ValueError, match="--scene 2: expected 0 to 1"):
        open_slide(path, scene=2)
    for scene, picture in enumerate((levels[0], 255 - levels[0])):
        with open_slide(path, scene=scene) as slide:
            assert np.array_equal(slide.read(20, 30, 70, 50, 70, 50), picture[30:80, 20:90])


def test_pages_that_are_no_levels_are_scenes(tmp_path, levels):
    write_pyramid(tmp_path / "a.tif", [levels[0], levels[0]])
    with pytest.raises(ValueError, match="2 scenes"):
        open_slide(tmp_path / "a.tif")


def test_zarr_scenes(tmp_path, levels):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    for number, picture in enumerate((levels[0], 255 - levels[0])):
        write_zarr(tmp_path / "a.zarr" / str(number), [picture])
    with pytest.raises(ValueError, match="2 scenes"):
        open_slide(tmp_path / "a.zarr")
    with open_slide(tmp_path / "a.zarr", scene=1) as slide:
        assert np.array_equal(slide.read(0, 0, 300, 200, 300, 200), 255 - levels[0])


def test_a_bright_field_qptiff_is_one_slide(tmp_path, levels):
    write_qptiff(tmp_path / "a.qptiff", levels)
    with open_slide(tmp_path / "a.qptiff") as slide:
        assert slide.associated() == ("Thumbnail", "Macro", "Label")
        assert np.array_equal(slide.read_associated("Thumbnail"), levels[0][::7, ::7])


def test_transparent_places_of_a_tiff_are_white(tmp_path, levels):
    alpha = np.full((200, 300, 1), 255, np.uint8)
    alpha[:, :100] = 0
    picture = np.concatenate([levels[0], alpha], -1)
    write_pyramid(tmp_path / "a.tif", [picture, picture[::2, ::2]], extrasamples=["unassalpha"])
    with open_slide(tmp_path / "a.tif") as slide:
        shown = slide.read(0, 0, 300, 200, 300, 200)
    assert (shown[:, :100] == 255).all()
    assert np.array_equal(shown[:, 100:], levels[0][:, 100:])


@pytest.mark.parametrize("by_windows", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("unspecified", 60),
        ("assocalpha", 60 + 255 - 128),
        ("unassalpha", round(60 * 128 / 255 + 255 - 128)),
    ],
)
def test_a_fourth_sample_is_what_the_file_says(tmp_path, by_windows, planar, kind, shown):
    picture = np.full((128, 128, 4), (60, 60, 60, 128), np.uint8)
    options = {"extrasamples": [kind], "planarconfig": "contig"}
    levels = [picture, picture[::2, ::2]][: 1 + by_windows]
    if planar:
        options["planarconfig"] = "separate"
        levels = [np.ascontiguousarray(np.moveaxis(level, -1, 0)) for level in levels]
    write_pyramid(tmp_path / "a.tif", levels, **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.is_plain != by_windows
        assert (slide.read(0, 0, 128, 128, 128, 128) == shown).all()


def test_grey_with_an_opacity_is_read(tmp_path):
    picture = np.full((64, 64, 2), (60, 128), np.uint8)
    for kind, shown in (("unassalpha", round(60 * 128 / 255 + 127)), ("assocalpha", 60 + 127)):
        options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [kind]}
        write_pyramid(tmp_path / "a.tif", [picture], **options)
        with open_slide(tmp_path / "a.tif") as slide:
            assert (slide.read(0, 0, 64, 64, 64, 64) == shown).all()


def test_opacity_below_its_colours_is_white_not_black():
    pixels = np.array([[[200, 100, 0, 50]]], np.uint8)
    assert to_rgb(pixels, opacity="premultiplied").tolist() == [[[255, 255, 205]]]


def write_with_profile(path, levels, profile):
    """A file that holds a colour profile, each kind for another reader."""
    if path.suffix == ".png":
        Image.fromarray(levels[0]).save(path, icc_profile=profile)
    elif path.suffix == ".tif":
        write_pyramid(path, levels, iccprofile=profile)
    elif path.suffix == ".svs":
        write_aperio(path, levels, iccprofile=profile)
    else:
        lit = pytest.importorskip("pydicom").Dataset()
        lit.ICCProfile = profile
        write_dicom(path, levels[0], more={"OpticalPathSequence": [lit]})


@pytest.mark.parametrize(
    ("name", "reader"),
    [("a.png", "Pillow"), ("a.tif", "tifffile"), ("a.svs", "OpenSlide"), ("a.dcm", "pydicom")],
)
def test_a_profile_is_used_when_asked_for(tmp_path, levels, name, reader):
    profile = swapped_profile()
    write_with_profile(tmp_path / name, levels, profile)
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    wanted = ImageCms.profileToProfile(
        Image.fromarray(levels[0]), source, ImageCms.createProfile("sRGB")
    )
    assert np.abs(np.asarray(wanted).astype(int) - levels[0]).mean() > 20
    window = (0, 0, 300, 200, 300, 200)
    with open_slide(tmp_path / name) as raw, open_slide(tmp_path / name, icc=True) as turned:
        assert raw.reader == turned.reader == reader
        assert raw.icc_profile == profile
        assert np.array_equal(raw.read(*window), levels[0])
        assert np.array_equal(turned.read(*window), wanted)


def test_exif_orientation_turns_the_picture(tmp_path, levels):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows run right to left on the screen
    Image.fromarray(levels[0]).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with open_slide(tmp_path / "a.jpg") as slide:
        assert slide.size == (200, 300)
        shown = slide.read(0, 0, 200, 300, 200, 300).astype(int)
    assert np.abs(shown - np.rot90(levels[0], -1)).mean() < 3


def test_cmyk_becomes_rgb(tmp_path, levels):
    Image.fromarray(levels[0]).convert("CMYK").save(tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif") as slide:
        shown = slide.read(0, 0, 300, 200, 300, 200).astype(int)
    assert np.abs(shown - levels[0]).max() <= 2


def test_a_profile_that_is_not_there_is_said(tmp_path, levels):
    write_pyramid(tmp_path / "none.tif", levels)
    with pytest.raises(ValueError, match="no ICC profile"):
        open_slide(tmp_path / "none.tif", icc=True)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("fill", [None, 0, 240])
def test_absent_chunks_of_a_zarr_are_background(tmp_path, levels, version, fill):
    path = tmp_path / "a.zarr"
    write_zarr(path, levels, version=version)
    metadata = path / "0" / ("zarr.json" if version == 3 else ".zarray")
    facts = json.loads(metadata.read_text())
    facts["fill_value"] = 0 if fill is None and version == 3 else fill
    metadata.write_text(json.dumps(facts))
    (path / ("0/c/0/0/0/0/1" if version == 3 else "0/0.0.0.0.1")).unlink()
    wanted = levels[0].copy()
    wanted[:64, 64:128] = fill or 255
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 300, 200, 300, 200), wanted)


def test_a_million_tiles_cost_few_bytes_each(tmp_path):
    """A sparse pyramid of 65 gigapixels: all its tiles share the bytes of one."""
    import tracemalloc

    path, side = tmp_path / "sparse.tif", 1000
    write_sparse(path, side)
    tracemalloc.start()
    with open_slide(path) as slide:
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert slide.size == (256 * side, 256 * side)
        for x, y in ((0, 0), (128 * side, 9 * side), (256 * side - 300, 256 * side - 300)):
            assert (slide.read(x, y, 300, 300, 300, 300) == 77).all()
    assert held < 20 * side**2  # 12 bytes a tile and what else there is; were 80


def test_a_huge_single_level_is_read_by_windows(tmp_path, monkeypatch, levels):
    from histonuc.slides import tiff_reader

    monkeypatch.setattr(tiff_reader, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(tiff_reader, "Whole", None)  # never called
    for name, options in (("tiles.tif", {}), ("strips.tif", {"tile": None, "rowsperstrip": 8})):
        write_pyramid(tmp_path / name, levels[:1], **options)
        with open_slide(tmp_path / name) as slide:
            assert not slide.is_plain
            assert np.array_equal(slide.read(50, 60, 99, 77, 99, 77), levels[0][60:137, 50:149])


def test_one_file_of_a_dicom_series_and_a_zarr_folder_are_inputs(tmp_path, levels):
    write_slide("slide.dcm", tmp_path, levels)
    write_dicom(tmp_path / "other.dcm", levels[0], series="1.2.4")
    write_slide("v2.zarr", tmp_path, levels)
    found = [path.name for path in find_inputs([tmp_path])[0]]
    assert found == ["level1.dcm", "other.dcm", "v2.zarr"]
    with open_slide(tmp_path / "level1.dcm") as slide:
        assert slide.size == (300, 200)


def test_a_dicom_slide_that_openslide_refuses(shared_slides):
    with open_slide(shared_slides / "small_dicom.dcm") as slide:
        assert slide.reader == "pydicom"
        assert slide.size == (3236, 2638)
        assert slide.mpp is None
        image = slide.read(0, 0, 3236, 2638, 809, 660)
    mean = image.reshape(-1, 3).mean(0)
    assert mean[1] < mean[0]  # pink, not the green that a wrong colour space gives
    assert mean[1] < mean[2]
    assert image.std() > 20


def test_a_dicom_slide_that_openslide_reads_is_the_same_in_pydicom(tmp_path, levels):
    facts = {
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "Modality": "SM",
        "DimensionOrganizationType": "TILED_FULL",
    }
    for number, level in enumerate(levels):
        write_dicom(tmp_path / f"{number}.dcm", level, instance=number + 1, more=facts)
    with (
        open_slide(tmp_path / "0.dcm") as slide,
        Pyramid(open_dicom(tmp_path / "0.dcm")) as other,
    ):
        assert (slide.reader, other.reader) == ("OpenSlide", "pydicom")
        assert (slide.size, slide.levels) == (other.size, other.levels)
        assert slide.mpp == other.mpp == 0.25
        for window in ((0, 0, 300, 200, 300, 200), (50, 40, 200, 100, 100, 50)):
            assert np.array_equal(slide.read(*window), other.read(*window))


def test_extras_are_named_where_they_are_missing(tmp_path, monkeypatch, levels):
    write_slide("v2.zarr", tmp_path, levels)
    write_dicom(tmp_path / "a.dcm", levels[0])
    monkeypatch.setattr("histonuc.extras.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"histonuc\[zarr\]"):
        open_slide(tmp_path / "v2.zarr")
    with pytest.raises(ValueError, match=r"histonuc\[dicom\]"):
        open_slide(tmp_path / "a.dcm")
