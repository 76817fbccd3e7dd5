"""Ink is left out and told; tissue of its colours is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.exports.summary import read_summary
from histonuc.inference.ink import find_ink
from histonuc.inference.options import PredictOptions
from histonuc.inference.pictures import INK_COLOUR
from histonuc.inference.predict import predict
from histonuc.inference.tissue import find_tissue
from histonuc.slides import PlainImage, RegionError, open_slide
from histonuc.slides.protocol import Contents, Level
from histonuc.slides.pyramid import Pyramid

from ..slides.conftest import write_pyramid

INKS = {
    "green": (30, 150, 90),
    "cyan": (40, 170, 160),
    "blue": (37, 95, 160),
    "violet": (60, 45, 190),
    "red": (215, 25, 45),
    "black": (25, 24, 28),
}


def drawn_over(picture, ink, width=90):
    """A marker's stroke over a picture, as thick ink lies on glass, and where it is."""
    stroke = np.zeros(picture.shape[:2], np.uint8)
    height, across = stroke.shape
    cv2.line(stroke, (0, height // 4), (across, 3 * height // 4), 255, width)
    soft = cv2.GaussianBlur(stroke, (0, 0), 4)[..., None] / 255
    density = -np.log10((np.array(ink) + 1) / 256)
    light = (picture.astype(float) + 1) * 10 ** (-density * soft) - 1
    return light.clip(0, 255).round().astype(np.uint8), stroke > 0


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("name", ["consep/images/train_5.jpg", "monuseg/images/*.jpg"])
def test_ink_over_tissue_and_glass_is_left_out(shared_data, ink, name):
    tile = np.asarray(Image.open(next(iter(sorted(shared_data.glob(name))))))
    picture = np.full((1000, 2000, 3), 243, np.uint8)
    picture[:, :1000] = tile[:1000, :1000]
    with_ink, stroke = drawn_over(picture, INKS[ink])
    before = find_tissue(PlainImage(picture)).mask
    after = find_tissue(PlainImage(with_ink)).mask
    on_tissue, on_glass = np.array_split(stroke, 2, axis=1)
    assert after[:, 1000:][on_glass].mean() < 0.02
    if ink != "violet":  # through which dense purple tissue shows as such
        assert after[:, :1000][on_tissue].mean() < 0.4
    away = cv2.dilate(stroke.view(np.uint8), np.ones((99, 99), np.uint8)) == 0
    assert after[away & before].mean() > 0.99
    assert after[away & ~before].mean() < 0.01


def test_no_tissue_is_taken_for_ink(shared_data):
    """Every eighth image, pale, dark and bloody ones among them; consep's are known to have ink."""
    files = sorted(shared_data.glob("[!c]*/images/*.jpg"))[::8]
    assert len(files) > 80
    for file in files:
        image = np.asarray(Image.open(file).convert("RGB"))
        assert not find_ink(PlainImage(image), image).any(), file.name


@pytest.mark.parametrize(("name", "share"), [("train_2", 0.14), ("train_12", 0.04)])
def test_real_margin_ink(shared_data, name, share):
    image = np.asarray(Image.open(shared_data / f"consep/images/{name}.jpg"))
    assert find_ink(PlainImage(image), image).mean() == pytest.approx(share, rel=0.3)


def test_nuclei_under_ink_are_not_counted(tmp_path, pixel_model, make_blobs, run_on):
    image = make_blobs((900, 700), 400)
    image[:, 300:500] = image[:, 300:500] * np.array([0.15, 0.6, 0.35])  # a green stroke
    write_pyramid(tmp_path / "a.tif", [image, image[::2, ::2]])
    with open_slide(tmp_path / "a.tif") as slide:
        _, nuclei, _ = run_on(
            slide, tmp_path / "a.tif", pixel_model, tmp_path / "out", tile_px=200, margin_um=8
        )
    x = nuclei.centroid[:, 0]
    assert not ((x > 310) & (x < 490)).any()
    assert (x < 280).sum() > 50 < (x > 520).sum()


@pytest.fixture
def blood(shared_data):
    """A field of erythrocytes, as red as a marker: RGB (185, 497, 3)."""
    file = shared_data.parent / "classes/monusac3/images/A9K0_3.png"
    if not file.is_file():
        pytest.skip(f"no real tile at {file}: place the shared data there to run this test")
    return np.asarray(Image.open(file).convert("RGB"))


def test_tissue_as_red_as_a_marker_is_kept(blood, tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), blood[..., ::-1])
    line = ["predict", str(tmp_path / "red.png"), "--out", str(tmp_path / "out"), "--mpp", "0.1945"]
    assert cli.run(line) == 0
    result = read_summary(tmp_path / "out/red")
    assert result.num_nuclei >= 5
    assert result.ink_mm2 == 0
    assert result.tissue_mm2 > 0.95 * result.image_mm2
    assert not any("ink" in warning for warning in result.warnings)


def large_slide(image, stroke=None):
    """A slide of 12,288 pixels a side, of one image and its mirror images, in two levels.

    Args:
        image: RGB of its tissue.
        stroke: RGB factors of light that a stroke from left to right lets through.
    """
    mirrored = np.concatenate([image, image[:, ::-1]], axis=1)
    mirrored = np.concatenate([mirrored, mirrored[::-1]])

    def level(step):
        small = cv2.resize(mirrored, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)

        def read(x, y, w, h):
            rows, columns = np.arange(y, y + h), np.arange(x, x + w)
            picture = small[rows % len(small)][:, columns % small.shape[1]]
            if stroke is not None:
                inked = np.abs(rows * step - 6000) < 800
                picture[inked] = (picture[inked] * np.array(stroke)).astype(np.uint8)
            return picture

        return Level(size=(12_288 // step,) * 2, read=read)

    return Pyramid(Contents(levels=(level(1), level(4)), reader="drawn"))


def test_a_slide_of_blood_is_kept_and_a_red_stroke_over_tissue_is_not(blood, shared_data):
    assert not find_tissue(large_slide(blood)).ink.any()
    tile = np.asarray(Image.open(shared_data / "consep/images/train_5.jpg"))
    assert not find_tissue(large_slide(tile)).ink.any()
    ink = find_tissue(large_slide(tile, (0.85, 0.09, 0.17))).ink
    scale = 12_288 / len(ink)
    rows = np.abs((np.arange(len(ink)) + 0.5) * scale - 6000) < 800
    assert ink[rows].mean() > 0.5
    assert ink[~rows].mean() < 0.01


def test_places_that_cannot_be_read_closely_are_tissue(blood):
    slide = large_slide(np.full_like(blood, (216, 23, 45)))
    thumbnail = slide.thumbnail(2048)
    assert find_ink(slide, thumbnail).all()
    damaged = large_slide(blood)

    def fail(*_):
        raise RegionError("damaged", (0, 0, 1, 1))

    damaged.read = fail
    assert not find_ink(damaged, thumbnail).any()


def test_ink_is_counted_told_drawn_and_can_be_kept(tmp_path, pixel_model, make_blobs):
    image = make_blobs((900, 700), 400)
    image[:, 300:500] = image[:, 300:500] * np.array([0.15, 0.6, 0.35])  # a green stroke
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])

    def run(**options):
        chosen = PredictOptions(mpp=0.25, tile_px=200, margin_um=8, **options)
        (result,) = predict([tmp_path / "a.png"], tmp_path / "out", chosen, model=pixel_model).items
        picture = np.asarray(Image.open(tmp_path / "out/a/overview.jpg").convert("RGB"))
        return result, (np.abs(picture[:700].astype(int) - INK_COLOUR).max(-1) < 40).sum()

    without, outlined = run()
    assert without.ink_mm2 == pytest.approx(200 / 900 * without.image_mm2, rel=0.15)
    assert without.tissue_mm2 + without.ink_mm2 == pytest.approx(without.image_mm2, rel=0.01)
    assert without.density_per_mm2 == pytest.approx(without.num_nuclei / without.tissue_mm2)
    (warning,) = (warning for warning in without.warnings if "--no-ink" in warning)
    assert warning.startswith(f"{without.ink_mm2 / without.image_mm2:.0%} of the tissue")
    assert outlined > 2 * 700
    whole, outlined = run(ink=False)  # another result, not the one that is there
    assert whole.ink_mm2 == 0
    assert whole.tissue_mm2 == pytest.approx(without.tissue_mm2 + without.ink_mm2)
    assert whole.num_nuclei > without.num_nuclei
    assert outlined == 0


def test_no_ink_is_an_option_of_the_command(tmp_path, shared_slides):
    line = ["predict", str(shared_slides / "no-tissue-green-pen.png"), "--out", str(tmp_path)]
    assert cli.run([*line, "--no-ink"]) == 0
    assert read_summary(tmp_path / "no-tissue-green-pen").settings["ink"] is False
    assert cli.run(line) == 0
    result = read_summary(tmp_path / "no-tissue-green-pen")
    assert result.settings["ink"] is True
    assert result.num_nuclei == 0
