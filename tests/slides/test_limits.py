"""Nothing hangs and nothing takes gigabytes, whatever a file says about itself."""

import json
import os
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from histonuc.cli import run
from histonuc.slides import RegionError, image_reader, limits, open_slide, tiff_reader

from ..fuzzing import little_memory, no_hang
from .conftest import levels_of, write_aperio, write_dicom, write_ome, write_pyramid, write_zarr
from .test_tiff import write_set

pytestmark = no_hang


@pytest.fixture(scope="module")
def levels():
    return levels_of(300, 200, (1, 2))


def refused(path, capsys, *command):
    """The one line that a command says about a path that it refuses."""
    capsys.readouterr()
    assert run([*(command or ("info",)), str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# --- Directories that go round in a circle, pipes, endless descriptions ---


def directory(next_offset, tags=((256, 4, 1, 64), (257, 4, 1, 64))):
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<L", next_offset)


@pytest.mark.parametrize("suffix", ["tif", "svs", "ome.tif", "dat"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_directories_in_a_circle_end(tmp_path, capsys, suffix, length):
    size = len(directory(0))
    places = [8 + i * size for i in range(length)]
    chain = b"".join(directory(places[(i + 1) % length]) for i in range(length))
    (tmp_path / f"a.{suffix}").write_bytes(struct.pack("<2sHL", b"II", 42, 8) + chain)
    assert "go round in a circle" in refused(tmp_path / f"a.{suffix}", capsys)


def test_a_circle_in_another_file_of_a_set_ends(tmp_path, capsys):
    first, second = write_set(tmp_path)
    second.write_bytes(struct.pack("<2sHL", b"II", 42, 8) + directory(8))
    assert "go round in a circle" in refused(first, capsys)


def test_pages_are_counted(tmp_path, capsys):
    tags = ((256, 4, 1, 64),)
    size, num = len(directory(0, tags)), 10_001
    chain = b"".join(directory(8 + (i + 1) * size, tags) for i in range(num))
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHL", b"II", 42, 8) + chain)
    assert "more than 10000 pages" in refused(tmp_path / "a.tif", capsys)


def test_levels_of_a_page_are_counted(tmp_path, capsys):
    (tmp_path / "a.tif").write_bytes(
        struct.pack("<2sHL", b"II", 42, 8) + directory(0, ((330, 4, 1000, 100),)) + bytes(5000)
    )
    assert "1000 levels" in refused(tmp_path / "a.tif", capsys)


def test_a_description_of_gigabytes_is_not_read(tmp_path, capsys):
    tags = ((256, 4, 1, 64), (257, 4, 1, 64), (270, 2, 3 << 30, 200))
    with (tmp_path / "a.tif").open("wb") as stream:
        stream.write(struct.pack("<2sHL", b"II", 42, 8) + directory(0, tags))
        stream.truncate(4 << 30)  # takes no room on the disk
    with little_memory(1 << 26):
        assert "description of 3,221 MB" in refused(tmp_path / "a.tif", capsys)


@pytest.mark.parametrize("name", [".zattrs", "0/.zarray"])
def test_a_description_of_a_zarr_is_bounded(tmp_path, capsys, levels, name):
    write_zarr(tmp_path / "a.zarr", levels)
    (tmp_path / "a.zarr" / name).write_bytes(b" " * (limits.MAX_TEXT_BYTES + 1))
    assert "more than 16 MiB" in refused(tmp_path / "a.zarr", capsys)


pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")


@pipes
@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.dcm", "a.png", "a.mrxs", "a.vms", "a"])
def test_a_pipe_is_no_slide(tmp_path, capsys, name):
    os.mkfifo(tmp_path / name)
    for command in (["info"], ["predict", "--out", str(tmp_path / "out")]):
        assert "is a pipe" in refused(tmp_path / name, capsys, *command)


@pipes
def test_pipes_in_a_folder_cost_a_batch_nothing(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("a.svs", "b.dcm", "c.png", "z.tif"):
        os.mkfifo(folder / name)
    Image.new("RGB", (64, 64), (240, 240, 240)).save(folder / "blank.png")
    assert run(["predict", str(folder), "--out", str(tmp_path / "out"), "--mpp", "0.25"]) == 0
    (item,) = json.loads((tmp_path / "out" / "summary.json").read_text())["items"]
    assert item["source"].endswith("blank.png")


@pipes
def test_a_pipe_named_by_an_ome_xml_is_refused(tmp_path, capsys):
    first, second = write_set(tmp_path)
    second.unlink()
    os.mkfifo(second)
    assert "s1.ome.tif is a pipe" in refused(first, capsys)


@pipes
@pytest.mark.parametrize("name", ["a.mrxs", "a.vms"])
def test_a_pipe_among_the_files_of_a_slide_is_refused(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"[Virtual Microscope Specimen]\n")
    folder = tmp_path / "a" if name == "a.mrxs" else tmp_path
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "Slidedat.ini")
    assert "is a pipe" in refused(tmp_path / name, capsys)


@pipes
def test_a_pipe_beside_a_dicom_slide_is_left_alone(tmp_path, levels):
    write_dicom(tmp_path / "a.dcm", levels[0])
    os.mkfifo(tmp_path / "b.dcm")
    with open_slide(tmp_path / "a.dcm") as slide:
        assert np.array_equal(slide.read(0, 0, 300, 200, 300, 200), levels[0])


@pipes
@pytest.mark.parametrize("name", [".zattrs", "0/.zarray", "0/0.0.0.0.0"])
def test_a_pipe_in_a_zarr_is_refused(tmp_path, levels, name):
    path = tmp_path / "a.zarr"
    write_zarr(path, levels)
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(ValueError, match="is a pipe"), open_slide(path) as slide:
        slide.read(0, 0, 64, 64, 64, 64)


# --- Small files that take gigabytes ---


def png_head(width, height):
    """A PNG of any size whose pixels are missing."""
    parts = [(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", bytes(9))]
    chunks = [
        struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_info_decodes_no_pixel(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(png_head(13_340, 13_340))
    with little_memory(1 << 26):
        assert run(["info", str(tmp_path / "a.png")]) == 0
    assert "13,340 x 13,340 pixels" in capsys.readouterr().out


def write_one_piece(path, side_w, side_h, tile=None, compression=8, image=None):
    """A deflate TIFF of one tile, or of one strip, whose content is nine bytes."""
    width, height = image or (side_w, side_h)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
    ]
    if tile:
        tags += [(322, 4, 1, side_w), (323, 4, 1, side_h), (324, 4, 1, 300), (325, 4, 1, 9)]
    else:
        tags[5:5] = [(273, 4, 1, 300)]
        tags += [(278, 4, 1, side_h), (279, 4, 1, 9)]
    content = struct.pack("<2sHL", b"II", 42, 8) + directory(0, tags)
    path.write_bytes(content.ljust(300, b"\0") + bytes(9))


@pytest.mark.parametrize(
    "options",
    [
        {"side_w": 40_000, "side_h": 24_000},  # one strip of 960 megapixels
        {"side_w": 29_984, "side_h": 29_984, "tile": True},
        {"side_w": 29_984, "side_h": 29_984, "tile": True, "image": (100, 100)},
    ],
)
def test_a_tiff_in_one_huge_piece_is_refused(tmp_path, capsys, options):
    write_one_piece(tmp_path / "a.tif", **options)
    with little_memory(1 << 26):
        line = refused(tmp_path / "a.tif", capsys)
    assert "decoded as a whole, which takes" in line
    assert "expected at most 2.1 GB" in line
    assert "vips tiffsave" in line


def test_a_slide_of_openslide_in_huge_tiles_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIECE_PIXELS", 1000)
    text = "Aperio Image Library v1\r\n |MPP = 0.25"
    write_pyramid(tmp_path / "a.svs", levels_of(300, 200, (1, 2)), description=text)
    assert "comes in tiles of 64 x 64 pixels" in refused(tmp_path / "a.svs", capsys)


@pytest.mark.parametrize("name", ["a.svs", "a.ome.tif"])
def test_a_huge_picture_beside_the_tissue_costs_the_slide_nothing(tmp_path, monkeypatch, name):
    levels = levels_of(300, 200, (1, 2))
    if name == "a.svs":
        write_aperio(tmp_path / name, levels)
    else:
        with tifffile.TiffWriter(tmp_path / name, ome=True) as tiff:
            write_ome(tmp_path / name, levels, tiff=tiff)
            write_ome(tmp_path / name, [levels[1]], name="thumbnail", tiff=tiff)
    with open_slide(tmp_path / name) as slide:
        monkeypatch.setattr(limits, "MAX_WHOLE_BYTES", 1000)
        with pytest.raises(ValueError, match=r"the slide's thumbnail: .* as a whole"):
            slide.read_associated("thumbnail")
        assert np.array_equal(slide.read(0, 0, 99, 99, 99, 99), levels[0][:99, :99])


@pytest.mark.parametrize("kind", ["jpeg", "jpeg2000", "png", "webp", "jpegxl"])
def test_a_tile_that_holds_more_than_its_size_is_damage(tmp_path, kind):
    big = np.zeros((3000, 3000, 3), np.uint8)
    names = {"jpeg": "jpeg8", "jpeg2000": "jpeg2k"}
    options = {"effort": 1} if kind == "jpegxl" else {}
    code = getattr(imagecodecs, f"{names.get(kind, kind)}_encode")(big, **options)
    path, tile = tmp_path / "a.tif", np.zeros((256, 256, 3), np.uint8)
    options = {"photometric": "rgb", "tile": (256, 256), "compression": kind, "metadata": None}
    tifffile.imwrite(path, iter([bytes(code)]), shape=tile.shape, dtype=np.uint8, **options)
    with (
        open_slide(path, lazy=True) as slide,
        little_memory(16 << 20),
        pytest.raises(RegionError, match="256 x 256 pixels"),
    ):
        slide.read(0, 0, 256, 256, 256, 256)


@pytest.mark.parametrize("kind", ["jpeg8", "jpeg2k"])
def test_a_dicom_frame_that_holds_more_than_its_size_is_damage(tmp_path, levels, kind):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.encaps import encapsulate

    write_dicom(tmp_path / "a.dcm", levels[0][:64, :64])
    facts = pydicom.dcmread(tmp_path / "a.dcm")
    big = getattr(imagecodecs, f"{kind}_encode")(np.zeros((3000, 3000, 3), np.uint8))
    facts.PixelData = encapsulate([bytes(big)])
    facts.save_as(tmp_path / "a.dcm")
    with (
        open_slide(tmp_path / "a.dcm") as slide,
        little_memory(16 << 20),
        pytest.raises(RegionError, match=r"64 x 64 pixels|shape"),
    ):
        slide.read(0, 0, 64, 64, 64, 64)


def picture(side, mode):
    """Noise in a mode of Pillow."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


IMAGES = {
    "png": {"side": 2700, "mode": "RGB"},
    "rgba.png": {"side": 2700, "mode": "RGBA"},
    "grey.png": {"side": 3500, "mode": "L"},
    "palette.png": {"side": 3500, "mode": "P"},
    "jpg": {"side": 2700, "mode": "RGB"},
    "cmyk.jpg": {"side": 2700, "mode": "CMYK"},
    "progressive.jpg": {"side": 2200, "mode": "RGB", "progressive": True, "subsampling": 0},
    "bmp": {"side": 2700, "mode": "RGB"},
    "jp2": {"side": 1500, "mode": "RGB"},
    "tiles.jp2": {"side": 2500, "mode": "RGB", "tile_size": (512, 512)},
}
BOUND, BESIDE = 52 << 20, 24 << 20
"""For the test, and what is taken besides: buffers of decoders, stacks of their threads."""


@pytest.mark.parametrize("name", IMAGES)
def test_decoding_an_image_takes_no_more_than_is_allowed(tmp_path, monkeypatch, name):
    options = dict(IMAGES[name])
    path = tmp_path / f"a.{name}"
    stored = picture(options.pop("side"), options.pop("mode"))
    stored = stored.resize((9, 9)).resize(stored.size) if name.endswith("jp2") else stored
    stored.save(path, **options)
    taken = []
    check = image_reader.check_whole
    monkeypatch.setattr(
        image_reader, "check_whole", lambda *told: [taken.append(told[0]), check(*told)]
    )
    monkeypatch.setattr(limits, "MAX_WHOLE_BYTES", BOUND)
    with little_memory(BOUND + BESIDE), open_slide(path) as slide:
        assert slide.is_plain
    assert 0.7 * BOUND < taken[0] <= BOUND  # else the test would show nothing
    monkeypatch.setattr(limits, "MAX_WHOLE_BYTES", taken[0] - 1)
    with pytest.raises(ValueError, match=r"as a whole, which takes.*vips tiffsave"):
        open_slide(path)


@pytest.mark.parametrize("compression", ["none", "deflate", "jpeg", "lzw"])
@pytest.mark.parametrize("layout", ["strip", "tile"])
def test_decoding_a_tiff_in_one_piece_takes_no_more_than_is_allowed(
    tmp_path, monkeypatch, compression, layout
):
    side = 1792
    pixels = np.asarray(picture(side, "RGB"))
    options = {"tile": (side, side)} if layout == "tile" else {"rowsperstrip": side}
    options["compression"] = None if compression == "none" else compression
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata=None, **options)
    taken = []
    check = tiff_reader.check_whole
    monkeypatch.setattr(
        tiff_reader, "check_whole", lambda *told: [taken.append(told[0]), check(*told)]
    )
    monkeypatch.setattr("histonuc.slides.tiff_level.MAX_PIECE_PIXELS", 1000)
    monkeypatch.setattr(limits, "MAX_WHOLE_BYTES", BOUND)
    with little_memory(BOUND + BESIDE), open_slide(tmp_path / "a.tif") as slide:
        assert (
            np.abs(slide.read(9, 9, 99, 99, 99, 99).astype(int) - pixels[9:108, 9:108]).mean() < 99
        )
    assert 0.7 * BOUND < taken[0] <= BOUND
    monkeypatch.setattr(limits, "MAX_WHOLE_BYTES", taken[0] - 1)
    with pytest.raises(ValueError, match="as a whole"):
        open_slide(tmp_path / "a.tif")
