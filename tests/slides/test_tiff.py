"""TIFFs in every way they come: sets of files, scenes, absent tiles, few bits, odd colours, odd names."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from histonuc.slides import open_slide

from .conftest import levels_of, write_ome, write_pyramid


@pytest.fixture(scope="module")
def levels():
    return levels_of(300, 200, (1, 2))


def whole(slide):
    return slide.read(0, 0, *slide.size, *slide.size)


def write_set(folder, num=2, split_channels=False):
    """An OME-TIFF in several files; scene (or channel) k is grey 100 + 50 * k and lies in file k."""
    names = [f"s{k}.ome.tif" for k in range(num)]
    uuids = [f"11111111-1111-4111-8111-{k:012d}" for k in range(num)]
    data = [
        f'<TiffData IFD="0" PlaneCount="1" FirstC="{k if split_channels else 0}">'
        f'<UUID FileName="{name}">urn:uuid:{uuid}</UUID></TiffData>'
        for k, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    ]
    size = (
        'DimensionOrder="XYCZT" Type="uint8" SizeX="256" SizeY="256" SizeC="3" SizeT="1" SizeZ="1"'
    )
    if split_channels:
        channels = "".join(f'<Channel ID="Channel:0:{k}" SamplesPerPixel="1"/>' for k in range(num))
        images = f'<Image ID="Image:0"><Pixels ID="Pixels:0" {size}>{channels}{"".join(data)}'
        images += "</Pixels></Image>"
    else:
        images = "".join(
            f'<Image ID="Image:{k}" Name="r{k}"><Pixels ID="Pixels:{k}" {size}>'
            f'<Channel ID="Channel:{k}:0" SamplesPerPixel="3"/>{part}</Pixels></Image>'
            for k, part in enumerate(data)
        )
    kind = {"photometric": "minisblack" if split_channels else "rgb", "tile": (128, 128)}
    for k, (name, uuid) in enumerate(zip(names, uuids, strict=True)):
        space = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        xml = f'<OME {space} UUID="urn:uuid:{uuid}">{images}</OME>'
        shape = (256, 256) if split_channels else (256, 256, 3)
        pixels = np.full(shape, 100 + 50 * k, np.uint8)
        with tifffile.TiffWriter(folder / name) as tiff:
            tiff.write(pixels, subifds=1, metadata=None, description=xml, **kind)
            tiff.write(pixels[::2, ::2].copy(), subfiletype=1, metadata=None, **kind)
    return [folder / name for name in names]


def test_scenes_of_a_set_are_read_from_their_own_files(tmp_path):
    for path in write_set(tmp_path):
        for scene in (0, 1):
            with open_slide(path, scene=scene) as slide:
                assert slide.levels == ((256, 256), (128, 128))
                assert (slide.read(0, 0, 256, 256, 256, 256) == 100 + 50 * scene).all()
                assert (slide.read(0, 0, 256, 256, 128, 128) == 100 + 50 * scene).all()


def test_channels_of_a_set_are_read_from_their_own_files(tmp_path):
    for path in write_set(tmp_path, 3, split_channels=True):
        with open_slide(path) as slide:
            assert (slide.read(9, 9, 50, 40, 50, 40) == (100, 150, 200)).all()


def test_a_set_names_the_file_that_it_lacks(tmp_path):
    paths = write_set(tmp_path, 3)
    paths[0].unlink()
    for path in paths[1:]:
        with pytest.raises(
            ValueError, match=rf"{path.name}: it is one of 3 files.* s0\.ome\.tif is"
        ):
            open_slide(path)


def test_a_set_of_one_file_that_was_renamed_is_read(tmp_path):
    (path,) = write_set(tmp_path, 1)
    with open_slide(path.rename(tmp_path / "other.ome.tif")) as slide:
        assert (whole(slide) == 100).all()


@pytest.mark.parametrize("name", ["../outside.ome.tif", "/etc/passwd"])
def test_a_set_stays_in_its_folder(tmp_path, name):
    (tmp_path / "in").mkdir()
    first, second = write_set(tmp_path / "in")
    second.rename(tmp_path / "outside.ome.tif")
    with tifffile.TiffFile(first) as tiff:
        xml = tiff.pages[0].description.replace("s1.ome.tif", name)
    tifffile.tiffcomment(first, xml.encode())
    with pytest.raises(ValueError, match="expected a file in the same folder"):
        open_slide(first, scene=0)


def test_a_companion_file_is_named(tmp_path):
    (path,) = write_set(tmp_path, 1)
    xml = '<OME xmlns="x"><BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:1"/></OME>'
    tifffile.tiffcomment(path, xml)
    with pytest.raises(ValueError, match=r"all\.companion\.ome.*bfconvert"):
        open_slide(path)


@pytest.mark.parametrize("mode", ["CMYK", "P", "LAB", "L", "1"])
def test_a_scene_is_chosen_in_every_colour_space(tmp_path, levels, mode):
    images = [Image.fromarray(level) for level in (levels[0], 255 - levels[0])]
    if mode == "LAB":
        from PIL import ImageCms

        to_lab = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        stored = [ImageCms.profileToProfile(one, *to_lab, outputMode="LAB") for one in images]
    else:
        stored = [one.convert(mode) for one in images]
    stored[0].save(tmp_path / "a.tif", save_all=True, append_images=stored[1:])
    with pytest.raises(ValueError, match="2 scenes"):
        open_slide(tmp_path / "a.tif")
    for scene, image in enumerate(stored):
        with open_slide(tmp_path / "a.tif", scene=scene) as slide:
            off = whole(slide).astype(int) - np.asarray(image.convert("RGB"))
            assert np.abs(off).max() <= 1


def leave_out(path, page=0, index=0):
    """Make a TIFF forget one of its tiles or strips, as scanners do where there is glass."""
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[page].tags
        found = [tags[code] for code in ((324, 325) if 324 in tags else (273, 279))]
        kinds = {3: "<H", 4: "<I"}
        places = [(kinds[tag.dtype], tag.valueoffset) for tag in found]
    content = bytearray(path.read_bytes())
    for kind, place in places:
        struct.pack_into(kind, content, place + index * struct.calcsize(kind), 0)
    path.write_bytes(content)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite", "palette", "separated"])
@pytest.mark.parametrize("layout", ["plain", "pyramid", "strips"])
def test_absent_tiles_are_white(tmp_path, photometric, layout):
    shape = {"rgb": (128, 128, 3), "separated": (128, 128, 4)}.get(photometric, (128, 128))
    picture = np.full(shape, 60, np.uint8)
    options = {"photometric": photometric, "compression": None}
    if photometric == "palette":
        options["colormap"] = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, 0)
    if layout == "strips":
        options |= {"tile": None, "rowsperstrip": 64}
    path = tmp_path / "a.tif"
    write_pyramid(path, [picture, picture[::2, ::2].copy()][: 1 + (layout == "pyramid")], **options)
    with open_slide(path) as slide:
        shown = slide.read(0, 0, 128, 128, 128, 128)
        assert len(np.unique(shown)) == 1
    leave_out(path)
    shown[:64, : 128 if layout == "strips" else 64] = 255
    with open_slide(path) as slide:
        assert slide.is_plain == (layout != "pyramid")
        assert np.array_equal(slide.read(0, 0, 128, 128, 128, 128), shown)


def test_a_plane_that_is_absent_alone_is_full_light(tmp_path):
    planes = np.full((3, 128, 128), 60, np.uint8)
    write_pyramid(tmp_path / "a.tif", [planes], planarconfig="separate", compression=None)
    leave_out(tmp_path / "a.tif", index=4)  # the first tile of green, of four tiles a plane
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.read(0, 0, 1, 1, 1, 1)[0, 0].tolist() == [60, 255, 60]
        assert slide.read(100, 100, 1, 1, 1, 1)[0, 0].tolist() == [60, 60, 60]


GREYS = [(bits, kind) for bits in range(1, 9) for kind in ("minisblack", "miniswhite")]


@pytest.mark.parametrize(("bits", "photometric"), [*GREYS, *((b, "rgb") for b in range(2, 9))])
@pytest.mark.parametrize("layout", ["plain", "pyramid"])
def test_samples_of_few_bits_use_the_whole_range(tmp_path, bits, photometric, layout):
    top = 2**bits - 1
    values = (np.arange(128 * 128).reshape(128, 128) % (top + 1)).astype(np.uint8)
    wanted = np.rint(values * (255 / top)).astype(np.uint8)
    wanted = np.repeat((255 - wanted if photometric == "miniswhite" else wanted)[..., None], 3, -1)
    stored = np.repeat(values[..., None], 3, -1) if photometric == "rgb" else values
    options = {"photometric": photometric, "bitspersample": bits, "compression": None}
    levels = [stored, stored[::2, ::2].copy()][: 1 + (layout == "pyramid")]
    levels = [level.astype(bool) if bits == 1 else level for level in levels]
    write_pyramid(tmp_path / "a.tif", levels, **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(0, 0, 128, 128, 128, 128), wanted)


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8])
def test_jpeg_2000_of_few_bits_uses_the_whole_range(tmp_path, bits):
    top = 2**bits - 1
    values = (np.arange(64 * 64).reshape(64, 64) % (top + 1)).astype(np.uint8)
    code = imagecodecs.jpeg2k_encode(values, bitspersample=bits, reversible=True)
    (tmp_path / "a.jp2").write_bytes(code)
    with open_slide(tmp_path / "a.jp2") as slide:
        assert np.array_equal(whole(slide)[..., 1], np.rint(values * (255 / top)))


def test_a_palette_of_eight_bits_is_not_black(tmp_path):
    """The standard says 16, which some writers do not know."""
    colours = np.repeat(np.arange(256, dtype=np.uint16)[None], 3, 0)
    picture = np.full((64, 64), 200, np.uint8)
    options = {"photometric": "palette", "colormap": colours}
    tifffile.imwrite(tmp_path / "a.tif", picture, **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert (whole(slide) == 200).all()


@pytest.mark.parametrize(
    "name", ["macrodissected_07.svs", "unlabelled", "label-free", "core_label"]
)
def test_words_that_only_begin_like_label_are_tissue(tmp_path, levels, name):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        write_ome(path, levels, name="tissue", tiff=tiff)
        write_ome(path, [levels[1]], name=name, tiff=tiff)
    with pytest.raises(ValueError, match=f"2 scenes.*1: {name}"):
        open_slide(path)


@pytest.mark.parametrize("name", ["label", "label image", "Macro", "CMU-1.svs [macro image]"])
def test_labels_are_beside_the_tissue_unless_there_is_none(tmp_path, levels, name):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        write_ome(path, levels, name="tissue", tiff=tiff)
        write_ome(path, [levels[1]], name=name, tiff=tiff)
    with open_slide(path) as slide:
        assert slide.associated() == (name,)
        assert np.array_equal(slide.read_associated(name), levels[1])
    write_ome(path, levels, name=name)
    with open_slide(path) as slide:
        assert np.array_equal(whole(slide), levels[0])


@pytest.mark.parametrize("suffix", ["svs", "scn", "bif", "ndpi", "png", "SVS"])
@pytest.mark.parametrize("layout", ["strips", "tiles"])
def test_a_tiff_is_known_by_its_content(tmp_path, levels, suffix, layout):
    options = {"tile": (64, 64)} if layout == "tiles" else {"rowsperstrip": 16}
    path = tmp_path / f"a.{suffix}"
    tifffile.imwrite(path, levels[0], photometric="rgb", metadata=None, **options)
    with open_slide(path) as slide:
        assert np.array_equal(whole(slide), levels[0])


def test_an_ome_objective_is_found(tmp_path, levels):
    path = tmp_path / "a.ome.tif"
    write_ome(path, levels)
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    image = '<Image ID="Image:0"'
    assert image in xml
    lens = '<Instrument ID="Instrument:0"><Objective ID="Objective:0" NominalMagnification="40"/>'
    xml = xml.replace(image, f"{lens}</Instrument>{image}")
    xml = xml.replace("<Pixels", '<ObjectiveSettings ID="Objective:0"/><Pixels', 1)
    tifffile.tiffcomment(path, xml.encode())
    with open_slide(path) as slide:
        assert slide.objective == 40


def test_a_damaged_profile_matters_to_who_asks_for_colours(tmp_path, levels):
    facts = {"description": "Aperio Image Library v1\r\n |MPP = 0.25", "iccprofile": bytes(80)}
    write_pyramid(tmp_path / "a.svs", levels, **facts)
    with open_slide(tmp_path / "a.svs") as slide:
        assert slide.reader == "OpenSlide"
        assert np.array_equal(whole(slide), levels[0])
    with pytest.raises(ValueError, match="ICC profile is damaged"):
        open_slide(tmp_path / "a.svs", icc=True)
