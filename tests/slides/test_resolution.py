"""The scale is read wherever a file states it, is named, and is nowhere taken from a printer."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from histonuc.cli import run
from histonuc.slides import open_slide

from .conftest import levels_of, write_aperio, write_dicom, write_zarr

GREY = np.full((64, 64, 3), 200, np.uint8)


def info(path, capsys, *more):
    """What `histonuc info --json` prints."""
    capsys.readouterr()
    assert run(["info", str(path), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def write_ome_scale(path, size, unit):
    facts = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
    facts |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, GREY, photometric="rgb", ome=True, metadata=facts)


@pytest.mark.parametrize(
    ("size", "unit"),
    [
        (0.25, "\u00b5m"),  # the micro sign
        (0.25, "\u03bcm"),  # the Greek letter
        (0.25, "um"),
        (250, "nm"),
        (250_000, "pm"),
        (2500, "\u00c5"),
        (2500, "\u212b"),  # the sign of the unit, not the letter
        (0.00025, "mm"),
        (0.000025, "cm"),
        (0.25e-6, "m"),
        (0.25 / 25_400, "in"),
        (0.25 / 25.4, "thou"),
    ],
)
def test_units_of_ome(tmp_path, capsys, size, unit):
    write_ome_scale(tmp_path / "a.ome.tif", size, unit)
    facts = info(tmp_path / "a.ome.tif", capsys)
    assert facts["mpp"] == pytest.approx(0.25)
    assert facts["mpp_source"].startswith("OME-XML")


@pytest.mark.parametrize(
    ("size", "unit"),
    [(0.25, "pm"), (0.25, "in"), (0.25, "pixel"), (0.25, "Mm"), (0.04, "µm"), (5.1, "µm")],
)
def test_what_no_microscope_makes_is_no_scale(tmp_path, capsys, size, unit):
    write_ome_scale(tmp_path / "a.ome.tif", size, unit)
    facts = info(tmp_path / "a.ome.tif", capsys)
    assert (facts["mpp"], facts["mpp_source"]) == (None, None)


@pytest.mark.parametrize("unit", [b"micron", b"um", b"\xb5m", b"\\u00B5m", b"microns"])
def test_units_of_imagej(tmp_path, capsys, unit):
    options = {"resolution": (4, 5), "metadata": {"unit": "?" * len(unit)}}
    tifffile.imwrite(tmp_path / "a.tif", GREY, imagej=True, **options)
    content = (tmp_path / "a.tif").read_bytes()  # tifffile itself writes no micro sign
    (tmp_path / "a.tif").write_bytes(content.replace(b"?" * len(unit), unit))
    facts = info(tmp_path / "a.tif", capsys)
    assert facts["mpp_xy"] == pytest.approx([0.25, 0.2])
    assert facts["mpp_source"].startswith("ImageJ")


@pytest.mark.parametrize("unit", ["pixel", "inch", ""])
def test_imagej_without_a_length_has_no_scale(tmp_path, unit):
    tifffile.imwrite(
        tmp_path / "a.tif", GREY, imagej=True, resolution=(72, 72), metadata={"unit": unit}
    )
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp is None


@pytest.mark.parametrize(
    ("description", "mpp", "objective"),
    [
        ("9999x9999 [0,0 64x64] RAW;Scan|AppMag = 40|MPP = 0.25", 0.25, 40),
        ("64x64 (256x256) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990", 0.499, 20),
        ("128x128 -> 64x64 - |AppMag = 20|MPP = 0.5", 1.0, 20),
        ("9999x9999 [0,0 640x640] RAW|AppMag = 20|MPP = 0.5", None, 20),  # made smaller or cut
        ("64x64|AppMag = 20", None, 20),
    ],
)
def test_crops_that_imagescope_saves(tmp_path, capsys, description, mpp, objective):
    text = f"Aperio Image Library v8\r\n{description}"
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="rgb", metadata=None, description=text)
    facts = info(tmp_path / "a.tif", capsys)
    assert facts["mpp"] == (mpp if mpp is None else pytest.approx(mpp))
    assert facts["objective"] == objective
    assert mpp is None or facts["mpp_source"].startswith("Aperio")


@pytest.mark.parametrize(
    ("suffix", "options", "source"),
    [
        ("png", {"dpi": (101_600, 50_800)}, "PNG: pHYs"),
        ("bmp", {"dpi": (101_600, 50_800)}, "BMP"),
        ("jpg", {"exif": True}, "EXIF"),
        ("png", {"exif": True}, "EXIF"),
    ],
)
def test_plain_images_that_state_a_scale(tmp_path, capsys, suffix, options, source):
    if "exif" in options:
        exif = Image.Exif()
        exif[282], exif[283], exif[296] = 40_000.0, 20_000.0, 3  # per centimetre
        options = {"exif": exif}
    Image.fromarray(GREY).save(tmp_path / f"a.{suffix}", **options)
    facts = info(tmp_path / f"a.{suffix}", capsys)
    assert facts["mpp_xy"] == pytest.approx([0.25, 0.5], rel=1e-3)
    assert facts["mpp_source"].startswith(source)


def test_the_density_of_a_jpeg_counts_by_the_centimetre_only(tmp_path):
    """0.25 microns are 101,600 dpi, of which 16 bits leave 36,064: 0.7 microns."""
    Image.fromarray(GREY).save(tmp_path / "inch.jpg", dpi=(101_600, 101_600))
    content = (tmp_path / "inch.jpg").read_bytes()
    place = content.find(b"JFIF") + 7  # the unit, then the densities
    by_cm = content[:place] + b"\x02" + 2 * (40_000).to_bytes(2, "big") + content[place + 5 :]
    (tmp_path / "cm.jpg").write_bytes(by_cm)
    with open_slide(tmp_path / "inch.jpg") as slide:
        assert slide.mpp is None
    with open_slide(tmp_path / "cm.jpg") as slide:
        assert slide.mpp == pytest.approx(0.25)


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_printers_and_screens_are_no_microscopes(tmp_path, dpi, suffix):
    Image.fromarray(GREY).save(tmp_path / f"a.{suffix}", dpi=(dpi, dpi))
    with open_slide(tmp_path / f"a.{suffix}") as slide:
        assert slide.mpp is None


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("micrometer", 0.25),
        ("Micrometre", 0.25),
        ("micron", 0.25),
        ("µm", 0.25),
        ("nanometer", 250),
        ("angstrom", 2500),
        ("millimeter", 0.00025),
        ("inch", 0.25 / 25_400),
    ],
)
def test_units_of_ngff(tmp_path, unit, size):
    path = tmp_path / "a.zarr"
    write_zarr(path, levels_of(64, 64, (1,)))
    facts = json.loads((path / ".zattrs").read_text())
    (image,) = facts["multiscales"]
    for axis in image["axes"][-2:]:
        axis["unit"] = unit
    image["datasets"][0]["coordinateTransformations"][0]["scale"][-2:] = [size, size]
    (path / ".zattrs").write_text(json.dumps(facts))
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.25)
        assert slide.mpp_source.startswith("OME-NGFF")


def test_a_slide_of_openslide_without_mpp_may_state_it_in_its_tags(tmp_path):
    facts = {"description": "Aperio Image Library v1\r\n |AppMag = 40"}
    tags = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    write_aperio(tmp_path / "a.svs", levels_of(300, 200, (1, 2)), **facts, **tags)
    with open_slide(tmp_path / "a.svs") as slide:
        assert slide.reader == "OpenSlide"
        assert slide.mpp == pytest.approx(0.25)
        assert slide.mpp_source.startswith("TIFF tags")
        assert slide.objective == 40


@pytest.mark.parametrize("place", ["shared", "per frame", "top"])
def test_dicom_states_its_spacing_in_one_of_three_places(tmp_path, place):
    pydicom = pytest.importorskip("pydicom")
    write_dicom(tmp_path / "a.dcm", levels_of(64, 64, (1,))[0])
    facts = pydicom.dcmread(tmp_path / "a.dcm")
    (shared,) = facts.SharedFunctionalGroupsSequence
    if place == "per frame":
        facts.PerFrameFunctionalGroupsSequence = [shared]
    elif place == "top":
        facts.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    if place != "shared":
        del facts.SharedFunctionalGroupsSequence
    facts.save_as(tmp_path / "a.dcm")
    with open_slide(tmp_path / "a.dcm") as slide:
        assert slide.mpp == pytest.approx(0.25)
        assert "PixelSpacing" in slide.mpp_source


def test_the_summary_names_the_source(tmp_path):
    pixels = np.full((64, 64, 3), 240, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(101_600, 101_600))
    assert run(["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 0
    (item,) = json.loads((tmp_path / "out" / "summary.json").read_text())["items"]
    assert item["mpp_source"] == "PNG: pHYs"
    assert item["mpp"] == pytest.approx(0.25)
