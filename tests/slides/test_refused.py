"""What is refused, with its reason: more bits, fluorescence, stacks, colours that would be wrong."""

import numpy as np
import pytest
import tifffile

from histonuc.slides import open_slide

from .conftest import levels_of, write_qptiff, write_slide, write_zarr


@pytest.fixture
def levels():
    return levels_of(300, 200, (1, 2))


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
