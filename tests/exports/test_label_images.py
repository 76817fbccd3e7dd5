import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histonuc.exports import open_source, painting
from histonuc.exports.label_image import read_label_image
from histonuc.exports.ome_tiff import write_ome_tiff
from histonuc.exports.painting import level_sizes, paint_levels, paint_rows
from histonuc.taxonomy import NUCLEUS, PANNUKE


def paint(nuclei, size, tile_px=32):
    rows = paint_rows(open_source(nuclei), size, tile_px)
    return np.concatenate([row.copy() for row in rows])[: size[1], : size[0]]


@given(seed=st.integers(0, 999), num=st.integers(0, 9), scale=st.sampled_from([1, 0.731, 3.3]))
def test_painting_is_to_labels(nuclei_of, seed, num, scale):
    # Some nuclei hang over the image's edges.
    nuclei = nuclei_of(
        seed, num, scale=scale, origin=(-7.3137, 20.1291) if scale != 1 else (-7, 20)
    )
    assert np.array_equal(paint(nuclei, (70, 90)), nuclei.to_labels(90, 70))


@pytest.mark.parametrize(("width", "height"), [(70, 90), (129, 33), (64, 64), (30, 2)])
def test_each_level_thins_the_one_before(nuclei_of, monkeypatch, width, height):
    monkeypatch.setattr(painting, "SMALLEST_PX", 8)
    nuclei = nuclei_of(num=12, scale=1, origin=(0, 0))
    source = replace(open_source(nuclei), facts={"image_size": [width, height]})
    expected = nuclei.to_labels(height, width)
    for size, rows in zip(level_sizes(width, height), paint_levels(source, 16), strict=True):
        level = np.concatenate([row.copy() for row in rows])
        assert np.array_equal(level[: size[1], : size[0]], expected)
        assert not level[size[1] :].any()
        inner = np.pad(expected, ((0, 4), (0, 4)))[2::4, 2::4]
        expected = inner[: max(1, size[1] // 4), : max(1, size[0] // 4)]


def test_memory_bound_and_tile_do_not_show(nuclei_of, monkeypatch):
    nuclei = nuclei_of(num=12)
    whole = paint(nuclei, (1400, 300), tile_px=512)
    assert whole.any()
    monkeypatch.setattr(painting, "_MAX_VERTICES", 5)
    assert np.array_equal(paint(nuclei, (1400, 300), tile_px=16), whole)


def test_ome_tiff_is_a_pyramid_of_ids(with_extra, tmp_path):
    table, nuclei = with_extra
    write_ome_tiff(table, tmp_path / "a.ome.tif")
    expected = nuclei.to_labels(300, 1400)
    expected[expected > 0] += 10  # the table's ids begin at 11
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_ome
        (series,) = tiff.series
        assert (series.axes, series.dtype) == ("YX", np.uint32)
        assert [level.shape for level in series.levels] == [(300, 1400), (75, 350)]
        assert all(page.is_tiled for page in tiff.pages)
        assert np.array_equal(series.asarray(), expected)
        assert 'PhysicalSizeX="0.25"' in tiff.ome_metadata


@pytest.mark.parametrize("mpp", [0.25, float("nan")])
def test_ome_xml_has_what_the_schema_requires(nuclei_of, tmp_path, mpp):
    # By hand, as reading the schema itself (OME 2016-06) takes lxml and a download.
    write_ome_tiff(nuclei_of(mpp=mpp), tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        height, width = tiff.series[0].shape
        root = ElementTree.fromstring(tiff.ome_metadata)
    ome = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
    assert root.tag == f"{ome}OME"
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", root.attrib["UUID"])
    assert [child.tag for child in root] == [f"{ome}Image"]
    assert root[0].attrib == {"ID": "Image:0", "Name": "nuclei"}
    assert [child.tag for child in root[0]] == [f"{ome}Pixels"]
    size = {"SizeX": width, "SizeY": height, "SizeZ": 1, "SizeC": 1, "SizeT": 1}
    expected = {"ID": "Pixels:0", "Type": "uint32", "DimensionOrder": "XYCZT"}
    expected |= {name: str(value) for name, value in size.items()}
    if mpp == 0.25:
        expected |= {"PhysicalSizeX": "0.25", "PhysicalSizeXUnit": "µm"}
        expected |= {"PhysicalSizeY": "0.25", "PhysicalSizeYUnit": "µm"}
    pixels = root[0][0]
    assert pixels.attrib == expected
    assert [child.tag for child in pixels] == [f"{ome}Channel", f"{ome}TiffData"]  # in this order
    assert pixels[0].attrib == {"ID": "Channel:0:0", "SamplesPerPixel": "1"}
    assert pixels[1].attrib == {"IFD": "0", "PlaneCount": "1"}


@given(seed=st.integers(0, 999), num=st.integers(0, 9), mpp=st.sampled_from([0.25, float("nan")]))
@settings(max_examples=15)
def test_ome_zarr_reads_back_equal(nuclei_of, tmp_path_factory, seed, num, mpp):
    zarr = pytest.importorskip("zarr", reason="an extra: pip install 'histonuc[zarr]'")
    models = pytest.importorskip("ome_zarr_models.v05", reason="pip install ome-zarr-models")
    from histonuc.exports.ome_zarr import write_ome_zarr

    nuclei = nuclei_of(seed, num, mpp, scale=1, origin=(2, 3))
    path = tmp_path_factory.mktemp("zarr") / "a.ome.zarr"
    write_ome_zarr(nuclei, path)
    group = zarr.open_group(path / "labels/nuclei", mode="r")
    labels = group["0"][:]
    assert np.array_equal(labels, nuclei.to_labels(*labels.shape))
    assert nuclei.box[:, 2:].max(initial=1) <= max(labels.shape)
    image = models.image_label.ImageLabel.from_zarr(group)
    scale, _ = image.ome_attributes.multiscales[0].datasets[0].coordinateTransformations
    assert scale.scale == [1 if np.isnan(mpp) else mpp] * 2


def test_ome_zarr_follows_the_specification(with_extra, tmp_path):
    zarr = pytest.importorskip("zarr", reason="an extra: pip install 'histonuc[zarr]'")
    models = pytest.importorskip("ome_zarr_models.v05", reason="pip install ome-zarr-models")
    from histonuc.exports.ome_zarr import write_ome_zarr

    table, nuclei = with_extra
    for _ in range(2):  # the second replaces the first
        write_ome_zarr(table, tmp_path / "a.ome.zarr")
    labels = models.labels.Labels.from_zarr(zarr.open_group(tmp_path / "a.ome.zarr/labels"))
    assert labels.label_paths == ["nuclei"]
    group = zarr.open_group(tmp_path / "a.ome.zarr/labels/nuclei", mode="r")
    image = models.image_label.ImageLabel.from_zarr(group)
    (multiscale,) = image.ome_attributes.multiscales
    assert [axis.unit for axis in multiscale.axes] == ["micrometer", "micrometer"]
    expected = nuclei.to_labels(300, 1400)
    expected[expected > 0] += 10
    assert group["0"].dtype == np.uint32
    assert np.array_equal(group["0"][:], expected)
    assert [group[name].shape for name in "01"] == [(300, 1400), (75, 350)]
    scale, shift = multiscale.datasets[1].coordinateTransformations
    assert (scale.scale, shift.translation) == ([1, 1], [0.375, 0.375])  # 4 px of 0.25; 1.5 px in
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.zarr", "nuclei.parquet"]


@given(seed=st.integers(0, 999))
def test_a_label_image_reads_back_equal(nuclei_of, tmp_path_factory, seed):
    nuclei = nuclei_of(seed, scale=1, origin=(2, 3))
    path = tmp_path_factory.mktemp("labels") / "a.ome.tif"
    write_ome_tiff(nuclei, path)
    names = {i + 1: PANNUKE.classes[j] for i, j in enumerate(nuclei.class_index)}
    read = read_label_image(path, label_space=PANNUKE, classes=names, mpp=nuclei.mpp)
    assert np.array_equal(read.class_index, nuclei.class_index)
    assert np.array_equal(read.to_labels(70, 70), nuclei.to_labels(70, 70))
    assert read.mpp == 0.25


def test_label_images_of_others(tmp_path):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:5, 3:9], labels[10:20, 0:4] = 900, 7
    Image.fromarray(labels).save(tmp_path / "a.png")
    read = read_label_image(
        tmp_path / "a.png",
        label_space=NUCLEUS,
        classes={7: "cell", 900: "cell"},
        class_map={"cell": "Nucleus"},
    )
    assert read.area_px.tolist() == [40, 18]
    assert read.centroid.tolist() == [[2, 15], [6, 3.5]]
    full = np.ones((4, 4), np.uint8)  # no background
    Image.fromarray(full).save(tmp_path / "b.png")
    assert (
        len(read_label_image(tmp_path / "b.png", label_space=NUCLEUS, classes={1: "Nucleus"})) == 1
    )
    with pytest.raises(ValueError, match="2 labels have no class, the first is 7"):
        read_label_image(tmp_path / "a.png", label_space=NUCLEUS, classes={})
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    with pytest.raises(ValueError, match="expected whole numbers in two dimensions"):
        read_label_image(tmp_path / "c.png", label_space=NUCLEUS, classes={})
    (tmp_path / "d.tif").write_bytes(b"II*")
    with pytest.raises(ValueError, match="damaged or no image"):
        read_label_image(tmp_path / "d.tif", label_space=NUCLEUS, classes={})


def test_levels_end_where_one_fits_on_a_screen():
    assert level_sizes(1024, 9) == [(1024, 9)]
    assert level_sizes(3, 1025) == [(3, 1025), (1, 256)]
    assert [width for width, _ in level_sizes(90_000, 60_000)] == [90_000, 22_500, 5625, 1406, 351]
