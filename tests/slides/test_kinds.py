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


@pytest.mark.parametrize("num", [1, 2, 3, 5])
@pytest.mark.parametrize("scene", [None, 0])
def test_a_fluorescence_qptiff_is_refused_with_its_channels(tmp_path, levels, num, scene):
    names = [("DAPI", "0,0,255"), ("CD3", "0,255,0"), ("CD8", ""), ("CD20", ""), ("CK", "1,2,3")]
    write_qptiff(tmp_path / "a.qptiff", levels, names[:num])
    with pytest.raises(ValueError, match=rf"{num} separate channel.*\(DAPI.*as fluorescence does"):
        open_slide(tmp_path / "a.qptiff", scene=scene)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("num", [2, 4])
def test_fluorescence_is_refused_with_its_channels(tmp_path, dtype, num):
    names = ["DAPI", "CD3", "CD8", "PanCK"][:num]
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((num, 64, 64), dtype),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": names}},
    )
    with pytest.raises(ValueError, match=rf"{num} separate channels \(DAPI, CD3.*fluorescence"):
        open_slide(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("kind", ["generic.tif", "strips.tif", "ome.tif", "v2.zarr", "v3.zarr"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_more_than_8_bits_is_refused_by_every_reader(tmp_path, levels, kind, dtype):
    deep = [level.astype(dtype) * 257 for level in levels]
    with pytest.raises(ValueError, match=rf"{np.dtype(dtype)} pixels, expected uint8.*convert"):
        open_slide(write_slide(kind, tmp_path, deep))


@pytest.mark.parametrize("name", ["rgb.png", "grey.png", "rgb.jp2"])
def test_more_than_8_bits_is_refused_in_plain_images(tmp_path, levels, name):
    import imagecodecs

    deep = levels[0].astype(np.uint16) * 257
    deep = deep[..., 0] if name == "grey.png" else deep
    encode = imagecodecs.png_encode if name.endswith("png") else imagecodecs.jpeg2k_encode
    (tmp_path / name).write_bytes(encode(np.ascontiguousarray(deep)))
    with pytest.raises(ValueError, match=r"bits a channel.*convert"):
        open_slide(tmp_path / name)


def test_one_coloured_channel_is_fluorescence_and_a_grey_one_is_not(tmp_path, levels):
    grey = levels[0][..., 0]
    for name, colour in (("dapi.ome.tif", 0x0000FFFF), ("grey.ome.tif", -1)):  # RGBA
        facts = {"axes": "YX", "Channel": {"Name": "DAPI", "Color": colour}}
        tifffile.imwrite(tmp_path / name, grey, ome=True, metadata=facts)
    with pytest.raises(ValueError, match=r"1 separate channel shown in 0000FF \(DAPI\).*export"):
        open_slide(tmp_path / "dapi.ome.tif")
    with open_slide(tmp_path / "grey.ome.tif") as slide:
        assert (slide.read(0, 0, 9, 9, 9, 9) == grey[:9, :9, None]).all()


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


def test_three_channels_count_as_rgb_unless_they_say_otherwise(tmp_path, levels):
    colours = [("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF")]
    write_zarr(tmp_path / "rgb.zarr", levels, channels=colours)
    with open_slide(tmp_path / "rgb.zarr") as slide:
        assert np.array_equal(slide.read(0, 0, 9, 9, 9, 9), levels[0][:9, :9])
    write_zarr(tmp_path / "dapi.zarr", levels, channels=[("DAPI", "0000FF"), *colours[:2]])
    with pytest.raises(ValueError, match="DAPI, Red, Green"):
        open_slide(tmp_path / "dapi.zarr")


CHANNELS = {
    "fluorescence": (["DAPI", "FITC", "TRITC"], "DAPI, FITC, TRITC"),
    "one name": (["Channel 0", "Channel 1", "CD3"], "CD3"),
    "another order": (["Blue", "Green", "Red"], "Blue, Green, Red"),
    "words": (["Red", "green", "BLUE"], None),
    "letters": (["R", "G", "B"], None),
    "numbers": (["Channel 0", "Channel:0:1", "C2"], None),
    "no names": ([], None),
}


@pytest.mark.parametrize("case", CHANNELS)
@pytest.mark.parametrize("kind", ["ome.tif", "zarr"])
def test_three_channels_are_rgb_by_their_names(tmp_path, levels, kind, case):
    names, refused = CHANNELS[case]
    path = tmp_path / f"a.{kind}"
    if kind == "zarr":
        colours = ("FF0000", "00FF00", "0000FF")
        write_zarr(path, levels, channels=list(zip(names, colours, strict=False)))
    else:
        planes = np.ascontiguousarray(np.moveaxis(levels[0], -1, 0))
        facts = {"axes": "CYX"} | ({"Channel": {"Name": names}} if names else {})
        tifffile.imwrite(path, planes, ome=True, photometric="minisblack", metadata=facts)
    if refused:
        with pytest.raises(ValueError, match=rf"3 separate channels.*{refused}.*export that"):
            open_slide(path)
        return
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 9, 9, 9, 9), levels[0][:9, :9])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["contig", "separate", "ome"])
@pytest.mark.parametrize(
    ("num", "photometric"), [(2, "minisblack"), (3, "minisblack"), (4, "minisblack"), (5, "rgb")]
)
def test_samples_that_are_no_rgb_are_refused(tmp_path, dtype, layout, num, photometric):
    shape = (num, 64, 64) if layout == "separate" else (64, 64, num)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros(shape, dtype),
        ome=layout == "ome",
        photometric=photometric,
        planarconfig="separate" if layout == "separate" else "contig",
        metadata={"axes": "YXS"} if layout == "ome" else None,
    )
    with pytest.raises(ValueError, match=rf"{num} samples a pixel.*fluorescence.*export that"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "lerc"])
def test_ycbcr_that_is_not_decoded_is_refused_rather_than_shown_green(tmp_path, compression):
    path = tmp_path / "a.tif"
    pixels = np.full((64, 64, 3), (200, 140, 140), np.uint8)
    more = [(530, "H", 2, (1, 1), True)]
    tifffile.imwrite(path, pixels, photometric="ycbcr", compression=compression, extratags=more)
    with pytest.raises(ValueError, match=r"its colours are YCbCr in .* convert it to RGB"):
        open_slide(path)
    tifffile.imwrite(path, pixels, photometric="ycbcr", compression="jpeg")
    with open_slide(path) as slide:
        shown = slide.read(0, 0, 9, 9, 9, 9).astype(int)
    assert abs(shown - (217, 187, 221)).max() < 4  # what these values of Y, Cb and Cr mean


def test_several_channels_of_rgb_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((3, 64, 64, 3), np.uint8),
        ome=True,
        photometric="rgb",
        metadata={"axes": "CYXS"},
    )
    with pytest.raises(ValueError, match="9 samples a pixel"):
        open_slide(tmp_path / "a.ome.tif")


def test_planes_of_focus_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((3, 64, 64, 3), np.uint8),
        ome=True,
        metadata={"axes": "ZYXS"},
    )
    with pytest.raises(ValueError, match="one plane of focus"):
        open_slide(tmp_path / "a.ome.tif")


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
